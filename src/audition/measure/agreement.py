"""Whether a simulation agrees with an exact value."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def errors_apart(sample: ArrayLike, exact: float) -> float:
    """How many standard errors the mean of independent values lies from an exact value.

    Args:
        sample: independent values of one distribution, shape (N,), N of 2 or more, finite.
        exact: what their mean should be.

    Returns:
        (mean − exact) / (standard deviation / √N); a sample without spread is 0 apart if it equals
        the value to 1e-12, else infinitely far.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    import numpy as np

    values = np.asarray(sample, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"sample has shape {values.shape}; give two finite values or more in a row"
        )
    difference = float(values.mean()) - exact
    error = float(values.std(ddof=1)) / sqrt(len(values))
    if abs(difference) <= 1e-12:
        return 0.0
    return difference / error if error > 0 else float("inf") * difference


def shared_bar(comparisons: int, alone: float = 3.0) -> float:
    """How far apart the farthest of many comparisons may be, if one alone may be so far.

    Bonferroni's inequality: each of m normal deviates may exceed the bar in absolute value with
    probability 2 Φ(−alone) / m, so that any of them does with at most 2 Φ(−alone).

    Raises:
        ValueError: no comparison.
    """
    from scipy.special import ndtr, ndtri

    if comparisons < 1:
        raise ValueError(f"{comparisons} comparisons share no bar; give one or more")
    return float(-ndtri(ndtr(-alone) / comparisons))
