"""Few audits: estimates without bias, and rates that leave them the least variance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.gate import draw_rows
from audition.measure.allocation import effective_size, horvitz_thompson, neyman

SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=6)
FINITE = st.floats(-5, 5)


def variance(size, spread, rate):
    """Of a weighted sum over lotteries: Σ N m (1/π − 1)."""
    return float((size * spread**2 * (1 / rate - 1)).sum())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(FINITE, st.floats(0.05, 1)), min_size=1, max_size=6))
def test_the_weighted_mean_over_every_lottery_is_the_mean_and_so_is_its_variance(moments):
    value, rate = np.array(moments).T
    mean = square = claimed = 0.0
    for drawn in itertools.product((False, True), repeat=len(value)):
        drawn = np.array(drawn)
        chance = np.where(drawn, rate, 1 - rate).prod()
        found = horvitz_thompson(value[drawn], rate[drawn], len(value))
        mean += chance * found.mean
        square += chance * found.mean**2
        claimed += chance * found.se**2
    assert mean == pytest.approx(value.mean(), abs=1e-9)
    assert claimed == pytest.approx(square - mean**2, abs=1e-9)


def test_over_many_lotteries_the_weighted_mean_stays_and_the_plain_one_does_not():
    rng = np.random.default_rng(0)
    stratum = rng.integers(0, 3, 3000)
    value = rng.normal(stratum, 1.0)  # what is audited less often is worth more
    rate = np.array([0.3, 0.1, 0.03])[stratum]
    weighted, plain = [], []
    for lottery in range(300):
        drawn = draw_rows(rng.bytes(32), "0" * 32, lottery, rate)
        weighted.append(horvitz_thompson(value[drawn], rate[drawn], len(value)).mean)
        plain.append(value[drawn].mean())
    se = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - value.mean()) < 4 * se
    assert abs(np.mean(plain) - value.mean()) > 0.3


@settings(max_examples=60, deadline=None)
@given(SIZES, st.data())
def test_no_other_rates_of_the_same_cost_leave_less_variance(sizes, data):
    size = np.array(sizes, float)
    spread = np.array(
        data.draw(st.lists(st.floats(0.1, 10), min_size=len(size), max_size=len(size)))
    )
    budget = data.draw(st.floats(0.05, 0.95)) * size.sum()
    rate = neyman(size, spread, budget)
    assert ((rate > 0) & (rate <= 1)).all()
    assert (rate * size).sum() == pytest.approx(budget)
    least = variance(size, spread, rate)
    for a, b in itertools.permutations(range(len(size)), 2):
        moved = 1e-3 * min(rate[a] * size[a], max(0.0, (1 - rate[b]) * size[b]))
        other = rate.copy()
        other[a] -= moved / size[a]
        other[b] += moved / size[b]
        assert variance(size, spread, np.minimum(other, 1)) >= least * (1 - 1e-9)


def test_a_stratum_without_spread_is_not_audited_and_a_full_one_gives_the_rest_away():
    assert neyman([10, 10], [0, 1], 5).tolist() == [0, 0.5]
    assert neyman([2, 100, 100], [50, 1, 1], 22).tolist() == [1, 0.1, 0.1]
    assert neyman([10], [1], 10).tolist() == [1]


@pytest.mark.parametrize(
    ("size", "spread", "budget", "says"),
    [
        ([1, 2], [1], 1, "one a stratum"),
        ([1, 2], [1, np.nan], 1, "spread"),
        ([1, -2], [1, 1], 1, "size"),
        ([1, 2], [0, 0], 1, "not all 0"),
        ([1, 2], [1, 1], 0, "a budget of 0 audits"),
        ([1, 2], [1, 1], 4, "at most all of them"),
        ([1, 2], [1, 1], np.nan, "a budget of nan"),
    ],
)
def test_rates_that_cannot_be_are_refused_with_the_reason(size, spread, budget, says):
    with pytest.raises(ValueError, match=says):
        neyman(size, spread, budget)


@pytest.mark.parametrize(
    ("value", "rate", "population", "says"),
    [
        ([np.nan], [0.5], 3, "not a number"),
        ([1.0], [0.0], 3, "above 0"),
        ([1.0], [1.5], 3, "at most at 1"),
        ([1.0, 2.0], [0.5], 3, "one a moment"),
        ([1.0, 2.0], [0.5, 0.5], 1, "2 drawn of 1"),
    ],
)
def test_audits_that_say_nothing_of_all_are_refused_with_the_reason(value, rate, population, says):
    with pytest.raises(ValueError, match=says):
        horvitz_thompson(value, rate, population)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50))
def test_weights_are_worth_at_most_their_number_and_equal_ones_just_that(weights):
    assert 1 - 1e-9 <= effective_size(weights) <= len(weights) * (1 + 1e-9)
    assert effective_size([weights[0]] * len(weights)) == pytest.approx(len(weights))


@pytest.mark.parametrize("weights", [[], [1, 0], [1, np.inf]])
def test_weights_that_are_none_have_no_effective_size(weights):
    with pytest.raises(ValueError, match="finite and positive"):
        effective_size(weights)
