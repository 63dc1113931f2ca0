"""Sampling many continuations of one history, which is read once and held once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from audition.model.attention import Pair, Rows, Scores, attend_next
from audition.model.sharing import CannotShare, Past, run_pass


@dataclass(frozen=True)
class Written:
    """A continuation as it was sampled."""

    ids: Tensor
    """Its tokens, shape (S,), the ending one included."""
    logps: Tensor
    """Log-probability of each when it was sampled, at the temperature it was sampled at."""
    ended: bool
    """Whether it ended of itself; otherwise the room was used up."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    past: Past,
    last: Tensor,
    count: int,
    most: int,
    *,
    ends: Collection[int],
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[Written]:
    """Sample continuations of a history.

    Args:
        model: made ready by `sharing`.
        past: one history, all but its last token.
        last: that token, shape (1,).
        count: how many continuations.
        most: the most tokens of each.
        ends: tokens with which a continuation ends.
        temperature: by which logits are divided.
        generator: where chance comes from.

    Raises:
        CannotShare: several histories, or no room in the model for one more token.
    """
    if len(past.lengths) != 1:
        raise CannotShare(f"{len(past.lengths)} histories; sample from one at a time")
    if count < 1 or most < 1 or not temperature > 0:
        raise CannotShare("at least one continuation of one token, at a positive temperature")
    room = model.config.get_text_config().max_position_embeddings - past.lengths[0]
    writing = _Writing(past, count, min(most, room))
    token = last.expand(count)
    ids = token.new_empty((count, writing.most))
    logps = torch.empty((count, writing.most), device=token.device)
    lengths = torch.full((count,), writing.most)
    going = torch.arange(count, device=token.device)
    stops = torch.tensor(sorted(ends), device=token.device)
    for at in range(writing.most):
        logits = writing.step(model, token).float() / temperature
        logp = logits.log_softmax(-1)
        token = torch.multinomial(logp.exp(), 1, generator=generator)[:, 0]
        ids[going, at], logps[going, at] = token, logp.gather(1, token[:, None])[:, 0]
        ended = torch.isin(token, stops)
        lengths[going[ended].cpu()] = at + 1
        if ended.all():
            break
        if ended.any():
            token, going = token[~ended], going[~ended]
            writing.keep(~ended)
    ids, logps = ids.cpu(), logps.cpu()
    return [
        Written(ids[number, :length], logps[number, :length], int(ids[number, length - 1]) in ends)
        for number, length in enumerate(lengths.tolist())
    ]


class _Writing:
    """Keys and values of continuations that grow by a token at a time."""

    def __init__(self, past: Past, count: int, most: int) -> None:
        self.most = most
        self._past, self._count, self._length = past, count, 0
        self._layers = [
            tuple(one.new_empty((count, one.shape[0], most, one.shape[2])) for one in pairs[0])
            for pairs in past.layers
        ]

    def step(self, model: PreTrainedModel, token: Tensor) -> Tensor:
        """Logits behind each continuation's newest token, shape (C, V)."""
        before = self._past.lengths[0] + self._length
        rows = Rows((1,) * self._count, (0,) * self._count, (before,))
        logits = run_pass(model, token, rows, self, keep=0)
        self._length += 1
        return logits

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: Scores) -> Tensor:
        """The newest tokens attend to their history and to what was written behind it."""
        keys, values = self._layers[layer]
        keys[:, :, self._length], values[:, :, self._length] = k.transpose(0, 1), v.transpose(0, 1)
        so_far: Pair = keys[:, :, : self._length + 1], values[:, :, : self._length + 1]
        return attend_next(q, *so_far, self._past.layers[layer][0], how)

    def keep(self, some: Tensor) -> None:
        """Go on with some of them."""
        self._layers = [(keys[some], values[some]) for keys, values in self._layers]
        self._count = int(some.sum())
