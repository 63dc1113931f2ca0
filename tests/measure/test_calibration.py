"""Calibration: over-confident numbers become probabilities, and figures have honest intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from audition.measure import brier, calibration_error, platt, resampled


def drawn(seed: int, count: int = 2000) -> tuple[Any, Any, Any]:
    """True log-odds, events drawn by them, and equal weights."""
    rng = np.random.default_rng(seed)
    p_N = rng.uniform(0.02, 0.98, count)
    return logit(p_N), (rng.random(count) < p_N).astype(float), np.ones(count)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), slope=st.floats(0.1, 10), offset=st.floats(-3, 3))
def test_whatever_scale_the_numbers_had_platt_finds_the_probabilities(
    seed: int, slope: float, offset: float
) -> None:
    z_N, event_N, weight_N = drawn(seed)
    found = platt((z_N - offset) / slope, event_N, weight_N)
    assert np.abs(found((z_N - offset) / slope) - expit(z_N)).max() < 0.1


def test_an_over_confident_model_s_brier_score_falls_on_what_it_was_not_fitted_to() -> None:
    z_N, event_N, weight_N = drawn(0)
    sure_N, half = 5 * z_N + 1, slice(0, 1000)
    scaling = platt(sure_N[half], event_N[half], weight_N[half])
    rest = event_N[1000:], weight_N[1000:]
    before, after = expit(sure_N)[1000:], scaling(sure_N)[1000:]
    assert brier(after, *rest) < brier(before, *rest) - 0.02
    assert calibration_error(after, *rest) < calibration_error(before, *rest) / 2


def test_calibration_turns_no_order_round() -> None:
    z_N, event_N, weight_N = drawn(1)
    assert platt(-z_N, event_N, weight_N).slope == 0


def test_separated_targets_keep_the_slope_finite_as_platt_s_do() -> None:
    """Of three and three, what is certain counts as 4/5 and 1/5."""
    found = platt([-1, -1, -1, 1, 1, 1], [0, 0, 0, 1, 1, 1], np.ones(6))
    assert found([1, -1]) == pytest.approx([0.8, 0.2], abs=1e-6)


def test_without_an_offset_both_orders_of_a_pair_are_calibrated_alike() -> None:
    z_N, event_N, weight_N = drawn(2, 300)
    one = platt(z_N, event_N, weight_N, offset=False)
    other = platt(-z_N, 1 - event_N, weight_N, offset=False)
    assert one.offset == 0 and one.slope == pytest.approx(other.slope, rel=1e-4)


def test_a_weight_counts_as_so_many_of_the_same() -> None:
    p, target = [0.2, 0.7, 0.9], [0.0, 1.0, 0.5]
    again = [0.2, 0.7, 0.7, 0.7, 0.9], [0.0, 1.0, 1.0, 1.0, 0.5]
    for figure in (brier, calibration_error):
        assert figure(p, target, [1, 3, 1]) == pytest.approx(figure(*again, np.ones(5)))


def test_figures_by_hand() -> None:
    assert brier([0.5, 1.0], [1.0, 1.0], [1, 1]) == 0.125
    assert calibration_error([0.05, 0.05, 0.95], [0.0, 1.0, 1.0], np.ones(3)) == pytest.approx(
        (abs(0.1 - 1) + abs(0.95 - 1)) / 3
    )


def test_steps_of_one_run_that_hang_together_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    run_N, mean_G = np.repeat(np.arange(30), 20), rng.normal(size=30)
    value_N = mean_G[run_N] + 0.1 * rng.normal(size=600)

    def mean(some: Any) -> float:
        return float(value_N[some].mean())

    whole, alone = resampled(mean, run_N), resampled(mean, np.arange(600))
    assert whole is not None and alone is not None
    assert whole.high - whole.low > 3 * (alone.high - alone.low)
    assert whole.low < mean(np.arange(600)) < whole.high
    assert whole == resampled(mean, run_N)
    assert resampled(mean, np.zeros(600)) is None


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        (([], [], []), "values"),
        (([0.1], [1.5], [1]), "target lies in"),
        (([0.1], [0.5], [0]), "weight is finite"),
        (([float("nan")], [0.5], [1]), "not finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(given_: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        platt(*given_)
