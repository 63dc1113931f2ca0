"""Camera Dropbox as Gymnasium environments, one game or a batch of them at once.

Trap: after T steps an episode is *truncated*, not terminated. Many learners then bootstrap: they
add the value of the state that was cut off to the last reward. For a learner of horizon M = 1 that
is future value leaking into a step, and it is no longer process supervision. Approvals here already
say all that a step is worth; treat a truncation as an end.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from audition.lab.dropbox.pictures import pixels, text
from audition.lab.dropbox.rules import ACTIONS, Dropbox, Rules

ID = "audition/CameraDropbox-v0"
"""The name under which `register` makes the environment known."""

_NAMED = ", ".join(ACTIONS)

Reward = Literal["observed", "true"]
"""Which reward a step returns: what the overseer sees, or what is wanted."""


def register() -> str:
    """Make the environment known to `gymnasium.make`; nothing is registered until then.

    Returns:
        Its name. Calling it again changes nothing.
    """
    if ID not in gym.registry:
        gym.register(
            ID,
            entry_point="audition.lab.dropbox.env:DropboxEnv",
            vector_entry_point="audition.lab.dropbox.env:DropboxVectorEnv",
        )
    return ID


class DropboxEnv(gym.Env[NDArray[Any], np.int64]):
    """One game.

    Observations are the features of `Dropbox.features_SF`; actions are `ACTIONS`. `info` holds
    `state` (its index), `time` and `true_reward`. Reaching ENDED terminates; step T truncates, and
    the module says why no value may be added then.

    Args:
        rules: the game; the published 4x4 one by default.
        reward: which reward `step` returns.
        render_mode: `ansi` for text, `rgb_array` for an image, None for neither.

    Raises:
        RulesError: If no start is legal.
        ValueError: If `reward` or `render_mode` is none of these.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        rules: Rules | None = None,
        reward: Reward = "observed",
        render_mode: Literal["ansi", "rgb_array"] | None = None,
    ) -> None:
        self.game = (rules or Rules()).compile()
        self.render_mode = _render_mode(render_mode)
        self.observation_space, self.action_space = _spaces(self.game)
        self._reward_S = _reward(self.game, reward)
        self._state, self._time = self.game.ended, self.game.rules.turns

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in a start drawn uniformly.

        Args:
            seed: of the draw.
            options: `{"start": state}` begins in that legal start instead.

        Raises:
            ValueError: If that is no legal start, or another option is given.
        """
        super().reset(seed=seed)
        chosen = dict(options or {})
        start = chosen.pop("start", None)
        if chosen:
            raise ValueError(f"unknown options {sorted(chosen)}; only start is known")
        if start is not None and start not in self.game.starts:
            raise ValueError(f"state {start!r} is no legal start; choose one of game.starts")
        drawn = start if start is not None else self.np_random.choice(self.game.starts)
        self._state, self._time = int(drawn), 0
        return self._observation(), self._info()

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one action.

        Returns:
            Observation, reward of the state reached, terminated, truncated, info.

        Raises:
            ValueError: If it is no action, or the episode is over.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in 0..3 ({_NAMED})")
        if self._state == self.game.ended or self._time >= self.game.rules.turns:
            raise ValueError("the episode is over; call reset before another step")
        self._state = int(self.game.next_SA[self._state, int(action)])
        self._time += 1
        terminated = self._state == self.game.ended
        truncated = not terminated and self._time == self.game.rules.turns
        reward = float(self._reward_S[self._state])
        return self._observation(), reward, terminated, truncated, self._info()

    def render(self) -> Any:
        """The grid as text or as an image, by `render_mode`; None without one."""
        return _drawn(self.game, self._state, self.render_mode)

    def _observation(self) -> NDArray[np.float32]:
        return self.game.features_SF[self._state].copy()

    def _info(self) -> dict[str, Any]:
        true_reward = float(self.game.true_S[self._state]) if self._time else 0.0
        return {"state": self._state, "time": self._time, "true_reward": true_reward}


class DropboxVectorEnv(VectorEnv[NDArray[Any], NDArray[np.int64], NDArray[Any]]):
    """A batch of games, stepped together by one look-up in the compiled table.

    A game that ends begins anew within the same step (`AutoresetMode.SAME_STEP`): the observation
    returned is then the new start's, and `info["final_obs"]`, where `info["_final_obs"]` says so,
    is the one that ended. `info` holds `state`, `time` and `true_reward` as arrays; the true reward
    is of the state reached, before any beginning anew.

    Args:
        num_envs: how many games.
        rules: the game; the published 4x4 one by default.
        reward: which reward `step` returns.
        render_mode: `ansi` or `rgb_array`: a tuple of one picture a game.

    Raises:
        RulesError: If no start is legal.
        ValueError: If a number or a name is none of these.
    """

    metadata: dict[str, Any] = DropboxEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        rules: Rules | None = None,
        reward: Reward = "observed",
        render_mode: Literal["ansi", "rgb_array"] | None = None,
    ) -> None:
        if not isinstance(num_envs, int) or not 1 <= num_envs <= 1_000_000:
            raise ValueError(f"num_envs = {num_envs!r} is not a whole number in 1..1000000")
        self.game = (rules or Rules()).compile()
        self.num_envs, self.render_mode = num_envs, _render_mode(render_mode)
        self.single_observation_space, self.single_action_space = _spaces(self.game)
        self.observation_space = gym.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._reward_S = _reward(self.game, reward)
        self._state_N: NDArray[np.int64] | None = None
        self._time_N = np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin all games anew, each in a start drawn uniformly.

        Args:
            seed: of all draws; one number for the batch.
            options: none are known.

        Raises:
            ValueError: If a list of seeds or an option is given.
        """
        if seed is not None and not isinstance(seed, int):
            raise ValueError("one seed draws for the whole batch; give one number")
        if options:
            raise ValueError(f"unknown options {sorted(options)}; none are known")
        super().reset(seed=seed)
        self._state_N = self.np_random.choice(self.game.starts, self.num_envs)
        self._time_N[:] = 0
        return self.game.features_SF[self._state_N], self._info(np.zeros(self.num_envs))

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take one action in every game.

        Raises:
            ValueError: If there is not one action in 0..3 a game, or no reset came before.
        """
        if self._state_N is None:
            raise ValueError("call reset before the first step")
        taken_N = np.asarray(actions)
        if taken_N.shape != (self.num_envs,) or taken_N.dtype.kind not in "iu":
            raise ValueError(f"give {self.num_envs} whole numbers as actions, one a game")
        if taken_N.min() < 0 or taken_N.max() > 3:
            raise ValueError(f"an action is not in 0..3 ({_NAMED})")
        reached_N = self.game.next_SA[self._state_N, taken_N].astype(np.int64)
        self._time_N += 1
        terminated_N = reached_N == self.game.ended
        truncated_N = (self._time_N == self.game.rules.turns) & ~terminated_N
        over_N = terminated_N | truncated_N
        self._state_N = np.where(over_N, 0, reached_N)
        self._state_N[over_N] = self.np_random.choice(self.game.starts, over_N.sum())
        self._time_N[over_N] = 0
        info = self._info(self.game.true_S[reached_N])
        if over_N.any():
            info |= {"final_obs": self.game.features_SF[reached_N], "_final_obs": over_N}
        observation_NF = self.game.features_SF[self._state_N]
        return observation_NF, self._reward_S[reached_N], terminated_N, truncated_N, info

    def render(self) -> tuple[Any, ...] | None:
        """One picture a game by `render_mode`; None without one."""
        if self.render_mode is None or self._state_N is None:
            return None
        return tuple(_drawn(self.game, int(s), self.render_mode) for s in self._state_N)

    def _info(self, true_reward_N: NDArray[np.float64]) -> dict[str, Any]:
        assert self._state_N is not None
        state_N, time_N = self._state_N.copy(), self._time_N.copy()
        return {"state": state_N, "time": time_N, "true_reward": true_reward_N}


def _spaces(game: Dropbox) -> tuple[spaces.Box, spaces.Discrete]:
    features = game.features_SF.shape[1]
    return spaces.Box(0.0, 1.0, (features,), np.float32), spaces.Discrete(4)


def _reward(game: Dropbox, reward: str) -> NDArray[np.float64]:
    if reward not in ("observed", "true"):
        raise ValueError(f"reward = {reward!r} is neither observed nor true")
    return game.observed_S if reward == "observed" else game.true_S


def _render_mode(mode: str | None) -> str | None:
    if mode not in (None, *DropboxEnv.metadata["render_modes"]):
        raise ValueError(f"render_mode = {mode!r} is neither ansi nor rgb_array")
    return mode


def _drawn(game: Dropbox, state: int, mode: str | None) -> str | NDArray[np.uint8] | None:
    if mode is None:
        return None
    positions = game.positions(state)
    return text(game.rules, positions) if mode == "ansi" else pixels(game.rules, positions)
