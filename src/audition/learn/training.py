"""Training in a simulated world, every batch, audit, lesson and update an event of the ledger.

The loop is the path of a step in bulk: roll out, draw, judge what was drawn, seal, learn. What is
written is durable before anything is learned from it. The same loop, with a pen that compares
where this one writes, is how a certificate is replayed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audition.canonical import digest_bytes, digest_value
from audition.gate import draw_rows, new_secret
from audition.learn.batch import Batch, Columns, moment_of
from audition.learn.lessons import LessonError, Lessons, NoLessons, of_batch
from audition.learn.outcome import outcomes_of
from audition.learn.plan import Plan, PlanError, Study, Teacher, ready, study_of
from audition.learn.restrictions import (
    PROCESS,
    check_horizon,
    check_lifting,
    check_signal,
    held_to,
    stopped,
)
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    AuditRecorded,
    BatchSealed,
    Column,
    LessonTaken,
    RestrictionDeclared,
    RestrictionLifted,
    RunClosed,
    RunOpened,
    ThinkerUpdated,
    Training,
)
from audition.step import (
    AuditorCard,
    Body,
    Digest,
    Evidence,
    Limits,
    Receipt,
    Restriction,
    Role,
    RunId,
    Verdict,
)

JUDGED = (
    Column(name="drawn", dtype="u1", part="drawn"),
    Column(name="approval", dtype="f4", part="approval"),
)
"""Columns that training adds: the lottery's result; a machine's approvals, NaN where undrawn."""

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
class Trained:
    """What became of one run of training."""

    run: RunId
    """The run."""
    seed: int
    """Its seed."""
    thinker: Digest
    """The weights at its end."""
    study: Study
    """World, learner and teacher as they are now."""
    audits: int
    """Moments judged."""
    lessons: int
    """Lessons taken."""
    stopped: str
    """Which restriction ended it early; empty if the plan was carried out."""


Progress = Callable[[int, int, Mapping[str, float]], None]
"""Told how many batches are done, of how many, and what the learner reported."""


async def train(
    plan: Plan,
    ledger: SqlLedger,
    seed: int,
    *,
    restrictions: Iterable[Restriction] = (PROCESS,),
    study: Study | None = None,
    run: RunId | None = None,
    lifted: Iterable[RestrictionLifted] = (),
    progress: Progress | None = None,
) -> Trained:
    """Carry out a plan for one of its seeds, in a ledger.

    Args:
        plan: what was declared; every sibling is to be run.
        ledger: where it is written.
        seed: which of the plan's seeds.
        restrictions: declared and hashed into the run.
        study: the plan's objects, where they are at hand; None: those of the installed study.
        run: the run's name, where it had to be known beforehand to sign a lifting.
        lifted: restrictions that keys lift, each signed for this run.
        progress: told after each update.

    Raises:
        PlanError: the plan cannot be carried out.
        Forbidden: a restriction forbids what the plan learns from, or how far credit reaches.
        LessonError: a teacher's answer is missing, NaN or out of range.
    """
    if study is None:
        study = study_of(plan, seed, ledger.get)
    else:
        study = ready(study, plan, seed, ledger.get)
    pen = Journal(ledger, run or secrets.token_hex(16))
    return await follow(
        plan, pen, study, seed, tuple(restrictions), new_secret(), tuple(lifted), progress
    )


async def follow(
    plan: Plan,
    pen: Pen,
    study: Study,
    seed: int,
    restrictions: tuple[Restriction, ...],
    secret: bytes,
    lifted: tuple[RestrictionLifted, ...] = (),
    progress: Progress | None = None,
) -> Trained:
    """The loop itself, whatever the pen does."""
    learner, teacher = study.learner, study.teacher
    for lifting in lifted:
        check_lifting(restrictions, pen.run, lifting)
    limits = held_to(restrictions, [lifting.restriction for lifting in lifted])
    if plan.signal != "outcome":
        check_signal(limits, plan.signal)
        check_horizon(limits, plan.horizon)
        if teacher is None:
            raise PlanError(f"plan {plan.name}: learning by {plan.signal} needs a teacher")
        _check_teacher(teacher, limits)
    _open(plan, pen, study, seed, restrictions, secret)
    for lifting in lifted:
        pen.log(lifting)
    thinker = digest_bytes(learner.weights())
    audits = taken = 0
    end = ""
    for number in range(plan.batches):
        if end := stopped(limits, number, taken):
            break
        sealed, batch, answers = await _sealed(plan, pen, study, seed, secret, number, thinker)
        rng = np.random.default_rng([seed, number, 1])
        before = thinker
        if plan.signal == "outcome":
            digest, measures = None, learner.update(outcomes_of(batch), rng)
        else:
            assert teacher is not None
            lessons = _lessons(plan, sealed, batch, teacher.name, answers)
            if limits.lessons is not None and taken + len(lessons) > limits.lessons:
                end = f"{limits.lessons} lessons are taken"
                break
            digest = lessons.digest()
            pen.log(_taken(learner.name, sealed.root, lessons, digest))
            audits, taken = audits + len(lessons), taken + len(lessons)
            measures = learner.update(lessons, rng)
        weights = learner.weights()
        thinker = digest_bytes(weights)
        last = number + 1 == plan.batches
        pen.log(
            ThinkerUpdated(
                of=learner.name,
                number=number,
                before=before,
                after=thinker,
                lessons=digest,
                signal=plan.signal,
                horizon=plan.horizon if plan.signal != "outcome" else None,
                weights=pen.put(weights) if last else None,
                measures=dict(measures),
            )
        )
        if progress is not None:
            progress(number + 1, plan.batches, measures)
    pen.log(RunClosed(status="trained", reason=end, secret=secret))
    await pen.commit()
    return Trained(pen.run, seed, thinker, study, audits, taken, end)


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


def _open(
    plan: Plan,
    pen: Pen,
    study: Study,
    seed: int,
    restrictions: tuple[Restriction, ...],
    secret: bytes,
) -> None:
    listed = [one.model_dump(exclude_none=True) for one in restrictions]
    pen.log(
        RunOpened(
            mode="simulated",
            project=plan.name,
            goal=pen.put(plan.says),
            thinker=study.learner.name,
            thinking=digest_bytes(study.learner.weights()),
            auditors=(card_of(study.teacher),) if study.teacher is not None else (),
            gate={},
            restrictions=digest_value(listed),
            secret=digest_bytes(secret),
            training=Training(plan=pen.put(plan), seed=seed),
        )
    )
    for restriction in restrictions:
        pen.log(RestrictionDeclared(restriction=restriction))


async def _sealed(
    plan: Plan,
    pen: Pen,
    study: Study,
    seed: int,
    secret: bytes,
    number: int,
    thinker: Digest,
) -> tuple[BatchSealed, Batch, NDArray[Any] | None]:
    """Roll out, draw, judge, seal: the batch is durable when this returns."""
    world, teacher = study.world, study.teacher
    rows = dict(world.rollout(study.learner, np.random.default_rng([seed, number, 0])))
    layout, answers = tuple(world.layout), None
    if teacher is not None:
        rate_R = rates_of(rows, layout, plan.rates)
        drawn_R = draw_rows(secret, pen.run, number, rate_R)
        shown = shown_to(teacher, {k: v[drawn_R] for k, v in rows.items()}, layout)
        given = np.asarray(teacher.judge(shown)) if drawn_R.any() else np.empty((0,))
        _check_answers(teacher, plan.signal, given, int(drawn_R.sum()))
        rows["drawn"] = drawn_R.astype(np.uint8)
        answers = np.full((len(drawn_R), *given.shape[1:]), np.nan)
        answers[drawn_R] = given
        layout += JUDGED[:1]
        if not teacher.person and plan.signal == "approval":
            rows["approval"] = answers.astype(np.float32)
            layout += JUDGED[1:]
        elif not teacher.person:
            rows["ranking"] = np.nan_to_num(answers, nan=-1).astype(np.int8)
            shape = answers.shape[1:]
            layout += (Column(name="ranking", dtype="i1", shape=shape, part="ranking"),)
    batch = Batch.of(rows, layout, plan.leaf)
    bought = teacher is not None and teacher.person
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
    if bought and answers is not None:
        assert teacher is not None
        await pen.commit()  # durable before a person is asked
        _bought(pen, teacher, sealed, batch, answers)
    await pen.commit()
    return sealed, batch, answers if bought else None


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
    pen: Pen, teacher: Teacher, sealed: BatchSealed, batch: Batch, answers: NDArray[Any]
) -> None:
    """Each answer as a verdict of its own."""
    drawn_R = batch.columns("drawn")["drawn"]
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


def _lessons(
    plan: Plan, sealed: BatchSealed, batch: Batch, auditor: str, answers: NDArray[Any] | None
) -> Lessons:
    assert plan.signal != "outcome"
    rows = batch.columns()
    try:
        return of_batch(
            batch,
            sealed.root,
            signal=plan.signal,
            auditor=auditor,
            rate_R=rates_of(rows, sealed.columns, sealed.rates),
            drawn_R=rows["drawn"].astype(bool),
            approval_R=answers if plan.signal == "approval" else None,
            ranking_RK=answers if plan.signal == "comparison" else None,
        )
    except NoLessons:
        raise NoLessons(
            f"plan {plan.name}: the lottery drew none of {batch.rows} rows; raise a rate, or seal "
            "more rows a batch"
        ) from None


def _taken(of: str, root: Digest, lessons: Lessons, digest: Digest) -> LessonTaken:
    return LessonTaken(
        of=of,
        batch=root,
        signal=lessons.signal,
        auditor=lessons.auditor,
        population=lessons.population,
        admissible=len(lessons),
        taken=len(lessons),
        lessons=digest,
    )


def _check_teacher(teacher: Teacher, limits: Limits) -> None:
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
