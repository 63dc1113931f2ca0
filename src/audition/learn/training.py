"""Training in a simulated world, every batch, audit, lesson and update an event of the ledger.

The loop is the path of a step in bulk: roll out, draw, judge what was drawn, seal, learn. What is
written is durable before anything is learned from it. The same loop, with a pen that compares
where this one writes, is how a certificate is replayed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from audition.canonical import digest_bytes, digest_value
from audition.gate import new_secret
from audition.learn.lessons import Lessons
from audition.learn.outcome import outcomes_of
from audition.learn.plan import Plan, PlanError, Study, ready, study_of
from audition.learn.restrictions import (
    PROCESS,
    check_horizon,
    check_lifting,
    check_signal,
    held_to,
    stopped,
)
from audition.learn.sealing import Pen, card_of, check_teacher, lessons_in, seal
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    LessonTaken,
    RestrictionDeclared,
    RestrictionLifted,
    RunClosed,
    RunOpened,
    ThinkerUpdated,
    Training,
)
from audition.step import (
    Digest,
    Restriction,
    RunId,
)


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
    limits = held_to(restrictions, [one.restriction for one in lifted], plan.becomes)
    if plan.signal != "outcome":
        check_signal(limits, plan.signal)
        check_horizon(limits, plan.horizon)
        if teacher is None:
            raise PlanError(f"plan {plan.name}: learning by {plan.signal} needs a teacher")
        check_teacher(teacher, limits)
    _open(plan, pen, study, seed, restrictions, secret)
    for lifting in lifted:
        pen.log(lifting)
    thinker = digest_bytes(learner.weights())
    audits = taken = 0
    end = ""
    for number in range(plan.batches):
        if end := stopped(limits, number, taken):
            break
        judged = await seal(plan, pen, study, seed, secret, number, thinker)
        rng = np.random.default_rng([seed, number, 1])
        before, digest = thinker, None
        if plan.signal == "outcome":
            measures = learner.update(outcomes_of(judged.batch), rng)
        else:
            assert teacher is not None
            lessons = lessons_in(plan, judged, teacher.name)
            if limits.lessons is not None and taken + len(lessons) > limits.lessons:
                end = f"{limits.lessons} lessons are taken"
                break
            digest = lessons.digest()
            pen.log(_taken(learner.name, judged.sealed.root, lessons, digest))
            audits, taken = audits + len(lessons), taken + len(lessons)
            measures = learner.update(lessons, rng)
        thinker = digest_bytes(learner.weights())
        pen.log(
            ThinkerUpdated(
                of=learner.name,
                number=number,
                before=before,
                after=thinker,
                lessons=digest,
                signal=plan.signal,
                horizon=plan.horizon if plan.signal != "outcome" else None,
                measures=dict(measures),
            )
        )
        if progress is not None:
            progress(number + 1, plan.batches, measures)
    answer = pen.put(learner.weights())
    pen.log(RunClosed(status="trained", reason=end, answer=answer, secret=secret))
    await pen.commit()
    return Trained(pen.run, seed, thinker, study, audits, taken, end)


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
