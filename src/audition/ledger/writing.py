"""What a group of events is written by, whichever database it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

Row = tuple[int, int, int, bytes, bytes]
"""Index, number of the run, number in the run, leaf and bytes of an event."""


class Writing(ABC):
    """A transaction that writes a group of events: nobody else writes until it ends.

    Args:
        connection: where it goes on.
    """

    size: int
    """Events that there are."""
    peaks: bytes
    """The tree's edge."""
    new: int
    """How many contents were not there."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    @abstractmethod
    def places(self, runs: Collection[bytes]) -> dict[bytes, Any]:
        """Of each of these runs that is here: its number, and the number of its last event."""

    @abstractmethod
    def append(self, rows: Sequence[Row]) -> None:
        """Insert events; what stands in the way may be heard of at the end only."""

    @abstractmethod
    def end(self, size: int, peaks: bytes, note: str | None) -> None:
        """Write the tree's new edge and its checkpoint; no error means that it may be committed."""
