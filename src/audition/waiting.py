"""What waits for a person, and how the person's answer enters the run, from any process.

A run that waits is nothing but rows: the process that carried it may be gone. Whoever answers
writes the run's next event; the ledger refuses it if anything else was written meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from audition.audit import ask, recorded, view, without_words
from audition.failing import told
from audition.gate import approves, keys_asked
from audition.history import LedgerHistory, Pending, Progress, sealed_proposal, standing
from audition.ledger import Conflict, Journal, LedgerError, LetGo, PrivateKey, SqlLedger, text
from audition.ledger.claims import queue
from audition.ledger.events import ActInDoubt, ActSettled, AuditRecorded
from audition.plain import shown
from audition.signoff import enrolled_key
from audition.step import (
    Auditor,
    AuditorCard,
    Digest,
    Evidence,
    Failure,
    Micros,
    Outcome,
    Proposal,
    RunId,
    Verdict,
    now,
)

TRIES = 20
"""How often an answer is written anew because others answered at the same time."""


class NotWaiting(ValueError):
    """Nothing waits there, or not for this person; the message says what does."""


@dataclass(frozen=True, slots=True)
class Signing:
    """How far the sign-off of a moment has come."""

    needs: int
    """How many must sign."""
    asked: tuple[str, ...]
    """Who was asked."""
    signed: tuple[str, ...]
    """Who has signed."""

    @property
    def missing(self) -> int:
        """How many signatures are still needed."""
        return max(0, self.needs - len(self.signed))


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that only a person can move on."""

    run: RunId
    turn: int
    for_whom: str
    """The person asked, or `settle` for an act in doubt."""
    deadline: Micros | None
    proposal: Proposal
    goal: str
    ticket: Digest | None = None
    """The ticket of an act in doubt."""
    moment: Digest | None = None
    """The moment that is to be judged."""
    signing: Signing | None = None
    """How far its sign-off has come, where the person is asked for a key."""
    told: str = ""
    """What the executor could say of an act in doubt."""
    in_doubt: bool = False
    """Whether the act is recorded as in doubt; one that has only begun may be under way."""


def waiting(
    ledger: SqlLedger, *, unreadable: Callable[[RunId, str], None] | None = None
) -> Iterator[Waiting]:
    """Everything that waits, oldest run first.

    Args:
        ledger: where the runs are.
        unreadable: is told of each run that cannot be read, and why (a warning is logged if left
            out); the others are listed still.
    """
    for run in ledger.runs():
        try:
            found = list(awaited(ledger, run))
        except LetGo:  # only what has ended is let go, and that waits for nobody
            continue
        except Exception as error:  # noqa: BLE001  one run must not hide the others
            (unreadable or _warn)(run, told(error))
        else:
            yield from found


def awaited(ledger: SqlLedger, run: RunId) -> Iterator[Waiting]:
    """What waits in one run.

    Raises:
        LedgerError: the run or its content cannot be read.
    """
    progress, _ = standing(ledger, run)
    step, opened = progress.step, progress.opened
    if step is None or opened is None or progress.closed is not None or not step.proposed:
        return
    goal, proposal = text(ledger.get(opened.goal)), _judged(ledger, step)
    if step.started:
        ticket = step.ticket.ticket if step.ticket else None
        told = Outcome.parse(ledger.get(step.told)).output if step.told else ""
        yield Waiting(
            run,
            step.turn,
            "settle",
            None,
            proposal,
            goal,
            ticket,
            told=told,
            in_doubt=step.in_doubt,
        )
    for name in _unanswered(step):
        signing = _signing(progress, step, name)
        if signing is None or signing.missing:
            yield Waiting(
                run,
                step.turn,
                name,
                step.asked[name],
                proposal,
                goal,
                moment=step.sealed,
                signing=signing,
            )


def asked(ledger: SqlLedger, run: RunId, name: str) -> tuple[int, Digest]:
    """The step and the moment about which somebody is asked for a key.

    Raises:
        NotWaiting: the run does not wait for this person's key.
    """
    progress = _open(ledger, run)[1]
    step = _asked(run, progress, name, None)
    if name not in progress.signoffs.people:
        raise NotWaiting(f"run {run} asks {name} for no key, but to judge")
    assert step.sealed is not None
    return step.turn, step.sealed


def declared(ledger: SqlLedger, run: RunId, name: str) -> AuditorCard:
    """What a run declared of an auditor when it opened."""
    return _card(_open(ledger, run)[1], name)


async def answer(
    ledger: SqlLedger,
    run: RunId,
    auditor: Auditor,
    *,
    key: PrivateKey | None = None,
    moment: Digest | None = None,
) -> None:
    """Show a waiting moment to the person who is asked, and record the verdict.

    Args:
        ledger: where the run is.
        run: the run.
        auditor: the person, under the name and in the role that the run declared.
        key: signs the answer, where the gate asks for keys.
        moment: the moment that the person means; None: whichever waits.

    Raises:
        NotWaiting: the run does not wait for this person, or no longer.
        RegisterError: the person may not sign off with this key; the moment still waits.
        Conflict: the run went on while the person thought; nothing was recorded.
        Left: the person went away; nothing was recorded, and the moment still waits.
        LedgerError: the ledger does not hold what was sealed.
    """
    journal, progress = _open(ledger, run)
    step = _asked(run, progress, auditor.name, moment)
    assert progress.opened is not None and step.moment is not None and step.sealed is not None
    if signs := auditor.name in progress.signoffs.people:
        enrolled_key(ledger, progress.signoffs, run, auditor.name, key)
    if (role := _card(progress, auditor.name).role) is not auditor.role:
        raise NotWaiting(f"{auditor.name} was declared as a {role}")
    deadline = step.asked[auditor.name]
    seconds = None if deadline is None else (deadline - now()) / 1e6
    if seconds is not None and seconds <= 0:
        late = Failure(
            auditor=auditor.name, moment=step.sealed, kind="late", cause="infrastructure"
        )
        journal.log(AuditRecorded(failure=late))
        await journal.commit()
        raise NotWaiting(f"the deadline has passed; the answer to {auditor.name} is no")
    goal = text(ledger.get(step.moment.goal))
    everything = evidence(ledger, progress, step, auditor, _judged(ledger, step))
    handed = view(auditor, step.moment, step.sealed, goal, everything)
    said = await ask(auditor, handed, seconds=seconds)
    if not signs:
        journal.log(recorded(said, journal))
        await journal.commit()
        return
    for _ in range(TRIES):  # several may sign at once: what another signed changes nothing here
        journal, progress = _open(ledger, run)
        step = _asked(run, progress, auditor.name, step.sealed)
        _sign(journal, progress, step, said, key)
        with contextlib.suppress(Conflict):
            await journal.commit()
            return
    raise Conflict(f"run {run}: others wrote to it all the time; nothing was recorded, try again")


async def settle(ledger: SqlLedger, run: RunId, *, happened: bool, by: str, told: str = "") -> None:
    """Record a person's word on whether an act in doubt happened; the run can then go on.

    Args:
        ledger: where the run is.
        run: the run.
        happened: whether the act took effect.
        by: who says so.
        told: what the run is told came back.

    Raises:
        NotWaiting: no act of this run is in doubt, or a worker holds the run.
    """
    for work in queue(ledger.database, run):
        if work.leased:
            raise NotWaiting(
                f"run {run} is held by {shown(work.worker or '', 120)}: an act is under way there "
                "until its lease has run out or it puts the run down"
            )
    journal, progress = _open(ledger, run)
    step = progress.step
    if step is None or not step.started or step.ticket is None:
        raise NotWaiting(f"run {run}: no act is in doubt")
    if not step.in_doubt:
        journal.log(ActInDoubt(ticket=step.ticket.ticket))
    word = "happened" if happened else "did not happen"
    outcome = Outcome(status="unknown", output=told or f"{by} settled that it {word}")
    journal.log(
        ActSettled(
            ticket=step.ticket.ticket, happened=happened, by=by, outcome=journal.put(outcome)
        )
    )
    await journal.commit()


def evidence(
    ledger: SqlLedger, progress: Progress, step: Pending, auditor: Auditor, judged: Proposal
) -> dict[Evidence, object]:
    """All the evidence there is about a sealed step; `audition.audit.view` hands out what is due.

    Args:
        ledger: where the content is.
        progress: where the run stands.
        step: the step.
        auditor: whose view it is for.
        judged: the proposal that was sealed.

    Raises:
        LedgerError: the ledger does not hold what was sealed.
    """
    assert step.moment is not None
    if step.moment.history != progress.history:
        raise LedgerError(
            f"run {progress.run}: what happened before step {step.turn} is not what it was sealed "
            "with; see `audition verify`"
        )
    found: dict[Evidence, object] = {Evidence.PROPOSAL: judged}
    if Evidence.HISTORY in auditor.sees:
        seen = Evidence.THOUGHT in auditor.sees
        found[Evidence.HISTORY] = LedgerHistory(ledger, progress, thoughts=seen)
    if Evidence.CANDIDATES in auditor.sees:
        found[Evidence.CANDIDATES] = (judged, *_others(ledger, step))
    if step.moment.thought is not None:
        found[Evidence.THOUGHT] = text(ledger.get(step.moment.thought))
    return found


def _open(ledger: SqlLedger, run: RunId) -> tuple[Journal, Progress]:
    progress, following = standing(ledger, run)
    if not following:
        raise NotWaiting(f"the ledger has no run {run}")
    return Journal(ledger, run, following), progress


def _asked(run: RunId, progress: Progress, name: str, moment: Digest | None) -> Pending:
    """The step about which a person is asked, if it is the moment that the person means."""
    step = progress.step
    if step is None or name not in _unanswered(step):
        raise NotWaiting(f"run {run} does not wait for {name}")
    if moment not in (None, step.sealed):
        raise NotWaiting(f"run {run} waits for {name} about another moment now; look again")
    return step


def _sign(
    journal: Journal,
    progress: Progress,
    step: Pending,
    said: Verdict | Failure,
    key: PrivateKey | None,
) -> None:
    """Log an answer under the person's key, and before it what the run must know of the key."""
    assert step.moment is not None
    if isinstance(said, Verdict):
        name, signoffs = said.auditor, progress.signoffs
        told = enrolled_key(journal.ledger, signoffs, journal.run, name, key)
        if told is not None:
            journal.log(told)
            signoffs.take(told)
        expires = step.asked[name]
        assert key is not None and expires is not None
        said = signoffs.signed(said, step.moment, expires, key)
        assert not signoffs.amiss(without_words(said), step.moment, expires)
    journal.log(recorded(said, journal))


def _warn(run: RunId, why: str) -> None:
    logging.getLogger("audition").warning("run %s cannot be read: %s", run, shown(why, 300))


def _signing(progress: Progress, step: Pending, name: str) -> Signing | None:
    """How far the sign-off has come for which somebody is asked."""
    assert progress.opened is not None
    signed = tuple(one.auditor for one in step.answers if approves(one))
    found: Signing | None = None
    for needs, of in keys_asked(progress.opened.gate):
        if name in of:
            asked = tuple(one for one in of if one in step.asked)
            this = Signing(needs, asked, tuple(one for one in signed if one in of))
            found = this if found is None or this.missing > found.missing else found
    return found


def _judged(ledger: SqlLedger, step: Pending) -> Proposal:
    """The proposal as it was sealed, not as a later event or another content would have it."""
    assert step.proposed is not None
    name = step.moment.proposal if step.moment is not None else step.proposed.proposal
    return sealed_proposal(ledger, name)


def _others(ledger: SqlLedger, step: Pending) -> list[Proposal]:
    """The further candidates, as they were sealed."""
    found = step.candidates.candidates if step.candidates is not None else ()
    return [sealed_proposal(ledger, one.proposal) for one in found]


def _unanswered(step: Pending) -> list[str]:
    if step.decision is not None and step.decision.action != "escalate":
        return []
    known = {answer.auditor for answer in step.answers}
    return [name for name in step.asked if name not in known]


def _card(progress: Progress, name: str) -> AuditorCard:
    assert progress.opened is not None
    return next(card for card in progress.opened.auditors if card.name == name)
