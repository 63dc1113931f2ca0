"""How far probabilities can be believed: Platt's scaling, Brier's score, the error of calibration.

A target is a number in [0, 1], not only 0 or 1: a rating is the share of judges who would say yes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audition.measure.interval import LEVEL, Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BINS = 10
"""Into which probabilities are sorted for the error of calibration."""

SAMPLES = 999
"""Samples of a bootstrap."""


@dataclass(frozen=True, slots=True)
class Platt:
    """Calibrated probabilities: σ(slope · z + offset) of log-odds z."""

    slope: float
    """At least 0: calibration never turns an order round."""
    offset: float
    """Log-odds at z = 0."""

    def __call__(self, logit_N: ArrayLike) -> NDArray[Any]:
        """Probabilities of log-odds."""
        import numpy as np
        from scipy.special import expit

        return expit(self.slope * np.asarray(logit_N, dtype=np.float64) + self.offset)


def platt(
    logit_N: ArrayLike, target_N: ArrayLike, weight_N: ArrayLike, *, offset: bool = True
) -> Platt:
    """The scaling of log-odds under which targets are likeliest.

    A target r counts as r · t₊ + (1 − r) · t₋ with t₊ = (N₊ + 1) / (N₊ + 2), t₋ = 1 / (N₋ + 2) and
    N₊ = Σ r, N₋ = Σ (1 − r): Platt's own targets where r is 0 or 1, which keep the slope finite
    where a threshold separates the two.

    Args:
        logit_N: log-odds.
        target_N: in [0, 1].
        weight_N: how much each counts, above 0.
        offset: False keeps it at 0, for differences whose sign is a matter of naming.

    Raises:
        ValueError: nothing to fit, a number that is not finite, or a target outside [0, 1].

    Source: Platt 1999, Probabilistic outputs for support vector machines, section 2.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    z_N, r_N, w_N = _checked(logit_N, target_N, weight_N)
    if not np.isfinite(z_N).all():
        raise ValueError("log-odds that are not finite cannot be calibrated")
    plus, minus = float(r_N.sum()), float((1 - r_N).sum())
    t_N = r_N * (plus + 1) / (plus + 2) + (1 - r_N) / (minus + 2)
    w_N = w_N / w_N.sum()
    scale = max(1.0, float(np.abs(z_N).max()))

    def loss(at: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        z = at[0] * z_N / scale + (at[1] if offset else 0.0)
        value = float((w_N * (np.logaddexp(0, z) - t_N * z)).sum())
        off_N = w_N * (expit(z) - t_N)
        return value, np.array([(off_N * z_N / scale).sum(), off_N.sum() if offset else 0.0])

    found = minimize(
        loss,
        np.array([scale, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000},
    )
    return Platt(float(found.x[0]) / scale, float(found.x[1]) if offset else 0.0)


def brier(p_N: ArrayLike, target_N: ArrayLike, weight_N: ArrayLike) -> float:
    """Mean of (p − r)²: least where p is the expected target, and 0 only where each is foretold.

    Raises:
        ValueError: as `platt`.

    Source: Brier 1950, Monthly Weather Review 78:1; of means instead of events it is proper too.
    """
    p, r, w = _checked(p_N, target_N, weight_N)
    return float((w * (p - r) ** 2).sum() / w.sum())


def calibration_error(
    p_N: ArrayLike, target_N: ArrayLike, weight_N: ArrayLike, bins: int = BINS
) -> float:
    """Mean distance, over bins of equal width, of the mean probability from the mean target.

    Of few items it is too large: in a bin of n, chance alone keeps the two about 1 / √n apart.

    Raises:
        ValueError: as `platt`.

    Source: Naeini, Cooper & Hauskrecht 2015, AAAI, section 3 (ECE); Guo et al. 2017,
    arXiv 1706.04599, eq. 3.
    """
    import numpy as np

    p, r, w = _checked(p_N, target_N, weight_N)
    place = np.minimum((p * bins).astype(int), bins - 1)
    apart = np.bincount(place, w * (p - r), minlength=bins)
    return float(np.abs(apart).sum() / w.sum())


def resampled(
    statistic: Callable[[NDArray[Any]], float | None],
    group_N: ArrayLike,
    *,
    seed: int = 0,
    level: float = LEVEL,
    samples: int = SAMPLES,
) -> Interval | None:
    """An interval for a statistic of items that come in groups, by drawing the groups anew.

    Items of one group (steps of one run) may hang together as they like; groups are taken as
    independent. With few groups it is too short: below about twenty, take it as a hint.

    Args:
        statistic: of the items with these numbers; None where it has no value.
        group_N: the group of each item.
        seed: of the draws.
        level: confidence.
        samples: draws.

    Returns:
        The percentiles of the draws that gave a value; None of a single group, or of no value.

    Source: the percentile interval of Efron 1979, Annals of Statistics 7:1, with groups drawn
    whole as in Cameron, Gelbach & Miller 2008, Review of Economics and Statistics 90:414.
    """
    import numpy as np

    names, which_N = np.unique(np.asarray(group_N), return_inverse=True)
    if len(names) < 2:
        return None
    members = [np.flatnonzero(which_N == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(samples):
        drawn = rng.integers(0, len(names), len(names))
        value = statistic(np.concatenate([members[number] for number in drawn]))
        if value is not None:
            found.append(value)
    if not found:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _checked(
    one_N: ArrayLike, target_N: ArrayLike, weight_N: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    import numpy as np

    one, target, weight = (
        np.asarray(each, dtype=np.float64) for each in (one_N, target_N, weight_N)
    )
    if one.ndim != 1 or not one.shape == target.shape == weight.shape or not len(one):
        raise ValueError(f"{one.shape} values, {target.shape} targets, {weight.shape} weights")
    if not ((target >= 0) & (target <= 1)).all():
        raise ValueError("a target lies in [0, 1]")
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError("a weight is finite and above 0")
    return one, target, weight
