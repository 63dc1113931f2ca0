"""A ledger's rows as they stand, at one instant, unchecked: what verification and export read.

Nothing here trusts the database: a column may hold a value of any type. The file is left as it is,
down to the last byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.types import NullType

from audition.ledger.database import (
    checkpoints_table,
    connect,
    contents_table,
    events_table,
    ledger_table,
    runs_table,
)


class Evidence:
    """One read-only view of a ledger, unmoved by whoever writes meanwhile.

    Args:
        where: a path, `sqlite:///path` or `postgresql://user@host:port/name`.

    Raises:
        LedgerError: no such file, no ledger, or a ledger of another version.
    """

    def __init__(self, where: str | Path) -> None:
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

    def damage(self) -> str | None:
        """What the database itself finds wrong with its pages, indices and tables, if anything."""
        with self._database.plainly():
            found = self._database.damage(self._connection)
        return found or self._database.strange()

    def rows(self) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
        """Every event: (index, run, seq, leaf, data), in order of index."""
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
        yield from self._stream(query.order_by(events_table.c.index))

    def contents(self) -> Iterator[tuple[Any, Any, Any]]:
        """Every piece of content: (name, salt, data), in order of name."""
        columns = (contents_table.c.digest, contents_table.c.salt, contents_table.c.data)
        yield from self._stream(_raw(*columns).order_by(contents_table.c.digest))

    def checkpoints(self) -> Iterator[tuple[Any, Any]]:
        """Every checkpoint: (size, note), smallest first."""
        columns = (checkpoints_table.c.size, checkpoints_table.c.note)
        yield from self._stream(_raw(*columns).order_by(checkpoints_table.c.size))

    def held(self, names: Collection[bytes]) -> dict[bytes, bool]:
        """Which of these contents have a row, and whether their data is still there."""
        column = contents_table.c.digest
        query = _raw(column, contents_table.c.data.is_not(None))
        return {
            name: bool(there)
            for some in _slices(names)
            for name, there in self._stream(query.where(column.in_(some)))
        }

    def get(self, names: Collection[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The data of these contents, one at a time, as far as it is there."""
        column = contents_table.c.digest
        for some in _slices(names):
            for name, data in self._stream(
                _raw(column, contents_table.c.data).where(column.in_(some))
            ):
                if isinstance(data, bytes):
                    yield name, data

    def _stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        """Row by row: a page of rows could be a page of the largest contents."""
        if page := self._database.page:
            query = query.execution_options(yield_per=page)
        with self._database.plainly(), self._connection.execute(query) as rows:
            yield from rows


def _raw(*columns: Any) -> sa.Select[Any]:
    """A selection without conversions: what stands in the file, whatever its type."""
    raw: list[Any] = [sa.type_coerce(column, NullType()).label(None) for column in columns]
    return sa.select(*raw)  # type: ignore[return-value]  # of a number of columns left open


def _slices(names: Collection[bytes]) -> Iterator[list[bytes]]:
    """As many at a time as one query takes."""
    every = list(names)
    for start in range(0, len(every), 500):
        yield every[start : start + 500]
