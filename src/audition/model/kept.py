"""Keys and values of prompts that were read, for prompts that begin alike.

The steps of a run, and the candidates of a moment, share most of what they are told. It is read by
blocks of a fixed length, so that what is made of a block is the same to the bit whether the blocks
before it were kept or are read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from audition.model.sharing import Past, read

BLOCK = 256
"""Tokens of a block."""


class Kept:
    """What was read last, as far as there is room.

    Args:
        tokens: that are kept in all.
    """

    def __init__(self, tokens: int) -> None:
        self._room = tokens
        self._held: OrderedDict[tuple[int, ...], Past] = OrderedDict()

    def forget(self) -> None:
        """Keep nothing: the weights are others now."""
        self._held.clear()

    @torch.no_grad()
    def read(self, model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> Past:
        """Histories of several prompts, each without its last token.

        One alone is read by blocks; several are read in one pass, in which sums are in another
        order than in a pass over one.

        Args:
            model: made ready by `sharing`.
            prompts: distinct prompts of two tokens or more.
        """
        known = [self._longest(prompt[:-1]) for prompt in prompts]
        if len(prompts) == 1:
            found = [self._by_blocks(model, prompts[0][:-1], known[0])]
        else:
            found = _together(model, [prompt[:-1] for prompt in prompts], known)
        for prompt, past in zip(prompts, found, strict=True):
            self._hold(prompt[:-1], past)
        return _joined(found)

    def _longest(self, ids: tuple[int, ...]) -> Past | None:
        """What is kept of the same text, or of the longest common beginning whole blocks."""
        if ids in self._held:
            return self._held[ids]
        most, found = 0, None
        for held, past in self._held.items():
            common = _common(held, ids)
            if common > most:
                most, found = common, past
        whole = most // BLOCK * BLOCK
        return None if found is None or not whole else _cut(found, whole)

    def _by_blocks(self, model: PreTrainedModel, ids: tuple[int, ...], past: Past | None) -> Past:
        begin = past.lengths[0] if past is not None else 0
        for at in range(begin, len(ids), BLOCK):
            past = read(model, [_tensor(model, ids[at : at + BLOCK])], past)
        assert past is not None
        return past

    def _hold(self, ids: tuple[int, ...], past: Past) -> None:
        self._held.pop(ids, None)
        self._held[ids] = past
        while len(self._held) > 1 and sum(map(len, self._held)) > self._room:
            self._held.popitem(last=False)


def _together(
    model: PreTrainedModel, histories: list[tuple[int, ...]], known: list[Past | None]
) -> list[Past]:
    """The rest of several histories, read in one packed row."""
    found = dict(enumerate(known))
    rest = {
        number: ids[past.lengths[0] if past is not None else 0 :]
        for (number, past), ids in zip(found.items(), histories, strict=True)
    }
    unread = [number for number, ids in rest.items() if ids]
    if unread:
        begun = [found[number] for number in unread]
        some = next((past for past in begun if past is not None), None)
        before = None
        if some is not None:  # where nothing is known, that is keys and values of no token
            before = _joined([_cut(some, 0) if past is None else past for past in begun])
        every = read(model, [_tensor(model, rest[number]) for number in unread], before)
        for place, number in enumerate(unread):
            layers = tuple((layer[place],) for layer in every.layers)
            found[number] = Past((every.lengths[place],), layers)
    return [past for past in found.values() if past is not None]


def _joined(found: Sequence[Past]) -> Past:
    """Several histories as one."""
    lengths = tuple(past.lengths[0] for past in found)
    layers = zip(*(past.layers for past in found), strict=True)
    return Past(lengths, tuple(tuple(one[0] for one in layer) for layer in layers))


def _cut(past: Past, length: int) -> Past:
    """The beginning of one history."""
    layers = tuple(((keys[:, :length], values[:, :length]),) for ((keys, values),) in past.layers)
    return Past((length,), layers)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens in which two texts begin alike."""
    if one[: len(other)] == other[: len(one)]:
        return min(len(one), len(other))
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _tensor(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    return torch.tensor(ids, device=model.device)
