"""Which contents an event names."""

from __future__ import annotations

from collections.abc import Iterator

from audition.ledger.events import (
    BODIES,
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


def names(body: Body) -> Iterator[Digest]:
    """The contents that an event names, in order."""
    match body:
        case RunOpened():
            yield body.goal
            yield from body.tools
            plan = body.training.plan if body.training else None
            found = (body.box, body.confinement, plan)
        case CandidatesSealed():
            found = (
                digest
                for one in (*body.candidates, *body.missing)
                for digest in (
                    one.proposal if isinstance(one, Candidate) else None,
                    one.content,
                    one.calls,
                    one.exchanges,
                )
            )
        case AuditRecorded():
            found = (body.answer.said,)
        case _:
            found = (getattr(body, field) for field in NAMING.get(type(body), ()))
    yield from (digest for digest in found if digest is not None)


NAMING: dict[type[Body], tuple[str, ...]] = {
    RunResumed: ("confinement",),
    RunSaved: ("savepoint",),
    PlantSealed: ("leaves",),
    TranscriptRecorded: ("content",),
    StepThought: ("content", "calls", "exchanges", "state"),
    ThoughtFailed: ("content", "calls", "exchanges"),
    StepProposed: ("proposal",),
    ActFinished: ("outcome",),
    ActInDoubt: ("outcome",),
    ActRecorded: ("outcome",),
    ActSettled: ("outcome",),
    BatchSealed: ("data",),
    ThinkerUpdated: ("weights",),
    RunClosed: ("answer", "labels"),
}
"""The fields that name contents, of events where these are all."""

NAMELESS = frozenset(BODIES.values()) - {
    RunOpened,
    CandidatesSealed,
    AuditRecorded,
    *NAMING,
}
"""Kinds of events that name no content."""
