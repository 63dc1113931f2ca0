"""The near end of an executor in a process of its own: it holds no credential and passes on."""

from __future__ import annotations

import socket
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import Field, TypeAdapter

from audition.act import wire
from audition.act.credential import SetupError
from audition.failing import told
from audition.plain import shown
from audition.step import Act, Digest, Frozen, Name, Outcome, Ticket, ToolSchema, digest_of

SOON = 10.0
"""Seconds within which a process answers what it can answer at once."""

_SCHEMAS = TypeAdapter(list[ToolSchema])


class RemoteSetup(Frozen):
    """`[tools.remote]`, or one of several `[tools.remote.LABEL]`."""

    socket: str = Field(min_length=1, max_length=107)
    """The Unix socket of `audition executor`."""
    tools: dict[Name, Digest] = Field(min_length=1, max_length=1000)
    """Its tools that the project uses, each pinned by the digest that the process prints."""
    seconds: float = Field(default=3600, gt=0, le=86400)
    """Seconds for one act, as long as the slowest tool may take."""


class Remote:
    """Hands a redeemed ticket to the process that can perform it, and answers with its answer.

    A process that is not there, or refuses, has done nothing. One that is lost after the ticket was
    handed over may have done it: the outcome is `unknown`, and the act in doubt.

    Args:
        setup: where the process is, and what its tools are expected to be.
        tool: which of them this is.

    Raises:
        SetupError: the process is not there, or its tool is not the one that is pinned.
    """

    def __init__(self, setup: RemoteSetup, tool: str) -> None:
        self._setup = setup
        try:
            answer = self._ask({"ask": "schemas"})
            schemas = _SCHEMAS.validate_python(answer.get("schemas"))
        except (OSError, ValueError) as error:
            why = shown(" ".join(told(error).split()), 300)
            raise SetupError(f"{setup.socket}: {why}; start `audition executor` there") from None
        if (schema := next((one for one in schemas if one.name == tool), None)) is None:
            known = ", ".join(one.name for one in schemas)
            raise SetupError(f"{setup.socket}: no tool {tool!r} there; known: {shown(known, 300)}")
        if digest_of(schema) != setup.tools.get(tool):
            raise SetupError(
                f"tools.{tool}: the process at {setup.socket} has {digest_of(schema)}, which is "
                "not the one pinned here; find out what changed, then pin it"
            )
        self.schema = schema

    def refuses(self, act: Act) -> str:
        """Why the arguments do not fit, as the process says; empty if they do."""
        try:
            wrong = self._ask({"ask": "fits", "act": act.model_dump(exclude_none=True)})["wrong"]
            return str(wrong)
        except (OSError, ValueError, KeyError) as error:
            return f"{act.tool}: the executor's process cannot say whether it fits: {told(error)}"

    async def act(self, ticket: Ticket) -> Outcome:
        """Hand the ticket over, once; whatever comes of it is an outcome, not an error."""
        handed_over = False
        try:
            request = wire.frame({"ask": "act", "ticket": ticket.model_dump(exclude_none=True)})
            with anyio.fail_after(self._setup.seconds):
                async with await anyio.connect_unix(self._setup.socket) as stream:
                    heard = BufferedByteReceiveStream(stream)
                    with anyio.fail_after(SOON):
                        _greeted(await _hear(heard))
                    handed_over = True
                    await stream.send(request)
                    answer = await _hear(heard)
            if (why := answer.get("refused")) is not None:
                return Outcome(status="refused", output=shown(str(why), 2000))
            return Outcome.model_validate(answer.get("outcome"))
        except Exception as error:  # noqa: BLE001  whatever broke: was the ticket handed over?
            why = shown(" ".join(told(error).split()), 500)
            if handed_over:
                return Outcome(status="unknown", output=f"the executor's process was lost: {why}")
            return Outcome(status="failed", output=f"nothing was done: {why}")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask what changes nothing.

        Raises:
            OSError: the process is not there, or stalls.
            ValueError: it answers with what is no answer, or refuses.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SOON)
            connection.connect(self._setup.socket)
            _greeted(_read(connection))
            connection.sendall(wire.frame(request))
            answer = _read(connection)
        if "refused" in answer:
            raise ValueError(str(answer["refused"]))
        return answer


def _greeted(greeting: dict[str, Any]) -> None:
    """Whether an executor of this version is at the other end, and listens to us.

    Raises:
        ValueError: it does not.
    """
    if greeting != {"executors": wire.VERSION}:
        raise ValueError(str(greeting.get("refused", "no executor of this version answers")))


async def _hear(stream: BufferedByteReceiveStream) -> dict[str, Any]:
    size = wire.length(await stream.receive_exactly(wire.PREFIX))
    return wire.message(await stream.receive_exactly(size))


def _read(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as file:
        prefix = file.read(wire.PREFIX)
        if len(prefix) < wire.PREFIX:
            raise ConnectionError("it hung up")
        size = wire.length(prefix)
        body = file.read(size)
    if len(body) < size:
        raise ConnectionError("it hung up")
    return wire.message(body)
