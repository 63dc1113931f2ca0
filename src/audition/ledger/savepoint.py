"""A savepoint: where a run stood between two steps, so that nobody reads it from its beginning.

It says nothing that the events before it do not say; `verify` makes it again from them. Its entries
are those since the savepoint before it, which it names: together they are the whole history. They
chain to `history`, which every later moment names, so that who reads them needs to trust nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from audition.ledger.events import KeyEnrolled, PlantSealed, TranscriptRecorded
from audition.step import Digest, Frozen, Micros, Usage, after

PACES = 64
"""Thoughts of which it is remembered how they showed."""

ENTRIES = 256
"""Entries of one savepoint; a run that is saved in time has fewer."""

LARGEST = 1 << 20
"""Bytes of one savepoint."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An open step of the decomposition."""

    place: str
    opened_by: Digest
    children: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a history, by digest."""

    message: TranscriptRecorded | None = None
    number: int = 0
    attempt: int = 0
    place: str = ""
    thought: Digest | None = None
    proposal: Digest = ""
    action: str = ""
    outcome: Digest | None = None

    def chained(self, history: Digest) -> Digest:
        """The history that follows `history` by this entry (`audition.step.after`)."""
        if self.message is not None:
            said = self.message.model_dump(exclude_none=True)
            return after(history, {"message": said})
        turn = {
            "number": self.number,
            "attempt": self.attempt,
            "place": self.place,
            "proposal": self.proposal,
            "action": self.action,
        }
        if self.thought is not None:
            turn["thought"] = self.thought
        if self.outcome is not None:
            turn["outcome"] = self.outcome
        return after(history, {"turn": turn})


class Savepoint(Frozen):
    """Where a live run stands when no step is under way."""

    turns: int = Field(ge=1)
    """Steps begun, the planted ones among them."""
    planted: int = Field(default=0, ge=0)
    """Planted steps that were opened."""
    length: int = Field(ge=0)
    """Entries of the history."""
    history: Digest
    """Chained digest of all that is complete."""
    before: Digest | None = None
    """The same without the newest entry, if there is one."""
    frames: tuple[Frame, ...] = Field(min_length=1, max_length=ENTRIES)
    """Open steps, the root first."""
    spent: Usage
    """What thinking has cost so far."""
    box: Digest | None = None
    """Digest of the box's state at the last thought."""
    state: Digest | None = None
    """Archive of that state."""
    seal: PlantSealed | None = None
    """What was sealed of the steps that are planted, if any are."""
    paces: tuple[tuple[Micros, bool], ...] = Field(default=(), max_length=PACES)
    """How the last thoughts showed, where steps are planted: after how long each came, and whether
    it changed the box."""
    keys: tuple[KeyEnrolled, ...] = Field(default=(), max_length=ENTRIES)
    """Keys that the run was told of and that were not revoked."""
    since: Digest
    """The history as it was at the savepoint before this one, or as the run began."""
    entries: tuple[Entry, ...] = Field(default=(), max_length=ENTRIES)
    """What entered it since then."""
    earlier: Digest | None = None
    """That savepoint, if there is one."""

    @classmethod
    def read(cls, data: bytes) -> Savepoint:
        """The savepoint that these bytes are, if its entries lead to its history.

        Raises:
            ValueError: they are none, or the entries do not.
        """
        if len(data) > LARGEST:
            raise ValueError(f"{len(data)} bytes; at most {LARGEST}")
        point = cls.parse(data)
        history, before = point.since, point.before
        for entry in point.entries:
            history, before = entry.chained(history), history
        if (history, before) != (point.history, point.before):
            raise ValueError("its entries do not lead to its history")
        return point
