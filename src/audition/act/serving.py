"""Executors in a process of their own: what others present is performed only if it was redeemed.

One process serves one file of executors, so that nothing can be performed by two: it holds the
file's lock for as long as it lives. Whoever is not among its callers hears nothing but a refusal;
a caller that stalls is dropped. What was begun is finished, whether or not its caller is there.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import TypeAdapter, ValidationError

from audition.act import wire
from audition.act.credential import SetupError
from audition.act.performing import Refused, kept
from audition.act.redeeming import InDoubt, Redemptions
from audition.failing import told
from audition.ledger import LedgerError
from audition.step import Act, Executor, Outcome, Ticket

PATIENCE = 10.0
"""Seconds in which a caller must say what it wants, and take the answer."""

AT_ONCE = 32
"""Callers that are listened to at once; others wait."""

MARGIN = 1024
"""Bytes of an answer beside its outcome."""

_ACT = TypeAdapter(Act)


async def serve(
    executors: Mapping[str, Executor],
    redemptions: Redemptions,
    where: str | Path,
    *,
    callers: Collection[int],
    group: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Perform what is presented and redeemed, until the process is told to end (SIGTERM, SIGINT).

    Args:
        executors: what performs, by the tool's name.
        redemptions: the ledger in which tickets are redeemed.
        where: the Unix socket to make.
        callers: ids of the users who may present tickets.
        group: the group that may connect, beside the owner; None: the owner alone.
        ready: called when the socket is there.

    Raises:
        SetupError: the socket cannot be made there.
    """
    desk = _Desk(executors, redemptions, frozenset(callers))
    async with _listener(Path(where), group) as listener, anyio.create_task_group() as at_work:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as listening:
                listening.start_soon(listener.serve, desk.receive, at_work)
                ready()
                async for _ in signals:
                    break
                listening.cancel_scope.cancel()


@contextmanager
def alone(file: str | Path) -> Generator[None]:
    """Hold a file of executors as the one process that performs with it.

    Raises:
        SetupError: another process holds it, or it cannot be read.
    """
    import fcntl  # of Unix, as the process is; the rest of the room is not

    try:
        held = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SetupError(f"{file}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SetupError(f"{file}: another process performs with it; end that first") from None
    finally:
        os.close(held)


class _Desk:
    """Where tickets are presented."""

    def __init__(
        self, executors: Mapping[str, Executor], redemptions: Redemptions, callers: frozenset[int]
    ) -> None:
        self._executors = dict(executors)
        self._redemptions = redemptions
        self._callers = callers
        self._limit = anyio.CapacityLimiter(AT_ONCE)

    async def receive(self, stream: anyio.abc.SocketStream) -> None:
        """Hear one caller out, do what it may have done, and answer."""
        async with stream:
            try:
                async with self._limit:
                    with anyio.fail_after(PATIENCE):
                        asked = await self._hear(stream)
                if asked is None:
                    return
                answer = await self._answer(asked)
                with anyio.fail_after(PATIENCE):
                    await stream.send(wire.frame(answer))
            except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
                return  # it went away or stalled; what was performed stands in nobody's answer

    async def _hear(self, stream: anyio.abc.SocketStream) -> dict[str, Any] | None:
        """What a caller asks, once it is known to be one."""
        uid = _uid(stream)
        if uid not in self._callers:
            why = f"user {uid} is not among the callers of this executor"
            await stream.send(wire.frame({"refused": why}))
            return None
        await stream.send(wire.frame({"executors": wire.VERSION}))
        heard = BufferedByteReceiveStream(stream)
        try:
            size = wire.length(await heard.receive_exactly(wire.PREFIX))
            return wire.message(await heard.receive_exactly(size))
        except ValueError as error:
            await stream.send(wire.frame({"refused": told(error)}))
            return None

    async def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            match asked:
                case {"ask": "schemas", **nothing} if not nothing:
                    schemas = [one.schema for one in self._executors.values()]
                    return {"schemas": [one.model_dump(exclude_none=True) for one in schemas]}
                case {"ask": "fits", "act": given, **nothing} if not nothing:
                    act = _ACT.validate_python(given)
                    return {"wrong": self._executor(act.tool).refuses(act)}
                case {"ask": "act", "ticket": given, **nothing} if not nothing:
                    outcome = await self._perform(Ticket.model_validate(given))
                    return {"outcome": outcome.model_dump(exclude_none=True)}
                case _:
                    return {"refused": "this is nothing that an executor can be asked"}
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            return {"refused": f"malformed: {first['msg']}"}
        except (Refused, LedgerError) as error:
            return {"refused": str(error)}
        except Exception as error:  # noqa: BLE001  whoever asks must not end this process
            return {"refused": told(error)}

    async def _perform(self, ticket: Ticket) -> Outcome:
        """Perform what a ticket permits, if its run redeemed it and nobody has performed it yet.

        Raises:
            Refused: it did not; nothing was done.
            LedgerError: the ledger cannot say; nothing was done.
        """
        if not isinstance(ticket.act, Act):
            raise Refused("an executor's process puts no questions")
        executor = self._executor(ticket.act.tool)
        try:
            await anyio.to_thread.run_sync(self._redemptions.take, ticket, executor)
        except InDoubt as doubt:
            return Outcome(status="unknown", output=str(doubt))
        try:
            return kept(await executor.act(ticket), wire.MOST - MARGIN)
        except Exception as error:  # noqa: BLE001  the world answered in its own way
            return Outcome(status="failed", output=told(error, 2000))

    def _executor(self, tool: str) -> Executor:
        if tool not in self._executors:
            raise Refused(f"there is no tool {tool[:200]!r} here")
        return self._executors[tool]


@asynccontextmanager
async def _listener(
    where: Path, group: int | None
) -> AsyncGenerator[anyio.abc.Listener[anyio.abc.SocketStream]]:
    """A socket that only those connect to who may.

    Raises:
        SetupError: it cannot be made there.
    """
    try:
        _free(where)
        before = os.umask(0o177)  # nobody else may connect, from the first instant
        try:
            listener = await anyio.create_unix_listener(where)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(where, -1, group)
            os.chmod(where, 0o660)
    except OSError as error:
        raise SetupError(f"{where}: {error.strerror or error}") from None
    try:
        async with listener:
            yield listener
    finally:
        with suppress(FileNotFoundError):
            os.unlink(where)


def _free(where: Path) -> None:
    """See that nobody listens there, and that nothing else would be replaced.

    Raises:
        SetupError: somebody does, or it is no socket.
    """
    try:
        mode = os.lstat(where).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"{where}: there is a file that is no socket; name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(where))
        except ConnectionRefusedError:
            return
    raise SetupError(f"{where}: another process listens there; end it, or name another path")


def _uid(stream: anyio.abc.SocketStream) -> int:
    """The user at the other end, as the kernel knows it."""
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    credentials = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1]
