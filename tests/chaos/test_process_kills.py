"""Faults of the world: processes killed at random, a full disk, a file that is read-only."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from crowd import ACTS, RUNS, run_id
from sqlalchemy import event

from audition.ledger import LedgerError, SqlLedger
from audition.ledger.events import ActStarted, RunClosed, StepThought
from audition.verify import verify
from audition.waiting import settle
from databases import ADDRESS, place
from rehearsal import Note, bodies, carried, kinds, note, project, written
from servers.postgres import Server

SCRIPT = Path(__file__).parent / "crowd.py"
RUN = "b" * 32


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_crowd_of_runs_that_is_killed_at_random_ends_whole(
    tmp_path: Path, unverified: SqlLedger, seed: int
) -> None:
    unverified.close()
    _ends_whole(tmp_path, seed)


def test_a_crowd_of_runs_on_a_server_that_is_killed_at_random_ends_whole(
    tmp_path: Path, unverified: SqlLedger, postgres: Server
) -> None:
    (tmp_path / ADDRESS).write_text(postgres.address(postgres.fresh()))
    _ends_whole(tmp_path, 4)


def _ends_whole(tmp_path: Path, seed: int) -> None:
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(seed), "4"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    doubts = tmp_path / "doubts"
    undone = [
        (number, text)
        for number, text, happened in map(json.loads, doubts.read_text().splitlines())
        if not happened
    ] if doubts.exists() else []  # fmt: skip
    with SqlLedger.open(place(tmp_path)) as ledger:
        assert set(ledger.runs()) == {run_id(number) for number in range(RUNS)}
        for number in range(RUNS):
            run = run_id(number)
            told = f"run {number} after {done.stdout.strip()} kills"
            closed = next(bodies(ledger, run, RunClosed))
            assert closed.status == "finished", told
            due = [f"act {n}" for n in range(ACTS) if (number, f"act {n}") not in undone]
            assert written(tmp_path / f"run{number}") == due, told
            assert [one.turn for one in bodies(ledger, run, StepThought)] == [
                *range(1, ACTS + 2)
            ], told
            assert closed.answer is not None
            thoughts = "".join(f"{n}\n" for n in range(ACTS + 1))
            assert json.loads(ledger.get(closed.answer))["answer"] == thoughts, told
    findings = verify(place(tmp_path)).findings
    assert [str(finding) for finding in findings] == []


# ------------------------------------------------------------------------ a ledger that refuses


@contextmanager
def refusing(path: Path, pragma: str) -> Iterator[SqlLedger]:
    """A ledger whose database refuses as a full disk or a read-only file makes it refuse."""
    with SqlLedger.open(path) as ledger:
        event.listen(
            ledger._engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}")
        )
        ledger._engine.dispose()
        yield ledger


def pages(path: Path) -> int:
    database = sqlite3.connect(path)
    try:
        return int(database.execute("PRAGMA page_count").fetchone()[0])
    finally:
        database.close()


@pytest.mark.parametrize("room", [0, 1, 2, 4, 6, 9])
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(
    tmp_path: Path, ledger: SqlLedger, room: int
) -> None:
    """Wherever it strikes: nothing half-written, no act that is not accounted for."""
    long = "x" * 20_000
    judged = project(tmp_path, *[note(f"{n} {long}") for n in range(3)])
    limit = f"max_page_count = {pages(tmp_path / 'ledger.db') + room}"
    with refusing(tmp_path / "ledger.db", limit) as full:
        with pytest.raises(LedgerError, match=r"^ledger\.db: the disk is full") as caught:
            carried(judged, full, run_id=RUN)
        assert "\n" not in str(caught.value)
    _accounted(tmp_path, ledger)
    _finishes(tmp_path, ledger, judged, [f"{n} {long}" for n in range(3)])


def test_a_read_only_ledger_stops_the_run_before_anything_is_done(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    judged = project(tmp_path, note("a"))
    with (
        refusing(tmp_path / "ledger.db", "query_only = ON") as readonly,
        pytest.raises(LedgerError, match=r"^ledger\.db: it may not be written[^\n]*$"),
    ):
        carried(judged, readonly, run_id=RUN)
    assert ledger.runs() == []
    assert written(tmp_path) == []
    _finishes(tmp_path, ledger, judged, ["a"])


def test_a_disk_that_fills_up_during_an_act_leaves_the_act_in_doubt(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """What came of it could not be written, so nobody knows, until a person says."""
    switch: list[Any] = []

    class Fills(Note):
        async def act(self, ticket: Any) -> Any:
            outcome = await super().act(ticket)
            switch[0]("PRAGMA query_only = ON")
            return outcome

    judged = project(tmp_path, note("a"), executors=[Fills(tmp_path / "log")])
    with SqlLedger.open(tmp_path / "ledger.db") as fails:
        switch.append(lambda pragma: fails._connection.exec_driver_sql(pragma))  # type: ignore[union-attr]
        with pytest.raises(LedgerError):
            carried(judged, fails, run_id=RUN)
    assert kinds(ledger, RUN)[-1] == "act.started"
    result = carried(project(tmp_path, note("a")), ledger, run_id=RUN)
    assert (result.status, result.waits_for) == ("waiting", "settle")
    assert written(tmp_path) == ["a"]


def _accounted(folder: Path, ledger: SqlLedger) -> None:
    """Every act that took effect was started in the ledger first."""
    started = len(list(bodies(ledger, RUN, ActStarted))) if ledger.runs() else 0
    assert len(written(folder)) <= started
    assert verify(folder / "ledger.db").findings == ()


def _finishes(folder: Path, ledger: SqlLedger, judged: Any, lines: list[str]) -> None:
    while (result := carried(judged, ledger, run_id=RUN)).status == "waiting":
        anyio.run(lambda: settle(ledger, RUN, happened=True, by="tester"))
    assert result.status == "finished"
    assert written(folder) == lines
