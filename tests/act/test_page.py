"""The page about executors: its program prints what it says, and its setups are read as printed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rehearsal
from audition.act import Tools

PAGE = (Path(__file__).parents[2] / "docs" / "executors.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_program_of_the_page_prints_what_the_page_says(tmp_path: Path) -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == blocks("text")[0]


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_setups_of_the_page_are_read_as_they_stand(text: str) -> None:
    Tools.model_validate(tomllib.loads(text.replace('"…"', f'"{"0" * 64}"'))["tools"])
