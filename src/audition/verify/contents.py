"""Whether the content beside the events is what the events name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audition.canonical import loads
from audition.ledger import LedgerError, content_name
from audition.ledger.events import ActFinished, StepProposed
from audition.ledger.evidence import Evidence
from audition.ledger.naming import names
from audition.step import Act, Ask, Digest, Event, Proposal, parse_proposal
from audition.verify.finding import Findings, Place

NAMED = 100_000
"""Absent contents for which the first event that names them is remembered."""


class Contents:
    """What a ledger holds beside its events.

    Args:
        evidence: the rows.
        findings: where to report.
    """

    def __init__(self, evidence: Evidence, findings: Findings) -> None:
        self._evidence = evidence
        self._findings = findings
        self._altered: dict[bytes, str] = {}
        self._gone: set[bytes] = set()
        self._absent: dict[bytes, Place] = {}
        self._proposed: dict[Digest, tuple[str, str | None]] = {}
        self._statuses: dict[Digest, str] = {}
        self.count = 0
        """Pieces of content."""
        self.redacted: dict[bytes, Place] = {}
        """Contents that were deleted, and the event that says so."""

    def hash_all(self) -> None:
        """Read every piece of content and compare it with its name."""
        try:
            for name, salt, data in self._evidence.contents():
                self.count += 1
                if not isinstance(name, bytes) or len(name) != 32:
                    self._findings.add(10, "a piece of content has no proper name")
                elif data is None:
                    self._gone.add(name)
                elif wrong := _wrong(name, salt, data):
                    self._altered[name] = wrong
        except LedgerError as error:
            self._findings.add(10, f"the contents cannot be read to their end: {error}")

    def look_up(self, page: Sequence[tuple[Place, Event]]) -> None:
        """Find what a page of events names."""
        named: dict[bytes, Place] = {}
        proposals: set[bytes] = set()
        outcomes: set[bytes] = set()
        for place, event in page:
            for digest in names(event.body):
                named.setdefault(bytes.fromhex(digest), place)
            if isinstance(event.body, StepProposed):
                proposals.add(bytes.fromhex(event.body.proposal))
            elif isinstance(event.body, ActFinished):
                outcomes.add(bytes.fromhex(event.body.outcome))
        held = self._evidence.held(named)
        for name, place in named.items():
            if name in self._altered:
                self._findings.add(10, f"{_short(name)} {self._altered.pop(name)}", at=place)
            elif not held.get(name) and len(self._absent) < NAMED:
                self._absent.setdefault(name, place)
        found = self._evidence.get(proposals)
        self._proposed = {name.hex(): _proposed(data) for name, data in found}
        found = self._evidence.get(outcomes)
        self._statuses = {name.hex(): _field(data, "status") for name, data in found}

    def kind(self, proposal: Digest) -> str | None:
        """The kind of a proposal on this page; empty if it is no proposal, None if it is gone."""
        return self._proposed.get(proposal, (None, None))[0]

    def tool(self, proposal: Digest) -> str | None:
        """The tool that a proposal on this page needs, as far as it is there and needs one."""
        return self._proposed.get(proposal, (None, None))[1]

    def status(self, outcome: Digest) -> str | None:
        """How an act on this page went; empty if its outcome is none, None if it is gone."""
        return self._statuses.get(outcome)

    def schema(self, digest: Digest) -> str | None:
        """The name in a tool's schema; empty if it is none, None if it is gone."""
        for _, data in self._evidence.get({bytes.fromhex(digest)}):
            return _field(data, "name")
        return None

    def data(self, digest: Digest) -> bytes | None:
        """A piece of content, if it is still there."""
        for _, data in self._evidence.get({bytes.fromhex(digest)}):
            return data
        return None

    def proposal(self, digest: Digest) -> Proposal | None:
        """A proposal, if it is still there.

        Raises:
            ValueError: the content is no proposal.
        """
        for _, data in self._evidence.get({bytes.fromhex(digest)}):
            return parse_proposal(data)
        return None

    def conclude(self) -> None:
        """Report what is gone although nobody says that it was deleted, and the reverse."""
        for name, wrong in self._altered.items():
            self._findings.add(10, f"{_short(name)} {wrong}; no event names it", at=Place(-1))
        self._gone.update(self._absent)
        for name in self._gone - self.redacted.keys():
            says = f"{_short(name)} is gone, and no event says that it was deleted"
            self._findings.add(10, says, at=self._absent.get(name, Place(-1)))
        held = self._evidence.held(self.redacted)
        for name in (name for name, there in held.items() if there):
            says = f"{_short(name)} was to be deleted and is still there"
            self._findings.add(10, says, at=self.redacted[name])


def _wrong(name: bytes, salt: Any, data: Any) -> str:
    if not isinstance(data, bytes) or not (salt is None or isinstance(salt, bytes)):
        return "is stored in another form"
    return "" if content_name(data, salt) == name.hex() else "was altered"


def _proposed(data: bytes) -> tuple[str, str | None]:
    """What these bytes propose, exactly, and with which tool; an empty text if nothing."""
    try:
        proposal = parse_proposal(data)
    except ValueError:
        return "", None
    if proposal.canonical() != data:
        return "", None
    tool = proposal.tool if isinstance(proposal, Act) else None
    return proposal.kind, "ask" if isinstance(proposal, Ask) else tool


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
