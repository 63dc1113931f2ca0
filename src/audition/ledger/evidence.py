"""A ledger's rows as they stand, at one instant, unchecked: what verification and export read.

Nothing here trusts the database: a column may hold a value of any type. The file is left as it is,
down to the last byte.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from audition.ledger.database import (
    checkpoints_table,
    connect,
    contents_table,
    events_table,
    ledger_table,
    runs_table,
)
from audition.step import RunId


@dataclass(frozen=True, slots=True)
class Part:
    """Some runs of a ledger, by the numbers that they have in the database."""

    first: int
    last: int
    start: int
    end: int
    """Where their events stand, start ≤ index < end."""
    also: int | None = None
    """One more run, as far as it goes before the end."""


PAGE = 1024
"""Rows that are read at a time."""

ROOM = 8 << 20
"""Bytes that are read at a time, or one row; or that a server sends, or one content."""


class Evidence:
    """One read-only view of a ledger, unmoved by whoever writes meanwhile.

    Args:
        where: a path, `sqlite:///path` or `postgresql://user@host:port/name`.
        ordered: whether contents come in order of name, or as they lie, which is quicker.

    Raises:
        LedgerError: no such file, no ledger, or a ledger of another version.
    """

    def __init__(self, where: str | Path, *, ordered: bool = True) -> None:
        self._ordered = ordered
        self.where = where
        self._database = connect(where, readonly=True)
        with self._database.or_let_go():
            self.origin = self._database.origin()
        """Name of this ledger in its checkpoints."""
        with self._database.plainly():
            self._connection = self._database.engine.connect()
            query = _raw(ledger_table.c.size, ledger_table.c.peaks)
            row: Any = self._connection.execute(query).one()
        self.size: Any = row[0]
        """Number of events, as stored."""
        self.peaks: Any = row[1]
        """The tree's edge, as stored."""

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def damage(self, *, indices: bool = True) -> str | None:
        """What the database itself finds wrong with its pages, tables and indices, if anything.

        It is looked for over a connection of its own, so that rows may be read meanwhile.

        Args:
            indices: whether they are compared with the tables; nothing rests on them where rows are
                read in order of their numbers, and nothing is looked up.
        """
        with self._database.plainly(), self._database.engine.connect() as connection:
            found = self._database.damage(connection, indices=indices)
        return found or self._database.strange()

    def rows(self, part: Part | None = None) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
        """Every event: (index, run, seq, leaf, data), in order of index; or those of a part."""
        return chain.from_iterable(self.pages(part))

    def pages(self, part: Part | None = None) -> Iterator[list[Any]]:
        """As `rows`, some at a time."""
        columns = (
            events_table.c.index,
            runs_table.c.name,
            events_table.c.seq,
            events_table.c.leaf,
            events_table.c.data,
        )
        query = _raw(*columns).join_from(
            events_table, runs_table, runs_table.c.id == events_table.c.run, isouter=True
        )
        for some in _of(query, part):
            yield from self._pages(some.order_by(events_table.c.index))

    def leaves(self) -> Iterator[list[Any]]:
        """Of every event: (index, number of its run here, seq, leaf), in order, some at a time."""
        columns = events_table.c
        query = _raw(columns.index, columns.run, columns.seq, columns.leaf)
        return self._pages(query.order_by(columns.index))

    def runs(self) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Of every run: (its number here, how many events, first and last index), by number."""
        run, index = events_table.c.run, events_table.c.index
        query = _raw(run, sa.func.count(), sa.func.min(index), sa.func.max(index)).group_by(run)
        yield from self._stream(query.order_by(run))

    def number(self, run: RunId) -> int | None:
        """The number that a run has here, if it is there."""
        query = sa.select(runs_table.c.id).where(runs_table.c.name == bytes.fromhex(run))
        with self._database.plainly():
            return self._connection.execute(query).scalar()

    def contents(self) -> Iterator[tuple[Any, Any, Any]]:
        """Every piece of content: (name, salt, data)."""
        column = contents_table.c.digest
        query = _raw(column, contents_table.c.salt, contents_table.c.data)
        if self._database.page is None:
            yield from self._stream(query.order_by(column) if self._ordered else query)
            return
        for some in self._light(sa.true()):
            yield from self._stream(query.order_by(column).where(column.in_(some)))

    def checkpoints(self) -> Iterator[tuple[Any, Any]]:
        """Every checkpoint: (size, note), smallest first."""
        columns = (checkpoints_table.c.size, checkpoints_table.c.note)
        yield from self._stream(_raw(*columns).order_by(checkpoints_table.c.size))

    def held(self, names: Collection[bytes]) -> dict[bytes, bool]:
        """Which of these contents have a row, and whether their data is still there."""
        return {
            name: bool(there) for some in _slices(names) for there, name in self._named(_HELD, some)
        }

    def get(self, names: Collection[bytes]) -> Iterator[tuple[bytes, Any, Any]]:
        """These contents, as far as they have a row: (name, salt, data), in order of name."""
        among = contents_table.c.digest.in_
        for some in _slices(sorted(names)):
            for few in (some,) if self._database.page is None else self._light(among(some)):
                yield from self._named(_GET, few)

    def _light(self, among: sa.ColumnElement[bool]) -> Iterator[list[bytes]]:
        """The names of contents, in order, as many at a time as may be in memory together."""
        column = contents_table.c.digest
        size = sa.func.coalesce(sa.func.octet_length(contents_table.c.data), 0)
        some, weight = list[bytes](), 0
        for length, name in self._stream(_raw(size, column).where(among).order_by(column)):
            if some and (weight + length > ROOM or len(some) == 500):
                yield some
                some, weight = [], 0
            some.append(name)
            weight += length
        if some:
            yield some

    def events(self, start: int, end: int) -> Iterator[tuple[Any, Any, Any]]:
        """The events with index start ≤ i < end: (index, leaf, data), in order of index."""
        index = events_table.c.index
        query = _raw(index, events_table.c.leaf, events_table.c.data)
        yield from self._stream(query.where(index >= start, index < end).order_by(index))

    def _stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        return chain.from_iterable(self._pages(query))

    def _pages(self, query: sa.Select[Any]) -> Iterator[list[Any]]:
        """What is asked for, as many rows at a time as there is room for."""
        if page := self._database.page:
            query = query.execution_options(yield_per=page)
        with self._database.plainly(), self._connection.execute(query) as found:
            yield from self._cut(found)

    def _named(self, query: str, names: Sequence[bytes]) -> Iterator[Any]:
        """What is asked of these contents, which may be in memory together or come one by one."""
        text = self._database.sql(query.format(", ".join("?" * len(names))))
        asked = self._connection.exec_driver_sql
        with self._database.plainly(), asked(text, tuple(names)) as found:
            yield from chain.from_iterable(self._cut(found))

    def _cut(self, found: Any) -> Iterator[list[Any]]:
        if self._database.page is not None:
            yield from _cut(found)
            return
        try:
            yield from _cut(found.cursor)  # the driver's own: nothing is converted between
        except sqlite3.Error as error:
            raise DBAPIError("", None, error) from None


def _raw(*columns: Any) -> sa.Select[Any]:
    """A selection without conversions: what stands in the file, whatever its type."""
    raw: list[Any] = [sa.type_coerce(column, NullType()).label(None) for column in columns]
    return sa.select(*raw)  # type: ignore[return-value]  # of a number of columns left open


def _cut(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Pages of rows; if they break off, what was read before comes first."""
    every, more = iter(rows), True
    while more:
        page: list[Any] = []
        try:
            more = read_ahead(every, page, PAGE, ROOM) < 0 or len(page) == PAGE
        except Exception:
            yield page
            raise
        yield page


def read_ahead(rows: Iterator[Any], page: list[Any], most: int, room: int) -> int:
    """Read the next rows, at most so many; that for which there is no room is the last.

    Args:
        rows: of which the last column is what may be long.
        page: where they are put, as far as they can be read.
        most: how many.
        room: bytes.

    Returns:
        The room that is left.
    """
    for row in islice(rows, most):
        page.append(row)
        try:
            room -= len(row[-1])
        except TypeError:  # a number, or nothing
            continue
        if room < 0:
            break
    return room


def _of(query: sa.Select[Any], part: Part | None) -> list[sa.Select[Any]]:
    """The same of a part alone, one query after the other; each goes through no more than it."""
    if part is None:
        return [query]
    index, run = events_table.c.index, events_table.c.run
    mine = run.between(part.first, part.last)
    here = query.where(index >= part.start, index < part.end)
    if part.also is None:
        return [here.where(mine)]
    also = run == part.also
    return [query.where(also, index < part.start), here.where(mine | also)]


def _slices(names: Collection[bytes]) -> Iterator[list[bytes]]:
    """As many at a time as one query takes."""
    every = list(names)
    for start in range(0, len(every), 500):
        yield every[start : start + 500]


_HELD = "SELECT data IS NOT NULL, digest FROM contents WHERE digest IN ({})"
_GET = "SELECT digest, salt, data FROM contents WHERE digest IN ({}) ORDER BY digest"
