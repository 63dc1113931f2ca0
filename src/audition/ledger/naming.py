"""Which contents an event names."""

from __future__ import annotations

from collections.abc import Iterator

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
        case RunResumed():
            found = (body.confinement,)
        case PlantSealed():
            found = (body.leaves,)
        case TranscriptRecorded():
            found = (body.content,)
        case StepThought():
            found = (body.content, body.calls, body.exchanges, body.state)
        case ThoughtFailed():
            found = (body.content, body.calls, body.exchanges)
        case StepProposed():
            found = (body.proposal,)
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
        case ActFinished() | ActInDoubt() | ActRecorded() | ActSettled():
            found = (body.outcome,)
        case BatchSealed():
            found = (body.data,)
        case ThinkerUpdated():
            found = (body.weights,)
        case RunClosed():
            found = (body.answer, body.labels)
        case _:
            found = ()
    yield from (digest for digest in found if digest is not None)
