"""A simulated person who judges single moments of Camera Dropbox, and the moments put to them.

The person knows what is wanted and looks ahead: a step is worth what its true reward and what can
still be had after it come to, less what could be had before it, so 0 where nothing better could be
done and less than 0 elsewhere. What comes out is a rating on a coarse scale, or a ranking of the
candidates of one moment; never a value. Asked the same again, the person errs the same way again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from audition.canonical import digest_value
from audition.lab.dropbox.exact import Overseer, trusted
from audition.lab.dropbox.rules import ACTIONS, Dropbox, Rules, RulesError
from audition.lab.dropbox.world import Instance, Lanes
from audition.learn import LessonError, Plan, PlanError, Untrained
from audition.learn.batch import Columns
from audition.ledger.events import Column
from audition.step import Digest, Evidence, Frozen, Role

WHOLE = 65_536
"""More times than any episode has."""
_NAMES = [one.name for one in dataclasses.fields(Rules)]


class Judging(Frozen):
    """A plan's `teacher`: how a person judges."""

    worst: float = Field(default=0.05, gt=0, le=10)
    """What a step must throw away, in units of reward, to be rated 0; a needless step is 0.01."""
    grades: int = Field(default=5, ge=1, le=100)
    """Ratings are whole numbers of this part of 1: 0, 0.2 … 1."""
    sigma: float = Field(default=0.1, ge=0, le=10)
    """Standard deviation of the error of every judgement, on the scale from 0 to 1."""


class Person(Untrained):
    """Rates a step in [0, 1], or ranks the candidates of its moment, from best to worst.

    felt = clip(1 + worth / worst, 0, 1) + error, with an error of its own for every time, state and
    action. A rating is that rounded to a grade; a ranking its order, so that between steps equally
    good the error decides (Thurstone 1927); where the error is nothing too, a coin does.

    Args:
        game: the game.
        judging: how it judges.
        seed: of its errors.
    """

    name, role, person = "person", Role.TEACHER, True
    sees = frozenset({Evidence.CANDIDATES, Evidence.HISTORY, Evidence.PROPOSAL})

    def __init__(self, game: Dropbox, judging: Judging, seed: int) -> None:
        self._judging, self._seed = judging, seed
        worth_TSA = _worth(game, trusted(game))
        rng = np.random.default_rng([seed, 4])
        error_TSA = rng.normal(0, judging.sigma, worth_TSA.shape) if judging.sigma else 0.0
        self._felt_TSA = np.clip(1 + worth_TSA / judging.worst, 0, 1) + error_TSA
        self._coin_TSA = rng.random(worth_TSA.shape, np.float32)

    def configuration(self) -> Digest:
        """Digest of how it judges."""
        return digest_value({"person": self._judging.model_dump(), "seed": self._seed})

    def judge(self, shown: Columns) -> NDArray[Any]:
        """Rankings (R, K) where candidates are shown, else ratings (R).

        Raises:
            LessonError: it is shown a step that the game lacks.
        """
        t_R, state_R = shown["t"], shown["state"]
        try:
            if "candidate" not in shown:
                felt_R = self._felt_TSA[t_R, state_R, shown["action"]]
                grades = self._judging.grades
                return np.clip(np.rint(felt_R * grades) / grades, 0, 1) + 0.0  # no minus zero
            place_RK = t_R[:, None], state_R[:, None], shown["candidate"]
            return np.lexsort((self._coin_TSA[place_RK], -self._felt_TSA[place_RK]))
        except IndexError as error:
            raise LessonError(f"{self.name} is shown a step that the game lacks: {error}") from None


class Audited(Instance):
    """A plan's `world`: which game, how its moments are sorted into strata, what is compared."""

    edges: tuple[int, ...] = ()
    """Times at which another stratum begins; strata are of time alone."""
    candidates: int = Field(default=1, ge=1, le=len(ACTIONS))
    """Actions that a moment offers for comparison, the proposal among them; 1: it is rated."""
    afresh: bool = False
    """Whether every batch begins with new episodes, so that it never gets far into one."""

    @model_validator(mode="after")
    def _edges_rise(self) -> Audited:
        edges = (0, *self.edges, WHOLE)
        if len(edges) > 200 or any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"edges: {self.edges} do not rise from above 0 to below {WHOLE}")
        return self


class Moments:
    """Lanes of Camera Dropbox whose every moment says its stratum, and its candidates if compared.

    Columns beside those of `Lanes`: `stratum`, which part of the episode the moment lies in; and,
    for comparison, `candidate` (K), the proposal's action and others drawn without replacement, and
    `after` (K), the states to which the world says they lead.
    """

    def __init__(self, game: Dropbox, audited: Audited, steps: int) -> None:
        self.game, self.audited, self.steps = game, audited, steps
        self._lanes = Lanes(game, audited.lanes, steps)
        self.layout = (
            *self._lanes.layout,
            Column(name="stratum", dtype="u1", part="stratum"),
        )
        if (k := audited.candidates) > 1:
            state = next(one for one in self._lanes.layout if one.name == "state")
            compared = {"shape": (k,), "part": "candidates"}
            self.layout += (
                Column(name="candidate", dtype="u1", shape=(k,), part="candidates"),
                state.model_copy(update={"name": "after", **compared}),
            )

    def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
        """Steps of a policy, as `Lanes.rollout`."""
        if self.audited.afresh:
            self._lanes = Lanes(self.game, self.audited.lanes, self.steps)
        rows = dict(self._lanes.rollout(learner, rng))
        rows["stratum"] = self._stratum(rows["t"])
        if (k := self.audited.candidates) > 1:
            others_RA = rng.permuted(
                np.tile(np.arange(1, len(ACTIONS)), (len(rows["t"]), 1)), axis=1
            )
            turned_RK = np.insert(others_RA[:, : k - 1], 0, 0, axis=1)
            chosen_RK = (rows["action"][:, None] + turned_RK) % len(ACTIONS)
            rows["candidate"] = chosen_RK.astype(np.uint8)
            rows["after"] = self._after(rows).astype(rows["state"].dtype)
        return rows

    def strange(self, leaf: Columns) -> Iterator[str]:
        """What cannot have happened in one lane."""
        found = list(self._lanes.strange(leaf))
        yield from found
        if (leaf["stratum"] != self._stratum(leaf["t"])).any():
            yield "a moment is of another stratum than its time's"
        if self.audited.candidates > 1 and not found:
            sorted_RK = np.sort(leaf["candidate"], axis=1)
            if (sorted_RK[:, -1] >= len(ACTIONS)).any() or (
                sorted_RK[:, 1:] == sorted_RK[:, :-1]
            ).any():
                yield "candidates that are not different actions"
            elif (leaf["candidate"][:, 0] != leaf["action"]).any():
                yield "candidate 0 is not the proposal"
            elif (leaf["after"] != self._after(leaf)).any():
                yield "a candidate of another moment"

    def _stratum(self, t_R: NDArray[Any]) -> NDArray[np.uint8]:
        return np.searchsorted(np.asarray(self.audited.edges, int), t_R, "right").astype(np.uint8)

    def _after(self, rows: Columns) -> NDArray[Any]:
        return self.game.next_SA[rows["state"].astype(np.int64)[:, None], rows["candidate"]]


def game_of(plan: Plan, instance: Instance) -> Dropbox:
    """The compiled game of a plan's world.

    Raises:
        PlanError: it cannot be played.
    """
    try:
        return Rules(**{one: getattr(instance, one) for one in _NAMES}).compile()
    except RulesError as error:
        raise PlanError(f"plan {plan.name}: world: {error}") from None


def check_candidates(plan: Plan, audited: Audited) -> None:
    """Refuse a world that does not offer what its plan learns from.

    Raises:
        PlanError: comparisons of one candidate, or ratings of several.
    """
    if (plan.signal == "comparison") != (audited.candidates > 1):
        raise PlanError(
            f"plan {plan.name}: learning by {plan.signal} where a moment offers "
            f"{audited.candidates} candidates; compare two or more, or rate one"
        )


def _worth(game: Dropbox, overseer: Overseer) -> NDArray[np.float64]:
    """R_true(s') + V(t+1,s') − V(t,s), and 0 at the last time: at most 0, and 0 for the best."""
    values_TS = overseer.values_TS
    worth_TSA = np.zeros((*values_TS.shape, len(ACTIONS)))
    worth_TSA[:-1] = game.true_S[game.next_SA] + values_TS[1:, game.next_SA]
    worth_TSA[:-1] -= values_TS[:-1, :, None]
    return worth_TSA
