"""WARC files as a library's source: what a crawler was answered, by its address.

`warcio` reads the headers. What lies around them is read here, because its readers put up with
whatever comes, and wait for it however long it is: garbage between records, a record that ends
early, a member of gzip that never ends.

Source: ISO 28500:2017 (WARC 1.1); RFC 1952 (gzip); RFC 9112, section 7.1 (chunked).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

from audition.box import tree
from audition.box.page_text import PAGE_MAX, text_of
from audition.box.pages import Alias, Entry, LeftOut, LibraryError, Page, proper

HEADERS_MAX = 1 << 16
"""Bytes of one record's headers, and of one answer's."""
SWELL_MAX = 100
"""How many times its size a gzip file may hold, beyond `SWELL_FREE` bytes."""
SWELL_FREE = 64 << 20
"""Bytes that any gzip file may hold."""
_BODY_MAX = PAGE_MAX + HEADERS_MAX
_READ = 1 << 16
_LENGTH = re.compile(r"[0-9]{1,15}")
_STATUS = re.compile(r"([0-9]{3})(?: .*)?")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_SHA1 = re.compile(r"sha1:([A-Z2-7]{32})", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
_WINDOW = 16 + zlib.MAX_WBITS
_WINDOWS = {"gzip": _WINDOW, "x-gzip": _WINDOW, "deflate": zlib.MAX_WBITS}
_DATE = re.compile(r"[0-9]{4}-[0-9T:.Z+-]{0,40}")
_WARC, _HTTP = ["WARC/1.0", "WARC/1.1"], ["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"]
_END = b"\r\n\r\n"


class Warcs:
    """Some WARC files, compressed or not, as one source."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        """Look at them.

        Raises:
            LibraryError: One is no file.
            OSError: One cannot be read.
        """
        self._files = files
        self._known: list[tuple[str, int, int]] = []
        for path in files:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise LibraryError("no file, or a link to one; name the file itself")
            self._known.append((str(path), status.st_size, status.st_mtime_ns))

    def signature(self) -> tuple[object, ...]:
        """What tells these files, as they are, from others."""
        return ("warc", self._known)

    def entries(self) -> Iterator[Entry]:
        """Each record.

        Raises:
            LibraryError: A file is broken; says where.
            OSError: One cannot be read.
        """
        for path in self._files:
            with tree.opened(str(path), os.O_RDONLY) as descriptor:
                number = 1
                try:
                    for record in _records(_Stream(_inflated(descriptor))):
                        yield _entry(record)
                        number += 1
                except LibraryError as error:
                    raise LibraryError(f"{path.name}, record {number}: {error}") from error


class _Stream:
    """Pieces of bytes, as lines and blocks."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._ready = b""
        self._headers_left = HEADERS_MAX

    def headers(self, versions: list[str]) -> Any:
        """The headers that come next, as `warcio` reads them; None at the end.

        Raises:
            LibraryError: They are none, or longer than they may be.
        """
        warcio = _warcio()
        self._headers_left = HEADERS_MAX
        first = self.readline()
        if not first:
            return None
        try:
            found = warcio.StatusAndHeadersParser(versions).parse(self, first)
        except warcio.StatusAndHeadersParserException:
            found = None
        if found is None or found.protocol not in versions:
            raise LibraryError(f"begins with {first[:40]!r}, not with {versions[0]}")
        return found

    def readline(self) -> bytes:
        """The next line with its end, or what there is of it.

        Raises:
            LibraryError: With it, headers are longer than they may be.
        """
        found = b""
        while not found.endswith(b"\n") and (piece := self._piece()):
            end = piece.find(b"\n") + 1 or len(piece)
            found, self._ready = found + piece[:end], piece[end:]
            self._headers_left -= end
            if self._headers_left < 0:
                raise LibraryError(f"headers of more than {HEADERS_MAX:,} bytes")
        return found

    def block(self, length: int) -> Iterator[bytes]:
        """So many bytes in pieces, or fewer where the stream ends."""
        while length and (piece := self._piece()):
            taken, self._ready = piece[:length], piece[length:]
            length -= len(taken)
            yield taken

    def _piece(self) -> bytes:
        piece, self._ready = self._ready or next(self._pieces, b""), b""
        return piece


@dataclass(frozen=True, slots=True)
class _Record:
    """One record: its headers, and the first bytes of its block."""

    headers: Any
    block: bytes

    def header(self, name: str) -> str:
        return (self.headers.get_header(name) or "").strip()


def _inflated(file: int) -> Iterator[bytes]:
    """The bytes of a file in pieces; those of gzip inflated, one member after another."""
    raw = os.read(file, _READ)
    if not raw.startswith(_GZIP):
        while raw:
            yield raw
            raw = os.read(file, _READ)
        return
    given, most = 0, SWELL_FREE + SWELL_MAX * os.fstat(file).st_size
    member = zlib.decompressobj(_WINDOW)
    while raw:
        if member.eof:
            member = zlib.decompressobj(_WINDOW)
        try:
            data = member.decompress(raw, _READ)
        except zlib.error as error:
            raise LibraryError(f"its gzip is broken ({error}); fetch it again") from None
        given += len(data)
        if given > most:
            raise LibraryError(f"swells to over {SWELL_MAX} times its size; unpack it if you must")
        if data:
            yield data
        raw = member.unconsumed_tail or member.unused_data or os.read(file, _READ)
    if not member.eof:
        raise LibraryError("its gzip is cut short; fetch it again")


def _records(stream: _Stream) -> Iterator[_Record]:
    while (headers := stream.headers(_WARC)) is not None:
        record = _Record(headers, b"")
        if not _LENGTH.fullmatch(length := record.header("Content-Length")):
            raise LibraryError(f"says {length[:40]!r} of its length, which is no number")
        kept, come, sum_ = bytearray(), 0, hashlib.sha1(usedforsecurity=False)
        for piece in stream.block(int(length)):
            come += len(piece)
            sum_.update(piece)
            kept += piece[: _BODY_MAX - len(kept)]
        if come < int(length):
            raise LibraryError(f"cut short after {come:,} of {int(length):,} bytes; fetch it again")
        said = _SHA1.fullmatch(record.header("WARC-Block-Digest"))
        if said and base64.b32decode(said[1].upper()) != sum_.digest():
            raise LibraryError("altered: it has another digest than it says; fetch it again")
        if (end := b"".join(stream.block(len(_END)))) != _END:
            raise LibraryError(f"goes on with {end!r} beyond the {int(length):,} bytes it says")
        yield _Record(headers, bytes(kept))


def _entry(record: _Record) -> Entry:
    kind, address = record.header("WARC-Type"), record.header("WARC-Target-URI").strip("<>")
    date = record.header("WARC-Date")
    stamp = date if _DATE.fullmatch(date) else ""
    if not proper(address):
        return LeftOut()
    if kind == "revisit":
        return _alias(address, record.header("WARC-Refers-To-Target-URI").strip("<>"), stamp)
    if kind in ("resource", "conversion"):
        return _page(address, record.block, record.header("Content-Type"), stamp)
    if kind == "response" and record.header("Content-Type").startswith("application/http"):
        return _answer(address, record.block, stamp)
    return LeftOut()


def _answer(address: str, block: bytes, stamp: str) -> Entry:
    """What a server said: a page, another address, or nothing to read."""
    stream = _Stream(iter((block,)))
    try:
        headers = stream.headers(_HTTP)
    except LibraryError:
        return LeftOut()
    if headers is None or not (status := _STATUS.fullmatch(headers.statusline)):
        return LeftOut()
    answer = _Record(headers, b"".join(stream.block(len(block))))
    if status[1].startswith("3"):
        return _alias(address, answer.header("Location"), stamp)
    body = _decoded(answer) if status[1] in ("200", "203") else None
    if body is None:
        return LeftOut()
    return _page(address, body, answer.header("Content-Type"), stamp)


def _page(address: str, body: bytes, content_type: str, stamp: str) -> Entry:
    text = text_of(body, content_type)
    return LeftOut() if text is None else Page(address, text, stamp)


def _alias(address: str, target: str, stamp: str) -> Entry:
    try:
        target = urldefrag(urljoin(address, target)).url
    except ValueError:
        return LeftOut()
    return Alias(address, target, stamp) if proper(target) and target != address else LeftOut()


def _decoded(answer: _Record) -> bytes | None:
    """The body without the codings that it was sent in, or None for one that is not known."""
    body = answer.block
    if "chunked" in answer.header("Transfer-Encoding").lower():
        body = _dechunked(body)
    coding = answer.header("Content-Encoding").lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOWS:
        return None
    # Some servers send deflate without the header that the name promises.
    for window in (_WINDOWS[coding], -zlib.MAX_WBITS):
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(window).decompress(body, PAGE_MAX)
    return None


def _dechunked(body: bytes) -> bytes:
    """The chunks' contents, as far as there are chunks: some crawlers keep only those."""
    parts: list[bytes] = []
    at = 0
    while (head := _CHUNK.match(body, at)) and (size := int(head[1], 16)):
        parts.append(body[head.end() : head.end() + size])
        at = head.end() + size + 2
    return b"".join(parts) if at else body


def _warcio() -> Any:
    try:
        return importlib.import_module("warcio.statusandheaders")
    except ImportError:
        raise LibraryError("reading it needs pip install warcio") from None
