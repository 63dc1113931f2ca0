"""Words and their tokens: each a byte, two of them reserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

PAD, END = 0, 1
"""Tokens of every vocabulary: nothing, behind a prompt or span and never sampled; a span's end."""


@dataclass(frozen=True)
class Vocabulary:
    """Words by token, after `PAD` and `END`.

    Args:
        words: each once, at most 254, none of them empty.

    Raises:
        ValueError: a word twice, an empty one, or too many for a byte.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.words)) != len(self.words) or not all(self.words):
            raise ValueError("a vocabulary holds each word once, and no empty one")
        if len(self.words) > 254:
            raise ValueError(f"{len(self.words)} words; a token is a byte, so 254 is the most")

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, words: Sequence[str], room: int) -> list[int]:
        """Tokens of words, filled up with `PAD` to `room` tokens.

        Raises:
            ValueError: a word that is not in the vocabulary, or more words than room.
        """
        if len(words) > room:
            raise ValueError(f"{len(words)} words in room for {room}")
        try:
            tokens = [self._tokens[word] for word in words]
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is not in the vocabulary") from None
        return tokens + [PAD] * (room - len(tokens))

    def decode(self, tokens: Sequence[int]) -> tuple[str, ...] | None:
        """Words before `END`; None if there is no end, or something behind it, or `PAD` before."""
        tokens = list(tokens)
        if END not in tokens:
            return None
        end = tokens.index(END)
        if any(tokens[end + 1 :]) or PAD in tokens[:end] or max(tokens) >= len(self):
            return None
        return tuple(self.words[token - 2] for token in tokens[:end])

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return {word: number + 2 for number, word in enumerate(self.words)}
