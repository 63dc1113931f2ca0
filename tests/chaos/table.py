"""Prints the table of faults for `docs/durability.md`; a test compares the two.

python tests/chaos/table.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fault import Fault

SHORT = {"sqlite": "S", "postgresql": "P"}


def table(faults: Sequence[Fault]) -> Iterator[str]:
    """Its lines."""
    yield "| fault | on | its test fails if |"
    yield "|---|---|---|"
    for one in faults:
        where = " ".join(SHORT[database] for database in one.databases)
        yield f"| {one.name} | {where} | {'; '.join(one.without) or '(not ours)'} |"


if __name__ == "__main__":
    sys.path.insert(1, str(Path(__file__).parents[1]))
    from test_faults import FAULTS

    print("\n".join(table(FAULTS)))
