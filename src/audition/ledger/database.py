"""The database under a ledger: its tables, what stands in them, and its errors in one line.

What differs between SQLite and PostgreSQL stands in `sqlite.py` and `postgres.py`; everything else
speaks to a `Database`.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from audition.ledger.events import FORMAT

if TYPE_CHECKING:
    from audition.ledger.writing import Writing

MAX_CONTENT = 1 << 26
"""Largest piece of content, in bytes."""

RELEASED = "0001"
"""The tables as they were before they had a revision."""

REVISION = "0002"
"""The tables as this version makes and writes them."""

Shape = dict[str, list[Any]]
"""Columns, indexes and whatever else makes a table what it is, by table; no rows."""


class LedgerError(Exception):
    """The ledger cannot be read or written; one line says what stands in the way."""


@functools.cache
def schema(revision: str) -> sa.MetaData:
    """The tables of a ledger at a revision."""
    released = revision == RELEASED
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # there it names the row itself
    number = sa.Integer() if released else number
    metadata = sa.MetaData()
    sa.Table(
        "ledger",
        metadata,
        sa.Column(
            "one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False
        ),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
    )
    sa.Table(
        "runs",
        metadata,
        sa.Column("id", number, primary_key=True, autoincrement=False),
        sa.Column("name", sa.LargeBinary, nullable=False, unique=True),
    )
    sa.Table(
        "events",
        metadata,
        sa.Column("index", number, primary_key=True, autoincrement=False),
        sa.Column("run", number, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("seq", number, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=not released),
        sa.UniqueConstraint("run", "seq"),
    )
    sa.Table(
        "contents",
        metadata,
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("data", sa.LargeBinary),
    )
    sa.Table(
        "checkpoints",
        metadata,
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    if released:
        return metadata
    sa.Table(
        "work",
        metadata,
        sa.Column("run", sa.LargeBinary, primary_key=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("until", sa.BigInteger),
        sa.Column("wake", sa.BigInteger),
        sa.Column("note", sa.Text),
        sa.Index("work_due", "state", "terms", "since"),
    )
    sa.Table(
        "alembic_version",
        metadata,
        sa.Column("version_num", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    )
    return metadata


metadata = schema(REVISION)
ledger_table = metadata.tables["ledger"]
runs_table = metadata.tables["runs"]
events_table = metadata.tables["events"]
contents_table = metadata.tables["contents"]
checkpoints_table = metadata.tables["checkpoints"]
work_table = metadata.tables["work"]
version_table = metadata.tables["alembic_version"]


class Database(ABC):
    """A database in which a ledger is, or may be made.

    Args:
        engine: connects to it. What its connections read is one instant from their first query to
            the end of their transaction.
        glances: the same, for reads of one query each.
        name: how a user calls it; no password.
        short: how its errors name it.
    """

    edge: str
    """Reads size and peaks, and keeps every other writer away until the transaction ends."""

    page: int | None = None
    """Rows that are fetched at a time from a long result; None where they come one by one."""

    def __init__(self, engine: sa.Engine, glances: sa.Engine, name: str, short: str) -> None:
        self.engine = engine
        self.glances = glances
        self.name = name
        self.short = short
        self.revision = REVISION
        """Of the tables, as far as they were looked at."""

    # ---------------------------------------------------------------- what differs

    @abstractmethod
    def writer(self) -> sa.Connection:
        """A connection whose transactions write."""

    @abstractmethod
    def sql(self, text: str) -> str:
        """A statement with its marks (`?`) as the driver has them."""

    @abstractmethod
    def prepare(self) -> None:
        """Whatever must be so before a ledger is made here."""

    @abstractmethod
    def alone(self, connection: sa.Connection) -> None:
        """Keep away whoever would make a ledger here too, until the transaction ends."""

    @abstractmethod
    def clock(self) -> sa.ColumnElement[int]:
        """The time by which leases are counted, in microseconds since 1970 UTC."""

    @abstractmethod
    def writing(
        self,
        connection: sa.Connection,
        contents: Sequence[tuple[bytes, bytes | None, bytes]],
        runs: Collection[bytes],
    ) -> AbstractContextManager[Writing]:
        """A transaction that writes a group of events.

        Args:
            connection: one that `writer` gave.
            contents: name, salt and data of what is inserted if it is not there; no other writer
                waits for that.
            runs: those whose places may be asked for.
        """

    @abstractmethod
    def check_stands(self) -> None:
        """See that what is written still goes where it went when this was asked first.

        Raises:
            LedgerError: it does not.
        """

    @abstractmethod
    def sole(self) -> AbstractContextManager[Callable[[], AbstractContextManager[sa.Connection]]]:
        """Have the database to oneself: nobody else has it open, nor reads or writes meanwhile.

        At the end the room of what was deleted is free.

        Returns:
            What begins a transaction; on a server they are parts of one.

        Raises:
            LedgerError: another process has it open.
        """

    @abstractmethod
    def purge(self) -> None:
        """Leave no trace, outside the tables, of what was deleted in them.

        Raises:
            LedgerError: something keeps it alive.
        """

    @abstractmethod
    def damage(self, connection: sa.Connection, *, indices: bool = True) -> str | None:
        """What the database itself finds wrong with its pages, tables and indices, if anything.

        Args:
            connection: where to look.
            indices: whether they are compared with the tables.
        """

    @abstractmethod
    def objects(self, connection: sa.Connection) -> Iterator[tuple[str, str]]:
        """The kind and the name of all that stands here, indexes aside."""

    @abstractmethod
    def shape(self, connection: sa.Connection) -> Shape:
        """The shape of each table; nothing is read from the tables."""

    @abstractmethod
    def due(self, revision: str) -> Shape:
        """The shape of the tables of a ledger."""

    # ---------------------------------------------------------------- what does not

    def glance(self, query: str, found: Sequence[Any]) -> Sequence[Any]:
        """The rows of one short query, its marks as `sql` gives them.

        Raises:
            LedgerError: the database refuses.
        """
        with self.plainly(), self.glances.connect() as connection:
            return connection.exec_driver_sql(query, tuple(found)).all()

    def plainly(self) -> AbstractContextManager[None]:
        """Turn its errors into one line that says what to do."""
        return plainly(self.short)

    @contextmanager
    def or_let_go(self) -> Generator[None]:
        """Keep no connection to it where it turns out that it cannot be used."""
        try:
            yield
        except LedgerError:
            self.engine.dispose()
            raise

    def holds_ledger(self) -> bool:
        """Whether the tables of a ledger stand in this database; False where it is empty.

        Asks before anything is read: a view or a computed column in a table's place could keep its
        reader busy for ever.

        Raises:
            LedgerError: other tables, one that is not as a ledger has it, or a newer ledger's.
        """
        with self.plainly(), self.engine.connect() as connection:
            names = {name for _, name in self.objects(connection)}
            shape = self.shape(connection)
            if not names:
                return False
            if "ledger" not in names:
                raise LedgerError(f"{self.name}: a database, but no ledger")
            self.revision = RELEASED
            if version_table.name in names:
                self._check(shape, version_table.name, REVISION)
                self.revision = self._stated(connection)
        for table in schema(self.revision).tables:
            self._check(shape, table, self.revision)
        newer = metadata.tables.keys() - schema(self.revision).tables.keys()
        for table in sorted(newer & shape.keys()):
            raise LedgerError(
                f"{self.name}: half-migrated: the table {table} is of another revision than "
                f"{self.revision}; restore it from a copy or an export"
            )
        return True

    def strange(self) -> str | None:
        """What stands beside the tables of a ledger, if anything: a reader never comes near it."""
        with self.plainly(), self.engine.connect() as connection:
            for kind, name in self.objects(connection):
                if not (kind == "table" and name in metadata.tables):
                    found = f"the database holds {kind} {name}, which no ledger has"
                    return " ".join(found.split())
        return None

    def origin(self) -> str:
        """The name of the ledger in this database, in its checkpoints.

        Raises:
            LedgerError: no ledger, or one of another version.
        """
        if not self.holds_ledger():
            raise LedgerError(f"{self.name}: a database, but no ledger")
        with self.plainly(), self.engine.connect() as connection:
            columns = (ledger_table.c.format, ledger_table.c.origin)
            row = connection.execute(sa.select(*columns)).first()
        if row is None:
            raise LedgerError(
                f"{self.name}: a ledger without its first row; it was never fully made"
            )
        if row[0] != FORMAT:
            raise LedgerError(
                f"{self.name}: a ledger of format {row[0]}; this version reads format {FORMAT}"
            )
        return str(row[1])

    def held(self) -> LedgerError:
        """That others have it open."""
        return LedgerError(
            f"{self.short}: another process has the ledger open; let go when nothing runs"
        )

    def check_writable(self) -> None:
        """Tell whoever would write to a ledger of an earlier version what to do first.

        Raises:
            LedgerError: it is one.
        """
        if self.revision != REVISION:
            raise LedgerError(
                f"{self.name}: made by an earlier version (revision {self.revision}); it can be "
                f"read as it is, and written after: audition migrate {self.name}"
            )

    def _check(self, shape: Shape, table: str, revision: str) -> None:
        if shape.get(table) != self.due(revision)[table]:
            other = RELEASED if revision == REVISION else REVISION
            of_other = shape.get(table) == self.due(other).get(table, ())
            half = "half-migrated: " if of_other else ""
            raise LedgerError(
                f"{self.name}: {half}the table {table} is missing, or not as a ledger has it"
            )

    def _stated(self, connection: sa.Connection) -> str:
        """The revision that the ledger itself states."""
        rows = connection.execute(sa.select(version_table.c.version_num).limit(2)).scalars().all()
        if len(rows) != 1:
            raise LedgerError(f"{self.name}: half-migrated: it states no revision, or several")
        if rows[0] not in (RELEASED, REVISION):
            found = " ".join(str(rows[0])[:40].split())
            raise LedgerError(
                f"{self.name}: a ledger of revision {found}; this version knows up to {REVISION}"
            )
        return str(rows[0])


def connect(where: str | Path, *, create: bool = False, readonly: bool = False) -> Database:
    """The database at a path, `sqlite:///path` or `postgresql://user@host:port/name`.

    Args:
        where: the database.
        create: whether the file of an SQLite database may be missing.
        readonly: leave it as it is, down to the last byte.

    Raises:
        LedgerError: nothing there, or another kind of address.
    """
    text = str(where)
    if on_server(where):
        from audition.ledger.postgres import Postgres

        return Postgres.at(text, readonly=readonly)
    if "://" in text and not text.startswith("sqlite:///"):
        kind = text.partition("://")[0][:20]
        raise LedgerError(
            f"{kind}://…: only sqlite:///PATH and postgresql://USER@HOST/NAME are known here"
        )
    from audition.ledger.sqlite import Sqlite

    return Sqlite.at(Path(text.removeprefix("sqlite:///")), create=create, readonly=readonly)


def on_server(where: str | Path) -> bool:
    """Whether an address is that of a server, and no file's."""
    return str(where).startswith(("postgresql://", "postgres://"))


@contextmanager
def plainly(name: object) -> Generator[None]:
    """Turn the database's errors into one line that says what to do."""
    short = os.path.basename(str(name))
    try:
        yield
    except DBAPIError as error:
        raise LedgerError(f"{short}: {_explain(error.orig)}") from None
    except SQLAlchemyError as error:
        raise LedgerError(f"{short}: {str(error).splitlines()[0]}") from None
    except ValueError as error:
        raise LedgerError(f"{short}: damaged: {error}") from None


def _explain(error: BaseException | None) -> str:
    if isinstance(error, sqlite3.Error):
        from audition.ledger.sqlite import explain
    else:
        from audition.ledger.postgres import explain
    return explain(error)
