"""What only a server does: its address, its promises, its going away in the middle of a commit."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import handmade
from audition.ledger import LedgerError, SqlLedger, export, grouping, import_
from audition.ledger import postgres as postgres_module
from audition.ledger import store as store_module
from audition.ledger.events import RunResumed
from audition.ledger.evidence import Evidence
from audition.step import Event
from audition.verify import verify
from databases import change, stored
from servers.postgres import Server, serving
from servers.wire import Wire

pytestmark = pytest.mark.anyio
RUN, OTHER = "ab" * 16, "cd" * 16


def event(seq: int, run: str = RUN) -> Event:
    return Event(run=run, seq=seq, at=1, body=RunResumed())


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    name = postgres.fresh()
    yield name
    postgres.give_back(name)


@pytest.fixture
def address(postgres: Server, database: str) -> str:
    return postgres.address(database)


# -------------------------------------------------------------------------------- its address


def test_it_is_reached_by_network_and_by_socket(postgres: Server, database: str) -> None:
    handmade.write(postgres.address(database, by="network"), handmade.recorded_run())
    assert verify(postgres.address(database), [handmade.KEY.public]).ok


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/runs",
        "postgresql://ada@127.0.0.1:1/runs?password=s3cret",
        "postgresql://ada:s3cret@[::1/runs",
        "postgres://ada:s3cret@127.0.0.1:x/runs",
    ],
)
def test_a_password_in_an_address_is_refused_and_never_shown(address: str) -> None:
    for attempt in (SqlLedger.open, Evidence):
        with pytest.raises(LedgerError) as caught:
            attempt(address)
        assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgresql://ada@127.0.0.1/", "no database is named"),
        ("postgresql://ada@127.0.0.1/runs?options=-cfsync%3Doff", "options may not be set"),
        ("postgresql://ada@127.0.0.1:1/runs", "runs: the connection was lost, or never made"),
        ("postgresql://ada@/runs?host=/nowhere", "runs: the connection was lost, or never made"),
    ],
)
def test_an_address_where_nothing_is_is_said_in_one_line(address: str, says: str) -> None:
    with pytest.raises(LedgerError, match=says) as caught:
        SqlLedger.open(address)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_not_there_is_not_made(postgres: Server) -> None:
    with pytest.raises(LedgerError, match="make the database first"):
        SqlLedger.open(postgres.address("nowhere"))


def test_a_role_that_is_not_there_is_not_taken_for_a_database(postgres: Server) -> None:
    where = postgres.address("runs")
    with pytest.raises(LedgerError, match=r'or make the role .*role "nobody" does not exist'):
        SqlLedger.open(f"postgresql://nobody@{where.split('@', 1)[1]}")


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"pip install 'audition\[postgres\]'"):
        SqlLedger.open("postgresql://ada@127.0.0.1/runs")


# -------------------------------------------------------------------------------- its promises


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_what_it_says_is_durable_is_refused(setting: str) -> None:
    refused = pytest.raises(LedgerError, match=f"{setting}.* off")
    with serving(**{setting: "off"}) as careless, refused:
        SqlLedger.open(careless.address("postgres"))


async def test_commits_wait_for_the_disk_whatever_the_database_says(
    postgres: Server, database: str, address: str
) -> None:
    postgres.tell(f"ALTER DATABASE {database} SET synchronous_commit = off")
    with SqlLedger.open(address) as ledger, ledger._engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


HOSTILE = {
    "a view": "ALTER TABLE contents RENAME TO c; CREATE VIEW contents AS SELECT * FROM c",
    "a computed column": "ALTER TABLE contents DROP COLUMN salt; ALTER TABLE contents ADD COLUMN "
    "salt bytea GENERATED ALWAYS AS (digest) STORED",
    "another column": "ALTER TABLE events ADD COLUMN more bytea",
    "another type": "ALTER TABLE checkpoints ALTER COLUMN note TYPE varchar(1000)",
    "an index of a function": "CREATE INDEX more ON events (length(data))",
    "a number twice": "ALTER TABLE events DROP CONSTRAINT events_run_seq_key",
    "a table that a crash empties": "ALTER TABLE contents SET UNLOGGED",
    "rows that are hidden": "ALTER TABLE events ENABLE ROW LEVEL SECURITY",
    "a table that has children": "CREATE TABLE more () INHERITS (events)",
    "no table": "DROP TABLE checkpoints",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_tables_that_are_not_a_ledger_s_are_never_read(address: str, what: str) -> None:
    handmade.write(address, handmade.recorded_run())
    change(address, *HOSTILE[what].split("; "))
    for attempt in (SqlLedger.open, verify, lambda where: export(where, "never.jsonl")):
        with pytest.raises(LedgerError, match=r"the table \w+ is missing, or not as a ledger has"):
            attempt(address)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW more AS SELECT 1",
        "CREATE TABLE more (x int)",
        "CREATE RULE more AS ON INSERT TO events DO INSTEAD NOTHING",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END' @ "
        "CREATE TRIGGER more BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION f()",
    ],
)
def test_nothing_is_written_beside_what_no_ledger_has(address: str, sql: str) -> None:
    handmade.write(address, handmade.recorded_run())
    change(address, *sql.split(" @ "))
    with pytest.raises(LedgerError, match="more, which no ledger has"):
        SqlLedger.open(address)
    assert "which no ledger has" in str(verify(address).first_bad)


def test_what_is_read_is_one_instant(address: str) -> None:
    handmade.write(address, handmade.recorded_run())
    with Evidence(address) as evidence:
        handmade.write(address, handmade.live_run())
        assert len(list(evidence.rows())) == evidence.size
        assert len(stored(address)) > evidence.size


def test_an_import_fills_an_empty_database_wholly_or_not_at_all(
    postgres: Server, address: str, tmp_path: Path
) -> None:
    path = handmade.write(tmp_path / "runs.db", handmade.live_run(), handmade.recorded_run())
    export(path, tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(whole[: len(whole) - 10])
    with pytest.raises(LedgerError, match="the file ends here"):
        import_(tmp_path / "cut.jsonl", address)
    with pytest.raises(LedgerError, match="no ledger there"):
        SqlLedger.open(address, create=False)
    import_(tmp_path / "whole.jsonl", address)
    assert verify(address, [handmade.KEY.public]).ok
    export(address, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == whole
    with pytest.raises(LedgerError, match="holds a ledger already"):
        import_(tmp_path / "whole.jsonl", address)


# -------------------------------------------------------------------------------- its going away


@pytest.fixture
def wire(postgres: Server) -> Iterator[Wire]:
    made = Wire(postgres.port)
    yield made
    made.close()


@pytest.fixture
def through(wire: Wire, database: str) -> str:
    return f"postgresql://audition@127.0.0.1:{wire.port}/{database}"


async def test_a_commit_whose_answer_is_lost_counts_if_it_happened(
    wire: Wire, through: str, address: str
) -> None:
    with SqlLedger.open(through, signer=handmade.KEY) as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        wire.cut = "after"
        ledger.stage(event(1))
        assert (await ledger.commit(RUN)).size == 2
        ledger.stage(event(2))
        await ledger.commit(RUN)
    assert len(stored(address)) == 3
    assert not any(found.guarantee == 10 for found in verify(address).findings)


async def test_a_commit_that_never_came_to_the_server_is_said_to_be_lost(
    wire: Wire, through: str, address: str
) -> None:
    with SqlLedger.open(through) as ledger:
        content = ledger.put(b"kept")
        wire.cut = "before"
        ledger.stage(event(0))
        with pytest.raises(LedgerError, match="the connection was lost"):
            await ledger.commit(RUN)
        assert stored(address) == []
        ledger.stage(event(0))
        await ledger.commit(RUN)
        assert ledger._connection is not None
        with ledger._connection.begin():  # as it was, and not as the next best one would be
            level = ledger._connection.exec_driver_sql("SHOW transaction_isolation").scalar()
            assert level == "read committed"
    assert len(stored(address)) == 1
    with SqlLedger.open(address) as ledger:
        assert ledger.get(content) == b"kept"


async def test_where_nobody_answers_it_is_not_said_that_nothing_was_written(
    wire: Wire, through: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PATIENCE", 0.2)
    with SqlLedger.open(through) as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        wire.cut = "after"
        wire.deafen()
        ledger.stage(event(1))
        with pytest.raises(LedgerError, match="whether it was written is not known"):
            await ledger.commit(RUN)
    assert len(stored(address)) == 2


async def test_a_commit_whose_answer_is_swallowed_counts_if_it_happened(
    wire: Wire, through: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "ANSWER", 2.0)
    with SqlLedger.open(through, signer=handmade.KEY) as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        wire.quiet, wire.cut = True, "after"
        ledger.stage(event(1))
        assert (await ledger.commit(RUN)).size == 2
    assert len(stored(address)) == 2


def test_a_server_that_says_nothing_is_given_up(
    wire: Wire, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqlLedger.open(through) as ledger:
        monkeypatch.setattr(postgres_module, "ANSWER", 0.3)
        wire.mute = True
        with pytest.raises(LedgerError, match=r"nothing for 0.3 seconds\)$") as caught:
            list(ledger.read(RUN))
        assert "\n" not in str(caught.value)


async def test_what_was_seen_before_a_connection_was_lost_is_counted_on_no_more(
    postgres: Server, database: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile somebody may have had the ledger alone, and let go of it."""
    begun, go = threading.Event(), threading.Event()
    with SqlLedger.open(address) as ledger:
        name = ledger.put(b"seen")
        ledger.stage(event(0))
        await ledger.commit(RUN)
        writing = ledger.database.writing
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        postgres.tell(end)
        change(address, "DELETE FROM contents")

        def slow(*given: Any) -> Any:
            begun.set()
            go.wait()
            return writing(*given)

        monkeypatch.setattr(ledger.database, "writing", slow)
        async with anyio.create_task_group() as tasks:
            ledger.stage(event(1))
            tasks.start_soon(_fails, ledger, RUN)
            await anyio.to_thread.run_sync(begun.wait)
            ledger.put(b"seen")
            ledger.stage(event(0, OTHER))
            go.set()
            with pytest.raises(LedgerError, match="may be there no more"):
                await ledger.commit(OTHER)
        assert ledger.put(b"seen") == name
        ledger.stage(event(0, OTHER))
        await ledger.commit(OTHER)
    with SqlLedger.open(address) as ledger:
        assert ledger.get(name) == b"seen"


async def _fails(ledger: SqlLedger, run: str) -> None:
    with pytest.raises(LedgerError):
        await ledger.commit(run)


async def test_whoever_fails_between_the_lock_and_the_commit_leaves_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqlLedger.open(address, signer=handmade.KEY) as ledger:
        with monkeypatch.context() as failing:
            failing.setattr(store_module.Checkpoint, "signed", None)
            ledger.stage(event(0))
            with pytest.raises(LedgerError, match="not written: TypeError"):
                await ledger.commit(RUN)
        assert stored(address) == []
        ledger.stage(event(0))
        await ledger.commit(RUN)
    assert len(stored(address)) == 1


async def test_a_group_that_takes_several_statements_is_written_whole(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "_AT_ONCE", 500)
    with SqlLedger.open(address) as ledger:
        names = [ledger.put(bytes([number]) * 200) for number in range(10)]
        names.append(ledger.put(b"private", private=True))
        for seq in range(20):
            ledger.stage(event(seq))
        await ledger.commit(RUN)
    with SqlLedger.open(address) as ledger:
        assert [one.seq for one in ledger.read(RUN)] == list(range(20))
        assert [ledger.get(name)[:1] for name in names[:2]] == [b"\0", b"\1"]
        assert ledger.get(names[-1]) == b"private"


async def test_a_server_that_was_restarted_is_connected_anew() -> None:
    with serving() as server, SqlLedger.open(server.address("postgres")) as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        await anyio.to_thread.run_sync(server.stop, "immediate")
        ledger.stage(event(1))
        with pytest.raises(LedgerError, match=r"^postgres: [^\n]*$"):
            await ledger.commit(RUN)
        await anyio.to_thread.run_sync(server.start)
        ledger.stage(event(1))
        await ledger.commit(RUN)
        assert [one.seq for one in ledger.read(RUN)] == [0, 1]
