"""`audition witness` as a process of its own, and what is said to it over the wire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from audition.ledger import Keyring, PrivateKey
from audition.ledger.cosignature import WitnessKey

PATCHED = """
import sys
from audition.console.app import app
{patch}
app(sys.argv[1:])
"""


class WitnessProcess:
    """The process, from the moment that it listens.

    Args:
        folder: where its memory and its keys are.
        trust: whose checkpoints it takes, or a file of logs.
        new: begin its memory.
        patch: Python that runs in the process first.
    """

    def __init__(
        self, folder: Path, *trust: PrivateKey | Path, new: bool = True, patch: str = ""
    ) -> None:
        self.memory = folder / "witness.db"
        self.ring = Keyring(folder / "witness-home" / "keys")
        named = [str(one) if isinstance(one, Path) else str(one.public) for one in trust]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-W", "error", "-c", PATCHED.format(patch=patch)),
                *("witness", self.memory, *(["--new"] if new else [])),
                *(word for one in named for word in ("--trust", one)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"AUDITION_HOME": str(folder / "witness-home")},
        )
        assert self.process.stdout is not None
        key = self.process.stdout.readline().strip()
        if not key:
            raise ValueError(self.process.communicate()[1])
        self.key = WitnessKey.parse(key)
        self.url = self.process.stdout.readline().strip()

    def post(self, body: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/add-checkpoint", content=body, trust_env=False, timeout=60)

    def latest(self, origin: str) -> httpx.Response:
        return httpx.get(
            f"{self.url}/checkpoint", params={"origin": origin}, trust_env=False, timeout=60
        )

    def end(self, how: int = signal.SIGTERM) -> str:
        """End the process; what it said on the way."""
        self.process.send_signal(how)
        return self.process.communicate()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
