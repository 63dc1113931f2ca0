"""A language model thinks: calls of tools in the box, then one proposal, within budgets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from audition.box import Library, LibraryError
from audition.canonical import digest_value
from audition.model import Chat, Reply, ToolCall
from audition.plain import shown
from audition.step import (
    MOST,
    Box,
    Completed,
    Digest,
    Exchange,
    Frozen,
    History,
    JsonObject,
    Proposal,
    Thought,
    ToolSchema,
    Usage,
)
from audition.think.proposing import NAME, Malformed, Propose, function, loaded
from audition.think.telling import (
    RULES,
    Rendering,
    answered,
    called,
    completed,
    conversation,
    spoken,
)
from audition.unfinished import Unfinished, leave, left

KEPT_MAX = 32 << 20
"""Bytes of requests, replies and output that one thought may leave behind."""

HITS = 10
"""Hits that one search gives back."""


class Undecided(Exception):
    """The budget was spent without a proposal; says which part of it."""


class ThoughtBudget(Frozen):
    """What one thought may cost; reaching a limit ends it without a proposal."""

    calls: int = Field(default=40, ge=0, le=10_000)
    """Calls of tools in the box and proposals that were malformed, together."""
    tokens: int = Field(default=400_000, ge=1, le=MOST)
    """Tokens read and written, as the server counts them."""
    seconds: float = Field(default=540, gt=0, le=86_400)
    """Wall-clock time after which nothing more is asked or run. What is under way has its own
    limits (the server's patience, the box's), so that a model that is away shows as away."""
    history: int = Field(default=100_000, ge=4000, le=1 << 23)
    """Characters of the history that the model is told, the newest."""
    part: int = Field(default=8000, ge=500, le=1 << 20)
    """Characters of one result or one part of the history; at most an eighth of `history`."""

    @property
    def longest(self) -> int:
        """Characters of one part, so that the newest entry always has room."""
        return min(self.part, self.history // 8)


class LanguageModel:
    """Thinks with a model that answers messages; holds nothing from one thought to the next.

    What it is told follows from the history alone, so a run that was killed goes on as it would
    have, and candidates are rolled out by the same calls. What the box answers is given back
    bounded and marked as data.

    Args:
        chat: the model.
        tools: schemas of what may act; one called `ask` allows questions to a person.
        budget: what one thought may cost.
        library: what it may search and read.

    Raises:
        ValueError: a tool's schema refers to itself, or out of itself.
    """

    stateless = True
    """Its whole state is in the call and the box, so it can be called again from a snapshot."""

    def __init__(
        self,
        chat: Chat,
        tools: Sequence[ToolSchema],
        *,
        budget: ThoughtBudget | None = None,
        library: Library | None = None,
    ) -> None:
        self.name = chat.name
        self.chat = chat
        """The model."""
        self._budget = budget or ThoughtBudget()
        self._rendering = Rendering(self._budget.history, self._budget.longest)
        self._library = library
        self._propose = Propose(tools)
        reading = [_SEARCH, _READ] if library is not None else []
        self._tools = [_RUN, *reading, self._propose.function]

    def configuration(self) -> Digest:
        """Digest of model, tools, budgets, library and rules, which a run is opened with."""
        return digest_value(
            {
                "chat": self.chat.configuration(),
                "tools": self._tools,
                "executors": self._propose.configuration(),
                "budget": self._budget.model_dump(),
                "library": self._library.digest() if self._library is not None else None,
                "rules": RULES,
            }
        )

    def by(self, chat: Chat) -> LanguageModel:
        """The same thinker with another model."""
        return LanguageModel(chat, self._propose.tools, budget=self._budget, library=self._library)

    async def think(self, history: History, box: Box) -> Thought:
        """Think in the box as long as the budget lasts; end in one proposal.

        Whatever it raises carries what was thought, said and spent until then.

        Raises:
            Undecided: the budget is spent.
            ModelAway: the model does not answer now; nothing of the thought is kept.
            ModelError: the model's answer cannot be used.
        """
        thinking = _Thinking(self._budget, begun=time.monotonic())
        messages = conversation(history, self._rendering)
        proposal = None
        try:
            while proposal is None:
                most = thinking.tokens_left()
                reply = await self.chat.reply(messages, tools=self._tools, tokens=most)
                thinking.heard(reply)
                proposal = await self._answer(reply, box, messages, thinking)
        except BaseException as error:
            leave(error, thinking.so_far().then(left(error)))
            raise
        return Thought(proposal=proposal, **dict(thinking.so_far()))

    async def _answer(
        self, reply: Reply, box: Box, messages: list[JsonObject], thinking: _Thinking
    ) -> Proposal | None:
        """Take a reply: the proposal that it makes, or further messages that answer it."""
        again: list[JsonObject] = []
        answers: list[JsonObject] = []
        for call in reply.calls:
            id = f"call{thinking.used % 100_000:05}"
            name = call.name if call.name in (*self._names(), NAME) else "unknown"
            written = "{}"  # servers refuse to be told again what is no JSON
            try:
                arguments = loaded(call.arguments)
                written = call.arguments
                if name == NAME and len(reply.calls) > 1:
                    raise Malformed(f"call `{NAME}` alone, once you have seen the rest")
                if name == NAME:
                    return self._propose.read(call.arguments)
                told = await self._call(call, arguments, box, thinking)
            except Malformed as error:
                thinking.complaint = str(error)
                told = f"Not taken: {error}."
            again.append(called(id, name, written))
            answers.append(answered(id, f"{told}\n({thinking.spend()})"))
        if not reply.calls:
            cut = "it was cut at its longest; " if reply.finish == "length" else ""
            thinking.complaint = f"{cut}a reply without a call"
            told = f"Not taken: {thinking.complaint}. Call `{NAME}` with one step."
            answers.append({"role": "user", "content": f"{told}\n({thinking.spend()})"})
        messages += [spoken(reply.text, again), *answers]
        return None

    async def _call(
        self, call: ToolCall, arguments: dict[str, Any], box: Box, thinking: _Thinking
    ) -> str:
        """What a tool in the box says.

        Raises:
            Malformed: there is no such tool, or it takes other arguments.
            Undecided: no calls are left.
        """
        thinking.allow()
        match call.name, arguments:
            case "run", {"command": str(line), **rest} if not rest:
                done = await _run(box, ["/bin/sh", "-c", line])
            case "run", {"argv": [*argv], **rest} if not rest and _words(argv):
                done = await _run(box, argv)
            case "search", {"query": str(query), **rest} if not rest and self._library:
                hits = self._library.search(query, HITS)
                found = "\n".join(f"{hit.path}: {hit.title}\n  {hit.excerpt}" for hit in hits)
                done = _looked("search", query, found)
            case "read", {"path": str(path), **rest} if self._library and not set(rest) - {
                "offset"
            }:
                done = self._read(path, rest.get("offset", 0))
            case ("run" | "search" | "read") as name, _ if name in self._names():
                raise Malformed(f"{name}: {_TAKES[name]}")
            case _:
                names = ", ".join([*self._names(), NAME])
                raise Malformed(f"no tool is called {shown(call.name, 60)!r}; there are: {names}")
        thinking.did(done)
        return completed(done, self._budget.longest)

    def _names(self) -> list[str]:
        return ["run", "search", "read"] if self._library is not None else ["run"]

    def _read(self, path: str, offset: object) -> Completed:
        assert self._library is not None
        if not isinstance(offset, int) or not 0 <= offset <= MOST:
            raise Malformed("read: offset is a number of bytes")
        try:
            passage = self._library.read(path, offset, self._budget.longest)
        except LibraryError as error:
            raise Malformed(f"read: {shown(str(error), 200)}") from None
        told = f"{passage.text}\n(bytes from {offset}, of {passage.size})"
        return _looked("read", path, told)


@dataclass
class _Thinking:
    """One thought under way, and what is left of its budget."""

    budget: ThoughtBudget
    begun: float
    used: int = 0
    complaint: str = ""
    tokens: int = 0
    kept: int = 0
    usd: float = 0.0
    tokens_in: int = 0
    said: list[str] = field(default_factory=list[str])
    calls: list[Completed] = field(default_factory=list[Completed])
    exchanges: list[Exchange] = field(default_factory=list[Exchange])

    def tokens_left(self) -> int:
        self._in_time()
        left = self.budget.tokens - self.tokens
        if left <= 0:
            raise Undecided(self._spent(f"{self.budget.tokens} tokens", "tokens"))
        return left

    def heard(self, reply: Reply) -> None:
        self.exchanges.append(reply.exchange)
        self.said += [text for text in (reply.reasoning, reply.text) if text]
        self.tokens_in += reply.usage.tokens_in
        self.tokens += reply.usage.tokens_in + reply.usage.tokens_out
        self.usd += reply.usage.usd
        self._keep(len(reply.exchange.request) + len(reply.exchange.reply))

    def did(self, call: Completed) -> None:
        self.calls.append(call)
        self._keep(len(call.stdout) + len(call.stderr))

    def allow(self) -> None:
        self._in_time()
        if self.used >= self.budget.calls:
            raise Undecided(self._spent(f"{self.budget.calls} calls", "calls"))

    def spend(self) -> str:
        """Count one call, and say how many are left."""
        self.allow()
        self.used += 1
        left = self.budget.calls - self.used
        return f"{left} calls are left" if left else f"no calls are left: call `{NAME}` now"

    def so_far(self) -> Unfinished:
        return Unfinished(
            content="\n\n".join(self.said),
            calls=tuple(self.calls),
            exchanges=tuple(self.exchanges),
            usage=Usage(
                seconds=time.monotonic() - self.begun,
                calls=len(self.calls),
                tokens_in=min(self.tokens_in, MOST),
                tokens_out=min(self.tokens - self.tokens_in, MOST),
                usd=min(self.usd, MOST),
            ),
        )

    def _in_time(self) -> None:
        if time.monotonic() - self.begun > self.budget.seconds:
            raise Undecided(self._spent(f"{self.budget.seconds:g} s", "seconds"))

    def _keep(self, size: int) -> None:
        self.kept += size
        if self.kept > KEPT_MAX:
            raise Undecided(f"no proposal, and {KEPT_MAX} bytes said: the thought is too long")

    def _spent(self, what: str, limit: str) -> str:
        last = f" (the last was not taken: {self.complaint})" if self.complaint else ""
        return f"no proposal within {what}{last}; raise budget.{limit}"


_TAKES = {
    "run": 'it takes either "command", a line for the shell, or "argv", a list of words',
    "search": 'it takes "query", some words',
    "read": 'it takes "path", and "offset" in bytes if it is not 0',
}

_RUN = function(
    "run",
    "Run a command in the box: a line for the shell, or a program and its arguments.",
    {
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "a line for /bin/sh -c"},
            "argv": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": False,
    },
)
_SEARCH = function(
    "search",
    "Find the pages of the library that hold most of some words.",
    {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
        "additionalProperties": False,
    },
)
_READ = function(
    "read",
    "Read part of a page of the library, from a byte on.",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "offset": {"type": "integer"}},
        "required": ["path"],
        "additionalProperties": False,
    },
)


async def _run(box: Box, argv: Sequence[str]) -> Completed:
    try:
        return await box.run(argv)
    except ValueError as error:
        raise Malformed(f"run: {shown(str(error), 200)}") from None


def _words(argv: list[Any]) -> bool:
    return bool(argv) and all(isinstance(word, str) for word in argv)


def _looked(tool: str, what: str, found: str) -> Completed:
    """A look into the library, recorded as a call like any other."""
    return Completed(argv=(tool, what), returncode=0, stdout=found.encode(), stderr=b"")
