"""One measured system, as whoever measures it sees it: a process that is asked and answers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
SCRIPTS = {
    "audition": "ours.py",
    "langgraph": "on_langgraph.py",
    "dbos": "on_dbos.py",
    "floor": "floor.py",
}

Figures = dict[str, Any]


class Skipped(Exception):
    """This cannot be measured here; says why."""


class System:
    """One system in its own process."""

    def __init__(
        self, name: str, *, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [*before, sys.executable, str(HERE / SCRIPTS[name])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_quiet() | dict(environment or {}),
        )
        self.versions: dict[str, str] | None = None

    def ask(self, **task: Any) -> Figures:
        """Have it do a task.

        Raises:
            Skipped: it does not stand here, or fell over it.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if self.versions is None:
                self.versions = json.loads(self._process.stdout.readline())
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise Skipped(f"{self.name} ended; standard error says why") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


def _quiet() -> dict[str, str]:
    """The environment, without what would have a peer tell somebody outside what it does."""
    telling = ("DBOS", "LANGCHAIN", "LANGSMITH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(telling)}
    return kept | {"LANGSMITH_TRACING": "false"}
