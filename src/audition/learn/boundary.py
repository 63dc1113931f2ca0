"""The boundary: where credit and gradient stop.

Two things carry influence from one step to another when a thinker learns, and the boundary is one
rule for each. *Credit*: the signal of a later step may be summed into an earlier step's (returns,
advantages, bootstraps). *State*: what a thinker carries from step to step (a recurrent state, a
cache) lets a later step's gradient flow back through the earlier one. Closed, the boundary gives
each step its own signal, unchanged to the bit, and makes a constant of what is carried in. (What a
transformer carries in, `audition.learn.step_grpo` reads without a gradient to begin with.)

The sum over lessons is divided by the number of moments that the lottery drew from, which is fixed
before any verdict; nothing is normalised across lessons, so that one lesson's contribution to the
gradient at fixed parameters is the same whatever came after its step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boundary:
    """Where credit and gradient stop.

    Args:
        horizon: steps that one signal's credit reaches back, the judged one counted: 1 is process
            supervision, None no boundary at all (the baseline to compare against).

    Raises:
        ValueError: a horizon below 1.
    """

    horizon: int | None = 1

    def __post_init__(self) -> None:
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"a horizon of {self.horizon} steps credits nothing; 1 is the least")

    @property
    def closed(self) -> bool:
        """Whether each step learns from its own signal alone."""
        return self.horizon == 1

    def credit(self, signal_NT: NDArray[Any], last_NT: NDArray[np.bool_]) -> NDArray[Any]:
        """What each step is credited with: its own signal and those within the horizon after it.

        Args:
            signal_NT: approvals (or rewards, for the baseline) of N environments over T steps.
            last_NT: whether an episode ends with that step; nothing is credited across its end.

        Returns:
            An array like the signal. With the boundary closed it is the signal itself.
        """
        if self.closed:
            return signal_NT
        steps = signal_NT.shape[1]
        credit_NT, same_NT = signal_NT.copy(), ~last_NT
        for ahead in range(1, min(self.horizon or steps, steps)):
            within_NT = same_NT[:, : steps - ahead]  # no end between a step and the one ahead
            own_NT = credit_NT[:, : steps - ahead]
            np.add(own_NT, signal_NT[:, ahead:], out=own_NT, where=within_NT)  # -0 stays -0
            same_NT = within_NT & ~last_NT[:, ahead:]
        return credit_NT

    def cut(self, carried: Any) -> Any:
        """What a thinker carries over from before the step, made a constant.

        Args:
            carried: a tensor, or mappings and sequences of tensors; numbers, arrays and texts have
                no gradients and are given back as they are. With the boundary open, so is
                everything.

        Raises:
            TypeError: an object that may hold tensors out of reach.
        """
        if not self.closed:
            return carried
        if isinstance(carried, Mapping):
            return {key: self.cut(value) for key, value in carried.items()}
        if isinstance(carried, tuple | list):
            make = getattr(carried, "_make", type(carried))  # a named tuple is made otherwise
            return make(self.cut(value) for value in carried)
        if hasattr(carried, "detach"):
            return carried.detach()
        if carried is None or isinstance(
            carried, int | float | str | bytes | np.ndarray | np.generic
        ):
            return carried
        raise TypeError(f"cannot cut a {type(carried).__name__}: hand its tensors over")

    def total(self, losses_L: Any, weight_L: Any, population: float) -> Any:
        """The loss of an update: Σ weight · loss / population.

        Args:
            losses_L: each lesson's own loss.
            weight_L: each lesson's inverse probability of having been drawn.
            population: moments that the lottery drew from; of a minibatch, its share of them.

        Raises:
            ValueError: no moments to divide by.
        """
        if not population > 0:
            raise ValueError("no moments, so no loss")
        return (losses_L * weight_L).sum() / population
