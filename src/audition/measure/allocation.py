"""How to spend few audits on many moments, and what the audited say of all of them.

Moments lie in strata h with sizes N_h. Each is drawn by its own lottery with its stratum's rate π_h
and counts 1/π_h when drawn, so that every sum over drawn moments has the sum over all moments as
its expectation, whatever the rates, if none of them is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray


class Estimate(NamedTuple):
    """An estimate of a mean, and how far it may be off."""

    mean: float
    """The estimate."""
    se: float
    """Its standard error over lotteries, itself estimated without bias of its square."""


def neyman(size: ArrayLike, spread: ArrayLike, budget: float) -> NDArray[float64]:
    """The rates at which a budget of audits leaves an estimate the least variance.

    A sum over lotteries has variance Σ_h N_h m_h (1/π_h − 1), m_h the mean square of what is summed
    in stratum h; under Σ_h N_h π_h = budget it is least at π_h ∝ √m_h. (Were exactly n_h moments
    drawn from each stratum, the standard deviation would stand in place of √m_h.) A rate that would
    exceed 1 is 1, and what is left is spent on the others in the same proportion.

    Args:
        size: N_h, moments of each stratum.
        spread: √m_h, the root mean square in each, from a pilot.
        budget: how many audits to expect.

    Returns:
        π_h, shape (H). A stratum whose spread is 0 gets rate 0, which no plan declares: what is
        never drawn cannot be weighed, so leave that stratum out or give it a floor.

    Raises:
        ValueError: sizes or spreads that are negative, not finite or all 0; or a budget that is not
            above 0 and at most all moments.

    Source: Neyman 1934, J. R. Stat. Soc. 97, section III.4; for lotteries, Särndal, Swensson &
        Wretman 1992, Model Assisted Survey Sampling, section 3.5 and result 12.2.1.
    """
    import numpy as np

    size_H, spread_H = np.asarray(size, float), np.asarray(spread, float)
    if size_H.ndim != 1 or size_H.shape != spread_H.shape:
        raise ValueError(f"{size_H.shape} sizes and {spread_H.shape} spreads; give one a stratum")
    for name, array in (("size", size_H), ("spread", spread_H)):
        if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
            raise ValueError(f"{name}: {array}; give numbers >= 0, not all 0")
    if not 0 < budget <= size_H.sum():
        raise ValueError(
            f"a budget of {budget:g} audits for {size_H.sum():g} moments; "
            "it is above 0 and at most all of them"
        )
    rate_H, open_H = np.zeros(len(size_H)), (spread_H > 0) & (size_H > 0)
    left = float(budget)
    while open_H.any():
        rate_H[open_H] = left * spread_H[open_H] / (size_H * spread_H)[open_H].sum()
        over_H = open_H & (rate_H > 1)
        if not over_H.any():
            break
        rate_H[over_H] = 1.0
        left -= float(size_H[over_H].sum())
        open_H &= ~over_H
    return rate_H


def horvitz_thompson(value: ArrayLike, rate: ArrayLike, population: int) -> Estimate:
    """The mean over all moments, from those drawn: Σ y/π over the drawn, divided by N.

    Its variance Σ y² (1 − π)/π / N² over all moments is estimated by Σ y² (1 − π)/π² / N² over the
    drawn: both are unbiased over lotteries.

    Args:
        value: y of each drawn moment.
        rate: π with which each was drawn, in (0, 1].
        population: N, all moments.

    Raises:
        ValueError: a value that is not finite, a rate outside (0, 1], or more drawn than there are.

    Source: Horvitz & Thompson 1952, J. Am. Stat. Assoc. 47, eq. 6; for independent draws, Särndal,
        Swensson & Wretman 1992, eq. 3.5.2.
    """
    import numpy as np

    value_D, rate_D = _drawn(value, rate)
    if not len(value_D) <= population or population < 1:
        raise ValueError(f"{len(value_D)} drawn of {population} moments")
    squares_D = value_D**2 * (1 - rate_D) / rate_D**2
    total = float((value_D / rate_D).sum())
    return Estimate(total / population, float(np.sqrt(squares_D.sum())) / population)


def effective_size(weight: ArrayLike) -> float:
    """How many equally weighted draws say as much as these: (Σ w)² / Σ w².

    Raises:
        ValueError: weights that are not finite and positive, or none.

    Source: Kish 1965, Survey Sampling, section 11.7.
    """
    import numpy as np

    weight_D = np.asarray(weight, float)
    if not weight_D.size or not (np.isfinite(weight_D) & (weight_D > 0)).all():
        raise ValueError("weights are finite and positive, and at least one")
    return float(weight_D.sum() ** 2 / (weight_D**2).sum())


def _drawn(value: ArrayLike, rate: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    value_D, rate_D = np.asarray(value, float), np.asarray(rate, float)
    if value_D.ndim != 1 or value_D.shape != rate_D.shape:
        raise ValueError(f"{value_D.shape} values and {rate_D.shape} rates; give one a moment")
    if not np.isfinite(value_D).all():
        raise ValueError("a value is not a number; every drawn moment has one")
    if not ((rate_D > 0) & (rate_D <= 1)).all():
        raise ValueError("rates lie above 0 and at most at 1: none else is ever drawn")
    return value_D, rate_D
