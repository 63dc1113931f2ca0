"""Sealing a batch: simulated steps are rolled out, drawn, judged, and made one durable event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audition.canonical import digest_value
from audition.gate import draw_rows
from audition.learn.batch import Batch, Columns, moment_of
from audition.learn.lessons import LessonError, Lessons, NoLessons, of_batch
from audition.learn.plan import Plan, Study, Teacher
from audition.ledger.events import AuditRecorded, BatchSealed, Column
from audition.step import AuditorCard, Body, Digest, Evidence, Limits, Receipt, Role, RunId, Verdict

DRAWN = Column(name="drawn", dtype="u1", part="drawn")
"""The lottery's result, which sealing adds to a world's columns."""

APPROVAL = Column(name="approval", dtype="f4", part="approval")
"""A machine's approvals, NaN where nothing was drawn; added likewise."""

SHOWN = (Evidence.CANDIDATES, Evidence.HISTORY, Evidence.PROPOSAL)
"""What a teacher of simulated moments is handed: context, span and candidates."""


class Pen(Protocol):
    """Where training writes: a ledger's journal, or a comparison with one."""

    run: RunId

    def put(self, content: Any) -> Digest:
        """Stage content."""
        ...

    def log(self, body: Body) -> Any:
        """Stage the run's next event."""
        ...

    async def commit(self) -> Receipt | None:
        """Make it durable."""
        ...


@dataclass(frozen=True)
class Judged:
    """A sealed batch, and what was said of it since."""

    sealed: BatchSealed
    """The event."""
    batch: Batch
    """The rows."""
    heard: NDArray[Any] | None
    """A person's answers, by row, NaN where nothing was drawn; None if a machine's are in it."""


async def seal(
    plan: Plan,
    pen: Pen,
    study: Study,
    seed: int,
    secret: bytes,
    number: int,
    thinker: Digest,
) -> Judged:
    """Roll out, draw, judge and seal one batch, which is durable when this returns.

    A machine teacher's answers are sealed with the rows. A person is asked when they are sealed,
    and each answer is a verdict of its own.

    Raises:
        LessonError: an answer is missing, NaN or out of range, or a stratum has no rate.
        BatchError: the world's rows are not what its layout says.
    """
    world, teacher = study.world, study.teacher
    rows = dict(world.rollout(study.learner, np.random.default_rng([seed, number, 0])))
    layout = tuple(world.layout)
    asked = plan.signal in ("approval", "comparison")
    drawn_R = None
    if teacher is not None:
        rate_R = rates_of(rows, layout, plan.rates)
        drawn_R = draw_rows(secret, pen.run, number, rate_R)
        rows["drawn"] = drawn_R.astype(np.uint8)
        layout += (DRAWN,)
    if teacher is not None and drawn_R is not None and asked and not teacher.person:
        answers = _asked(plan, teacher, rows, layout, drawn_R)
        if plan.signal == "approval":
            rows["approval"] = answers.astype(np.float32)
            layout += (APPROVAL,)
        else:
            rows["ranking"] = np.nan_to_num(answers, nan=-1).astype(np.int8)
            shape = answers.shape[1:]
            layout += (Column(name="ranking", dtype="i1", shape=shape, part="ranking"),)
    batch = Batch.of(rows, layout, plan.leaf)
    bought = teacher is not None and teacher.person and asked
    sealed = BatchSealed(
        number=number,
        rows=batch.rows,
        leaf=batch.leaf,
        columns=layout,
        data=pen.put(batch.data()),
        root=batch.root(),
        environment=digest_value(plan.world),
        thinker=thinker,
        auditor=teacher.name if teacher is not None and not bought else None,
        judge=teacher.configuration() if teacher is not None else None,
        rates=plan.rates if teacher is not None else {},
    )
    pen.log(sealed)
    await pen.commit()
    heard = None
    if teacher is not None and drawn_R is not None and bought:
        heard = _asked(plan, teacher, rows, layout, drawn_R)
        _bought(pen, teacher, sealed, drawn_R, heard)
        await pen.commit()
    return Judged(sealed, batch, heard)


def lessons_in(plan: Plan, judged: Judged, auditor: str) -> Lessons:
    """The lessons of a judged batch.

    Raises:
        NoLessons: the lottery drew nothing.
    """
    assert plan.signal != "outcome"
    sealed, batch = judged.sealed, judged.batch
    rows = batch.columns()
    try:
        return of_batch(
            batch,
            sealed.root,
            signal=plan.signal,
            auditor=auditor,
            rate_R=rates_of(rows, sealed.columns, sealed.rates),
            drawn_R=rows["drawn"].astype(bool),
            approval_R=judged.heard if plan.signal == "approval" else None,
            ranking_RK=judged.heard if plan.signal == "comparison" else None,
        )
    except NoLessons:
        raise NoLessons(
            f"plan {plan.name}: the lottery drew none of {batch.rows} rows; raise a rate, or seal "
            "more rows a batch"
        ) from None


def card_of(teacher: Teacher) -> AuditorCard:
    """What is declared of a teacher before the run."""
    return AuditorCard(
        name=teacher.name,
        role=teacher.role,
        sees=tuple(sorted(teacher.sees)),
        rules=teacher.configuration(),
        trained_from=teacher.trained_from,
        person=teacher.person,
    )


def shown_to(teacher: Teacher, batch: Columns, layout: Iterable[Column]) -> Columns:
    """The columns that a teacher is handed: context, span and candidates, and no other."""
    return {
        one.name: batch[one.name]
        for one in layout
        if one.part in ("context", "span", "candidates") and one.name in batch
    }


def rates_of(batch: Columns, layout: Iterable[Column], rates: Mapping[str, float]) -> Any:
    """Each row's probability of being drawn: its stratum's declared rate.

    Raises:
        LessonError: a stratum without a rate, or strata that are not one column of numbers.
    """
    strata = [one for one in layout if one.part == "stratum"]
    if len(strata) > 1 or any(one.shape or one.dtype.startswith("f") for one in strata):
        raise LessonError("a row is of one stratum: one column of whole numbers")
    rows = len(next(iter(batch.values())))
    stratum_R = batch[strata[0].name] if strata else np.zeros(rows, np.uint8)
    found, which_R = np.unique(stratum_R, return_inverse=True)
    names = [str(int(one)) for one in found]
    if missing := [name for name in names if name not in rates]:
        raise LessonError(f"stratum {missing[0]} has no declared rate; add it to the plan's rates")
    return np.array([rates[name] for name in names])[which_R]


def check_teacher(teacher: Teacher, limits: Limits) -> None:
    """Refuse a teacher whose word may not be learned from, before anything is bought.

    Raises:
        LessonError: a guard, or one that sees what it may not.
    """
    if limits.roles is not None and teacher.role not in limits.roles:
        raise LessonError(f"{teacher.name} is a {teacher.role}: {Role.TEACHER} verdicts teach")
    if limits.unseen is not None and (seen := teacher.sees & set(limits.unseen)):
        raise LessonError(f"{teacher.name} sees {sorted(seen)[0]}, which no teacher may")
    if extra := teacher.sees - set(SHOWN):
        raise LessonError(f"{teacher.name}: a batch shows nobody {sorted(extra)[0]}")


def _asked(
    plan: Plan,
    teacher: Teacher,
    rows: Columns,
    layout: Iterable[Column],
    drawn_R: NDArray[np.bool_],
) -> NDArray[Any]:
    """A teacher's answers about the rows that were drawn, NaN for the others."""
    shown = shown_to(teacher, {name: array[drawn_R] for name, array in rows.items()}, layout)
    given = np.asarray(teacher.judge(shown)) if drawn_R.any() else np.empty((0,))
    _check_answers(teacher, plan.signal, given, int(drawn_R.sum()))
    answers = np.full((len(drawn_R), *given.shape[1:]), np.nan)
    answers[drawn_R] = given + 0.0  # of two zeros, canonical JSON has one
    return answers


def _check_answers(teacher: Teacher, signal: str, given: NDArray[Any], asked: int) -> None:
    if len(given) != asked:
        raise LessonError(f"{teacher.name} answers {len(given)} of {asked}")
    lowest, highest = (0, 1) if signal == "approval" else (-np.inf, np.inf)
    wrong = ~((given >= lowest) & (given <= highest))  # NaN is neither
    if wrong.any():
        raise LessonError(
            f"{teacher.name} answers {given[wrong][0]}: an approval is in [0, 1], a ranking whole"
        )


def _bought(
    pen: Pen,
    teacher: Teacher,
    sealed: BatchSealed,
    drawn_R: NDArray[np.bool_],
    answers: NDArray[Any],
) -> None:
    """Each answer as a verdict of its own."""
    for row in np.flatnonzero(drawn_R).tolist():
        answer = answers[row]
        pen.log(
            AuditRecorded(
                verdict=Verdict(
                    auditor=teacher.name,
                    role=teacher.role,
                    moment=moment_of(sealed.root, row),
                    score=float(answer) if answer.ndim == 0 else None,
                    ranking=tuple(int(one) for one in answer) if answer.ndim else None,
                    saw=tuple(sorted(teacher.sees)),
                    trained_from=teacher.trained_from,
                )
            )
        )
