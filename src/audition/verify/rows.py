"""Whether each row of a ledger is the event that it says: leaf, form, run and number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audition.ledger import EventError, parse_event
from audition.ledger.events import REGISTER
from audition.ledger.tree import leaf_hash, leaf_hashes
from audition.verify.finding import Findings, Place, Read

NAMES = 10_000
"""Runs whose names are remembered as they stand in events, and numbers in them."""

_NUMBERS = [b"%d}" % number for number in range(NAMES)]


class Rows:
    """Reads rows (index, run, seq, leaf, data), of each run all of them and in order.

    Args:
        findings: where to report.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._next: dict[bytes, int] = {}
        self.elsewhere = 0
        """Events that only an archive has."""
        self._ends: dict[bytes, bytes] = {}

    @property
    def runs(self) -> int:
        """Runs whose events were read."""
        return len(self._next.keys() - {bytes.fromhex(REGISTER)})

    def read(self, rows: Sequence[Any], *, agreed: bool, parsed: bool = True) -> list[Read]:
        """The events in these rows, as far as there are any.

        Args:
            rows: the next ones.
            agreed: whether each leaf is known to be the hash of what stands beside it.
            parsed: whether the events are read also where nothing is amiss, as far as can be said
                without reading them.
        """
        if agreed and (following := self._numbered(rows)) is not None:
            try:
                found = [(row[0], parse_event(row[4])) for row in rows] if parsed else []
            except EventError:
                pass
            else:
                self._next.update(following)
                return found
        return [one for row in rows if (one := self._row(*row)) is not None]

    def _numbered(self, rows: Sequence[Any]) -> dict[bytes, int] | None:
        """The number that each run goes on with; None where something is amiss.

        A canonical event ends in its run and its number: what ends otherwise is to be read.
        """
        if len(self._ends) > NAMES:
            self._ends.clear()
        following: dict[Any, int] = {}
        of, due, end = ..., 0, b""
        for _, run, seq, _, data in rows:
            if run != of:  # a run's events stand together, as they were written
                following[of] = due
                if type(run) is not bytes:
                    return None
                of, due = run, following.get(run, self._next.get(run, 0))
                if run not in self._ends:
                    self._ends[run] = b',"run":"%b","seq":' % run.hex().encode()
                end = self._ends[run]
            number = _NUMBERS[due] if due < NAMES else b"%d}" % due
            if seq != due or type(seq) is not int or not data.endswith(end + number):
                return None
            due += 1
        following[of] = due
        del following[...]
        return following

    def _row(self, index: Any, run: Any, seq: Any, leaf: Any, data: Any) -> Read | None:
        name = run.hex() if isinstance(run, bytes) else None
        seq = seq if isinstance(seq, int) else None
        number = index if isinstance(index, int) else -1
        self._findings.here = Place(number, name, seq)
        if name is not None and seq is not None and let_go(leaf, data):
            self._next[run] = seq + 1
            self.elsewhere += 1
            return None
        if not proper(leaf, data):
            self._findings.add(10, "the row holds no event and leaf hash")
            return None
        if leaf_hash(data) != leaf:
            self._findings.add(10, "the event was altered: it does not hash to its leaf")
        try:
            event = parse_event(data)
        except EventError as error:
            self._findings.add(10, f"no event of this version: {error}")
            return None
        self._findings.here = number, event
        if event.run != name:
            self._findings.add(10, f"the row files this event under run {name}")
        if event.seq != seq:
            self._findings.add(10, f"the row numbers this event {seq} in its run")
        due = self._next.get(bytes.fromhex(event.run), 0)
        if event.seq != due:
            self._findings.add(10, f"the run's event {due} was due: one is missing or moved")
        self._next[bytes.fromhex(event.run)] = event.seq + 1
        return number, event


def hashed(rows: Sequence[Any]) -> bool:
    """Whether each row holds bytes, and their leaf hash."""
    try:
        return leaf_hashes([row[4] for row in rows]) == [row[3] for row in rows]
    except TypeError:
        return False


def proper(leaf: Any, data: Any) -> bool:
    """Whether a row holds bytes, and the hash of some leaf."""
    return isinstance(data, bytes) and isinstance(leaf, bytes) and len(leaf) == 32


def let_go(leaf: Any, data: Any) -> bool:
    """Whether a row holds the hash of an event that only an archive has."""
    return data is None and isinstance(leaf, bytes) and len(leaf) == 32
