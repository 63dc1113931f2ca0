"""A person thinks, at a terminal, by keyboard alone.

The person sees the goal, the open step and what happened last, may run commands in the box, and
types one step as JSON. Everything from elsewhere is shown plainly, so that it cannot act on the
screen.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from audition.canonical import canonical, digest_value
from audition.plain import shown
from audition.step import (
    Box,
    Completed,
    Digest,
    History,
    Message,
    Proposal,
    Thought,
    ToolSchema,
    Turn,
    Usage,
)
from audition.think.proposing import Malformed, Propose, fields, loaded
from audition.think.telling import completed
from audition.unfinished import Unfinished, leave

ENTRIES = 6
"""Entries of the history that are shown."""

PART = 4000
"""Characters that are shown of a command's output, a proposal or an outcome."""

TRIES = 1000
"""Lines that a person may type before one is a step."""

HELP = """\
Type a command for the box after $, as in: $ ls -l
or the step to take next, as JSON: {"kind": "act", "tool": …, "arguments": {…}, "reason": …},
{"kind": "ask", "question": …}, {"kind": "think", "prompt": …}, {"kind": "finish", "answer": …}"""


class PersonThinker:
    """Asks whoever sits at the keyboard what to do next.

    Args:
        name: the person's name.
        tools: schemas of what may act; one called `ask` allows questions to a person.
        say: shows some lines.
        hear: asks for a line and waits for it; what it raises where the person is gone ends the
            thought, and nothing is proposed.
    """

    person = True

    def __init__(
        self,
        name: str,
        tools: Sequence[ToolSchema],
        *,
        say: Callable[[str], None] = print,
        hear: Callable[[str], Awaitable[str]],
    ) -> None:
        self.name = name
        self._propose = Propose(tools)
        self._say = say
        self._hear = hear

    def configuration(self) -> Digest:
        """Digest of the person's name and the tools, which a run is opened with."""
        return digest_value({"person": self.name, "executors": self._propose.configuration()})

    async def think(self, history: History, box: Box) -> Thought:
        """Show how the run stands, run what is typed after `$`, and wait for a step.

        Raises:
            ValueError: `TRIES` lines held no step.
        """
        begun = time.monotonic()
        calls: list[Completed] = []

        def so_far() -> Unfinished:
            usage = Usage(seconds=time.monotonic() - begun, calls=len(calls))
            return Unfinished(calls=tuple(calls), usage=usage)

        try:
            self._show(history)
            for _ in range(TRIES):
                said = (await self._hear("$ command, or the step as JSON: ")).strip()
                if said.startswith("$"):
                    await self._run(box, said[1:].strip(), calls)
                elif (proposal := self._read(said)) is not None:
                    return Thought(proposal=proposal, **dict(so_far()))
            raise ValueError(f"{self.name}: {TRIES} lines, and none was a step")
        except BaseException as error:
            leave(error, so_far())
            raise

    def _show(self, history: History) -> None:
        self._say(f"\nGoal: {shown(history.goal, PART)}")
        if len(history) > ENTRIES:
            self._say(f"({len(history) - ENTRIES} earlier entries)")
        for entry in history.last(ENTRIES):
            self._say(f"  | {_line(entry)}")
        if history.place != "1":
            self._say(f"Open step {history.place}: {shown(history.prompt, PART)}")
        for tool in self._propose.tools:
            parameters = shown(canonical(tool.parameters).decode(), PART)
            self._say(f"Tool {shown(tool.name)}: {shown(tool.description, 300)} {parameters}")
        self._say(HELP)

    async def _run(self, box: Box, line: str, calls: list[Completed]) -> None:
        try:
            done = await box.run(["/bin/sh", "-c", line])
        except ValueError as error:
            return self._say(shown(str(error), 300))
        calls.append(done)
        return self._say(completed(done, PART))

    def _read(self, said: str) -> Proposal | None:
        try:
            return self._propose.step(loaded(said))
        except Malformed as error:
            self._say(f"No step: {error}")
            return None


def _line(entry: Message | Turn) -> str:
    if isinstance(entry, Message):
        return f"[{shown(entry.role, 40)}] {shown(entry.content, PART)}"
    proposed = shown(canonical(fields(entry.proposal)).decode(), PART)
    told = f"[{entry.number} at {entry.place}, {entry.action}] {proposed}"
    if entry.outcome is None:
        return told
    return f"{told} -> {entry.outcome.status}: {shown(entry.outcome.output, PART)}"
