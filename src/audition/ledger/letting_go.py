"""What an archive has may leave the database: the bytes of runs that ended, never their hashes.

A run leaves in one transaction, whole, and its contents with it unless another run names them too.
What may be needed to judge others stays: training runs, the register of keys, runs in which
something was redacted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from audition.ledger.database import (
    LedgerError,
    connect,
    contents_table,
    events_table,
    ledger_table,
    runs_table,
)
from audition.ledger.events import (
    ContentRedacted,
    EventError,
    RunClosed,
    RunOpened,
    parse_event,
)
from audition.ledger.naming import names
from audition.ledger.store import SqlLedger
from audition.ledger.tiles import WIDTH
from audition.ledger.tree import Frontier
from audition.ledger.unpacking import Archive
from audition.step import Event


def let_go(ledger: str | Path, folder: str | Path) -> tuple[int, int]:
    """Delete from a ledger the events and contents of runs that ended and are wholly archived.

    Only full bundles count: what the archive writes anew when it grows stays. The caller has
    verified the archive.

    Returns:
        The runs and the events that left.

    Raises:
        LedgerError: the archive is not of this ledger, or another process has the ledger open.
    """
    archive = Archive(folder)
    SqlLedger.open(ledger, create=False).close()  # is one, and of this version
    database = connect(ledger)
    with database.or_let_go(), database.plainly(), database.sole() as part:
        with part() as connection:
            _same(connection, archive, folder)
            sealed = archive.head.size // WIDTH * WIDTH
            every = connection.execute(sa.select(runs_table.c.id).order_by(runs_table.c.id))
            runs = every.scalars().all()
            leaving = {number for number in runs if _may_go(connection, number, sealed)}
            kept = {
                name
                for number in runs
                if number not in leaving
                for name in _named(connection, number)
            }
        gone = 0
        for number in sorted(leaving):
            with part() as connection:
                gone += _drop(connection, number, kept)
    database.engine.dispose()
    return len(leaving), gone


def _same(connection: sa.Connection, archive: Archive, folder: str | Path) -> None:
    """See that the archive is of the history that this ledger has."""
    origin = connection.execute(sa.select(ledger_table.c.origin)).scalar_one()
    index, leaf = events_table.c.index, events_table.c.leaf
    query = sa.select(leaf).where(index < archive.head.size).order_by(index)
    tree = Frontier()
    with connection.execute(query.execution_options(yield_per=500)) as rows:
        for (hashed,) in rows:
            tree.append(hashed)
    if (origin, tree.root()) != (archive.head.origin, archive.head.root):
        raise LedgerError(f"{folder}: the archive of another ledger, or of another history of it")


def _may_go(connection: sa.Connection, number: int, sealed: int) -> bool:
    """Whether a run has ended, lies in the sealed part, and concerns nobody else."""
    ended = False
    for index, event in _events(connection, number):
        if index >= sealed or isinstance(event.body, ContentRedacted):
            return False
        if isinstance(event.body, RunOpened) and event.body.mode == "simulated":
            return False
        ended = isinstance(event.body, RunClosed)
    return ended


def _drop(connection: sa.Connection, number: int, kept: set[bytes]) -> int:
    """Delete the events of a run, and the contents that only it names."""
    gone = iter(_named(connection, number) - kept)
    left = connection.execute(
        sa.update(events_table).where(events_table.c.run == number).values(data=None)
    )
    while some := list(islice(gone, 500)):
        contents = contents_table.c
        unkept = (contents.digest.in_(some), contents.data.is_not(None))
        connection.execute(sa.delete(contents_table).where(*unkept))
    return left.rowcount


def _named(connection: sa.Connection, number: int) -> set[bytes]:
    """The contents that a run names."""
    return {
        bytes.fromhex(digest)
        for _, event in _events(connection, number)
        for digest in names(event.body)
    }


def _events(connection: sa.Connection, number: int) -> Iterator[tuple[int, Event]]:
    event = events_table.c
    query = (
        sa.select(event.index, event.data)
        .where(event.run == number, event.data.is_not(None))
        .order_by(event.seq)
    )
    with connection.execute(query.execution_options(yield_per=500)) as rows:
        for index, data in rows:
            try:
                yield index, parse_event(data, strict=False)
            except EventError as error:
                raise LedgerError(f"event {index}: {error}; `audition verify` says more") from None
