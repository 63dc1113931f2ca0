"""A PostgreSQL server of the tests' own: a fresh database for each, and nothing left of it.

The server refuses to run as root, so it runs as nobody. It syncs as a real one does.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDERS = ("/usr/lib/postgresql/15/bin",)
"""Where its programs are, where they are on no path."""

USER = "audition"


def programs() -> Path | None:
    """The folder of the server's programs, if there is one here."""
    found = shutil.which("initdb", path=os.pathsep.join((os.environ.get("PATH", ""), *FOLDERS)))
    return Path(found).resolve().parent if found else None


class Server:
    """One server, started and stopped by its own control program."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._clean: list[str] = []

    def control(self, *words: str) -> None:
        """Have `pg_ctl` do something, to its end."""
        _as_nobody("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "300", *words)

    def start(self, **settings: Any) -> None:
        """Start it, with these settings beside its own."""
        told = {"listen_addresses": "127.0.0.1", "port": self.port, "max_connections": 60}
        told |= {"unix_socket_directories": str(self.folder), **settings}
        options = " ".join(f"-c {name}={value}" for name, value in told.items())
        self.control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast`, or `immediate` as a power cut would."""
        self.control("-m", how, "stop")

    def address(self, name: str, *, by: str = "socket") -> str:
        """The address of a database."""
        if by == "socket":
            return f"postgresql://{USER}@/{name}?host={self.folder}&port={self.port}"
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def fresh(self) -> str:
        """An empty database; its name."""
        if self._clean:
            return self._clean.pop()
        name = f"t{secrets.token_hex(6)}"
        self.tell(f"CREATE DATABASE {name}")
        return name

    def give_back(self, name: str) -> None:
        """Empty a database for the next: much faster than to drop it, which waits for the disk."""
        self.tell(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        self.tell(f"ALTER DATABASE {name} RESET ALL")
        self.tell("DROP SCHEMA public CASCADE", name)
        self.tell("CREATE SCHEMA public", name)
        self._clean.append(name)

    def tell(self, sql: str, database: str = "postgres") -> None:
        """Carry out one statement."""
        import psycopg

        with psycopg.connect(self.address(database), autocommit=True) as connection:
            connection.execute(sql.encode())


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    """A server with these settings, for as long as this lasts."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path may have 107 bytes
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
        _as_nobody("initdb", "-D", str(folder / "data"), "-U", USER, "-A", "trust", "--no-sync")
        with _port() as port, _ended_with_us(folder / "data"):
            server = Server(folder, port)
            server.start(**settings)
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def _ended_with_us(data: Path) -> Iterator[None]:
    """Stop a server at the end, be it that these tests are killed: nobody hears from them then."""
    control = programs()
    assert control is not None
    stop = 'trap "" INT TERM; cat; "$0" -D "$1" -m immediate -w stop; rm -rf "$1"'
    with subprocess.Popen(
        ["sh", "-c", stop, str(control / "pg_ctl"), str(data)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **_nobody(),
    ):  # at its end the pipe is closed, and the server's end waited for
        yield


def _as_nobody(program: str, *words: str) -> None:
    there = programs()
    assert there is not None
    done = subprocess.run(
        [str(there / program), *words],
        cwd="/",
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", "")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # a pipe would be held open by the server that it starts
        stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
        **_nobody(),
    )
    assert done.returncode == 0, f"{program} {words}: {done.stderr!r}"


def _nobody() -> dict[str, Any]:
    """As whom the server runs, where that is not whoever runs the tests."""
    return {"user": "nobody", "extra_groups": []} if os.getuid() == 0 else {}


@contextmanager
def _port() -> Iterator[int]:
    """A port that nobody else is given meanwhile, be the server down for a while."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that it may listen there
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
