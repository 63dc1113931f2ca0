"""The page on witnesses: its script runs as it stands there, and its witness co-signs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/witness.md").read_text(encoding="utf-8")


def test_the_page_s_script_ends_in_a_ledger_that_its_witness_co_signed(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    command = tmp_path / "bin" / "audition"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m audition "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("co-signed: ") and said[1].startswith("VERIFIED  runs.db")
    assert any(line.endswith("co-signed by the witnesses asked for") for line in said)
    assert not any(line.startswith("not checked") for line in said)
