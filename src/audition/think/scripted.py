"""A thinker that follows a script: the whole path with no model in it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audition.box import Library
from audition.canonical import digest_value
from audition.step import (
    Act,
    Box,
    Completed,
    Digest,
    Finish,
    Frozen,
    History,
    Proposal,
    Thought,
    Usage,
    digest_of,
)

STDOUT = "$stdout"
"""A string in a proposal that stands for the last command's standard output."""

FOUND = "$found"
"""A string in a proposal that stands for what the library search found."""


_NAMED = re.compile(r"\$[A-Za-z_]\w*")


class Line(Frozen):
    """One step of a script."""

    think: str = ""
    """What is thought."""
    search: str = ""
    """What to look up in the library; the hits are what `$found` stands for."""
    run: tuple[tuple[str, ...], ...] = ()
    """Commands to run in the box, in order."""
    propose: Proposal
    """The step put forward; an act's argument or an answer may be `$stdout` or `$found`."""
    variants: tuple[Proposal, ...] = ()
    """Other steps that are as likely to be put forward, drawn anew in every call."""


class Scripted:
    """Plays a script, one line a step, whatever becomes of the steps.

    The number of steps behind it says which line is next.

    Raises:
        ValueError: a line names what nothing stands for, such as `$stdot`.
    """

    outside = False
    """It thinks in this process and in the box, and nobody else hears of it."""
    stateless = True
    """All that it knows is in the call and in the box, so that a second call is as the first."""

    def __init__(
        self, script: Sequence[Line], *, library: Library | None = None, name: str = "scripted"
    ) -> None:
        self.name = name
        self.script = tuple(script)
        for number, line in enumerate(self.script, 1):
            for name in (name for step in _steps(line) for name in _named(step)):
                if name not in (STDOUT, FOUND):
                    raise ValueError(
                        f"step {number}: nothing stands for {name[:60]!r}; known: {STDOUT}, {FOUND}"
                    )
        self.library = library
        self._lines = [digest_of(line) for line in self.script]

    def configuration(self) -> Digest:
        """Digest of the script, which a run is opened with."""
        if self.library is None:
            return digest_value(self._lines)
        return digest_value({"script": self._lines, "library": self.library.digest()})

    async def think(self, history: History, box: Box) -> Thought:
        """Run the line's commands in the box, then propose its step."""
        if history.turns >= len(self.script):
            return Thought(proposal=Finish(answer="", reason="the script has ended"))
        line = self.script[history.turns]
        begun = time.monotonic()
        calls: list[Completed] = [await box.run(argv) for argv in line.run]
        known = {
            STDOUT: calls[-1].stdout.decode("utf-8", "replace") if calls else "",
            FOUND: self._found(line.search) if line.search else "",
        }
        return Thought(
            content=line.think,
            calls=tuple(calls),
            proposal=_filled(secrets.choice(_steps(line)), known),
            usage=Usage(seconds=time.monotonic() - begun, calls=len(calls) + bool(line.search)),
        )

    def _found(self, query: str) -> str:
        if self.library is None:
            raise ValueError("the script searches, but the thinker has no library")
        hits = self.library.search(query)
        return "\n".join(f"{hit.path}: {hit.excerpt}" for hit in hits)


def _steps(line: Line) -> tuple[Proposal, ...]:
    return line.propose, *line.variants


def _named(proposal: Proposal) -> Iterator[str]:
    """The strings of a proposal that are a `$name`, and nothing else."""
    match proposal:
        case Act(arguments=arguments):
            yield from _names(arguments)
        case Finish(answer=answer):
            yield from _names(answer)
        case _:
            return


def _names(value: Any) -> Iterator[str]:
    match value:
        case str():
            if _NAMED.fullmatch(value):
                yield value
        case dict():
            for item in value.values():
                yield from _names(item)
        case list():
            for item in value:
                yield from _names(item)
        case _:
            return


def _filled(proposal: Proposal, known: Mapping[str, str]) -> Proposal:
    match proposal:
        case Act(arguments=arguments):
            return proposal.model_copy(update={"arguments": _put(arguments, known)})
        case Finish(answer=answer):
            return proposal.model_copy(update={"answer": _put(answer, known)})
        case _:
            return proposal


def _put(value: Any, known: Mapping[str, str]) -> Any:
    match value:
        case str():
            return known.get(value, value)
        case dict():
            return {key: _put(item, known) for key, item in value.items()}
        case list():
            return [_put(item, known) for item in value]
        case _:
            return value
