"""Running, auditing and updating by turns: a thinker that learns from its own audited runs.

Each update has runs of its own, whose names follow from the training's; they are carried to their
end, the teacher's word on their moments is drawn as lessons, and the weights are updated. Every
update is an event, and its weights a checkpoint that was durable before. A training that was killed
is taken up by the same call: runs go on where they stood, an update that was not recorded is made
again, and the weights come out the same to the bit where the same project answers the same.

Nothing is chosen: each run of an update is carried to its end, and all of the teacher's lessons are
taken. What its tokens forbid to learn from is counted by reason in `lesson.taken`.
"""

from __future__ import annotations

import hmac
import importlib.metadata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
import numpy as np
from pydantic import Field

from audition.audit import card
from audition.canonical import digest_bytes, digest_value
from audition.learn.deploying import Deploying
from audition.learn.grouping import grouped
from audition.learn.language import LanguageLearner, Learning
from audition.learn.lessons import LessonError, Lessons
from audition.learn.live import Harvest, lessons_of
from audition.learn.plan import Plan
from audition.learn.restrictions import PROCESS, check_horizon, check_signal, held_to, stopped
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    LessonTaken,
    RestrictionDeclared,
    RunClosed,
    RunOpened,
    ThinkerUpdated,
    Training,
)
from audition.loop import run as carry
from audition.model.local import Loaded
from audition.opening import identity
from audition.project import Project
from audition.step import (
    AuditorCard,
    Digest,
    Frozen,
    Limits,
    Name,
    Restriction,
    Role,
    RunId,
)

LIBRARIES = ("torch", "transformers")
"""Whose versions decide what comes out."""

MakeProject = Callable[[Loaded, str], Project]
"""Makes the project as a model of these weights pursues it, under a name."""


class Schedule(Frozen):
    """`[training]`: who teaches, how often, and how weights follow."""

    teacher: Name
    """The auditor whose word is learned from."""
    signal: Literal["approval", "comparison"] = "approval"
    """What it gives."""
    updates: int = Field(default=10, ge=1, le=1_000_000)
    """Updates."""
    runs: int = Field(default=8, ge=1, le=100_000)
    """Runs of each."""
    at_once: int = Field(default=8, ge=1, le=10_000)
    """Runs that are carried at the same time."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Of the training: with it the names of its runs, and so all of its chance, change."""
    learning: Learning = Learning()
    """How weights are updated."""
    deploy: Deploying | None = None
    """What it takes to deploy an update; None: none can be."""


@dataclass(frozen=True)
class Due:
    """The runs of one update, as they are to be carried."""

    name: str
    """Under which the project is pursued."""
    runs: tuple[RunId, ...]
    """All of them."""
    ledger: str
    """The origin of the ledger that they are written to."""
    weights: Digest
    """The weights that think in them."""
    checkpoint: Path | None
    """Where these are; None: they are those that training begins from."""


Carrying = Callable[[Due], Awaitable[None]]
"""Carries the runs of an update to their end, wherever that is done."""


@dataclass(frozen=True)
class Updated:
    """One update, as it is told while training goes on."""

    number: int
    """Which, from 1."""
    of: int
    """How many there are to be."""
    weights: Digest
    """The weights after it."""
    approval: float
    """Mean of the teacher's approval of the steps that were taken; NaN where it gave none."""
    measures: dict[str, float]
    """What the learner reports."""


@dataclass
class Alternated:
    """What became of a training."""

    run: RunId
    """Its run in the ledger."""
    weights: Digest
    """The weights at its end."""
    folder: Path
    """Their checkpoint."""
    updates: list[Updated] = field(default_factory=list[Updated])
    """The updates that this process made."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """What was not learned from, by reason."""
    stopped: str = ""
    """Which restriction ended it early; empty if all updates were made."""


async def alternate(
    ledger: SqlLedger,
    schedule: Schedule,
    learner: LanguageLearner,
    make: MakeProject,
    folder: Path,
    *,
    restrictions: Iterable[Restriction] = (PROCESS,),
    carrying: Carrying | None = None,
    progress: Callable[[Updated], None] | None = None,
) -> Alternated:
    """Train, or go on with a training that was begun.

    Args:
        ledger: where runs, audits, lessons and updates are written.
        schedule: who teaches, how often, how weights follow.
        learner: the model that learns, with the weights that training begins from.
        make: the project as a model of some weights pursues it.
        folder: where checkpoints are written, each under the number of its update.
        restrictions: declared and hashed into the training.
        carrying: carries the runs of each update; None: this process does.
        progress: told after each update.

    Raises:
        Forbidden: a restriction forbids what is to be learned from.
        LessonError: the teacher may not teach, or gave nothing to learn from; or a checkpoint is
            not the one that the ledger names.
    """
    declared = tuple(restrictions)
    training = _Training(ledger, schedule, learner, make, folder, declared, carrying)
    return await training.carry(progress)


async def carried(project: Project, ledger: SqlLedger, runs: Sequence[RunId], at_once: int) -> None:
    """Carry runs to their end in this process, so many at the same time."""
    limiter = anyio.CapacityLimiter(at_once)

    async def one(name: RunId) -> None:
        async with limiter:
            await carry(project, ledger, run_id=name, wait=True)

    async with anyio.create_task_group() as tasks:
        for name in runs:
            tasks.start_soon(one, name)


class _Training:
    def __init__(
        self,
        ledger: SqlLedger,
        schedule: Schedule,
        learner: LanguageLearner,
        make: MakeProject,
        folder: Path,
        restrictions: tuple[Restriction, ...],
        carrying: Carrying | None,
    ) -> None:
        self._ledger = ledger
        self._schedule = schedule
        self._learner = learner
        self._make = make
        self._folder = folder
        self._restrictions = restrictions
        self._carrying = carrying or self._here
        self._limits: Limits = held_to(restrictions)
        project = make(learner.given, "")
        objective = schedule.learning.objective
        if not objective.certifiable:
            raise LessonError(
                f"normaliser {objective.normaliser} divides a lesson by what else is in the batch, "
                "so that no update could be certified; grpo, dr_grpo and luspo do not"
            )
        self._name = project.name
        self._card = _teacher(project, schedule, self._limits)
        self._plan = _plan(schedule, project, learner)
        self._listed = [one.model_dump(exclude_none=True) for one in restrictions]
        declared = [digest_bytes(self._plan.canonical()), schedule.seed, digest_value(self._listed)]
        self.run: RunId = digest_value(declared)[:32]
        self._secret = hmac.digest(project.secret, f"training {self.run}".encode(), "sha256")
        self._journal = Journal(ledger, self.run)
        self._taken: LessonTaken | None = None
        self._lessons = self._done = 0

    async def carry(self, progress: Callable[[Updated], None] | None) -> Alternated:
        closed = self._take_up()
        result = Alternated(self.run, self._learner.given.digest, self._at(self._done))
        if closed is not None:
            result.stopped = closed.reason
            return result
        if not self._journal.seq:
            await self._open()
        while self._done < self._schedule.updates:
            if end := stopped(self._limits, self._done, self._lessons):
                result.stopped = end
                break
            updated = await self._update(result)
            if updated is None:
                result.stopped = f"{self._limits.lessons} lessons are taken"
                break
            result.updates.append(updated)
            result.weights, result.folder = updated.weights, self._at(self._done)
            if progress is not None:
                progress(updated)
        self._journal.log(RunClosed(status="trained", reason=result.stopped, secret=self._secret))
        await self._journal.commit()
        return result

    def _take_up(self) -> RunClosed | None:
        """Stand where the ledger stands; how the training ended, if it did."""
        closed, after, following = None, self._learner.given.digest, 0
        for event in self._ledger.read(self.run):
            following = event.seq + 1
            match event.body:
                case LessonTaken() as body:
                    self._taken = body
                    self._lessons += body.taken
                case ThinkerUpdated() as body:
                    self._taken, self._done, after = None, body.number + 1, body.after
                case RunClosed() as body:
                    closed = body
                case _:
                    pass
        self._journal = Journal(self._ledger, self.run, following)
        if self._done:
            self._learner.restore(self._at(self._done), after)
        return closed

    async def _open(self) -> None:
        self._journal.log(
            RunOpened(
                mode="simulated",
                project=self._name,
                goal=self._journal.put(self._plan.says),
                thinker=self._learner.name,
                thinking=self._learner.given.digest,
                auditors=(self._card,),
                gate={},
                restrictions=digest_value(self._listed),
                secret=digest_bytes(self._secret),
                training=Training(plan=self._journal.put(self._plan), seed=self._schedule.seed),
            )
        )
        for restriction in self._restrictions:
            self._journal.log(RestrictionDeclared(restriction=restriction))
        await self._journal.commit()

    async def _update(self, result: Alternated) -> Updated | None:
        """Runs, lessons, new weights; None where a restriction allows no such lessons."""
        schedule, number, before = self._schedule, self._done, self._learner.given.digest
        lessons = await self._lessons_of(number)
        count = sum(map(len, lessons))
        most = self._limits.lessons
        if self._taken is None and most is not None and self._lessons + count > most:
            return None
        given = grouped(
            self._ledger,
            lessons,
            weights=before,
            temperature=schedule.learning.objective.temperature,
        )
        result.refused.update(given.refused)
        taken = LessonTaken(
            of=self._learner.name,
            signal=schedule.signal,
            auditor=schedule.teacher,
            population=max(one.population for one in lessons),
            admissible=count,
            taken=count,
            refused=dict(given.refused),
            lessons=_named(lessons),
        )
        if self._taken is None:
            self._journal.log(taken)
            self._lessons += count
            await self._journal.commit()
        elif self._taken != taken:
            raise LessonError(f"update {number + 1}: its lessons are not those that were recorded")
        self._taken = None
        measures = {"moments": 0.0, "even": 0.0}
        if given.groups:
            moments = float(taken.population)
            measures = await anyio.to_thread.run_sync(self._learner.update, given.groups, moments)
        approval = _approval(lessons)
        told = measures | ({} if np.isnan(approval) else {"approval": approval})
        self._done = number + 1
        after = self._learner.save(self._at(self._done))
        self._journal.log(
            ThinkerUpdated(
                of=self._learner.name,
                number=number,
                before=before,
                after=after,
                lessons=taken.lessons,
                signal=schedule.signal,
                horizon=1,
                measures=told,
            )
        )
        await self._journal.commit()
        return Updated(self._done, schedule.updates, after, approval, told)

    async def _lessons_of(self, number: int) -> list[Lessons]:
        """What the teacher said of the moments of an update's runs, all of which are carried."""
        names = [digest_value([self.run, number, one])[:32] for one in range(self._schedule.runs)]
        due = Due(
            name=f"{self._name} {self.run[:8]}.{number + 1}",
            runs=tuple(names),
            ledger=self._ledger.origin,
            weights=self._learner.given.digest,
            checkpoint=self._at(number) if number else None,
        )
        await self._carrying(due)
        harvest = await anyio.to_thread.run_sync(lessons_of, self._ledger, names)
        return _of(harvest, self._schedule, number)

    async def _here(self, due: Due) -> None:
        project = self._make(self._learner.given, due.name)
        await carried(project, self._ledger, due.runs, self._schedule.at_once)

    def _at(self, number: int) -> Path:
        """Where the checkpoint of an update is."""
        return self._folder / f"{number:06}"


def _of(harvest: Harvest, schedule: Schedule, number: int) -> list[Lessons]:
    wanted = (schedule.teacher, schedule.signal)
    found = [one for one in harvest.lessons if (one.auditor, one.signal) == wanted]
    if not found:
        reasons = ", ".join(f"{count} × {why}" for why, count in harvest.refused.most_common(3))
        raise LessonError(
            f"update {number + 1}: {schedule.teacher} gave nothing to learn from by "
            f"{schedule.signal}, of {harvest.moments} moments ({reasons or 'nothing was refused'})"
        )
    return found


def _teacher(project: Project, schedule: Schedule, limits: Limits) -> AuditorCard:
    """What is declared of the teacher.

    Raises:
        Forbidden: a restriction forbids the signal.
        LessonError: there is no such auditor, or it may not teach.
    """
    check_signal(limits, schedule.signal)
    check_horizon(limits, 1)
    if schedule.teacher not in project.auditors:
        known = ", ".join(project.auditors)
        raise LessonError(f"training.teacher: no auditor is called {schedule.teacher!r}: {known}")
    found = card(project.auditors[schedule.teacher])
    if limits.roles is not None and found.role not in limits.roles:
        raise LessonError(f"{found.name} is a {found.role}: {Role.TEACHER} verdicts teach")
    if limits.unseen is not None and (seen := set(found.sees) & set(limits.unseen)):
        raise LessonError(f"{found.name} sees {min(seen)}, which no teacher may")
    return found


def _plan(schedule: Schedule, project: Project, learner: LanguageLearner) -> Plan:
    return Plan(
        name=project.name,
        says=f"{learner.name} learns from {schedule.teacher} by {schedule.signal}: {project.goal}",
        study="language",
        world={"runs": schedule.runs, "project": identity(project)},
        learner=schedule.learning.model_dump(mode="json", exclude_none=True),
        signal=schedule.signal,
        batches=schedule.updates,
        leaf=1,
        seeds=(schedule.seed,),
        base=learner.given.digest,
        libraries={one: importlib.metadata.version(one) for one in LIBRARIES},
    )


def _named(lessons: list[Lessons]) -> Digest:
    """The name of lessons that are taken together: their own, or that of the list of theirs."""
    names = [one.digest() for one in lessons]
    return names[0] if len(names) == 1 else digest_value(names)


def _approval(lessons: list[Lessons]) -> float:
    """The teacher's mean approval of the steps that were taken, weighed by the lottery."""
    given = [(one.approval_L, one.weight_L) for one in lessons if one.approval_L is not None]
    if not given:
        return float("nan")
    approval, weight = (np.concatenate(each) for each in zip(*given, strict=True))
    return float(np.average(approval, weights=weight))
