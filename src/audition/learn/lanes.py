"""Rows in lanes of steps, for a probe: which come after, and what else they could hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.learn.leak import ProbeError

Arrays = Mapping[str, NDArray[Any]]
"""Rows by name, as trainers are handed them: `context.room`, `span.lever`, `approval` …"""

Places = Mapping[str, NDArray[np.bool_]]
"""Which rows are meant, for each array."""

AFTER = ("reward", "note", "last")
"""Arrays (or parts of names, before the dot) that say what came of a row's own step."""


@dataclass(frozen=True)
class Lanes:
    """R rows and the place of each."""

    arrays: dict[str, NDArray[Any]]
    """What the rows hold; first axis R."""
    steps: int
    """Rows of a whole lane."""
    lane_R: NDArray[np.int64]
    """The lane of each row."""
    step_R: NDArray[np.int64]
    """Its step in the lane, from 0."""

    @classmethod
    def of(cls, arrays: Arrays, steps: int) -> Lanes:
        """Rows lane after lane, or where `moment` says: lane · steps + step.

        Raises:
            ProbeError: arrays of different lengths, no lanes of that many steps, or a single row.
        """
        held = {name: np.array(array) for name, array in arrays.items()}
        counts = {len(array) if array.ndim else 0 for array in held.values()}
        if len(counts) != 1 or 0 in counts:
            raise ProbeError(
                f"every array needs the same number of rows, at least one: {sorted(counts)}"
            )
        count = counts.pop()
        place_R = held.get("moment", np.arange(count))
        if steps < 1 or place_R.dtype.kind not in "iu" or ("moment" not in held and count % steps):
            raise ProbeError(f"{count} rows are no lanes of {steps} steps")
        if count < 2:
            raise ProbeError("a single row: there is nothing after it and nothing beside it")
        place_R = place_R.astype(np.int64)
        return cls(held, steps, place_R // steps, place_R % steps)

    def __len__(self) -> int:
        return len(self.lane_R)

    @property
    def names(self) -> list[str]:
        """The arrays that could hold something else; a row's place is not among them."""
        return [name for name in self.arrays if name != "moment"]

    def after(self, name: str, step: int) -> NDArray[np.bool_]:
        """Where an array tells of something that came after the proposal of this step."""
        return self.step_R >= step if came_of_it(name) else self.step_R > step

    def permuted(self, there: Places, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """The arrays with their rows there in another order, the same for all."""
        turn = 1 + int(rng.integers(max(1, len(self) - 1)))
        found: dict[str, NDArray[Any]] = {}
        for name, where_R in there.items():
            rows = np.flatnonzero(where_R)
            found[name] = self.arrays[name].copy()
            found[name][rows] = found[name][np.roll(rows, turn % max(1, len(rows)) or 1)]
        return found

    def made_up(self, there: Places, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """The arrays with other rows there, such as there could be.

        What numbers stand for is kept together: each row takes those of some other row. Then
        floating-point numbers are moved, approvals and weights drawn anew and rankings shuffled.
        """
        donor_R = rng.integers(0, len(self), len(self))
        found: dict[str, NDArray[Any]] = {}
        for name, where_R in there.items():
            array = self.arrays[name].copy()
            part = array[donor_R[where_R]]
            if name == "ranking":
                part = rng.permuted(part, axis=1)
            elif name == "approval":
                part = rng.random(part.shape)
            elif name == "weight":
                part = 1 / rng.uniform(0.1, 1, part.shape)
            elif array.dtype.kind == "f":
                part = part + rng.normal(size=part.shape)
            array[where_R] = part
            found[name] = array
        return found


def came_of_it(name: str) -> bool:
    """Whether an array tells of what came of each row's own step, so that no lesson has it."""
    return name.split(".")[0] in AFTER
