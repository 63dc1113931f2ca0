"""Camera Dropbox as a world to learn in: many lanes over the compiled table, and who approves.

An episode that ends is followed in its lane by another, so every row is a step that was taken. A
lane goes on where the batch before left it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from audition.canonical import canonical, digest_bytes
from audition.lab.dropbox.exact import Overseer, approvals, flawed, indifferent, noisy, trusted
from audition.lab.dropbox.rules import ACTIONS, Dropbox, Rules, RulesError
from audition.learn import Boundary, LessonError, Plan, PlanError, Study, Untrained
from audition.learn.batch import Columns
from audition.learn.ppo import Ppo, Settings
from audition.ledger.events import Column
from audition.step import Digest, Evidence, Frozen, Role

Model = TypeVar("Model", bound=Frozen)


class Instance(Frozen):
    """A plan's `world`: which game, in how many lanes."""

    height: int = 4
    """Rows."""
    width: int = 4
    """Columns."""
    boxes: int = 2
    """Boxes at the start."""
    min_blocking: int = 1
    """Other boxes on the bottom row that hide the hole from the camera."""
    turns: int = 50
    """Steps in an episode; the limit is part of the task and ends it."""
    lanes: int = Field(default=128, ge=1, le=65_536)
    """Environments side by side; each gives a leaf of every batch."""


class Approving(Frozen):
    """A plan's `teacher`: whose values the approval of a step is made of."""

    overseer: Literal["trusted", "flawed", "indifferent"] = "trusted"
    """Values optimal for the true reward, for the observed one, or zero."""
    sigma: float = Field(default=0.0, ge=0, le=100)
    """Standard deviation of the noise on each state's value, drawn by the sibling's seed."""

    def of(self, game: Dropbox, seed: int) -> Overseer:
        """The overseer of one sibling."""
        makers = {"trusted": trusted, "flawed": flawed, "indifferent": indifferent}
        overseer = makers[self.overseer](game)
        return noisy(overseer, self.sigma, seed) if self.sigma else overseer


class Lanes:
    """Camera Dropbox in parallel lanes.

    Columns: context `t`, `state`; span `action`, `logp`; the observed `reward`; and `last`, whether
    the episode ends with the step.

    Args:
        game: the compiled table.
        lanes: how many.
        steps: of each lane in a batch; the plan's `leaf`.
    """

    def __init__(self, game: Dropbox, lanes: int, steps: int) -> None:
        self.game, self.lanes, self.steps = game, lanes, steps
        self.layout = (
            Column(name="t", dtype="u2", part="context"),
            Column(name="state", dtype="u2" if game.states <= 2**16 else "u4", part="context"),
            Column(name="action", dtype="u1", part="span"),
            Column(name="logp", dtype="f4", part="span"),
            Column(name="reward", dtype="f4", part="reward"),
            Column(name="last", dtype="u1", part="note"),
        )
        self._state_N: NDArray[np.int64] | None = None
        self._t_N = np.zeros(lanes, np.int64)

    def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
        """Steps of a policy.

        Args:
            learner: whoever has `log_policy()`, log π(a|s) of shape (S, A).
            rng: of actions and starts.
        """
        game, shape = self.game, (self.steps, self.lanes)
        logp_SA = learner.log_policy()
        below_SA = np.exp(logp_SA, dtype=np.float64).cumsum(axis=1)[:, :-1]
        state_N = self._state_N if self._state_N is not None else self._starts(rng)
        t_N = self._t_N
        rows = {one.name: np.empty(shape, one.dtype) for one in self.layout}
        for step in range(self.steps):
            action_N = (rng.random((self.lanes, 1)) >= below_SA[state_N]).sum(axis=1)
            reached_N = game.next_SA[state_N, action_N].astype(np.int64)
            last_N = self._last(reached_N, t_N)
            rows["t"][step], rows["state"][step], rows["action"][step] = t_N, state_N, action_N
            rows["logp"][step] = logp_SA[state_N, action_N]
            rows["reward"][step], rows["last"][step] = game.observed_S[reached_N], last_N
            t_N = np.where(last_N, 0, t_N + 1)
            state_N = np.where(last_N, self._starts(rng), reached_N)
        self._state_N, self._t_N = state_N, t_N
        return {name: array.T.ravel() for name, array in rows.items()}

    def strange(self, leaf: Columns) -> Iterator[str]:
        """What cannot have happened in one lane."""
        game, turns = self.game, self.game.rules.turns
        t, state, action = (leaf[name].astype(np.int64) for name in ("t", "state", "action"))
        if (t >= turns).any():
            yield f"a step at time {t.max()} of an episode of {turns}"
        if (state >= game.ended).any():
            yield "a step from a state in which none is taken"
        if (action >= len(ACTIONS)).any():
            yield f"action {action.max()} of {len(ACTIONS)}"
        if not (np.isfinite(leaf["logp"]) & (leaf["logp"] <= 0)).all():
            yield "a log-probability that is none"
        if (t >= turns).any() or (state >= game.ended).any() or (action >= len(ACTIONS)).any():
            return
        reached = game.next_SA[state, action].astype(np.int64)
        last = self._last(reached, t)
        if (leaf["last"] != last).any():
            yield "an episode does not end where the rules end it"
        if (leaf["reward"] != game.observed_S[reached].astype(np.float32)).any():
            yield "a reward is not that of the state reached"
        if not np.isin(state[t == 0], game.starts).all():
            yield "an episode begins in no legal start"
        if (t[1:] != np.where(last, 0, t + 1)[:-1]).any():
            yield "time does not go on by one"
        if (state[1:] != reached[:-1])[~last[:-1]].any():
            yield "a state is not the one that the action before leads to"

    def _last(self, reached: NDArray[np.int64], t: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (reached == self.game.ended) | (t == self.game.rules.turns - 1)

    def _starts(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.choice(self.game.starts, self.lanes)


class Approver(Untrained):
    """An overseer as a machine teacher: the approval of each step, brought into [0, 1].

    Args:
        game: the game.
        overseer: whose values.
        span: the values for which approvals 0 and 1 stand.

    Raises:
        PlanError: an approval lies outside the span.
    """

    name, role, person = "overseer", Role.TEACHER, False
    sees = frozenset({Evidence.PROPOSAL, Evidence.HISTORY})

    def __init__(self, game: Dropbox, overseer: Overseer, span: tuple[float, float]) -> None:
        low, high = span
        approval_TSA = approvals(game, overseer)
        least, most = float(approval_TSA.min()), float(approval_TSA.max())
        if not low <= least <= most <= high:
            raise PlanError(
                f"approvals lie in {least:.2f} to {most:.2f}, outside {low:g} to {high:g}; "
                "widen learner.span"
            )
        self._approval_TSA = ((approval_TSA - low) / (high - low)).astype("<f4")
        self._digest = digest_bytes(self._approval_TSA.tobytes())

    def configuration(self) -> Digest:
        """Digest of all its approvals."""
        return self._digest

    def judge(self, shown: Columns) -> NDArray[np.float32]:
        """Approvals of steps.

        Raises:
            LessonError: there is no such step.
        """
        try:
            return self._approval_TSA[shown["t"], shown["state"], shown["action"]]
        except IndexError as error:
            raise LessonError(f"{self.name} is shown a step that the game lacks: {error}") from None


def study(plan: Plan, seed: int) -> Study:
    """The study `camera-dropbox`: a plan's world, learner and teacher for one seed.

    Raises:
        PlanError: the plan's `world`, `learner` or `teacher` is none of this study's.
    """
    instance, settings = declared(Instance, plan, "world"), declared(Settings, plan, "learner")
    try:
        game = Rules(**instance.model_dump(exclude={"lanes"})).compile()
    except RulesError as error:
        raise PlanError(f"plan {plan.name}: world: {error}") from None
    learner = Ppo(
        game.features_SF,
        len(ACTIONS),
        settings,
        Boundary(plan.horizon),
        seed=seed,
        updates=plan.batches,
    )
    world = Lanes(game, instance.lanes, plan.leaf)
    if plan.signal == "outcome":
        return Study(world, learner, None)
    overseer = declared(Approving, plan, "teacher").of(game, seed)
    return Study(world, learner, Approver(game, overseer, settings.span))


def declared(
    model: type[Model], plan: Plan, field: Literal["world", "learner", "teacher"]
) -> Model:
    """One of a plan's objects, read strictly.

    Raises:
        PlanError: it is not what the model says; the message names the field.
    """
    try:
        return model.model_validate_json(canonical(getattr(plan, field)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([field, *map(str, first["loc"])])
        raise PlanError(f"plan {plan.name}: {where}: {first['msg']}") from None
