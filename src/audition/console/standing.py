"""Where a run stands, folded from its events in memory that does not grow with the run.

`Tally` sums what the whole run came to and knows whom it waits for; `Recent` keeps the last steps,
as many as a screen can show, and may begin in the middle. Content is fetched when it is shown.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from audition.console.telling import came_back, proposed
from audition.failing import told
from audition.history import Progress
from audition.ledger import LedgerError, SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActInDoubt,
    ActRecorded,
    ActSettled,
    ActStarted,
    AuditAsked,
    AuditRecorded,
    CandidatesSealed,
    MomentSealed,
    PlantOpened,
    RunClosed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
    ThoughtFailed,
)
from audition.step import (
    Digest,
    Event,
    Failure,
    Micros,
    RunId,
    Usage,
    Verdict,
    digest_of,
)

KEPT = 200
"""Steps that are kept: more than a screen has lines."""

VERDICTS = 20
"""Verdicts of one step that are kept; the rest are counted."""

TAIL = 1000
"""Events from which the first of the last steps are taken."""

SUSPICIOUS = 0.5
"""Suspicion from which a verdict is counted as such."""


@dataclass(slots=True)
class Row:
    """One step, as far as a line or two can tell it."""

    turn: int
    place: str = ""
    """Its place in the decomposition, once the moment is sealed."""
    attempt: int = 0
    proposal: Digest | None = None
    moment: Digest | None = None
    verdicts: list[Verdict | Failure] = field(default_factory=list["Verdict | Failure"])
    more: int = 0
    """Verdicts that are not kept."""
    asked: list[str] = field(default_factory=list[str])
    """Who is still to answer."""
    planted: bool = False
    decision: str = ""
    reason: str = ""
    started: bool = False
    in_doubt: bool = False
    ended: bool = False
    outcome: Digest | None = None


@dataclass(slots=True)
class Cost:
    """What something cost, summed in place (`audition.step.Usage` has the units)."""

    seconds: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0

    def add(self, usage: Usage | None) -> None:
        """Add one cost to it."""
        if usage is not None:
            self.seconds += usage.seconds
            self.calls += usage.calls
            self.tokens_in += usage.tokens_in
            self.tokens_out += usage.tokens_out
            self.usd += usage.usd


@dataclass(slots=True)
class Tally:
    """What a run came to from its first event on, and where it stands."""

    progress: Progress
    events: int = 0
    kinds: Counter[str] = field(default_factory=Counter[str])
    """Events by kind."""
    steps: int = 0
    planted: int = 0
    """Steps that were opened as planted; they are none of the others."""
    verdicts: int = 0
    suspicious: int = 0
    failures: int = 0
    decisions: Counter[str] = field(default_factory=Counter[str])
    acts: Counter[str] = field(default_factory=Counter[str])
    """Acts by how they ended: `done`, `failed`, `refused`, `settled`, `recorded`."""
    thinking: Cost = field(default_factory=Cost)
    """Further candidates included."""
    judging: Cost = field(default_factory=Cost)

    def apply(self, event: Event) -> None:
        """Take one event into account; they come in order, from the first."""
        self.events += 1
        self.kinds[event.body.kind] += 1
        if self.progress.opened is None or self.progress.opened.mode == "live":
            self.progress.apply(event)
        match event.body:
            case StepThought(usage=usage) | ThoughtFailed(usage=usage):
                self.thinking.add(usage)
            case StepProposed(turn=turn):
                self.steps = turn - self.planted
            case CandidatesSealed(candidates=candidates, missing=missing):
                for one in (*candidates, *missing):
                    self.thinking.add(one.usage)
            case AuditRecorded(answer=answer):
                self.judging.add(answer.usage)
                if isinstance(answer, Verdict):
                    self.verdicts += 1
                    self.suspicious += answer.suspicion >= SUSPICIOUS
                else:
                    self.failures += 1
            case PlantOpened():
                self.planted += 1
                self.steps -= 1
            case StepDecided(decision=decision):
                self.decisions[decision.action] += 1
            case ActFinished(status=status):
                self.acts[status] += 1
            case ActSettled():
                self.acts["settled"] += 1
            case ActRecorded():
                self.acts["recorded"] += 1
            case _:
                pass

    def waits(self) -> Iterator[tuple[str, Micros | None]]:
        """Whom the run waits for, and until when; `settle` for an act in doubt."""
        step = self.progress.step
        if step is not None and self.progress.closed is None:
            if step.in_doubt:
                yield "settle", None
            answered = {answer.auditor for answer in step.answers}
            yield from (one for one in step.asked.items() if one[0] not in answered)


@dataclass(slots=True)
class Recent:
    """The last steps of a run."""

    opened: RunOpened | None = None
    closed: RunClosed | None = None
    rows: deque[Row] = field(default_factory=lambda: deque[Row](maxlen=KEPT))
    last: Micros = 0
    """When the newest event was written."""

    def apply(self, event: Event) -> None:
        """Take one event into account; those of a step whose beginning was not seen are not."""
        self.last = event.at
        match event.body:
            case RunOpened() as body:
                self.opened = body
            case RunClosed() as body:
                self.closed = body
            case StepThought(turn=turn):
                self.rows.append(Row(turn))
            case StepProposed() as body:
                if not self.rows or self.rows[-1].turn != body.turn:
                    self.rows.append(Row(body.turn))
                place = self.rows[-1].place
                self.rows[-1] = Row(body.turn, place, body.attempt, body.proposal)
            case body if self.rows:
                _take(self.rows, body)
            case _:
                pass


def last_event(ledger: SqlLedger, run: RunId) -> int:
    """Number of the newest event of a run, found without reading the others; -1 if it has none."""

    def beyond(after: int) -> bool:
        return next(ledger.read(run, after), None) is not None

    low, step = -1, 1
    while beyond(low + step):
        low, step = low + step, step * 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if beyond(middle) else (low, middle)
    return high if beyond(low) else low


def _take(rows: deque[Row], body: Any) -> None:
    row = rows[-1]
    match body:
        case MomentSealed(moment=moment):
            row.place, row.moment = moment.place, digest_of(moment)
        case AuditAsked(auditor=auditor):
            row.asked = [*(name for name in row.asked if name != auditor), auditor][-VERDICTS:]
        case AuditRecorded(answer=answer):
            row.asked = [name for name in row.asked if name != answer.auditor]
            if len(row.verdicts) < VERDICTS:
                row.verdicts.append(answer)
            else:
                row.more += 1
        case PlantOpened():
            row.planted = True
        case StepDecided(decision=decision):
            row.decision, row.reason = decision.action, decision.reason
        case ActStarted():
            row.started = True
        case ActInDoubt():
            row.in_doubt = True
        case ActFinished(outcome=outcome) | ActSettled(outcome=outcome):
            row.outcome, row.ended = outcome, True
        case ActRecorded() as recorded:
            for one in reversed(rows):
                if one.moment == recorded.moment:
                    one.outcome, one.ended = recorded.outcome, True
                    break
        case _:
            pass


class Standing:
    """A run's tally and its last steps, kept up with the ledger.

    The last steps are there at once, however long the run is; the tally begins with the first event
    and catches up.

    Args:
        ledger: where the run is.
        run: the run.
        tail: events from which the first of the last steps are taken.
    """

    def __init__(self, ledger: SqlLedger, run: RunId, *, tail: int = TAIL) -> None:
        self.ledger = ledger
        self.run = run
        self.tally = Tally(Progress(run))
        self.recent = Recent()
        self.seen = max(-1, last_event(ledger, run) - tail)
        """Number of the newest event among the last steps."""
        self.counted = -1
        """Number of the newest event in the tally."""

    def take(self, most: int | None = None) -> bool:
        """Take what is new into account.

        Args:
            most: events of each kind of reading that are taken now; None: all there are.

        Returns:
            Whether there was anything.

        Raises:
            LedgerError: the run cannot be read, or its events are none of a run.
        """
        before = self.seen, self.counted
        try:
            for event in islice(self.ledger.read(self.run, self.seen), most):
                self.recent.apply(event)
                self.seen = event.seq
            for event in islice(self.ledger.read(self.run, self.counted), most):
                self.tally.apply(event)
                self.counted = event.seq
        except (AssertionError, LookupError) as error:
            at = self.counted + 1
            raise LedgerError(f"run {self.run}, event {at}: {told(error)}; see verify") from None
        return (self.seen, self.counted) != before

    @property
    def ended(self) -> bool:
        """Whether the run has ended and all of it is counted."""
        return self.recent.closed is not None and self.counted >= self.seen

    @property
    def status(self) -> str:
        """How the run ended, or `open`."""
        return self.recent.closed.status if self.recent.closed else "open"

    def as_json(self) -> dict[str, Any]:
        """Where the run stands, as data."""
        tally, opened = self.tally, self.tally.progress.opened
        row = self.recent.rows[-1] if self.recent.rows else None
        return {
            "run": self.run,
            "project": opened.project if opened else "",
            "mode": opened.mode if opened else "",
            "status": self.status,
            "events": tally.events,
            "steps": tally.steps,
            "planted": tally.planted,
            "verdicts": tally.verdicts,
            "suspicious": tally.suspicious,
            "failures": tally.failures,
            "decisions": dict(tally.decisions),
            "acts": dict(tally.acts),
            "cost": {"thinking": asdict(tally.thinking), "judging": asdict(tally.judging)},
            "waits": [{"for": name, "deadline": until} for name, until in tally.waits()],
            "step": row
            and {
                "turn": row.turn,
                "place": row.place,
                "proposal": row.proposal and proposed(self.ledger, row.proposal),
                "decision": row.decision,
                "outcome": row.outcome and came_back(self.ledger, row.outcome),
            },
            "last": self.recent.last,
        }
