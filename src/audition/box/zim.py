"""A ZIM file as a library's source: an encyclopaedia, say, as it is carried to where no net is.

`libzim` reads it, in a process of its own: what reads hostile bytes in C++ may crash, or swell,
and has no business near the caller's memory. The file's checksum is compared first.

Source: https://wiki.openzim.org/wiki/ZIM_file_format.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from audition.box import tree
from audition.box.page_text import PAGE_MAX, text_of
from audition.box.pages import Alias, Entry, LeftOut, LibraryError, Page, proper
from audition.box.zim_entries import ALIAS, END, FRAME, MEMORY_MAX, PAGE, SKIPPED
from audition.plain import shown

_READER = Path(__file__).with_name("zim_entries.py")
_MAGIC = b"ZIM\x04"
_SUM_AT, _SUM = struct.Struct("<Q"), 16
_HEADER = 80
_READ = 1 << 20


class Zim:
    """A ZIM file in one part."""

    def __init__(self, place: Path) -> None:
        """Look at it.

        Raises:
            LibraryError: It is no file, or there is nothing here to read it with.
            OSError: It is not there.
        """
        if find_spec("libzim") is None:
            raise LibraryError("reading it needs pip install libzim")
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise LibraryError("no file, or a link to one; name the file itself")
        self._place = place
        self._known = (str(place), status.st_size, status.st_mtime_ns)

    def signature(self) -> tuple[object, ...]:
        """What tells this file, as it is, from another."""
        return ("zim", self._known)

    def entries(self) -> Iterator[Entry]:
        """Each entry that a reader may ask for.

        Raises:
            LibraryError: It is cut short, altered, or cannot be read all the same.
            OSError: It cannot be read.
        """
        _check(self._place)
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        reader = subprocess.Popen(
            [sys.executable, "-P", str(_READER), str(self._place.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
        )
        with reader:
            assert reader.stdout is not None
            try:
                yield from _entries(reader.stdout)
            except BaseException:
                reader.kill()
                raise
        if reader.returncode != 0:
            raise LibraryError(f"its reader ended with {reader.returncode}; the file is broken")


def _entries(frames: IO[bytes]) -> Iterator[Entry]:
    while True:
        kind, path, more, body = _frame(frames)
        if kind == END:
            return
        if kind == SKIPPED or not proper(path):
            yield LeftOut()
        elif kind == ALIAS:
            yield Alias(path, more) if proper(more) else LeftOut()
        elif kind == PAGE:
            text = text_of(body, more)
            yield LeftOut() if text is None else Page(path, text)
        else:
            raise LibraryError(f"{path[:80]!r}: {shown(more, 200)}; the file is broken")


def _frame(frames: IO[bytes]) -> tuple[int, str, str, bytes]:
    head = frames.read(FRAME.size)
    if len(head) == FRAME.size:
        kind, path, more, body = FRAME.unpack(head)
        if body <= PAGE_MAX:
            data = frames.read(path + more + body)
            if len(data) == path + more + body:
                words = data[: path + more]
                names = words[:path].decode(errors="replace"), words[path:].decode(errors="replace")
                return kind, *names, data[path + more :]
    memory = f"{MEMORY_MAX >> 20:,} MiB of memory"
    raise LibraryError(f"its reader stopped midway (it has {memory}); the file is broken")


def _check(place: Path) -> None:
    """Compare the checksum, which stands at the end."""
    with tree.opened(str(place), os.O_RDONLY) as file:
        size, head = os.fstat(file).st_size, os.pread(file, _HEADER, 0)
        if len(head) < _HEADER or not head.startswith(_MAGIC):
            raise LibraryError("no ZIM file: it does not begin as one")
        if _SUM_AT.unpack_from(head, _HEADER - _SUM_AT.size)[0] != size - _SUM:
            raise LibraryError("cut short, or longer than it says; fetch it again")
        sum_, left = hashlib.md5(usedforsecurity=False), size - _SUM
        while left and (data := os.read(file, min(left, _READ))):
            sum_.update(data)
            left -= len(data)
        if sum_.digest() != os.read(file, _SUM):
            raise LibraryError("altered: it has another checksum than it says; fetch it again")
