"""One pass over a history for many continuations, with any Hugging Face causal language model.

What a transformer carries from a history into what follows is the keys and values of its layers.
`read` computes them once; `follow` runs any number of continuations over them, each as if it stood
alone behind its history. With gradients enabled while a history is read, they flow through it, as
they do through an ordinary prompt; without, it is a constant, and only what follows is learned.

The model's own layers do all of it. `sharing` gives it an attention that knows what stands where in
a packed row; every other pass is made as before.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from audition.model.attention import Pair, Rows, Scores, attend

SHARING = "sharing-"
"""How attention that shares is called, before the name of that which does the rest."""


class CannotShare(ValueError):
    """The model, or what it is to read, does not fit; the message says why."""


class Attends(Protocol):
    """What stands in the place of a model's attention during a pass."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: Scores) -> Tensor:
        """What each token of a packed row finds in a layer.

        Args:
            layer: the layer's number.
            q: queries, shape (heads, T, d).
            k: keys, shape (kv_heads, T, d).
            v: values, likewise.
            how: what the layer makes of scores.

        Returns:
            Shape (heads, T, d).
        """
        ...


@dataclass(frozen=True)
class Past:
    """What a model carries over from histories."""

    lengths: tuple[int, ...]
    """Tokens of each."""
    layers: tuple[tuple[Pair, ...], ...]
    """By layer and history, keys and values of shape (kv_heads, H, d)."""


def sharing(model: PreTrainedModel) -> PreTrainedModel:
    """Make a model ready to share; the same object.

    Raises:
        CannotShare: its attention cannot be replaced.
    """
    name = str(model.config.get_text_config()._attn_implementation)
    if name.startswith(SHARING):
        return model
    if not model._can_set_attn_implementation():
        raise CannotShare(f"{type(model).__name__} has attention of its own, which knows no other")
    if SHARING + name not in ALL_ATTENTION_FUNCTIONS:
        usual = ALL_ATTENTION_FUNCTIONS.get(name, _eager)
        AttentionInterface.register(SHARING + name, _or(usual))
        AttentionMaskInterface.register(SHARING + name, ALL_MASK_ATTENTION_FUNCTIONS[name])
    model.set_attn_implementation(SHARING + name)
    return model


def read(model: PreTrainedModel, texts: Sequence[Tensor], past: Past | None = None) -> Past:
    """Read histories, or further into them.

    Args:
        model: made ready by `sharing`.
        texts: token ids of each, shape (H,).
        past: what was read of each before; nothing if left out.

    Raises:
        CannotShare: an empty text, or more than the model has positions for.
    """
    before = past or Past((0,) * len(texts), ())
    if len(before.lengths) != len(texts):
        raise CannotShare(f"{len(texts)} texts behind {len(before.lengths)} histories")
    rows = _rows(texts, range(len(texts)), before)
    reading = _Reading(before, rows, model.config.get_text_config().num_hidden_layers)
    with contextlib.suppress(_Enough):
        run_pass(model, torch.cat(list(texts)), rows, reading, keep=1)
    lengths = tuple(old + new for old, new in zip(before.lengths, rows.lengths, strict=True))
    return Past(lengths, tuple(reading.found))


def follow(
    model: PreTrainedModel, past: Past | None, continuations: Sequence[Tensor], of: Sequence[int]
) -> Tensor:
    """Logits behind each token of continuations, each of which stands alone behind its history.

    Args:
        model: made ready by `sharing`.
        past: the histories; None: one, of nothing.
        continuations: token ids of each, shape (S,); those of one history one after the other.
        of: the number of the history that each goes on from.

    Returns:
        Shape (T, V): T tokens in the order given.

    Raises:
        CannotShare: an empty continuation, or more than the model has positions for.
    """
    past = past or Past((0,), ())
    rows = _rows(continuations, of, past)
    return run_pass(model, torch.cat(list(continuations)), rows, _Following(past, rows), keep=0)


@dataclass
class _Following:
    """Attention of continuations to what was read."""

    past: Past
    rows: Rows

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: Scores) -> Tensor:
        past = self.past.layers[layer] if self.past.layers else ()
        return attend(q, k, v, past, self.rows, how)


class _Reading(_Following):
    """The same, keeping the keys and values of each layer; beyond the last ones nothing is made."""

    def __init__(self, past: Past, rows: Rows, layers: int) -> None:
        super().__init__(past, rows)
        self.found: list[tuple[Pair, ...]] = [()] * layers

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: Scores) -> Tensor:
        new = zip(k.split(self.rows.lengths, 1), v.split(self.rows.lengths, 1), strict=True)
        self.found[layer] = tuple(new)
        if self.past.layers:
            pairs = zip(self.past.layers[layer], self.found[layer], strict=True)
            self.found[layer] = tuple(
                (torch.cat((old[0], one[0]), 1), torch.cat((old[1], one[1]), 1))
                for old, one in pairs
            )
        if layer + 1 < len(self.found):
            return super().attend(layer, q, k, v, how)
        if not torch.is_grad_enabled():
            raise _Enough
        return torch.zeros_like(q)  # what is made of it is nobody's, and takes no gradient


class _Enough(Exception):
    """The last layer's keys and values are there."""


def _or(usual: Callable[..., Any]) -> Callable[..., Any]:
    """An attention that shares where it is told what, and else is the usual one."""

    def attention(
        module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, *, shared: Any = None, **how: Any
    ) -> Any:
        if shared is None:
            return usual(module, q, k, v, mask, **how)
        if how.get("dropout"):
            raise CannotShare(f"attention dropout of {how['dropout']}: set it to 0")
        if how.get("s_aux") is not None or how.get("position_bias") is not None:
            raise CannotShare(f"{type(module).__name__}: sinks and biases of attention")
        scale = how.get("scaling")
        scores = Scores(
            scale=q.shape[-1] ** -0.5 if scale is None else scale,
            window=how.get("sliding_window"),
            softcap=how.get("softcap"),
        )
        out = shared.attend(module.layer_idx, q[0], k[0], v[0], scores)
        return out.transpose(0, 1)[None].contiguous(), None

    return attention


def _eager(module: Any, *args: Any, **more: Any) -> Any:
    """The attention that every kind of model writes out for itself."""
    return sys.modules[type(module).__module__].eager_attention_forward(module, *args, **more)


def _rows(texts: Sequence[Tensor], of: Sequence[int], past: Past) -> Rows:
    try:
        return Rows(tuple(len(text) for text in texts), tuple(of), past.lengths)
    except ValueError as error:
        raise CannotShare(str(error)) from None


def run_pass(
    model: PreTrainedModel, ids: Tensor, rows: Rows, shared: Attends, *, keep: int
) -> Tensor:
    """Logits of one packed row, of the last `keep` tokens or, for 0, of all.

    Raises:
        CannotShare: more tokens than the model has positions for.
    """
    config = model.config.get_text_config()
    most, longest = config.max_position_embeddings, int(rows.positions().max()) + 1
    if longest > most:
        raise CannotShare(f"{longest} tokens, and the model has positions for {most}")
    out = model(
        input_ids=ids[None],
        position_ids=rows.positions().to(ids.device)[None],
        attention_mask=ids.new_ones(1, 1, 1, 1),  # of four dimensions, it is taken as it is
        use_cache=False,
        logits_to_keep=keep,
        shared=shared,
    )
    return out.logits[0]
