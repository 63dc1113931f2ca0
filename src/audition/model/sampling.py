"""Sampling continuations of histories, each of which is read once and held once.

Chance is handed in, a number for each token, so that what is sampled for one continuation depends
on its own numbers alone: the token is where they fall in the cumulated probabilities (inversion:
Devroye 1986, "Non-Uniform Random Variate Generation", section III.2).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    of: Sequence[int],
    chance: Tensor,
    most: Sequence[int] | None = None,
    *,
    ends: Collection[int],
    temperature: float = 1.0,
) -> list[Written]:
    """Sample continuations of histories.

    Args:
        model: made ready by `sharing`.
        past: the histories, each without its last token.
        last: that token of each, shape (histories,).
        of: the number of the history that each continuation goes on from; those of one stand
            together.
        chance: numbers in [0, 1), one for each token of each continuation, shape (C, S).
        most: the most tokens of each, at most S; S if left out.
        ends: tokens with which a continuation ends.
        temperature: by which logits are divided; at 0 the likeliest token is taken, and its
            log-probability is that at 1.

    Raises:
        CannotShare: nothing to sample, or no room in the model for one more token.
    """
    count, room = chance.shape
    if not count or not room or temperature < 0:
        raise CannotShare("at least one continuation of one token, at no negative temperature")
    places = model.config.get_text_config().max_position_embeddings
    each = most or [room] * count
    limit = torch.tensor(
        [min(most, room, places - past.lengths[one]) for most, one in zip(each, of, strict=True)]
    )
    if int(limit.min()) < 1:
        raise CannotShare(f"{max(past.lengths) + 1} tokens, and the model has {places} positions")
    device = last.device
    writing = _Writing(past, tuple(of), int(limit.max()))
    token = last[torch.tensor(of, device=device)]
    ids = token.new_empty((count, writing.most))
    logps = torch.empty((count, writing.most), device=device)
    going, lengths = torch.arange(count), limit.clone()
    stops = torch.tensor(sorted(ends), device=device)
    for at in range(writing.most):
        logits = writing.step(model, token).float() / (temperature or 1)
        logp = logits.log_softmax(-1)
        token = _chosen(logp, chance[going, at].to(device), greedy=not temperature)
        ids[going, at], logps[going, at] = token, logp.gather(1, token[:, None])[:, 0]
        ended = torch.isin(token, stops).cpu()
        lengths[going[ended]] = at + 1
        goes = ~ended & (limit[going] > at + 1)
        if not goes.any():
            break
        if not goes.all():
            token, going = token[goes.to(device)], going[goes]
            writing.keep(goes)
    ids, logps = ids.cpu(), logps.cpu()
    return [
        Written(ids[number, :length], logps[number, :length], int(ids[number, length - 1]) in ends)
        for number, length in enumerate(lengths.tolist())
    ]


def _chosen(logp: Tensor, chance: Tensor, *, greedy: bool) -> Tensor:
    """The token of each row, shape (C,), where its number falls."""
    if greedy:
        return logp.argmax(-1)
    cumulated = logp.double().exp().cumsum(-1)
    falls = chance.double()[:, None] * cumulated[:, -1:]
    found = torch.searchsorted(cumulated, falls, right=True)[:, 0]
    return found.clamp(max=logp.shape[1] - 1)


class _Writing:
    """Keys and values of continuations that grow by a token at a time."""

    def __init__(self, past: Past, of: tuple[int, ...], most: int) -> None:
        self.most = most
        self._past, self._of, self._length = past, of, 0
        self._layers: dict[int, Pair] = {}
        self._spans: list[tuple[int, slice]] = []

    def step(self, model: PreTrainedModel, token: Tensor) -> Tensor:
        """Logits behind each continuation's newest token, shape (C, V)."""
        before = tuple(length + self._length for length in self._past.lengths)
        rows = Rows((1,) * len(self._of), self._of, before)
        self._spans = list(rows.spans())
        logits = run_pass(model, token, rows, self, keep=0)
        self._length += 1
        return logits

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, how: Scores) -> Tensor:
        """The newest tokens attend to their histories and to what was written behind them."""
        if layer not in self._layers:
            heads, count, width = k.shape
            empty = k.new_empty((count, heads, self.most, width))
            self._layers[layer] = empty, torch.empty_like(empty)
        keys, values = self._layers[layer]
        keys[:, :, self._length], values[:, :, self._length] = k.transpose(0, 1), v.transpose(0, 1)
        so_far: Pair = keys[:, :, : self._length + 1], values[:, :, : self._length + 1]
        read = self._past.layers[layer] if self._past.layers else ()
        past = [(where, read[number]) for number, where in self._spans if read]
        return attend_next(q, *so_far, past, how)

    def keep(self, some: Tensor) -> None:
        """Go on with some of them."""
        self._of = tuple(of for of, goes in zip(self._of, some.tolist(), strict=True) if goes)
        self._layers = {
            layer: (keys[some], values[some]) for layer, (keys, values) in self._layers.items()
        }
