"""The commands of the page about workers do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rehearsal

PAGE = Path(__file__).parents[2] / "docs" / "workers.md"


def test_the_commands_of_the_page_carry_what_they_put_in_the_queue(tmp_path: Path) -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)
    (commands, *_) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "AUDITION_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "3 runs ended, 0 runs put down\nnothing waits\nVERIFIED" in done.stdout
