"""Workers: many runs in a process, many processes on a queue, and no run in two hands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner
from workforce import ACTS, Logs, asking, planned

import audition.worker
import rehearsal
from audition.console.app import app
from audition.console.awaiting import whom
from audition.console.speaking import Stop
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.claims import Claims, queue, submit
from audition.ledger.events import ActInDoubt, ActSettled, AuditRecorded
from audition.opening import identity
from audition.project import Project
from audition.step import Box, History, Outcome, Thought, Ticket, now
from audition.verify import verify
from audition.waiting import answer, settle, waiting
from audition.worker import Carrying, work
from databases import change
from rehearsal import Plays, Says, bodies, note, written

KEY = PrivateKey("crowd.example", bytes(32))
SCRIPT = Path(__file__).parent / "workforce.py"
RUNS = [f"{number:032x}" for number in range(1, 7)]


@pytest.fixture(autouse=True)
def _boxed() -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)


@pytest.fixture
def ledger(where: str) -> Iterator[SqlLedger]:
    with SqlLedger.open(where, signer=KEY) as opened:
        yield opened
    assert [str(finding) for finding in verify(where).findings] == []


def queued(ledger: SqlLedger, project: Project, *runs: str) -> None:
    submit(ledger.database, runs, project.name, identity(project))


def worked(ledger: SqlLedger, project: Project, **options: object) -> list[Carrying]:
    told: list[Carrying] = []

    async def body() -> None:
        with anyio.fail_after(60):
            await work([project], ledger, until_idle=True, tell=told.append, **options)  # type: ignore[arg-type]

    anyio.run(body)
    return told


# -------------------------------------------------------------------------------- one process


def test_a_worker_carries_all_that_is_queued_and_ends_when_idle(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    project = planned(tmp_path)
    queued(ledger, project, *RUNS)
    told = worked(ledger, project, runs=4)
    assert sorted(one.run for one in told) == RUNS
    assert {one.result.status for one in told if one.result} == {"finished"}
    assert queue(ledger.database) == []
    assert Counter(written(tmp_path)) == Counter(
        f"{run} act {n}" for run in RUNS for n in range(ACTS)
    )
    assert worked(ledger, project) == []


def test_a_worker_leaves_the_runs_of_other_projects(ledger: SqlLedger, tmp_path: Path) -> None:
    queued(ledger, replace(planned(tmp_path), goal="another"), RUNS[0])
    assert worked(ledger, planned(tmp_path)) == []
    (left,) = queue(ledger.database)
    assert (left.run, left.state, left.worker) == (RUNS[0], "ready", None)


def test_a_run_that_waits_holds_no_worker_and_goes_on_when_somebody_wrote(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    project = asking(tmp_path)
    queued(ledger, project, RUNS[0])
    (put,) = worked(ledger, project)
    assert put.result is not None and put.result.waits_for == "ann"
    (left,) = queue(ledger.database)
    assert (left.state, left.left) == ("waiting", None)
    assert worked(ledger, project) == [], "nobody has written"
    anyio.run(lambda: answer(ledger, RUNS[0], Says(0.0, name="ann")))
    (put,) = worked(ledger, project)
    assert put.result is not None and put.result.status == "waiting"
    anyio.run(lambda: answer(ledger, RUNS[0], Says(0.0, name="ann")))
    (put,) = worked(ledger, project)
    assert put.result is not None and put.result.status == "finished"


def test_what_is_written_while_a_run_is_put_down_wakes_it_all_the_same(
    ledger: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look at the run and the row that says that it waits."""
    project, put_down = asking(tmp_path), audition.worker._put_down

    def late(*args: object) -> None:
        monkeypatch.setattr(audition.worker, "_put_down", put_down)
        anyio.run(lambda: answer(other, RUNS[0], Says(1.0, name="ann")))
        put_down(*args)  # type: ignore[arg-type]

    queued(ledger, project, RUNS[0])
    monkeypatch.setattr(audition.worker, "_put_down", late)
    with SqlLedger.open(ledger.database.name, signer=KEY) as other:
        told = worked(ledger, project)
    assert [one.result.waits_for for one in told if one.result] == ["ann", "ann"]
    assert len(list(bodies(ledger, RUNS[0], AuditRecorded))) >= 2


def test_a_deadline_wakes_a_run_that_nobody_writes_to(ledger: SqlLedger, tmp_path: Path) -> None:
    project = asking(tmp_path, within=1.0)
    queued(ledger, project, RUNS[0])

    async def body() -> None:
        stop, told = anyio.Event(), list[Carrying]()

        def tell(one: Carrying) -> None:
            told.append(one)
            if len(told) > 1:
                stop.set()

        with anyio.fail_after(60):
            await work([project], ledger, stop=stop, tell=tell)

    anyio.run(body)
    late = [one.failure.kind for one in bodies(ledger, RUNS[0], AuditRecorded) if one.failure]
    assert late[0] == "late"
    assert written(tmp_path) == []


def test_a_run_that_cannot_be_carried_is_told_and_tried_again_later(
    ledger: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise OSError("no such device")

    project = planned(tmp_path)
    queued(ledger, project, RUNS[0])
    change(ledger.database.name, "UPDATE work SET attempts = 5")  # so that later is not soon
    monkeypatch.setattr(audition.worker, "run", fails)
    told = worked(ledger, project)
    assert [(one.result, one.why) for one in told] == [(None, "OSError: no such device")]
    (left,) = queue(ledger.database)
    assert (left.state, left.attempts, left.note) == ("waiting", 6, "OSError: no such device")
    assert left.left is not None and left.left > 0


def test_a_run_that_another_has_claimed_is_put_down_after_its_stage(
    ledger: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the other has written nothing yet that would stop this worker."""
    heard, renew, times = anyio.Event(), Claims.renew, list[Claims]()

    class Thinks(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            taken = f"worker = 'other', generation = 7, until = {now() + 3_600_000_000}"
            change(ledger.database.name, f"UPDATE work SET {taken}")
            await heard.wait()
            return await super().think(history, box)

    def tells(self: Claims) -> dict[str, int]:
        times.append(self)
        if len(times) > 2:  # what the one before said has been taken note of
            anyio.from_thread.run_sync(heard.set)
        return renew(self)

    monkeypatch.setattr(Claims, "renew", tells)
    project = replace(planned(tmp_path), thinker=Thinks(note("a"), note("b")))
    queued(ledger, project, RUNS[0])
    (put,) = worked(ledger, project, lease=1.5)
    assert put.result is not None and put.result.waits_for == "worker"
    (left,) = queue(ledger.database)
    assert (left.state, left.worker) == ("held", "other"), "it is the other's, and was left alone"


def test_nobody_settles_an_act_that_a_worker_has_under_way(
    ledger: SqlLedger, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path / "home"))
    seen: list[str] = []

    def look() -> None:
        seen.append(CliRunner().invoke(app, ["pending", where]).stdout)
        settling = ["settle", where, RUNS[0], "--did-not", "--by", "ann"]
        refused = CliRunner().invoke(app, settling).exception
        assert isinstance(refused, Stop)
        seen.append(refused.line)

    class Looks(Logs):
        async def act(self, ticket: Ticket) -> Outcome:
            await anyio.to_thread.run_sync(look)
            return await super().act(ticket)

    judged = rehearsal.project(tmp_path, note("a"), executors=[Looks(tmp_path / "log")])
    queued(ledger, judged, RUNS[0])
    assert [one.result.status for one in worked(ledger, judged) if one.result] == ["finished"]
    pending, refused = seen
    assert "an act is under way at " in pending and "audition settle" not in pending
    assert f"run {RUNS[0]} is held by " in refused and len(refused.splitlines()) == 1
    assert not list(bodies(ledger, RUNS[0], ActSettled))


def test_an_act_without_outcome_is_told_from_one_in_doubt(
    ledger: SqlLedger, where: str, tmp_path: Path
) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(CliRunner().invoke(app, ["pending", where]).stdout)

    class Looks(Logs):
        async def act(self, ticket: Ticket) -> Outcome:
            await anyio.to_thread.run_sync(look)
            return Outcome(status="unknown", output="the line went dead")

    judged = rehearsal.project(tmp_path, note("a"), executors=[Looks(tmp_path / "log")])
    rehearsal.carried(judged, ledger)
    look()
    begun, doubted = seen
    assert "an act has begun and has no outcome: it is under way, or in doubt" in begun
    assert "an act is in doubt; did it happen?" in doubted
    assert whom(list(waiting(ledger))) == "a word on an act that has begun and has no outcome"
    assert all("--happened|--did-not" in one for one in seen)


# -------------------------------------------------------------------------------- many processes


class Workforce:
    """Workers as processes of their own, which all speak into one pipe."""

    def __init__(self, where: str, folder: Path) -> None:
        self._where, self._folder = where, folder
        self._ear, self._mouth = os.pipe()
        self._lines = os.fdopen(self._ear)
        self.processes: list[subprocess.Popen[bytes]] = []
        os.mkfifo(folder / "go")

    def let_go(self) -> None:
        """Whoever holds its first thought has it now."""
        (self._folder / "go").write_text("go")

    def hire(self, lease: float, runs: int, hold: str = "") -> subprocess.Popen[bytes]:
        words = [sys.executable, str(SCRIPT), self._where, str(self._folder), str(lease), str(runs)]
        path = os.pathsep.join([str(SCRIPT.parent), *(one for one in sys.path if one)])
        self.processes.append(
            subprocess.Popen(
                [*words, hold] if hold else words,
                stdout=self._mouth,
                env=os.environ | {"PYTHONPATH": path},
            )
        )
        return self.processes[-1]

    def heard(self) -> tuple[int, list[str]]:
        """The next line: whose, and its words."""
        pid, *words = self._lines.readline().split()
        return int(pid), words

    def until(self, pid: int, *words: str) -> list[str]:
        """Listen until this worker says so; all its words."""
        while True:
            who, said = self.heard()
            if who == pid and said[: len(words)] == list(words):
                return said

    def dismiss(self) -> None:
        for one in self.processes:
            one.send_signal(signal.SIGCONT)
            one.terminate()
        for one in self.processes:
            one.wait(120)
        os.close(self._mouth)
        self._lines.close()


@pytest.fixture
def workforce(where: str, tmp_path: Path) -> Iterator[Workforce]:
    made = Workforce(where, tmp_path)
    yield made
    made.dismiss()


def test_what_a_killed_worker_held_is_taken_over_and_nothing_is_done_twice(
    ledger: SqlLedger, where: str, tmp_path: Path, workforce: Workforce
) -> None:
    queued(ledger, planned(tmp_path), *RUNS)
    many = 4 if where.startswith("postgresql") else 2
    victim = workforce.hire(3, 2)
    workforce.until(victim.pid, "acting")
    victim.kill()
    victim.wait()
    for _ in range(many - 1):
        workforce.hire(30, 2)
    ended: list[str] = []
    while len(ended) < len(RUNS):
        _, said = workforce.heard()
        if said[0] == "put" and said[2:] == ["waiting", "settle"]:
            _settle(ledger, tmp_path, said[1])
        elif said[0] == "put" and said[2] == "finished":
            ended.append(said[1])
    assert sorted(ended) == RUNS
    doubted = sum(len(list(bodies(ledger, run, ActInDoubt))) for run in RUNS)
    acts = Counter(written(tmp_path))
    assert set(acts.values()) == {1}, "an act was done twice"
    assert len(RUNS) * ACTS - doubted <= len(acts) <= len(RUNS) * ACTS


def test_a_worker_that_slept_beyond_its_lease_does_nothing_more(
    ledger: SqlLedger, tmp_path: Path, workforce: Workforce
) -> None:
    queued(ledger, planned(tmp_path), RUNS[0])
    sleeper = workforce.hire(3, 1, "hold")
    workforce.until(sleeper.pid, "thinking")
    sleeper.send_signal(signal.SIGSTOP)
    other = workforce.hire(30, 1)
    assert workforce.until(other.pid, "put")[2] == "finished"
    before = list(ledger.read(RUNS[0]))
    sleeper.send_signal(signal.SIGCONT)
    workforce.let_go()
    said = workforce.until(sleeper.pid, "put")
    assert said[2] == "lost" or said[2] == "finished", "it found the run ended, or carried"
    assert list(ledger.read(RUNS[0])) == before
    assert Counter(written(tmp_path)) == Counter(f"{RUNS[0]} act {n}" for n in range(ACTS))


def test_a_worker_that_is_told_to_end_puts_its_runs_down_for_others(
    ledger: SqlLedger, tmp_path: Path, workforce: Workforce
) -> None:
    queued(ledger, planned(tmp_path), RUNS[0])
    first = workforce.hire(30, 1, "hold")
    workforce.until(first.pid, "thinking")
    first.terminate()
    workforce.let_go()
    assert workforce.until(first.pid, "put")[2:] == ["waiting", "worker"]
    assert first.wait(120) == 0
    (left,) = queue(ledger.database)
    assert left.state == "ready", "nobody has to wait for its lease"
    other = workforce.hire(30, 1)
    assert workforce.until(other.pid, "put")[2] == "finished"


def _settle(ledger: SqlLedger, folder: Path, run: str) -> None:
    (asked,) = (one for one in waiting(ledger) if one.run == run)
    assert asked.proposal.kind == "act"
    happened = f"{run} {asked.proposal.arguments['text']}" in written(folder)
    anyio.run(lambda: settle(ledger, run, happened=happened, by="tester"))
