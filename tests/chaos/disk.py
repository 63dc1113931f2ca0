"""The disk under a process, as a shim makes it: recorded, failing, or as a power loss leaves it.

A record tells every write and sync of the ledger's files. From it the files are made again as they
are after a power loss at any place: what was synced is there; of what was not, any part may be.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("=qqic3x")
_CALLS = {"write": b"w", "sync": b"s"}


class Disk:
    """The shim in this process; without one nothing is recorded and nothing fails."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._shim = library if hasattr(library, "chaos_watch") else None
        if self._shim is not None:
            self._shim.chaos_recorded.restype = ctypes.c_long
        self._before = 0

    def watch(self, ledger: Path, record: Path | None = None) -> None:
        """Look at the files of a ledger from now on, and record what becomes of them."""
        file = -1
        if record is not None:
            file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._before = len(changes(record))
        if self._shim is not None:
            self._shim.chaos_watch(os.fsencode(ledger.absolute()), file)

    def fail(self, call: str, error: int, after: int = 0, times: int = -1) -> None:
        """Let calls fail.

        Args:
            call: `write` or `sync`.
            error: how; 0: a write is cut short.
            after: bytes, or syncs, that still succeed.
            times: how often; -1: for ever; 0: no more.
        """
        many = (ctypes.c_long(after), ctypes.c_long(times))
        self._loaded.chaos_fail(ctypes.c_char(_CALLS[call]), ctypes.c_int(error), *many)

    def set_clock(self, ahead: int) -> None:
        """Set this process's clock so many seconds ahead of the world's."""
        self._loaded.chaos_clock(ctypes.c_long(ahead))

    def recorded(self) -> int:
        """How long the record is."""
        return 0 if self._shim is None else self._before + int(self._shim.chaos_recorded())

    @property
    def _loaded(self) -> ctypes.CDLL:
        assert self._shim is not None, "this process was started without the shim"
        return self._shim


@functools.cache
def shim() -> Path | None:
    """The shim, built for this machine; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        return None
    built = Path(tempfile.mkdtemp(prefix="audition-chaos-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", built, source], check=True)
    return built


# ------------------------------------------------------------------------ power loss


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was done to a file."""

    what: str
    """`w`ritten, `t`runcated, `c`reated, `u`nlinked; `s`ynced, `f`ailed to sync; `d`: the folder
    was synced."""
    name: str
    at: int
    data: bytes = b""


def changes(record: Path) -> list[Change]:
    """What a record tells, in order."""
    data, at, found = record.read_bytes(), 0, list[Change]()
    while at < len(data):
        place, size, name, what = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        called = data[at : at + name].decode()
        at += name
        body = data[at : at + size] if what == b"w" else b""
        at += len(body)
        found.append(Change(what.decode(), called, place, body))
    return found


def unsynced(record: list[Change]) -> list[int]:
    """The places of the changes of which a power loss at the end may leave any part.

    What a sync that failed was to make durable is among them for good: the kernel takes it for
    written, and no later sync writes it again.
    """
    waiting: dict[str, list[int]] = {}
    folder: list[int] = []
    loose: set[int] = set()
    for place, change in enumerate(record):
        match change.what:
            case "w" | "t":
                waiting.setdefault(change.name, []).append(place)
            case "c" | "u":
                folder.append(place)
            case "s":
                waiting.pop(change.name, None)
            case "f":
                loose.update(waiting.pop(change.name, []))
            case _:
                folder.clear()
    return sorted(loose.union(folder, *waiting.values()))


def left(record: list[Change], kept: Collection[int], cut: int = -1) -> dict[str, bytes]:
    """The files as a power loss at the end leaves them.

    Args:
        record: all that was done before it.
        kept: which of the unsynced changes reached the disk.
        cut: of the last of these that is a write, how many bytes did; -1: all.
    """
    lost = set(unsynced(record)).difference(kept)
    torn = max((one for one in kept if record[one].what == "w"), default=-1) if cut >= 0 else -1
    files: dict[str, bytearray] = {}
    for place, change in enumerate(record):
        if place in lost:
            continue
        match change.what:
            case "c":
                files[change.name] = bytearray()
            case "u":
                files.pop(change.name, None)
            case "w" if change.name in files:
                data = change.data[:cut] if place == torn else change.data
                file = files[change.name]
                file.extend(bytes(max(0, change.at - len(file))))
                file[change.at : change.at + len(data)] = data
            case "t" if change.name in files:
                file = files[change.name]
                del file[change.at :]
                file.extend(bytes(change.at - len(file)))
            case _:
                pass
    return {name: bytes(data) for name, data in files.items()}
