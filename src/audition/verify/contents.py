"""Whether the content beside the events is what the events name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from audition.canonical import loads
from audition.ledger import LedgerError, content_name
from audition.ledger.events import ActFinished, StepProposed
from audition.ledger.evidence import Evidence
from audition.ledger.naming import names
from audition.step import Act, Ask, Digest, Proposal, parse_proposal
from audition.verify.finding import Findings, Place, Read, place_of

NAMED = 100_000
"""Absent contents for which the first event that names them is remembered."""

AT_HAND = 1 << 12
"""Bytes of a proposal that is kept until its ticket is issued, and how many are."""


class Contents:
    """What a ledger holds beside its events.

    Args:
        evidence: the rows.
        findings: where to report.
        hashed: whether `hash_all` compares each with its name; else it is when an event needs it.
    """

    def __init__(self, evidence: Evidence, findings: Findings, *, hashed: bool = True) -> None:
        self._hashed = hashed
        self.amiss = False
        """Whether anything was reported, or will be."""
        self._evidence = evidence
        self._findings = findings
        self._altered: dict[bytes, str] = {}
        self._gone: set[bytes] = set()
        self._absent: dict[bytes, Place] = {}
        self._proposed: dict[Digest, tuple[str, str | None, bool]] = {}
        self._statuses: dict[Digest, str] = {}
        self._written: dict[Digest, bytes] = {}
        self.count = 0
        """Pieces of content."""
        self.redacted: dict[bytes, Place] = {}
        """Contents that were deleted, and the event that says so."""

    def hash_all(self) -> None:
        """Read every piece of content and compare it with its name."""
        try:
            for name, salt, data in self._evidence.contents():
                self.count += 1
                if salt is None and type(data) is bytes and sha256(data).digest() == name:
                    continue
                if not isinstance(name, bytes) or len(name) != 32:
                    self._found(10, "a piece of content has no proper name")
                elif data is None:
                    self._gone.add(name)
                elif wrong := _wrong(name, salt, data):
                    self._altered[name] = wrong
        except LedgerError as error:
            self._found(10, f"the contents cannot be read to their end: {error}")
        self._altered = dict(sorted(self._altered.items()))
        self.amiss = self.amiss or bool(self._altered)

    def look_up(self, page: Sequence[Read]) -> None:
        """Find what a page of events names."""
        named: dict[bytes, Read] = {}
        proposals: set[bytes] = set()
        outcomes: set[bytes] = set()
        looked_into = {StepProposed: proposals, ActFinished: outcomes}
        for read in page:
            body = read[1].body
            if not (found := names(body)):
                continue
            among = looked_into.get(type(body))
            for digest in found:
                name = bytes.fromhex(digest)
                named.setdefault(name, read)
                if among is not None:
                    among.add(name)
        shown = proposals | outcomes
        held = self._evidence.held(named.keys() - shown)
        self._proposed, self._statuses = {}, {}
        for name, data in self._get(shown):
            held[name] = data is not None
            if isinstance(data, bytes) and name in proposals:
                self._propose(name.hex(), data)
            if isinstance(data, bytes) and name in outcomes:
                self._statuses[name.hex()] = _field(data, "status")
        if not self._altered and all(map(held.get, named)):
            return
        for name, read in named.items():
            if name in self._altered:
                self._found(10, f"{_short(name)} {self._altered.pop(name)}", at=place_of(read))
            elif not held.get(name) and len(self._absent) < NAMED:
                self._absent.setdefault(name, place_of(read))

    def kind(self, proposal: Digest) -> str | None:
        """The kind of a proposal on this page; empty if it is no proposal, None if it is gone."""
        return self._proposed.get(proposal, (None, None, False))[0]

    def tool(self, proposal: Digest) -> str | None:
        """The tool that a proposal on this page needs, as far as it is there and needs one."""
        return self._proposed.get(proposal, (None, None, False))[1]

    def written(self, proposal: Digest) -> bytes | None:
        """A step that an executor can do, as it is written, if it is still at hand."""
        return self._written.get(proposal)

    def status(self, outcome: Digest) -> str | None:
        """How an act on this page went; empty if its outcome is none, None if it is gone."""
        return self._statuses.get(outcome)

    def schema(self, digest: Digest) -> str | None:
        """The name in a tool's schema; empty if it is none, None if it is gone."""
        data = self.data(digest)
        return None if data is None else _field(data, "name")

    def data(self, digest: Digest) -> bytes | None:
        """A piece of content, if it is still there."""
        for _, data in self._get({bytes.fromhex(digest)}):
            if isinstance(data, bytes):
                return data
        return None

    def proposal(self, digest: Digest) -> Proposal | None:
        """A proposal, if it is still there.

        Raises:
            ValueError: the content is no proposal.
        """
        data = self.data(digest)
        return None if data is None else parse_proposal(data)

    def _propose(self, name: Digest, data: bytes) -> None:
        _, _, can_be_done = self._proposed[name] = _proposed(data)
        if can_be_done and len(data) <= AT_HAND:
            if len(self._written) >= AT_HAND:
                self._written.clear()
            self._written[name] = data

    def _get(self, names: set[bytes]) -> Iterator[tuple[bytes, Any]]:
        for name, salt, data in self._evidence.get(names):
            if not self._hashed and data is not None and (wrong := _wrong(name, salt, data)):
                self._found(10, f"{_short(name)} {wrong}")
            yield name, data

    @property
    def absent(self) -> frozenset[bytes]:
        """What events name and is not there, as far as it is remembered."""
        return frozenset(self._absent)

    def add(self, absent: frozenset[bytes], redacted: dict[bytes, Place]) -> None:
        """Take into account what was found elsewhere to be absent, or said to be deleted."""
        self._absent.update((name, Place(-1)) for name in absent)
        self.redacted.update(redacted)

    def _found(self, guarantee: int, says: str, *, at: Place | None = None) -> None:
        self.amiss = True
        self._findings.add(guarantee, says, at=at)

    def conclude_alone(self) -> None:
        """Report what was altered, when no event was read."""
        for name, wrong in self._altered.items():
            self._found(10, f"{_short(name)} {wrong}", at=Place(-1))

    def conclude(self) -> None:
        """Report what is gone although nobody says that it was deleted, and the reverse."""
        for name, wrong in self._altered.items():
            self._found(10, f"{_short(name)} {wrong}; no event names it", at=Place(-1))
        self._gone.update(self._absent)
        for name in self._gone - self.redacted.keys():
            says = f"{_short(name)} is gone, and no event says that it was deleted"
            self._found(10, says, at=self._absent.get(name, Place(-1)))
        held = self._evidence.held(self.redacted)
        for name in (name for name, there in held.items() if there):
            says = (
                f"{_short(name)} was to be deleted and is still there, or in the archive: redact "
                "it again, with --archive for an archive"
            )
            self._found(10, says, at=self.redacted[name])


def _wrong(name: bytes, salt: Any, data: Any) -> str:
    if not isinstance(data, bytes) or not (salt is None or isinstance(salt, bytes)):
        return "is stored in another form"
    return "" if content_name(data, salt) == name.hex() else "was altered"


def _proposed(data: bytes) -> tuple[str, str | None, bool]:
    """What these bytes propose, exactly, with which tool, and whether any executor can do it.

    An empty text if they propose nothing.
    """
    try:
        proposal = parse_proposal(data)
    except ValueError:
        return "", None, False
    if proposal.canonical() != data:
        return "", None, False
    match proposal:
        case Act():
            return proposal.kind, proposal.tool, proposal.malformed is None
        case Ask():
            return proposal.kind, "ask", True
        case _:
            return proposal.kind, None, False


def _field(data: bytes, name: str) -> str:
    """A text in an object; a later version may have fields beside it that are unknown here."""
    try:
        fields = loads(data)
    except ValueError:
        return ""
    found = fields.get(name) if isinstance(fields, dict) else None
    return found if isinstance(found, str) else ""


def _short(name: bytes) -> str:
    return f"content {name.hex()[:12]}…"
