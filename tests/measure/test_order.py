"""Ranks and the best of n agree with brute force, closed forms and published tables."""

from math import exp, inf, log, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gammaln, ndtr, ndtri, owens_t
from scipy.stats import binom, norm

from audition.measure.order import (
    MOST,
    expected_best,
    expected_maximum,
    rank_among,
    separation_for,
    within,
)

NS = st.integers(1, 10**9)
DS = st.floats(0, 8)


def test_expected_maxima_are_the_tables():
    for n, due in ((1, 0.0), (4, 1.0294), (16, 1.7660), (64, 2.3437)):
        assert expected_maximum(n) == pytest.approx(due, abs=5e-5)
    assert expected_maximum(2) == pytest.approx(1 / sqrt(pi), abs=1e-12)
    assert expected_maximum(3) == pytest.approx(1.5 / sqrt(pi), abs=1e-12)


def test_the_maximum_of_a_million_agrees_with_an_adaptive_rule():
    n = 10**6
    exact, _ = quad(
        lambda x: n * x * norm.pdf(x) * norm.cdf(x) ** (n - 1), -2, 12, points=[4, 5, 6], limit=400
    )
    assert expected_maximum(n) == pytest.approx(exact, abs=1e-9)


@given(NS, DS)
def test_a_rank_lies_between_first_and_last(n, d):
    rank = rank_among(n, d)
    assert 1 <= rank.mean <= n + 1e-9
    assert 0 <= rank.first <= 1 + 1e-12
    # The rank is 2 or more unless it is 1.
    assert rank.mean >= rank.first + 2 * (1 - rank.first) - 1e-9 * n
    assert rank.sd <= n


@given(NS)
def test_without_separation_every_rank_is_as_likely(n):
    rank = rank_among(n, 0.0)
    assert rank.mean == pytest.approx((n + 1) / 2)
    assert rank.first == pytest.approx(1 / n, rel=1e-9)
    assert rank.sd == pytest.approx(sqrt((n**2 - 1) / 12), rel=1e-6, abs=1e-6)


@given(DS)
def test_of_two_the_better_is_first_with_the_normal_probability(d):
    assert within(2, d) == pytest.approx(ndtr(d / sqrt(2)), abs=1e-12)
    assert rank_among(2, d).mean == pytest.approx(2 - ndtr(d / sqrt(2)), abs=1e-12)


@given(st.integers(2, 10**6), DS)
def test_the_spread_of_a_rank_is_owens_orthant(n, d):
    h = d / sqrt(2)
    above, both = ndtr(-h), ndtr(-h) - 2 * owens_t(h, 1 / sqrt(3))
    variance = (n - 1) * (above * (1 - above) + (n - 2) * (both - above**2))
    assert rank_among(n, d).sd ** 2 == pytest.approx(variance, rel=1e-9, abs=1e-9)


@given(st.integers(1, 12), st.floats(0, 5))
def test_the_chances_of_all_ranks_make_the_mean(n, d):
    reached = np.array([0.0] + [within(n, d, best) for best in range(1, n + 1)])
    assert (np.diff(reached) >= -1e-12).all() and reached[-1] == 1
    mean = (np.arange(1, n + 1) * np.diff(reached)).sum()
    assert mean == pytest.approx(rank_among(n, d).mean, abs=1e-9)


def test_a_rank_is_what_sorting_all_of_them_gives():
    rng = np.random.default_rng(0)
    estimates = rng.normal(size=(20_000, 30))
    estimates[:, 0] += 1.5
    ranks = 1 + (estimates > estimates[:, :1]).sum(1)
    rank = rank_among(30, 1.5)
    assert ranks.mean() == pytest.approx(rank.mean, abs=3 * rank.sd / sqrt(20_000))
    assert (ranks == 1).mean() == pytest.approx(rank.first, abs=3 * sqrt(0.25 / 20_000))
    assert ranks.std() == pytest.approx(rank.sd, rel=0.03)


@settings(max_examples=30)
@given(st.integers(2, 10**6), st.floats(0.1, 0.99))
def test_the_separation_gives_back_its_chance(n, first):
    if first < 1 / n:
        first = 1 / n
    d = separation_for(n, first)
    assert d >= 0 and within(n, d) == pytest.approx(first, abs=1e-9)


def test_as_likely_first_as_any_other_takes_no_separation():
    for n in range(2, 60):
        assert 0 <= separation_for(n, 1 / n) < 1e-9


def test_who_stands_out_without_end_is_first():
    assert rank_among(10**6, inf).first == 1 and within(10**6, inf) == 1


@pytest.mark.parametrize("p", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("k", [0, 1, 5, 40])
def test_the_best_shown_of_exponential_and_pareto_values_is_the_closed_form(k, p):
    j = np.arange(1, k + 1)
    exponential = ((1 - (1 - p) ** j) / j).sum()
    assert expected_best(k, lambda u: -log(u), shown=p) == pytest.approx(exponential, abs=1e-9)
    pareto = binom.pmf(j, k, p) @ np.exp(gammaln(j + 1) + gammaln(2 / 3) - gammaln(j + 2 / 3))
    assert expected_best(k, lambda u: u ** (-1 / 3), shown=p) == pytest.approx(pareto, abs=1e-9)


@given(st.integers(1, 50), st.floats(0.01, 0.99))
def test_the_best_that_is_not_at_the_top_is_an_integral_over_values(k, top):
    seen, _ = quad(lambda x: 1 - (1 - (exp(-x) - top)) ** k, 0, -log(top), epsabs=1e-12)
    got = expected_best(k, lambda u: -log(u), top=top, shown_top=0.0)
    assert got == pytest.approx(seen, abs=1e-8)


@given(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1))
def test_what_is_hidden_from_the_top_and_the_rest_alike_is_hidden_anyhow(k, shown, top):
    alike = expected_best(k, lambda u: -log(u), shown=shown, top=top, shown_top=shown)
    assert alike == pytest.approx(expected_best(k, lambda u: -log(u), shown=shown), abs=1e-8)


def test_beside_doing_nothing_the_best_normal_is_the_mean_of_its_positive_part():
    got = expected_best(3, lambda u: float(-ndtri(u)), positive=0.5)
    due, _ = quad(lambda x: 1 - norm.cdf(x) ** 3, 0, 12)
    assert got == pytest.approx(due, abs=1e-9)


@pytest.mark.parametrize("n", [0, -1, MOST + 1])
def test_a_number_out_of_range_is_refused(n):
    for refused in (
        lambda: rank_among(n, 1),
        lambda: expected_maximum(n),
        lambda: within(n, 1),
        lambda: separation_for(n, 0.5),
    ):
        with pytest.raises(ValueError, match="n is"):
            refused()


@pytest.mark.parametrize(
    ("refused", "match"),
    [
        (lambda: rank_among(5, float("nan")), "separation"),
        (lambda: rank_among(5, -1.0), "separation"),
        (lambda: within(5, 1.0, 0), "best is 0 of 5"),
        (lambda: within(5, 1.0, 6), "best is 6 of 5"),
        (lambda: separation_for(5, 0.1), "between 1/n and 1"),
        (lambda: separation_for(1, 1.0), "2 or more"),
        (lambda: expected_best(-1, log), "k is -1"),
        (lambda: expected_best(3, log, shown=1.5), "shown is"),
        (lambda: expected_best(3, log, shown_top=float("nan")), "shown_top is"),
        (lambda: expected_best(3, log, positive=0.0), "positive"),
    ],
)
def test_nonsense_is_refused_by_name(refused, match):
    with pytest.raises(ValueError, match=match):
        refused()
