"""Pure statistics: arrays and numbers in, numbers out; numpy and scipy load when used."""

from audition.measure.agreement import errors_apart, shared_bar
from audition.measure.apart import Apart, told_apart
from audition.measure.calibration import Platt, brier, calibration_error, platt, resampled
from audition.measure.detection import (
    Detection,
    FirstMistakes,
    auroc,
    auroc_bounds,
    detection,
    first_mistakes,
)
from audition.measure.information import best_utility, value_of_information
from audition.measure.interval import LEVEL, Interval, Proportion, clopper_pearson, proportion
from audition.measure.mean import bounded_mean
from audition.measure.order import (
    Rank,
    expected_best,
    expected_maximum,
    rank_among,
    separation_for,
    within,
)
from audition.measure.unseen import UnseenBad, unseen_bad

__all__ = [
    "LEVEL",
    "Apart",
    "Detection",
    "FirstMistakes",
    "Interval",
    "Platt",
    "Proportion",
    "Rank",
    "UnseenBad",
    "auroc",
    "auroc_bounds",
    "best_utility",
    "bounded_mean",
    "brier",
    "calibration_error",
    "clopper_pearson",
    "detection",
    "errors_apart",
    "expected_best",
    "expected_maximum",
    "first_mistakes",
    "platt",
    "proportion",
    "rank_among",
    "resampled",
    "separation_for",
    "shared_bar",
    "told_apart",
    "unseen_bad",
    "value_of_information",
    "within",
]
