"""A model that answers messages, wherever it runs and whoever serves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from pydantic import Field

from audition.step import MOST, Digest, Exchange, Frozen, JsonObject, Name, Usage
from audition.unfinished import Unfinished, leave


class ModelAway(OSError):
    """No server answers, or it keeps failing or stalling: nobody's fault who asked; ask later."""


class ModelError(ValueError):
    """The server answered with what is no answer, refuses the request, or is another model now."""


class ToolCall(Frozen):
    """A tool that the model wants called; nothing of it is checked yet."""

    id: str
    """The model's own name for this call, which the result is sent back under."""
    name: str
    """Which tool."""
    arguments: str
    """The arguments as written, meant to be a JSON object."""


class Reply(Frozen):
    """One answer of a model."""

    text: str = ""
    """What it says."""
    reasoning: str = ""
    """What it thought before it said so, where the server shows it."""
    calls: tuple[ToolCall, ...] = ()
    """The tools that it wants called, in order."""
    finish: str = ""
    """Why it stopped: `stop`, `tool_calls`, `length` …, as the server says."""
    model: Name
    """What the server calls the model that answered."""
    usage: Usage
    """Time, tokens and money; what a server does not count is taken at one token a byte."""
    exchange: Exchange
    """The request and the reply, exactly."""


class Chat(Protocol):
    """A model that answers messages."""

    name: str
    """As a run is opened with it: the model and where it is served."""

    def configuration(self) -> Digest:
        """Digest of everything that decides how it answers; no key is part of it."""
        ...

    async def reply(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] = (),
        schema: JsonObject | None = None,
        tokens: int | None = None,
    ) -> Reply:
        """Ask once.

        Args:
            messages: in the chat-completions format: `role`, `content`, `tool_calls`,
                `tool_call_id`.
            tools: functions that it may call, in the same format.
            schema: JSON schema that the text must keep to, where the server can hold it to one; the
                answer is to be checked all the same.
            tokens: most tokens of the answer.

        Raises:
            ModelAway: no answer is to be had now.
            ModelError: there is an answer, and it cannot be used.
        """
        ...


class Asked(Frozen):
    """How a model is asked, beside its messages; part of every configuration."""

    temperature: float | None = Field(default=None, ge=0, le=10)
    """Of sampling; None: the server's own."""
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    """Of sampling, for servers that take one."""
    tokens: int = Field(default=4096, ge=1, le=1_000_000)
    """Most tokens of one answer."""
    usd_in: float = Field(default=0.0, ge=0, le=1e6)
    """What a million tokens read costs."""
    usd_out: float = Field(default=0.0, ge=0, le=1e6)
    """What a million tokens written costs."""

    def usd(self, read: int, wrote: int) -> float:
        """What so many tokens cost."""
        return min((read * self.usd_in + wrote * self.usd_out) / 1e6, MOST)


def same_model(name: str, before: str | None, reply: Reply) -> str:
    """The model that answers, if it is the one that answered before; None: there was none.

    Raises:
        ModelError: it is another; a run must not change its thinker unnoticed. The error carries
            the reply.
    """
    if before not in (None, reply.model):
        error = ModelError(
            f"{name}: {reply.model!r} answers now, {before!r} did before; a run keeps its model: "
            "have the server serve that one, or begin another run"
        )
        leave(error, Unfinished(exchanges=(reply.exchange,), usage=reply.usage))
        raise error
    return reply.model


def sendable(value: Any) -> Any:
    """The messages with what UTF-8 cannot carry replaced by a question mark."""
    match value:
        case str() if not value.isascii():
            return value.encode("utf-8", "replace").decode()
        case dict():
            items = cast("dict[str, Any]", value)
            return {sendable(key): sendable(item) for key, item in items.items()}
        case list() | tuple():
            return [sendable(item) for item in cast("Sequence[Any]", value)]
        case _:
            return value
