"""Small language models as folders: random weights, a token a character, a plain chat template."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SIGNS = ["<end>", "<pad>", "<?>", *string.printable]
TEMPLATE = (
    "{% for m in messages %}@{{ m.role[0] }}{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.arguments.proposal | tojson }}"
    "{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}@a{% endif %}"
)
"""Reads the step that a call puts forward, which must be an object and no text."""


def folder(
    path: Path, *, room: int = 512, words: int = len(SIGNS), template: str = TEMPLATE
) -> Path:
    """A model with its tokenizer, the same each time."""
    tokens = Tokenizer(WordLevel({sign: at for at, sign in enumerate(SIGNS)}, unk_token="<?>"))
    tokens.pre_tokenizer = Split(Regex("."), "isolated")
    tokens.decoder = Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="<end>", pad_token="<pad>", unk_token="<?>"
    )
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=room,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
