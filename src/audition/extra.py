"""What brings an optional part of Audition: one wording, wherever the part is missing."""

from __future__ import annotations

from typing import Literal


def installing(extra: Literal["inspect", "learn", "postgres", "serve"]) -> str:
    """The command that installs an extra beside what is installed."""
    return f"pip install 'audition[{extra}]'"
