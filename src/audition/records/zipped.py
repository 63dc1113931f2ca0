"""A zip of JSON documents, member by member, with a bound on everything.

The directory is read by `zipfile`, and no more of it than `MAX_DIRECTORY`; each member is unpacked
on its own and no further than the longest line of a record. Zstandard, in which Inspect packs,
needs the package `zstandard`: `zipfile` learns it with Python 3.14.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audition.extra import installing
from audition.records.lines import MAX_LINE, called, document, printable
from audition.records.record import RecordError
from audition.step import JsonObject

MAX_DIRECTORY = 16 << 20
"""Longest directory, in bytes: about 200,000 members of the usual names."""

MAX_RATIO = 2000
"""How many times longer than the file all its members may be together."""

MAX_WINDOW = 128 << 20
"""Most memory that unpacking Zstandard may take, in bytes."""

ZSTANDARD = 93
"""The method's number in a zip."""

_START = b"PK\x03\x04"
_LOCAL = struct.Struct("<26xHH")


class Zipped:
    """A zip that is open for reading.

    Args:
        path: the file.

    Raises:
        RecordError: it is no zip, or its directory is too long or names a member twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _plainly(called(path)):
            self._file = _Bounded(path)
            try:
                self._zip = zipfile.ZipFile(self._file)
            except BaseException:
                self._file.close()
                raise
            self._file.most = MAX_LINE
            self.names = self._zip.namelist()
            """The members, in order."""
            if len(set(self.names)) != len(self.names):
                self.close()
                raise RecordError(f"{called(path)}: a member is there twice; fetch the file again")
            self._left = MAX_RATIO * max(1, path.stat().st_size)

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> Zipped:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def object(self, name: str) -> JsonObject:
        """The JSON object that a member is.

        Raises:
            RecordError: it is damaged, too long, encrypted, packed in a way that cannot be unpacked
                here, or no JSON object.
        """
        place = f"{called(self._path)}, {printable(name)}"
        with _plainly(place):
            raw = self._unpacked(self._zip.getinfo(name))
        self._left -= len(raw)
        if self._left < 0:
            raise RecordError(
                f"{place}: the members are more than {MAX_RATIO:,} times as long as the file; "
                "no log is packed so well"
            )
        return document(raw, place, constants=True)

    def _unpacked(self, member: zipfile.ZipInfo) -> bytes:
        """The member, or more of it than a document may hold."""
        if member.compress_type != ZSTANDARD:
            with self._zip.open(member) as file:
                return file.read(MAX_LINE + 1)
        try:
            import zstandard
        except ImportError:
            raise RecordError(
                f"{called(self._path)}: packed with Zstandard, needs {installing('inspect')}"
            ) from None
        if member.compress_size > MAX_LINE:
            return b" " * (MAX_LINE + 1)
        self._file.seek(member.header_offset)
        header = self._file.read(30)
        if header[:4] != _START or len(header) < 30:
            raise zipfile.BadZipFile("no member where the directory says")
        self._file.seek(sum(_LOCAL.unpack(header)), io.SEEK_CUR)
        packed = self._file.read(member.compress_size)
        unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        try:
            raw = unpacker.stream_reader(packed, read_across_frames=True).read(MAX_LINE + 1)
        except zstandard.ZstdError as error:
            raise zipfile.BadZipFile(str(error)) from None
        if len(raw) <= MAX_LINE and zlib.crc32(raw) != member.CRC:
            raise zipfile.BadZipFile("its checksum is another")
        return raw


class _Bounded(io.FileIO):
    """A file that gives no longer a piece at once than the directory of a zip may be."""

    most = MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise zipfile.BadZipFile(f"its directory is longer than {self.most >> 20} MiB")
        return super().read(-1 if size is None else size)


@contextmanager
def _plainly(place: str) -> Iterator[None]:
    """Whatever a damaged zip comes to, as one line."""
    try:
        yield
    except RecordError:
        raise
    except OSError as error:
        problem = (error.strerror or "cannot be read").lower()
    except NotImplementedError:
        problem = "packed in a way that cannot be unpacked here"
    except RuntimeError:
        problem = "encrypted"
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, KeyError) as error:
        problem = f"no sound zip ({printable(str(error))})"
    else:
        return
    raise RecordError(f"{place}: {problem}; fetch the file again")
