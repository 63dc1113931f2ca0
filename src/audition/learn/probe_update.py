"""A probe for what a trainer's `update` makes of its losses, from outside.

Two things are measured at the first gradient that an update comes to. *Later steps*: they are
hushed, that is weighted so little that their own contributions vanish in rounding, and then made up
anew; what is left is the earlier steps' gradient, and must not move. *Other lanes*: the gradient of
a batch in which two groups of lanes are both exchanged must be what each exchange alone adds up to,
and a million times as large where every weight is; whatever a batch shares (a norm that is clipped,
a mean that is subtracted, a sum of weights that divides) breaks the one or the other.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.learn.lanes import Arrays, Lanes
from audition.learn.leak import Leak, ProbeError, Report
from audition.learn.lessons import Lessons
from audition.learn.plan import Learner

HUSHED = 1e-30
"""A weight that leaves a lesson's contribution far below rounding, yet is no zero."""

LOUD = 1e6
"""A weight under which any limit on the size of a batch's gradient is reached."""


def probe_update(
    trainer: Learner,
    lessons: Lessons,
    steps: int,
    *,
    gradient: Callable[[Lessons], NDArray[Any]] | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Report:
    """Measure whether an update keeps lessons apart.

    Args:
        trainer: whose update it is; a copy of it is used, and only up to its first gradient.
        lessons: of a batch of lanes, `moment_L` being lane · steps + step.
        steps: rows of one lane.
        gradient: the update's gradient, of lessons; None: what torch's optimiser holds when it is
            first told to step.
        tolerance: for what rounding does to sums over lanes, relative to the largest gradient.
        seed: of what is made up, and of the minibatches.

    Raises:
        ProbeError: no torch optimiser is told to step, or a gradient is not finite.
    """
    of = gradient if gradient is not None else _first_gradient(trainer, seed)
    lanes = Lanes.of(lessons.arrays(), steps)

    def given(arrays: Arrays) -> NDArray[Any]:
        found = of(_lessons(lessons, arrays))
        if not np.isfinite(found).all():
            raise ProbeError("a gradient is not finite: nothing can be compared")
        return found

    rng = np.random.default_rng(seed)
    found = [*_from_later(given, lanes, rng), *_from_other_lanes(given, lanes, tolerance, rng)]
    return Report.of(len(lanes), ("update",), found)


def _from_later(
    given: Callable[[Arrays], NDArray[Any]], lanes: Lanes, rng: np.random.Generator
) -> Iterator[Leak]:
    for step in range(lanes.steps - 1):
        later_R = lanes.step_R > step
        if not later_R.any() or later_R.all():
            continue
        weight_R = np.where(later_R, HUSHED, lanes.arrays["weight"])
        one = given({**lanes.arrays, "weight": weight_R})
        new = lanes.made_up(dict.fromkeys(lanes.names, later_R), rng)
        other = given({**lanes.arrays, **new, "weight": weight_R})
        size = _relative(one - other, one)
        if size > 1e-12:  # far above what hushed lessons leave, far below rounding
            row = int(np.flatnonzero(~later_R)[0])
            yield Leak("update", "after", "everything", int(lanes.lane_R[row]), step, size)


def _from_other_lanes(
    given: Callable[[Arrays], NDArray[Any]],
    lanes: Lanes,
    tolerance: float,
    rng: np.random.Generator,
) -> Iterator[Leak]:
    every = np.unique(lanes.lane_R)
    if len(every) < 2:
        return
    arrays = {**lanes.arrays, "weight": lanes.arrays["weight"] * LOUD}
    some_R = np.isin(lanes.lane_R, every[: len(every) // 2])
    names = [name for name in lanes.names if name != "weight"]
    some = lanes.made_up(dict.fromkeys(names, some_R), rng)
    others = lanes.made_up(dict.fromkeys(names, ~some_R), rng)
    both = {
        name: np.where(some_R.reshape(-1, *[1] * (some[name].ndim - 1)), some[name], others[name])
        for name in names
    }
    cases = (arrays, {**arrays, **some}, {**arrays, **others}, {**arrays, **both})
    neither, one, other, all_new = map(given, cases)
    plain = given(lanes.arrays) * LOUD
    if (size := _relative(plain - neither, plain, neither)) > tolerance:
        yield Leak("update", "beside", "weight", int(every[0]), lanes.steps - 1, size)
    size = _relative(all_new - one - other + neither, neither, one, other, all_new)
    if size > tolerance:
        yield Leak("update", "beside", "everything", int(every[0]), lanes.steps - 1, size)


def _relative(change: NDArray[Any], *whole: NDArray[Any]) -> float:
    largest = max(float(np.abs(each).max(initial=0)) for each in whole)
    return float(np.abs(change).max(initial=0)) / max(largest, 1e-300)


class _Reached(Exception):
    """Ends an update where its optimiser is first told to step."""


def _first_gradient(trainer: Learner, seed: int) -> Callable[[Lessons], NDArray[Any]]:
    def of(lessons: Lessons) -> NDArray[Any]:
        from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

        found: list[NDArray[Any]] = []

        def catch(optimiser: Optimizer, *_: Any) -> None:
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        found.append(np.zeros(parameter.numel()))
                    else:
                        found.append(parameter.grad.double().numpy().reshape(-1).copy())
            raise _Reached

        hook = register_optimizer_step_pre_hook(catch)
        try:
            copy.deepcopy(trainer).update(lessons, np.random.default_rng(seed))
        except _Reached:
            return np.concatenate(found)
        finally:
            hook.remove()
        raise ProbeError("the update told no torch optimiser to step: hand its gradient over")

    return of


def _lessons(lessons: Lessons, arrays: Arrays) -> Lessons:
    """The same lessons with these arrays."""
    parts: dict[str, dict[str, Any]] = {"context": {}, "span": {}, "candidates": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        if rest:
            parts[part][rest] = array
    return dataclasses.replace(
        lessons,
        context=parts["context"],
        span=parts["span"],
        candidates=parts["candidates"],
        weight_L=arrays["weight"],
        approval_L=arrays.get("approval"),
        ranking_LK=arrays.get("ranking"),
    )
