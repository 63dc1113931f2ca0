"""Small language models with random weights, one of each kind of attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

WORDS, ROOM = 60, 64
_SIZE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": ROOM,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_WINDOW = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
_CAPS = {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 3.0}
_GPT2 = {"n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": ROOM, "attn_pdrop": 0.0}
_CALM = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "eos_token_id": None, "bos_token_id": None}

KINDS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZE)),
    "qwen2-window": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZE, **_WINDOW)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZE, head_dim=8)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SIZE, sliding_window=5)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_SIZE, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_SIZE, head_dim=8, sliding_window=7, **_CAPS)
    ),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_SIZE, head_dim=8, sliding_window=4)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, **_GPT2, **_CALM)),
}


def made(kind: str = "llama") -> PreTrainedModel:
    """A model of this kind, the same each time; what it says depends much on what it reads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = KINDS[kind]().eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def ids(seed: int, *lengths: int) -> tuple[torch.Tensor, ...]:
    """Texts of these lengths, the same each time."""
    chance = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(WORDS, (length,), generator=chance) for length in lengths)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
