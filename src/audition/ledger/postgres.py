"""A ledger on a PostgreSQL server: many processes, each group of events in one transaction.

Whoever writes holds the one row of `ledger` first, so that groups of several processes come one
after the other. What is read belongs to one instant (`REPEATABLE READ`). A server that answers
before it has made durable is refused.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from audition.extra import installing
from audition.ledger.database import Database, LedgerError, Shape, schema
from audition.ledger.grouping import EDGE, Group
from audition.ledger.writing import Writing

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import PQGen

KNOWN = re.compile(
    "dbname|host|passfile|port|user|target_session_attrs|channel_binding|ssl(cert|key|mode|rootcert)"
)
"""What an address may say; the rest is said here, or by the environment (`PGPASSWORD`)."""

NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A network that is cut is an error within half a minute, wherever it is waited for."""

ANSWER = 75.0
"""Seconds of silence after which a server that is there by all signs of the network is given up.

All that it is asked, it ends by its own clock before (`statement_timeout`): one that says nothing
then stands still, or something on the way swallows what it says.
"""

HOURS = 4 * 3600.0
"""The same where it makes room, which takes as long as it takes."""

SESSION = {
    "search_path": "public,pg_temp",
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "client_min_messages": "warning",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
"""The same at the server's end, where whoever is gone would hold the ledger's row for hours."""

WRITING = {"idle_in_transaction_session_timeout": "20s"}
READING = {"default_transaction_read_only": "on"}

_DURABLE = """
SELECT current_setting('fsync'), current_setting('full_page_writes'),
    set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit')
        IN ('off', 'local') THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""
_MAKING = "SELECT pg_advisory_xact_lock(hashtext('audition'))"
_SOLE = "LOCK TABLE ledger, runs, events, contents IN ACCESS EXCLUSIVE MODE"
_OTHERS = """
SELECT count(*) FROM pg_stat_clear_snapshot() LEFT JOIN pg_stat_activity ON true
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND coalesce(backend_type, 'client backend') = 'client backend'
"""
_LEAVING = 2.0
"""Seconds in which a connection that was just closed has left the server."""

_OBJECTS = """
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
    WHEN 'S' THEN 'sequence' ELSE 'foreign or partitioned table' END, c.relname::text
FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
    AND c.relkind NOT IN ('i', 'I', 't', 'c')
    AND NOT EXISTS (SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL SELECT 'trigger', t.tgname::text FROM pg_trigger AS t JOIN pg_class AS c
    ON c.oid = t.tgrelid WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal
UNION ALL SELECT 'rule', r.rulename::text FROM pg_rewrite AS r JOIN pg_class AS c
    ON c.oid = r.ev_class WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
UNION ALL SELECT 'policy', p.polname::text FROM pg_policy AS p JOIN pg_class AS c
    ON c.oid = p.polrelid WHERE c.relnamespace = 'public'::regnamespace
"""
_TABLES = """
SELECT relname::text, relpersistence::text, relrowsecurity, relhassubclass OR relispartition
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_COLUMNS = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
        OR a.attcollation NOT IN (0, 'pg_catalog.default'::regcollation)
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
    AND NOT a.attisdropped ORDER BY c.relname, a.attnum
"""
_INDEXES = """
SELECT c.relname::text, i.indisprimary, i.indisunique AND i.indimmediate,
    i.indisvalid AND i.indpred IS NULL,
    (SELECT array_agg(pg_get_indexdef(i.indexrelid, n, true) ORDER BY n)
        FROM generate_series(1, i.indnatts) AS n)::text[]
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""
_CONSTRAINTS = """
SELECT c.relname::text, pg_get_constraintdef(k.oid)
FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
WHERE c.relnamespace = 'public'::regnamespace AND k.contype IN ('c', 'f', 'x')
"""


class Postgres(Database):
    """A database on a server; the ledger's tables are in its schema `public`."""

    edge = EDGE
    page = 100

    @classmethod
    def at(cls, address: str, *, readonly: bool) -> Self:
        """The database at an address of libpq; nothing is connected yet.

        Raises:
            LedgerError: not an address, or the driver is not installed.
        """
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:
            raise LedgerError(
                f"a ledger on PostgreSQL needs an extra: {installing('postgres')}"
            ) from None
        try:
            said = conninfo_to_dict(address)
        except (psycopg.Error, ValueError):
            raise LedgerError("not an address of PostgreSQL: postgresql://USER@HOST/NAME") from None
        if "password" in said:
            raise LedgerError(
                "an address with a password is seen by all who list processes; "
                "leave it out and set PGPASSWORD, or write it to the file ~/.pgpass"
            )
        if unknown := [name for name in said if not KNOWN.fullmatch(name)]:
            raise LedgerError(f"{address}: {unknown[0]} may not be set in a ledger's address")
        if not said.get("dbname"):
            raise LedgerError(f"{address}: no database is named; postgresql://USER@HOST/NAME")
        session = SESSION | (READING if readonly else WRITING)
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        settled: dict[str, Any] = {**NETWORK, **said, "options": options}
        engine = sa.create_engine(
            sa.URL.create("postgresql+psycopg", database=str(said["dbname"])),
            creator=lambda: _connected(settled),
            isolation_level="REPEATABLE READ",
            use_native_hstore=False,
        )
        alone = engine.execution_options(isolation_level="AUTOCOMMIT")
        return cls(engine, alone, address, str(said["dbname"]))

    def writer(self) -> sa.Connection:
        """What it reads under the ledger's lock is what was committed last, not what it saw."""
        return self.engine.connect().execution_options(isolation_level="READ COMMITTED")

    def sql(self, text: str) -> str:
        """The driver's marks are `%s`."""
        return text.replace("?", "%s")

    def prepare(self) -> None:
        """Nothing."""

    def alone(self, connection: sa.Connection) -> None:
        """Wait for whoever makes one at this moment."""
        connection.exec_driver_sql(_MAKING)

    def clock(self) -> sa.ColumnElement[int]:
        """The server's, at this moment of a transaction."""
        seconds = sa.extract("epoch", sa.func.clock_timestamp())
        return sa.cast(seconds * 1_000_000, sa.BigInteger)

    @contextmanager
    def writing(
        self,
        connection: sa.Connection,
        contents: Sequence[tuple[bytes, bytes | None, bytes]],
        runs: Collection[bytes],
    ) -> Generator[Writing]:
        """Two ways there and back: to the lock, and from there to the end of the commit."""
        with connection.begin():
            writing = Group(connection)
            try:
                writing.begin(contents, runs)
                yield writing
            except BaseException:  # whatever was sent is not to be answered to the next one
                if writing.under_way:
                    connection.invalidate()
                raise

    def check_stands(self) -> None:
        """A server sees to its own files."""

    @contextmanager
    def sole(self) -> Generator[Callable[[], AbstractContextManager[sa.Connection]]]:
        """Whoever comes meanwhile waits; whoever was here before is seen."""
        with self.writer() as connection, connection.begin():
            self._check_alone(connection)  # before anybody is kept waiting
            connection.exec_driver_sql(_SOLE)
            self._check_alone(connection)
            yield partial(nullcontext, connection)
        self.purge()

    def purge(self) -> None:
        """Give the room of old versions free; the server's log and its copies are not reached."""
        with self.plainly(), self.glances.connect() as connection:
            connection.connection.driver_connection.answers_within = HOURS  # type: ignore[union-attr]
            connection.exec_driver_sql(f"SET statement_timeout = {1000 * (HOURS - 15):.0f}")
            connection.exec_driver_sql("VACUUM contents")
            connection.invalidate()

    def _check_alone(self, connection: sa.Connection) -> None:
        until = time.monotonic() + _LEAVING
        while connection.exec_driver_sql(_OTHERS).scalar():
            if time.monotonic() > until:
                raise self.held()
            time.sleep(0.05)

    def damage(self, connection: sa.Connection, *, indices: bool = True) -> str | None:
        """Its pages are the server's affair; each row is compared with its hash."""
        return None

    def objects(self, connection: sa.Connection) -> Iterator[tuple[str, str]]:
        """In the schema, but for what belongs to an extension."""
        for kind, name in connection.exec_driver_sql(_OBJECTS):
            yield str(kind), str(name)

    def shape(self, connection: sa.Connection) -> Shape:
        """From the catalogue."""
        shape: Shape = {}
        for table, *rest in connection.exec_driver_sql(_TABLES):
            shape[table] = [tuple(rest)]
        for query in (_COLUMNS, _INDEXES, _CONSTRAINTS):
            parts: Shape = {}
            for table, *rest in connection.exec_driver_sql(query):
                parts.setdefault(table, []).append(tuple(map(str, rest)))
            for table, rows in parts.items():
                shape[table] += rows if query is _COLUMNS else sorted(rows)
        return shape

    def due(self, revision: str) -> Shape:
        """As `shape` would find it."""
        return _due(revision)


def explain(error: BaseException | None) -> str:
    """What an error of PostgreSQL means, and the way out."""
    first = str(error).strip().splitlines()
    message = " ".join(first[0].split()) if first else type(error).__name__
    state = getattr(error, "sqlstate", None) or ""
    for code, way_out in (
        ("23505", "another process wrote the same place"),
        ("25P03", "the server heard nothing for too long and went on; try again"),
        ("25006", "it may not be written; the server is a copy, or opened for reading"),
        ("42501", "it may not be written; check what the user is granted"),
        ("53100", "the disk is full; make room, then resume"),
        ("55P03", "another process holds it; try again when it has finished"),
        ("57014", "the server was given too long for an answer"),
        ("57P", "the server went away; try again when it is back"),
        ("58030", "the server's disk failed"),
        ("08", "the connection was lost; try again when the server is back"),
        ("XX00", "the database is damaged; restore it from an export"),
    ):
        if state.startswith(code):
            return f"{way_out} ({message})"
    for sign, way_out in (
        ('role "', "the server does not let this user in; name another, or make the role"),
        ("does not exist", "no ledger there; make the database first"),
        ("authentication failed", "the server does not let this user in; set PGPASSWORD"),
        ("no password supplied", "the server does not let this user in; set PGPASSWORD"),
        ("connection", "the connection was lost, or never made; is the server there?"),
        ("server", "the connection was lost; try again when the server is back"),
    ):
        if not state and sign in message:
            return f"{way_out} ({message})"
    return message


def _connected(settled: dict[str, Any]) -> psycopg.Connection[Any]:
    """A connection to a server that keeps its word, whose answers come as bytes are."""
    import psycopg
    from psycopg.pq import Format

    class Binary(psycopg.Cursor[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.format = Format.BINARY

    class Streamed(psycopg.ServerCursor[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.format = Format.BINARY

    class Patient(psycopg.Connection[Any]):
        answers_within: float | None = None

        def wait(self, gen: PQGen[Any], *args: Any, **named: Any) -> Any:
            seconds = self.answers_within or ANSWER
            try:
                return super().wait(_heard(gen, seconds), *args, **named)
            except _Silent:
                self.close()
                silent = f"the server has said nothing for {seconds:g} seconds"
                raise psycopg.OperationalError(silent) from None

    connection = Patient.connect(**settled, cursor_factory=Binary)
    connection.server_cursor_factory = Streamed
    row = connection.execute(_DURABLE).fetchone()
    connection.commit()
    if row is None or row[:2] != ("on", "on"):
        connection.close()
        raise LedgerError(
            f"{settled['dbname']}: its server runs with fsync or full_page_writes off and would "
            "lose what it says is committed; turn both on in postgresql.conf"
        )
    return connection


class _Silent(Exception):
    pass


def _heard(waits: PQGen[Any], seconds: float) -> PQGen[Any]:
    """The same, until nothing was heard for too long; whoever waits comes by now and then."""
    try:
        state = next(waits)
        until = time.monotonic() + seconds
        while True:
            if answer := (yield state):
                until = time.monotonic() + seconds
            elif time.monotonic() > until:
                raise _Silent
            state = waits.send(answer)
    except StopIteration as end:
        return end.value


@functools.cache
def _due(revision: str) -> Shape:
    from sqlalchemy.dialects import postgresql

    shape: Shape = {}
    for table in schema(revision).sorted_tables:
        columns: list[Any] = []
        indexes = [("False", "False", "True", _names(one.columns)) for one in table.indexes]
        constraints: list[Any] = []
        for column in table.c:
            kind = column.type.compile(postgresql.dialect()).lower()
            columns.append((column.name, kind, str(not column.nullable), "False"))
            for key in column.foreign_keys:
                there = key.column
                told = f"({column.name}) REFERENCES {there.table.name}({there.name})"
                constraints.append((f"FOREIGN KEY {told}",))
            for check in column.constraints:
                if isinstance(check, sa.CheckConstraint):
                    constraints.append((f"CHECK (({check.sqltext}))",))
        for one in table.constraints:
            if isinstance(one, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
                primary = str(isinstance(one, sa.PrimaryKeyConstraint))
                indexes.append((primary, "True", "True", _names(one.columns)))
        shape[table.name] = [("p", False, False), *columns, *sorted(indexes), *sorted(constraints)]
    return shape


def _names(columns: Iterable[sa.Column[Any]]) -> str:
    return str([column.name for column in columns])
