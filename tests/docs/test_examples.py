"""The code on the pages runs, and prints what the pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rehearsal

ROOT = Path(__file__).parents[2]


def code(page: str) -> str:
    """The longest Python block of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return max(blocks, key=len)


@pytest.mark.parametrize(
    ("page", "prints"),
    [("README.md", "True"), ("docs/extending.md", "finished rejected 1 of 3 True")],
)
def test_the_example_of_a_page_runs_as_printed(tmp_path: Path, page: str, prints: str) -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)
    script = tmp_path / "example.py"
    script.write_text(code(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "AUDITION_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert prints in done.stdout


def test_the_review_of_the_front_page_prints_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"^audition (review .*?) +#", page, flags=re.MULTILINE)
    (printed,) = re.findall(r"```text\n(Flagged.*?)```", page, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-m", "audition", *words.split(), "--ledger", tmp_path / "review.db"],
        cwd=ROOT,
        env={**os.environ, "AUDITION_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed in done.stdout
