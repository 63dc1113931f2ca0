"""How long one waits for a model, and how often it is asked before one gives up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from pydantic import Field

from audition.model.chat import ModelAway, ModelError
from audition.step import Frozen
from audition.unfinished import leave, left

T = TypeVar("T")


class Patience(Frozen):
    """Limits of waiting; they decide when an answer comes, not which, and are not digested."""

    connect: float = Field(default=10, gt=0, le=3600)
    """Seconds until a connection stands."""
    silence: float = Field(default=60, gt=0, le=86_400)
    """Seconds between two pieces of a reply, and before the first."""
    whole: float = Field(default=300, gt=0, le=86_400)
    """Seconds for one reply, from the question to its end."""
    attempts: int = Field(default=4, ge=1, le=100)
    """How often the same is asked."""
    pause: float = Field(default=1, ge=0, le=3600)
    """Seconds before it is asked a second time; twice as many before each further time, less up to
    half of them by chance."""
    longest: float = Field(default=60, ge=0, le=86_400)
    """Longest pause in seconds; a server that asks for a longer one is asked no more."""


class Trouble(Exception):
    """One attempt brought no answer; another may.

    Args:
        why: in one line.
        away: whether the server is away, if it goes on like this; otherwise it talks nonsense.
        after: seconds that the server asks to be left alone.
    """

    def __init__(self, why: str, *, away: bool = True, after: float = 0) -> None:
        super().__init__(why)
        self.away = away
        self.after = after


async def patiently(attempt: Callable[[], Awaitable[T]], patience: Patience, name: str) -> T:
    """Make an attempt until it brings an answer or patience ends.

    Args:
        attempt: asks once; raises `Trouble` where asking again may help.
        patience: how long, and how often.
        name: whom, for the error.

    Raises:
        ModelAway: no answer came.
        ModelError: what came was no answer, to the last, which the error carries.
    """
    number = 0
    while True:
        number += 1
        try:
            with anyio.fail_after(patience.whole):
                return await attempt()
        except Trouble as error:
            trouble = error
        except TimeoutError:
            trouble = Trouble(f"no whole reply within {patience.whole:g} s")
        if number == patience.attempts or trouble.after > patience.longest:
            break
        pause = min(patience.pause * 2 ** (number - 1), patience.longest)
        await anyio.sleep(max(trouble.after, pause * random.uniform(0.5, 1)))
    times = "once" if number == 1 else f"{number} times"
    asks = f"; it asks to be left alone for {trouble.after:g} s" if trouble.after else ""
    told = f"{name}: {trouble} (asked {times}{asks})"
    error = ModelAway(told) if trouble.away else ModelError(told)
    leave(error, left(trouble))
    raise error
