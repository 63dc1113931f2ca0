"""Savepoints say what the events before them say: a run that went on from one lost nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from audition.ledger.events import KeyEnrolled, PlantSealed, RunSaved, StepThought
from audition.ledger.savepoint import PACES, Frame, Savepoint
from audition.step import Digest, Micros, Usage
from audition.verify.case import Case

NOTHING_LOST = 9
"""Number of the guarantee: nothing lost, nothing twice."""


class Savepoints:
    """What the next savepoint of one run must say, as far as only savepoints say it.

    Args:
        case: the run.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._newest: Digest | None = None
        self._since = case.history
        """The history at that savepoint."""
        self._spent = Usage()
        self._paces: deque[tuple[Micros, bool]] = deque(maxlen=PACES)
        self._states: tuple[Digest | None, Digest | None] = (None, None)
        """The box's archive before the last thought and after it."""

    def thought(self, body: StepThought, pace: Micros, *, changed: bool, planting: bool) -> None:
        """A thought came so long after the event before it."""
        self._states = self._states[1], body.state
        if body.usage is not None:
            self._spent = Usage.total((self._spent, body.usage))
            if planting:
                self._paces.append((pace, changed))

    def dropped(self) -> None:
        """The last thought was planted: it changed nothing."""
        self._states = self._states[0], self._states[0]

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
        """The run is saved here, where its events say this."""
        case = self._case
        earlier, self._newest = self._newest, body.savepoint
        since, self._since = self._since, case.history
        data = case.contents.data(body.savepoint)
        if data is None:  # whether it may be gone is for `Contents` to say
            case.tally.savepoints_unread += 1
            return
        try:
            point = Savepoint.parse(data)
            exact = point.canonical() == data
        except ValueError:
            exact, point = False, None
        if point is None or not exact:
            case.found(NOTHING_LOST, "what the run was saved as is no savepoint")
            return
        history = since
        for entry in point.entries:
            history = entry.chained(history)
        if history != case.history:
            case.found(NOTHING_LOST, "the savepoint's entries are not those of the run since then")
        for field, due in (
            ("turns", case.turn),
            ("planted", planted),
            ("length", case.length),
            ("history", case.history),
            ("before", case.before),
            ("frames", tuple(frames)),
            ("spent", self._spent),
            ("box", box),
            ("state", self._states[1]),
            ("seal", seal),
            ("paces", tuple(self._paces)),
            ("keys", tuple(keys)),
            ("earlier", earlier),
        ):
            if getattr(point, field) != due:
                case.found(NOTHING_LOST, f"the savepoint's {field} is not that of the run here")
