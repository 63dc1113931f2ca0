"""The benchmark of durable steps measures what it says, as far as it needs no peers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rehearsal

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
syncs, system = import_module("durable.syncs"), import_module("durable.system")


def test_acts_and_approvals_are_as_many_as_are_counted_and_the_floor_writes_the_same_rows(
    tmp_path: Path,
) -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)
    size = {"runs": 2, "steps": 2, "variant": None}
    with system.System("audition") as ours, system.System("floor") as floor:
        acts = ours.ask(what="acts", path=str(tmp_path / "acts.db"), **size)
        once_more = {"path": str(tmp_path / "floor.db"), "of": str(tmp_path / "acts.db")}
        least = floor.ask(what="acts", **once_more, **size)
        for variant in ("signed", "enrolled"):
            path = str(tmp_path / f"{variant}.db")
            approved = ours.ask(what="approvals", path=path, **size | {"variant": variant})
            assert approved["verified"] and approved["count"] == 4
    assert acts["verified"] and acts["count"] == least["count"] == 4
    for table in ("runs", "events", "contents", "checkpoints"):
        assert rows(tmp_path / "floor.db", table) == rows(tmp_path / "acts.db", table)


def test_a_system_that_is_not_there_is_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(system.SCRIPTS, "absent", str(tmp_path / "absent.py"))
    with system.System("absent") as absent, pytest.raises(system.Skipped, match="absent ended"):
        absent.ask(what="acts")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_shim_makes_every_sync_take_its_time(tmp_path: Path) -> None:
    environment = {"LD_PRELOAD": str(syncs.compiled(tmp_path))}
    with system.System("floor", environment=environment) as slowed:
        assert slowed.ask(what="sync", path=str(tmp_path / "file"))["sync_ms"] >= syncs.DELAY_MS


def test_only_syncs_that_begin_in_the_time_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "7 1.5 fdatasync(3)  = 0\n"
        "7 2.5 fdatasync(3 <unfinished ...>\n"
        "8 2.6 fsync(4)      = 0\n"
        "7 2.7 <... fdatasync resumed>) = 0\n"
        "7 2.8 --- SIGCHLD {si_signo=SIGCHLD} ---\n"
        "7 3.5 fdatasync(3)  = 0\n"
    )
    assert syncs.counted(log, 2.0, 3.0) == 2


def test_a_section_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "durable_steps.py"), "--only", "acts,nothing"],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 2 and "'nothing' is none of" in done.stderr and not done.stdout


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as database:
        found = database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    database.close()
    return found
