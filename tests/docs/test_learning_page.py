"""The programs on the pages about learning run, and print what stands below their parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rehearsal

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["learning.md", "groups.md", "exports.md", "trained-auditors.md"])
def test_the_page_s_program_prints_what_the_page_says(tmp_path: Path, page: str) -> None:
    if page == "exports.md" and (why := rehearsal.no_box()):
        pytest.skip(why)
    text = (DOCS / page).read_text(encoding="utf-8")
    parts: list[str] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    printed: list[str] = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text("\n".join(parts), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(printed)
