"""A control group that binds a box as a whole, where this machine lets us make one.

Source: Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PERIOD_US = 100_000


@dataclass(frozen=True)
class Bounds:
    """What a group may use, all its processes together."""

    memory: int
    """Bytes, files kept in memory included, and swap where the kernel counts it."""
    processes: int
    """Processes and threads."""
    cores: float | None = None
    """Processors' worth of time; None for all there are."""


@dataclass(frozen=True)
class Group:
    """Processes that are counted together."""

    folders: dict[str, Path]
    """Its folder for each of `memory`, `pids` and `cpu` that it binds; one for all in version 2."""
    version: int
    """1 or 2: which of the kernel's two kinds it is."""

    def add(self, pid: int) -> None:
        """Count this process, and those it starts from now on.

        Raises:
            OSError: It is a group that we may make, but not enter.
        """
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        """How many processes the kernel has killed for memory."""
        if "memory" not in self.folders:
            return 0
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        with contextlib.suppress(FileNotFoundError):  # the box is closed
            for line in (self.folders["memory"] / name).read_text().splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill":
                    return int(number)
        return 0

    def remove(self) -> bool:
        """Remove the group; False while a process is still in it."""
        return all(_removed(folder) for folder in set(self.folders.values()))


def make_group(bounds: Bounds, mounts: str | None = None, own: str | None = None) -> Group | None:
    """A new group that binds as much of this as can be bound here, or None where nothing can.

    Args:
        bounds: What it may use.
        mounts: Text of `/proc/self/mounts`; read if left out.
        own: Text of `/proc/self/cgroup`; read if left out.
    """
    try:
        mounts = mounts if mounts is not None else Path("/proc/self/mounts").read_text()
        own = own if own is not None else Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    name = f"audition-{secrets.token_hex(6)}"
    for folder, words in _delegated(mounts, own):
        if _made(folder / name, made := _second(bounds, words)):
            return Group(dict.fromkeys(made, folder / name), 2)
    folders = {
        what: folder / name
        for what, folder in _places(mounts, own).items()
        if (files := _first(bounds).get(what)) and _made(folder / name, {what: files})
    }
    return Group(folders, 1) if folders else None


def _first(bounds: Bounds) -> dict[str, dict[str, str]]:
    """What to write where, in version 1; what begins with `?` is not everywhere."""
    files = {
        "memory": {
            "memory.limit_in_bytes": str(bounds.memory),
            "?memory.memsw.limit_in_bytes": str(bounds.memory),
        },
        "pids": {"pids.max": str(bounds.processes)},
    }
    if bounds.cores is not None:
        files["cpu"] = {
            "cpu.cfs_period_us": str(_PERIOD_US),
            "cpu.cfs_quota_us": str(int(bounds.cores * _PERIOD_US)),
        }
    return files


def _second(bounds: Bounds, delegated: set[str]) -> dict[str, dict[str, str]]:
    """Likewise in version 2, for what is delegated."""
    files = {
        "memory": {"memory.max": str(bounds.memory), "?memory.swap.max": "0"},
        "pids": {"pids.max": str(bounds.processes)},
    }
    if bounds.cores is not None:
        files["cpu"] = {"cpu.max": f"{int(bounds.cores * _PERIOD_US)} {_PERIOD_US}"}
    return {what: named for what, named in files.items() if what in delegated}


def _places(mounts: str, own: str) -> dict[str, Path]:
    """Our folder of each hierarchy of version 1."""
    paths = _paths(own)
    return {
        what: Path(where + paths[what])
        for where, kind, options in _mounted(mounts)
        for what in ("memory", "pids", "cpu")
        if kind == "cgroup" and what in options and what in paths
    }


def _delegated(mounts: str, own: str) -> list[tuple[Path, set[str]]]:
    """Folders of version 2 that a group could stand in, with what they bind; most comes first."""
    inner = _paths(own).get("")
    found: list[tuple[Path, set[str]]] = []
    for where, kind, _ in _mounted(mounts):
        if kind != "cgroup2" or inner is None:
            continue
        ours, top = Path(where + inner), Path(where)
        above = [folder for folder in ours.parents if folder.is_relative_to(top)]
        for folder in above if ours != top else [ours]:
            with contextlib.suppress(OSError):
                words = (folder / "cgroup.subtree_control").read_text().split()
                found.append((folder, {"memory", "pids", "cpu"}.intersection(words)))
    return sorted(found, key=lambda one: -len(one[1]))


def _paths(own: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounted(mounts: str) -> Iterator[tuple[str, str, list[str]]]:
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split(" ")
        yield where, kind, options.split(",")


def _made(path: Path, files: dict[str, dict[str, str]]) -> bool:
    # Entering a group of the second kind takes the right to write where ours is shared.
    if not files or not os.access(path.parent / "cgroup.procs", os.W_OK):
        return False
    try:
        path.mkdir()
        for name, text in [pair for named in files.values() for pair in named.items()]:
            with contextlib.suppress(OSError) if name[0] == "?" else contextlib.nullcontext():
                (path / name.lstrip("?")).write_text(text)
    except OSError:
        _removed(path)
        return False
    return True


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
