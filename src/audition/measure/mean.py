"""A confidence interval for a mean of bounded values."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf, log

from audition.measure.interval import LEVEL, Interval

STEPS = 60
"""Halvings by which an end is found, which leave it where a float has it."""


def bounded_mean(values_N: Sequence[float], unscored: int = 0, level: float = LEVEL) -> Interval:
    """Interval for the expectation of independent values in [0, 1], however they are distributed.

    A mean x of n such values lies as far from its expectation p as n·KL(x‖p) ≥ log(2/α) with
    probability α at most, KL being that of two coins; the interval holds every p that is nearer.
    Values that were not scored are taken as 0 at the lower end and as 1 at the upper.

    Args:
        values_N: the values.
        unscored: how many more were drawn and not scored.
        level: 1 − α, in (0, 1).

    Raises:
        ValueError: an argument outside its range.

    Source: Hoeffding 1963, JASA 58:13, theorem 1, eq. 2.1, on both sides at α/2 each.
    """
    if not all(0 <= value <= 1 for value in values_N):
        raise ValueError("a value lies outside [0, 1]")
    if unscored < 0 or not 0 < level < 1:
        raise ValueError(f"unscored is {unscored}, level {level}; a count, and one in (0, 1)")
    n, total = len(values_N) + unscored, fsum(values_N)
    if not n:
        return Interval(0.0, 1.0)
    far = log(2 / (1 - level)) / n
    return Interval(
        _end(min(1.0, total / n), 0.0, far), _end(min(1.0, (total + unscored) / n), 1.0, far)
    )


def _end(mean: float, end: float, far: float) -> float:
    """The expectation between a mean and an end of [0, 1] that lies just so far from the mean."""
    inner, outer = mean, end
    for _ in range(STEPS):
        middle = (inner + outer) / 2
        if _apart(mean, middle) > far:
            outer = middle
        else:
            inner = middle
    return outer


def _apart(mean: float, p: float) -> float:
    """KL(mean‖p) of two coins."""
    if p in (0.0, 1.0):
        return 0.0 if mean == p else inf
    low = (1 - mean) * log((1 - mean) / (1 - p)) if mean < 1 else 0.0
    high = mean * log(mean / p) if mean > 0 else 0.0
    return low + high
