"""Statements that go to a PostgreSQL server together: one way there and back for all of them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult
    from psycopg.waiting import Ready, Wait

_ARRAY = Struct("!iiiii")
"""Dimensions, whether there are nulls, kind of the elements, how many, number of the first."""

_NUMBER, _LENGTH = Struct("!iq"), Struct("!i")
_BIGINT, _BYTEA = 20, 17


class Together:
    """What is under way on one connection.

    After each statement the server is told that it may be the last one (`Sync`): from there its
    own clock runs, and ends a transaction of which nothing more is heard, whatever of it was lost.
    An error in one fails all that follow, the `COMMIT` among them.

    Args:
        connection: the connection, on which nothing else goes on meanwhile.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._wire = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._due = 0

    @property
    def under_way(self) -> bool:
        """Whether something was sent whose answer was not heard."""
        return self._due > 0

    def send(self, sql: str, *values: bytes) -> None:
        """Send a statement and wait for nothing.

        Args:
            sql: the statement, its marks `$1`, `$2` …
            values: one for each mark, in the server's own form.
        """
        if not self._due:
            self._wire.enter_pipeline_mode()
        self._due += 1
        binary = [1] * len(values)
        if not values:  # nothing that would be worth preparing
            self._wire.send_query_params(sql.encode(), (), result_format=1)
        else:
            if sql not in self._names:
                self._names[sql] = f"together{len(self._names)}".encode()
                self._wire.send_prepare(self._names[sql], sql.encode())
            self._wire.send_query_prepared(self._names[sql], values, binary, result_format=1)
        self._wire.pipeline_sync()  # sends as much as goes

    def answers(self) -> list[PGresult]:
        """The answers to all that was sent, in order.

        Raises:
            psycopg.Error: the first of them that is an error, or the server is gone. The
                connection is of no use any more.
        """
        found = self._connection.wait(self._heard())
        self._wire.exit_pipeline_mode()
        return found

    def _heard(self) -> Generator[Wait, Ready | int, list[PGresult]]:
        from psycopg.errors import error_from_result
        from psycopg.pq import ExecStatus
        from psycopg.waiting import Wait

        found: list[PGresult] = []
        last: PGresult | None = None
        while self._due:
            unsent = self._wire.flush()
            while unsent or self._wire.is_busy():
                if (yield Wait.RW if unsent else Wait.R):
                    self._wire.consume_input()
                    unsent = self._wire.flush()
            result = self._wire.get_result()
            if result is None:  # the end of one answer
                continue
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
            if result.status != ExecStatus.PIPELINE_SYNC:
                last = result
                continue
            self._due -= 1
            if last is not None:
                found.append(last)
        return found


def numbers(values: Sequence[int]) -> bytes:
    """Numbers as a `bigint[]`."""
    elements = [_NUMBER.pack(8, one) for one in values]
    return b"".join((_ARRAY.pack(1, 0, _BIGINT, len(elements), 1), *elements))


def strings(values: Sequence[bytes | None]) -> bytes:
    """Strings of bytes as a `bytea[]`."""
    elements = list[bytes]()
    for one in values:
        elements += (_LENGTH.pack(-1 if one is None else len(one)), one or b"")
    return b"".join((_ARRAY.pack(1, None in values, _BYTEA, len(values), 1), *elements))


def number(value: int) -> bytes:
    """A number as a `bigint`."""
    return value.to_bytes(8, "big", signed=True)
