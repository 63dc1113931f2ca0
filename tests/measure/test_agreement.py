"""A simulation agrees with an exact value, or is told how far it lies from it."""

from math import inf

import numpy as np
import pytest
from scipy.stats import norm

from audition.measure.agreement import errors_apart, shared_bar


def test_a_mean_lies_as_many_errors_away_as_it_says():
    sample = np.array([1.0, 2.0, 3.0, 4.0])
    error = np.std(sample, ddof=1) / 2
    assert errors_apart(sample, 2.5 - 3 * error) == pytest.approx(3)
    assert errors_apart(sample, 2.5 + 3 * error) == pytest.approx(-3)


def test_a_true_value_is_rarely_three_errors_away_and_a_false_one_is():
    rng = np.random.default_rng(0)
    apart = [errors_apart(rng.normal(1, 2, 400), 1.0) for _ in range(2000)]
    assert np.mean(np.abs(apart) > 3) == pytest.approx(2 * norm.sf(3), abs=0.004)
    assert abs(errors_apart(rng.normal(1, 2, 4000), 1.5)) > 3


def test_a_constant_agrees_only_with_itself():
    assert errors_apart([0.25] * 5, 0.25) == 0
    assert errors_apart([0.25] * 5, 0.5) == -inf


def test_the_bar_is_three_for_one_and_is_shared_among_many():
    assert shared_bar(1) == pytest.approx(3)
    assert 40 * norm.sf(shared_bar(40)) == pytest.approx(norm.sf(3))


@pytest.mark.parametrize("sample", [[], [1.0], [1.0, float("nan")], [[1.0, 2.0]]])
def test_a_sample_without_spread_to_estimate_is_refused(sample):
    with pytest.raises(ValueError, match="sample has shape"):
        errors_apart(sample, 0.0)


def test_no_comparison_has_no_bar():
    with pytest.raises(ValueError, match="0 comparisons"):
        shared_bar(0)
