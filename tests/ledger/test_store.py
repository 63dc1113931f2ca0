"""The ledger on SQLite: durable, shared, exclusive to whoever has seen all, plain in refusal."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

import handmade
from audition.canonical import digest_bytes
from audition.ledger import (
    Conflict,
    Journal,
    LedgerError,
    Redacted,
    SqlLedger,
    content_name,
    export,
    text,
)
from audition.ledger.events import RunResumed
from audition.ledger.tree import check_consistency, check_inclusion, leaf_hash, root_of
from audition.step import Event
from audition.verify import verify
from databases import ask, change, stored

pytestmark = pytest.mark.anyio
RUN = "ab" * 16
OTHER = "cd" * 16


def event(seq: int, run: str = RUN) -> Event:
    return Event(run=run, seq=seq, at=1, body=RunResumed())


def every_byte(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


# -------------------------------------------------------------------------------- writing


async def test_however_many_runs_there_are_the_places_of_few_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audition.ledger.store.KNOWN", 4)
    runs = [f"{number:032x}" for number in range(10)]
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        for seq in range(3):
            for run in runs:
                ledger.stage(event(seq, run))
                await ledger.commit(run)
                assert len(ledger._known) <= 4
        ledger.stage(event(2, runs[0]))
        with pytest.raises(Conflict):
            await ledger.commit(runs[0])
        assert [[one.seq for one in ledger.read(run)] for run in runs] == [[0, 1, 2]] * 10


async def test_what_is_staged_is_not_there_until_it_is_committed(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        leaf = ledger.stage(event(0))
        assert list(ledger.read(RUN)) == [] and ledger.size == 0
        receipt = await ledger.commit(RUN)
        assert list(ledger.read(RUN)) == [event(0)]
        assert (receipt.size, receipt.root) == (1, leaf)
        assert leaf == leaf_hash(event(0).canonical()).hex()


async def test_a_run_is_read_back_in_order_from_anywhere(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        for seq in range(1200):
            ledger.stage(event(seq))
            ledger.stage(event(seq, OTHER))
        await ledger.commit()
        assert [e.seq for e in ledger.read(RUN)] == list(range(1200))
        assert [e.seq for e in ledger.read(OTHER, after=700)] == list(range(701, 1200))
        assert ledger.runs() == [RUN, OTHER]


async def test_concurrent_runs_share_transactions(where: str) -> None:
    """Runs that commit at once are written together: fewer transactions than commits."""
    with SqlLedger.open(where) as ledger:
        begun: list[str] = []
        sa.event.listen(
            ledger._engine, "begin", lambda c: begun.append(str(c.get_execution_options()))
        )

        async def carry(run: str) -> None:
            for seq in range(20):
                ledger.stage(event(seq, run))
                receipt = await ledger.commit(run)
                assert receipt.size > seq

        async with anyio.create_task_group() as group:
            for number in range(16):
                group.start_soon(carry, f"{number:032x}")
        writes = sum("True" in options for options in begun)
        assert ledger.size == 320
        assert writes <= 320 / 4
        for number in range(16):
            assert len(list(ledger.read(f"{number:032x}"))) == 20


async def test_a_commit_returns_only_when_its_own_events_are_durable(where: str) -> None:
    with SqlLedger.open(where) as ledger:

        async def carry(run: str) -> None:
            for seq in range(10):
                ledger.stage(event(seq, run))
                await ledger.commit(run)
                assert event(seq, run).canonical() in stored(where)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(carry, f"{number:032x}")


async def test_whoever_has_not_seen_all_of_a_run_cannot_write_to_it(where: str) -> None:
    with SqlLedger.open(where) as one, SqlLedger.open(where) as other:
        one.stage(event(0))
        await one.commit(RUN)
        other.stage(event(1))
        await other.commit(RUN)
        one.stage(event(1))
        with pytest.raises(Conflict, match="another process"):
            await one.commit(RUN)
        one.stage(event(2))
        await one.commit(RUN)
        assert [e.seq for e in other.read(RUN)] == [0, 1, 2]


async def test_a_conflict_in_one_run_leaves_the_others_of_its_group(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        for each in (event(0, OTHER), event(0), event(5), event(1, OTHER), event(6)):
            ledger.stage(each)
        await ledger.commit(OTHER)
        with pytest.raises(Conflict):
            await ledger.commit(RUN)
        assert [e.seq for e in ledger.read(OTHER)] == [0, 1]
        assert list(ledger.read(RUN)) == [], "nothing of a refused run is written"
        assert verify(where).events == 2


async def test_two_ledgers_on_one_file_grow_one_tree(where: str) -> None:
    with SqlLedger.open(where, signer=handmade.KEY) as one:
        with SqlLedger.open(where, signer=handmade.KEY) as other:
            for seq in range(10):
                one.stage(event(seq))
                await one.commit(RUN)
                other.stage(event(seq, OTHER))
                receipt = await other.commit(OTHER)
        leaves = [leaf_hash(data) for data in stored(where)]
        root = root_of(leaves)
        assert receipt.root == root.hex() and receipt.size == 20
        check_inclusion(leaves[7], 7, 20, root, one.inclusion(7, 20))
        check_consistency(7, 20, root_of(leaves[:7]), root, one.consistency(7, 20))


def test_every_commit_signs_a_checkpoint_of_all_before_it(where: str) -> None:
    handmade.write(where, handmade.live_run(), group=1)
    found = verify(where, [handmade.KEY.public])
    assert found.checkpoints == found.signatures == found.events


async def test_an_event_that_is_too_large_is_refused(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        body = handmade.RunClosed(status="failed", reason="x" * (1 << 20))
        with pytest.raises(LedgerError, match="belong in content"):
            ledger.stage(Event(run=RUN, seq=0, at=1, body=body))
        with pytest.raises(LedgerError, match="at most"):
            ledger.put(bytes((1 << 26) + 1))
        await ledger.commit()
        assert ledger.size == 0


async def test_a_journal_numbers_its_run(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        journal = Journal(ledger, RUN)
        assert [journal.log(RunResumed()).seq for _ in range(3)] == [0, 1, 2]
        await journal.commit()
        again = Journal(ledger, RUN)
        again.log(RunResumed())
        with pytest.raises(Conflict):
            await again.commit()


async def test_whoever_commits_for_all_hears_of_each_loss_once_and_its_run_all_the_same(
    where: str,
) -> None:
    with SqlLedger.open(where) as ledger:
        ledger.stage(event(5))
        with pytest.raises(Conflict, match=RUN):
            await ledger.commit()
        await ledger.commit()
        with pytest.raises(Conflict, match=RUN):
            await ledger.commit(RUN)
        await ledger.commit(RUN)
        ledger.stage(event(5))
        with pytest.raises(Conflict):
            await ledger.commit(RUN)
        await ledger.commit()


async def test_a_refused_run_leaves_no_trace(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        for each in (event(3), event(0, OTHER), event(2, OTHER)):
            ledger.stage(each)
        for run in (RUN, OTHER):
            with pytest.raises(Conflict):
                await ledger.commit(run)
        assert ledger.runs() == []
        ledger.stage(event(0))
        await ledger.commit(RUN)
        assert ledger.runs() == [RUN]


# -------------------------------------------------------------------------------- cancelled


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of writing to the ledger `l.db`."""
    SqlLedger.open(tmp_path / "l.db").close()
    database = sqlite3.connect(tmp_path / "l.db", isolation_level=None, check_same_thread=False)
    database.execute("BEGIN IMMEDIATE")
    yield database
    database.close()


async def committing(ledger: SqlLedger, run: str) -> asyncio.Task[Any]:
    """A task that commits its run, once a thread is at a group and it has begun to wait."""
    task = asyncio.create_task(ledger.commit(run))
    await asyncio.sleep(0.05)
    while not (ledger._pen.locked() or task.done()):  # noqa: ASYNC110  a thread tells nobody
        await asyncio.sleep(0.01)
    return task


@pytest.mark.parametrize("how", ["cancel", "wait_for", "scope"])
async def test_a_cancelled_committer_leaves_no_receipt_for_what_is_not_written(
    tmp_path: Path, holder: sqlite3.Connection, how: str
) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        ledger.stage(event(0))
        ledger.stage(event(0, OTHER))
        if how == "cancel":
            first = await committing(ledger, RUN)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        elif how == "wait_for":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ledger.commit(RUN), 0.05)
        else:
            first = await committing(ledger, RUN)
        other = await committing(ledger, OTHER)
        ledger.stage(event(1))
        again = await committing(ledger, RUN)
        if how == "scope":
            with anyio.move_on_after(0.05):
                await ledger.commit(OTHER)
        assert not other.done() and not again.done() and stored(tmp_path / "l.db") == []
        holder.execute("ROLLBACK")
        assert (await other).size >= 2 and (await again).size == 3
        assert len(stored(tmp_path / "l.db")) == 3


async def test_every_run_of_a_group_whose_committer_was_cancelled_is_told_of_its_loss(
    tmp_path: Path, holder: sqlite3.Connection
) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        sa.event.listen(
            ledger._engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 300")
        )
        ledger._engine.dispose()
        ledger.stage(event(0))
        ledger.stage(event(0, OTHER))
        name = ledger.put(b"kept")
        first = await committing(ledger, RUN)
        first.cancel()
        for run in (OTHER, RUN):
            with pytest.raises(LedgerError, match="another process holds it"):
                await ledger.commit(run)
        holder.execute("ROLLBACK")
        ledger.stage(event(0))
        await ledger.commit(RUN)
        assert len(stored(tmp_path / "l.db")) == 1 and ledger.get(name) == b"kept"


async def test_a_group_whose_committer_never_began_is_written_by_the_next(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        ledger.stage(event(0))
        ledger.stage(event(0, OTHER))
        task = asyncio.create_task(ledger.commit(RUN))
        for _ in range(2):  # to its turn, and to where it asks for a thread
            await asyncio.sleep(0)
        assert ledger._writing is not None, "it is closed, and no thread has taken it up"
        task.cancel()
        await ledger.commit(OTHER)
        assert len(stored(where)) == 2


async def test_a_ledger_that_is_closed_finishes_the_group_that_is_being_written(
    tmp_path: Path, holder: sqlite3.Connection
) -> None:
    ledger = SqlLedger.open(tmp_path / "l.db")
    ledger.stage(event(0))
    (await committing(ledger, RUN)).cancel()
    free = threading.Timer(0.2, holder.execute, ["ROLLBACK"])
    free.start()
    await asyncio.sleep(0)
    ledger.close()
    free.join()
    assert len(stored(tmp_path / "l.db")) == 1


@pytest.mark.parametrize("fault", [MemoryError, KeyboardInterrupt, SystemExit])
async def test_even_a_fault_that_ends_processes_gives_no_receipt(
    where: str, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    def broken(group: Any) -> None:
        raise fault

    with SqlLedger.open(where) as ledger:
        ledger.stage(event(0))
        ledger.stage(event(0, OTHER))
        monkeypatch.setattr(ledger, "_write", broken)
        for run in (RUN, OTHER):
            with pytest.raises(LedgerError, match=f"not written: {fault.__name__}"):
                await ledger.commit(run)
        assert ledger.size == 0


# -------------------------------------------------------------------------------- content


async def test_content_is_named_by_what_it_is(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        journal = Journal(ledger, RUN)
        name = journal.put("tëxt \ud800")
        assert name == digest_bytes("tëxt \ud800".encode("utf-8", "surrogatepass"))
        assert text(ledger.get(name)) == "tëxt \ud800", "staged content can be read"
        await ledger.commit()
        assert text(ledger.get(name)) == "tëxt \ud800"
        assert journal.put({"b": 1, "a": 2}) == digest_bytes(b'{"a":2,"b":1}')
        with pytest.raises(LedgerError, match="missing"):
            ledger.get("0" * 64)


async def test_private_content_is_salted_so_that_its_name_gives_nothing_away(
    where: str,
) -> None:
    with SqlLedger.open(where) as ledger:
        one, other = ledger.put(b"yes", private=True), ledger.put(b"yes", private=True)
        await ledger.commit()
        assert len({one, other, digest_bytes(b"yes")}) == 3
        assert ledger.get(one) == ledger.get(other) == b"yes"
    for name, salt, data in ask(where, "SELECT digest, salt, data FROM contents"):
        assert len(salt) == 32 and content_name(data, salt) == name.hex()


def test_no_plain_content_has_the_name_of_private_content() -> None:
    """The last step of HMAC-SHA-256, taken as content, would have had it."""
    salt, data = bytes(range(32)), b"private"
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in salt.ljust(64, b"\0")) + data).digest()
    outer = bytes(b ^ 0x5C for b in salt.ljust(64, b"\0")) + inner
    assert content_name(outer, None) == hmac.new(salt, data, "sha256").hexdigest()
    assert content_name(outer, None) != content_name(data, salt)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64, 65])
def test_a_salt_of_another_length_names_nothing(length: int) -> None:
    assert content_name(b"x", bytes(length)) == ""


@pytest.mark.parametrize(
    "change",
    [
        "data = CAST('no' AS BLOB)",
        "data = 'yes'",
        "data = 900000000",
        "salt = zeroblob(32)",
        "salt = x''",
        "salt = 'salt'",
    ],
)
@pytest.mark.parametrize("private", [True, False])
async def test_content_that_was_changed_is_never_shown(
    tmp_path: Path, change: str, private: bool
) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        name = ledger.put(b"yes", private=private)
        await ledger.commit()
    database = sqlite3.connect(tmp_path / "l.db")
    database.execute(f"UPDATE contents SET {change}")
    database.commit()
    database.close()
    altered = pytest.raises(LedgerError, match=f"{name[:12]}… was altered")
    with SqlLedger.open(tmp_path / "l.db") as ledger, altered:
        ledger.get(name)


async def test_redacted_content_leaves_no_byte_behind(tmp_path: Path) -> None:
    """Neither in the database nor in its log, however the page was filled; the salt goes too."""
    path = tmp_path / "l.db"
    secrets = [b"SECRET-%d-" % size + b"s" * size for size in (10, 3000, 50_000)]
    with SqlLedger.open(path) as ledger:
        names = [ledger.put(data, private=True) for data in secrets]
        for number in range(50):
            ledger.put(b"filler %d" % number * 100)
        await ledger.commit()
        database = sqlite3.connect(path)
        salts = [salt for (salt,) in database.execute("SELECT salt FROM contents") if salt]
        database.close()
        for name in names:
            assert await ledger.redact(name) is True
        assert await ledger.redact(names[0]) is False
        for name in names:
            with pytest.raises(Redacted):
                ledger.get(name)
        left = every_byte(tmp_path)
        assert not any(sign in left for sign in (b"SECRET", b"s" * 100, *salts))
        assert b"filler 49" in left


async def test_redaction_says_so_when_a_reader_keeps_the_old_log_alive(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with SqlLedger.open(path) as ledger:
        name = ledger.put(b"secret")
        await ledger.commit()
        reader = sqlite3.connect(path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM contents").fetchone()
        ledger._engine.dispose()
        sa.event.listen(
            ledger._engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 50")
        )
        with pytest.raises(LedgerError, match="redact again"):
            await ledger.redact(name)
        reader.close()
        await ledger.redact(name)
        with pytest.raises(Redacted):
            ledger.get(name)


async def test_content_that_was_redacted_does_not_come_back_by_itself(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        name = ledger.put(b"secret")
        await ledger.commit()
        await ledger.redact(name)
        ledger.put(b"secret")
        await ledger.commit()
        with pytest.raises(Redacted):
            ledger.get(name)


# -------------------------------------------------------------------------------- kills

WRITER = """
import sys, anyio
sys.path.insert(0, sys.argv[2])
import handmade
from audition.ledger import SqlLedger
from audition.ledger.events import RunResumed
from audition.step import Event

async def main():
    with SqlLedger.open(sys.argv[1], signer=handmade.KEY) as ledger:
        async def carry(run):
            for seq in range(10**9):
                ledger.put(b"%d" % seq + run.encode() * 50)
                ledger.stage(Event(run=run, seq=seq, at=1, body=RunResumed()))
                await ledger.commit(run)
                print(run, seq, flush=True)
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(carry, f"{number:032x}")

anyio.run(main)
"""


@pytest.mark.parametrize("lines", [1, 40, 150])
def test_a_kill_in_the_middle_of_commits_loses_nothing_committed(where: str, lines: int) -> None:
    here = str(Path(handmade.__file__).parent)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, where, here], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(lines)]
    os.kill(writer.pid, signal.SIGKILL)
    told += writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    change(where, "UPDATE ledger SET size = size")  # after the commit that a server is still at
    committed = [line.split() for line in told if line.endswith("\n")]
    with SqlLedger.open(where) as ledger:
        there = {(run, e.seq) for run in ledger.runs() for e in ledger.read(run)}
    assert {(run, int(seq)) for run, seq in committed} <= there
    found = verify(where, [handmade.KEY.public])
    assert not any(finding.guarantee == 10 for finding in found.findings), found.first_bad
    assert found.events == len(there)


# -------------------------------------------------------------------------------- refusals


async def test_a_full_disk_is_said_and_loses_nothing_committed(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with SqlLedger.open(path, signer=handmade.KEY) as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        pages = sqlite3.connect(path)
        count = pages.execute("PRAGMA page_count").fetchone()[0]
        pages.close()
        limit(ledger, count + 2)
        ledger.stage(event(1))
        ledger.put(os.urandom(100_000))
        with pytest.raises(LedgerError, match="make room"):
            await ledger.commit(RUN)
        limit(ledger, 1 << 30)
        ledger.stage(event(1))
        await ledger.commit(RUN)
        assert [e.seq for e in ledger.read(RUN)] == [0, 1]
    assert not any(f.guarantee == 10 for f in verify(path, [handmade.KEY.public]).findings)


def limit(ledger: SqlLedger, pages: int) -> None:
    assert ledger._connection is not None
    raw: Any = ledger._connection.connection.driver_connection
    raw.execute(f"PRAGMA max_page_count = {pages}")


async def test_every_run_of_a_refused_group_is_told(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        limit(ledger, 1)
        ledger.stage(event(1))
        ledger.stage(event(0, OTHER))
        ledger.put(bytes(100_000))
        for run in (RUN, OTHER):
            with pytest.raises(LedgerError, match="make room"):
                await ledger.commit(run)


async def test_a_fault_of_any_kind_reaches_every_run_of_its_group_and_keeps_contents(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqlLedger.open(where) as ledger:
        written = ledger._write
        runs = [f"{number:032x}" for number in range(3)]
        content = ledger.put(b"kept")
        told: list[str] = []

        def broken(group: Any) -> None:
            monkeypatch.setattr(ledger, "_write", written)
            raise OverflowError("no such number")

        async def commit(run: str) -> None:
            try:
                await ledger.commit(run)
            except LedgerError:
                told.append(run)

        monkeypatch.setattr(ledger, "_write", broken)
        for run in runs:
            ledger.stage(Event(run=run, seq=0, at=0, body=RunResumed()))
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(commit, run)
        assert sorted(told) == runs
        assert ledger.size == 0
        await ledger.commit(runs[0])
    with SqlLedger.open(where) as ledger:
        assert ledger.get(content) == b"kept"


async def test_a_run_whose_content_alone_was_not_written_is_told(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        ledger.stage(event(0, OTHER))
        await ledger.commit(OTHER)
        limit(ledger, 1)
        ledger.stage(event(1, OTHER))
        ledger.put(bytes(100_000))
        with pytest.raises(LedgerError, match="make room"):
            await ledger.commit(RUN)


async def test_a_locked_ledger_is_said(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        assert ledger._connection is not None
        raw: Any = ledger._connection.connection.driver_connection
        raw.execute("PRAGMA busy_timeout = 50")
        holder = sqlite3.connect(tmp_path / "l.db")
        holder.execute("BEGIN IMMEDIATE")
        ledger.stage(event(1))
        with pytest.raises(LedgerError, match="another process holds it"):
            await ledger.commit(RUN)
        holder.rollback()
        holder.close()
        ledger.stage(event(1))
        await ledger.commit(RUN)


@pytest.mark.parametrize("put_back", [False, True])
async def test_a_commit_to_a_file_that_no_longer_stands_there_gives_no_receipt(
    tmp_path: Path, put_back: bool
) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        ledger.stage(event(0))
        await ledger.commit(RUN)
        (tmp_path / "l.db").rename(tmp_path / "taken")
        if put_back:
            (tmp_path / "l.db").write_bytes((tmp_path / "taken").read_bytes())
        ledger.stage(event(1))
        with pytest.raises(LedgerError, match=r"^l\.db: the file was taken away or replaced"):
            await ledger.commit(RUN)


async def test_a_ledger_that_has_become_shorter_is_written_no_more(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        for seq in range(3):
            ledger.stage(event(seq))
        await ledger.commit(RUN)
        database = sqlite3.connect(tmp_path / "l.db")
        database.execute("UPDATE ledger SET size = 2")
        database.execute("DELETE FROM events WHERE seq = 2")
        database.commit()
        database.close()
        ledger.stage(event(3))
        with pytest.raises(LedgerError, match=r"^l\.db: 2 events, where there were 3; put back"):
            await ledger.commit(RUN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_one_may_not_look_into_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        for create in (True, False):
            with pytest.raises(LedgerError):
                SqlLedger.open(tmp_path / "closed" / "l.db", create=create)
    finally:
        os.seteuid(0)


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger there"):
        SqlLedger.open(tmp_path / "none.db", create=False)
    with pytest.raises(LedgerError, match="no ledger there"):
        SqlLedger.open(tmp_path)
    with pytest.raises(LedgerError, match="cannot be opened"):
        SqlLedger.open(tmp_path / "no" / "folder.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"hello", b"SQLite format 3\0" + b"x" * 5000, b"\xa7" * 9000])
def test_a_file_that_is_no_database_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "l.db"
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"l\.db: .*(not a database|damaged)"):
        SqlLedger.open(path)
    assert path.read_bytes() == data


def test_a_database_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "l.db")
    database.execute("CREATE TABLE accounts (x)")
    database.commit()
    database.close()
    for create in (True, False):
        with pytest.raises(LedgerError, match="a database, but no ledger"):
            SqlLedger.open(tmp_path / "l.db", create=create)
    with pytest.raises(LedgerError, match="no ledger"):
        verify(tmp_path / "l.db")


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c)"
HOSTILE = {
    "an endless view": f"""
        DROP TABLE contents;
        CREATE VIEW contents (digest, salt, data) AS {ENDLESS} SELECT x, NULL, x'00' FROM c""",
    "a computed column": """
        DROP TABLE contents;
        CREATE TABLE contents (digest BLOB NOT NULL PRIMARY KEY, salt BLOB,
            data BLOB GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL)""",
    "a table in memory": """
        DROP TABLE contents;
        CREATE VIRTUAL TABLE contents USING fts5 (digest, salt, data)""",
    "another column": "ALTER TABLE events ADD COLUMN more BLOB",
    "another index": "CREATE INDEX more ON events (hex(data))",
    "a table that holds a number twice": """
        ALTER TABLE events RENAME TO old;
        CREATE TABLE events ("index" INTEGER NOT NULL PRIMARY KEY, run INTEGER NOT NULL,
            seq INTEGER NOT NULL, leaf BLOB NOT NULL, data BLOB NOT NULL);
        DROP TABLE old""",
    "no table": "DROP TABLE checkpoints",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_tables_that_are_not_a_ledger_s_are_never_read(ledger_path: Path, what: str) -> None:
    database = sqlite3.connect(ledger_path)
    database.executescript(HOSTILE[what])
    database.close()
    for attempt in (SqlLedger.open, verify, lambda path: export(path, f"{path}.jsonl")):
        with pytest.raises(LedgerError, match=r"the table \w+ is missing, or not as a ledger has"):
            attempt(ledger_path)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER more AFTER INSERT ON events BEGIN DELETE FROM events; END",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TABLE more (x)",
    ],
)
def test_nothing_is_written_beside_what_no_ledger_has(ledger_path: Path, sql: str) -> None:
    database = sqlite3.connect(ledger_path)
    database.execute(sql)
    database.close()
    with pytest.raises(LedgerError, match="more, which no ledger has"):
        SqlLedger.open(ledger_path)
    assert "which no ledger has" in str(verify(ledger_path).first_bad)


def test_a_row_larger_than_any_of_a_ledger_is_not_read(ledger_path: Path) -> None:
    database = sqlite3.connect(ledger_path)
    database.execute("UPDATE ledger SET origin = zeroblob(?)", ((1 << 26) + (1 << 21),))
    database.commit()
    database.close()
    for attempt in (SqlLedger.open, verify):
        with pytest.raises(LedgerError, match="larger than any"):
            attempt(ledger_path)


def test_an_empty_file_is_no_ledger_unless_one_may_be_begun(tmp_path: Path) -> None:
    (tmp_path / "l.db").touch()
    with pytest.raises(LedgerError, match="no ledger there"):
        SqlLedger.open(tmp_path / "l.db", create=False)
    SqlLedger.open(tmp_path / "l.db").close()
    SqlLedger.open(tmp_path / "l.db", create=False).close()


def test_a_ledger_of_another_version_is_said(ledger_path: Path) -> None:
    database = sqlite3.connect(ledger_path)
    database.execute("UPDATE ledger SET format = 2")
    database.commit()
    database.close()
    for attempt in (SqlLedger.open, verify):
        with pytest.raises(LedgerError, match="format 2; this version reads format 1"):
            attempt(ledger_path)


def test_a_ledger_that_was_never_fully_made_is_said(ledger_path: Path) -> None:
    database = sqlite3.connect(ledger_path)
    database.execute("DELETE FROM ledger")
    database.commit()
    database.close()
    for attempt in (SqlLedger.open, verify):
        with pytest.raises(LedgerError, match="never fully made"):
            attempt(ledger_path)


def test_another_kind_of_address_is_said(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="sqlite:///PATH"):
        SqlLedger.open("mysql://x/y")
    SqlLedger.open(f"sqlite:///{tmp_path}/l.db").close()
    assert (tmp_path / "l.db").exists()


@pytest.mark.parametrize("name", ["a?b.db", "a#b.db", "a%20b.db", "ä b.db", "a&mode=ro.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    handmade.write(tmp_path / name, handmade.recorded_run())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert verify(tmp_path / name, [handmade.KEY.public]).ok


def as_nobody(path: Path, code: str) -> str:
    """Run code as a user who owns nothing here."""
    start = (
        "import os, sys, tempfile\n"
        "import anyio, anyio._backends._asyncio\n"
        "from audition.ledger import LedgerError, SqlLedger\n"
        "from audition.ledger.events import RunResumed\n"
        "from audition.step import Event\n"
        "from audition.verify import verify\n"
        "with tempfile.TemporaryDirectory() as folder:\n"  # load all that is loaded when used
        "    SqlLedger.open(folder + '/l.db').close()\n"
        "    verify(folder + '/l.db')\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "path = sys.argv[1]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def shut(ledger_path: Path, tmp_path: Path) -> Any:
    """A ledger and its folder that nobody may write."""
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and len(parent.parts) > 2:
            parent.chmod(parent.stat().st_mode | 0o055)
    ledger_path.chmod(0o444)
    tmp_path.chmod(0o555)
    yield ledger_path
    tmp_path.chmod(0o755)


def test_a_read_only_ledger_can_be_verified_and_not_written(shut: Path) -> None:
    code = """
print(verify(path).ok)
async def main():
    try:
        with SqlLedger.open(path) as ledger:
            ledger.stage(Event(run="ab" * 16, seq=0, at=1, body=RunResumed()))
            await ledger.commit()
    except LedgerError as error:
        print(error)
anyio.run(main)
"""
    ok, refused = as_nobody(shut, code).splitlines()
    assert ok == "True"
    assert "may not be written" in refused or "cannot be opened" in refused


def test_verification_sees_one_instant_while_others_write(where: str) -> None:
    handmade.write(where, handmade.recorded_run())
    enough = threading.Event()

    def write() -> None:
        for number in itertools.takewhile(lambda _: not enough.is_set(), itertools.count()):
            pen = handmade.Scribe(f"{number:032x}")
            pen.open()
            handmade.write(where, pen, group=1)

    writer = threading.Thread(target=write)
    writer.start()
    sizes: set[int] = set()
    try:
        while len(sizes) < 5 and writer.is_alive():
            found = verify(where, [handmade.KEY.public])
            assert found.ok, found.first_bad
            sizes.add(found.events)
    finally:
        enough.set()
        writer.join()
    assert len(sizes) == 5
