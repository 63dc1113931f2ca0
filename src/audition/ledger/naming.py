"""Which contents an event names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

from audition.ledger.events import (
    ActFinished,
    ActInDoubt,
    ActRecorded,
    ActSettled,
    AuditRecorded,
    BatchSealed,
    Candidate,
    CandidatesSealed,
    PlantSealed,
    RunClosed,
    RunOpened,
    RunResumed,
    RunSaved,
    StepProposed,
    StepThought,
    ThinkerUpdated,
    ThoughtFailed,
    TranscriptRecorded,
)
from audition.step import Body, Digest


def names(body: Body) -> Sequence[Digest]:
    """The contents that an event names, in order."""
    naming = _NAMING.get(type(body))
    return () if naming is None else [*filter(None, naming(body))]


def _opening(body: RunOpened) -> Iterator[Digest | None]:
    yield body.goal
    yield from body.tools
    yield from (body.box, body.confinement, body.training.plan if body.training else None)


def _candidates(body: CandidatesSealed) -> Iterator[Digest | None]:
    for one in (*body.candidates, *body.missing):
        yield one.proposal if isinstance(one, Candidate) else None
        yield from (one.content, one.calls, one.exchanges)


def _answering(body: AuditRecorded) -> tuple[Digest | None]:
    return (body.answer.said if body.verdict is None else body.verdict.said,)


def _fields(*fields: str) -> Callable[[Any], Iterable[Digest | None]]:
    get = cast("Callable[[Any], Any]", attrgetter(*fields))
    return get if len(fields) > 1 else lambda body: (get(body),)


_NAMING: dict[type[Body], Callable[[Any], Iterable[Digest | None]]] = {
    RunOpened: _opening,
    RunResumed: _fields("confinement"),
    RunSaved: _fields("savepoint"),
    PlantSealed: _fields("leaves"),
    TranscriptRecorded: _fields("content"),
    StepThought: _fields("content", "calls", "exchanges", "state"),
    ThoughtFailed: _fields("content", "calls", "exchanges"),
    StepProposed: _fields("proposal"),
    CandidatesSealed: _candidates,
    AuditRecorded: _answering,
    ActFinished: _fields("outcome"),
    ActInDoubt: _fields("outcome"),
    ActRecorded: _fields("outcome"),
    ActSettled: _fields("outcome"),
    BatchSealed: _fields("data"),
    ThinkerUpdated: _fields("weights"),
    RunClosed: _fields("answer", "labels"),
}
