"""A model that `transformers serve` answers for, asked as any other server's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from audition.model import Asked, Served, Server
from chatting import written
from taught import SAYS

PROGRAM = Path(sys.executable).with_name("transformers")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a server, and the folder of the model that it is to answer with."""
    if not PROGRAM.exists():
        pytest.skip("transformers has no command here")
    pytest.importorskip("fastapi", reason="transformers serve needs transformers[serving]")
    folder = written(tmp_path_factory.mktemp("served") / "m", SAYS)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [str(PROGRAM), "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        assert process.poll() is None, "the server ended"
        yield address, folder
    finally:
        process.terminate()
        process.wait()


@pytest.mark.full
@pytest.mark.parametrize("stream", [True, False])
def test_its_replies_are_read_whole(served: tuple[str, Path], stream: bool) -> None:
    address, folder = served
    server = Server(
        base_url=f"{address}/v1", model=str(folder), asked=Asked(tokens=8), stream=stream
    )
    reply = anyio.run(lambda: Served(server).reply([{"role": "user", "content": "hello"}]))
    assert reply.finish == "stop" and '"name": "propose"' in reply.text
    assert reply.usage.tokens_out == 4
