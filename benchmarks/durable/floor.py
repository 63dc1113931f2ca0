"""The floor under `acts`: the same rows, bytes, hashes, signatures and syncs, and nothing else.

What a ledger of ours holds is written once more by plain `sqlite3`, into the same tables, in groups
as large as they were (one transaction, one signed checkpoint each), fully synced. Each event is
hashed as a leaf and once more for the tree, each content is hashed for its name. No object is made,
nothing is judged, nothing is read back: what a program of this design could not go below.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from child import Figures, Task, clocked, serve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Row = tuple[Any, ...]
Group = tuple[list[Row], list[Row], Row]
"""Events, contents and the checkpoint that one transaction writes."""


def acts(task: Task) -> Figures:
    """Write once more what the ledger `task["of"]` holds."""
    tables, runs, head, groups = held(task["of"])
    key = Ed25519PrivateKey.generate()
    database = sqlite3.connect(task["path"], isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("PRAGMA wal_autocheckpoint=4000")
    for table in tables:
        database.execute(table)
    database.execute(_insert("ledger", head), head)
    with clocked() as figures:
        for number, group in enumerate(groups):
            database.execute("BEGIN IMMEDIATE")
            if number == 0:
                database.executemany(_insert("runs", runs[0]), runs)
            _write(database, group, key)
            database.execute("COMMIT")
    database.close()
    return figures | {"count": task["runs"] * task["steps"]}


def held(path: str) -> tuple[list[str], list[Row], Row, list[Group]]:
    """The tables of a ledger, its runs, its first row, and its groups; contents spread evenly."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    tables = [sql for (sql,) in database.execute("SELECT sql FROM sqlite_master") if sql]
    runs = database.execute("SELECT * FROM runs").fetchall()
    head = database.execute("SELECT * FROM ledger").fetchone()
    events = database.execute('SELECT * FROM events ORDER BY "index"').fetchall()
    contents = database.execute("SELECT * FROM contents ORDER BY rowid").fetchall()
    notes = database.execute("SELECT * FROM checkpoints ORDER BY size").fetchall()
    database.close()
    return tables, runs, head, list(_grouped(events, contents, notes))


def _grouped(
    events: Sequence[Row], contents: Sequence[Row], notes: Sequence[Row]
) -> Iterator[Group]:
    done = kept = 0
    for note in notes:
        size = note[0]
        following = len(contents) * size // len(events)
        yield list(events[done:size]), list(contents[kept:following]), note
        done, kept = size, following


def _write(database: sqlite3.Connection, group: Group, key: Ed25519PrivateKey) -> None:
    events, contents, note = group
    peak = bytes(32)
    for event in events:
        peak = sha256(b"\1" + peak + sha256(b"\0" + event[-1]).digest()).digest()
    for content in contents:
        sha256(content[-1]).digest()
    if contents:
        database.executemany(_insert("contents", contents[0]), contents)
    database.executemany(_insert("events", events[0]), events)
    database.execute("UPDATE ledger SET size = ?, peaks = ?", (note[0], peak))
    key.sign(note[1].encode())
    database.execute(_insert("checkpoints", note), note)


def _insert(table: str, row: Row) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"


if __name__ == "__main__":
    serve({}, {"acts": acts})
