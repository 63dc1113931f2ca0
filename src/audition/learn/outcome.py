"""Outcomes: the baseline to compare against. A thinker trained by them is never certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.learn.batch import Batch, Columns
from audition.learn.lessons import LessonError


@dataclass(frozen=True)
class Outcomes:
    """What happened to N environments over T steps, rewards and all.

    Not lessons: there is no boundary in them, and no certificate covers what learned from them.
    """

    context: Columns
    """Arrays of shape (N, T, ...)."""
    span: Columns
    """Arrays of shape (N, T, ...)."""
    reward_NT: NDArray[Any]
    """The world's reward of each step."""
    last_NT: NDArray[np.bool_]
    """Whether an episode ends with that step; the last step of a leaf does not end it."""


def outcomes_of(batch: Batch) -> Outcomes:
    """The outcomes of a sealed batch.

    Raises:
        LessonError: the batch holds no rewards, or not whether episodes end (a note `last`).
    """
    reward_R = batch.column("reward")
    notes = batch.columns("note")
    if reward_R is None or "last" not in notes:
        raise LessonError("an outcome needs a reward column and a note 'last'")

    def lanes(columns: Columns) -> Columns:
        return {
            name: array.reshape(-1, batch.leaf, *array.shape[1:]) for name, array in columns.items()
        }

    return Outcomes(
        context=lanes(batch.columns("context", "carried")),
        span=lanes(batch.columns("span")),
        reward_NT=reward_R.reshape(-1, batch.leaf),
        last_NT=notes["last"].astype(bool).reshape(-1, batch.leaf),
    )


def gae(
    reward_NT: NDArray[Any],
    value_NT: NDArray[Any],
    last_NT: NDArray[np.bool_],
    after_N: NDArray[Any],
    *,
    discount: float = 1.0,
    decay: float = 0.95,
) -> NDArray[Any]:
    """Generalised advantage estimates, for the baseline.

    A(t) = δ(t) + γλ A(t+1), δ(t) = r(t) + γ V(t+1) − V(t), with V = A = 0 past an episode's end.

    Args:
        reward_NT: rewards.
        value_NT: the critic's value of each step's context.
        last_NT: whether an episode ends with the step (in success, failure or by its time limit:
            a limit that is part of the task ends it without a bootstrap).
        after_N: the critic's value of the context after the last step, where no episode ends there.
        discount: γ.
        decay: λ.

    Returns:
        Advantages, shape (N, T).

    Source: Schulman et al. 2016, arXiv 1506.02438, eq. 16.
    """
    advantage_NT = np.empty_like(value_NT)
    ahead_N, value_N = np.zeros_like(after_N), after_N
    for t in reversed(range(value_NT.shape[1])):
        goes_on_N = ~last_NT[:, t]
        delta_N = reward_NT[:, t] + discount * value_N * goes_on_N - value_NT[:, t]
        ahead_N = delta_N + discount * decay * ahead_N * goes_on_N
        advantage_NT[:, t], value_N = ahead_N, value_NT[:, t]
    return advantage_NT
