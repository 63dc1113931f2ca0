"""A library: what a thinker may search and read without a network.

A folder of text, or a cached internet: WARC files, or a ZIM file. The index stands in memory or
in a file outside every box. A query is taken as words and never as query syntax; a path is looked
up among those that the library had when it was opened, and never leads out of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from pathlib import Path

from pydantic import Field

from audition.box import indexing
from audition.box.folder import Folder
from audition.box.pages import LibraryError
from audition.box.warc import Warcs
from audition.box.zim import Zim
from audition.step import Digest, Frozen

READ_MAX = 1 << 16
"""Bytes that one `read` returns at most."""
HITS_MAX = 50
"""Hits that one `search` returns at most."""
_WORDS_MAX, _WORD_MAX = 32, 64
_EXCERPT_MAX = 400
_FORMAT = "audition-library-2"
_WORD = re.compile(r"\w+")
_WARC = (".warc", ".warc.gz")


class Hit(Frozen):
    """One page that a query found."""

    title: str
    """Its first line that says something."""
    path: str
    """Where it stands: a path in the folder, or its address."""
    excerpt: str
    """Some words around what was found."""


class Passage(Frozen):
    """Part of a page."""

    path: str
    """Where it stands; for another name that was asked for, the page that it leads to."""
    offset: int = Field(ge=0)
    """Where the part begins, in bytes."""
    text: str
    """The part, what is no UTF-8 replaced."""
    size: int = Field(ge=0)
    """Bytes of the whole page."""


class Library:
    """Text that can be searched and read. Get one from `open`."""

    def __init__(self, source: Folder | Warcs | Zim, index: sqlite3.Connection) -> None:
        """Use an index that was built of this source."""
        self._source = source
        self._index = index
        self._digest, self.pages, self.left_out = index.execute(
            "SELECT digest, pages, left_out FROM made"
        ).fetchone()

    @classmethod
    def open(cls, place: Path, index: Path | None = None) -> Library:
        """Index what is there, or use the index made when it was last opened unchanged.

        Args:
            place: A folder of text, whose files in UTF-8 are indexed at any depth; a `.warc` or
                `.warc.gz` file or a folder of them; or a `.zim` file. Links are not followed.
            index: File that keeps the index; in memory if left out.

        Raises:
            LibraryError: It cannot be read, is broken or too large, or the index not written.
        """
        try:
            source = _source(place)
            signature = hashlib.sha256(repr((_FORMAT, source.signature())).encode()).hexdigest()
            kept = indexing.kept(index, signature)
            return cls(source, kept or indexing.build(index, signature, source.entries()))
        except LibraryError as error:
            raise LibraryError(f"{place}: {error}") from error
        except (OSError, sqlite3.Error) as error:
            raise LibraryError(f"{place}: cannot be opened as a library: {error}") from error

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def digest(self) -> Digest:
        """SHA-256 of all that can be read: each path with its bytes, whatever holds them."""
        return self._digest

    def search(self, query: str, limit: int = 10) -> tuple[Hit, ...]:
        """The pages that hold most of the query's words, best first.

        Args:
            query: Words; everything else in it is passed over.
            limit: How many hits at most, itself at most `HITS_MAX`.
        """
        words = [word[:_WORD_MAX] for word in _WORD.findall(query[: _WORDS_MAX * _WORD_MAX])]
        if not words or limit < 1:
            return ()
        rows = self._index.execute(
            "SELECT title, path, snippet(page, 2, '', '', '…', 24) FROM page"
            " WHERE page MATCH ? ORDER BY rank, path LIMIT ?",
            (" OR ".join(f'"{word}"' for word in words[:_WORDS_MAX]), min(limit, HITS_MAX)),
        )
        return tuple(
            Hit(title=title, path=path, excerpt=excerpt[:_EXCERPT_MAX])
            for title, path, excerpt in rows
        )

    def read(self, path: str, offset: int = 0, length: int = READ_MAX) -> Passage:
        """Part of a page, at most `READ_MAX` bytes of it.

        Raises:
            LibraryError: The path names no page, or a file that has changed.
        """
        try:
            found = self._index.execute(
                "SELECT page.path, page.page, page.size, page.stamp FROM place"
                " JOIN place AS page ON page.path = coalesce(place.target, place.path)"
                " WHERE place.path = ?",
                (path,),
            ).fetchone()
        except UnicodeEncodeError:
            found = None
        if found is None or offset < 0 or length < 0:
            raise LibraryError(f"{path!r}: no path in this library; use one that a search returned")
        path, page, size, stamp = found
        length = min(length, READ_MAX, max(0, size - offset))
        data = b""
        if length and isinstance(self._source, Folder):
            try:
                data = self._source.read(path, (size, stamp), offset, length)
            except OSError as error:
                raise LibraryError(f"{path!r}: cannot be read here: {error}") from error
        elif length:
            (data,) = self._index.execute(
                "SELECT substr(CAST(text AS BLOB), ?, ?) FROM page WHERE rowid = ?",
                (offset + 1, length, page),
            ).fetchone()
        return Passage(path=path, offset=offset, text=data.decode(errors="replace"), size=size)


def _source(place: Path) -> Folder | Warcs | Zim:
    if not place.is_dir() or place.is_symlink():
        if place.name.endswith(_WARC):
            return Warcs((place,))
        if place.suffix == ".zim":
            return Zim(place)
        os.stat(place)
        if not place.is_dir():
            raise LibraryError("neither a folder nor a .warc, .warc.gz or .zim file; name one")
    folder = Folder(place)
    warcs = [path for path, _, _ in folder.found if path.endswith(_WARC)]
    if warcs and len(warcs) != len(folder.found):
        raise LibraryError("WARC files stand beside others; give them a folder of their own")
    return Warcs(tuple(place / path for path in warcs)) if warcs else folder
