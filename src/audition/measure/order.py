"""Order statistics: where one of n is ranked, and what the best of n is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

MOST = 10**12
"""The most that may be ranked or compared; beyond it the quadrature is not checked."""


@dataclass(frozen=True, slots=True)
class Rank:
    """The rank, 1 the best, of one whose estimate stands out by so much among n."""

    mean: float
    """Expected rank."""
    sd: float
    """Its standard deviation."""
    first: float
    """Probability of rank 1."""


def rank_among(n: int, separation: float) -> Rank:
    """Rank of an estimate X ~ N(d, 1) among n − 1 others ~ N(0, 1), all independent.

    Given X = x each other is above it with probability Φ(−x) by itself, so rank − 1 is binomial
    (n − 1, Φ(−x)), and with h = d/√2

        E[rank] = 1 + (n − 1) Φ(−h),
        E[(rank − 1)(rank − 2)] = (n − 1)(n − 2) E[Φ(−X)²],
        P(rank = 1) = E[Φ(X)^(n−1)].

    The cost does not grow with n.

    Args:
        n: how many are ranked, the one included; 1 to 10¹².
        separation: d ≥ 0, in standard deviations of an estimate; infinite: always first.

    Raises:
        ValueError: n out of its range, or a separation that is negative or not a number.

    Source: ours, from the binomial thinning above; P(rank = 1) is the m-alternative
    forced-choice integral of signal detection theory (Green & Swets 1966).
    """
    from scipy.special import ndtr

    _check(n, separation)
    if separation == inf:
        return Rank(1.0, 0.0, 1.0)
    above, both = float(ndtr(-separation / sqrt(2))), _mean(lambda x: ndtr(-x) ** 2, separation)
    others = n - 1
    variance = others * (above * (1 - above) + (others - 1) * (both - above**2))
    return Rank(1 + others * above, sqrt(max(variance, 0.0)), within(n, separation))


def within(n: int, separation: float, best: int = 1) -> float:
    """Probability that the one is among the `best` first of n; see `rank_among`.

    Raises:
        ValueError: not 1 ≤ best ≤ n, or an argument that `rank_among` refuses.
    """
    from scipy.special import bdtr, ndtr

    _check(n, separation)
    if not 1 <= best <= n:
        raise ValueError(f"best is {best} of {n}; it lies between 1 and n")
    if separation == inf or best == n:
        return 1.0
    if best == 1:
        return _first(n, separation)
    return _mean(lambda x: bdtr(float(best - 1), n - 1, ndtr(-x)), separation)


def separation_for(n: int, first: float) -> float:
    """The separation at which one of n is ranked first with probability `first`.

    Raises:
        ValueError: n out of its range or below 2, or `first` not between 1/n and 1.
    """
    from scipy.optimize import brentq

    _check(n, 0.0)
    if n < 2 or not 1 / n <= first < 1:
        raise ValueError(f"first is {first} of {n}; it lies between 1/n and 1, and n is 2 or more")
    # The bracket reaches below 0, where first = 1/n has its root but for rounding.
    root, _ = brentq(lambda d: _first(n, d) - first, -0.1, 60.0, xtol=1e-12, full_output=True)
    return max(float(root), 0.0)


def expected_maximum(n: int) -> float:
    """E[max] of n independent standard normals: ∫ x n φ(x) Φ(x)^(n−1) dx.

    Raises:
        ValueError: n out of its range.

    Source: Harter 1961, Biometrika 48:151.
    """
    import numpy as np

    _check(n, 0.0)
    return n * _mean(lambda x: x * np.exp((n - 1) * _log_below(x)), 0.0)


def expected_best(
    k: int,
    inverse_survival: Callable[[float], float],
    *,
    positive: float = 1.0,
    shown: float = 1.0,
    top: float = 0.0,
    shown_top: float = 1.0,
) -> float:
    """What the best of k random values is worth when each is in the running by a lottery.

    With u = S(value), S the survival function, a value is in the running with probability
    l(u) = `shown_top` for the best values, u < `top`, and `shown` for the rest. Beside the k stands
    one worth 0, always in the running. With L(u) the integral of l, none below u is in the running
    with probability (1 − L(u))^k, so

        E[max(0, best)] = ∫ k l(u) (1 − L(u))^(k−1) S⁻¹(u) du  over 0 < u < S(0),

    taken over −ln u, which tames heavy tails.

    Args:
        k: how many values; 0 to 10⁶.
        inverse_survival: S⁻¹, on (0, S(0)), of a tail with index 3/2 or more.
        positive: S(0), the probability that a value is above 0; in (0, 1].
        shown: in [0, 1].
        top: share of the values that count as the best, in [0, 1].
        shown_top: in [0, 1].

    Raises:
        ValueError: an argument out of its range.

    Source: ours; with all in the running, the first moment of the greatest order statistic.
    """
    from scipy.integrate import quad

    shares = {"shown": shown, "top": top, "shown_top": shown_top, "positive": positive}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; it lies between 0 and 1")
    if not (0 <= k <= 10**6 and positive > 0):
        raise ValueError(f"k is {k}, positive {positive}; k lies between 0 and 10**6, positive > 0")

    def integrand(y: float) -> float:
        u = exp(-y)
        chance = shown_top if u < top else shown
        before = shown_top * min(u, top) + shown * max(u - top, 0.0)
        return k * chance * (1 - before) ** (k - 1) * inverse_survival(u) * u

    start = -log(positive)
    # Cut where the integrand jumps and where most of its mass lies, so that no part is missed.
    cuts = {start, start + log(k + 1), start + log(k + 1) + 12, start + 100}
    if 0 < top < positive:
        cuts.add(-log(top))
    parts = pairwise(sorted(cuts))
    return sum(quad(integrand, *part, epsabs=1e-12, epsrel=1e-12, limit=200)[0] for part in parts)


def _first(n: int, separation: float) -> float:
    import numpy as np

    return _mean(lambda x: np.exp((n - 1) * _log_below(x)), separation)


def _mean(of: Callable[[NDArray[float64]], NDArray[float64]], separation: float) -> float:
    """E[of(X)], X ~ N(separation, 1): the trapezoidal rule, exponentially exact for a Gaussian."""
    import numpy as np

    z = np.linspace(-12, 12, 12_001)
    weight = np.exp(-(z**2) / 2)
    return float(of(z + separation) @ weight / weight.sum())


def _log_below(x: NDArray[float64]) -> NDArray[float64]:
    """log Φ(x), to full relative precision on either side of 0."""
    import numpy as np
    from scipy.special import log_ndtr, ndtr

    above = np.log1p(-ndtr(-np.maximum(x, 0)))
    return np.where(x > 0, above, log_ndtr(np.minimum(x, 0)))


def _check(n: int, separation: float) -> None:
    if not 1 <= n <= MOST:
        raise ValueError(f"n is {n}; it lies between 1 and {MOST}")
    if not separation >= 0:
        raise ValueError(f"separation is {separation}; it is a number of 0 or more")
