"""A ledger's tree, events and contents in a folder, in pieces of 256, as C2SP tlog-tiles lays out.

    checkpoint                 the newest checkpoint that is wholly here
    tile/<level>/<N>[.p/<W>]   hashes, as the specification has them
    tile/events/<N>[.p/<W>]    the events under tile/0/<N>, each as its exact bytes and a newline
    tile/contents/<N>[.p/<W>]  the contents that these events name, as an export has them

The specification's own bundles (`tile/entries`) count an entry's bytes in two, and events may be
longer. A file is written beside its place and then named, so that what bears a name is whole;
`checkpoint` comes last, and says how much of the rest counts.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audition.ledger.database import MAX_CONTENT, LedgerError
from audition.ledger.note import LONGEST, Checkpoint, NoteError, read_checkpoint
from audition.ledger.tree import Frontier, root_of

WIDTH = 256
"""Hashes in a full tile, and events in a full bundle."""

MAX_LINE = MAX_CONTENT // 3 * 4 + 1000
"""Longest line of a bundle, in bytes: the largest content in base64."""


class Tiles:
    """The folder.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._moved: set[Path] = set()

    # ---------------------------------------------------------------- reading

    def checkpoint(self) -> tuple[Checkpoint, str] | None:
        """What the newest checkpoint here says, and its note; None in an empty folder.

        Raises:
            LedgerError: there is something that is no checkpoint.
        """
        path = self.folder / "checkpoint"
        try:
            with path.open("rb") as file:
                note = file.read(4 * LONGEST + 1).decode()
            return read_checkpoint(note, ())[0], note
        except FileNotFoundError:
            if self.folder.is_dir() and any(self.folder.glob("[!.]*")) and not self._begun():
                raise LedgerError(f"{self.folder}: a folder, but no archive of a ledger") from None
            return None
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}") from None
        except (NoteError, UnicodeDecodeError) as error:
            raise LedgerError(f"{path}: no checkpoint: {error}") from None

    def hashes(self, level: int, number: int, width: int = WIDTH) -> list[bytes]:
        """The hashes of a tile.

        Raises:
            LedgerError: it is not there, or not of that width.
        """
        path = self._path(str(level), number, width)
        try:
            with path.open("rb") as file:
                data = file.read(32 * WIDTH + 1)
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}") from None
        if len(data) != 32 * width:
            raise LedgerError(f"{path}: {len(data)} bytes; a tile of {width} hashes was due")
        return [data[start : start + 32] for start in range(0, len(data), 32)]

    def lines(self, kind: str, number: int, width: int = WIDTH) -> Iterator[bytes]:
        """The lines of a bundle, `events` or `contents`.

        Raises:
            LedgerError: it cannot be read, or a line does not end.
        """
        path = self._path(kind, number, width)
        try:
            with path.open("rb") as file:
                while line := file.readline(MAX_LINE + 1):
                    if not line.endswith(b"\n"):
                        raise LedgerError(f"{path}: a line that is too long, or was cut")
                    yield line[:-1]
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}") from None

    def edge(self, size: int) -> Frontier:
        """The right edge of the tree of so many events, from the highest tiles that have it.

        Raises:
            LedgerError: a tile that is needed is not there.
        """
        peaks: list[bytes] = []
        start = 0
        for bit in range(size.bit_length() - 1, -1, -1):
            if size >> bit & 1:
                level, height = divmod(bit, 8)
                first = start >> (8 * level)
                number = first // WIDTH
                tile = self.hashes(level, number, width_at(size, level, number))
                peaks.append(root_of(tile[first % WIDTH : first % WIDTH + (1 << height)]))
                start += 1 << bit
        return Frontier(size, peaks)

    def check(self, size: int) -> None:
        """See that every hash above the leaves is that of the tile below it.

        Raises:
            LedgerError: the first that is not.
        """
        for level in range(1, 8):
            count = size >> (8 * level)
            for number in range(-(-count // WIDTH)):
                tile = self.hashes(level, number, width_at(size, level, number))
                for place, node in enumerate(tile):
                    if root_of(self.hashes(level - 1, number * WIDTH + place)) != node:
                        raise LedgerError(
                            f"{self._path(str(level), number, len(tile))}: hash {place} is not "
                            "that of the tile below it"
                        )

    # ---------------------------------------------------------------- writing

    @contextmanager
    def alone(self) -> Generator[None]:
        """Hold the folder as the one process that writes to it.

        Raises:
            LedgerError: another does, or it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(f"{self.folder}: {error.strerror}") from None
        try:
            _lock(held)
            yield
        except BlockingIOError:
            raise LedgerError(f"{self.folder}: another process writes to it") from None
        finally:
            os.close(held)

    def write_hashes(self, level: int, number: int, hashes: list[bytes]) -> None:
        """Write a tile."""
        self._write(self._path(str(level), number, len(hashes)), [b"".join(hashes)])

    def write_lines(self, kind: str, number: int, width: int, lines: Iterable[bytes]) -> None:
        """Write a bundle, `events` or `contents`."""
        self._write(self._path(kind, number, width), (line + b"\n" for line in lines))

    def write_checkpoint(self, note: str) -> None:
        """From now on what this checkpoint covers counts; all of it is on disk."""
        self._sync()
        self._write(self.folder / "checkpoint", [note.encode()])
        self._sync()

    def drop_partial(self, before: int, size: int) -> None:
        """Remove the tiles that were cut short for an older size and are not needed for this."""
        for path in self._partial(before) - self._partial(size):
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()

    def _write(self, path: Path, parts: Iterable[bytes]) -> None:
        part = path.with_name(f".{path.name}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(part, flags, 0o644), "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}") from None
        self._moved.update((path.parent, *path.parent.parents))

    def _sync(self) -> None:
        """See that the names of what was written are on disk too."""
        for folder in self._moved:
            if folder == self.folder or self.folder in folder.parents:
                _sync_folder(folder)
        self._moved.clear()

    def _partial(self, size: int) -> set[Path]:
        """The tiles and bundles that are cut short in a tree of that size."""
        found: set[Path] = set()
        for level in range(8):
            number, width = divmod(size >> (8 * level), WIDTH)
            kinds = (str(level), "events", "contents") if level == 0 else (str(level),)
            found.update(self._path(kind, number, width) for kind in kinds if width)
        return found

    def _path(self, kind: str, number: int, width: int) -> Path:
        """`tile/<kind>/x001/x234/067`, and `.p/<width>` behind it where it is not full."""
        digits = f"{number:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        path = self.folder / "tile" / kind
        for part in parts[:-1]:
            path /= f"x{part}"
        return path / parts[-1] if width == WIDTH else path / f"{parts[-1]}.p" / str(width)

    def _begun(self) -> bool:
        """Whether nothing but the beginning of an archive is here, cut off before its end."""
        return {one.name for one in self.folder.glob("[!.]*")} == {"tile"}


def width_at(size: int, level: int, number: int) -> int:
    """How many hashes a tile has in a tree of that size."""
    return min(WIDTH, (size >> (8 * level)) - number * WIDTH)


def _lock(held: int) -> None:
    try:
        import fcntl
    except ImportError:  # not Unix
        return
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
