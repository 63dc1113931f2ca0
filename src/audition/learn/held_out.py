"""What is held out: whole runs, drawn by their names; and what a trained auditor comes to there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from audition.learn.lessons import LessonError
from audition.measure import Platt, auroc, brier, calibration_error, resampled
from audition.step import RunId


@dataclass(frozen=True)
class Told:
    """What a model says of N steps, or pairs of steps, and what was said."""

    logit_N: NDArray[np.float64]
    """The model's log-odds."""
    target_N: NDArray[np.float64]
    """What was said, in [0, 1]."""
    weight_N: NDArray[np.float64]
    """How much each counts."""
    run_N: NDArray[Any]
    """The run of each."""


def divided(
    runs: set[RunId], share: float, seed: int
) -> tuple[frozenset[RunId], frozenset[RunId], frozenset[RunId]]:
    """The runs that measure, those that calibrate, and those that train.

    They are put in the order of SHA-256(seed, run): nothing about a run decides where it falls.

    Raises:
        LessonError: fewer than three.
    """
    if len(runs) < 3:
        raise LessonError(
            f"verdicts of {len(runs)} runs that can be read whole; it takes three, to train, to "
            "calibrate and to measure"
        )
    drawn = sorted(runs, key=lambda run: hashlib.sha256(f"{seed}/{run}".encode()).digest())
    count = max(1, int(share * len(drawn)))
    return (
        frozenset(drawn[:count]),
        frozenset(drawn[count : 2 * count]),
        frozenset(drawn[2 * count :]),
    )


def figures(held: Told, scaling: Platt, mean: float) -> dict[str, float]:
    """What calibrated probabilities came to, each figure with its interval over runs drawn anew.

    Args:
        held: what neither the weights nor the calibration have seen.
        scaling: the calibration.
        mean: the mean target elsewhere, to compare with: what would be said without looking.

    Returns:
        `brier` after calibration, `brier_uncalibrated` before, `brier_of_the_mean` for whoever says
        `mean` each time, `calibration_error`, and `auc` (a target below a half is bad; missing if
        none or all are); `…_low` and `…_high` with two runs or more.
    """
    p_N, target_N, weight_N = scaling(held.logit_N), held.target_N, held.weight_N
    raw_N = expit(held.logit_N)

    def area(some: NDArray[Any]) -> float | None:
        return auroc(-p_N[some], target_N[some] < 0.5)

    statistics: dict[str, Callable[[NDArray[Any]], float | None]] = {
        "brier": lambda some: brier(p_N[some], target_N[some], weight_N[some]),
        "brier_uncalibrated": lambda some: brier(raw_N[some], target_N[some], weight_N[some]),
        "brier_of_the_mean": lambda some: brier(
            np.full(len(some), mean), target_N[some], weight_N[some]
        ),
        "calibration_error": lambda some: calibration_error(
            p_N[some], target_N[some], weight_N[some]
        ),
        "auc": area,
    }
    return dict(_with_intervals(statistics, held.run_N))


def _with_intervals(
    statistics: Mapping[str, Callable[[NDArray[Any]], float | None]], run_N: NDArray[Any]
) -> Iterator[tuple[str, float]]:
    for name, statistic in statistics.items():
        value = statistic(np.arange(len(run_N)))
        if value is None:
            continue
        yield name, value
        interval = resampled(statistic, run_N)
        if interval is not None:
            yield f"{name}_low", interval.low
            yield f"{name}_high", interval.high
