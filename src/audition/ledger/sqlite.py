"""A ledger in one file, with SQLite: write-ahead log, fully synced, writers one after the other."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event

from audition.ledger.database import (
    MAX_CONTENT,
    Database,
    LedgerError,
    Shape,
    schema,
)
from audition.ledger.writing import Row, Writing
from audition.step import now

MOUNTS = Path("/proc/self/mountinfo")
"""Where Linux says what is mounted where."""

LOG = 4000
"""Pages of the log from which they are moved into the file: most are written anew before that."""

NETWORKS = re.compile(
    r"9p|afs|beegfs|ceph|cifs|coda|drvfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs"
    r"|pvfs2|smb[23]|smbfs|vboxsf"
    r"|fuse\.(ceph|davfs|gcsfuse|glusterfs|goofys|juicefs|mfs|moosefs|rclone|s3fs|sshfs)"
)
"""File systems that several machines may share: the log's index is in one machine's memory."""

_KEEP = "INSERT OR IGNORE INTO contents (digest, salt, data) VALUES (?, ?, ?)"
_APPEND = 'INSERT INTO events ("index", run, seq, leaf, data) VALUES (?, ?, ?, ?, ?)'
_GROW = "UPDATE ledger SET size = ?, peaks = ?"
_SIGN = "INSERT INTO checkpoints (size, note) VALUES (?, ?)"
_PLACES = """
SELECT name, id, (SELECT max(seq) FROM events WHERE run = runs.id) FROM runs WHERE name IN ({})
"""
_COLUMNS = """
SELECT t.name, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM sqlite_master AS t JOIN pragma_table_xinfo(t.name) AS c
WHERE t.type = 'table' AND t.rootpage > 0 ORDER BY t.name, c.cid
"""
_INDEXES = """
SELECT t.name, i.name, i."unique", i.origin, i.partial, c.seqno, c.name, c."desc", c.coll
FROM sqlite_master AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_xinfo(i.name) AS c
WHERE t.type = 'table' AND t.rootpage > 0 ORDER BY t.name, i.name, c.seqno
"""


class Sqlite(Database):
    """A file."""

    edge = "SELECT size, peaks FROM ledger"
    _path: str
    _idle: list[sqlite3.Connection]
    """For glances, as many as were taken at once."""
    _stood: tuple[int, int] | None = None

    @classmethod
    def at(cls, path: Path, *, create: bool, readonly: bool) -> Self:
        """The database in this file.

        Raises:
            LedgerError: no such file, or one on another machine that is to be written.
        """
        if os.path.isdir(path) or (not os.path.exists(path) and not create):
            raise LedgerError(f"{path}: no ledger there")
        if not readonly and (kind := network(path)):
            raise LedgerError(
                f"{path}: on a network mount ({kind}), where SQLite's lock and log do not hold; "
                "put it on a local disk, or use postgresql://"
            )
        url = sa.URL.create("sqlite", database=str(path))
        if readonly:
            query = {"mode": "ro", "uri": "true"}
            if not os.access(path.parent, os.W_OK) and not _has_log(path):
                query["immutable"] = "1"  # no log can be made there, and none is needed
            url = sa.URL.create("sqlite", database=path.absolute().as_uri(), query=query)
        engine = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        database = cls(engine, engine, str(path), path.name)
        database._path = os.path.abspath(path)
        database._idle = []
        event.listen(engine, "engine_disposed", database._let_go)
        return database

    def writer(self) -> sa.Connection:
        """Its transactions take the lock when they begin."""
        return self.engine.connect().execution_options(writes=True)

    def check_stands(self) -> None:
        """A file that is deleted or replaced can be written to still; nobody will find it."""
        try:
            found = os.stat(self._path)
            stands = found.st_dev, found.st_ino
        except OSError:
            stands = None
        self._stood = self._stood or stands
        if stands != self._stood:
            raise LedgerError(
                f"{self.short}: the file was taken away or replaced, and what is written to it now "
                "is nowhere; put it back"
            )

    def glance(self, query: str, found: Sequence[Any]) -> Sequence[Any]:
        """Past SQLAlchemy, whose pool, transactions and results cost ten times what it does."""
        try:
            connection = self._idle.pop()
        except IndexError:
            with self.plainly():
                connection = self._another()
        try:
            rows = connection.execute(query, found).fetchall()
        except sqlite3.Error as error:
            connection.close()
            raise LedgerError(f"{self.short}: {explain(error)}") from None
        self._idle.append(connection)
        return rows

    def _another(self) -> sqlite3.Connection:
        """A connection that the engine made, and that is nobody's but ours."""
        pooled = self.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        return connection

    def _let_go(self, _: sa.Engine) -> None:
        while self._idle:
            self._idle.pop().close()

    def sql(self, text: str) -> str:
        """As it is."""
        return text

    def prepare(self) -> None:
        """Keep a write-ahead log."""
        with self.engine.connect() as connection:
            connection.rollback()
            connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL")  # type: ignore[union-attr]

    def alone(self, connection: sa.Connection) -> None:
        """Whoever writes is."""

    def clock(self) -> sa.ColumnElement[int]:
        """This machine's."""
        return sa.literal(now(), sa.BigInteger)

    @contextmanager
    def writing(
        self,
        connection: sa.Connection,
        contents: Sequence[tuple[bytes, bytes | None, bytes]],
        runs: Collection[bytes],
    ) -> Generator[Writing]:
        """Whoever writes is alone from the beginning."""
        with connection.begin():
            yield _Writing(connection, contents)

    @contextmanager
    def sole(self) -> Generator[Callable[[], AbstractContextManager[sa.Connection]]]:
        """A lock that lasts as long as the connection does."""
        with self.writer() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA busy_timeout = 1000")
            raw.execute("PRAGMA locking_mode = EXCLUSIVE")
            try:
                raw.execute("BEGIN IMMEDIATE")
                raw.execute("COMMIT")
            except sqlite3.OperationalError as error:
                connection.invalidate()
                if "locked" in str(error):
                    raise self.held() from None
                raise LedgerError(f"{self.short}: {explain(error)}") from None

            @contextmanager
            def part() -> Generator[sa.Connection]:
                with connection.begin():
                    yield connection

            try:
                yield part
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.invalidate()

    def purge(self) -> None:
        """No old page may linger in the log."""
        with self.plainly():
            raw = self.engine.raw_connection()
            busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            raw.close()
        if busy:
            raise LedgerError(
                "the content is deleted, but a reader keeps the old log alive; "
                "redact again when it has finished"
            )

    def damage(self, connection: sa.Connection, *, indices: bool = True) -> str | None:
        """Looks through the whole file."""
        check = "PRAGMA integrity_check(1)" if indices else "PRAGMA quick_check(1)"
        found = connection.exec_driver_sql(check).scalar()
        return None if found == "ok" else " ".join(str(found).split())

    def objects(self, connection: sa.Connection) -> Iterator[tuple[str, str]]:
        """In the file."""
        query = "SELECT type, name FROM sqlite_master WHERE type <> 'index'"
        for kind, name in connection.exec_driver_sql(query):
            yield str(kind), str(name)

    def shape(self, connection: sa.Connection) -> Shape:
        """From the schema."""
        return _shape(connection)

    def due(self, revision: str) -> Shape:
        """As `shape` finds it in a new one."""
        return _due(revision)


class _Writing(Writing):
    def __init__(
        self, connection: sa.Connection, contents: Sequence[tuple[bytes, bytes | None, bytes]]
    ) -> None:
        super().__init__(connection)
        self.new = connection.exec_driver_sql(_KEEP, list(contents)).rowcount if contents else 0
        self.size, self.peaks = connection.exec_driver_sql(Sqlite.edge).one()

    def places(self, runs: Collection[bytes]) -> dict[bytes, Any]:
        """As many at a time as one query takes."""
        found: dict[bytes, Any] = {}
        every = list(runs)
        for start in range(0, len(every), 500):
            some = tuple(every[start : start + 500])
            query = _PLACES.format(", ".join("?" * len(some)))
            for name, number, last in self.connection.exec_driver_sql(query, some):
                found[name] = (number, last)
        return found

    def append(self, rows: Sequence[Row]) -> None:
        """Row by row."""
        self.connection.exec_driver_sql(_APPEND, list(rows))

    def end(self, size: int, peaks: bytes, note: str | None) -> None:
        """The commit comes after."""
        self.connection.exec_driver_sql(_GROW, (size, peaks))
        if note is not None:
            self.connection.exec_driver_sql(_SIGN, (size, note))


def network(path: Path) -> str | None:
    """The kind of network file system that a path is on, or None where it is on a local one."""
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:  # not Linux: nothing here knows
        return None
    place = path.resolve()
    kinds: dict[Path, str] = {}
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        point = before.split(" ")[4].encode("utf-8", "surrogateescape")
        point = point.decode("unicode_escape").encode("latin-1")  # a space is written as \040
        kinds[Path(os.fsdecode(point))] = after.split(" ")[0]  # the last one covers those before
    kind = next((kinds[one] for one in (place, *place.parents) if one in kinds), "")
    return kind if NETWORKS.fullmatch(kind) else None


def explain(error: BaseException | None) -> str:
    """What an error of SQLite means, and the way out."""
    message = str(error)
    advice = {
        "locked": "another process holds it; try again when it has finished",
        "too big": "a row is larger than any of a ledger's",
        "full": "the disk is full; make room, then resume",
        "readonly": "it may not be written; check its permissions",
        "unable to open": "it cannot be opened; check the path and its permissions",
        "not a database": "not a database",
        "malformed": "the file is damaged; restore it from an export",
        "disk I/O": "the disk failed or the file is gone",
        "UNIQUE": "another process wrote the same place",
    }
    for sign, way_out in advice.items():
        if sign in message:
            return f"{way_out} ({message})"
    return message


def _shape(connection: sa.Connection) -> Shape:
    shape: Shape = {}
    for query in (_COLUMNS, _INDEXES):
        for table, *rest in connection.exec_driver_sql(query):
            shape.setdefault(table, []).append(rest)
    return shape


@functools.cache
def _due(revision: str) -> Shape:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        schema(revision).create_all(connection)
        shape = _shape(connection)
    engine.dispose()
    return shape


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, never guessed by the driver
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CONTENT + (1 << 20))
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _begin(connection: sa.Connection) -> None:
    """Writers take the lock at once, so that what they read first still holds when they write."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
