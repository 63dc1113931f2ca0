"""What a ledger's database holds, asked and changed behind its back, on either kind of database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audition.ledger.database import connect

ADDRESS = "address"
"""File that says where the ledger of a folder is, where it is not in the folder."""


def place(folder: Path) -> str:
    """Where the ledger of a folder is."""
    file = folder / ADDRESS
    return file.read_text() if file.exists() else str(folder / "ledger.db")


def ask(where: str | Path, sql: str, *values: Any) -> list[Any]:
    """All rows of a query; marks are `?`."""
    database = connect(where)
    try:
        with database.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(database.sql(sql), values)]
    finally:
        database.engine.dispose()


def change(where: str | Path, *statements: str) -> int:
    """Carry statements out in one transaction; how many rows the last one touched."""
    database = connect(where)
    count = 0
    try:
        with database.writer() as connection, connection.begin():
            for sql in statements:
                count = connection.exec_driver_sql(sql).rowcount
    finally:
        database.engine.dispose()
    return count


def stored(where: str | Path) -> list[bytes]:
    """The bytes of all events, in order."""
    return [data for (data,) in ask(where, 'SELECT data FROM events ORDER BY "index"')]
