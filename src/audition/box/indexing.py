"""The index of a library: one SQLite file, or memory, made whole or not at all.

Source: SQLite FTS5, https://www.sqlite.org/fts5.html.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from audition.box.pages import (
    PAGES_MAX,
    REDIRECTS_MAX,
    TEXT_MAX,
    Alias,
    Entry,
    LeftOut,
    LibraryError,
    Page,
)

MEMORY_MAX = 1 << 30
"""Bytes of text that an index in memory holds at most."""
_TITLE_MAX = 120
_TABLES = """
CREATE VIRTUAL TABLE page USING fts5(title, path, text);
CREATE TABLE place (
    path TEXT PRIMARY KEY, page INTEGER, target TEXT, stamp TEXT, size INTEGER, digest BLOB
) WITHOUT ROWID;
CREATE TABLE made (signature TEXT, digest TEXT, pages INTEGER, left_out INTEGER);
"""


def kept(index: Path | None, signature: str) -> sqlite3.Connection | None:
    """The index that was made earlier of the same source, if there is one."""
    if index is None or not index.is_file():
        return None
    found = sqlite3.connect(index, check_same_thread=False)
    try:
        if found.execute("SELECT signature FROM made").fetchone() == (signature,):
            return found
    except sqlite3.DatabaseError:  # not an index, or a broken one: it is made anew
        pass
    found.close()
    return None


def build(index: Path | None, signature: str, entries: Iterable[Entry]) -> sqlite3.Connection:
    """Make an index.

    Args:
        index: File to keep it in; in memory if None.
        signature: What it is known by later.
        entries: What goes in.

    Raises:
        LibraryError: There is too much of it, or a source says that it is broken.
        OSError, sqlite3.Error: The index cannot be written.
    """
    if index is None:
        return _filled(":memory:", signature, entries, MEMORY_MAX)
    # Made beside its place and moved there when whole, so that no cut index is ever used.
    making = index.with_name(f".{index.name}.{os.getpid()}")
    _clear(making)
    try:
        _filled(str(making), signature, entries, TEXT_MAX).close()
        os.replace(making, index)
    finally:
        _clear(making)
    return sqlite3.connect(index, check_same_thread=False)


def _clear(making: Path) -> None:
    for name in (making, making.with_name(f"{making.name}-journal")):
        name.unlink(missing_ok=True)


def _filled(where: str, signature: str, entries: Iterable[Entry], most: int) -> sqlite3.Connection:
    made = sqlite3.connect(where, check_same_thread=False)
    try:
        with made:
            made.executescript(_TABLES)
            left_out = sum(_put(made, entry) for entry in _bounded(entries, most))
            left_out += _resolve(made)
            pages = made.execute("SELECT count(*) FROM place WHERE target IS NULL").fetchone()[0]
            made.execute(
                "INSERT INTO made VALUES (?, ?, ?, ?)", (signature, _digest(made), pages, left_out)
            )
    except BaseException:
        made.close()
        raise
    return made


def _bounded(entries: Iterable[Entry], most: int) -> Iterator[Entry]:
    text = 0
    for number, entry in enumerate(entries):
        if number >= PAGES_MAX:
            raise LibraryError(f"more than {PAGES_MAX:,} records; split it")
        if isinstance(entry, Page) and entry.text is not None:
            text += len(entry.text)
            if text > most:
                way_out = "split it" if most == TEXT_MAX else "keep its index in a file"
                raise LibraryError(f"more than {most >> 20:,} MiB of text; {way_out}")
        yield entry


def _put(made: sqlite3.Connection, entry: Entry) -> bool:
    """Put an entry in; True if it was left out instead."""
    if isinstance(entry, LeftOut):
        return True
    before = made.execute("SELECT stamp, page FROM place WHERE path = ?", (entry.path,)).fetchone()
    if before is not None:
        if before[0] > entry.stamp:
            return True
        made.execute("DELETE FROM page WHERE rowid = ?", (before[1],))
    row = (entry.path, None, None, entry.stamp, None, None)
    if isinstance(entry, Alias):
        row = (entry.path, None, entry.target, entry.stamp, None, None)
    else:
        page, data = None, b""
        if entry.text is not None:
            data = entry.text.encode()
            page = made.execute(
                "INSERT INTO page VALUES (?, ?, ?)",
                (_title(entry.text, entry.path), entry.path, entry.text),
            ).lastrowid
        size = len(data) if entry.size is None else entry.size
        digest = entry.digest or hashlib.sha256(data).digest()
        row = (entry.path, page, None, entry.stamp, size, digest)
    made.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?, ?)", row)
    return False


def _resolve(made: sqlite3.Connection) -> int:
    """Lead each alias straight to its page; those that lead nowhere go, and are counted."""
    aliases = made.execute("SELECT path, target FROM place WHERE target IS NOT NULL").fetchall()
    ends = [(_end(made, target), path) for path, target in aliases]
    made.executemany("UPDATE place SET target = ? WHERE path = ?", ends)
    return made.execute("DELETE FROM place WHERE target = ''").rowcount


def _end(made: sqlite3.Connection, target: str) -> str:
    for _ in range(REDIRECTS_MAX):
        found = made.execute("SELECT target FROM place WHERE path = ?", (target,)).fetchone()
        if found is None:
            break
        if found[0] is None:
            return target
        target = found[0]
    return ""


def _digest(made: sqlite3.Connection) -> str:
    """SHA-256 over the paths in order, each with the digest of what is read there."""
    sum_ = hashlib.sha256(b"audition-library-1\n")
    for path, digest in made.execute(
        "SELECT one.path, coalesce(one.digest, other.digest) FROM place AS one"
        " LEFT JOIN place AS other ON other.path = one.target ORDER BY one.path"
    ):
        name = path.encode()
        sum_.update(len(name).to_bytes(4, "big") + name + digest)
    return sum_.hexdigest()


def _title(text: str, path: str) -> str:
    for line in text[: 1 << 12].splitlines():
        if title := line.strip("# \t=-*"):
            return title[:_TITLE_MAX]
    return path
