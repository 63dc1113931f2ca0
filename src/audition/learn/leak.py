"""What a probe of the boundary reports: the ways in which something reached a lesson."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Source = Literal["after", "beside", "before"]
"""Whence: later than the step, from another lane, or through what was carried over into it."""


class ProbeError(ValueError):
    """Nothing can be measured; the message says why."""


@dataclass(frozen=True)
class Leak:
    """One way in which something reached a lesson that must not."""

    found: Literal["gradient", "difference", "bits", "update"]
    """How it showed."""
    source: Source
    """Whence."""
    array: str
    """Which array it came by; `everything` if no single one shows it."""
    lane: int
    """Whose lesson: the lane …"""
    step: int
    """… and the step, from 0."""
    size: float
    """The largest derivative (gradient, difference), change of a contribution (bits), or change
    relative to the largest gradient (update)."""

    def __str__(self) -> str:
        whence = {"after": "after it", "beside": "in other lanes", "before": "before it"}
        return (
            f"step {self.step} of lane {self.lane} is reached by {self.array} "
            f"{whence[self.source]} ({self.found}, {self.size:.3g})"
        )


@dataclass(frozen=True)
class Report:
    """What a probe found."""

    lessons: int
    """Rows looked at."""
    measured: tuple[str, ...]
    """How: `gradient`, `difference`, `bits`, `update`."""
    leaks: tuple[Leak, ...]
    """The largest of each kind, source and array; the largest of all first."""
    unmeasured: str = ""
    """Why something could not be measured that should have been."""

    @classmethod
    def of(
        cls, lessons: int, measured: tuple[str, ...], found: Iterable[Leak], unmeasured: str = ""
    ) -> Report:
        """The report of all that was found."""
        kinds: dict[tuple[str, str, str], Leak] = {}
        for leak in found:
            kind = (leak.found, leak.source, leak.array)
            if kind not in kinds or leak.size > kinds[kind].size:
                kinds[kind] = leak
        leaks = tuple(sorted(kinds.values(), key=lambda leak: -leak.size))
        return cls(lessons, measured, leaks, unmeasured)

    @property
    def tight(self) -> bool:
        """Whether all was measured and nothing leaked."""
        return not self.leaks and not self.unmeasured

    @property
    def worst(self) -> Leak | None:
        """The largest leak."""
        return self.leaks[0] if self.leaks else None

    def __str__(self) -> str:
        how = f"{self.lessons} lessons, by {', '.join(self.measured)}"
        if self.worst is not None:
            return f"leaks: {self.worst}; the worst of {len(self.leaks)} kinds in {how}"
        if self.unmeasured:
            return f"not measured: {self.unmeasured}; nothing found in {how}"
        return f"tight: {how}"
