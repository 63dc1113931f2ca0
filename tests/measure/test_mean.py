"""The interval for a mean of bounded values: it covers, and is Clopper & Pearson's kin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.measure import bounded_mean, clopper_pearson

UNITS = st.lists(st.floats(0, 1), min_size=1, max_size=50)


@given(UNITS, st.integers(0, 20))
def test_it_holds_the_mean_and_grows_with_what_was_not_scored(
    values: list[float], unscored: int
) -> None:
    low, high = bounded_mean(values)
    mean = min(1.0, sum(values) / len(values))
    assert 0 <= low <= mean + 1e-12 and mean - 1e-12 <= high <= 1
    for told in ([0.0] * unscored, [1.0] * unscored, [0.5] * unscored):
        inner = bounded_mean([*values, *told])
        outer = bounded_mean(values, unscored)
        assert outer.low <= inner.low + 1e-9 and inner.high <= outer.high + 1e-9


@given(UNITS)
def test_it_is_the_same_from_the_other_end(values: list[float]) -> None:
    low, high = bounded_mean(values)
    mirrored = bounded_mean([1 - value for value in values])
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize("hits", [0, 1, 7, 10])
def test_of_coins_it_holds_the_exact_interval(hits: int) -> None:
    """Nothing is assumed of the values, so it is wider; where all agree it is the very same."""
    low, high = bounded_mean([1.0] * hits + [0.0] * (10 - hits))
    exact = clopper_pearson(hits, 10)
    assert low <= exact.low + 1e-9 and exact.high <= high + 1e-9
    if hits in (0, 10):
        assert (low, high) == pytest.approx(exact, abs=1e-9)


def test_it_covers() -> None:
    """Of 2,000 samples from a beta distribution, at least 95 % of the intervals hold its mean."""
    rng = np.random.default_rng(0)
    samples = rng.beta(0.3, 0.6, (2000, 12))
    held = [low <= 1 / 3 <= high for low, high in (bounded_mean(one) for one in samples.tolist())]
    assert np.mean(held) >= 0.95


def test_nothing_scored_says_nothing() -> None:
    assert bounded_mean([]) == bounded_mean([], 5) == (0, 1)


@pytest.mark.parametrize("wrong", [([1.1], 0, 0.95), ([0.5], -1, 0.95), ([0.5], 0, 1.0)])
def test_arguments_outside_their_range_are_refused(wrong: tuple[list[float], int, float]) -> None:
    with pytest.raises(ValueError, match=r"outside|count"):
        bounded_mean(*wrong)
