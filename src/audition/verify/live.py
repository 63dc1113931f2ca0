"""The rules of a live run: judged before done, exactly what was judged, and at most once.

`Due` says what may come next; `_MAY` says where each kind of event may stand. An event out of place
ends the examination of its run; anything else that is wrong is reported and the run followed on.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from enum import Enum
from functools import lru_cache
from typing import Any, NoReturn

from audition.canonical import digest_bytes
from audition.gate import draw
from audition.gate.draw import STRATUM
from audition.ledger.events import (
    ActFinished,
    ActInDoubt,
    ActSettled,
    ActStarted,
    AuditAsked,
    AuditDrawn,
    AuditRecorded,
    CandidatesSealed,
    KeyEnrolled,
    KeyRevoked,
    MomentSealed,
    PlantOpened,
    PlantSealed,
    RestrictionDeclared,
    RunClosed,
    RunResumed,
    RunSaved,
    StepDecided,
    StepProposed,
    StepThought,
    ThoughtFailed,
    TicketIssued,
)
from audition.ledger.savepoint import Frame
from audition.step import (
    MOST,
    Body,
    Decision,
    Digest,
    Draw,
    Event,
    Micros,
    Need,
)
from audition.verify import candidates
from audition.verify.case import Case, Disorder, Step
from audition.verify.finding import Place
from audition.verify.opening import terms
from audition.verify.plants import TRUST, Planted
from audition.verify.savepoints import Savepoints
from audition.verify.signoff import Enrolled, Signed
from audition.verify.tickets import Tickets

DEEPEST = 400
"""Longest place, as a moment may have it."""


OTHER_BOX = "taken up in another box than the last thought left"


class Due(Enum):
    """What a run's next event may be, as a finding puts it."""

    RESTRICTION = "a restriction, a thought or the end"
    THOUGHT = "a thought or the end"
    PROPOSAL = "the thought's proposal"
    SEAL = "the sealed moment"
    DRAW = "the draw"
    CANDIDATES = "the sealed candidates"
    DECISION = "verdicts and a decision"
    OPENED = "the decision about the planted step"
    REPLACEMENT = "the replacement"
    TICKET = "a ticket"
    START = "the act's start"
    RESULT = "what came of the act"
    DOUBT = "the word that the act is in doubt"
    SETTLEMENT = "a person's word on the act in doubt"
    FAILED = "the end, failed"
    FINISHED = "the end, finished"
    TERMINATED = "the end, terminated"


_OPEN = (Due.RESULT, Due.DOUBT, Due.SETTLEMENT)
_ENDS = (Due.RESTRICTION, Due.THOUGHT, Due.FAILED, Due.REPLACEMENT, Due.FINISHED, Due.TERMINATED)
"""Where a run may end; in the middle of a judgement none does."""
_MAY: dict[str, tuple[Due, ...]] = {
    "restriction.declared": (Due.RESTRICTION,),
    "plant.sealed": (Due.RESTRICTION, Due.THOUGHT),
    "run.saved": (Due.THOUGHT,),
    "step.thought": (Due.RESTRICTION, Due.THOUGHT),
    "thought.failed": (Due.RESTRICTION, Due.THOUGHT),
    "step.proposed": (Due.PROPOSAL, Due.REPLACEMENT),
    "moment.sealed": (Due.SEAL,),
    "audit.drawn": (Due.DRAW,),
    "candidates.sealed": (Due.CANDIDATES,),
    "audit.asked": (Due.DECISION,),
    "audit.recorded": (Due.DECISION,),
    "key.enrolled": (Due.DECISION,),
    "key.revoked": (Due.DECISION,),
    "plant.opened": (Due.DECISION,),
    "step.decided": (Due.DECISION, Due.OPENED),
    "ticket.issued": (Due.TICKET, Due.START),  # a process that died before the start issues anew
    "act.started": (Due.START,),
    "act.finished": (Due.RESULT,),
    "act.in_doubt": (Due.RESULT, Due.DOUBT),
    "act.settled": (Due.SETTLEMENT,),
    "run.closed": tuple(due for due in Due if due not in _OPEN),
}


class Live:
    """Follows one live run through its events."""

    def __init__(self, case: Case, redeemed: set[bytes], enrolled: Enrolled) -> None:
        self._case = case
        self._signed = Signed(case, enrolled)
        self._due = Due.RESTRICTION
        self._frames = [Frame("1", case.opened.goal)]
        self._thought: StepThought | None = None
        self._step: Step | None = None
        self._decision: Decision | None = None
        self._replacement: Digest | None = None
        self._tickets = Tickets(case, redeemed)
        self._answer: Digest | None = None
        self._lot: Draw | None = None
        self._planted = Planted(case)
        self._turns = bytearray()
        """Of each step a sum: 1 if it was drawn, 2 if it was opened as planted."""
        self._places = array("q")
        self._box: Digest | None = case.opened.start
        self._before: Digest | None = None
        self._spent = 0.0
        self._pace: Micros = 0
        """How long after the event before it the one under examination is."""
        self._savepoints = Savepoints(case)
        self._terms = terms(case)

    def take(self, event: Event) -> None:
        """Hold the run's next event against the rules.

        Raises:
            Disorder: it may not stand here.
        """
        body: Any = event.body
        self._clock(event.at)
        kind = type(body)
        if kind is RunResumed:
            self._resume(body)
            return
        fallen = self._signed.people and self._signed.withdraws(self._step, event)
        if fallen and self._due in (Due.TICKET, Due.START):
            self._decision, self._due = None, Due.DECISION  # what rested on it is undecided again
        rule = _RULES.get(kind)
        if rule is None or self._due not in rule[1]:
            self._misplaced(body)
        if self._due is Due.RESTRICTION and kind is not RestrictionDeclared:
            self._case.declared()
        rule[0](self, body, event)

    def _declare(self, body: RestrictionDeclared, _: Event) -> None:
        self._case.declares(body.restriction)

    def _open_plant(self, body: PlantOpened, _: Event) -> None:
        self._planted.open(self._the_step, body)
        self._the_step.planted, self._due = True, Due.OPENED
        self._turns[-1] |= 2

    def _think(self, body: StepThought, _: Event) -> None:
        self._begin(body)
        self._thought, self._lot, self._due = body, None, Due.PROPOSAL
        self._before, self._box = self._box, body.box
        changed, planting = body.box != self._before, self._planted.seal is not None
        self._savepoints.thought(body, self._pace, changed=changed, planting=planting)

    def _save(self, body: RunSaved, _: Event) -> None:
        self._savepoints.saved(
            body,
            frames=self._frames,
            box=self._box,
            seal=self._planted.seal,
            planted=self._planted.opened,
            keys=self._signed.keys,
        )

    def _fail(self, body: ThoughtFailed, _: Event) -> None:
        self._begin(body)
        self._due = Due.FAILED

    def _seal(self, body: MomentSealed, _: Event) -> None:
        self._case.sealed(self._the_step, body)
        self._due = Due.DRAW

    def _seal_candidates(self, body: CandidatesSealed, _: Event) -> None:
        candidates.sealed(self._case, self._the_step, body, self._before)
        self._due = Due.DECISION

    def _tell(self, body: KeyEnrolled | KeyRevoked, _: Event) -> None:
        self._signed.told(body)

    def _issue(self, body: TicketIssued, event: Event) -> None:
        self._tickets.issued(self._the_step, body, event.at)
        self._due = Due.START

    def _start(self, body: ActStarted, _: Event) -> None:
        self._tickets.started(body)
        if self._terms.missing:
            says = f"an act whose decision could not be re-run here: {self._terms.missing}"
            self._case.found(5, says)
        self._signed.used(self._the_step)
        self._due = Due.RESULT

    def _finish(self, body: ActFinished, _: Event) -> None:
        self._tickets.under_way(body.ticket)
        self._tickets.finished(body)
        self._complete("proceed", body.outcome)

    def _settle(self, body: ActSettled, _: Event) -> None:
        self._tickets.under_way(body.ticket)
        self._complete("proceed", body.outcome)

    def _doubt(self, body: ActInDoubt, _: Event) -> None:
        self._tickets.under_way(body.ticket)
        self._due = Due.SETTLEMENT

    @property
    def _the_step(self) -> Step:
        assert self._step is not None
        return self._step

    def _misplaced(self, body: Any) -> NoReturn:
        if isinstance(body, ActStarted):
            self._tickets.once(body.ticket)
        if isinstance(body, (TicketIssued, ActStarted)) and self._due not in _OPEN:
            permitted = self._due in (Due.TICKET, Due.START)
            raise Disorder(
                9 if permitted else 1,
                f"{body.kind} without {'a ticket' if permitted else 'a decision to proceed'}",
            )
        guarantee = 9 if self._due in _OPEN else 4
        raise Disorder(guarantee, f"{body.kind} stands where {self._due.value} was due")

    def _clock(self, at: Micros) -> None:
        """What was past once stays past, though the clock go back."""
        self._pace = self._case.clock(at)
        if at > self._tickets.until:
            self._tickets.lapsed = True
        step = self._step
        if step is None or not step.asked:
            return
        for name, deadline in step.asked.items():
            if deadline is not None and at > deadline:
                step.overdue.add(name)

    def _resume(self, body: RunResumed) -> None:
        rolling = self._due is Due.CANDIDATES
        if self._box is not None and body.box != (self._before if rolling else self._box):
            maybe = self._step is not None and (self._step.planted or self._planted.may_come)
            if self._step is None or not maybe or body.box != self._before:
                self._case.found(2, OTHER_BOX)
            else:  # a thought that was planted changed no box, whatever it says
                self._step.elsewhere = True
        self._savepoints.resumed(body)
        if self._due is Due.RESULT:
            self._due = Due.DOUBT  # whoever takes a run up cannot know what came of its act

    def _seal_plants(self, body: PlantSealed, _: Event) -> None:
        if self._case.turn:
            raise Disorder(TRUST, "planted steps are sealed after the first step")
        self._planted.sealed(body)
        self._due = Due.THOUGHT

    def _begin(self, body: StepThought | ThoughtFailed) -> None:
        self._case.begun(body.turn)
        if body.turn - self._planted.opened > self._terms.steps:
            self._case.found(1, f"step {body.turn} of a run that may take {self._terms.steps}")
        elif self._spent >= self._terms.seconds:
            self._case.found(1, f"a thought after {self._terms.seconds} seconds of thinking")
        self._spent += body.usage.seconds if body.usage else 0.0

    def _propose(self, body: StepProposed, _: Event) -> None:
        if body.turn != self._case.turn:
            raise Disorder(4, f"the thought of step {self._case.turn} ends in step {body.turn}")
        attempt = 0
        if self._due is Due.REPLACEMENT:
            assert self._decision is not None
            attempt = self._the_step.attempt + 1
            if body.by != self._decision.by or body.proposal != self._replacement:
                self._case.found(2, "not the replacement that the decision names")
        if body.attempt != attempt:
            raise Disorder(4, f"attempt {body.attempt} where attempt {attempt} was due")
        self._step = self._case.proposed(body, self._thought, self._frames[-1].place)
        self._step.before = self._planted.opened
        self._decision = self._replacement = None
        self._tickets.end()
        self._due = Due.SEAL

    # ---------------------------------------------------------------- judged before done

    def _draw(self, body: AuditDrawn, event: Event) -> None:
        if body.moment != self._the_step.sealed:
            raise Disorder(4, "a draw for another moment than the sealed one")
        lot = _lot(body.stratum, body.rate, body.drawn)
        if self._lot is None:
            self._lot = lot
            self._turns.append(lot.drawn)
            here = self._case.findings.here
            self._places.extend((here[0] if here else -1, event.seq))
            self._check_declared(lot)
        elif lot != self._lot:
            self._case.found(4, "a replacement is drawn anew; it keeps its step's draw")
        due = candidates.demanded(self._case, self._the_step, lot)
        self._due = Due.CANDIDATES if due else Due.DECISION

    def _check_declared(self, lot: Draw) -> None:
        """The rate is the gate's; whether the lottery drew is seen when its secret is shown."""
        if self._terms.rate is not None and (lot.stratum, lot.rate) != (STRATUM, self._terms.rate):
            says = f"drawn from {lot.stratum} at rate {lot.rate}, declared is {self._terms.rate}"
            self._case.found(4, says)

    def _ask(self, body: AuditAsked, event: Event) -> None:
        """Who is asked once has no second deadline; the first is what the gate gives."""
        step, name, at = self._the_step, body.auditor, event.at
        again = name in step.asked
        self._case.asked(step, body)
        if again or name not in step.asked or self._terms.gate is None:
            return
        named = False
        for within in self._given(step, name):
            if within is None or (body.deadline or MOST) <= at + within * 1e6:
                return
            named = True
        if named:
            self._case.found(5, f"{name} has no deadline, or one beyond what the gate gives")
        else:
            self._case.found(4, f"{name} is asked, whom the gate does not name here")

    def _given(self, step: Step, name: str) -> Iterator[float | None]:
        """How long the gate gives an auditor, as after each answer so far, the latest first.

        Several are asked in one go: while the first answer, the question to the next is as before.
        """
        for count in range(len(step.answers), -1, -1):
            answer = self._says(step, count)
            asked = answer.auditors if isinstance(answer, Need) else (getattr(answer, "to", None),)
            if answer is not None and name in asked:
                yield answer.within

    def _answer_of(self, body: AuditRecorded, event: Event) -> None:
        step, name = self._the_step, body.answer.auditor
        if self._signed.heard(step, body.answer):
            self._case.answered(step, body, event.at)
        candidates.ranked(self._case, step, body.answer)
        if name in self._case.cards and self._case.cards[name].person and name not in step.asked:
            self._case.found(5, f"{name} answers without having been asked")

    def _decide(self, body: StepDecided, _: Event) -> None:
        step, decision = self._the_step, body.decision
        if body.moment != step.sealed:
            raise Disorder(4, "a decision about another moment than the sealed one")
        self._rerun(step, decision)
        if step.planted:
            self._drop(decision)
            return
        if step.elsewhere and decision.action != "escalate":
            self._case.found(2, OTHER_BOX)
        self._decision = decision
        if decision.action in ("proceed", "modify"):
            self._signed.used(step)
        match decision.action:
            case "escalate":
                pass
            case "terminate":
                self._due = Due.TERMINATED
            case "reject":
                self._complete("reject", None)
            case "modify":
                by = [one for one in step.answers if one.auditor == decision.by]
                self._replacement = getattr(by[0], "replacement", None) if by else None
                if self._replacement is None:
                    self._case.found(5, f"{decision.by} recorded no replacement")
                self._due = Due.REPLACEMENT
            case "proceed" if step.what in ("act", "ask"):
                self._due = Due.TICKET
            case "proceed":
                self._complete("proceed", None)
                self._descend(step)

    def _drop(self, decision: Decision) -> None:
        """What was planted is no step of the run, whatever was decided."""
        if decision.action == "escalate":
            self._case.found(TRUST, "a planted step is opened before a person has answered")
        self._box = self._before
        self._savepoints.dropped()
        self._thought = self._step = self._decision = None
        self._tickets.end()
        self._due = Due.THOUGHT

    def _rerun(self, step: Step, decision: Decision) -> None:
        """A gate is pure: the recorded answers and the draw give the recorded decision."""
        if self._terms.gate is None:
            self._case.tally.decisions_unchecked += 1
            return
        self._case.tally.decisions += 1
        answer = self._says(step, len(step.answers))
        if answer is None:
            return
        if isinstance(answer, Need):
            self._case.found(5, f"decided before {', '.join(answer.auditors)} had answered")
        elif answer != decision:
            says = f"decided {decision.action} ({decision.reason}), the gate says {answer.action}"
            self._case.found(5, f"{says} ({answer.reason})")

    def _says(self, step: Step, count: int) -> Decision | Need | None:
        """What the gate says to the first answers; None, with a finding, if it fails."""
        assert self._terms.gate is not None and step.moment is not None and self._lot is not None
        try:
            return self._terms.gate.decide(step.moment, tuple(step.answers[:count]), self._lot)
        except Exception as error:  # noqa: BLE001  a gate from elsewhere may do anything
            self._case.found(5, f"the gate cannot be re-run: {type(error).__name__}: {error}")
            return None

    def _descend(self, step: Step) -> None:
        if step.what == "think":
            frame = self._frames[-1]
            place, children = frame.place, frame.children + 1
            self._frames[-1] = Frame(place, frame.opened_by, children)
            self._frames.append(Frame(f"{place}.{children}", step.proposal))
            if len(place) > DEEPEST:
                raise Disorder(4, "a step within more steps than a place can name")
        elif len(self._frames) > 1:
            self._frames.pop()
        else:
            self._answer, self._due = step.proposal, Due.FINISHED

    def _complete(self, action: str, outcome: Digest | None) -> None:
        entry = self._the_step.entry(action, outcome)
        self._case.enters(entry)
        self._savepoints.entered(entry["turn"])
        self._thought = self._step = self._decision = None
        self._tickets.end()
        self._due = Due.THOUGHT

    # ---------------------------------------------------------------- the end

    def _close(self, body: RunClosed, _: Event) -> None:
        case = self._case
        due = {
            Due.FINISHED: ("finished",),
            Due.TERMINATED: ("terminated",),
            Due.FAILED: ("failed",),
        }
        if self._due not in _ENDS:
            case.found(4, f"the run closes where {self._due.value} was due")
        fits = due.get(self._due, ("terminated", "exhausted", "failed"))
        if body.status not in fits:
            case.found(4, f"the run closes as {body.status} where {self._due.value} was due")
        if body.answer != self._answer:
            case.found(2, "the answer is not the one that was approved")
        if case.opened.secret is None:
            return
        if body.secret is None:
            case.found(4, "the lottery's secret is not shown, so no draw can be checked")
            self.unchecked()
        elif digest_bytes(body.secret) != case.opened.secret:
            case.found(4, "the secret shown is not the one that the run was opened with")
            self.unchecked()
        else:
            self._check_draws(body.secret)

    def _check_draws(self, secret: bytes) -> None:
        if self._terms.rate is None:
            return self.unchecked()
        opened = 0
        for number, said in enumerate(self._turns):
            self._case.tally.draws += 1
            drawn, was = bool(said & 1), bool(said & 2)
            due = self._planted.due(secret, number + 1, opened)
            opened += was
            lot = draw(secret, self._case.run, number + 1, self._terms.rate)
            if due != was:
                says = f"step {number + 1} was {'' if due else 'not '}planted by the lottery"
                self._amiss(TRUST, number, says)
            if (lot.drawn or due) != drawn:
                says = f"step {number + 1} was {'' if lot.drawn else 'not '}drawn by the lottery"
                self._amiss(4, number, says)
        return None

    def _amiss(self, guarantee: int, number: int, says: str) -> None:
        index, seq = self._places[2 * number : 2 * number + 2]
        at = Place(index, self._case.run, seq, "audit.drawn")
        self._case.findings.add(guarantee, f"{says}; the ledger says otherwise", at=at)

    def unchecked(self) -> None:
        """Count the draws that cannot be recomputed."""
        self._case.tally.draws_unchecked += len(self._turns)


@lru_cache
def _lot(stratum: str, rate: float, drawn: bool) -> Draw:
    return Draw(stratum=stratum, rate=rate, drawn=drawn)


_TAKES: dict[type[Body], Callable[[Live, Any, Event], None]] = {
    RestrictionDeclared: Live._declare,
    PlantSealed: Live._seal_plants,
    PlantOpened: Live._open_plant,
    RunSaved: Live._save,
    StepThought: Live._think,
    ThoughtFailed: Live._fail,
    StepProposed: Live._propose,
    MomentSealed: Live._seal,
    AuditDrawn: Live._draw,
    CandidatesSealed: Live._seal_candidates,
    KeyEnrolled: Live._tell,
    KeyRevoked: Live._tell,
    AuditAsked: Live._ask,
    AuditRecorded: Live._answer_of,
    StepDecided: Live._decide,
    TicketIssued: Live._issue,
    ActStarted: Live._start,
    ActFinished: Live._finish,
    ActInDoubt: Live._doubt,
    ActSettled: Live._settle,
    RunClosed: Live._close,
}
_RULES = {body: (taking, _MAY[body.kind]) for body, taking in _TAKES.items()}
