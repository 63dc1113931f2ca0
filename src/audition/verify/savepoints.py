"""Savepoints say what the events before them say: a run that went on from one lost nothing.

Where a run stands is wholly told by its events, and so is the name of its savepoint. It is made
here again; the content beside the events is looked at only to say what is wrong with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from operator import add, attrgetter
from typing import Any

from audition.canonical import digest_bytes, loads
from audition.ledger.events import KeyEnrolled, PlantSealed, RunResumed, RunSaved, StepThought
from audition.ledger.savepoint import ENTRIES, LARGEST, PACES, Entry, Frame, Savepoint
from audition.step import MOST, Digest, Micros, Usage
from audition.verify.case import Case, Disorder

NOTHING_LOST = 9
"""Number of the guarantee: nothing lost, nothing twice."""

_COSTS = attrgetter(*Usage.model_fields)


class Savepoints:
    """What the next savepoint of one run must say, as far as only savepoints say it.

    Args:
        case: the run.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._newest: Digest | None = None
        self._kept = 0
        self._since = case.history
        self._entries: deque[Any] = deque(maxlen=ENTRIES)
        self._spent = _COSTS(Usage())
        self._paces: deque[tuple[Micros, bool]] = deque(maxlen=PACES)
        self._states: tuple[Digest | None, Digest | None] = (None, case.opened.state)
        """The box's archive before the last thought and after it."""

    def thought(self, body: StepThought, pace: Micros, *, changed: bool, planting: bool) -> None:
        """A thought came so long after the event before it."""
        self._states = self._states[1], body.state
        if body.usage is not None:
            self._spent = tuple(map(add, self._spent, _COSTS(body.usage)))
            if planting:
                self._paces.append((pace, changed))

    def dropped(self) -> None:
        """The last thought was planted: it changed nothing."""
        self._states = self._states[0], self._states[0]

    def entered(self, turn: Any) -> None:
        """A step entered the history, as the history tells it."""
        self._entries.append(turn)

    def resumed(self, body: RunResumed) -> None:
        """Whoever took the run up stood on the savepoint that its events name."""
        if body.savepoint != self._newest:
            self._case.found(NOTHING_LOST, "taken up from another savepoint than the newest")

    def saved(
        self,
        body: RunSaved,
        *,
        frames: Sequence[Frame],
        box: Digest | None,
        seal: PlantSealed | None,
        planted: int,
        keys: Iterable[KeyEnrolled],
    ) -> None:
        """The run is saved here, where its events say this.

        Raises:
            Disorder: so late, or under so many keys, that it could not have been.
        """
        case = self._case
        if case.length - self._kept > ENTRIES:
            raise Disorder(NOTHING_LOST, f"more than {ENTRIES} steps entered since it was saved")
        try:
            due = Savepoint(
                turns=case.turn,
                planted=planted,
                length=case.length,
                history=case.history,
                before=case.before,
                frames=tuple(frames),
                spent=self._cost(),
                box=box,
                state=self._states[1],
                seal=seal,
                paces=tuple(self._paces),
                keys=tuple(keys),
                since=self._since,
                entries=tuple(Entry(**turn) for turn in self._entries),
                earlier=self._newest,
            ).canonical()
        except ValueError:
            raise Disorder(NOTHING_LOST, "saved where no savepoint can say how it stands") from None
        if digest_bytes(due) != body.savepoint:
            case.found(NOTHING_LOST, f"the savepoint's {self._amiss(body.savepoint, due)}")
        self._newest, self._kept, self._since = body.savepoint, case.length, case.history
        self._entries.clear()

    def _cost(self) -> Usage:
        """As `Usage.total` has it."""
        pairs = zip(Usage.model_fields, self._spent, strict=True)
        return Usage(**{name: min(MOST, cost) for name, cost in pairs})

    def _amiss(self, savepoint: Digest, due: bytes) -> str:
        """What a savepoint says that the run did not come to."""
        data = self._case.contents.data(savepoint)
        try:
            said = loads(data) if data is not None and len(data) <= LARGEST else None
        except ValueError:
            said = None
        if not isinstance(said, dict):
            return "content is no savepoint that the run could have here"
        ought: dict[str, Any] = loads(due)
        for field in Savepoint.model_fields:
            if said.get(field) != ought.get(field):
                return f"{field} is not that of the run here"
        return "form is not as it is written"
