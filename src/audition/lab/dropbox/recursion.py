"""The recursion of optimisation horizons as it is published: plain numpy, double precision.

    Q_M(t,s,a) = A(t,s,a) + max_a' Q_{M-1}(t+1,s',a'),   Q_0 = 0

Nothing is telescoped, skipped or shared here. It is what `exact` is checked against and what its
speed is compared with. It also takes approvals that come from no overseer's values. Ties are a
matter of tolerance here; at a tolerance of 0 rounding decides them, as it does wherever an argmax
is taken of sums of floating-point numbers.

Source: Farquhar et al. 2025, arXiv 2501.13011, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from audition.lab.dropbox.exact import Outcomes
from audition.lab.dropbox.rules import Dropbox

TOLERANCE = 1e-9
"""Actions this close to the best one count as tied: far above the rounding of 50 sums (1e-13), far
below the smallest difference of two sums of cents."""


def optimal(game: Dropbox, reward_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values that are optimal for a reward: V(T-1,s) = 0, V(t,s) = max_a [R(s') + V(t+1,s')].

    Args:
        game: the game.
        reward_S: the reward on reaching each state.

    Returns:
        V_TS in units of reward.
    """
    values_TS = np.zeros((game.rules.turns, game.states))
    for t in range(game.rules.turns - 2, -1, -1):
        values_TS[t] = (reward_S + values_TS[t + 1])[game.next_SA].max(axis=1)
    return values_TS


def approvals(game: Dropbox, values_TS: NDArray[np.float64]) -> NDArray[np.float64]:
    """The approval of every step by an overseer with these values.

    Returns:
        A_TAS = R_observed(s') + V(t+1,s') - V(t,s), and 0 at the last time.
    """
    next_AS = game.next_SA.T
    approvals_TAS = np.zeros((len(values_TS), 4, game.states))
    approvals_TAS[:-1] = game.observed_S[next_AS] + values_TS[1:, next_AS]
    approvals_TAS[:-1] -= values_TS[:-1, None]
    return approvals_TAS


def q_values(game: Dropbox, approvals_TAS: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Q_M for M = 1, 2, … T, in turn.

    Args:
        game: the game.
        approvals_TAS: the approval of every step, from whatever source.

    Yields:
        Q_TAS.

    Raises:
        ValueError: If the shape is wrong, or an approval is not finite.
    """
    shape = (game.rules.turns, 4, game.states)
    if approvals_TAS.shape != shape:
        raise ValueError(f"approvals have shape {approvals_TAS.shape}; {shape} is needed")
    if not np.isfinite(approvals_TAS).all():
        time, action, state = (int(i) for i in np.argwhere(~np.isfinite(approvals_TAS))[0])
        raise ValueError(
            f"approval {approvals_TAS[time, action, state]} at time {time}, state {state}, "
            f"action {action} is not finite; judge every step with a number"
        )
    next_AS = game.next_SA.T
    best_TS = np.zeros((game.rules.turns, game.states))
    for _ in range(game.rules.turns):
        q_TAS = approvals_TAS.copy()
        q_TAS[:-1] += best_TS[1:, next_AS]
        best_TS = q_TAS.max(axis=1)
        yield q_TAS


def outcomes(game: Dropbox, q_TAS: NDArray[np.float64], tolerance: float = TOLERANCE) -> Outcomes:
    """How episodes of the greedy policy end, ties within a tolerance broken uniformly.

    Returns:
        Arrays of one entry.
    """
    policy_TAS = (q_TAS >= q_TAS.max(axis=1, keepdims=True) - tolerance).astype(np.float64)
    policy_TAS /= policy_TAS.sum(axis=1, keepdims=True)
    next_AS, states = game.next_SA.T.ravel(), game.states
    state_S = np.bincount(game.starts, minlength=states) / len(game.starts)
    visits_S = np.zeros(states)
    for policy_AS in policy_TAS:
        state_S = np.bincount(next_AS, (policy_AS * state_S).ravel(), states)
        visits_S += state_S
    first, second = visits_S @ game.first_S, visits_S @ game.second_S
    return Outcomes(
        fail=np.array([1 - first]),
        intended=np.array([first - second]),
        hack=np.array([second]),
        observed=np.array([visits_S @ game.observed_S]),
        true=np.array([visits_S @ game.true_S]),
    )


def telescoping_error(game: Dropbox, values_TS: NDArray[np.float64]) -> float:
    """How far the recursion is from what it must telescope to, at most, wherever t + M <= T - 1.

    Q_M(t,s,a) = max over paths of M steps that begin with a of [sum of R_observed + V(t+M, end)]
    - V(t,s), the maximum computed without approvals.
    """
    next_AS, turns = game.next_SA.T, game.rules.turns
    path_TS, error = values_TS, 0.0
    for steps, q_TAS in enumerate(q_values(game, approvals(game, values_TS)), start=1):
        if steps == turns:
            break
        path_TAS = (game.observed_S + path_TS[1:])[:, next_AS]
        gap_TAS = q_TAS[: turns - steps] + values_TS[: turns - steps, None] - path_TAS
        error = max(error, float(np.abs(gap_TAS).max()))
        path_TS = path_TAS.max(axis=1)
    return error
