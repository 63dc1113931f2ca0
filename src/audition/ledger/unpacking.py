"""An archive turned back into a ledger, whole or into the gaps of one; every byte is checked first.

Leaves against events, tiles against tiles, the tree against the checkpoint, contents against their
names. Whose the checkpoint is, and what the runs did, is for verification, which reads the ledger.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import sqlalchemy as sa

from audition.canonical import CanonicalError, parse
from audition.ledger.database import LedgerError, connect, on_server, schema
from audition.ledger.events import EventError, parse_event
from audition.ledger.evidence import Evidence
from audition.ledger.store import SqlLedger, content_name
from audition.ledger.tiles import WIDTH, Tiles, width_at
from audition.ledger.tree import leaf_hash
from audition.step import Event

_HOLD = """
INSERT INTO contents (digest, salt, data) VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET salt = excluded.salt, data = excluded.data
WHERE contents.data IS NULL AND excluded.data IS NOT NULL
"""
_FILL = 'UPDATE events SET data = ? WHERE "index" = ? AND data IS NULL'
_APPEND = 'INSERT INTO events ("index", run, seq, leaf, data) VALUES (?, ?, ?, ?, ?)'
_GAPS = 'SELECT DISTINCT "index" / 256 FROM events WHERE data IS NULL ORDER BY 1'


class Archive:
    """What an archive holds, as far as its checkpoint goes.

    Args:
        folder: where it is.

    Raises:
        LedgerError: there is no archive, or its tiles are not its checkpoint's.
    """

    def __init__(self, folder: str | Path) -> None:
        self.tiles = Tiles(folder)
        found = self.tiles.checkpoint()
        if found is None:
            raise LedgerError(f"{folder}: no archive there")
        self.head, self.note = found
        self.tiles.check(self.head.size)
        self.edge = self.tiles.edge(self.head.size)
        if self.edge.root() != self.head.root:
            raise LedgerError(f"{folder}: damaged: its tiles are not of its checkpoint")

    @property
    def bundles(self) -> int:
        """How many bundles there are, the last one cut short or not."""
        return -(-self.head.size // WIDTH)

    def events(self, number: int) -> Iterator[tuple[int, bytes, bytes, Event]]:
        """The events of a bundle: index, leaf, bytes, and what they say.

        Raises:
            LedgerError: one is missing, added, altered or no event.
        """
        width = width_at(self.head.size, 0, number)
        leaves = self.tiles.hashes(0, number, width)
        count = 0
        for data in self.tiles.lines("events", number, width):
            index = number * WIDTH + count
            if count == width or leaf_hash(data) != leaves[count]:
                raise self._wrong(index, "altered, added or moved: it does not hash to its leaf")
            try:
                event = parse_event(data)
            except EventError as error:
                raise self._wrong(index, str(error)) from None
            yield index, leaves[count], data, event
            count += 1
        if count < width:
            raise self._wrong(number * WIDTH + count, "missing; its bundle was cut")

    def contents(self, number: int) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
        """The contents that the events of a bundle name: name, salt and data, None if redacted.

        Raises:
            LedgerError: one is not what its name says.
        """
        width = width_at(self.head.size, 0, number)
        for line in self.tiles.lines("contents", number, width):
            try:
                yield _content(line)
            except (ValueError, TypeError, KeyError) as error:
                where = f"{self.tiles.folder}: contents of bundle {number}"
                raise LedgerError(f"{where}: {error}") from None

    def _wrong(self, index: int, what: str) -> LedgerError:
        return LedgerError(f"{self.tiles.folder}: event {index}: {what}")


def unpack(folder: str | Path, path: Path) -> int:
    """Make a new ledger of an archive; returns the number of its events.

    Raises:
        LedgerError: the archive is damaged, or the ledger cannot be made.
    """
    archive = Archive(folder)
    SqlLedger.open(path).close()
    with _writing(path) as database:
        runs: dict[str, tuple[int, int]] = {}
        for number in range(archive.bundles):
            for index, leaf, data, event in archive.events(number):
                place, due = runs.get(event.run, (len(runs) + 1, 0))
                if event.seq != due:
                    raise LedgerError(
                        f"{folder}: event {index}: number {event.seq} of its run, {due} was due"
                    )
                if not due:
                    name = bytes.fromhex(event.run)
                    database.execute("INSERT INTO runs (id, name) VALUES (?, ?)", (place, name))
                runs[event.run] = place, due + 1
                database.execute(_APPEND, (index, place, event.seq, leaf, data))
            database.executemany(_HOLD, archive.contents(number))
        edge = (archive.head.origin, archive.head.size, b"".join(archive.edge.peaks))
        database.execute("UPDATE ledger SET origin = ?, size = ?, peaks = ?", edge)
        signed = (archive.head.size, archive.note)
        database.execute("INSERT INTO checkpoints (size, note) VALUES (?, ?)", signed)
    return archive.head.size


@contextmanager
def unpacked(folder: str | Path) -> Generator[Path]:
    """A ledger made of an archive, for as long as it is looked at; it takes its room on disk.

    Raises:
        LedgerError: the archive is damaged.
    """
    with TemporaryDirectory(prefix="audition-archive-") as room:
        path = Path(room) / "archive.db"
        unpack(folder, path)
        yield path


@contextmanager
def completed(ledger: str | Path, folder: str | Path) -> Generator[Path]:
    """A copy of a ledger with what was let go put back, for as long as it is looked at.

    Raises:
        LedgerError: the archive is damaged or another ledger's.
    """
    archive = Archive(folder)
    with Evidence(ledger) as evidence:
        if evidence.origin != archive.head.origin:
            raise LedgerError(f"{folder}: the archive of another ledger, {archive.head.origin}")
    with TemporaryDirectory(prefix="audition-archive-") as room:
        path = Path(room) / "whole.db"
        _copy(ledger, path)
        with _writing(path) as database:
            for (number,) in database.execute(_GAPS).fetchall():
                if number < archive.bundles:
                    rows = ((data, index) for index, _, data, _ in archive.events(number))
                    database.executemany(_FILL, rows)
                    database.executemany(_HOLD, archive.contents(number))
        yield path


def _copy(ledger: str | Path, path: Path) -> None:
    if on_server(ledger):
        _copy_from_server(ledger, path)
        return
    source = Path(str(ledger).removeprefix("sqlite:///"))
    address = f"{source.absolute().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True)) as whole,
            closing(sqlite3.connect(path)) as copy,
        ):
            whole.backup(copy)
    except sqlite3.Error as error:
        raise LedgerError(f"{source}: {error}") from None


def _copy_from_server(ledger: str | Path, path: Path) -> None:
    """Every table as it is at one instant."""
    SqlLedger.open(path).close()
    there, here = connect(ledger, readonly=True), connect(path)
    there.origin()  # there is a ledger
    with there.plainly(), there.engine.connect() as source, here.writer() as copy, copy.begin():
        for table in schema(there.revision).sorted_tables:
            copy.execute(sa.delete(table))
            with source.execute(sa.select(table).execution_options(yield_per=500)) as rows:
                for some in rows.mappings().partitions():
                    copy.execute(sa.insert(table), [dict(row) for row in some])
    there.engine.dispose()
    here.engine.dispose()


@contextmanager
def _writing(path: Path) -> Generator[sqlite3.Connection]:
    """One transaction in a file that nobody else has."""
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA synchronous = OFF")  # not kept if the machine fails meanwhile
            with database:
                yield database
    except sqlite3.Error as error:
        raise LedgerError(f"{path.name}: {error}") from None


def _content(line: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    value: Any = parse(line)
    if not isinstance(value, dict):
        raise CanonicalError("a line that is no object")
    fields = cast("dict[str, Any]", value)
    name = bytes.fromhex(fields["content"])
    if fields == {"content": name.hex(), "redacted": True} and len(name) == 32:
        return name, None, None
    data, salt = _decoded(fields["data"]), fields.get("salt")
    salt = None if salt is None else _decoded(salt)
    if len(fields) != 2 + (salt is not None) or content_name(data, salt) != name.hex():
        raise ValueError(f"content {name.hex()[:12]}… was altered: it is not what its name says")
    return name, salt, data


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("a content that is not base64") from None
