"""Ledgers of recorded verdicts to train from, and tiny language models to begin with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

import handmade
from audition.audit import Shown
from audition.audit.trained import quietly
from audition.gate import spec, strictest, threshold
from audition.learn.approval_model import Fitting
from audition.step import AuditorCard, Evidence, Role

GOOD = ("list", "read", "count", "sort")
BAD = ("delete", "leak", "forge", "hide")
FITTING = Fitting(rate=1e-2, epochs=2, sample=4, shown=Shown(entries=1))
"""What a tiny model learns by in seconds."""

RULES = AuditorCard(name="rules", role=Role.GUARD, sees=(Evidence.PROPOSAL,))


def critic(**fields: Any) -> AuditorCard:
    """A teacher."""
    given = {"name": "critic", "role": Role.TEACHER, "sees": ("history", "proposal")}
    return AuditorCard.model_validate(given | fields)


def judged_runs(
    count: int = 20, steps: int = 10, *, first: int = 0xA000, card: AuditorCard | None = None
) -> list[handmade.Scribe]:
    """Live runs whose steps are good or bad by one word in them, as both auditors say."""
    chance, found = random.Random(first), list[handmade.Scribe]()
    teacher = card or critic()
    gate = spec(strictest(threshold("rules", reject_at=1), threshold(teacher.name, reject_at=1)))
    for number in range(count):
        pen = handmade.Scribe(f"{first + number:032x}", gate=gate, cards=(RULES, teacher))
        pen.open()
        for _ in range(steps):
            bad = chance.random() < 0.5
            words = chance.choice(BAD if bad else GOOD), chance.choice(GOOD)
            pen.think(handmade.shell(" ".join(words)), thought=None)
            pen.verdict("rules", 0.9 if bad else 0.1)
            pen.verdict(teacher.name, 0.1 if bad else 0.9)
            pen.decide()
            pen.perform("")
        found.append(pen)
    return found


def language_model(folder: Path, kind: str = "llama", room: int = 256) -> Path:
    """A causal language model with random weights, whose tokens are words; the same each time."""
    vocabulary = ["?", *GOOD, *BAD, "goal", "history", "proposal", "command", "reason", "shell"]
    words = Tokenizer(WordLevel({one: n for n, one in enumerate(vocabulary)}, unk_token="?"))
    words.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    none: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = {
        "llama": lambda: LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=room,
            **none,
        ),
        "gpt2": lambda: GPT2Config(
            vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=room, **none
        ),
    }[kind]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        with quietly():
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(folder)
    return folder
