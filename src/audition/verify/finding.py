"""What verification finds, and where: one line each, the first ones kept, all of them counted."""

from __future__ import annotations

from typing import NamedTuple

from audition.plain import shown
from audition.step import Event, Frozen

KEPT = 100
"""Findings that are kept; further ones are counted."""

OF_A_RUN = 20
"""Findings about one run that are kept beside."""


class Place(NamedTuple):
    """Where an event stands: its index in the ledger, its run, its number there, its kind."""

    number: int
    run: str | None = None
    seq: int | None = None
    kind: str | None = None


Read = tuple[int, Event]
"""An event that was read, after its index in the ledger."""


class Finding(Frozen):
    """Something in a ledger that should not be there, or is missing."""

    guarantee: int
    """Number of the guarantee that it breaks (10 where the ledger itself was altered)."""
    says: str
    """What is wrong, in one line."""
    index: int | None = None
    """Index of the event; the first that may be wrong where `until` is given; None if unknown."""
    until: int | None = None
    """Last event that may be wrong, where the exact one cannot be told."""
    run: str | None = None
    """The event's run, as far as it can be read."""
    seq: int | None = None
    """The event's number in its run."""
    kind: str | None = None
    """The event's kind."""

    def __str__(self) -> str:
        where = "ledger" if self.index is None else f"event {self.index}"
        if self.until is not None:
            where = f"events {self.index} to {self.until}"
        if self.run is not None:
            where += f" (run {self.run[:8]}, seq {self.seq}, {self.kind or 'unreadable'})"
        return f"{where}: {self.says} [guarantee {self.guarantee}]"


class Findings:
    """The findings of one verification."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.of_run: dict[str, list[Finding]] = {}
        """The first findings about each run."""
        self.total = 0
        self.first: Finding | None = None
        """That about the earliest event."""
        self.here: Place | Read | None = None
        """The event under examination."""

    def add(
        self, guarantee: int, says: str, *, at: Place | None = None, until: int | None = None
    ) -> None:
        """Count a finding, about `at` or the event under examination."""
        place = at or place_of(self.here or Place(-1))
        finding = Finding(
            guarantee=guarantee,
            says=shown(says, 300),
            index=place.number if place.number >= 0 else None,
            until=until,
            run=place.run,
            seq=place.seq,
            kind=place.kind,
        )
        self.total += 1
        if len(self.kept) < KEPT:
            self.kept.append(finding)
        if finding.run is not None:
            about = self.of_run.setdefault(finding.run, [])
            if len(about) < OF_A_RUN:
                about.append(finding)
        if self.first is None or _rank(finding) < _rank(self.first):
            self.first = finding


def place_of(where: Place | Read) -> Place:
    """Where an event stands that was read."""
    if isinstance(where, Place):
        return where
    index, event = where
    return Place(index, event.run, event.seq, event.body.kind)


def _rank(finding: Finding) -> float:
    """An event comes before the interval that holds it."""
    if finding.index is None:
        return float("inf")
    return finding.index if finding.until is None else finding.until + 0.5
