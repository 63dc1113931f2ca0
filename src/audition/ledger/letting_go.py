"""What an archive has may leave the database: the bytes of runs that ended, never their hashes.

A run leaves in one transaction, whole, and its contents with it unless another run names them too.
What may be needed to judge others stays: training runs, the register of keys, runs in which
something was redacted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from audition.ledger.database import LedgerError, on_server
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

_LEAVES = 'SELECT leaf FROM events WHERE "index" < ? ORDER BY "index"'
_EVENTS = 'SELECT "index", data FROM events WHERE run = ? AND data IS NOT NULL ORDER BY seq'


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
    path = Path(str(ledger).removeprefix("sqlite:///"))
    if on_server(ledger):
        raise LedgerError("only a ledger in a file lets go of what is archived")
    SqlLedger.open(path, create=False).close()  # is one, and of this version
    with _alone(path) as database:
        _same(database, archive, folder)
        sealed = archive.head.size // WIDTH * WIDTH
        leaving = [number for number in _runs(database) if _may_go(database, number, sealed)]
        kept = _still_named(database, set(leaving))
        gone = sum(_drop(database, number, kept) for number in leaving)
    return len(leaving), gone


def _same(database: sqlite3.Connection, archive: Archive, folder: str | Path) -> None:
    """See that the archive is of the history that this ledger has."""
    (origin,) = database.execute("SELECT origin FROM ledger").fetchone()
    tree = Frontier()
    for (leaf,) in database.execute(_LEAVES, (archive.head.size,)):
        tree.append(leaf)
    if (origin, tree.root()) != (archive.head.origin, archive.head.root):
        raise LedgerError(f"{folder}: the archive of another ledger, or of another history of it")


def _runs(database: sqlite3.Connection) -> list[int]:
    return [number for (number,) in database.execute("SELECT id FROM runs ORDER BY id")]


def _may_go(database: sqlite3.Connection, number: int, sealed: int) -> bool:
    """Whether a run has ended, lies in the sealed part, and concerns nobody else."""
    ended = False
    for index, event in _events(database, number):
        if index >= sealed or isinstance(event.body, ContentRedacted):
            return False
        if isinstance(event.body, RunOpened) and event.body.mode == "simulated":
            return False
        ended = isinstance(event.body, RunClosed)
    return ended


def _still_named(database: sqlite3.Connection, leaving: set[int]) -> set[bytes]:
    """The contents that runs name which stay."""
    return {
        bytes.fromhex(digest)
        for number in _runs(database)
        if number not in leaving
        for _, event in _events(database, number)
        for digest in names(event.body)
    }


def _drop(database: sqlite3.Connection, number: int, kept: set[bytes]) -> int:
    named = {
        bytes.fromhex(digest)
        for _, event in _events(database, number)
        for digest in names(event.body)
    }
    database.execute("BEGIN IMMEDIATE")
    gone = database.execute("UPDATE events SET data = NULL WHERE run = ?", (number,)).rowcount
    database.executemany(
        "DELETE FROM contents WHERE digest = ? AND data IS NOT NULL",
        [(name,) for name in named - kept],
    )
    database.execute("COMMIT")
    return gone


def _events(database: sqlite3.Connection, number: int) -> Iterator[tuple[int, Event]]:
    for index, data in database.execute(_EVENTS, (number,)):
        try:
            yield index, parse_event(data, strict=False)
        except EventError as error:
            raise LedgerError(f"event {index}: {error}; `audition verify` says more") from None


@contextmanager
def _alone(path: Path) -> Generator[sqlite3.Connection]:
    """The file, held by nobody else: who has it open may still count on what is let go."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as database:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")
            yield database
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        held = "another process has the ledger open; let go when nothing runs"
        raise LedgerError(f"{path.name}: {held if 'locked' in str(error) else error}") from None
    except sqlite3.Error as error:
        raise LedgerError(f"{path.name}: {error}") from None
