"""What witnesses say of a ledger: their co-signatures in it, and what they are asked now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from audition.ledger import NoteError, read_checkpoint
from audition.ledger.cosignature import WitnessKey, cosigners
from audition.verify.finding import Findings, Place


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Whose co-signatures are asked for.

    Raises:
        NoteError: more are asked for than there are witnesses, or none.
    """

    keys: tuple[WitnessKey, ...] = ()
    """The witnesses."""
    quorum: int = 0
    """How many of them must have co-signed one checkpoint."""
    kept: tuple[tuple[str, str], ...] = ()
    """Checkpoints of theirs that were kept: what to call each, and the note."""
    asked: tuple[tuple[str, Callable[[str], str]], ...] = ()
    """Witnesses that are asked once the ledger is open: what to call each, and how it is asked
    for its checkpoint of a ledger of this name."""

    def __post_init__(self) -> None:
        if self.keys and not 0 < self.quorum <= len(set(self.keys)):
            raise NoteError(
                f"co-signatures by {self.quorum} of {len(set(self.keys))} witnesses are asked for"
            )


class Cosigned:
    """Reads the co-signatures of a ledger's checkpoints.

    Args:
        witnesses: whose count.
        findings: where to report.
    """

    def __init__(self, witnesses: Witnesses, findings: Findings) -> None:
        self._witnesses = witnesses
        self._findings = findings
        self._last: dict[WitnessKey, int] = {}
        self.events = 0
        """Events under a root that enough of them co-signed."""

    def enough(self, size: int, note: str) -> bool:
        """Whether enough of them co-signed this checkpoint.

        Raises:
            NoteError: a line that names one of them does not verify.
        """
        if not self._witnesses.keys:
            return False
        found = cosigners(note, self._witnesses.keys)
        for key in found:
            self._last[key] = max(size, self._last.get(key, 0))
        return len(found) >= self._witnesses.quorum

    def compare(self, name: str, note: str) -> None:
        """Hold what a witness says now against what it has co-signed in the ledger."""
        size = read_checkpoint(note, ())[0].size
        for key in cosigners(note, self._witnesses.keys):
            if size < (before := self._last.get(key, 0)):
                says = (
                    f"{name} shows {size} events, and {key.id} co-signed {before}: the witness's "
                    "memory was set back, its key is good for nothing any more"
                )
                self._findings.add(10, says, at=Place(-1))

    def conclude(self) -> None:
        """Report that too few witnesses co-signed anything."""
        if self._witnesses.keys and not self.events:
            says = (
                f"no checkpoint is co-signed by {self._witnesses.quorum} of the "
                f"{len(self._witnesses.keys)} witnesses asked for"
            )
            self._findings.add(10, says, at=Place(-1))
