"""What stood before a step: all that a row about it may be made of, and nothing later.

A run's events are read once, in order. What is handed out for a moment is the history up to it,
what the thought that led to it exchanged with a model, and whether any of that was deleted since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from audition.history import LedgerHistory, Progress
from audition.learn.lessons import LessonError
from audition.ledger import Redacted, SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActRecorded,
    ActSettled,
    CandidatesSealed,
    MomentSealed,
    StepProposed,
    StepThought,
    TranscriptRecorded,
)
from audition.step import Body, Digest, Moment, RunId, digest_of


@dataclass
class Before:
    """A moment, and what its thinker knew."""

    moment: Moment
    """The moment."""
    history: LedgerHistory
    """The history that its thought followed, with the thinker's own earlier thoughts."""
    tools: tuple[Digest, ...]
    """The schemas of what could be proposed."""
    exchanges: Digest
    """What its thought exchanged with a model; empty if nothing."""
    redacted: bool
    """Whether any content of the run up to it, or one of its candidates, was deleted."""


def before(ledger: SqlLedger, run: RunId, moments: Collection[Digest]) -> dict[Digest, Before]:
    """What stood before these moments of a run.

    Raises:
        LessonError: the run's events do not follow each other.
        LedgerError: the run cannot be read.
    """
    progress, found = Progress(run), dict[Digest, Before]()
    progress.recent = deque()  # else an early history would be read from the beginning again
    exchanges, redacted = "", False
    for event in ledger.read(run):
        body = event.body
        try:
            progress.apply(event)
        except (KeyError, IndexError, AssertionError):
            raise LessonError(
                f"run {run[:8]}, event {event.seq}: it may not stand there; verify the ledger"
            ) from None
        if isinstance(body, CandidatesSealed):
            if body.moment in found:
                found[body.moment].redacted |= _gone(ledger, body)
            continue
        redacted = redacted or _gone(ledger, body)
        if isinstance(body, StepThought):
            exchanges = body.exchanges or ""
        if not isinstance(body, MomentSealed) or (name := digest_of(body.moment)) not in moments:
            continue
        assert progress.opened is not None
        if body.moment.history != progress.history:
            raise LessonError(
                f"run {run[:8]}, event {event.seq}: a moment of another history than the run's; "
                "verify the ledger"
            )
        history = LedgerHistory(ledger, progress, thoughts=True)
        found[name] = Before(body.moment, history, progress.opened.tools, exchanges, redacted)
    return found


def _gone(ledger: SqlLedger, body: Body) -> bool:
    """Whether content that an event names was deleted."""
    for name in _named(body):
        try:
            ledger.get(name)
        except Redacted:
            return True
    return False


def _named(body: Body) -> Iterator[Digest]:
    """The content of the run's own that an event names."""
    match body:
        case StepThought():
            some = [body.content, body.calls, body.exchanges]
        case StepProposed():
            some = [body.proposal]
        case TranscriptRecorded():
            some = [body.content]
        case ActFinished() | ActSettled() | ActRecorded():
            some = [body.outcome]
        case MomentSealed(moment=moment):
            some = [moment.goal]
        case CandidatesSealed(candidates=candidates):
            some = [
                name
                for one in candidates
                for name in (one.proposal, one.content, one.calls, one.exchanges)
            ]
        case _:
            some = []
    yield from (name for name in some if name)
