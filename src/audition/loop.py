"""The path of a step: think, seal, draw, audit, decide, act; every stage an event in the ledger.

A run is its events. `Carrier.advance` looks at where they stand and takes the next stage; a process
that is killed leaves a prefix of them, and whoever takes the run up again goes on from there. What
leaves the process (a question to a person, an act) is committed first.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import anyio

from audition.act import Refused, finished, issue, issued, perform
from audition.audit import Form, Left, ask, card, recorded, view
from audition.box import Box, BoxRefused, open_box
from audition.canonical import canonical, digest_bytes, digest_value
from audition.failing import told
from audition.gate import draw, rate, run_secret, sequential, spec, threshold
from audition.history import LedgerHistory, Pending, Progress, answer_of
from audition.ledger import Conflict, Journal, SqlLedger
from audition.ledger.events import (
    ActInDoubt,
    AuditAsked,
    AuditDrawn,
    AuditRecorded,
    MomentSealed,
    RestrictionDeclared,
    RunClosed,
    RunOpened,
    RunResumed,
    StepDecided,
    StepProposed,
    StepThought,
)
from audition.project import Project
from audition.step import (
    Act,
    Ask,
    Auditor,
    Body,
    Completed,
    Decision,
    Digest,
    Event,
    Executor,
    Failure,
    Frozen,
    Moment,
    Need,
    Proposal,
    RunId,
    Thought,
    Usage,
    digest_of,
    now,
    parse_proposal,
)
from audition.taking_up import Carried, differing, only_people
from audition.waiting import evidence

POLL = 0.5
"""Seconds between looks at the ledger while a run waits for a person."""

ATTEMPTS = 8
"""Replacements of one step before the run fails."""

UNCOMMITTED = 256
"""Events of a run that may wait in memory for the next commit."""

Status = Literal["finished", "terminated", "exhausted", "failed", "waiting"]


class OtherProject(ValueError):
    """The run was opened under another project, or is a record."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run stands when `run` returns."""

    run: RunId
    """The run."""
    status: Status
    """How it ended, or `waiting` for a person."""
    turns: int
    """Steps begun."""
    answer: str | None = None
    """The root's answer, if it finished."""
    reason: str = ""
    """Why it ended, where that needs saying."""
    waits_for: str = ""
    """Whom or what it waits for."""


async def run(
    project: Project,
    ledger: SqlLedger,
    *,
    run_id: RunId | None = None,
    wait: bool = False,
    watch: Callable[[Event], None] | None = None,
) -> Result:
    """Carry a run until it ends or nobody here can take it further.

    Args:
        project: who thinks, who judges, what may pass, what performs.
        ledger: where the run is.
        run_id: a run to take up again; None begins one.
        wait: stay and look at the ledger while a person is awaited, instead of returning.
        watch: is told of each event as it is written.

    Raises:
        OtherProject: the run was opened under another project.
        BoxRefused, BoxUnavailable: the box cannot be opened here, or not as it was left.
        Carried: another process has taken the run up.
        LedgerError: the ledger cannot be written.
        Refused: what is to be done is not what was judged; nothing was done.
    """
    carrier = Carrier(project, ledger, run_id or uuid.uuid4().hex, watch)
    carrier.catch_up()
    result = carrier.ended()
    while result is None:
        async with open_box(project.box, saved=carrier.saved_state()) as box:
            try:
                result = await carrier.carry(box, wait=wait)
            except Carried:
                raise
            except Conflict:  # what stood on events that are not there was not done
                carrier.give_way()
    return result


@dataclass
class Carrier:
    """One run in the hands of this process."""

    project: Project
    ledger: SqlLedger
    run: RunId
    watch: Callable[[Event], None] | None = None
    progress: Progress = field(init=False)
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.secret = run_secret(self.project.secret, self.run)
        form = Form(self.project.executors)
        self.auditors: dict[str, Auditor] = {form.name: form, **self.project.auditors}
        self.gate = sequential(threshold(form.name, reject_at=1), self.project.gate)
        self.opening = self._opening()
        self.reviewers = digest_value(
            {
                "gate": self.opening.gate,
                "auditors": [one.model_dump(exclude_none=True) for one in self.opening.auditors],
            }
        )
        self.progress, self.journal = Progress(self.run), Journal(self.ledger, self.run)
        self.people = {name for name, one in self.auditors.items() if card(one).person}
        self.left: set[str] = set()

    # ---------------------------------------------------------------- taking up and putting down

    def catch_up(self, *, afresh: bool = True) -> None:
        """Stand where the ledger stands, whatever this process believed."""
        if afresh:
            self.progress, self.journal = Progress(self.run), Journal(self.ledger, self.run)
        for event in self.ledger.read(self.run, after=self.journal.durable - 1):
            self.progress.apply(event)
            self.journal.seq = self.journal.durable = event.seq + 1
        opened = self.progress.opened
        if opened and (parts := differing(opened, self.opening)):
            differ = "differs" if len(parts) == 1 else "differ"
            raise OtherProject(
                f"run {self.run}: it was opened under another project: its {', '.join(parts)} "
                f"{differ}; put back what it was, or begin another run"
            )

    def give_way(self, *, afresh: bool = True) -> None:
        """Stand where the ledger stands, unless another process has taken the run up.

        Raises:
            Carried: it has; whoever takes a run up last carries it.
        """
        seen = self.journal.durable
        self.catch_up(afresh=afresh)
        if self.progress.closed is None:
            only_people(self.ledger.read(self.run, after=seen - 1), self.people)

    def saved_state(self) -> bytes | None:
        """The box's state at the last thought, if the run has one."""
        return self.ledger.get(self.progress.state) if self.progress.state else None

    async def begin(self, box: Digest, report: Frozen) -> None:
        """Open the run, or record that it is taken up again, and in what confinement.

        Raises:
            BoxRefused: the box is not in the state that the last thought left.
        """
        if self.progress.closed is not None:
            return
        if self.progress.box not in (None, box):
            raise BoxRefused(
                f"run {self.run}: the box was rebuilt as {box[:12]}…, but the last thought left it "
                f"as {str(self.progress.box)[:12]}…; the saved state was altered, see "
                "`audition verify`"
            )
        confinement = self.journal.put(report)
        if self.progress.opened is not None:
            self.log(RunResumed(box=box, confinement=confinement))
        else:
            self.log(self._opening().model_copy(update={"confinement": confinement}))
            for restriction in self.project.restrictions:
                self.log(RestrictionDeclared(restriction=restriction))
        if self.progress.step is not None and self.progress.step.started:
            self._doubt(self.progress.step)
        await self.journal.commit()

    async def carry(self, box: Box, *, wait: bool) -> Result | None:
        """Go on in this box, which is in the state that the ledger has.

        Raises:
            BoxRefused: it is not in that state.
            Conflict: another process, or a person in one, wrote to this run.
        """
        await self.begin(await box.digest(), box.report())
        while self.progress.closed is None:
            waits_for = await self.advance(box)
            if waits_for and not wait:
                return Result(self.run, "waiting", self.progress.turns, waits_for=waits_for)
            if waits_for:
                await anyio.sleep(POLL)
                self.give_way(afresh=False)
        return self.ended()

    def ended(self) -> Result | None:
        """How the run ended, if it did."""
        closed = self.progress.closed
        if closed is None:
            return None
        assert closed.status != "recorded" and closed.status != "trained"
        answer = answer_of(self.ledger, closed.answer) if closed.answer else None
        return Result(self.run, closed.status, self.progress.turns, answer, closed.reason)

    async def advance(self, box: Box) -> str:
        """Take the next stage; returns whom the run waits for, or nothing if it goes on."""
        if self.journal.seq - self.journal.durable > UNCOMMITTED:
            await self.journal.commit()
        step = self.progress.step
        if step is None:
            await self._think(box)
            return ""
        if step.started:  # another process performs it, or died doing so
            return "settle"
        if step.moment is None:
            self._seal(step, await box.digest())
            return ""
        match step.decision:
            case None | Decision(action="escalate"):
                return await self._judge(step)
            case Decision(action="modify", by=str() as by):
                await self._replace(step, by)
            case Decision(action="terminate", reason=reason):
                await self._close("terminated", reason)
            case _:
                await self._perform(step)
        return ""

    # ---------------------------------------------------------------- the stages

    async def _think(self, box: Box) -> None:
        if self.progress.answer is not None:
            return await self._close("finished", "", self.progress.answer)
        if why := self.project.budget.exceeded(self.progress.turns, self.progress.spent):
            return await self._close("exhausted", why)
        history = LedgerHistory(self.ledger, self.progress, thoughts=True)
        turn, begun = self.progress.turns + 1, anyio.current_time()
        try:
            with anyio.fail_after(self.project.budget.step_seconds):
                thought = await self.project.thinker.think(history, box)
            seconds = anyio.current_time() - begun
            state = await box.digest()
            saved = await box.save() if state != self.progress.box else None
            written = self._written(turn, thought, seconds, state, saved)
            proposed = self._proposed(turn, 0, thought.proposal)
        except Exception as error:  # noqa: BLE001  whatever went wrong, the thinker did not propose
            return await self._close("failed", f"the thinker failed: {told(error, 480)}")
        self.log(written)  # nothing can go wrong from here on: half a step would be committed too
        self.log(proposed)
        assert self.progress.step is not None
        return self._seal(self.progress.step, state)

    def _written(
        self, turn: int, thought: object, seconds: float, state: Digest, saved: bytes | None
    ) -> StepThought:
        """A thought as an event has it; its time is what the clock says, not what it says.

        Raises:
            ValueError, LedgerError: it is no thought, or it cannot be written down.
        """
        if not isinstance(thought, Thought):
            raise TypeError(f"a {type(thought).__name__} is no thought")
        parse_proposal(thought.proposal.canonical())
        usage = Usage.parse(thought.usage.canonical())
        return StepThought(
            turn=turn,
            content=self.journal.put(thought.content) if thought.content else None,
            calls=self.journal.put(list(map(_plain, thought.calls))) if thought.calls else None,
            box=state,
            state=self.progress.state if saved is None else self.journal.put(saved),
            usage=usage.model_copy(update={"seconds": seconds}),
        )

    def _proposed(
        self, turn: int, attempt: int, proposal: Proposal, by: str | None = None
    ) -> StepProposed:
        content = self.journal.put(proposal)
        return StepProposed(turn=turn, attempt=attempt, proposal=content, what=proposal.kind, by=by)

    def _seal(self, step: Pending, box: Digest) -> None:
        assert step.proposed is not None
        proposal = parse_proposal(self.ledger.get(step.proposed.proposal))
        executor = self._executor(proposal)
        moment = Moment(
            run=self.run,
            turn=step.turn,
            attempt=step.proposed.attempt,
            place=step.place,
            goal=self.opening.goal,
            history=self.progress.history,
            proposal=step.proposed.proposal,
            thought=step.thought.content if step.thought else None,
            box=box,
            tool=digest_of(executor.schema) if executor else None,
            restrictions=self.opening.restrictions,
            reviewers=self.reviewers,
        )
        self.log(MomentSealed(moment=moment))
        lot = step.draw or draw(self.secret, self.run, step.turn, rate(self.gate))
        self.log(
            AuditDrawn(
                moment=digest_of(moment), stratum=lot.stratum, rate=lot.rate, drawn=lot.drawn
            )
        )

    async def _judge(self, step: Pending) -> str:
        assert step.moment is not None and step.sealed is not None and step.draw is not None
        answer = self.gate.decide(step.moment, step.answers, step.draw)
        if isinstance(answer, Decision) and answer.action != "escalate":
            self.log(StepDecided(moment=step.sealed, decision=answer))
            return ""
        if isinstance(answer, Decision):
            if step.decision != answer:
                self.log(StepDecided(moment=step.sealed, decision=answer))
            assert answer.to is not None
            answer = Need(auditors=(answer.to,), within=answer.within)
        known = {answer.auditor for answer in step.answers}
        waits_for = ""
        for name in answer.auditors:
            if name not in known:
                waits_for = await self._ask(step, self.auditors[name], answer.within) or waits_for
        if waits_for:
            await self.journal.commit()  # a run that waits is nothing but rows
        return waits_for

    async def _ask(self, step: Pending, auditor: Auditor, within: float | None) -> str:
        """Ask one auditor; returns its name if the answer is still to come from elsewhere."""
        assert step.moment is not None and step.sealed is not None
        is_person = card(auditor).person
        if is_person and auditor.name not in step.asked:
            deadline = None if within is None else now() + int(within * 1e6)
            self.log(AuditAsked(moment=step.sealed, auditor=auditor.name, deadline=deadline))
        if is_person or getattr(auditor, "outside", False):
            await self.journal.commit()  # what is judged elsewhere must first be durable
        deadline = step.asked.get(auditor.name)
        seconds = within if is_person or within else self.project.budget.audit_seconds
        if deadline is not None:
            seconds = (deadline - now()) / 1e6
            if seconds <= 0:
                late = Failure(
                    auditor=auditor.name, moment=step.sealed, kind="late", cause="infrastructure"
                )
                self.log(AuditRecorded(failure=late))
                return ""
        here = getattr(auditor, "present", False) and auditor.name not in self.left
        if is_person and not here:
            return auditor.name
        everything = evidence(self.ledger, self.progress, step, auditor)
        shown = view(auditor, step.moment, step.sealed, self.project.goal, everything)
        try:
            answer = await ask(auditor, shown, seconds=seconds)
        except Left:
            self.left.add(auditor.name)
            return auditor.name
        self.log(recorded(answer, self.journal))
        return ""

    async def _replace(self, step: Pending, by: str) -> None:
        assert step.proposed is not None
        attempt = step.proposed.attempt + 1
        if attempt > ATTEMPTS:
            await self._close("failed", f"step {step.turn} was replaced {ATTEMPTS} times")
            return
        found = next(a for a in step.answers if a.auditor == by and not isinstance(a, Failure))
        assert found.replacement is not None
        replacement = parse_proposal(self.ledger.get(found.replacement))
        self.log(self._proposed(step.turn, attempt, replacement, by))

    async def _perform(self, step: Pending) -> None:
        assert step.moment is not None and step.sealed is not None
        ticket = issue(step.moment, step.sealed, self.journal)
        record = self.log(issued(ticket))
        executor = self._executor(ticket.act)
        if executor is None:
            raise Refused("no executor for this tool")
        outcome = await perform(ticket, record, executor, step.moment, self.journal)
        step.started = True
        self.log(finished(digest_of(ticket), outcome, self.journal))
        await self.journal.commit()

    def _doubt(self, step: Pending) -> None:
        assert step.ticket is not None
        if not step.in_doubt:
            self.log(ActInDoubt(ticket=step.ticket.ticket))

    async def _close(
        self,
        status: Literal["finished", "terminated", "exhausted", "failed"],
        reason: str,
        answer: Digest | None = None,
    ) -> None:
        self.log(RunClosed(status=status, reason=reason, answer=answer, secret=self.secret))
        await self.journal.commit()

    # ---------------------------------------------------------------- small things

    def log(self, body: Body) -> Event:
        """Write an event and stand where it leads."""
        event = self.journal.log(body)
        self.progress.apply(event)
        if self.watch is not None:
            self.watch(event)
        return event

    def _executor(self, proposal: Proposal) -> Executor | None:
        match proposal:
            case Act(tool=tool):
                return self.project.executors.get(tool)
            case Ask():
                return self.project.executors.get("ask")
            case _:
                return None

    def _opening(self) -> RunOpened:
        project = self.project
        restrictions = [one.model_dump(exclude_none=True) for one in project.restrictions]
        configuration = getattr(project.thinker, "configuration", None)
        return RunOpened(
            mode="live",
            project=project.name,
            goal=self.ledger.put(project.goal.encode()),
            thinker=project.thinker.name,
            thinking=configuration() if configuration else None,
            auditors=tuple(card(auditor) for auditor in self.auditors.values()),
            gate=spec(self.gate),
            tools=tuple(
                self.ledger.put(one.schema.canonical()) for one in project.executors.values()
            ),
            box=self.ledger.put(canonical(project.box.model_dump(mode="json", exclude_none=True))),
            budget=project.budget.model_dump(mode="json", exclude_none=True),
            restrictions=digest_value(restrictions),
            secret=digest_bytes(self.secret),
        )


def _plain(call: Completed) -> dict[str, object]:
    return call.model_dump(exclude_none=True)
