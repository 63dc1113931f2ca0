"""A folder of text as a library's source; no link in it is followed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from audition.box import tree
from audition.box.pages import Entry, LeftOut, LibraryError, Page

INDEXED_MAX = 4 << 20
"""Bytes of one file that are indexed; what lies beyond can be read, not found."""
_READ = 1 << 20


class Folder:
    """The files of a folder, at any depth."""

    def __init__(self, place: Path) -> None:
        """List them.

        Raises:
            OSError: It cannot be read.
        """
        self._place = place
        with tree.opened(str(place), os.O_DIRECTORY) as folder:
            self.found = tuple(sorted(_files(folder, "", 0)))
            """Path, size and time of each regular file whose path is text."""

    def signature(self) -> tuple[object, ...]:
        """What tells this folder, as it is, from another."""
        return ("folder", self.found)

    def entries(self) -> Iterator[Entry]:
        """Each file: its text if it is UTF-8, and the digest of all its bytes."""
        for path, _, _ in self.found:
            yield self._page(path)

    def read(self, path: str, known: tuple[int, str], offset: int, length: int) -> bytes:
        """Part of a file that is as it was when the library was opened.

        Args:
            path: Its path.
            known: Its size and stamp then.
            offset: Where the part begins.
            length: How long it is.

        Raises:
            LibraryError: It changed since.
            OSError: It cannot be read.
        """
        with self._opened(path) as (file, status):
            if known != (status.st_size, str(status.st_mtime_ns)):
                raise LibraryError(f"{path!r}: changed since the library was opened; open it again")
            return os.pread(file, length, offset)

    def _page(self, path: str) -> Page | LeftOut:
        sum_, head = hashlib.sha256(), b""
        try:
            with self._opened(path) as (file, status):
                while data := os.read(file, _READ):
                    sum_.update(data)
                    head += data[: INDEXED_MAX - len(head)]
        except OSError:
            return LeftOut()
        stamp = str(status.st_mtime_ns)
        return Page(path, _text(head), stamp, status.st_size, sum_.digest())

    @contextmanager
    def _opened(self, path: str) -> Generator[tuple[int, os.stat_result]]:
        *above, name = path.split("/")
        with contextlib.ExitStack() as opened:
            folder = opened.enter_context(tree.opened(str(self._place), os.O_DIRECTORY))
            for part in above:
                folder = opened.enter_context(tree.opened(part, os.O_DIRECTORY, folder))
            file = opened.enter_context(tree.opened(name, os.O_RDONLY, folder))
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "it is no file any more", path)
            yield file, status


def _files(folder: int, where: str, depth: int) -> Iterator[tuple[str, int, int]]:
    if depth > tree.DEPTH_MAX:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                path = where + entry.name
                path.encode()
                if entry.is_dir(follow_symlinks=False):
                    with tree.opened(entry.name, os.O_DIRECTORY, folder) as inner:
                        yield from _files(inner, f"{path}/", depth + 1)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield path, status.st_size, status.st_mtime_ns
            except (OSError, UnicodeEncodeError):
                continue


def _text(head: bytes) -> str | None:
    if b"\0" in head:
        return None
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        # A character cut by the bound is no reason to pass over the whole file.
        whole = len(head) < INDEXED_MAX or error.start < len(head) - 4
        return None if whole else head[: error.start].decode()
