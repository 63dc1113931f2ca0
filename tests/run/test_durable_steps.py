"""The benchmark of durable steps measures what it says, as far as it needs no peers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rehearsal

WHERE = Path(__file__).parents[2] / "benchmarks" / "durable_steps.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("durable_steps", WHERE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["durable_steps"] = module
    spec.loader.exec_module(module)
    return module


bench = loaded()


def test_acts_and_approvals_are_as_many_as_are_counted_and_the_floor_writes_the_same_rows(
    tmp_path: Path,
) -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)
    size = {"runs": 2, "steps": 2, "variant": None}
    with bench.System("audition") as ours, bench.System("floor") as floor:
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


def test_a_system_that_is_not_there_is_skipped_with_a_reason(tmp_path: Path) -> None:
    bench.SCRIPTS["absent"] = str(tmp_path / "absent.py")
    with bench.System("absent") as absent, pytest.raises(bench.Skipped, match="absent ended"):
        absent.ask(what="acts")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_shim_makes_every_sync_take_its_time(tmp_path: Path) -> None:
    environment = {"LD_PRELOAD": str(bench.compiled(tmp_path))}
    with bench.System("floor", environment=environment) as slowed:
        assert slowed.ask(what="sync", path=str(tmp_path / "file"))["sync_ms"] >= bench.DELAY_MS


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
    assert bench.counted(log, 2.0, 3.0) == 2


def test_a_section_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(WHERE), "--only", "acts,nothing"],
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
