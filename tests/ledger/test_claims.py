"""The queue of runs: one worker a run, for as long as it says that it is there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from audition.ledger import LedgerError, SqlLedger, postgres, sqlite
from audition.ledger.claims import Claims, Held, queue, submit
from audition.ledger.database import Database, connect
from audition.ledger.events import RunResumed
from audition.step import Event, now
from databases import change

RUNS = [f"{number:032x}" for number in range(1, 41)]
TERMS = "ab" * 32
DAY = 86_400_000_000


@pytest.fixture
def database(where: str) -> Iterator[Database]:
    with SqlLedger.open(where) as ledger:
        yield ledger.database


def queued(database: Database, *runs: str) -> None:
    submit(database, runs, "project", TERMS)


def written(where: str, run: str, seq: int) -> None:
    async def write() -> None:
        with SqlLedger.open(where) as ledger:
            ledger.stage(Event(run=run, seq=seq, at=1, body=RunResumed()))
            await ledger.commit()

    anyio.run(write)


def test_no_run_is_claimed_twice_however_many_claim_at_once(where: str, database: Database) -> None:
    queued(database, *RUNS)

    def claims(number: int) -> list[Held]:
        own, found = connect(where), list[Held]()
        try:
            worker = Claims(own, f"worker {number}")
            for _ in RUNS:
                found += worker.claim([TERMS], 3)
        finally:
            own.engine.dispose()
        return found

    with ThreadPoolExecutor(4) as threads:
        held = [one for found in threads.map(claims, range(4)) for one in found]
    assert sorted(one.run for one in held) == RUNS
    assert {one.state for one in queue(database)} == {"held"}


def test_a_claim_does_not_wait_for_a_row_that_another_is_claiming(
    where: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not where.startswith("postgresql"):
        pytest.skip("writers to a file come one after the other")
    monkeypatch.setitem(postgres.SESSION, "lock_timeout", "2s")
    queued(database, *RUNS[:2])
    other = connect(where)
    with database.writer() as claiming, claiming.begin():
        claiming.exec_driver_sql("SELECT run FROM work ORDER BY run LIMIT 1 FOR UPDATE")
        assert [one.run for one in Claims(other, "b").claim([TERMS], 9)] == [RUNS[1]]
    other.engine.dispose()


def test_only_the_runs_of_projects_that_are_known_are_claimed(database: Database) -> None:
    queued(database, *RUNS[:2])
    assert Claims(database, "a").claim(["cd" * 32], 9) == []
    assert len(Claims(database, "a").claim(["cd" * 32, TERMS], 1)) == 1
    assert Claims(database, "a").claim([TERMS], 9, besides=[RUNS[1]]) == []


def test_what_is_held_is_left_alone_until_its_lease_runs_out(database: Database) -> None:
    queued(database, RUNS[0])
    slow, other = Claims(database, "slow", lease=0), Claims(database, "other")
    (first,) = slow.claim([TERMS], 9)
    (second,) = other.claim([TERMS], 9)
    assert slow.claim([TERMS], 9) == [], "it is held, and renewed"
    assert (second.run, second.generation, second.attempts) == (RUNS[0], first.generation + 1, 1)
    (row,) = queue(database)
    assert row.worker == "other" and row.left is not None and 0 < row.left <= other.lease


def test_whoever_lost_a_run_changes_nothing_of_it(database: Database) -> None:
    queued(database, *RUNS[:2])
    slow, other = Claims(database, "slow", lease=0), Claims(database, "other")
    lost = {one.run: one for one in slow.claim([TERMS], 9)}
    (taken,) = other.claim([TERMS], 1)
    before = queue(database)
    assert slow.put_down(lost[taken.run], "ended") is False
    assert [one.state for one in queue(database)] == [one.state for one in before]
    assert slow.renew().keys() == lost.keys() - {taken.run}
    assert other.renew() == {taken.run: taken.generation}


def test_an_older_claim_of_the_same_worker_counts_no_more(database: Database) -> None:
    queued(database, RUNS[0])
    worker = Claims(database, "a", lease=0)
    (old,), (new,) = worker.claim([TERMS], 9), worker.claim([TERMS], 9)
    assert worker.put_down(old, "ended") is False
    assert worker.put_down(new, "ended") is True
    assert queue(database) == [] and worker.claim([TERMS], 9) == []


def test_a_run_that_waits_is_woken_by_what_is_written_and_by_nothing_else(
    where: str, database: Database
) -> None:
    queued(database, RUNS[0])
    written(where, RUNS[0], 0)
    worker = Claims(database, "a")
    (held,) = worker.claim([TERMS], 9)
    worker.put_down(held, "waiting", seen=1, note="for ann")
    written(where, RUNS[1], 0)
    assert worker.claim([TERMS], 9) == []
    written(where, RUNS[0], 1)
    assert [one.run for one in worker.claim([TERMS], 9)] == [RUNS[0]]


def test_a_run_is_woken_when_its_time_has_come(database: Database) -> None:
    queued(database, *RUNS[:2])
    worker = Claims(database, "a")
    soon, late = worker.claim([TERMS], 9)
    worker.put_down(soon, "waiting", after=0)
    worker.put_down(late, "waiting", after=60)
    assert [one.run for one in worker.claim([TERMS], 9)] == [soon.run]


def test_a_run_that_fails_is_tried_again_ever_later(database: Database) -> None:
    queued(database, RUNS[0])
    worker = Claims(database, "a")
    waits = list[float]()
    for _ in range(3):
        (held,) = worker.claim([TERMS], 9)
        assert worker.put_down(held, "waiting", note="no box", failed=True)
        (row,) = queue(database)
        waits.append(row.left or 0)
        change(database.name, "UPDATE work SET wake = 0")
    assert [row.attempts, row.note] == [3, "no box"]
    assert waits[0] < waits[1] < waits[2] <= 8


def test_on_a_server_a_workers_own_clock_does_not_matter(
    where: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not where.startswith("postgresql"):
        pytest.skip("a file has no clock of its own")
    queued(database, RUNS[0])
    monkeypatch.setattr("time.time_ns", lambda: 0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    Claims(database, "a").claim([TERMS], 9)
    assert Claims(database, "b").claim([TERMS], 9) == []


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_costs_time_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        queued(ledger.database, RUNS[0])
        one, other = Claims(ledger.database, "one"), Claims(ledger.database, "other")
        (held,) = one.claim([TERMS], 9)
        monkeypatch.setattr(sqlite, "now", lambda: now() + jump)
        taken = other.claim([TERMS], 9)
        assert len(taken) == (jump > 0)
        assert one.put_down(held, "ended") is not bool(taken), "one of them has it, never both"
        assert len(other.renew()) == len(taken)


def test_a_ledger_of_an_earlier_version_has_no_queue(where: str) -> None:
    with SqlLedger.open(where) as ledger:
        ledger.database.revision = "0001"
        assert queue(ledger.database) == []
        with pytest.raises(LedgerError, match="audition migrate"):
            queued(ledger.database, RUNS[0])
        with pytest.raises(LedgerError, match="audition migrate"):
            Claims(ledger.database, "a")
