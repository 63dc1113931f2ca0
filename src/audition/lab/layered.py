"""Random projects as layered graphs: exact values, and the gradients that two teams learn from.

P projects of T steps are learned side by side. A project starts in any of S contexts; act a at step
t in context s is worth `true[t, s, a]` and leads to context `next[t, s, a]` of the next step.
Policies are softmax tables, one row of A logits a moment (t, s).
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, softmax

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GAME_WORTH, GAME_SEEN = -1.0, 2.0
"""What an act that games the result is worth, and what the result says."""


class Projects(NamedTuple):
    """P random projects."""

    true_P_T_S_A: Floats
    """What each act is worth."""
    seen_P_T_S_A: Floats
    """What the result will say that it was worth."""
    next_P_T_S_A: Ints
    """The context that it leads to."""


def random_projects(
    rng: np.random.Generator, shape: tuple[int, int, int, int], dependence: float, gameable: bool
) -> Projects:
    """Projects whose acts are worth N(0, 1).

    Args:
        rng: source of chance.
        shape: (P, T, S, A).
        dependence: share of the variance that hangs on the context, in [0, 1].
        gameable: whether one act of every moment is worth −1 and looks like 2 in the result.
    """
    P, T, S, A = shape
    anywhere = rng.normal(size=(P, T, 1, A))
    true = sqrt(1 - dependence) * anywhere + sqrt(dependence) * rng.normal(size=shape)
    seen = true
    if gameable:
        games = np.arange(A) == rng.integers(A, size=(P, T, S, 1))
        true = np.where(games, GAME_WORTH, true)
        seen = np.where(games, GAME_SEEN, true)
    return Projects(true, seen, rng.integers(S, size=shape))


def backward(
    reward_P_T_S_A: Floats,
    next_P_T_S_A: Ints,
    policy_P_T_S_A: Floats | None = None,
    credit: float = 1.0,
) -> Floats:
    """Q(t, s, a) = reward + credit · V(t + 1, next), shape (P, T, S, A).

    Args:
        reward_P_T_S_A: reward, or approval, of each act.
        next_P_T_S_A: where each act leads.
        policy_P_T_S_A: V is its value; None: the value of the best act.
        credit: share of what comes later that an act is credited with; 0 is the boundary, and
            then Q is the reward itself.
    """
    q = reward_P_T_S_A.copy()
    if credit == 0:
        return q
    p = np.arange(len(q))[:, None, None]
    for t in reversed(range(q.shape[1] - 1)):
        ahead = q[:, t + 1]
        best = policy_P_T_S_A is None
        value = ahead.max(-1) if best else (policy_P_T_S_A[:, t + 1] * ahead).sum(-1)
        q[:, t] += credit * value[p, next_P_T_S_A[:, t]]
    return q


def visits(policy_P_T_S_A: Floats, next_P_T_S_A: Ints, start_S: Floats) -> Floats:
    """Probability of each context at each step, shape (P, T, S)."""
    P, T, S, _ = policy_P_T_S_A.shape
    visited = np.empty((P, T, S))
    visited[:, 0] = start_S
    into = np.arange(P)[:, None, None] * S
    for t in range(T - 1):
        mass = visited[:, t, :, None] * policy_P_T_S_A[:, t]
        to = into + next_P_T_S_A[:, t]
        visited[:, t + 1] = np.bincount(to.ravel(), mass.ravel(), P * S).reshape(P, S)
    return visited


def policy_gradient(
    logits_P_T_S_A: Floats,
    reward_P_T_S_A: Floats,
    next_P_T_S_A: Ints,
    start_S: Floats,
    credit: float,
) -> Floats:
    """Exact gradient of the credited reward over logits: d(s) π(a|s) (Q(s, a) − V(s)).

    Where a moment comes from is fixed and exogenous: d is not differentiated. With credit 1 this is
    the policy gradient of the summed reward (Sutton et al. 2000); with credit 0 each moment has the
    gradient of its own reward and of nothing later.

    Returns:
        Shape (P, T, S, A).
    """
    policy = softmax(logits_P_T_S_A, axis=-1)
    q = backward(reward_P_T_S_A, next_P_T_S_A, policy, credit)
    visited = visits(policy, next_P_T_S_A, start_S)
    return visited[..., None] * policy * (q - (policy * q).sum(-1, keepdims=True))


def greedy(score_P_T_S_A: Floats) -> Floats:
    """The policy that takes the act of the highest score, ties shared."""
    best = score_P_T_S_A == score_P_T_S_A.max(-1, keepdims=True)
    return best / best.sum(-1, keepdims=True)


def earned(policy_P_T_S_A: Floats, reward_P_T_S_A: Floats, next_P_T_S_A: Ints) -> Floats:
    """Expected reward of a policy over a project, starting in any context, shape (P,)."""
    q = backward(reward_P_T_S_A, next_P_T_S_A, policy_P_T_S_A)
    return (policy_P_T_S_A[:, 0] * q[:, 0]).sum(-1).mean(-1)


def as_read(foresight_P_T_S_A: Floats, bits: int) -> Floats:
    """Judgement of an auditor who has read `bits` bits of the context: the mean over the others.

    Raises:
        ValueError: S is no multiple of 2**bits.
    """
    P, T, S, A = foresight_P_T_S_A.shape
    if bits < 0 or S % 2**bits:
        raise ValueError(f"{bits} bits cannot be read of {S} contexts; 2**bits must divide them")
    alike = foresight_P_T_S_A.reshape(P, T, 2**bits, S // 2**bits, A)
    return np.broadcast_to(alike.mean(axis=3, keepdims=True), alike.shape).reshape(P, T, S, A)


def audited_gradient(
    rng: np.random.Generator,
    logits_P_T_S_A: Floats,
    estimate_P_T_S_A: Floats,
    next_P_T_S_A: Ints,
    episodes: int,
    rate_T: Floats,
    candidates: int,
    mood: float,
) -> Floats:
    """Team A's sampled gradient: lessons from audited moments, weighted by inverse probability.

    A moment of step t is drawn with probability rate_T[t], and its lessons weigh 1/rate_T[t]. With
    one candidate the auditor rates it: approval Φ(estimate + mood), the mood fresh each audit, less
    the constant ½. With more, drawn from the policy, it names the best, ties shared: 1 for the best
    less 1/k for each; whatever an audit adds to all its candidates cancels. Nothing later enters.

    Returns:
        Mean over episodes of Σ weight · signal · ∇ log π(candidate | moment), shape (P, T, S, A).
    """
    P, T, S, _ = logits_P_T_S_A.shape
    policy = softmax(logits_P_T_S_A, axis=-1)
    below = _below(policy)
    context_P_T_N, act_P_T_N = _episodes(rng, below, next_P_T_S_A, episodes)
    p, t, n = np.nonzero(rng.random((P, T, episodes)) < rate_T[:, None])
    s = context_P_T_N[p, t, n]
    others = rng.random((candidates - 1, len(s))) > below[:, p, t, s][:, None]
    act_K_L = np.concatenate([act_P_T_N[p, t, n][None], others.sum(0)])
    estimate_K_L = estimate_P_T_S_A[p, t, s, act_K_L]
    if candidates == 1:
        signal_K_L = ndtr(estimate_K_L + rng.normal(0, mood, len(s))) - 0.5
    else:
        best = estimate_K_L == estimate_K_L.max(0)
        signal_K_L = best / best.sum(0) - 1 / candidates
    moment_L = (p * T + t) * S + s
    return _gradient(policy, moment_L, act_K_L, signal_K_L / rate_T[t]) / episodes


def outcome_gradient(
    rng: np.random.Generator,
    logits_P_T_S_A: Floats,
    seen_P_T_S_A: Floats,
    next_P_T_S_A: Ints,
    episodes: int,
) -> Floats:
    """Team B's sampled gradient: every step is credited with the whole project's result.

    REINFORCE (Williams 1992) with the mean result of the other episodes as baseline, results in
    units of √T, the spread of a random project's.

    Returns:
        Mean over episodes of Σ_t (result − baseline) ∇ log π(act_t | moment_t), shape (P, T, S, A).
    """
    P, T, S, _ = logits_P_T_S_A.shape
    policy = softmax(logits_P_T_S_A, axis=-1)
    context, act = _episodes(rng, _below(policy), next_P_T_S_A, episodes)
    p, t = np.arange(P)[:, None, None], np.arange(T)[:, None]
    result_P_N = seen_P_T_S_A[p, t, context, act].sum(axis=1) / sqrt(T)
    centred = (result_P_N - result_P_N.mean(axis=1, keepdims=True)) * episodes / (episodes - 1)
    signal = np.broadcast_to(centred[:, None], act.shape).reshape(1, -1)
    moment = ((p * T + t) * S + context).ravel()
    return _gradient(policy, moment, act.reshape(1, -1), signal) / episodes


def _below(policy_P_T_S_A: Floats) -> Floats:
    """Cumulative probabilities but the last: an act is how many of them a uniform draw exceeds.

    Returns:
        Shape (A − 1, P, T, S): summing over a leading axis is fast.
    """
    return np.ascontiguousarray(np.moveaxis(policy_P_T_S_A.cumsum(-1)[..., :-1], -1, 0))


def _episodes(
    rng: np.random.Generator, below: Floats, next_P_T_S_A: Ints, episodes: int
) -> tuple[Ints, Ints]:
    """Contexts and acts of so many episodes a project, each of shape (P, T, N)."""
    P, T, S, _ = next_P_T_S_A.shape
    p = np.arange(P)[:, None]
    context, act = np.empty((2, P, T, episodes), dtype=np.int64)
    here = rng.integers(S, size=(P, episodes))
    for t in range(T):
        context[:, t] = here
        act[:, t] = (rng.random((P, episodes)) > below[:, p, t, here]).sum(0)
        here = next_P_T_S_A[p, t, here, act[:, t]]
    return context, act


def _gradient(policy: Floats, moment_L: Ints, act_K_L: Ints, signal_K_L: Floats) -> Floats:
    """Σ signal (1[act] − π) over L lessons of K candidates, at flat moments."""
    moments, A = policy.size // policy.shape[-1], policy.shape[-1]
    taken = np.bincount((moment_L * A + act_K_L).ravel(), signal_K_L.ravel(), moments * A)
    total = np.bincount(moment_L, signal_K_L.sum(0), moments)
    return taken.reshape(policy.shape) - total.reshape(*policy.shape[:-1], 1) * policy
