"""TRL's own trainers over rows of lessons, with nothing cut, shared or asked of a hub.

What TRL would do silently is refused or turned off: rows longer than the model has positions for
are an error (TRL cuts them at 1,024 tokens), gradients are not clipped to a norm of the batch, and
no column is read but those of the form. The arguments of a call, text in the rows, are handed to
the chat template as the object that they stand for, which is what servers do.

Source: https://huggingface.co/docs/trl, the trainers of supervised fine-tuning, direct preference
optimisation (Rafailov et al. 2023, arXiv 2305.18290) and reward modelling.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from audition.failing import told
from audition.learn.lessons import LessonError, NoLessons
from audition.learn.trl_rows import Form
from audition.plain import shown
from audition.step import MOST, Frozen, JsonObject

By = Literal["sft", "dpo", "reward"]
"""Which of TRL's trainers: `SFTTrainer`, `DPOTrainer` or `RewardTrainer`."""

FORMS: Mapping[By, Form] = {"sft": "prompt-completion", "dpo": "preference", "reward": "preference"}
"""The rows that each reads."""

_MESSAGES: Mapping[Form, tuple[str, ...]] = {
    "prompt-completion": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
}


class Settings(Frozen):
    """How rows are fitted; part of what is declared before anything is learned."""

    by: By
    """The trainer."""
    steps: int = Field(ge=1, le=10_000_000)
    """Optimiser steps."""
    batch: int = Field(default=1, ge=1, le=65_536)
    """Rows of one step. Above 1, `sft` divides each row's loss by the tokens of all."""
    rate: float = Field(default=1e-5, gt=0, le=10, allow_inf_nan=False)
    """Learning rate of AdamW, constant."""
    beta: float = Field(default=0.1, gt=0, le=MOST, allow_inf_nan=False)
    """How hard `dpo` holds to the base model."""
    bf16: bool = False
    """Whether to compute in bfloat16."""
    checkpointing: bool = False
    """Whether activations are computed anew on the way back: less memory, more time."""


def trainer(
    rows: Sequence[JsonObject],
    model: Path,
    settings: Settings,
    seed: int,
    scratch: Path,
    progress: Callable[[int, int, float], None],
) -> Any:
    """A trainer that is ready to train.

    Args:
        rows: of the form that it reads.
        model: folder of a causal language model with its tokenizer.
        settings: how.
        seed: of the order of rows, dropout and new weights.
        scratch: an empty folder.
        progress: told the steps made, of how many, and the loss.

    Raises:
        NoLessons: there are no rows.
        LessonError: the folder is no model's, its tokenizer is another's or has no chat template,
            or a row is longer than the model can read.
    """
    import torch
    from datasets import Dataset, Features, Json, List, Value
    from jinja2 import TemplateError
    from transformers import AutoTokenizer, PrinterCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    if not rows:
        raise NoLessons(f"no rows of the form {FORMS[settings.by]}; nothing can be fitted")
    messages = _MESSAGES[FORMS[settings.by]]
    given = {name: [with_objects(row[name]) for row in rows] for name in messages}
    features = Features({name: List(Json()) for name in messages} | {"tools": Value("string")})
    given["tools"] = [row["tools"] for row in rows]
    kinds: dict[By, tuple[Any, Any]] = {
        "sft": (SFTTrainer, SFTConfig),
        "dpo": (DPOTrainer, DPOConfig),
        "reward": (RewardTrainer, RewardConfig),
    }
    made, configured = kinds[settings.by]
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise LessonError(f"{model}: no tokenizer: {_line(error)}") from None
    _check_template(tokenizer, given["prompt"][0], given[messages[-1]][0], model)
    config = configured(
        output_dir=str(scratch),
        seed=seed,
        data_seed=seed,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.rate,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        max_length=None,
        bf16=settings.bf16,
        gradient_checkpointing=settings.checkpointing,
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        model_init_kwargs={"local_files_only": True},
        **({"beta": settings.beta} if settings.by == "dpo" else {}),
    )
    try:
        ready = made(
            model=str(model),
            args=config,
            train_dataset=Dataset.from_dict(given, features=features),
            processing_class=tokenizer,
            callbacks=[_passed_on(progress)],
        )
    except (OSError, ValueError, KeyError, TypeError, TemplateError) as error:
        raise LessonError(f"{model}: {_line(error)}") from None
    ready.remove_callback(PrinterCallback)
    _check(ready, rows, settings.by, model)
    return ready


def with_objects(value: Any) -> Any:
    """Messages whose calls have their arguments as the object that was written, if it is one."""
    if not isinstance(value, list):
        return value
    return [
        {**one, "tool_calls": [_called(call) for call in one["tool_calls"]]}
        if one.get("tool_calls")
        else one
        for one in value
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """No bars of other libraries on the screen meanwhile, nor what they will rename some day."""
    import datasets
    from transformers.utils import logging

    bars = [
        (not datasets.are_progress_bars_disabled(), datasets.enable_progress_bars),
        (logging.is_progress_bar_enabled(), logging.enable_progress_bar),
    ]
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for was, show in bars:
            if was:
                show()


def _check_template(
    tokenizer: Any, prompt: list[JsonObject], answer: list[JsonObject], model: Path
) -> None:
    """Refuse a chat template that does not say what the steps are: those that know no tools."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise LessonError(f"{model}: its tokenizer has no chat template, and the rows are chats")
    silent = [{name: one[name] for name in one if name != "tool_calls"} for one in answer]
    try:
        said = [
            tokenizer.apply_chat_template([*prompt, *some], tokenize=False)
            for some in (answer, silent)
        ]
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise LessonError(f"{model}: its chat template: {_line(error)}") from None
    if said[0] == said[1]:
        raise LessonError(
            f"{model}: its chat template leaves out calls of tools, and each step is one; take a "
            "model that knows tools"
        )


def _check(ready: Any, rows: Sequence[JsonObject], by: By, model: Path) -> None:
    """Refuse what could not be learned from as it stands."""
    config = ready.model.config.get_text_config()
    room = getattr(config, "max_position_embeddings", None)
    words = ready.model.get_input_embeddings().num_embeddings
    if len(ready.train_dataset) != len(rows):
        raise LessonError(f"TRL took {len(ready.train_dataset)} of {len(rows)} rows")
    for number, row in enumerate(ready.train_dataset):
        where = f"row {number} ({_place(rows[number])})"
        for whole, own in _texts(row, by):
            if not own:
                raise LessonError(f"{where}: the chat template leaves nothing of the step")
            if room is not None and len(whole) > room:
                raise LessonError(
                    f"{where}: {len(whole)} tokens, and {model.name} has room for {room}; nothing "
                    "is cut: have the thinker told less of its history, or take another model"
                )
            if max(whole) >= words:
                raise LessonError(
                    f"{where}: token {max(whole)}, and {model.name} knows {words}; its tokenizer "
                    "is another model's"
                )


def _texts(row: Mapping[str, Any], by: By) -> Iterator[tuple[list[int], int]]:
    """The tokens of each text that a row holds, and how many of them are learned from."""
    match by:
        case "sft":
            yield row["input_ids"], sum(label != -100 for label in row["labels"])
        case "dpo":
            for name in ("chosen_ids", "rejected_ids"):
                yield row["prompt_ids"] + row[name], len(row[name])
        case "reward":
            for name in ("chosen_ids", "rejected_ids"):
                yield row[name], len(row[name])


def _place(row: JsonObject) -> str:
    place = row["ledger"]
    assert isinstance(place, dict)
    return f"run {str(place['run'])[:8]}, event {place['seq']}"


def _called(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return dict(call)
    if not isinstance(arguments, dict):
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}


def _passed_on(progress: Callable[[int, int, float], None]) -> Any:
    from transformers import TrainerCallback

    class Told(TrainerCallback):
        """Passes on what the trainer logs."""

        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            logs = more.get("logs") or {}
            if "loss" in logs:
                progress(state.global_step, state.max_steps, float(logs["loss"]))

    return Told()


def _line(error: Exception) -> str:
    return shown(told(error).splitlines()[0], 300)
