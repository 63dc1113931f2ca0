"""A savepoint: where a run stood between two steps, so that nobody reads it from its beginning.

It says nothing that the events before it do not say; `verify` holds it against them. Its entries
are those since the savepoint before it, which it names: together they are the whole history.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from audition.ledger.events import KeyEnrolled, PlantSealed, TranscriptRecorded
from audition.step import Digest, Frozen, Micros, Usage, after

PACES = 64
"""Thoughts of which it is remembered how they showed."""


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
    frames: tuple[Frame, ...] = Field(min_length=1)
    """Open steps, the root first."""
    spent: Usage
    """What thinking has cost so far."""
    box: Digest | None = None
    """Digest of the box's state at the last thought."""
    state: Digest | None = None
    """Archive of that state."""
    seal: PlantSealed | None = None
    """What was sealed of the steps that are planted, if any are."""
    paces: tuple[tuple[Micros, bool], ...] = ()
    """How the last thoughts showed, where steps are planted: after how long each came, and whether
    it changed the box."""
    keys: tuple[KeyEnrolled, ...] = ()
    """Keys that the run was told of and that were not revoked."""
    entries: tuple[Entry, ...] = ()
    """What entered the history since the savepoint before this one."""
    earlier: Digest | None = None
    """That savepoint, if there is one."""
