"""A run as its events tell it: where it stands, and the history that its next step is given.

`Progress` is a fold over the run's events and nothing else. The loop applies each event as it
writes it; a resumed run applies those that the ledger kept; both then stand in the same place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from audition.ledger import LedgerError, Redacted, SqlLedger, text
from audition.ledger.events import (
    ActFinished,
    ActInDoubt,
    ActRecorded,
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
    RunClosed,
    RunOpened,
    RunResumed,
    RunSaved,
    StepDecided,
    StepProposed,
    StepThought,
    ThoughtFailed,
    TicketIssued,
    TranscriptRecorded,
)
from audition.ledger.savepoint import ENTRIES, PACES, Entry, Frame, Savepoint
from audition.plain import shown
from audition.signoff import SignOffs
from audition.step import (
    Decision,
    Digest,
    Draw,
    Event,
    Failure,
    Finish,
    Message,
    Micros,
    Moment,
    Outcome,
    Proposal,
    RunId,
    Think,
    Turn,
    Usage,
    Verdict,
    digest_of,
    parse_proposal,
)

KEPT = 1024
"""Entries of a history that are held in memory; older ones are read from the ledger again."""

SHORT = 1 << 14
"""Bytes of an entry's content up to which it is held in memory once it was read."""

SAVED = 1000
"""Events after which a run is saved anew, though nobody took it up."""

LOOK = 2 * SAVED
"""Events among which the last savepoint is looked for."""


@dataclass(slots=True)
class Pending:
    """A step under way."""

    turn: int
    place: str
    thought: StepThought | None = None
    proposed: StepProposed | None = None
    moment: Moment | None = None
    sealed: Digest | None = None
    draw: Draw | None = None
    candidates: CandidatesSealed | None = None
    asked: dict[str, Micros | None] = field(default_factory=dict[str, "Micros | None"])
    answers: list[Verdict | Failure] = field(default_factory=list["Verdict | Failure"])
    decision: Decision | None = None
    ticket: TicketIssued | None = None
    started: bool = False
    in_doubt: bool = False
    told: Digest | None = None
    planted: bool = False
    left: tuple[Digest | None, Digest | None] = (None, None)
    """The box's digest and archive before its thought."""


class Progress:
    """Where a run stands."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        self.opened: RunOpened | None = None
        self.closed: RunClosed | None = None
        self.history: Digest = ""
        """Chained digest of all that is complete."""
        self.before: Digest = ""
        """The same without the newest entry."""
        self.turns = 0
        """Steps begun, the planted ones among them."""
        self.seal: PlantSealed | None = None
        """What was sealed of the steps that are planted, if any are."""
        self.planted = 0
        """Planted steps that were opened."""
        self.paces: deque[tuple[Micros, bool]] = deque(maxlen=PACES)
        """Where steps are planted, how long after the event before it each of the last thoughts
        came, and whether it left the box otherwise than it was."""
        self.last: Micros = 0
        """When the last event was written."""
        self.length = 0
        """Entries of the history."""
        self.read: tuple[dict[int, Message | Turn], ...] = ({}, {})
        """What short entries were found to tell, by their place in the history, without thoughts
        and with them, the first read first."""
        self.recent: deque[Entry] = deque(maxlen=KEPT)
        self.frames: list[Frame] = []
        """Open steps, the root first."""
        self.step: Pending | None = None
        """The step under way in a live run."""
        self.recorded: dict[Digest, Pending] = {}
        """Steps of a record whose outcomes are still to come, by moment."""
        self.spent = Usage()
        """What thinking has cost so far, which a budget may bound."""
        self.answer: Digest | None = None
        """The root's answer, once it is given."""
        self.failed: str | None = None
        """Why the last thought ended in no proposal, if it did."""
        self.box: Digest | None = None
        """Digest of the box's state at the last thought."""
        self.state: Digest | None = None
        """Archive of that state."""
        self.signoffs = SignOffs()
        """Whose answers need a signature, and the keys that the run was told of."""
        self.saved: Digest | None = None
        """The newest savepoint."""
        self.kept = 0
        """Entries of the history that it and those before it keep."""
        self.kept_to: Digest = ""
        """The history with the last of these."""
        self.saved_turns = 0
        """Steps begun when it was written."""
        self.since = 0
        """Events since it was written."""
        self.taken_up = False
        """Whether the run was taken up since then."""

    @property
    def steps(self) -> int:
        """Steps that the thinker began."""
        return self.turns - self.planted

    @property
    def to_be_saved(self) -> bool:
        """Whether the next step is to begin at a savepoint: whoever takes up goes on from there."""
        unkept = self.length - self.kept
        return (
            self.turns > self.saved_turns
            and self.step is None
            and unkept <= min(ENTRIES, len(self.recent))
            and max(len(self.frames), len(self.signoffs.keys)) <= ENTRIES
            and (self.taken_up or self.since >= SAVED)
        )

    def savepoint(self) -> Savepoint:
        """Where the run stands, between two steps."""
        unkept = self.length - self.kept
        return Savepoint(
            turns=self.turns,
            planted=self.planted,
            length=self.length,
            history=self.history,
            before=self.before or None,
            frames=tuple(self.frames),
            spent=self.spent,
            box=self.box,
            state=self.state,
            seal=self.seal,
            paces=tuple(self.paces) if self.seal is not None else (),
            keys=tuple(self.signoffs.keys.values()),
            since=self.kept_to,
            entries=tuple(self.recent)[-unkept:] if unkept else (),
            earlier=self.saved,
        )

    def stand(self, opened: RunOpened, point: Savepoint) -> None:
        """Stand where a savepoint says; its event comes next."""
        self.opened, self.signoffs = opened, SignOffs(opened.gate)
        for key in point.keys:
            self.signoffs.take(key)
        self.turns, self.planted, self.length = point.turns, point.planted, point.length
        self.history, self.before = point.history, point.before or ""
        self.frames, self.spent = list(point.frames), point.spent
        self.box, self.state = point.box, point.state
        self.seal, self.paces = point.seal, deque(point.paces, maxlen=PACES)
        self.recent = deque(point.entries, maxlen=KEPT)

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        match event.body:  # what every act has stands first, for one after the other is tried
            case StepThought() as body:
                step = self._begin(body.turn)
                step.thought, step.left = body, (self.box, self.state)
                if body.usage is not None:
                    self.spent = Usage.total((self.spent, body.usage))
                    if self.seal is not None:
                        self.paces.append((max(0, event.at - self.last), body.box != self.box))
                self.box, self.state = body.box, body.state
            case StepProposed() as body:
                step = self._begin(body.turn)
                step.proposed = body
                step.moment = step.sealed = step.candidates = step.decision = None
                step.asked, step.answers = {}, []
            case MomentSealed(moment=moment):
                step = self._begin(moment.turn)
                step.moment, step.sealed = moment, digest_of(moment)
                if self.opened is not None and self.opened.mode == "record":
                    self.recorded[step.sealed] = step
                    self.step = None
            case AuditDrawn() as body if self.step is not None:
                self.step.draw = Draw(stratum=body.stratum, rate=body.rate, drawn=body.drawn)
            case AuditRecorded(answer=answer) if self.step is not None:
                self._fall(self.step, event)
                deadline = self.step.asked.get(answer.auditor)
                heard = isinstance(answer, Failure) or deadline is None or event.at <= deadline
                if heard and self._counts(self.step, answer):
                    self.step.answers.append(answer)  # what comes after its deadline is not heard
            case StepDecided() as body if self.step is not None:
                self._decided(self.step, body.decision)
            case TicketIssued() as body if self.step is not None:
                self.step.ticket = body
            case ActStarted() if self.step is not None:
                self.step.started = True
            case (ActFinished() | ActSettled()) as body if self.step is not None:
                self._complete(self.step, "proceed", body.outcome)
            case AuditAsked() as body if self.step is not None:
                self.step.asked.setdefault(body.auditor, body.deadline)  # no second one is later
            case RunSaved(savepoint=savepoint):
                self.saved, self.kept, self.kept_to = savepoint, self.length, self.history
                self.saved_turns, self.since, self.taken_up = self.turns, -1, False
            case RunResumed():
                self.taken_up = True
            case RunOpened() as body:
                self.opened = body
                self.signoffs = SignOffs(body.gate)
                self.history = self.kept_to = body.goal
                if body.mode == "record":  # written whole: until then memory is all there is
                    self.recent = deque()
                self.frames = [Frame("1", body.goal)]
                self.box, self.state = body.start, body.state
            case CandidatesSealed() as body if self.step is not None:
                if body.moment == self.step.sealed:
                    self.step.candidates = body
            case TranscriptRecorded() as body:
                self._append(Entry(message=body))
            case ThoughtFailed(usage=usage, reason=reason):
                self.failed, self.spent = reason, Usage.total((self.spent, usage))
            case (KeyEnrolled() | KeyRevoked()) as body:
                if self.step is not None:
                    self._fall(self.step, event)
                self.signoffs.take(body)
            case PlantSealed() as body:
                self.seal = body
            case PlantOpened() as body if self.step is not None:
                if body.moment == self.step.sealed and not self.step.planted:
                    self.step.planted = True
                    self.planted += 1
                    self.box, self.state = self.step.left
            case ActInDoubt() as body if self.step is not None:
                self.step.in_doubt, self.step.told = True, body.outcome
            case ActRecorded() as body:
                self._complete(self.recorded.pop(body.moment), "recorded", body.outcome)
            case RunClosed() as body:
                self.closed = body
            case _:
                pass
        self.last = event.at
        self.since += 1

    def _begin(self, turn: int) -> Pending:
        if self.step is None or self.step.turn != turn:
            self.step = Pending(turn, self.frames[-1].place)
            self.turns = max(self.turns, turn)
        return self.step

    def _fall(self, step: Pending, event: Event) -> None:
        """What an answer let pass is undecided again when the answer falls, until it has begun."""
        if step.started:
            return
        fallen = self.signoffs.fallen(event, step.answers, step.asked)
        if not fallen:
            return
        step.answers = [answer for answer in step.answers if answer not in fallen]
        if step.decision is not None and step.decision.action != "escalate":
            step.decision = step.ticket = None

    def _counts(self, step: Pending, answer: Verdict | Failure) -> bool:
        """Whether an answer is about this moment and, where it needs a signature, under one."""
        if step.moment is None or answer.moment != step.sealed:
            return False
        if isinstance(answer, Failure) or answer.auditor not in self.signoffs.people:
            return True
        return not self.signoffs.amiss(answer, step.moment, step.asked.get(answer.auditor))

    def _decided(self, step: Pending, decision: Decision) -> None:
        if step.planted and decision.action != "escalate":
            self.step = None  # whatever was decided, it never was a step of the run
            return
        step.decision = decision
        what = step.proposed.what if step.proposed else "act"
        if decision.action == "reject":
            self._complete(step, "reject", None)
        elif decision.action == "proceed" and what in ("think", "finish"):
            assert step.proposed is not None
            proposal = step.proposed.proposal
            self._complete(step, "proceed", None)
            if what == "think":
                frame = replace(self.frames[-1], children=self.frames[-1].children + 1)
                self.frames[-1:] = frame, Frame(f"{frame.place}.{frame.children}", proposal)
            elif len(self.frames) > 1:
                self.frames.pop()
            else:
                self.answer = proposal

    def _complete(self, step: Pending, action: str, outcome: Digest | None) -> None:
        assert step.proposed is not None
        self._append(
            Entry(
                number=step.turn - self.planted,
                attempt=step.proposed.attempt,
                place=step.place,
                thought=step.thought.content if step.thought else None,
                proposal=step.proposed.proposal,
                action=action,
                outcome=outcome,
            )
        )
        self.step = None

    def _append(self, entry: Entry) -> None:
        self.before, self.history = self.history, entry.chained(self.history)
        self.recent.append(entry)
        self.length += 1


def standing(ledger: SqlLedger, run: RunId) -> tuple[Progress, int]:
    """Where a run stands, from its last savepoint on, and the number of its next event.

    Raises:
        LedgerError: the run or its savepoint cannot be read.
    """
    progress, events = Progress(run), list[Event]()
    for event in ledger.latest(run):
        events.append(event)
        if isinstance(event.body, RunSaved) and _stands(progress, ledger, event.body.savepoint):
            break
        if len(events) > LOOK:
            return _folded(ledger, run)
    for event in reversed(events):
        progress.apply(event)
    return progress, events[0].seq + 1 if events else 0


def _folded(ledger: SqlLedger, run: RunId) -> tuple[Progress, int]:
    """The same, from its first event on."""
    progress, following = Progress(run), 0
    for event in ledger.read(run):
        progress.apply(event)
        following = event.seq + 1
    return progress, following


def _stands(progress: Progress, ledger: SqlLedger, savepoint: Digest) -> bool:
    """Whether the run stands at a savepoint now; one that was deleted is none."""
    point = _read(ledger, progress.run, savepoint)
    if point is None:
        return False
    opened = ledger.first(progress.run).body
    if not isinstance(opened, RunOpened):
        raise LedgerError(f"run {progress.run}: it does not begin; see `audition verify`")
    progress.stand(opened, point)
    return True


def _read(ledger: SqlLedger, run: RunId, savepoint: Digest) -> Savepoint | None:
    """A savepoint; None if it was deleted."""
    try:
        return Savepoint.read(ledger.get(savepoint))
    except Redacted:
        return None
    except ValueError as error:
        why = str(error).splitlines()[0]
        raise LedgerError(f"run {run}: its savepoint cannot be read: {shown(why, 200)}") from None


class LedgerHistory:
    """The history that a thinker or an auditor is handed: read from the ledger as it is looked at.

    Short entries that were read once are remembered: what is redacted while the run is carried is
    told until it is taken up anew.

    Args:
        ledger: where the content is.
        progress: where the run stands.
        thoughts: whether thoughts are shown; a thinker sees its own, an auditor only if declared.
    """

    def __init__(self, ledger: SqlLedger, progress: Progress, *, thoughts: bool = False) -> None:
        assert progress.opened is not None
        self._ledger = ledger
        self._progress = progress
        self._thoughts = thoughts
        self._length = progress.length
        self._frame = progress.frames[-1]
        self.digest = progress.history
        self.previous = progress.before
        """The digest of this history without its newest entry."""
        self.turns = progress.steps - (progress.step is not None)
        self.place = self._frame.place
        self._goal = progress.opened.goal

    @property
    def goal(self) -> str:
        """What the run is for."""
        return text(self._ledger.get(self._goal))

    @property
    def prompt(self) -> str:
        """What the innermost open step is to do."""
        if self.place == "1":
            return self.goal
        opened_by = parse_proposal(self._ledger.get(self._frame.opened_by))
        return opened_by.prompt if isinstance(opened_by, Think) else ""

    def __len__(self) -> int:
        return self._length

    def last(self, count: int) -> Sequence[Message | Turn]:
        """The last `count` entries, oldest first."""
        later = self._progress.length - self._length  # entries since this history was handed out
        entries = list(self._progress.recent)
        if count + later > len(entries) < self._progress.length:
            missing = self._progress.length - len(entries)
            entries = self._older(missing, count + later - len(entries)) + entries
        end = len(entries) - later
        found = entries[max(0, end - count) : end]
        first = self._length - len(found)
        known = self._progress.read[self._thoughts]
        return [known.get(at) or self._told(at, entry) for at, entry in enumerate(found, first)]

    def _older(self, missing: int, count: int) -> list[Entry]:
        """The last `count` of the first `missing` entries, which memory does not hold, or more."""
        found: list[Entry] = []
        progress = self._progress
        name, end, history = progress.saved, progress.kept, progress.kept_to
        while name is not None and end >= missing - len(found):
            point = _read(self._ledger, progress.run, name)
            if point is None:
                break
            if point.history != history:
                raise LedgerError(f"run {progress.run}: its savepoints do not lead to its history")
            start = end - len(point.entries)
            found[:0] = point.entries[: max(0, missing - start)]
            if len(found) >= count or not start:
                return found
            name, end, history = point.earlier, start, point.since
        return self._from_the_beginning(missing)

    def _from_the_beginning(self, count: int) -> list[Entry]:
        """The first `count` entries, of a run whose savepoints do not keep them."""
        progress = Progress(self._progress.run)
        progress.recent = deque()
        for event in self._ledger.read(self._progress.run):
            progress.apply(event)
            if progress.length >= count:
                break
        return list(progress.recent)[:count]

    def _told(self, at: int, entry: Entry) -> Message | Turn:
        told, size = self._read(entry)
        known = self._progress.read[self._thoughts]
        if size <= SHORT:
            known[at] = told
        if len(known) > KEPT:
            del known[next(iter(known))]
        return told

    def _read(self, entry: Entry) -> tuple[Message | Turn, int]:
        """An entry as its content tells it, and the bytes of that."""
        if entry.message is not None:
            said = self._ledger.get(entry.message.content)
            role, name = entry.message.role, entry.message.name
            return Message(role=role, name=name, content=text(said)), len(said)
        proposal = self._ledger.get(entry.proposal)
        outcome = self._ledger.get(entry.outcome) if entry.outcome else b""
        thought = self._ledger.get(entry.thought) if self._thoughts and entry.thought else b""
        turn = Turn(
            number=entry.number,
            place=entry.place,
            proposal=parse_proposal(proposal),
            action=entry.action,
            outcome=Outcome.parse(outcome) if entry.outcome else None,
            thought=text(thought) if self._thoughts and entry.thought else None,
        )
        return turn, len(proposal) + len(outcome) + len(thought)


def sealed_proposal(ledger: SqlLedger, name: Digest) -> Proposal:
    """The proposal of this name, read from the ledger.

    Raises:
        LedgerError: the ledger does not hold what was sealed.
    """
    proposal = parse_proposal(ledger.get(name))
    if digest_of(proposal) != name:
        raise LedgerError(f"content {name[:12]}… is not what was sealed; see `audition verify`")
    return proposal


def answer_of(ledger: SqlLedger, proposal: Digest) -> str:
    """The answer that a `Finish` gave."""
    finish = parse_proposal(ledger.get(proposal))
    return finish.answer if isinstance(finish, Finish) else ""
