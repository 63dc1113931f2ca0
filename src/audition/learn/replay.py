"""Replaying: training again, with a pen that compares where the first one wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.learn.batch import Columns
from audition.learn.plan import Plan, Study, Teacher, ready, study_of
from audition.learn.training import Progress, Trained, follow
from audition.ledger import content_name
from audition.ledger.events import (
    AuditRecorded,
    BatchSealed,
    RestrictionDeclared,
    RestrictionLifted,
    RunOpened,
    ThinkerChosen,
    ThinkerUpdated,
)
from audition.ledger.journal import encoded
from audition.step import Body, Digest, Event, Receipt, RunId


class Differs(Exception):
    """What was replayed is not what was recorded; the message names the event and the field."""


async def replay(
    run: RunId,
    events: Sequence[Event],
    plan: Plan,
    secret: bytes,
    get: Callable[[Digest], bytes],
    *,
    study: Study | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Carry out a run of training again and hold every event against the recorded one.

    Worlds, machine teachers and learners do everything anew; what a person answered is taken from
    the record.

    Args:
        run: the run.
        events: its events, all of them.
        plan: its plan.
        secret: its lottery's secret, shown when it closed.
        get: reads the ledger's content.
        study: the plan's objects; None: those of the installed study.
        progress: told after each update.

    Raises:
        Differs: an event comes out otherwise.
        PlanError: the study is not installed here.
    """
    opened = next((one.body for one in events if isinstance(one.body, RunOpened)), None)
    if opened is None or opened.training is None:
        raise Differs("the run was not opened as one that trains")
    seed = opened.training.seed
    if study is None:
        study = study_of(plan, seed, get)
    else:
        study = ready(study, plan, seed, get)
    if study.teacher is not None and study.teacher.person:
        study = replace(study, teacher=_Heard(study.teacher, _answers(events)))
    restrictions = [e.body.restriction for e in events if isinstance(e.body, RestrictionDeclared)]
    lifted = [one.body for one in events if isinstance(one.body, RestrictionLifted)]
    pen = _Comparing(run, events)
    trained = await follow(
        plan, pen, study, seed, tuple(restrictions), secret, tuple(lifted), progress
    )
    pen.conclude()
    return trained


class _Comparing:
    """A pen that writes nothing."""

    def __init__(self, run: RunId, events: Iterable[Event]) -> None:
        self.run = run
        self._events = [one for one in events if not isinstance(one.body, ThinkerChosen)]
        self._next = 0

    def put(self, content: Any) -> Digest:
        """The name that content would have."""
        return content_name(encoded(content), None)

    def log(self, body: Body) -> None:
        """Compare with the next recorded event."""
        if self._next >= len(self._events):
            raise Differs(f"event {self._next}: {body.kind} comes out, none is recorded")
        event = self._events[self._next]
        self._next += 1
        if event.body.kind != body.kind:
            raise Differs(
                f"event {event.seq}: {body.kind} comes out, {event.body.kind} is recorded"
            )
        there, here = _compared(event.body), _compared(body)
        if there != here:
            field = next(key for key in here | there if here.get(key) != there.get(key))
            place = f" {body.number}" if isinstance(body, BatchSealed | ThinkerUpdated) else ""
            raise Differs(f"event {event.seq}: {body.kind}{place}: {field} comes out otherwise")

    async def commit(self) -> Receipt | None:
        """Nothing to do."""
        return None

    def conclude(self) -> None:
        """Everything recorded has come out again."""
        if self._next < len(self._events):
            event = self._events[self._next]
            raise Differs(f"event {event.seq}: {event.body.kind} is recorded and does not come out")


class _Heard:
    """A person, answering as recorded."""

    def __init__(self, teacher: Teacher, answers: list[list[Any]]) -> None:
        self.name, self.role, self.sees = teacher.name, teacher.role, teacher.sees
        self.person, self.trained_from = True, teacher.trained_from
        self._teacher = teacher
        self._answers = iter(answers)

    def configuration(self) -> Digest:
        return self._teacher.configuration()

    def judge(self, shown: Columns) -> NDArray[Any]:
        return np.asarray(next(self._answers, []))

    def restore(self, weights: bytes) -> None:
        self._teacher.restore(weights)


def _answers(events: Iterable[Event]) -> list[list[Any]]:
    """What was answered about each batch, in order of rows."""
    found: list[list[Any]] = []
    for event in events:
        if isinstance(event.body, BatchSealed):
            found.append([])
        elif isinstance(event.body, AuditRecorded) and found and event.body.verdict is not None:
            verdict = event.body.verdict
            found[-1].append(verdict.score if verdict.ranking is None else verdict.ranking)
    return [answers for answers in found if answers]


def _compared(body: Body) -> dict[str, Any]:
    """What must come out the same; measures are for people, signatures for keys."""
    fields = body.model_dump(exclude_none=True)
    fields.pop("measures", None)
    if isinstance(body, AuditRecorded) and body.verdict is not None:
        fields["verdict"].pop("signature", None)
    return fields
