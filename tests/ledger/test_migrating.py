"""A ledger of an earlier version: read as it is, migrated wholly or not at all, never half."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

import handmade
from audition.ledger import LedgerError, SqlLedger, export, migrate, sqlite
from audition.ledger.database import RELEASED, REVISION, connect, schema
from audition.ledger.events import RunResumed
from audition.step import Event
from audition.verify import verify
from databases import ask, change, stored

TRUSTED = [handmade.KEY.public]
DDL = (
    'CREATE TABLE ledger (one INTEGER NOT NULL CHECK (one = 1), "format" INTEGER NOT NULL, '
    "origin TEXT NOT NULL, size BIGINT NOT NULL, peaks BLOB NOT NULL, PRIMARY KEY (one))",
    "CREATE TABLE runs (id INTEGER NOT NULL, name BLOB NOT NULL, PRIMARY KEY (id), UNIQUE (name))",
    "CREATE TABLE contents (digest BLOB NOT NULL, salt BLOB, data BLOB, PRIMARY KEY (digest))",
    "CREATE TABLE checkpoints (size BIGINT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (size))",
    'CREATE TABLE events ("index" INTEGER NOT NULL, run INTEGER NOT NULL, seq INTEGER NOT NULL, '
    'leaf BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY ("index"), UNIQUE (run, seq), '
    "FOREIGN KEY(run) REFERENCES runs (id))",
)
"""The tables as the first version made them, word for word but for the spaces."""
TABLES = ("ledger", "runs", "contents", "checkpoints", "events")


@pytest.fixture
def old(where: str, tmp_path: Path) -> str:
    """A ledger of the first version, with two runs."""
    now = handmade.write(tmp_path / "now.db", handmade.live_run(), handmade.recorded_run())
    database = connect(where, create=True)
    database.prepare()
    with database.writer() as connection, connection.begin():
        if connection.dialect.name == "sqlite":
            for table in DDL:
                connection.exec_driver_sql(table)
        else:
            schema(RELEASED).create_all(connection)
        for name in TABLES:
            table = schema(RELEASED).tables[name]
            rows = ask(now, "SELECT " + ", ".join(f'"{c.name}"' for c in table.c) + f" FROM {name}")
            connection.execute(
                sa.insert(table), [dict(zip(table.c.keys(), row, strict=True)) for row in rows]
            )
    database.engine.dispose()
    return where


def written(where: str) -> None:
    async def write() -> None:
        with SqlLedger.open(where, signer=handmade.KEY) as ledger:
            ledger.stage(Event(run="ee" * 16, seq=0, at=1, body=RunResumed()))
            await ledger.commit()

    anyio.run(write)


def test_an_older_ledger_is_read_and_verified_as_it_is(old: str, tmp_path: Path) -> None:
    assert verify(old, TRUSTED).ok
    with SqlLedger.open(old, create=False) as ledger:
        assert len(list(ledger.read(handmade.LIVE))) > 10
    export(old, tmp_path / "old.jsonl")
    assert shape(old) == RELEASED


def test_an_older_ledger_is_written_only_once_it_was_migrated(old: str) -> None:
    before = stored(old)
    with pytest.raises(LedgerError, match=r"earlier version.*audition migrate") as caught:
        written(old)
    assert "\n" not in str(caught.value)
    assert stored(old) == before and shape(old) == RELEASED
    assert migrate(old) == RELEASED
    written(old)
    assert stored(old)[:-1] == before
    assert not any(one.guarantee == 10 for one in verify(old, TRUSTED).findings)


def test_what_was_migrated_is_as_what_was_made_today(old: str) -> None:
    migrate(old)
    assert shape(old) == REVISION
    assert migrate(old) == REVISION, "once more changes nothing"
    assert verify(old, TRUSTED).ok


@pytest.mark.parametrize("nth", [0, 2, 5, 9, 14])
def test_a_migration_that_is_killed_leaves_the_old_ledger(old: str, nth: int) -> None:
    before = stored(old)
    assert killed(nth, lambda: migrate(old)), "it was killed, and had not ended before"
    assert shape(old) == RELEASED and stored(old) == before
    assert verify(old, TRUSTED).ok
    migrate(old)
    assert shape(old) == REVISION and stored(old) == before


@pytest.mark.parametrize(
    ("half", "says"),
    [
        (("DROP TABLE work",), "half-migrated: |the table work is missing"),
        (("DROP TABLE alembic_version",), "half-migrated"),
        (("DELETE FROM alembic_version",), "half-migrated: it states no revision"),
        (("UPDATE alembic_version SET version_num = '0001'",), "half-migrated"),
        (("UPDATE alembic_version SET version_num = '0003'",), "revision 0003; .* knows up to"),
    ],
)
def test_a_half_migrated_or_newer_ledger_is_refused_and_left_alone(
    where: str, half: tuple[str, ...], says: str
) -> None:
    handmade.write(where, handmade.recorded_run())
    before = stored(where)
    change(where, *half)
    for attempt in (SqlLedger.open, verify, migrate):
        with pytest.raises(LedgerError, match=says) as caught:
            attempt(where)
        assert "\n" not in str(caught.value)
    assert stored(where) == before


def test_what_does_not_become_what_it_should_is_not_kept(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(connect(old))
    due = kind.due
    more: dict[str, Any] = {"more": []}
    monkeypatch.setattr(
        kind, "due", lambda self, of: due(self, of) | (more if of == REVISION else {})
    )
    with pytest.raises(LedgerError, match="did not become what it should"):
        migrate(old)
    assert verify(old, TRUSTED).ok


# -------------------------------------------------------------------------------- network mounts

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:40 / {remote} rw - {kind} server:/export rw
24 23 0:41 / {remote}/local rw - tmpfs tmpfs rw
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def mount(kind: str) -> Path:
        remote = tmp_path / "far away"
        (remote / "local").mkdir(parents=True)
        said = MOUNTS.format(remote=str(remote).replace(" ", "\\040"), kind=kind)
        (tmp_path / "mountinfo").write_text(said)
        monkeypatch.setattr(sqlite, "MOUNTS", tmp_path / "mountinfo")
        return remote

    return mount


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_a_file_on_a_network_mount_is_not_written(
    mounted: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    remote = mounted(kind)
    (tmp_path / "link.db").symlink_to(remote / "l.db")
    for place in (remote / "l.db", tmp_path / "link.db", f"sqlite:///{remote}/l.db"):
        with pytest.raises(LedgerError, match=rf"network mount \({kind}\).*postgresql://"):
            SqlLedger.open(place)
    assert not (remote / "l.db").exists()


def test_a_file_on_a_local_mount_is_written_and_a_remote_one_read(
    mounted: Callable[[str], Path], tmp_path: Path
) -> None:
    there = handmade.write(tmp_path / "l.db", handmade.recorded_run())
    remote = mounted("nfs4")
    SqlLedger.open(remote / "local" / "l.db").close()
    there.rename(remote / "l.db")
    assert verify(remote / "l.db", TRUSTED).ok


def shape(where: str) -> str:
    """The revision that all tables are of."""
    database = connect(where)
    try:
        with database.engine.connect() as connection:
            found: Any = database.shape(connection)
        return next(one for one in (RELEASED, REVISION) if database.due(one) == found)
    finally:
        database.engine.dispose()


def killed(nth: int, work: Callable[[], object]) -> bool:
    """Do something in a process that is killed at its n-th statement; whether it was."""
    pid = os.fork()
    if pid == 0:
        count = iter(range(1000))

        def kill(connection: Any, *_: Any) -> None:
            if connection.in_transaction() and _writes(connection) and next(count) == nth:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(sa.Engine, "before_cursor_execute", kill)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def _writes(connection: sa.Connection) -> bool:
    options = connection.get_execution_options()
    return bool(options.get("writes")) or options.get("isolation_level") == "READ COMMITTED"
