"""Low-rank adapters on a model: as training puts them there, and as a checkpoint holds them.

A checkpoint's own description could name another model, other files or code. It is believed where
it describes plain adapters, and the model that they are put on is the caller's.

Source: Hu et al. 2021 (arXiv 2106.09685).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from audition.model.chat import ModelError
from audition.model.deployed import ADAPTER
from audition.plain import shown
from audition.step import Frozen

FREE = ("base_model_name_or_path", "inference_mode", "peft_version", "r", "target_modules")
"""Fields of a description that may say anything, or are read below; `lora_alpha` is too."""

LONGEST = 1 << 20
"""Bytes of a description."""


class Adapters(Frozen):
    """What of a description is read."""

    r: int = Field(ge=1, le=4096)
    """Rank of each."""
    lora_alpha: int = Field(ge=1, le=1_000_000)
    """Their sum is scaled by alpha / rank."""
    target_modules: tuple[str, ...] = Field(min_length=1, max_length=1000)
    """Names of the layers that have one."""


def adapted(model: Any, rank: int, alpha: int, targets: Sequence[str]) -> Any:
    """Put new adapters on a model, which is changed in place; the same ones every time.

    Raises:
        ModelError: it has no such layers.
    """
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's own calls
        torch.manual_seed(0)
        try:
            return get_peft_model(model, _config(rank, alpha, targets))
        except ValueError as error:
            raise ModelError(f"lora: {shown(str(error), 200)}") from None


def put_on(model: Any, folder: Path) -> None:
    """Put the adapters of a checkpoint on the model that they were trained on, in place.

    Raises:
        ModelError: it holds no plain adapters, or those of another model.
    """
    said = _described(folder)
    whole = adapted(model, said.r, said.lora_alpha, said.target_modules)
    from peft import set_peft_model_state_dict

    try:
        held = load_file(folder / "adapter_model.safetensors")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = set_peft_model_state_dict(whole, held)
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"{folder}: no adapters of this model: {shown(str(error), 200)}") from None
    absent = [name for name in told.missing_keys if "lora_" in name]
    if differs := [*told.unexpected_keys, *absent]:
        raise ModelError(f"{folder}: no adapters of this model: they differ in {min(differs)}")
    whole.eval().requires_grad_(False)


def _described(folder: Path) -> Adapters:
    """What a checkpoint says of its adapters, which must be as plain as training writes them."""
    try:
        with (folder / ADAPTER).open("rb") as file:
            given: Any = orjson.loads(file.read(LONGEST))
        said = Adapters.model_validate({name: given[name] for name in Adapters.model_fields})
    except OSError as error:
        raise ModelError(f"{folder}: {(error.strerror or 'cannot be read').lower()}") from None
    except (ValidationError, ValueError, KeyError, TypeError):
        raise ModelError(f"{folder}: {ADAPTER} describes no adapters that can be read") from None
    plain = _config(said.r, said.lora_alpha, said.target_modules).to_dict()
    read = {*FREE, "lora_alpha"}
    for name in sorted(given.keys() - read):
        if given[name] != plain.get(name):
            raise ModelError(
                f"{folder}: {ADAPTER}: {shown(name, 100)} is {shown(str(given[name]), 100)}; "
                "adapters are as `audition train` writes them, or not used"
            )
    return said


def _config(rank: int, alpha: int, targets: Sequence[str]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
