"""What a fault is: one entry in the tables of `kills.py`, `processes.py`, `storage.py` …"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from world import World

BOTH = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Fault:
    """One thing that goes amiss at one place."""

    name: str
    """What goes amiss, and where."""
    play: Callable[[World], None]
    """Does it; the judge comes after."""
    without: tuple[str, ...]
    """Names of the weakenings, with each of which its test fails."""
    databases: tuple[str, ...] = BOTH
    """Where it can happen."""
    judged: bool = True
    """Whether the runs are recovered as after any fault; False: `play` says what must hold."""
    quick: bool = True
    """Whether the default form of the suite plays it; False: only the full one."""
