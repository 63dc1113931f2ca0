"""Attention of many continuations to one history, whose keys and values are neither copied nor
expanded.

The queries of all continuations of a history attend to it as one long block, and each continuation
attends to its own tokens; the two softmaxes are merged by their log-sum-exps. Backwards each part
is given the merged output and the merged log-sum-exp, from which it recovers its share of the
probabilities, so nothing of size queries × keys is kept. Where a history takes no gradient, only
that of the queries is computed through it.

Sources: online softmax, Milakov & Gimelshein 2018 (arXiv 1805.02867), algorithm 3; recomputation
from the log-sum-exp, Dao et al. 2022 (arXiv 2205.14135), algorithm 4; one prefix read once for
many continuations, Juravsky et al. 2024 (arXiv 2402.05099), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values of one history in one layer, each of shape (kv_heads, H, d)."""

Hidden: TypeAlias = Callable[[slice], Tensor]
"""What of a block of keys is hidden from each query, shape (Q, K)."""

KEYS = 1024
"""Keys of a block, where probabilities are written out: it is to stay in the cache."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, slots=True)
class Scores:
    """What a layer makes of the products of queries and keys."""

    scale: float
    """With which they are multiplied."""
    window: int | None = None
    """How many positions a token sees, its own the last; None: all."""
    softcap: float | None = None
    """c of c·tanh(s / c), where they are capped."""


@dataclass(frozen=True)
class Rows:
    """Where continuations stand in one packed row of T tokens, one after the other.

    Raises:
        ValueError: an empty continuation, one of a history that is not there, or continuations of
            one history that do not stand together.
    """

    lengths: tuple[int, ...]
    """Tokens of each."""
    of: tuple[int, ...]
    """The history that each goes on from, by number."""
    histories: tuple[int, ...]
    """Tokens of each history."""

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError("a continuation of no tokens")
        if len(self.of) != len(self.lengths):
            raise ValueError(f"{len(self.lengths)} continuations of {len(self.of)} histories")
        if not 0 <= min(self.of) <= max(self.of) < len(self.histories):
            raise ValueError(f"a continuation of history {max(self.of)} of {len(self.histories)}")
        changes = sum(one != other for one, other in zip(self.of, self.of[1:], strict=False))
        if changes != len(set(self.of)) - 1:
            raise ValueError("the continuations of one history stand together")

    def positions(self) -> Tensor:
        """The position of each token, shape (T,): a continuation goes on where its history ends."""
        parts = [
            torch.arange(self.histories[of], self.histories[of] + length)
            for of, length in zip(self.of, self.lengths, strict=True)
        ]
        return torch.cat(parts)

    def spans(self) -> Iterator[tuple[int, slice]]:
        """For each history that has continuations, its number and where they stand."""
        begin = end = 0
        for number, length in enumerate(self.lengths):
            end += length
            if number + 1 == len(self.of) or self.of[number + 1] != self.of[number]:
                yield self.of[number], slice(begin, end)
                begin = end


def attend(
    q: Tensor, k: Tensor, v: Tensor, past: Sequence[Pair], rows: Rows, how: Scores
) -> Tensor:
    """Continuations attend to their histories and to themselves.

    Args:
        q: their queries, shape (heads, T, d).
        k: their own keys, shape (kv_heads, T, d).
        v: their own values, likewise.
        past: keys and values of each history, shape (kv_heads, H, d).
        rows: which tokens are whose.
        how: what the layer makes of scores.

    Returns:
        Shape (heads, T, d).
    """
    return _Attend.apply(q, k, v, rows, how, *(one for pair in past for one in pair))


def attend_next(
    q: Tensor, k: Tensor, v: Tensor, past: Sequence[tuple[slice, Pair]], how: Scores
) -> Tensor:
    """The newest token of each of C continuations attends to its history and to its own tokens.

    Args:
        q: queries, shape (heads, C, d).
        k: keys of the continuations' tokens so far, shape (C, kv_heads, S, d).
        v: their values, likewise.
        past: keys and values of each history, and which continuations are of it.
        how: what the layer makes of scores.

    Returns:
        Shape (heads, C, d). Nothing here takes a gradient.
    """
    _, kv_heads, length, _ = k.shape
    begin = 0 if how.window is None else max(0, length - how.window)
    mine = q.unflatten(0, (kv_heads, -1)).permute(2, 0, 1, 3)
    some, sums = _forward(mine, k[:, :, begin:], v[:, :, begin:], how, None)
    out, lse = some.permute(1, 2, 0, 3).flatten(0, 1), sums.permute(1, 2, 0).flatten(0, 1)
    for where, (keys, values) in past:
        before = keys.shape[1]
        skip = 0 if how.window is None else max(0, before + length - how.window)
        if skip < before:
            asked = q[:, where]
            shared = asked.reshape(1, kv_heads, -1, q.shape[-1])
            seen = keys[None, :, skip:], values[None, :, skip:]
            some, sums = _forward(shared, *seen, how, None)
            some, sums = some.reshape(asked.shape), sums.reshape(asked.shape[:2])
            _merge(some, sums, out[:, where], lse[:, where])
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, rows: Rows, how: Scores, *past: Tensor
    ) -> Tensor:
        own = _Own(rows, how, q, k)
        some, sums = _forward(own.folded(q), own.wide(k), own.wide(v), how, own.hidden)
        out, lse = own.row(some), own.row(sums)
        for seen in _histories(rows, how, past):
            some, sums = _forward(seen.folded(q), *seen.pair(past), how, seen.hidden)
            some, sums = (seen.unfolded(one, len(q)) for one in (some, sums))
            _merge(some, sums, out[:, seen.where], lse[:, seen.where])
        ctx.own, ctx.rows, ctx.how = own, rows, how
        ctx.save_for_backward(q, k, v, out, lse, *past)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, *past = ctx.saved_tensors
        own, how = ctx.own, ctx.how

        def given(fold: Callable[[Tensor], Tensor]) -> _Given:
            return _Given(fold(grads[0]), fold(q), fold(out), fold(lse))

        wide = own.wide(k), own.wide(v)
        mine, *back = _backward(given(own.folded), wide, how, own.hidden, full=True)
        dq, dk, dv = own.row(mine), *map(own.narrow, back)
        found: list[Tensor | None] = [None] * len(past)
        for seen in _histories(ctx.rows, how, past):
            full = any(ctx.needs_input_grad[5:][seen.place])
            mine, *back = _backward(
                given(seen.folded), seen.pair(past), how, seen.hidden, full=full
            )
            dq[:, seen.where] += seen.unfolded(mine, len(q))
            found[seen.place] = map(seen.all, back) if full else (None, None)
        return (dq, dk, dv, None, None, *found)


class _Given(NamedTuple):
    """What a part's gradients come from: all of it merged, but for the queries."""

    grad: Tensor
    q: Tensor
    out: Tensor
    lse: Tensor


class _Own:
    """Each continuation's attention to itself: one block for each, as long as the longest."""

    def __init__(self, rows: Rows, how: Scores, q: Tensor, k: Tensor) -> None:
        self._lengths, self._longest = rows.lengths, max(rows.lengths)
        self._even = min(rows.lengths) == self._longest
        self._repeat = len(q) // len(k)
        at = torch.arange(self._longest, device=q.device)

        def hidden(block: slice) -> Tensor:
            ahead = at[block] - at[:, None]
            return ahead > 0 if how.window is None else (ahead > 0) | (ahead <= -how.window)

        self.hidden = hidden

    def folded(self, row: Tensor) -> Tensor:
        """(heads, T, ...) as (C, heads, S, ...); what a shorter one lacks is 0."""
        if self._even:
            return row.unflatten(1, (-1, self._longest)).transpose(0, 1).contiguous()
        blocks = row.new_zeros((len(self._lengths), len(row), self._longest, *row.shape[2:]))
        for block, part in zip(blocks, row.split(self._lengths, 1), strict=True):
            block[:, : part.shape[1]] = part
        return blocks

    def row(self, blocks: Tensor) -> Tensor:
        """The reverse."""
        if self._even:
            return blocks.transpose(0, 1).flatten(1, 2)
        parts = zip(blocks, self._lengths, strict=True)
        return torch.cat([block[:, :length] for block, length in parts], 1)

    def wide(self, row: Tensor) -> Tensor:
        """Keys or values, one head for each of the queries'."""
        return self.folded(row).repeat_interleave(self._repeat, 1)

    def narrow(self, blocks: Tensor) -> Tensor:
        """The gradient of a row from that of what `wide` made of it."""
        return self.row(blocks.unflatten(1, (-1, self._repeat)).sum(2))


class _History:
    """What the continuations of one history see of it."""

    def __init__(self, rows: Rows, how: Scores, number: int, where: slice, keys: Tensor) -> None:
        self.where = where
        self.place = slice(2 * number, 2 * number + 2)
        self.hidden: Hidden | None = None
        self._kv_heads, length = keys.shape[:2]
        self._from = 0
        if (window := how.window) is None:
            return
        self._from = max(0, length - window + 1)
        first = (rows.positions()[where, None] - window + 1).to(keys.device)
        at = torch.arange(self._from, length, device=keys.device)
        if first.max() > self._from:
            self.hidden = lambda block: at[block] < first

    def folded(self, row: Tensor) -> Tensor:
        """Heads that share keys, as more queries: (1, kv_heads, repeat · Q, ...)."""
        part = row[:, self.where]
        return part.reshape(1, self._kv_heads, -1, *part.shape[2:])

    def unfolded(self, part: Tensor, heads: int) -> Tensor:
        """The reverse."""
        return part.reshape(heads, -1, *part.shape[3:])

    def pair(self, past: Sequence[Tensor]) -> Pair:
        """Its keys and values, as far as any of them is seen."""
        keys, values = past[self.place]
        return keys[None, :, self._from :], values[None, :, self._from :]

    def all(self, grad: Tensor) -> Tensor:
        """A gradient of all keys; of those that nobody sees it is 0."""
        return nn.functional.pad(grad[0], (0, 0, self._from, 0))


def _histories(rows: Rows, how: Scores, past: Sequence[Tensor]) -> Iterator[_History]:
    for number, where in rows.spans() if past else ():
        seen = _History(rows, how, number, where, past[2 * number])
        if seen.pair(past)[0].shape[2]:
            yield seen


def _merge(some: Tensor, sums: Tensor, out: Tensor, lse: Tensor) -> None:
    """Add what was found over some keys to what was found over others, in place.

    Outputs have shape (heads, Q, d), log-sum-exps (heads, Q).
    """
    merged = torch.logaddexp(lse, sums)
    out.mul_((lse - merged).exp_()[..., None])
    out.addcmul_(some, (sums - merged).exp_()[..., None].to(some.dtype))
    lse.copy_(merged)


def _forward(
    q: Tensor, k: Tensor, v: Tensor, how: Scores, hidden: Hidden | None
) -> tuple[Tensor, Tensor]:
    """Output, shape (B, h, Q, d), and log-sum-exp, shape (B, h, Q), in float32 at the least.

    Args:
        q: shape (B, h, Q, d).
        k: shape (B, h, K, d).
        v: likewise.
        how: what is made of scores.
        hidden: what of a block of keys a query does not see, shape (Q, K); where heads were folded
            into queries, of one head's. None: it sees all.
    """
    if _fused(q, how, hidden):
        return _flash(q, k, v, 0.0, hidden is not None, scale=how.scale)
    out = q.new_zeros(q.shape, dtype=_wide(q))
    lse = q.new_full(q.shape[:3], -torch.inf, dtype=_wide(q))
    for begin in range(0, k.shape[2], KEYS):
        block = slice(begin, begin + KEYS)
        scores = _scores(q, k[:, :, block], how, hidden, block)
        sums = scores.logsumexp(-1)
        merged = torch.logaddexp(lse, sums)
        safe = merged.masked_fill(merged == -torch.inf, 0)  # a query may see nothing here
        out.mul_((lse - safe).exp_()[..., None])
        out += scores.sub_(safe[..., None]).exp_().to(v.dtype) @ v[:, :, block]
        lse = merged
    return out.to(q.dtype), lse


def _backward(
    given: _Given, pair: Pair, how: Scores, hidden: Hidden | None, *, full: bool
) -> tuple[Tensor, ...]:
    """Gradients of queries and, if they are asked for, of keys and values."""
    grad, q, out, lse = given
    k, v = pair
    if full and _fused(q, how, hidden):
        return _flash_back(grad, q, k, v, out, lse, 0.0, hidden is not None, scale=how.scale)
    delta = (grad * out).sum(-1, keepdim=True, dtype=_wide(q))
    dq = torch.zeros_like(q, dtype=_wide(q))
    dk, dv = torch.empty_like(k), torch.empty_like(v)
    for begin in range(0, k.shape[2], KEYS):
        block = slice(begin, begin + KEYS)
        scores = _scores(q, k[:, :, block], how, hidden, block)
        curve = 1 - (scores / how.softcap) ** 2 if how.softcap is not None else None
        share = scores.sub_(lse[..., None]).exp_()
        if full:
            dv[:, :, block] = share.to(grad.dtype).mT @ grad
        back = (grad @ v[:, :, block].mT).to(_wide(q)).sub_(delta).mul_(share)
        if curve is not None:
            back.mul_(curve.nan_to_num_(0))
        back = back.mul_(how.scale).to(q.dtype)
        dq += back @ k[:, :, block]
        if full:
            dk[:, :, block] = back.mT @ q
    return (dq.to(q.dtype), dk, dv) if full else (dq.to(q.dtype),)


def _scores(q: Tensor, k: Tensor, how: Scores, hidden: Hidden | None, block: slice) -> Tensor:
    scores = (q @ k.mT).to(_wide(q)).mul_(how.scale)
    if how.softcap is not None:
        scores.div_(how.softcap).tanh_().mul_(how.softcap)
    if hidden is None:
        return scores
    unseen = hidden(block)
    repeat = q.shape[2] // len(unseen)
    return scores.masked_fill_(unseen.repeat(repeat, 1), -torch.inf)


def _fused(q: Tensor, how: Scores, hidden: Hidden | None) -> bool:
    """Whether PyTorch's own kernel does it: it knows no cap, and of masks the causal one."""
    causal = hidden is None or how.window is None
    return q.device.type == "cpu" and how.softcap is None and causal


def _wide(q: Tensor) -> torch.dtype:
    return torch.promote_types(q.dtype, torch.float32)
