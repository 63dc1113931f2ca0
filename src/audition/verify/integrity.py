"""Whether a ledger is what was written: leaves, order, tree, checkpoints, signatures.

The events are read once, in order of index; each is given on once its own row agrees.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from audition.ledger import Checkpoint, LedgerError, NoteError, PublicKey, read_checkpoint
from audition.ledger.evidence import Evidence
from audition.ledger.note import signers
from audition.ledger.tree import Frontier, leaf_hash
from audition.verify.cosigned import Cosigned
from audition.verify.finding import Findings, Place, Read
from audition.verify.rows import Rows, hashed, let_go, proper

SIGNERS = 20
"""Unknown signers that are named; a hostile ledger may have any number."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint from outside the ledger: a witness's, or one kept from an earlier look."""

    name: str
    """Where it comes from, for findings."""
    head: Checkpoint
    """What it says."""
    signed: bool
    """Whether a trusted key signed it, or a witness asked for co-signed it."""
    cosigned: bool = False
    """Whether enough of the witnesses asked for co-signed it."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A root that somebody claims the tree had at a size."""

    size: int
    root: bytes
    who: str
    trusted: bool
    cosigned: bool = False


class Integrity:
    """One pass over the rows of a ledger.

    Args:
        evidence: the rows.
        trusted: whose signatures count.
        witnessed: checkpoints from outside.
        cosigned: who reads the co-signatures.
        findings: where to report.
    """

    def __init__(
        self,
        evidence: Evidence,
        trusted: Iterable[PublicKey],
        witnessed: Iterable[Witnessed],
        cosigned: Cosigned,
        findings: Findings,
    ) -> None:
        self._evidence = evidence
        self._trusted = tuple(trusted)
        self._witnessed = tuple(witnessed)
        self._cosigned = cosigned
        self._findings = findings
        self._tree = Frontier()
        self._rows = Rows(findings)
        self._whole = True
        self._claims = self._claimed()
        self._claim: _Claim | None = None
        self._agreed = 0
        self._doubted: _Claim | None = None
        self.signatures = 0
        """Checkpoints that a trusted key signed."""
        self.checkpoints = 0
        """Checkpoints in the ledger."""
        self.covered = 0
        """Events under a root that a trusted key signed."""
        self.signed_by: set[str] = set()
        """Trusted keys that signed."""
        self.unknown: set[str] = set()
        """Keys that nobody trusts and that claim to have signed."""

    @property
    def runs(self) -> int:
        """Runs whose events were read."""
        return self._rows.runs

    @property
    def elsewhere(self) -> int:
        """Events that only an archive has."""
        return self._rows.elsewhere

    @property
    def events(self) -> int:
        """Events read so far."""
        return self._tree.size

    @property
    def root(self) -> bytes:
        """Root of the tree of the events read so far."""
        return self._tree.root()

    def pages(self, *, parsed: bool = True) -> Iterator[list[Read]]:
        """Check every row; give on the events that can be read, a page at a time.

        Args:
            parsed: whether the events are read at all; else no page holds any, and rows that agree
                with what is written in them are not looked at further.
        """
        for rows in self._every(self._evidence.pages()):
            page: list[Read] = []
            for piece in self._cut(rows):
                for some, agreed in self._grown(piece, hashed):
                    page += self._rows.read(some, agreed=agreed, parsed=parsed)
            yield page

    def leaves(self) -> Iterator[list[Any]]:
        """Make the tree of the leaf hashes as they stand, some (index, run, seq, leaf) at a time.

        Whether they are those of the events is for whoever reads the events.
        """
        for rows in self._every(self._evidence.leaves()):
            for piece in self._cut(rows):
                yield from (some for some, _ in self._grown(piece, _hashes))

    def _every(self, pages: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """All pages that can be read; in the end, what is to be said of the whole."""
        self._claim = next(self._claims, None)
        try:
            yield from pages
        except LedgerError as error:
            self._whole = False
            self._findings.add(10, f"no event can be read from here: {error}", at=self._edge())
        self._compare_due()
        for claim in (self._claim, *self._claims):
            if claim is not None:
                self._beyond(claim)
        self._conclude()

    def _cut(self, rows: list[Any]) -> Iterator[list[Any]]:
        """These rows, cut at every size of which a root is claimed."""
        start = 0
        while start < len(rows):
            self._compare_due()
            end = len(rows)
            if self._claim is not None:
                end = min(end, start + self._claim.size - self._tree.size)
            yield rows[start:end]
            start = end

    def _grown(
        self, rows: list[Any], agree: Callable[[list[Any]], bool]
    ) -> Iterator[tuple[list[Any], bool]]:
        """Let the tree grow by these rows; where one is amiss, by one at a time.

        Args:
            rows: some rows.
            agree: whether the leaves in rows are what they are to be, which is said beside them.
        """
        start = self._tree.size
        if agree(rows) and [row[0] for row in rows] == list(range(start, start + len(rows))):
            self._tree.extend([row[3] for row in rows])
            yield rows, True
            return
        for row in rows:
            if row[0] != self._tree.size and self._whole:
                self._whole = False
                says = f"missing: the next row is {row[0]!r}"
                self._findings.add(10, says, at=self._edge())
            leaf, data = row[3], row[-1]
            sound = proper(leaf, data) or let_go(leaf, data)
            self._tree.append(leaf if sound else leaf_hash(b""))
            yield [row], agree([row])

    # ---------------------------------------------------------------- roots

    def _claimed(self) -> Iterator[_Claim]:
        """What checkpoints say, smallest tree first."""
        outside: list[_Claim] = []
        for one in self._witnessed:
            head = one.head
            if head.origin == self._evidence.origin:
                outside.append(_Claim(head.size, head.root, one.name, one.signed, one.cosigned))
            else:
                says = f"{one.name} is of another ledger ({head.origin})"
                self._findings.add(10, says, at=Place(-1))
        outside.sort(key=lambda claim: claim.size)
        inside = (self._read(size, note) for size, note in self._notes())
        yield from heapq.merge(
            outside, (claim for claim in inside if claim), key=lambda claim: claim.size
        )

    def _notes(self) -> Iterator[tuple[Any, Any]]:
        try:
            yield from self._evidence.checkpoints()
        except LedgerError as error:
            self._findings.add(10, f"no checkpoint can be read from here: {error}")

    def _read(self, size: Any, note: Any) -> _Claim | None:
        self.checkpoints += 1
        place = Place(size - 1 if isinstance(size, int) and size > 0 else -1)
        if not isinstance(note, str) or not isinstance(size, int):
            self._findings.add(10, "a checkpoint is no text", at=place)
            return None
        try:
            head, keys = read_checkpoint(note, self._trusted)
            claimed = signers(note)
            enough = self._cosigned.enough(head.size, note)
        except NoteError as error:
            self._findings.add(10, f"the checkpoint at size {size} is forged: {error}", at=place)
            return None
        if head.size != size or head.origin != self._evidence.origin:
            says = f"the checkpoint at size {size} is that of {head.origin} at size {head.size}"
            self._findings.add(10, says, at=place)
            return None
        self.signatures += bool(keys)
        self.signed_by.update(key.id for key in keys)
        if len(self.unknown) < SIGNERS:
            self.unknown.update(set(claimed) - {key.id for key in keys})
        return _Claim(size, head.root, f"the checkpoint at size {size}", bool(keys), enough)

    def _compare_due(self) -> None:
        """Compare what is claimed of the tree as it stands."""
        while self._claim is not None and self._claim.size <= self._tree.size:
            self._compare(self._claim)
            self._claim = next(self._claims, None)

    def _compare(self, claim: _Claim) -> None:
        """Compare a claim about the tree as it stands; a lone false claim is itself the forgery."""
        if not self._whole:
            return
        if claim.root != self._tree.root():
            self._doubted = self._doubted or claim
            return
        if self._doubted is not None:
            says = f"{self._doubted.who} is forged: its root is not the tree's, later ones are"
            self._findings.add(10, says, at=Place(self._doubted.size - 1))
            self._doubted = None
        self._agreed = claim.size
        if claim.trusted:
            self.covered = claim.size
        if claim.cosigned:
            self._cosigned.events = claim.size

    def _beyond(self, claim: _Claim) -> None:
        if claim.size > self._tree.size and self._whole:
            says = (
                f"{claim.who} shows {claim.size} events, the ledger ends after {self._tree.size}: "
                "it was truncated or exchanged"
            )
            self._findings.add(10, says, at=self._edge(), until=claim.size - 1)
            self._whole = False

    def _conclude(self) -> None:
        size = self._tree.size
        if self._doubted is not None:
            says = (
                f"altered, dropped or reordered in here: {self._doubted.who} shows another root, "
                + (f"that at size {self._agreed} agrees" if self._agreed else "none agrees before")
            )
            self._findings.add(10, says, at=Place(self._agreed), until=self._doubted.size - 1)
            return
        if self._evidence.size != size or self._evidence.peaks != b"".join(self._tree.peaks):
            says = f"the ledger states {self._evidence.size!r} events and an edge that do not fit"
            self._findings.add(10, says, at=self._edge())
        if self._trusted and self.covered < size and self._whole:
            says = "no key that you trust signed these events"
            self._findings.add(10, says, at=Place(self.covered), until=size - 1)

    def _edge(self) -> Place:
        return Place(self._tree.size)


def _hashes(rows: list[Any]) -> bool:
    return all(proper(row[3], row[3]) for row in rows)
