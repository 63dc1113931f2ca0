"""What a model was asked and what it answered, from the exchanges that a ledger keeps.

Requests and replies are bytes from elsewhere, and are read strictly: a request whose messages are
not those of chat completions is none, and of a reply counts what `audition.model.completion` reads.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audition.canonical import parse
from audition.ledger import SqlLedger
from audition.model.chat import sendable
from audition.model.completion import Unread, streamed, whole
from audition.records.lines import parse as parsed
from audition.step import Digest, Exchange, JsonObject, Proposal, digest_of
from audition.think.proposing import NAME, Malformed, Propose, fields
from audition.think.telling import called, spoken

MESSAGES = 100_000
"""Most messages of one request."""


class Unreadable(ValueError):
    """Recorded bytes that are no exchange with a model that chats."""


@dataclass(frozen=True)
class Asked:
    """What stood before an answer."""

    messages: list[JsonObject]
    """The messages, as they were sent."""
    tools: list[JsonObject]
    """The tools that were offered with them."""


def exchanges(ledger: SqlLedger, name: Digest) -> list[Exchange]:
    """The exchanges that this name stands for, in order; none if it stands for nothing.

    Raises:
        LedgerError: they are gone.
        Unreadable: they are no list of exchanges.
    """
    if not name:
        return []
    data = ledger.get(name)
    try:
        return [Exchange.model_validate(one) for one in parse(data)]
    except (ValueError, TypeError):
        raise Unreadable(f"content {name[:12]}…: no list of exchanges") from None


def asked(exchange: Exchange) -> Asked:
    """What a request says.

    Raises:
        Unreadable: it is no request of chat completions.
    """
    try:
        body = parsed(exchange.request.decode())
        _Request.model_validate(body)
    except (ValueError, ValidationError):
        raise Unreadable("a request that is none of chat completions") from None
    tools = body.get("tools") or []
    assert isinstance(body["messages"], list) and isinstance(tools, list)
    return Asked([dict(one) for one in body["messages"]], [dict(one) for one in tools])  # type: ignore[arg-type]


def said(exchange: Exchange) -> JsonObject | None:
    """The message that a reply holds; None if it is no chat completion."""
    for read in (whole, streamed):
        with suppress(Unread):
            reply = read(exchange.reply)
            calls = [called(one.id, one.name, one.arguments) for one in reply.calls]
            message = spoken(reply.text, calls)
            if reply.reasoning:
                message = {**message, "reasoning_content": reply.reasoning}
            return sendable(message)
    return None


def told(proposal: Proposal) -> JsonObject:
    """The message with which a model would have put a step forward."""
    arguments: JsonObject = {"proposal": fields(proposal)}
    if proposal.alternatives:
        arguments["alternatives"] = [fields(one) for one in proposal.alternatives]
    written = json.dumps(arguments, ensure_ascii=False)
    return sendable(spoken("", [called("step", NAME, written)]))


def proposes(message: JsonObject, propose: Propose) -> Digest | None:
    """The digest of the step that a message puts forward; None if it does not."""
    calls = message.get("tool_calls")
    match calls:
        case [{"function": {"name": str(name), "arguments": str(written)}}] if name == NAME:
            with suppress(Malformed):
                return digest_of(propose.read(written))
    return None


# ------------------------------------------------------------------------ a request's own shape


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Function(_Strict):
    name: str
    arguments: str


class _Call(_Strict):
    id: str
    type: Literal["function"]
    function: _Function


class _Message(_Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    messages: list[_Message] = Field(min_length=1, max_length=MESSAGES)
    tools: list[JsonObject] | None = Field(default=None, max_length=1000)
