"""What a box is tried against before it is handed out: listeners and canaries outside it.

Everything that the attempts aim at stands on this machine and is opened here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audition.box.config import BoxConfig, BoxRefused, BoxUnavailable
from audition.box.confine import environment
from audition.step import Completed

SOURCE = (Path(__file__).parent / "attempts.py").read_text()
"""The attempts, as one program."""
_SYSTEM = ("/", "/bin", "/dev", "/etc", "/lib", "/opt", "/proc/sys/kernel", "/sys", "/usr", "/var")
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_ENOUGH = {"seconds": 20.0, "cpu_seconds": 20, "memory": 256 << 20, "output": 1 << 16}
_SHOWN = {
    *("", "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "read", "sbin"),
    *("tmp", "usr", "workspace"),
}


def roomy(config: BoxConfig) -> BoxConfig:
    """The same box, with time and memory enough for the attempts however little a call has."""
    limits = config.limits
    enough = {name: max(getattr(limits, name), least) for name, least in _ENOUGH.items()}
    return config.model_copy(update={"limits": limits.model_copy(update=enough)})


class Outside:
    """What a guest should not reach; close it after use."""

    def __init__(self, config: BoxConfig) -> None:
        """Open listeners and canaries for a box with this configuration."""
        self._closing = contextlib.ExitStack()
        self._config = config
        # Readable by anyone: it must be the box that hides them, not their permissions.
        self._folder = tempfile.mkdtemp(prefix="audition-")
        self._closing.callback(shutil.rmtree, self._folder, ignore_errors=True)
        os.chmod(self._folder, 0o755)
        self._abstract = f"audition-{secrets.token_hex(8)}"
        self._listeners = dict(self._listen())
        canary = Path(self._folder, "canary")
        canary.touch(0o644)
        inherited = self._closing.enter_context(canary.open("rb"))
        os.set_inheritable(inherited.fileno(), True)

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def targets(self, foreign: bool = False) -> bytes:
        """What the attempts aim at, for their standard input.

        Args:
            foreign: Whether the walls are a container's, which shares our user namespace, has
                processes of its own in it, and counts them itself.
        """
        ports = {
            name: self._listeners[name].getsockname()[1]
            for name in ("tcp", "tcp6", "udp")
            if name in self._listeners
        }
        limits = self._config.limits
        aims: dict[str, Any] = {
            **ports,
            "unix": f"{self._folder}/socket",
            "abstract": self._abstract,
            "environment": [*environment(self._config), "PWD"],
            "hidden": [f"{self._folder}/canary", *_hidden()],
            "system": _SYSTEM,
            "namespaces": dict(_namespaces()),
            "limits": {
                "RLIMIT_NPROC": limits.processes + 2,
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_FSIZE": limits.disk,
                "RLIMIT_CPU": limits.cpu_seconds,
                "RLIMIT_CORE": 0,
            },
        }
        if foreign:
            aims["untried"] = ("outsiders", "root")
            aims["namespaces"].pop("user", None)
            aims["limits"].pop("RLIMIT_NPROC")
        return json.dumps(aims).encode()

    def reached(self) -> dict[str, str]:
        """Listeners that something arrived at."""
        arrived: dict[str, str] = {}
        for name, listener in self._listeners.items():
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(64)
                else:
                    listener.accept()[0].close()
                arrived[name] = f"reached the listener at {listener.getsockname()!r}"
        return arrived

    def _listen(self) -> Iterator[tuple[str, socket.socket]]:
        yield "tcp", self._bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        yield "udp", self._bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        path = f"{self._folder}/socket"
        yield "unix_socket", self._bound(socket.AF_UNIX, socket.SOCK_STREAM, path)
        os.chmod(path, 0o777)
        abstract = f"\0{self._abstract}"
        yield "abstract_socket", self._bound(socket.AF_UNIX, socket.SOCK_STREAM, abstract)
        with contextlib.suppress(OSError):  # no IPv6 here, so none to get out by
            yield "tcp6", self._bound(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))

    def _bound(self, family: int, kind: int, address: Any) -> socket.socket:
        listener = self._closing.enter_context(socket.socket(family, kind))
        listener.bind(address)
        listener.setblocking(False)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        return listener


def judge(done: Completed, outside: Outside) -> tuple[str, ...]:
    """The names of the attempts, all of which failed.

    Raises:
        BoxRefused: One got out, or the attempts could not be made.
        BoxUnavailable: The confining program itself cannot work here.
    """
    try:
        tried: dict[str, str | None] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().replace("\n", "; ")[:300]
        if said.startswith("bwrap: "):
            raise BoxUnavailable(f"no box here: {said}; see docs/box.md") from None
        raise BoxRefused(
            f"box refused: the probe did not run ({done.stopped or done.returncode}): {said!r}"
        ) from None
    tried |= outside.reached()
    for name, got in tried.items():
        if got is not None:
            raise BoxRefused(f"box refused: {name}: {got}", tried)
    return tuple(tried)


def _namespaces() -> Iterator[tuple[str, str]]:
    for name in _NAMESPACES:
        with contextlib.suppress(FileNotFoundError):  # not every kernel has them all
            yield name, os.readlink(f"/proc/self/ns/{name}")


def _hidden() -> list[str]:
    """The caller's own places, but for those whose path a box has too."""
    places = {os.path.realpath(os.path.expanduser("~")), os.getcwd()}
    return sorted(place for place in places if f"{place}/".split("/")[1] not in _SHOWN)
