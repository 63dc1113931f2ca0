"""The database under a ledger: its tables, how it is opened, and its errors in one line."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from audition.ledger.events import FORMAT

MAX_CONTENT = 1 << 26
"""Largest piece of content, in bytes."""

metadata = sa.MetaData()
ledger_table = sa.Table(
    "ledger",
    metadata,
    sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("peaks", sa.LargeBinary, nullable=False),
)
runs_table = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.LargeBinary, nullable=False, unique=True),
)
events_table = sa.Table(
    "events",
    metadata,
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("run", "seq"),
)
contents_table = sa.Table(
    "contents",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("salt", sa.LargeBinary),
    sa.Column("data", sa.LargeBinary),
)
checkpoints_table = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)

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


class LedgerError(Exception):
    """The ledger cannot be read or written; one line says what stands in the way."""


@contextmanager
def plainly(path: object) -> Generator[None]:
    """Turn the database's errors into one line that says what to do."""
    name = os.path.basename(str(path))
    try:
        yield
    except DBAPIError as error:
        raise LedgerError(f"{name}: {_explain(str(error.orig))}") from None
    except SQLAlchemyError as error:
        raise LedgerError(f"{name}: {str(error).splitlines()[0]}") from None
    except ValueError as error:
        raise LedgerError(f"{name}: damaged: {error}") from None


def connect(
    where: str | Path, *, create: bool = False, readonly: bool = False
) -> tuple[sa.Engine, Path]:
    """An engine for the database at a path or `sqlite:///path`, and that path.

    Args:
        where: the database.
        create: whether the file may be missing.
        readonly: leave the file as it is, down to the last byte.

    Raises:
        LedgerError: no such file, or another kind of address.
    """
    text = str(where)
    path = Path(text.removeprefix("sqlite:///"))
    if "://" in text and not text.startswith("sqlite:///"):
        raise LedgerError(f"{text}: only sqlite:///PATH is known here")
    if os.path.isdir(path) or (not os.path.exists(path) and not create):
        raise LedgerError(f"{path}: no ledger there")
    url = sa.URL.create("sqlite", database=str(path))
    if readonly:
        query = {"mode": "ro", "uri": "true"}
        if not os.access(path.parent, os.W_OK) and not _has_log(path):
            query["immutable"] = "1"  # no log can be made there, and none is needed
        url = sa.URL.create("sqlite", database=path.absolute().as_uri(), query=query)
    engine = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine, path


def origin_of(engine: sa.Engine, path: Path) -> str:
    """The name of the ledger in this database, in its checkpoints.

    Raises:
        LedgerError: no ledger, or one of another version.
    """
    if not holds_ledger(engine, path):
        raise LedgerError(f"{path}: a database, but no ledger")
    with plainly(path), engine.connect() as connection:
        columns = (ledger_table.c.format, ledger_table.c.origin)
        row = connection.execute(sa.select(*columns)).first()
    if row is None:
        raise LedgerError(f"{path}: a ledger without its first row; it was never fully made")
    if row[0] != FORMAT:
        raise LedgerError(
            f"{path}: a ledger of format {row[0]}; this version reads format {FORMAT}"
        )
    return str(row[1])


def holds_ledger(engine: sa.Engine, path: Path) -> bool:
    """Whether the tables of a ledger stand in this database; False where it is empty.

    Asks before anything is read: a view or a computed column in a table's place could keep its
    reader busy for ever.

    Raises:
        LedgerError: other tables, or one that is not as a ledger has it.
    """
    with plainly(path), engine.connect() as connection:
        names = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
        shape = _shape(connection)
    if not names:
        return False
    if "ledger" not in names:
        raise LedgerError(f"{path}: a database, but no ledger")
    for table, due in _due().items():
        if shape.get(table) != due:
            raise LedgerError(f"{path}: the table {table} is missing, or not as a ledger has it")
    return True


def strange(engine: sa.Engine, path: Path) -> str | None:
    """What stands beside the tables of a ledger, if anything: a reader never comes near it."""
    with plainly(path), engine.connect() as connection:
        for kind, name in connection.exec_driver_sql("SELECT type, name FROM sqlite_master"):
            if kind != "index" and not (kind == "table" and name in metadata.tables):
                return " ".join(f"the database holds {kind} {name}, which no ledger has".split())
    return None


def _shape(connection: sa.Connection) -> dict[str, list[Any]]:
    """Columns and indexes, by table; nothing is read from the tables."""
    shape: dict[str, list[Any]] = {}
    for query in (_COLUMNS, _INDEXES):
        for table, *rest in connection.exec_driver_sql(query):
            if table in metadata.tables:
                shape.setdefault(table, []).append(rest)
    return shape


@functools.cache
def _due() -> dict[str, list[Any]]:
    """The shape of a new ledger."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        shape = _shape(connection)
    engine.dispose()
    return shape


def _explain(message: str) -> str:
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


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, never guessed by the driver
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CONTENT + (1 << 20))
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _begin(connection: sa.Connection) -> None:
    """Writers take the lock at once, so that what they read first still holds when they write."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
