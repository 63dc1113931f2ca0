"""The plan of a training run: all that decides what is learned, declared before it begins."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from audition.canonical import canonical
from audition.learn.batch import Columns
from audition.learn.lessons import LessonError, Lessons
from audition.learn.outcome import Outcomes
from audition.ledger.events import Column
from audition.step import Digest, Evidence, Frozen, JsonObject, Name, Role, Signal, Unit

GROUP = "audition.studies"
"""Entry points that make a study of a plan: `name = "module:function"`."""


class PlanError(ValueError):
    """A plan that cannot be carried out; the message names the field and the way out."""


class Plan(Frozen):
    """What is declared of a training run before it begins; siblings differ in their seed alone."""

    name: Name
    """What is trained, as the ledger calls it."""
    says: str = Field(min_length=1)
    """What it is trained to do."""
    study: Name
    """Which installed study carries it out (entry point group `audition.studies`)."""
    world: JsonObject = Field(default={})
    """The environment's parameters."""
    learner: JsonObject = Field(default={})
    """The learner's hyper-parameters."""
    teacher: JsonObject = Field(default={})
    """The teacher's parameters."""
    signal: Signal | Literal["outcome"]
    """What is learned from; `outcome` is the baseline to compare against, never certified."""
    horizon: int | None = Field(default=1, ge=1)
    """Steps that one signal's credit reaches; 1 is process supervision, None (written 0) no
    boundary."""
    batches: int = Field(ge=1, le=1_000_000)
    """Batches, and updates."""
    leaf: int = Field(ge=1)
    """Rows of one leaf: steps of one simulated environment in one batch."""
    rates: dict[str, Unit] = Field(default={"0": 1.0})
    """The lottery's rate for each stratum, by number."""
    seeds: tuple[int, ...] = Field(min_length=1, max_length=10_000)
    """Every sibling; one that is missing fails certification."""
    base: Digest | None = None
    """Weights to begin from, held by the ledger; None: those that the seed gives."""
    libraries: dict[str, str] = Field(default={})
    """Versions under which weights come out the same to the bit."""
    becomes: Role | None = None
    """An auditor of this role is trained; None: a thinker. Nothing learns from a guard."""

    def canonical(self) -> bytes:
        """The canonical bytes; a plan without a boundary says so."""
        return canonical(self.model_dump(exclude_none=True) | {"horizon": self.horizon or 0})

    @field_validator("horizon", mode="before")
    @classmethod
    def _open(cls, horizon: Any) -> Any:
        return None if horizon == 0 else horizon

    @model_validator(mode="after")
    def _whole(self) -> Plan:
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds: distinct and not negative")
        if self.signal == "outcome" and self.rates != {"0": 1.0}:
            raise ValueError("rates: an outcome is not drawn")
        if self.becomes is Role.GUARD and self.signal != "approval":
            raise ValueError("becomes: a guard is trained from suspicions, as approval of the rest")
        if not all(self.rates.values()):
            raise ValueError("rates: what is never drawn cannot be weighed; above 0")
        if not all(name.isdecimal() for name in self.rates):
            raise ValueError("rates: strata are named by their number")
        return self


class World(Protocol):
    """A small world without effects outside it."""

    layout: tuple[Column, ...]
    """What a row says; `drawn`, and a machine's approvals or rankings, are added by training."""

    def rollout(self, learner: Learner, rng: np.random.Generator) -> Columns:
        """Steps of the learner's in this world: rows in leaves of the plan's length."""
        ...

    def strange(self, leaf: Columns) -> Iterator[str]:
        """What cannot have happened in one leaf, by the rules of this world; nothing if all can."""
        ...


class Teacher(Protocol):
    """Judges simulated moments, many at once, without executing them."""

    name: str
    role: Role
    sees: frozenset[Evidence]
    person: bool
    """Whether a person answers, or one is simulated: each answer is then a verdict of its own."""
    trained_from: Digest | None
    """Weights that were trained, if it is a trained auditor; they name their own run."""

    def configuration(self) -> Digest:
        """Digest of what it is: its rules, or its weights."""
        ...

    def judge(self, shown: Columns) -> NDArray[Any]:
        """Approvals (R) in [0, 1], or rankings (R, K), of moments.

        Args:
            shown: the rows' context, span and candidates; nothing that came after them.
        """
        ...

    def restore(self, weights: bytes) -> None:
        """Judge by these weights; asked only of a teacher that is `trained_from` them."""
        ...


class Untrained:
    """What the teachers share that no training made: a rule, a computed value, a person."""

    name: str
    trained_from: Digest | None = None

    def restore(self, weights: bytes) -> None:
        """Refuse.

        Raises:
            LessonError: always.
        """
        raise LessonError(f"{self.name} was not trained, so it takes no weights")


class Learner(Protocol):
    """Whoever learns."""

    name: str

    def weights(self) -> bytes:
        """All that it has learned, canonically (safetensors)."""
        ...

    def restore(self, weights: bytes) -> None:
        """Go on from these weights."""
        ...

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """Learn; returns measures to report."""
        ...


@dataclass(frozen=True)
class Study:
    """A plan's objects for one seed."""

    world: World
    learner: Learner
    teacher: Teacher | None
    """None: an outcome is learned from."""


MakeStudy = Callable[[Plan, int], Study]
"""Makes a study of a plan and one of its seeds."""


def study_of(plan: Plan, seed: int, get: Callable[[Digest], bytes]) -> Study:
    """The study that an installed package makes of a plan, ready to begin.

    Args:
        plan: the plan.
        seed: one of its seeds.
        get: reads the content of a ledger.

    Raises:
        PlanError: no installed package knows the plan's study, or the seed is none of the plan's.
    """
    for entry in importlib.metadata.entry_points(group=GROUP, name=plan.study):
        make: MakeStudy = entry.load()
        return ready(make(plan, seed), plan, seed, get)
    raise PlanError(f"no installed package carries out {plan.study!r}; install the one that does")


def ready(study: Study, plan: Plan, seed: int, get: Callable[[Digest], bytes]) -> Study:
    """A study with the weights that its plan begins from and that its teacher was trained to.

    Raises:
        PlanError: the seed is none of the plan's.
    """
    if seed not in plan.seeds:
        raise PlanError(f"seed {seed} is none of the plan's: {', '.join(map(str, plan.seeds))}")
    if plan.base is not None:
        study.learner.restore(get(plan.base))
    if study.teacher is not None and study.teacher.trained_from is not None:
        study.teacher.restore(get(study.teacher.trained_from))
    return study
