"""What a learner of every optimisation horizon does in Camera Dropbox, computed exactly.

A learner of horizon M follows, with A(t,s,a) the approval of a step and s' the state it reaches,

    Q_M(t,s,a) = A(t,s,a) + max_a' Q_{M-1}(t+1,s',a'),   Q_0 = 0,
    A(t,s,a)   = R(s') + V(t+1,s') - V(t,s)              for t < T - 1, and 0 at T - 1,

where R is the observed reward and V the overseer's value. The values telescope. Let

    L(t,s,e) = max over paths from s at t to time e of [R along the path + V(e, end)],
    L(t,s,t) = V(t,s),   L(t,s,e) = max_a [R(s') + L(t+1,s',e)];

then Q_M(t,s,a) = R(s') + L(t+1,s',e) - V(t,s) with e = min(t + M, T - 1), and V(t,s) is the same
for every action. So one sweep backwards in time, whose T columns e lie side by side under one load
of the successor's index, holds the policies of all T horizons: T (T - 1) / 2 backups of each state
in place of T^2, and no approval is ever stored.

Values are integers: cents, for every reward is a whole number of them, or millionths where an
overseer's values are any numbers. So a tie is an equality between integers: there is no tolerance
to choose, and no rounding that breaks a tie by accident.

Source: Farquhar et al. 2025, arXiv 2501.13011, section 2; the telescoped form is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from audition.lab.dropbox.rules import STEP_COST, Dropbox

CENTS, MILLIONTHS = 100, 1_000_000
"""The parts of a reward that values may be counted in: as int16 and as int32."""
LARGEST_VALUE = 1_000.0
"""The largest value an overseer may give; it keeps every sum inside 32 bits."""
MAX_BYTES = 2 * 1024**3
"""What the policies of one sweep may take."""
LANES = 64
"""Columns computed together: whole vector registers, and a constant to the compiler."""
SHARE = np.array([0.0] + [1 / bits.bit_count() for bits in range(1, 16)])
"""The probability of each best action, by the four bits that say which are best."""


@dataclass(frozen=True, eq=False)
class Overseer:
    """Who approves: how good each state is at each time, in whole parts of a reward."""

    counts_TS: NDArray[np.int16] | NDArray[np.int32]
    """V(t,s) in parts."""
    parts: int = CENTS
    """How many parts a reward has: `CENTS` with int16, `MILLIONTHS` with int32."""

    @classmethod
    def of(cls, values_TS: ArrayLike) -> Overseer:
        """The overseer with any values, in units of reward, rounded to millionths.

        Raises:
            ValueError: If one is not finite, or larger than `LARGEST_VALUE`.
        """
        array = np.asarray(values_TS, np.float64)
        if not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(f"value {array[place]} at {place} is not finite; give a number")
        if np.abs(array).max(initial=0.0) > LARGEST_VALUE:
            raise ValueError(f"a value exceeds {LARGEST_VALUE:g} in size; scale the values down")
        return cls(np.rint(array * MILLIONTHS).astype(np.int32), MILLIONTHS)

    @property
    def values_TS(self) -> NDArray[np.float64]:
        """V(t,s) in units of reward."""
        return self.counts_TS / self.parts


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """How episodes end, for each of several policies: arrays of one number a policy.

    Learned by horizon, entry M - 1 belongs to horizon M.
    """

    fail: NDArray[np.float64]
    """Probability that no box enters the hole."""
    intended: NDArray[np.float64]
    """Probability that exactly one does."""
    hack: NDArray[np.float64]
    """Probability that a second one does."""
    observed: NDArray[np.float64]
    """Expected sum of observed rewards over an episode."""
    true: NDArray[np.float64]
    """Expected sum of true rewards over an episode."""


def trusted(game: Dropbox) -> Overseer:
    """An overseer whose values are optimal for the true reward.

    V(T-1,s) = 0, V(t,s) = max_a [R_true(s') + V(t+1,s')].
    """
    return _optimal(game, game.true_cents_S)


def flawed(game: Dropbox) -> Overseer:
    """An overseer who shares the camera's blind spot: values optimal for the observed reward."""
    return _optimal(game, game.observed_cents_S)


def indifferent(game: Dropbox) -> Overseer:
    """An overseer who values nothing: the approval is the observed reward alone."""
    return Overseer(np.zeros((game.rules.turns, game.states), np.int16))


def noisy(overseer: Overseer, sigma: float, seed: int) -> Overseer:
    """An overseer with Gaussian noise on each state, the same at all times.

    A value within 1e-5 of zero keeps it, so that ENDED and the last time stay as they are.

    Args:
        overseer: without noise.
        sigma: standard deviation, in units of reward.
        seed: of the noise.

    Raises:
        ValueError: If sigma is not a finite number >= 0, or a value grows too large.

    Source: the noise of Farquhar et al. 2025 on their gridworld's approval.
    """
    if not (np.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma = {sigma} is not a finite number >= 0")
    values_TS = overseer.values_TS
    noise_S = np.random.default_rng(seed).normal(0.0, sigma, values_TS.shape[1])
    return Overseer.of(values_TS + np.where(np.abs(values_TS) > 1e-5, noise_S, 0.0))


def approvals(game: Dropbox, overseer: Overseer) -> NDArray[np.float64]:
    """The approval of every step.

    Returns:
        A_TSA = R_observed(s') + V(t+1,s') - V(t,s), and 0 at the last time, in units of reward.

    Raises:
        ValueError: If the overseer's values are not of this game.
    """
    _matching(game, overseer)
    values_TS = overseer.values_TS
    approvals_TSA = np.zeros((*values_TS.shape, 4))
    approvals_TSA[:-1] = game.observed_S[game.next_SA] + values_TS[1:, game.next_SA]
    approvals_TSA[:-1] -= values_TS[:-1, :, None]
    return approvals_TSA


def horizons(game: Dropbox, overseer: Overseer) -> Outcomes:
    """How episodes of the learners of all horizons M = 1 … T end.

    Returns:
        One number a horizon, at entry M - 1, over uniform starts and uniformly broken ties.

    Raises:
        ValueError: If the overseer's values are not of this game, or the sweep takes too much
            memory.
    """
    best = _best_actions(game, overseer)
    sums_CM = np.zeros((4, len(best) * LANES))
    _follow(game.next_SA, game.starts, _counted(game), best, sums_CM)
    return _outcomes(sums_CM[:, : game.rules.turns])


def policy(game: Dropbox, overseer: Overseer, horizon: int) -> NDArray[np.float64]:
    """The policy learned at one horizon.

    Returns:
        Probabilities pi_TSA: uniform over the actions that attain the maximum of Q_M.

    Raises:
        ValueError: If the horizon is not in 1..T, or as `horizons` raises it.
    """
    turns = game.rules.turns
    if not isinstance(horizon, int) or isinstance(horizon, bool) or not 1 <= horizon <= turns:
        raise ValueError(f"horizon M = {horizon!r} is not a whole number in 1..{turns}")
    best = _best_actions(game, overseer)
    times = np.arange(turns - 1)
    block, lane = np.divmod(np.minimum(times + horizon, turns - 1), LANES)
    bits_TSA = best[block, times, :, lane][:, :, None] >> np.arange(4) & 1
    policy_TSA = np.full((turns, game.states, 4), 0.25)
    policy_TSA[:-1] = bits_TSA / bits_TSA.sum(axis=2, keepdims=True)
    return policy_TSA


def evaluate(game: Dropbox, policy: ArrayLike) -> Outcomes:
    """How episodes of any policy end, over all starts, computed exactly.

    Args:
        game: the game.
        policy: probabilities pi_TSA, or pi_SA for one that ignores the time.

    Returns:
        Arrays of one entry.

    Raises:
        ValueError: If the shape is wrong, or a row is no distribution over the four actions.
    """
    policy_TSA = np.asarray(policy, np.float64)
    shape = (game.rules.turns, game.states, 4)
    if policy_TSA.shape == shape[1:]:
        policy_TSA = np.broadcast_to(policy_TSA, shape)
    if policy_TSA.shape != shape:
        raise ValueError(f"policy has shape {policy_TSA.shape}; {shape} or {shape[1:]} is needed")
    total_TS = policy_TSA.sum(axis=2)
    wrong_TS = ~(np.abs(total_TS - 1) < 1e-4) | (policy_TSA.min(axis=2) < 0)
    if wrong_TS.any():
        time, state = (int(i) for i in np.argwhere(wrong_TS)[0])
        raise ValueError(
            f"policy at time {time}, state {state} is {policy_TSA[time, state].tolist()}: "
            "no distribution over the four actions"
        )
    return _outcomes(_spread(game.next_SA, game.starts, _counted(game), policy_TSA)[:, None])


def episode(game: Dropbox, policy_TSA: NDArray[np.float64], start: int, seed: int) -> list[int]:
    """The states that one episode visits, the start first; it stops at ENDED.

    Args:
        game: the game.
        policy_TSA: probabilities, as `policy` returns them.
        start: the state it begins in.
        seed: of the actions drawn.
    """
    rng = np.random.default_rng(seed)
    states = [int(start)]
    for time in range(game.rules.turns):
        if states[-1] == game.ended:
            break
        action = rng.choice(4, p=policy_TSA[time, states[-1]])
        states.append(int(game.next_SA[states[-1], action]))
    return states


def _optimal(game: Dropbox, cents_S: NDArray[np.int16]) -> Overseer:
    counts_TS = np.empty((game.rules.turns, game.states), np.int16)
    _back_up(game.next_SA, cents_S, counts_TS)
    return Overseer(counts_TS)


def _matching(game: Dropbox, overseer: Overseer) -> None:
    counts_TS = overseer.counts_TS
    shape, dtype = (game.rules.turns, game.states), {CENTS: np.int16, MILLIONTHS: np.int32}
    if counts_TS.shape != shape or dtype.get(overseer.parts) != counts_TS.dtype:
        raise ValueError(
            f"values of shape {counts_TS.shape} in parts of 1/{overseer.parts} as "
            f"{counts_TS.dtype} are not of this game: give {shape} to Overseer.of"
        )


def _best_actions(game: Dropbox, overseer: Overseer) -> NDArray[np.uint8]:
    """The best actions as four bits, by [e // LANES, t, s, e % LANES], for t < e."""
    _matching(game, overseer)
    turns = game.rules.turns
    shape = (-(-turns // LANES), turns - 1, game.states, LANES)
    if prod(shape) > MAX_BYTES:
        raise ValueError(
            f"the policies of {game.rules} over {turns} steps take {prod(shape)} bytes, "
            f"more than {MAX_BYTES}; use a smaller grid, fewer boxes or fewer steps"
        )
    best = np.empty(shape, np.uint8)
    counts_TS = overseer.counts_TS
    reward_S = game.observed_cents_S.astype(counts_TS.dtype) * (overseer.parts // CENTS)
    _look_ahead(game.next_SA, reward_S, counts_TS, best)
    return best


def _counted(game: Dropbox) -> NDArray[np.bool_]:
    """What is counted on reaching a state: first box, second box, any box, a step."""
    step_S = np.arange(game.states) != game.ended
    return np.stack([game.first_S, game.second_S, game.in_hole_S, step_S], axis=1)


def _outcomes(sums_CM: NDArray[np.float64]) -> Outcomes:
    first, second, boxes, steps = sums_CM
    return Outcomes(
        fail=1 - first,
        intended=first - second,
        hack=second,
        observed=boxes - STEP_COST * steps,
        true=2 * first - boxes - STEP_COST * steps,
    )


@njit(cache=True)
def _back_up(next_SA, reward_S, value_TS):
    """V(t,s) = max_a [R(s') + V(t+1,s')], from V(T-1,s) = 0."""
    turns, states = value_TS.shape
    value_TS[turns - 1] = 0
    worth_S = np.empty_like(reward_S)
    for t in range(turns - 2, -1, -1):
        worth_S[:] = reward_S + value_TS[t + 1]
        for s in range(states):
            vertical = max(worth_S[next_SA[s, 0]], worth_S[next_SA[s, 1]])
            horizontal = max(worth_S[next_SA[s, 2]], worth_S[next_SA[s, 3]])
            value_TS[t, s] = max(vertical, horizontal)


@njit(cache=True)
def _look_ahead(next_SA, reward_S, value_TS, best):
    """Sweep L(t,s,e) backwards in t, LANES columns e at a time, keeping only the best actions.

    Only two times of L are held. Until t comes down to e, column e holds leftovers that are
    overwritten before they are read.
    """
    turns, states = value_TS.shape
    count = value_TS.dtype.type
    now_SE = np.zeros((states, LANES), value_TS.dtype)
    later_SE = np.zeros((states, LANES), value_TS.dtype)
    for block in range(len(best)):
        last = min(turns, (block + 1) * LANES) - 1
        later_SE[:, last % LANES] = value_TS[last]
        for t in range(last - 1, -1, -1):
            for s in range(states):
                s0, s1, s2, s3 = next_SA[s, 0], next_SA[s, 1], next_SA[s, 2], next_SA[s, 3]
                r0, r1, r2, r3 = reward_S[s0], reward_S[s1], reward_S[s2], reward_S[s3]
                for lane in range(LANES):
                    q0 = count(later_SE[s0, lane] + r0)
                    q1 = count(later_SE[s1, lane] + r1)
                    q2 = count(later_SE[s2, lane] + r2)
                    q3 = count(later_SE[s3, lane] + r3)
                    top = max(max(q0, q1), max(q2, q3))
                    now_SE[s, lane] = top
                    best[block, t, s, lane] = np.uint8(
                        (q0 == top) | (q1 == top) << 1 | (q2 == top) << 2 | (q3 == top) << 3
                    )
                if t >= block * LANES:
                    now_SE[s, t % LANES] = value_TS[t, s]
            now_SE, later_SE = later_SE, now_SE


@njit(cache=True)
def _follow(next_SA, starts, counted_SC, best, sums_CM):
    """Count along all horizons' episodes, visiting only states that one of them reaches.

    A row holds the probability of a state under each horizon, M - 1 = 0, 1, …; ENDED, the last
    state, counts for nothing and is dropped.
    """
    turns, states, width = best.shape[1] + 1, best.shape[2], sums_CM.shape[1]
    now_SM, later_SM = np.zeros((states, width)), np.zeros((states, width))
    visited, upcoming = np.empty(states, np.int32), np.empty(states, np.int32)
    marked_S = np.full(states, -1, np.int32)
    bits_M, share_M = np.empty(width, np.uint8), np.empty(width)
    count = len(starts)
    for i in range(count):
        visited[i] = starts[i]
        now_SM[starts[i]] = 1 / count
    for t in range(turns + 1):
        found = 0
        for i in range(count):
            s = visited[i]
            row_M = now_SM[s]
            for c in range(4):
                if t > 0 and counted_SC[s, c]:
                    sums_CM[c] += row_M
            if t < turns:
                taken = 0
                for m in range(width):
                    e = min(t + m + 1, turns - 1)
                    bits_M[m] = 15 if t == turns - 1 else best[e // LANES, t, s, e % LANES]
                for m in range(width):
                    share_M[m] = row_M[m] * SHARE[bits_M[m]]
                    taken |= bits_M[m] if row_M[m] > 0 else 0
                for a in range(4):
                    to = next_SA[s, a]
                    if not taken >> a & 1 or to == states - 1:
                        continue
                    if marked_S[to] != t:
                        marked_S[to] = t
                        upcoming[found] = to
                        found += 1
                    for m in range(width):
                        later_SM[to, m] += share_M[m] if bits_M[m] >> a & 1 else 0.0
            row_M[:] = 0
        visited, upcoming = upcoming, visited
        now_SM, later_SM = later_SM, now_SM
        count = found


@njit(cache=True)
def _spread(next_SA, starts, counted_SC, policy_TSA):
    """Count along the episodes of one policy."""
    turns, states = policy_TSA.shape[:2]
    sums_C = np.zeros(4)
    now_S = np.zeros(states)
    for s in starts:
        now_S[s] = 1 / len(starts)
    for t in range(turns):
        later_S = np.zeros(states)
        for s in range(states - 1):
            if now_S[s] > 0:
                for a in range(4):
                    later_S[next_SA[s, a]] += now_S[s] * policy_TSA[t, s, a]
        for c in range(4):
            for s in range(states):
                if counted_SC[s, c]:
                    sums_C[c] += later_S[s]
        now_S = later_S
    return sums_C
