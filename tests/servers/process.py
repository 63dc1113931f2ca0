"""A server as a process of its own, that keeps a log of what reached it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent


class Server:
    """Starts `servers/KIND.py LOG …`, which prints its port once it listens; ends it at the end."""

    def __init__(self, kind: str, log: Path, *arguments: object) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / f"{kind}.py", log, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stalls(self) -> None:
        """Wait until a request has reached a server that will not answer it."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "stalls\n"

    @property
    def log(self) -> list[Any]:
        """What reached the server, in its own words, oldest first."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def note(log: str, entry: Any) -> None:
    """Add a line to a log, whole; what reads it may be another process."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(file)


def until_told() -> None:
    """Wait until the process that started this one has ended, or says so."""
    sys.stdin.read()
    os._exit(0)
