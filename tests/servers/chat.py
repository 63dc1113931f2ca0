"""A chat-completions server that says what a script says: a real process, the real protocol.

`python tests/servers/chat.py --script FILE --port 0` prints its port and serves on loopback. The
script is a JSON list; each request takes its next entry, and the last one stays. An entry is a
reply or a fault::

    {"text": …, "reasoning": …, "calls": [{"name": …, "arguments": {…} or "…"}], "model": …,
     "finish": …, "usage": [tokens in, tokens out] or null}
    {"status": 429, "headers": {…}, "body": "…"}
    {"raw": "…", "headers": {…}}     these bytes (Latin-1) as the body, with status 200
    {"cut": n}                       the reply of "text", of which only n bytes come
    {"stall": n}                     the same, and then silence until the other side goes
    {"mute": true}                   takes the request, and then silence
    {"drop": true}                   hangs up without a word
    {"wire": "…"}                    these bytes (Latin-1) in place of any HTTP at all

`--log FILE` keeps a line of JSON for each request and what was sent back: the observer outside.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIECES = 3
"""Pieces that a streamed text and each call's arguments come in."""

PATIENCE = 60
"""Seconds after which a request that did not come is taken to be none."""


@dataclass(frozen=True)
class Seen:
    """One request as the server saw it, and what it sent back."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    sent: bytes
    """The body of the answer, as far as it went out."""

    @property
    def asked(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(frozen=True)
class ChatServer:
    """A server under way."""

    port: int
    log: Path

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def seen(self) -> list[Seen]:
        whole = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        return [_seen(json.loads(line)) for line in whole]

    def counted(self, least: int) -> int:
        """How many requests came, once these have: who asked may have given up before."""
        until = time.monotonic() + PATIENCE
        while (count := len(self.seen)) < least and time.monotonic() < until:
            time.sleep(0.01)
        return count


@contextlib.contextmanager
def chat_server(*script: Mapping[str, Any]) -> Iterator[ChatServer]:
    """A server process that follows this script, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        written, log = Path(folder, "script.json"), Path(folder, "log.jsonl")
        written.write_text(json.dumps(script))
        command = [sys.executable, "-I", "-S", __file__, "--script", written, "--log", log]
        command.append("--attached")
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            try:
                yield ChatServer(int(process.stdout.readline()), log)
            finally:
                process.terminate()


def proposing(fields: Mapping[str, Any], **further: Any) -> dict[str, Any]:
    """The reply that puts one proposal forward."""
    return {"calls": [{"name": "propose", "arguments": {"proposal": fields}}], **further}


def calling(name: str, arguments: Any, **further: Any) -> dict[str, Any]:
    """The reply that calls one tool."""
    return {"calls": [{"name": name, "arguments": arguments}], **further}


def _seen(line: Mapping[str, Any]) -> Seen:
    body, sent = (base64.b64decode(line[part]) for part in ("body", "sent"))
    return Seen(path=line["path"], headers=line["headers"], body=body, sent=sent)


# ------------------------------------------------------------------------ the process


class _Server:
    def __init__(self, script: Sequence[Mapping[str, Any]], log: Path | None) -> None:
        self.script = script
        self.log = log
        self.count = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (x.split(":", 1) for x in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        turn = self.script[min(self.count, len(self.script) - 1)]
        self.count += 1
        answer = _answer(turn, json.loads(body) if body else {}, self.count)
        self._note(first.split(" ")[1], headers, body, answer.body)
        writer.write(answer.wire)
        await writer.drain()
        if answer.stall:
            await reader.read()
        return answer.stays

    def _note(self, path: str, headers: Mapping[str, str], body: bytes, sent: bytes) -> None:
        if self.log is None:
            return
        told = {"path": path, "headers": headers}
        told |= {"body": base64.b64encode(body).decode(), "sent": base64.b64encode(sent).decode()}
        with self.log.open("a") as file:
            file.write(json.dumps(told) + "\n")


@dataclass(frozen=True)
class _Answer:
    wire: bytes
    body: bytes = b""
    stays: bool = True
    stall: bool = False


def _answer(turn: Mapping[str, Any], asked: Mapping[str, Any], number: int) -> _Answer:
    if turn.get("drop"):
        return _Answer(b"", stays=False)
    if turn.get("mute"):
        return _Answer(b"", stays=False, stall=True)
    if "wire" in turn:
        return _Answer(turn["wire"].encode("latin-1"), stays=False)
    if "status" in turn:
        body = turn.get("body", "").encode()
        return _framed(body, turn["status"], turn.get("headers", {}))
    headers = dict(turn.get("headers", {}))
    if "raw" in turn:
        headers.setdefault("content-type", "application/json")
        return _framed(turn["raw"].encode("latin-1"), 200, headers)
    stream = bool(asked.get("stream"))
    headers["content-type"] = "text/event-stream" if stream else "application/json"
    body = _events(turn, asked, number) if stream else _completion(turn, asked, number)
    whole = _framed(body, 200, headers)
    most = turn.get("cut", turn.get("stall"))
    if most is None:
        return whole
    head = len(whole.wire) - len(body)
    return _Answer(whole.wire[: head + most], body[:most], stays=False, stall="stall" in turn)


def _framed(body: bytes, status: int, headers: Mapping[str, str]) -> _Answer:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return _Answer("\r\n".join([*lines, "", ""]).encode("latin-1") + body, body)


def _completion(turn: Mapping[str, Any], asked: Mapping[str, Any], number: int) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": turn.get("text")}
    if turn.get("reasoning"):
        message["reasoning_content"] = turn["reasoning"]
    if calls := _calls(turn, number):
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _finish(turn)}
    told = {**_envelope(turn, asked, "chat.completion"), "choices": [choice]}
    return json.dumps(told | _usage(turn)).encode()


def _events(turn: Mapping[str, Any], asked: Mapping[str, Any], number: int) -> bytes:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": part} for part in _pieces(turn.get("reasoning") or "")]
    deltas += [{"content": part} for part in _pieces(turn.get("text") or "")]
    for index, call in enumerate(_calls(turn, number)):
        arguments = call["function"].pop("arguments")
        deltas.append({"tool_calls": [{"index": index, **call}]})
        for part in _pieces(arguments):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": _finish(turn)})
    envelope = _envelope(turn, asked, "chat.completion.chunk")
    chunks = [{**envelope, "choices": [choice]} for choice in choices]
    if _usage(turn) and asked.get("stream_options", {}).get("include_usage"):
        chunks.append({**envelope, "choices": [], **_usage(turn)})
    lines = [json.dumps(chunk) for chunk in chunks] + ["[DONE]"]
    return b": hello\n\n" + "".join(f"data: {line}\n\n" for line in lines).encode()


def _envelope(turn: Mapping[str, Any], asked: Mapping[str, Any], kind: str) -> dict[str, Any]:
    model = turn.get("model", asked.get("model", ""))
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": model}


def _calls(turn: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{number}_{index}",
            "type": "function",
            "function": {
                "name": call["name"],
                "arguments": call["arguments"]
                if isinstance(call["arguments"], str)
                else json.dumps(call["arguments"]),
            },
        }
        for index, call in enumerate(turn.get("calls", ()))
    ]


def _usage(turn: Mapping[str, Any]) -> dict[str, Any]:
    if (counted := turn.get("usage", [7, 5])) is None:
        return {}
    read, wrote = counted
    told = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
    return {"usage": told}


def _finish(turn: Mapping[str, Any]) -> str:
    return turn.get("finish", "tool_calls" if turn.get("calls") else "stop")


def _pieces(text: str) -> list[str]:
    size = max(1, -(-len(text) // PIECES))
    return [text[at : at + size] for at in range(0, len(text), size)]


async def _serve(server: _Server, port: int) -> None:
    listener = await asyncio.start_server(server.handle, "127.0.0.1", port, limit=1 << 26)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


def _end_with_input() -> None:
    """Whoever started this process may be killed."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--attached", action="store_true", help="end with standard input")
    given = parser.parse_args()
    if given.attached:
        threading.Thread(target=_end_with_input, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(_Server(json.loads(given.script.read_text()), given.log), given.port))
