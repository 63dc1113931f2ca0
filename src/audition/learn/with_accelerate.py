"""A learner whose moments are divided among processes, as `accelerate launch` begins them.

Each process holds the whole model. The first one runs the training: it alone opens the ledger, has
runs carried and writes checkpoints. At each update it tells the others the moments; each computes
the gradient of its part, the gradients are summed, and all take the same step of the optimiser.
What one process refuses, all refuse.

The sum is that of one process up to the order of additions: two processes come to weights that are
equal to each other to the bit, and to those of one process to float precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from audition.learn.language import LanguageLearner, Learning
from audition.learn.lessons import LessonError
from audition.learn.step_grpo import Group, Step, accumulate
from audition.model.local import Loaded
from audition.step import Digest

if TYPE_CHECKING:
    from accelerate import Accelerator

_T = TypeVar("_T")

PATIENCE = timedelta(days=365)
"""How long the others wait for the first one's word: runs take the time that they take."""


def launched() -> bool:
    """Whether `accelerate launch`, or torchrun, began this process as one of several."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def joined(*, cpu: bool = False) -> Accelerator:
    """This process, as one of those that were launched together.

    Args:
        cpu: leave accelerators alone.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs

    return Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])


class DividedLearner(LanguageLearner):
    """A model that several processes hold and update together.

    Args:
        given: the model as it was loaded; it is changed in place.
        learning: how it learns.
        folder: of the weights that it was loaded from.
        accelerator: this process among the others.

    Raises:
        LessonError: as for `LanguageLearner`, or the processes hold different weights.
    """

    def __init__(
        self, given: Loaded, learning: Learning, folder: Path, accelerator: Accelerator
    ) -> None:
        self._accelerator = accelerator
        super().__init__(given, learning, folder)
        if len(names := set(self._of_all(self.given.digest))) > 1:
            raise LessonError(f"{self.name}: the processes hold {len(names)} different weights")

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Whether this process runs the training; if not, it has followed the first to its end."""
        if not self._accelerator.is_main_process:
            self._follow()
            yield False
            return
        try:
            yield True
        finally:
            self._tell("end")

    def update(self, groups: Sequence[Group], moments: float) -> dict[str, float]:
        """Learn from the moments of one update; see `LanguageLearner.update`."""
        self._tell("update", list(groups), moments)
        return super().update(groups, moments)

    def restore(self, folder: Path, digest: Digest) -> None:
        """Go on from a checkpoint, which every process must be able to read.

        Raises:
            LessonError: as for `LanguageLearner.restore`, in any of the processes.
        """
        self._tell("restore", folder.resolve(), digest)
        self._by_all(lambda: super(DividedLearner, self).restore(folder, digest))

    def _accumulate(self, groups: Sequence[Group], moments: float, produced: bool) -> Step:
        mine = groups[self._accelerator.process_index :: self._accelerator.num_processes]
        step = self._by_all(lambda: self._part(groups, mine, moments, produced))
        for one in self._learned:
            given = torch.zeros_like(one) if one.grad is None else one.grad
            one.grad = self._accelerator.reduce(given.float(), "sum").to(given)  # type: ignore[union-attr]
        return _summed(self._of_all(step))

    def _part(
        self, groups: Sequence[Group], mine: Sequence[Group], moments: float, produced: bool
    ) -> Step:
        """The gradient of this process's moments; divided by the tokens of all, if by any."""
        if not mine:
            return Step(0.0, 0, 0, 0.0, 0.0)
        objective = self.learning.objective
        if objective.normaliser == "bnpo":  # a part is one of several batches
            objective = objective.model_copy(update={"normaliser": "dapo"})
        return accumulate(
            self.given.model,
            mine,
            objective,
            moments=moments,
            tokens=sum(len(one) for group in groups for one in group.mine(group.candidates)),
            produced=produced,
        )

    def _follow(self) -> None:
        """Do what the first process says until it ends; what goes wrong, it tells."""
        while (said := self._heard(None))[0] != "end":
            try:
                if said[0] == "update":
                    super().update(*said[1:])
                else:
                    self._by_all(lambda given=said[1:]: super(DividedLearner, self).restore(*given))
            except LessonError:
                continue

    def _by_all(self, work: Callable[[], _T]) -> _T:
        """Do this process's part.

        Raises:
            LessonError: on all of them, if on one.
        """
        done, wrong = None, ""
        try:
            done = work()
        except LessonError as error:
            wrong = str(error)
        for one in self._of_all(wrong):
            if one:
                raise LessonError(one)
        return done  # type: ignore[return-value]

    def _tell(self, what: Literal["update", "restore", "end"], *given: Any) -> None:
        if self._accelerator.is_main_process:
            self._heard((what, *given))

    def _heard(self, said: Any) -> Any:
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([said])[0]

    def _of_all(self, value: Any) -> list[Any]:
        from accelerate.utils import gather_object

        return gather_object([value])


def _summed(steps: Sequence[Step]) -> Step:
    moments = sum(one.moments for one in steps)
    part = max(1, moments)
    return replace(
        steps[0],
        loss=sum(one.loss for one in steps),
        moments=moments,
        even=sum(one.even for one in steps),
        clipped=sum(one.clipped * one.moments for one in steps) / part,
        kl=sum(one.kl * one.moments for one in steps) / part,
    )
