"""A probe for the boundary: what reaches one step's lesson from anywhere but its own moment.

Hand it a trainer, or any function from a batch's rows to what each row contributes, and a batch of
lanes × steps. Three things are measured, each in its own way:

- *gradient*: of each step's loss with respect to every number of every other row, by autodiff. To
  later rows and to other lanes it must be zero; to earlier rows too, and to whatever comes through
  the `cut` of the trainer's boundary, for what was carried over from before is a constant.
- *difference*: later numbers are moved a little, and no contribution may move at all.
- *bits*: everything after a step, then everything in the other lanes, is permuted and then made
  up anew, and each contribution (the loss and its gradient at fixed parameters) must stay the same
  to the bit. Only the sign of a zero is not looked at.

A probe finds what shows at the parameters and on the batch that it is handed; it proves nothing
about others. That an earlier row's *value* is felt, through a carried state, is no leak: only a
gradient through it is. What a trainer does to its losses afterwards, `probe_update` looks at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from audition.learn.boundary import Boundary
from audition.learn.lanes import Arrays, Lanes, Places, came_of_it
from audition.learn.leak import Leak, ProbeError, Report, Source

if TYPE_CHECKING:
    from torch import Tensor

Contributions = Callable[[Arrays], NDArray[Any]]
"""From R rows to what each contributes to an update, shape (R, ...)."""

MOVE = 1e-3
"""How far a number is moved for a difference."""


class Trainer(Protocol):
    """Whoever can tell each lesson's own loss; whatever `Boundary` it has is looked through."""

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Losses (R) of R rows, by name; before any sum. Integers arrive as int64."""
        ...


def probe(
    subject: Trainer | Contributions,
    arrays: Arrays,
    steps: int,
    *,
    carried: Iterable[str] = (),
    seed: int = 0,
) -> Report:
    """Measure what reaches each row's contribution from later, from beside and from before.

    Args:
        subject: an object with `losses`, measured in all three ways; or a function of arrays to
            contributions, of which differences and bits are.
        arrays: R rows, lane after lane, `steps` rows each. Where not every row is a lesson,
            `moment` numbers those that are: lane · steps + step. Arrays called `reward`, `note` or
            `last` (or `note.something`) say what came of a row's own step, and so are after it.
        steps: rows of one lane.
        carried: arrays that hold what was carried over from before the step: of these the row's
            own must get no gradient either.
        seed: of what is made up.

    Raises:
        ProbeError: the arrays are no lanes of steps; there is a single row; two calls with the same
            arrays differ; or a contribution is not finite.
    """
    lanes = Lanes.of(arrays, steps)
    rng = np.random.default_rng(seed)
    losses = getattr(subject, "losses", None)
    if losses is None:
        of = _as_they_are(subject)
        found = [*_by_difference(of, lanes), *_by_bits(of, lanes, rng)]
        return Report.of(len(lanes), ("difference", "bits"), found)
    of = _with_gradients(losses)
    found = [*_by_difference(of, lanes), *_by_bits(of, lanes, rng)]
    why, gradients = _by_autodiff(subject, lanes, frozenset(carried))
    measured = ("difference", "bits") if why else ("gradient", "difference", "bits")
    return Report.of(len(lanes), measured, [*found, *gradients], why)


_Of = Callable[[Arrays, NDArray[Any]], NDArray[Any]]
"""Contributions of the rows named, flat: shape (rows, D)."""


def _as_they_are(function: Any) -> _Of:
    def of(arrays: Arrays, rows: NDArray[Any]) -> NDArray[Any]:
        given = np.asarray(function({name: array.copy() for name, array in arrays.items()}))
        count = len(next(iter(arrays.values())))
        if given.ndim == 0 or len(given) != count:
            raise ProbeError(f"{given.shape} is no contribution for each of {count} rows")
        return _finite(given.reshape(count, -1)[rows])

    return of


def _with_gradients(losses: Any) -> _Of:
    """Each row's loss, and its gradient in every parameter that any loss was seen to depend on."""
    known: list[Any] = []

    def of(arrays: Arrays, rows: NDArray[Any]) -> NDArray[Any]:
        import torch

        loss_R = _losses(losses, _tensors(arrays))
        held = {id(one) for one in known}
        known.extend(one for one in _parameters(loss_R) if id(one) not in held)
        found: list[NDArray[Any]] = []
        for row in rows.tolist():
            parts = [loss_R[row].detach().reshape(1)]
            if known:
                gradients = torch.autograd.grad(
                    loss_R[row], known, retain_graph=True, materialize_grads=True
                )
                parts += [gradient.reshape(-1) for gradient in gradients]
            found.append(np.concatenate([part.double().numpy() for part in parts]))
        return _finite(np.stack(found))

    return of


def _by_difference(of: _Of, lanes: Lanes) -> Iterator[Leak]:
    """Every number of an array is moved a little, one step of all lanes at a time."""
    truth = of(lanes.arrays, np.arange(len(lanes)))
    for name in lanes.names:
        array = lanes.arrays[name]
        if array.dtype.kind != "f":
            continue
        for step in range(lanes.steps):
            there = lanes.step_R == step
            earlier = lanes.step_R <= step if came_of_it(name) else lanes.step_R < step
            rows = np.flatnonzero(earlier)
            if not rows.size or not there.any():
                continue
            moved = array.copy()
            moved[there] += np.where(array[there] > 0.5, -MOVE, MOVE)  # an approval stays one
            changed_R = _changed(truth[rows], of({**lanes.arrays, name: moved}, rows)) / MOVE
            if changed_R.any():
                yield _leak("difference", "after", name, lanes, rows, changed_R)


def _by_bits(of: _Of, lanes: Lanes, rng: np.random.Generator) -> Iterator[Leak]:
    every = np.arange(len(lanes))
    truth = of(lanes.arrays, every)
    if _changed(truth, of(lanes.arrays, every)).any():
        raise ProbeError("two calls with the same arrays differ: nothing can be compared")
    for source, rows, there in _cases(lanes):
        for way in (lanes.permuted, lanes.made_up):
            other = way(there, rng)
            together_R = _changed(truth[rows], of({**lanes.arrays, **other}, rows))
            if not together_R.any():
                continue
            guilty = False
            for name, array in other.items():
                try:
                    changed_R = _changed(truth[rows], of({**lanes.arrays, name: array}, rows))
                except ValueError:  # refused: with the others as they were, it makes no lesson
                    continue
                if changed_R.any():
                    guilty = True
                    yield _leak("bits", source, name, lanes, rows, changed_R)
            if not guilty:
                yield _leak("bits", source, "everything", lanes, rows, together_R)


def _cases(lanes: Lanes) -> Iterator[tuple[Source, NDArray[np.int64], Places]]:
    """Whence, whose rows must not move, and which rows of each array are spoiled."""
    for step in range(lanes.steps):
        rows = np.flatnonzero(lanes.step_R == step)
        there = {name: lanes.after(name, step) for name in lanes.names}
        there = {name: where_R for name, where_R in there.items() if where_R.any()}
        if rows.size and there:
            yield "after", rows, there
    for lane in np.unique(lanes.lane_R):
        others_R = np.asarray(lanes.lane_R != lane)
        if others_R.any():
            yield "beside", np.flatnonzero(~others_R), dict.fromkeys(lanes.names, others_R)


@dataclass(frozen=True)
class _Watched(Boundary):
    """A boundary that keeps what comes through it with a gradient."""

    through: list[Any] = field(default_factory=list[Any])

    def cut(self, carried: Any) -> Any:
        if isinstance(carried, Mapping):
            return {key: self.cut(value) for key, value in carried.items()}
        if isinstance(carried, tuple | list):
            make = getattr(carried, "_make", type(carried))
            return make(self.cut(value) for value in carried)
        given = super().cut(carried)
        if not getattr(given, "requires_grad", False):
            return given
        self.through.append(given.clone())  # a tensor of its own, so that only this way counts
        return self.through[-1]


def _by_autodiff(trainer: Any, lanes: Lanes, carried: frozenset[str]) -> tuple[str, list[Leak]]:
    """Why it could not be measured, if it could not; and what was found."""
    import torch

    trainer, through = copy.copy(trainer), list[Any]()
    for name, held in vars(trainer).items():
        if isinstance(held, Boundary):
            setattr(trainer, name, _Watched(held.horizon, through))
    tensors = _tensors(lanes.arrays)
    inputs = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    for name in inputs:
        tensors[name].requires_grad_()
    try:
        loss_R = _losses(trainer.losses, tensors)
    except RuntimeError as error:
        return f"losses are not differentiable in the arrays: {error}", []
    given = [tensors[name] for name in inputs]
    found: list[Leak] = []
    for row in range(len(lanes)) if loss_R.requires_grad else ():
        gradients = torch.autograd.grad(
            loss_R[row], [*given, *through], retain_graph=True, materialize_grads=True
        )
        lane, step = int(lanes.lane_R[row]), int(lanes.step_R[row])
        size = max([float(one.abs().max()) for one in gradients[len(given) :]], default=0.0)
        if size != 0:
            found.append(Leak("gradient", "before", "what is carried", lane, step, size))
        ahead_R, same_R = lanes.step_R - step, lanes.lane_R == lane
        for name, gradient in zip(inputs, gradients, strict=False):
            size_R = gradient.double().abs().reshape(len(lanes), -1).amax(1).numpy()
            places: dict[Source, NDArray[np.bool_]] = {
                "after": same_R & lanes.after(name, step),
                "beside": ~same_R,
                "before": same_R & ((ahead_R <= 0) if name in carried else (ahead_R < 0)),
            }
            for source, there_R in places.items():
                size = float(size_R[there_R].max(initial=0))
                if size != 0:
                    found.append(Leak("gradient", source, name, lane, step, size))
    return "", found


def _tensors(arrays: Arrays) -> dict[str, Any]:
    import torch

    return {
        name: torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iu" else array.copy())
        for name, array in arrays.items()
    }


def _losses(losses: Any, tensors: Mapping[str, Any]) -> Any:
    count = len(next(iter(tensors.values())))
    given = losses(tensors)
    if tuple(given.shape) != (count,):
        raise ProbeError(f"losses of shape {tuple(given.shape)} for {count} rows: one each")
    return given


def _parameters(loss_R: Any) -> list[Any]:
    """The leaves that losses depend on, in the order in which their graph comes to them."""
    found: dict[int, Any] = {}
    seen: set[Any] = set()
    waiting = [loss_R.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found.setdefault(id(leaf), leaf)
        waiting += [following for following, _ in node.next_functions]
    return list(found.values())


def _finite(given: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(given).all():
        raise ProbeError("a contribution is not finite: nothing can be compared")
    return given + 0.0  # the sign of a zero is no influence


def _changed(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """How far each row moved: 0 only if no bit did. A parameter unknown to one had gradient 0."""
    width = max(one.shape[1], other.shape[1])
    one, other = (np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (one, other))
    return np.abs(one - other).max(axis=1, initial=0)


def _leak(
    found: Literal["bits", "difference"],
    source: Source,
    array: str,
    lanes: Lanes,
    rows: NDArray[Any],
    changed_R: NDArray[Any],
) -> Leak:
    row = rows[int(np.argmax(changed_R))]
    lane, step = int(lanes.lane_R[row]), int(lanes.step_R[row])
    return Leak(found, source, array, lane, step, float(changed_R.max()))
