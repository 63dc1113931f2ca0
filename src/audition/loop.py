"""The path of a step: think, seal, draw, audit, decide, act; every stage an event in the ledger.

A run is its events. `Carrier.advance` looks at where they stand and takes the next stage; a process
that is killed leaves a prefix of them, and whoever takes the run up again goes on from there. What
leaves the process (a question to a person, an act) is committed first.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

import anyio

from audition.act import Refused
from audition.audit import Left
from audition.box import Box, BoxRefused, Unopened, open_box, unopened
from audition.candidates import due, state
from audition.failing import told
from audition.history import Progress, answer_of
from audition.judging import Judging
from audition.ledger import Conflict, Journal, LedgerError, SqlLedger
from audition.ledger.events import RestrictionDeclared, RunResumed
from audition.model import ModelAway
from audition.opening import terms
from audition.plain import shown
from audition.project import Project
from audition.stages import Stages
from audition.step import Decision, Event, Micros, RunId, now
from audition.taking_up import Carried, OtherProject, Standing

__all__ = ["POLL", "Carried", "Carrier", "OtherProject", "Result", "Status", "run"]

POLL = 0.5
"""Seconds between looks at the ledger while a run waits for a person."""

PAUSE = 1.0
"""Seconds until a model that is away is tried again; each time they double."""

LONGEST = 60.0
"""The most that they become."""

WORKER = "worker"
"""What a run waits for that was put down between two stages."""

THINKER = "thinker"
"""What a run waits for while the model with which it thinks is away."""

UNCOMMITTED = 256
"""Events of a run that may wait in memory for the next commit."""

Status = Literal["finished", "terminated", "exhausted", "failed", "waiting"]


@dataclass(frozen=True, slots=True)
class Result:
    """How a run stands when `run` returns."""

    run: RunId
    """The run."""
    status: Status
    """How it ended, or `waiting` for a person or for the thinker's model."""
    turns: int
    """Steps begun by the thinker."""
    answer: str | None = None
    """The root's answer, if it finished."""
    reason: str = ""
    """Why it ended or waits, where that needs saying."""
    waits_for: str = ""
    """Whom or what it waits for."""
    events: int = 0
    """Events of the run at which it stands; whatever is written after them, it has not seen."""
    again: Micros | None = None
    """When it is to be looked at again though nobody writes to it: at somebody's deadline."""


async def run(
    project: Project,
    ledger: SqlLedger,
    *,
    run_id: RunId | None = None,
    wait: bool = False,
    watch: Callable[[Event], None] | None = None,
    put_down: Callable[[], bool] | None = None,
) -> Result:
    """Carry a run until it ends or nobody here can take it further.

    Args:
        project: who thinks, who judges, what may pass, what performs.
        ledger: where the run is.
        run_id: a run to take up again; None begins one.
        wait: stay and look at the ledger while a person is awaited, and try again while the
            thinker's model is away, instead of returning.
        watch: is told of each event as it is written.
        put_down: is asked before each stage whether the run is to be left as it stands.

    Raises:
        OtherProject: the run was opened under another project.
        BoxRefused, BoxUnavailable: the box cannot be opened here, or not as it was left.
        Carried: another process has taken the run up.
        LedgerError: the ledger cannot be written.
        Refused: what is to be done is not what was judged; nothing was done.
    """
    carrier = Carrier(project, ledger, run_id or uuid.uuid4().hex, watch, put_down)
    result, pause, turns = carrier.ended(), PAUSE, -1
    while result is None:
        try:
            async with carrier.box() as box:
                result = await carrier.carry(box, wait=wait)
        except Carried:
            raise
        except Conflict:  # what stood on events that are not there was not done
            carrier.give_way()
        if wait and result is not None and result.waits_for == THINKER:
            pause = min(2 * pause, LONGEST) if result.turns == turns else PAUSE
            turns = result.turns
            await anyio.sleep(pause)
            carrier.standing.give_way(afresh=False)
            result = carrier.ended()
    return result


class Carrier:
    """One run in the hands of this process, as it stands in the ledger.

    Raises:
        OtherProject: the run was opened under another project.
    """

    def __init__(
        self,
        project: Project,
        ledger: SqlLedger,
        run: RunId,
        watch: Callable[[Event], None] | None = None,
        put_down: Callable[[], bool] | None = None,
    ) -> None:
        self.put_down = put_down
        self.project = project
        self.ledger = ledger
        self.run = run
        self.terms = terms(project, run)
        self.standing = Standing(self.terms, ledger, run, watch)
        self.judging = Judging(self.terms, self.standing)
        self.stages = Stages(self.terms, self.standing)
        self.log = self.standing.log
        self.many = self.terms.opened.candidates is not None
        self.begun = False

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self.standing.progress

    @property
    def journal(self) -> Journal:
        """The run's pen."""
        return self.standing.journal

    # ---------------------------------------------------------------- taking up and putting down

    def give_way(self) -> None:
        """Stand where the ledger stands, unless another process has taken the run up.

        What this process knew beside it is gone.

        Raises:
            Carried: it has; whoever takes a run up last carries it.
        """
        self.standing.give_way()
        self.stages.rollouts.begin()
        self.begun = False

    def box(self) -> AbstractAsyncContextManager[Box | Unopened]:
        """A box in the state in which the next thought is to be had.

        The first is opened at once, to see that it can be; of those after it, one in which nothing
        is done is not.
        """
        digest, archive = state(self.progress)
        saved = self.ledger.get(archive) if archive else None
        if self.begun and saved is not None and digest is not None:
            return unopened(self.project.box, saved, digest)
        return open_box(self.project.box, saved=saved)

    async def begin(self, box: Box | Unopened) -> None:
        """Open the run, or record that it is taken up again, and in what confinement.

        Raises:
            BoxRefused: the box is not in the state in which the next thought is to be had.
        """
        progress = self.progress
        if progress.closed is not None:
            return
        step, found, left = progress.step, await box.digest(), state(progress)[0]
        if step is not None and self.terms.plants_at(progress, step.turn):
            left = step.left[0]  # a planted thought changed no box, whatever it says
        if left not in (None, found):
            raise BoxRefused(
                f"run {self.run}: the box was rebuilt as {found[:12]}…, but the last thought left "
                f"it as {str(left)[:12]}…; the saved state was altered, see `audition verify`"
            )
        if self.begun:
            return
        self.begun = True
        assert not isinstance(box, Unopened)
        confinement = self.journal.put(box.report())
        if progress.opened is not None:
            self.log(RunResumed(box=found, confinement=confinement, savepoint=progress.saved))
        else:
            for content in self.terms.contents:
                self.ledger.put(content)
            start = (found, self.ledger.put(await box.save())) if self.many else (None, None)
            self.log(self.terms.first(confinement, *start))
            for restriction in self.project.restrictions:
                self.log(RestrictionDeclared(restriction=restriction))
            if self.terms.seal is not None:
                self.log(self.terms.seal)
        if step is not None and step.started:
            self.stages.doubt(step)
        if step is None or step.started:  # one that goes on commits before anything leaves
            await self.journal.commit()

    async def carry(self, box: Box | Unopened, *, wait: bool) -> Result | None:
        """Go on in this box, which is in the state that the next thought is to find.

        Returns:
            How the run stands; None when the next thought is to be had in a box opened for it, as
            each is where there are candidates.

        Raises:
            BoxRefused: the box is not in that state.
            Conflict: another process, or a person in one, wrote to this run.
        """
        try:
            return await self._carry(box, wait)
        except (LedgerError, Refused):  # what was staged last is not to stand
            raise
        except BaseException:  # an outcome that waits for the next commit shall not be lost
            with anyio.CancelScope(shield=True), contextlib.suppress(LedgerError):
                await self.journal.commit()
            raise

    async def _carry(self, box: Box | Unopened, wait: bool) -> Result | None:
        fresh = self.begun
        await self.begin(box)
        while self.progress.closed is None:
            if self.put_down is not None and self.put_down():
                await self.journal.commit()
                return self._waits(WORKER)
            if self.many and self._thinks() and not fresh:
                await self.journal.commit()  # candidate 0 is fixed before another is thought
                return None
            fresh = False
            try:
                waits_for = await self.advance(box)
            except ModelAway as away:  # the box goes, with whatever was begun in it
                await self.journal.commit()
                return self._waits(THINKER, shown(told(away)))
            except Left as left:
                await self.journal.commit()
                return self._waits(self.project.thinker.name, told(left))
            if waits_for and not wait:
                return self._waits(waits_for)
            if waits_for:
                await anyio.sleep(POLL)
                self.standing.give_way(afresh=False)
        return self.ended()

    def ended(self) -> Result | None:
        """How the run ended, if it did."""
        progress = self.progress
        closed = progress.closed
        if closed is None:
            return None
        assert closed.status != "recorded" and closed.status != "trained"
        answer = answer_of(self.ledger, closed.answer) if closed.answer else None
        steps, events = progress.steps, self.journal.durable
        return Result(self.run, closed.status, steps, answer, closed.reason, events=events)

    async def advance(self, box: Box | Unopened) -> str:
        """Take the next stage; returns whom the run waits for, or nothing if it goes on."""
        progress, journal = self.progress, self.journal
        if journal.seq - journal.durable > UNCOMMITTED:
            await journal.commit()
        step = progress.step
        if step is None:
            await self.stages.think(box)
            return ""
        if step.started:  # another process performs it, or died doing so
            return "settle"
        if step.moment is None:
            self.stages.seal(step)
            return ""
        if due(progress):
            await self.stages.roll_out(box)
            return ""
        fallen = progress.signoffs.withdrawn(self.ledger, self.run, step.answers, step.asked)
        if fallen is not None:  # an approval falls with its key, or with its time
            self.log(fallen)
            return ""
        match step.decision:
            case None | Decision(action="escalate"):
                return await self.judging.judge(step)
            case Decision(action="modify", by=str() as by):
                await self.stages.replace(step, by)
            case Decision(action="terminate", reason=reason):
                await self.stages.close("terminated", reason)
            case _:
                await self.stages.perform(step)
        return ""

    def _waits(self, waits_for: str, reason: str = "") -> Result:
        progress, clock = self.progress, now()
        step = progress.step
        asked = step.asked.values() if step is not None else ()
        again = min((until for until in asked if until is not None and until > clock), default=None)
        return Result(
            run=self.run,
            status="waiting",
            turns=progress.steps,
            reason=reason,
            waits_for=waits_for,
            events=self.journal.durable,
            again=again,
        )

    def _thinks(self) -> bool:
        progress = self.progress
        return due(progress) or (progress.step is None and progress.answer is None)
