"""What was had of a thought or a judgement before it failed: the error that ended it carries it.

What was said to a model was said, and paid for, whatever came of it. Whoever fails leaves it with
the error on its way out, an interruption included; whoever records the failure finds it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Self, TypeVar

from audition.step import Completed, Exchange, Frozen, Thought, Usage

LARGEST = 48 << 20
"""Bytes, in canonical form, of the calls that are kept, and as many of the exchanges."""

F = TypeVar("F", bound=Frozen)


class Unfinished(Frozen):
    """What there is of a thought or a judgement that came to nothing."""

    content: str = ""
    """What was thought, as far as it can be written down."""
    calls: tuple[Completed, ...] = ()
    """Tools called in the box, in order."""
    exchanges: tuple[Exchange, ...] = ()
    """What was said to models and what they answered, in order."""
    usage: Usage = Usage()
    """What it cost all the same."""

    @classmethod
    def of(cls, thing: object) -> Self:
        """What a ledger can hold of this or of a thought, and of what is too long, the newest.

        It never raises: nothing is kept of what is neither, or not what its type says.
        """
        if not isinstance(thing, (cls, Thought)):
            return cls()
        try:
            fields = {
                "content": thing.content[-LARGEST // 4 :],
                "calls": _newest(thing.calls),
                "exchanges": _newest(thing.exchanges),
                "usage": thing.usage,
            }
            return cls.parse(cls.model_construct(**fields).canonical())
        except Exception:  # noqa: BLE001  it was made by whoever failed
            return cls()

    def then(self, later: Unfinished) -> Unfinished:
        """This, and what came after it."""
        return Unfinished(
            content="\n\n".join(text for text in (self.content, later.content) if text),
            calls=self.calls + later.calls,
            exchanges=self.exchanges + later.exchanges,
            usage=Usage.total((self.usage, later.usage)),
        )


def leave(error: BaseException, had: Unfinished) -> None:
    """Have an error carry this, in the place of what it carried."""
    with suppress(Exception):  # an error's type is its maker's, and may refuse
        vars(error)["unfinished"] = had


def left(error: BaseException) -> Unfinished:
    """What an error carries, as far as a ledger can hold it."""
    had: object = None
    with suppress(Exception):
        had = vars(error).get("unfinished")
    return Unfinished.of(had)


def _newest(parts: Sequence[F]) -> tuple[F, ...]:
    """The last of them that fit."""
    room = LARGEST
    for count, one in enumerate(reversed(parts)):
        room -= len(one.canonical())
        if room < 0:
            return tuple(parts[len(parts) - count :])
    return tuple(parts)
