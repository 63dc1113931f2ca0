"""A chat model whose every word is known: what follows a token depends on that token alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl.chat_template_utils import qwen2_5_chat_template

from audition.think.telling import RULES

BEGIN, END = "<|im_start|>", "<|im_end|>"
CALL, CALLED = "<tool_call>", "</tool_call>"
ROOM = 8192


def proposing(proposal: str) -> str:
    """The call that puts forward a step, as this model writes it."""
    return f'{{"name": "propose", "arguments": {{"proposal": {proposal}}}}}'


def tokenizer(
    phrases: Sequence[str], template: str = qwen2_5_chat_template
) -> PreTrainedTokenizerFast:
    """Bytes and the syllables of what is told, with phrases that are one token each."""
    words = Tokenizer(BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.train_from_iterator(
        [RULES],
        trainers.BpeTrainer(
            vocab_size=500,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=[BEGIN, END, "<|endoftext|>"],
            show_progress=False,
        ),
    )
    words.add_tokens([AddedToken(one, normalized=False) for one in (CALL, CALLED, *phrases)])
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token="<|endoftext|>")
    made.chat_template = template
    return made


def written(
    folder: Path,
    says: Mapping[str, Mapping[str, float]],
    template: str = qwen2_5_chat_template,
) -> Path:
    """A folder with a model that writes a phrase behind another as often as it is told.

    Args:
        folder: where it is saved.
        says: for each phrase, what follows it and with which weight; `"\\n"` begins a reply.
        template: how messages become text.
    """
    phrases = sorted({one for both in says.items() for one in (both[0], *both[1])})
    words = tokenizer([one for one in phrases if one not in ("\n", CALL, CALLED, END)], template)
    size = len(words)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size + size % 2,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=ROOM,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.model.embed_tokens.weight[:, :size] = torch.eye(size)
        table = torch.full((size, size), -30.0)
        for before, after in says.items():
            row = words.encode(before, add_special_tokens=False)[-1]
            for phrase, weight in after.items():
                (token,) = words.encode(phrase, add_special_tokens=False)
                table[row, token] = float(torch.tensor(weight).log())
        norm = float(torch.tensor(config.hidden_size).sqrt())  # of one one, by the last norm
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, :size] = table.T / norm
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
