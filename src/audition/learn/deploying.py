"""Deploying an update: measured in runs, then an act of its own that only signatures let pass.

First the thinker makes runs with the weights that are in use and runs with the new ones, whose
names follow from what is to be deployed; then a run of one step proposes to deploy, with what the
teacher said of either in the act's arguments. Nobody who thinks has a hand in it. The same call
goes on where it was left: what was measured once is not measured again until somebody has decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
from pydantic import Field

from audition.act import Deploy, DeployArguments, Measured, Measures, Withheld
from audition.box import BoxConfig
from audition.canonical import digest_value
from audition.gate import build, must_sign, spec
from audition.learn.lessons import LessonError
from audition.learn.live import Harvest, lessons_of
from audition.ledger import LetGo, SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActSettled,
    RunClosed,
    RunOpened,
    StepDecided,
    ThinkerUpdated,
)
from audition.loop import Result
from audition.loop import run as carry
from audition.measure import LEVEL, bounded_mean
from audition.model.deployed import InUse, Weights, held, in_use
from audition.opening import identity
from audition.project import Budget, Project, ProjectError
from audition.step import Act, Digest, Frozen, JsonObject, Name, Outcome, RunId
from audition.think import Line, Scripted

Status = Literal["already", "waiting", "done", "rejected", "failed", "in doubt"]

AT_ONCE = 8
"""Runs that are carried at the same time while weights are measured."""

PLACES = 4
"""Digits behind the point of what is measured."""


class Deploying(Frozen):
    """`[training.deploy]`: what it takes to deploy an update."""

    gate: JsonObject
    """What lets the act pass; it asks somebody for a key, whatever else it does."""
    runs: int = Field(default=8, ge=1, le=500)
    """Runs that are made with the new weights, and as many with those in use."""
    acts: Literal["withheld", "performed"] = "withheld"
    """What becomes of acts that the project's gate lets pass in these runs."""


class Unmeasured(LessonError):
    """Runs by which weights are measured wait for somebody."""


@dataclass(frozen=True)
class Deployed:
    """What became of it."""

    new: Weights
    """What was to be in use."""
    old: Weights
    """What it was to replace."""
    status: Status
    """Nothing to do; somebody must sign; in use; turned down; it could not be; nobody knows."""
    run: RunId = ""
    """The run that proposed it; empty if none did."""
    told: str = ""
    """What the gate or the executor says."""
    measured: Measures | None = None
    """How the teacher found either."""


@dataclass(frozen=True)
class Deployment:
    """Under which terms it is deployed.

    Raises:
        GateError, ValidationError: the gate is none.
        LessonError: it asks nobody for a signature, or somebody whom the project does not name.
    """

    deploying: Deploying
    """What it takes."""
    teacher: Name
    """Whose approval is measured."""
    folder: Path
    """Of the thinker's model."""
    pointer: Path
    """The file beside its checkpoints."""
    project: Project
    """Whose thinker it is."""
    make: Callable[[Weights], Project]
    """The project as a thinker with these weights pursues it."""

    def __post_init__(self) -> None:
        if not must_sign(spec(build(self.deploying.gate))):
            raise LessonError(
                "training.deploy.gate: it lets pass what nobody has signed; use a gate of kind "
                '"keys", alone or inside "sequential" or "strictest"'
            )
        try:
            self.proposing()
        except ProjectError as error:
            raise LessonError(f"training.deploy.{error}") from None

    def proposing(self, *acts: Act) -> Project:
        """The run whose only step is the act; a script puts it forward."""
        executor = Deploy(self.folder, self.pointer, acts)
        project = self.project
        return Project(
            name=f"{project.name[:150]} deploys",
            goal=f"Deploy an update of the thinker of {project.name}.",
            thinker=Scripted([Line(propose=act) for act in acts], name="deploying"),
            box=BoxConfig(),
            auditors=project.auditors,
            gate=build(self.deploying.gate),
            budget=Budget(steps=1),
            executors={executor.schema.name: executor},
            restrictions=project.restrictions,
            secret=project.secret,
        )


async def deploy(ledger: SqlLedger, given: Deployment, update: int | None) -> Deployed:
    """Measure an update and propose to deploy it, or go on with that.

    Args:
        ledger: that of the training, where the runs go too.
        given: the terms.
        update: its number; 0: the model's own weights; None: what was in use before.

    Raises:
        LessonError: no training in this ledger made such weights from this model, or the teacher
            said nothing by which they could be measured.
        ModelError: the checkpoint, or the file beside it, is not as it was written.
        Unmeasured: a run that measures waits for somebody.
    """
    standing = in_use(given.folder, given.pointer)
    new = _wanted(given, standing, update)
    training = _training(ledger, new, held(given.folder, given.pointer, 0).weights)
    again = standing.now == new
    old = standing.before if again and standing.before else standing.now
    if old == new:
        return Deployed(new, old, "already")
    projects = given.make(new), given.make(old)
    weights = [one.model_dump() for one in (new, old)]
    terms = [given.teacher, given.deploying.model_dump(mode="json"), training]
    declared = [*map(identity, projects), weights, terms]
    attempt, run, begun = _attempt(ledger, declared)
    if again and not begun:
        return Deployed(new, old, "already")
    measured = [
        await _measured(ledger, given, project, digest_value([run, side]))
        for side, project in enumerate(projects)
    ]
    arguments = DeployArguments(
        new=new,
        old=old,
        training=training,
        attempt=attempt,
        measured=Measures(
            teacher=given.teacher,
            level=LEVEL,
            acts=given.deploying.acts,
            new=measured[0],
            old=measured[1],
        ),
    )
    act = Act(
        tool="deploy",
        arguments=arguments.model_dump(mode="json"),
        reason=f"update {new.update} in the place of update {old.update}",
    )
    result = await carry(given.proposing(act), ledger, run_id=run)
    status, told = _became(ledger, result)
    return Deployed(new, old, status, run, told, arguments.measured)


def _wanted(given: Deployment, standing: InUse, update: int | None) -> Weights:
    if update is not None:
        return held(given.folder, given.pointer, update)
    if standing.before is None:
        raise LessonError(f"{given.pointer}: nothing was in use before; name an update")
    return standing.before


def _training(ledger: SqlLedger, new: Weights, base: Digest) -> RunId:
    """The run of this ledger that made weights from the model that is here."""
    for run in ledger.runs():
        with suppress(LetGo):
            if _made(ledger, run, new, base):
                return run
    raise LessonError(
        f"update {new.update}: no training in this ledger made the weights {new.weights[:12]}… "
        f"from {base[:12]}…, which the thinker's folder holds; name the ledger of the training, "
        "and leave its checkpoints as they were written"
    )


def _made(ledger: SqlLedger, run: RunId, new: Weights, base: Digest) -> bool:
    events = ledger.read(run)
    first = next(events, None)
    if first is None or not isinstance(first.body, RunOpened) or first.body.training is None:
        return False
    if first.body.thinking != base:
        return False
    return not new.update or any(
        isinstance(one.body, ThinkerUpdated)
        and (one.body.number + 1, one.body.after) == (new.update, new.weights)
        and one.body.signal != "outcome"
        for one in events
    )


def _attempt(ledger: SqlLedger, declared: list[Any]) -> tuple[int, RunId, bool]:
    """Which proposal of this is under way or is to be made, its run, and whether that has begun."""
    for attempt in count(1):
        run = digest_value([declared, attempt])[:32]
        last = next(iter(ledger.latest(run)), None)
        if last is None or not isinstance(last.body, RunClosed):
            return attempt, run, last is not None
    raise AssertionError


async def _measured(
    ledger: SqlLedger, given: Deployment, project: Project, name: Digest
) -> Measured:
    """How the teacher finds runs of a project that are made for it alone."""
    deploying = given.deploying
    if deploying.acts == "withheld":
        withheld = {tool: Withheld(one) for tool, one in project.executors.items()}
        project = replace(project, executors=withheld)
    project = replace(project, name=f"{project.name[:150]} measured {name[:12]}")
    names = [digest_value([name, one])[:32] for one in range(deploying.runs)]
    results: list[Result] = []
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def carried(run: RunId) -> None:
        async with limiter:
            results.append(await carry(project, ledger, run_id=run))

    async with anyio.create_task_group() as tasks:
        for run in names:
            tasks.start_soon(carried, run)
    if waiting := [one for one in results if one.status == "waiting"]:
        raise Unmeasured(
            f"run {waiting[0].run} and {len(waiting) - 1} more that measure weights wait, it for "
            f"{waiting[0].waits_for}; then the same command goes on"
        )
    harvest = await anyio.to_thread.run_sync(lessons_of, ledger, names)
    found = _approvals(harvest, given.teacher)
    if not found:
        reasons = ", ".join(f"{many} × {why}" for why, many in harvest.refused.most_common(3))
        raise LessonError(
            f"{given.teacher} approved or disapproved of nothing in {len(names)} runs, so there is "
            f"no measure ({reasons or 'nothing was refused'})"
        )
    low, high = bounded_mean(found, len(names) - len(found), LEVEL)
    return Measured(
        approval=round(sum(found) / len(found), PLACES),
        low=round(low, PLACES),
        high=round(high, PLACES),
        runs=tuple(names),
        unscored=len(names) - len(found),
        ends=dict(Counter(one.status for one in results)),
    )


def _approvals(harvest: Harvest, teacher: Name) -> list[float]:
    """A teacher's mean approval in each run, weighed by the lottery."""
    told: dict[str, list[tuple[float, float]]] = {}
    for one in harvest.lessons:
        if one.auditor == teacher and one.approval_L is not None:
            rows = zip(one.context["run"], one.weight_L, one.approval_L, strict=True)
            for run, weight, approval in rows:
                told.setdefault(str(run), []).append((float(weight), float(approval)))
    return [
        min(1.0, sum(weight * approval for weight, approval in rows) / sum(w for w, _ in rows))
        for _, rows in sorted(told.items())
    ]


def _became(ledger: SqlLedger, result: Result) -> tuple[Status, str]:
    """What became of the act, and what the executor, or else the gate, says of it."""
    if result.status == "waiting":
        return ("in doubt" if result.waits_for == "settle" else "waiting"), result.waits_for
    status, told = "rejected", result.reason
    for event in ledger.read(result.run):
        match event.body:
            case StepDecided(decision=decision):
                told = decision.reason
            case ActFinished(status=how, outcome=outcome):
                status = "done" if how == "done" else "failed"
                told = Outcome.parse(ledger.get(outcome)).output
            case ActSettled(happened=happened):
                status, told = "done" if happened else "failed", "settled by a person"
            case _:
                pass
    return status, told
