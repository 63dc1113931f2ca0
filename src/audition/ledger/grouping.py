"""A group of events on its way into PostgreSQL: two ways there and back, the lock held for one."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from audition.ledger.together import Together, number, numbers, strings
from audition.ledger.writing import Row, Writing

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_R = TypeVar("_R", bound=tuple[Any, ...])

EDGE = "SELECT size, peaks FROM ledger FOR UPDATE"
"""Locks the one row that every writer asks for first."""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_PLACES = """
SELECT name, id, (SELECT max(seq) FROM events WHERE run = runs.id)
FROM runs WHERE name = ANY($1::bytea[])
"""
_KEEP = """
INSERT INTO contents (digest, salt, data)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING
"""
_APPEND = """
INSERT INTO events ("index", run, seq, leaf, data)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
"""
_GROW = "UPDATE ledger SET size = $1::bigint, peaks = $2::bytea"
_SIGN = "INSERT INTO checkpoints (size, note) VALUES ($1::bigint, $2::text)"
_AT_ONCE = 16 << 20
"""Bytes of content that one statement carries, or one content."""


class Group(Writing):
    """What `Postgres.writing` gives."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        there = connection.connection.driver_connection
        self._together: Together = connection.info.setdefault("together", Together(there))  # type: ignore[arg-type]
        self._places: dict[bytes, Any] = {}

    @property
    def under_way(self) -> bool:
        """Whether something was sent whose answer was not heard."""
        return self._together.under_way

    def begin(
        self, contents: Sequence[tuple[bytes, bytes | None, bytes]], runs: Collection[bytes]
    ) -> None:
        """Insert contents while others may write, then keep them away, and see what stands."""
        self._send(_BEGIN)
        answers: list[PGresult] = []
        for some in _pieces(contents):
            names, salts, data = zip(*some, strict=True)
            self._send(_KEEP, strings(names), strings(salts), strings(data))
            if len(some) < len(contents):
                answers += self._answers()
        self._send(EDGE)
        self._send(_PLACES, strings(list(runs)))
        *answers, edge, places = answers + self._answers()
        self.new = sum(one.command_tuples or 0 for one in answers)
        self.size, self.peaks = _number(edge, 0, 0), _value(edge, 0, 1)
        for row in range(places.ntuples):
            last = None if places.get_value(row, 2) is None else _number(places, row, 2)
            self._places[_value(places, row, 0)] = (_number(places, row, 1), last)

    def places(self, runs: Collection[bytes]) -> dict[bytes, Any]:
        """They were asked for with the lock."""
        return self._places

    def append(self, rows: Sequence[Row]) -> None:
        """Nothing is waited for: the tree and its signature are made while they are inserted."""
        for some in _pieces(rows):
            if self.under_way:
                self._answers()
            index, run, seq, leaf, data = zip(*some, strict=True)
            self._send(_APPEND, *map(numbers, (index, run, seq)), strings(leaf), strings(data))

    def end(self, size: int, peaks: bytes, note: str | None) -> None:
        """With the commit: the lock is held no longer than the server is at work."""
        self._send(_GROW, number(size), peaks)
        if note is not None:
            self._send(_SIGN, number(size), note.encode())
        self._send("COMMIT")
        self._answers()

    def _send(self, sql: str, *values: bytes) -> None:
        with _failing(self.connection):
            self._together.send(sql, *values)

    def _answers(self) -> list[PGresult]:
        with _failing(self.connection):
            return self._together.answers()


@contextmanager
def _failing(connection: sa.Connection) -> Generator[None]:
    """Let go of a connection where something failed on it beside SQLAlchemy."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        connection.invalidate(error)
        raise DBAPIError(None, None, error, connection_invalidated=True) from None


def _pieces(rows: Sequence[_R]) -> Iterator[Sequence[_R]]:
    """Rows whose last column is data, as many at a time as one statement carries."""
    start, weight = 0, 0
    for end, row in enumerate(rows, 1):
        weight += len(row[-1])
        if weight > _AT_ONCE or end == len(rows):
            yield rows[start:end]
            start, weight = end, 0


def _value(found: PGresult, row: int, column: int) -> bytes:
    value = found.get_value(row, column)
    assert value is not None
    return value


def _number(found: PGresult, row: int, column: int) -> int:
    return int.from_bytes(_value(found, row, column), "big", signed=True)
