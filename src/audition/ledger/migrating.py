"""An older ledger taken to the tables of this version, in one transaction: wholly or not at all."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from audition.ledger.database import (
    RELEASED,
    REVISION,
    Database,
    LedgerError,
    connect,
    version_table,
)

SCRIPTS = Path(__file__).parent / "migrations"
"""What Alembic carries out."""


def migrate(ledger: str | Path) -> str:
    """Take a ledger to the tables of this version; returns the revision that it had.

    Raises:
        LedgerError: no ledger, a newer or a damaged one, or one that another process holds; nothing
            was changed.
    """
    database = connect(ledger)
    try:
        if not database.holds_ledger():
            raise LedgerError(f"{database.name}: no ledger there")
        if found := database.strange():
            raise LedgerError(f"{database.name}: {found}; export it and import that")
        if database.revision == RELEASED:
            with database.plainly(), database.writer() as connection, connection.begin():
                _migrate(database, connection)
            database.purge()  # the old tables are in the log too
        return database.revision
    finally:
        database.engine.dispose()


def _migrate(database: Database, connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    database.alone(connection)
    connection.exec_driver_sql(database.edge)
    if version_table.name in database.shape(connection):
        raise LedgerError(f"{database.name}: another process migrated it meanwhile")
    version_table.create(connection)
    connection.execute(sa.insert(version_table), {"version_num": RELEASED})
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)
    if database.shape(connection) != database.due(REVISION):
        raise LedgerError(f"{database.name}: it did not become what it should; nothing was changed")
