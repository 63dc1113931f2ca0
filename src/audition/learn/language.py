"""A language model that learns by groups: its weights, its optimiser, and their checkpoints.

A checkpoint is a folder that any Hugging Face program can load, and the optimiser's state beside
it; from one, training goes on to the same weights to the bit (on one machine, with as many
threads). A folder is complete or not there: it is written under another name and renamed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from audition.learn.lessons import LessonError
from audition.learn.step_grpo import Group, Objective, Step, accumulate
from audition.learn.weights import weights_of
from audition.model import ModelError
from audition.model.adapter import adapted
from audition.model.local import Loaded
from audition.plain import shown
from audition.step import Digest, Frozen

OPTIMISER = "training"
"""Folder of a checkpoint that holds the optimiser's state."""


class Lora(Frozen):
    """Low-rank adapters in place of all weights.

    Source: Hu et al. 2021 (arXiv 2106.09685).
    """

    rank: int = Field(default=8, ge=1, le=4096)
    """Rank of each."""
    alpha: int = Field(default=16, ge=1, le=1_000_000)
    """Their sum is scaled by alpha / rank."""
    targets: tuple[str, ...] = Field(default=("q_proj", "v_proj"), min_length=1)
    """Names of the layers that get one."""


class Learning(Frozen):
    """How weights are updated from groups; AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101)."""

    objective: Objective = Objective()
    """What is minimised."""
    rate: float = Field(default=1e-5, gt=0, le=10)
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the moments of the gradient."""
    decay: float = Field(default=0.0, ge=0, le=1)
    """Of weights."""
    norm: float = Field(default=1.0, gt=0, le=1e9)
    """The most that the gradient's norm counts."""
    epochs: int = Field(default=1, ge=1, le=100)
    """Steps of the optimiser on the lessons of one update."""
    lora: Lora | None = None
    """Adapters that learn in place of the weights."""
    checkpointing: bool = False
    """Whether activations are computed again on the way back, to save memory."""


class LanguageLearner:
    """A model and its optimiser.

    Args:
        given: the model as it was loaded; it is changed in place.
        learning: how it learns.
        folder: of the weights that it was loaded from.

    Raises:
        LessonError: its folder holds no safetensors.
    """

    def __init__(self, given: Loaded, learning: Learning, folder: Path) -> None:
        self.learning = learning
        self.name = given.name
        self._whole: Any = given.model
        self._saving: dict[str, Any] = {}
        if learning.lora is None:
            given.model.requires_grad_(True)
        else:
            self._whole = _adapted(given.model, learning.lora)
            self._saving = {"save_embedding_layers": False}
        if learning.checkpointing:
            given.model.activation_checkpointing_enable()
        self.given = replace(given, digest=weights_of(folder))
        """The model as it thinks now, and the digest of its weights."""
        self._learned = [one for one in self._whole.parameters() if one.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._learned, learning.rate, betas=learning.betas, weight_decay=learning.decay
        )

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Whether this process runs the training: it does, being alone."""
        yield True

    def update(self, groups: Sequence[Group], moments: float) -> dict[str, float]:
        """Learn from the moments of one update.

        Args:
            groups: the moments.
            moments: from which the lottery drew them.

        Returns:
            Measures of the first epoch, to report: `loss`, `moments`, `even` (moments from which
            nothing is learned, all candidates being approved of alike), `clipped`, `kl`, `norm`
            (of the gradient).

        Raises:
            LessonError: tokens that the model did not sample, or a loss or gradient that is not
                finite; the weights are as they were.
        """
        measures: dict[str, float] = {}
        train = self.learning.checkpointing  # only a model in training computes again
        self._whole.train(train)
        try:
            for epoch in range(self.learning.epochs):
                self._optimiser.zero_grad()
                step = self._accumulate(groups, moments, not epoch)
                if not step.moments:
                    return {"loss": 0.0, "moments": 0.0, "even": float(step.even)}
                norm = torch.nn.utils.clip_grad_norm_(self._learned, self.learning.norm)
                if not torch.isfinite(norm):
                    raise LessonError(f"a gradient of norm {norm.item()}")
                self._optimiser.step()
                measures = measures or {
                    "loss": step.loss,
                    "moments": float(step.moments),
                    "even": float(step.even),
                    "clipped": step.clipped,
                    "kl": step.kl,
                    "norm": norm.item(),
                }
        finally:
            self._optimiser.zero_grad()
            self._whole.eval()
        return measures

    def _accumulate(self, groups: Sequence[Group], moments: float, produced: bool) -> Step:
        objective = self.learning.objective
        return accumulate(self.given.model, groups, objective, moments=moments, produced=produced)

    def save(self, folder: Path) -> Digest:
        """Write a checkpoint, and take its name for the weights as they are now."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
        try:
            self._whole.save_pretrained(part, **self._saving)
            self.given.tokenizer.save_pretrained(part)
            (part / OPTIMISER).mkdir()
            save_file(self._moments(), part / OPTIMISER / "optimiser.safetensors")
            for path in sorted(part.rglob("*")):
                _flush(path)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
            _flush(folder.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        self.given = replace(self.given, digest=weights_of(folder))
        return self.given.digest

    def restore(self, folder: Path, digest: Digest) -> None:
        """Go on from a checkpoint.

        Raises:
            LessonError: it is not there, not the one of this name, or of another model.
        """
        self.stand_at(folder, digest)
        with _of_this_model(folder):
            self._take(load_file(folder / OPTIMISER / "optimiser.safetensors"))

    def stand_at(self, folder: Path, digest: Digest) -> None:
        """Take the weights of a checkpoint and no more: enough to think, not to go on learning.

        Raises:
            LessonError: as for `restore`.
        """
        if (found := weights_of(folder)) != digest:
            raise LessonError(
                f"{folder}: its weights are {found[:12]}…, and the ledger names {digest[:12]}…; "
                "put back the checkpoint that was written"
            )
        with _of_this_model(folder):
            self._load(folder)
        self.given = replace(self.given, digest=digest)

    def _load(self, folder: Path) -> None:
        held: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            held |= load_file(path)
        if self.learning.lora is not None:
            from peft import set_peft_model_state_dict

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                told = set_peft_model_state_dict(self._whole, held)
            if told.unexpected_keys:
                raise KeyError(f"it has no {told.unexpected_keys[0]}")
            return
        missing, unexpected = self.given.model.load_state_dict(held, strict=False)
        self.given.model.tie_weights()
        tied = set(self.given.model.all_tied_weights_keys)
        if unexpected or set(missing) - tied:
            raise KeyError(f"it differs in {min([*unexpected, *(set(missing) - tied)])}")

    def _moments(self) -> dict[str, Tensor]:
        """The optimiser's state by the number of each parameter."""
        states = (self._optimiser.state[one] for one in self._learned)
        return {
            f"{number}.{name}": value.contiguous()
            for number, state in enumerate(states)
            for name, value in state.items()
        }

    def _take(self, held: dict[str, Tensor]) -> None:
        for number, parameter in enumerate(self._learned):
            names = ("exp_avg", "exp_avg_sq", "step")
            found = {name: held.get(f"{number}.{name}") for name in names}
            given = {name: one for name, one in found.items() if one is not None}
            if given and (len(given) < len(names) or given["exp_avg"].shape != parameter.shape):
                raise KeyError("its optimiser is another's")
            if given:
                self._optimiser.state[parameter] = given
            else:
                self._optimiser.state.pop(parameter, None)


@contextmanager
def _of_this_model(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise LessonError(
            f"{folder}: no checkpoint of this model: {shown(str(error), 200)}"
        ) from None


def _adapted(model: Any, lora: Lora) -> Any:
    try:
        return adapted(model, lora.rank, lora.alpha, lora.targets)
    except ModelError as error:
        raise LessonError(str(error)) from None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
