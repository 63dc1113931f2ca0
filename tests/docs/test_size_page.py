"""The page on size: its arithmetic comes to what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "size.md"


def test_the_arithmetic_prints_what_the_page_says() -> None:
    blocks = dict(re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", blocks["python"]], capture_output=True, text=True, check=True
    )
    assert done.stdout == blocks["text"]
