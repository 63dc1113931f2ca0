"""A run of a ledger as a record: what was proposed and what came back, for whoever reads records.

Of a live run it has what its history has, each step as it was last attempted: who judged it, how
and at what cost stays in the ledger. A step that was rejected has the outcome `refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from audition.canonical import loads
from audition.ledger import LedgerError, Redacted, Source, SqlLedger, text
from audition.ledger.events import (
    ActFinished,
    ActRecorded,
    ActSettled,
    MomentSealed,
    PlantOpened,
    PlantSealed,
    RunClosed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
    TranscriptRecorded,
)
from audition.records.lines import MAX_LINE
from audition.records.record import Group, Record, RecordedStep, RecordError, Said
from audition.step import (
    Act,
    Ask,
    Digest,
    Event,
    Finish,
    JsonObject,
    Message,
    Outcome,
    Proposal,
    RunId,
    Think,
    digest_of,
    parse_proposal,
)

REDACTED = "[redacted]"
"""What stands where content was deleted."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Step:
    """A step while its events come in."""

    proposed: StepProposed
    thought: Digest | None = None
    moment: Digest | None = None
    outcome: Digest | None = None
    refused: str | None = None


def record_of(ledger: SqlLedger, run: RunId) -> tuple[Record, int]:
    """The record, and how many of its contents were redacted.

    Args:
        ledger: where the run is.
        run: the run; one that is still open is taken as far as it has come.

    Raises:
        RecordError: it is no run of steps.
        LedgerError: the run or its content cannot be read.
    """
    reading = _Reading(ledger)
    for event in ledger.read(run):
        reading.take(event)
    return reading.record(run), reading.redacted


@dataclass
class _Reading:
    ledger: SqlLedger
    opened: RunOpened | None = None
    closed: RunClosed | None = None
    entries: list[Said | Group] = field(default_factory=list["Said | Group"])
    steps: list[_Step] = field(default_factory=list["_Step"])
    """Those of the message that is being read."""
    back: bool = False
    """Whether outcomes of a recorded message have come: what follows is another message."""
    thought: Digest | None = None
    redacted: int = 0
    size: int = 0
    plants: bool = False
    """Whether steps of the run are planted; then one that is not decided yet may be."""
    undecided: bool = False

    def take(self, event: Event) -> None:
        match event.body:
            case RunOpened() as body:
                self.opened = body
            case TranscriptRecorded() as body:
                self._complete()
                said = self._content(body.content, text, REDACTED)
                message = Message(role=body.role, name=body.name, content=said)
                self.entries.append(Said(message=message))
            case StepThought(content=content):
                self._begin()
                self.thought = content
            case PlantSealed():
                self.plants = True
            case StepProposed(attempt=0) as body:
                self.undecided = self.plants
                self._begin()
                self.steps.append(_Step(body, self.thought))
                self.thought = None
            case StepProposed() as body if self.steps:
                self.steps[-1].proposed = body
            case MomentSealed(moment=moment) if self.steps:
                self.steps[-1].moment = digest_of(moment)
            case PlantOpened() if self.steps:  # it was no step of the run
                self.steps.pop()
            case StepDecided(decision=decision) if self.steps and decision.action != "escalate":
                self.undecided = False
                if decision.action == "reject":
                    self.steps[-1].refused = decision.reason
            case (ActFinished() | ActSettled()) as body if self.steps:
                self.steps[-1].outcome = body.outcome
            case ActRecorded() as body:
                for step in self.steps:
                    if step.moment == body.moment:
                        step.outcome, step.moment = body.outcome, None
                self.back = True
            case RunClosed() as body:
                self._complete()
                self.closed = body
            case _:
                pass

    def record(self, run: RunId) -> Record:
        if self.undecided:
            self.steps.pop()
        self._complete()
        opened, closed = self.opened, self.closed
        if opened is None or opened.mode == "simulated":
            raise RecordError(f"run {run}: no run of single steps; nothing was written")
        labels: JsonObject = {"run": run, "status": closed.status if closed else "open"}
        if opened.mode == "record":
            named = closed.labels if closed else None
            labels = self._content(named, loads, {}) if named else {}
        return Record(
            source=opened.source or Source(file=f"run {run}", record=0, format="ledger"),
            task=opened.project,
            goal=self._content(opened.goal, text, REDACTED),
            thinker=opened.thinker,
            entries=tuple(self.entries),
            labels=labels,
        )

    def _begin(self) -> None:
        if self.back or (self.opened and self.opened.mode == "live"):
            self._complete()

    def _complete(self) -> None:
        if self.steps:
            self.entries.append(Group(steps=tuple(map(self._told, self.steps))))
        self.steps, self.back = [], False

    def _told(self, step: _Step) -> RecordedStep:
        proposed = step.proposed
        outcome = None
        if step.refused is not None:
            outcome = Outcome(status="refused", output=step.refused)
        elif step.outcome is not None:
            gone = Outcome(status="unknown", output=REDACTED)
            outcome = self._content(step.outcome, Outcome.parse, gone)
        return RecordedStep(
            proposal=self._content(proposed.proposal, parse_proposal, _gone(proposed.what)),
            thought=self._content(step.thought, text, REDACTED) if step.thought else None,
            by=proposed.by,
            outcome=outcome,
        )

    def _content(self, name: Digest, read: Callable[[bytes], _T], gone: _T) -> _T:
        try:
            data = self.ledger.get(name)
        except Redacted:
            self.redacted += 1
            return gone
        self.size += len(data)
        if self.size > MAX_LINE:
            raise RecordError(
                f"content {name[:12]}…: the run comes to more than {MAX_LINE >> 20} MiB, too long "
                "for one record; `audition export` writes a ledger of any size"
            )
        try:
            return read(data)
        except ValueError as error:
            raise LedgerError(f"content {name[:12]}…: {error}") from None


def _gone(what: str) -> Proposal:
    """A proposal of this kind, of which nothing is left."""
    match what:
        case "act":
            return Act(tool=REDACTED)
        case "ask":
            return Ask(question=REDACTED)
        case "think":
            return Think(prompt=REDACTED)
        case _:
            return Finish(answer=REDACTED)
