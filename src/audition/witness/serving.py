"""The witness's server: C2SP tlog-witness, and a question for the latest checkpoint of a ledger."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from audition.plain import shown
from audition.witness.logs import TrustedLogs
from audition.witness.memory import Contradicted, Memory, MemoryLost
from audition.witness.submission import LARGEST, Malformed, Submission

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PATIENCE = 10.0
"""Seconds in which a request's body must come."""

AT_ONCE = 64
"""Connections that are heard at once; further ones are turned away."""

SIZE = "text/x.tlog.size"
"""The kind of an answer that is the size remembered."""

UNKNOWN = "no such ledger is known here\n"


async def serve(
    memory: Memory,
    logs: TrustedLogs,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] = lambda address: None,
    told: Callable[[str], None] = lambda line: None,
) -> None:
    """Witness until the process is told to end.

    Args:
        memory: what is remembered, and the key.
        logs: whose checkpoints are taken.
        host: where to listen.
        port: and on which port; 0: any that is free.
        ready: called with the address once it listens.
        told: called with a line for every checkpoint that contradicts what is remembered.

    Raises:
        OSError: nothing can listen there.
    """
    import uvicorn

    config = uvicorn.Config(
        application(memory, logs, told=told),
        log_config=None,
        access_log=False,
        lifespan="off",
        limit_concurrency=AT_ONCE,
        timeout_keep_alive=int(PATIENCE),
        timeout_graceful_shutdown=int(PATIENCE),
        server_header=False,
    )
    config.load()
    with _socket(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listener.getsockname()[1]}")
        await uvicorn.Server(config).serve(sockets=[listener])


def application(
    memory: Memory,
    logs: TrustedLogs,
    *,
    clock: Callable[[], float] = time.time,
    told: Callable[[str], None] = lambda line: None,
) -> Starlette:
    """The witness as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    def say(status: int, text: str, kind: str = "text/plain; charset=utf-8") -> Response:
        return Response(text, status, {"Content-Type": kind})

    async def add(request: Request) -> Response:
        try:
            with anyio.fail_after(PATIENCE):
                body = await _body(request)
            sent = Submission.read(body)
        except TimeoutError:
            return say(408, f"no whole request within {PATIENCE:.0f} seconds\n")
        except Malformed as error:
            return say(400, shown(str(error), 300) + "\n")
        return await anyio.to_thread.run_sync(answer, sent)

    def answer(sent: Submission) -> Response:
        origin = sent.head.origin
        owner = memory.owner(origin)
        keys = logs.keys(origin, owner)
        if not keys and owner is None:
            return say(404, UNKNOWN)
        signer = sent.signer(keys)
        if signer is None:
            return say(403, "signed by no key that is trusted for this ledger\n")
        try:
            line = memory.advance(sent, signer, int(clock()))
        except Contradicted as error:
            if error.proves:
                told(f"{shown(origin, 200)}: {error}; signed by {signer.id}, not co-signed")
            if error.size is not None:
                return say(409, f"{error.size}\n", SIZE)
            return say(422, f"{error}\n")
        except MemoryLost as error:
            told(str(error))
            return say(500, "the witness cannot remember\n")
        return say(200, line)

    async def latest(request: Request) -> Response:
        origin = request.query_params.get("origin", "")
        note = await anyio.to_thread.run_sync(memory.latest, origin)
        return say(404, UNKNOWN) if note is None else say(200, note)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add, methods=["POST"]),
            Route("/checkpoint", latest, methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise Malformed(f"more than {LARGEST} bytes")
    return bytes(body)


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
