"""Redaction: an event says that content goes, then it goes; the chain stays as it was.

The event is durable before anything is deleted, so that a kill in between leaves an announcement
that verification holds against what is still there, and the same call again deletes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audition.ledger.archive import content_line
from audition.ledger.database import LedgerError
from audition.ledger.events import REGISTER, ContentRedacted, EventError, RunClosed, parse_event
from audition.ledger.evidence import Evidence
from audition.ledger.journal import Journal
from audition.ledger.note import PrivateKey
from audition.ledger.store import SqlLedger
from audition.ledger.tiles import WIDTH, Tiles, width_at
from audition.step import Digest, RunId

_MARK = b'{"content":"'


@dataclass
class _Found:
    """What a ledger says of contents that are to go."""

    told: set[Digest] = field(default_factory=set[Digest])
    """Those of which an event says already that they were redacted."""
    names: dict[Digest, set[RunId]] = field(default_factory=dict[Digest, set[RunId]])
    """The runs that name each."""
    open: set[RunId] = field(default_factory=set[RunId])
    """Runs that have not ended."""
    following: dict[RunId, int] = field(default_factory=dict[RunId, int])
    """The number of each run's next event."""


async def redact(
    where: str | Path,
    contents: Collection[Digest],
    reason: str,
    signer: PrivateKey | None,
    archived: Collection[Digest] = (),
) -> int:
    """Delete contents and their salts for good, and say so in the ledger.

    Args:
        where: the ledger.
        contents: their names.
        reason: why, as the events tell it.
        signer: signs the checkpoint after the events.
        archived: those of them that an archive is known to have.

    Returns:
        How many were there.

    Raises:
        LedgerError: one is unknown, or a run that has not ended names it, or the database refuses;
            nothing is deleted before all of it is announced.
    """
    with Evidence(where) as evidence:
        found = _look(evidence, contents)
        held = evidence.held([bytes.fromhex(one) for one in contents])
    for one in contents:
        if bytes.fromhex(one) not in held and one not in archived:
            raise LedgerError(f"content {one[:12]}…: there is none of that name")
        if open_runs := sorted(found.names[one] & found.open):
            raise LedgerError(
                f"content {one[:12]}…: run {open_runs[0]} has not ended and names it; "
                "nothing was redacted"
            )
    with SqlLedger.open(where, signer=signer, create=False) as ledger:
        for one in contents:
            if one not in found.told:
                run = _teller(found, one)
                journal = Journal(ledger, run, found.following[run])
                journal.log(ContentRedacted(content=one, reason=reason))
                found.following[run] = journal.seq
        await ledger.commit()
        return sum([await ledger.redact(one) for one in contents])


def archived(folder: str | Path, contents: Collection[Digest]) -> set[Digest]:
    """Those of these contents that an archive has.

    Raises:
        LedgerError: there is no archive, or it cannot be read.
    """
    tiles, size = _opened(folder)
    return {
        name
        for number in range(-(-size // WIDTH))
        for line in tiles.lines("contents", number, width_at(size, 0, number))
        if line.startswith(_MARK) and (name := line[12:76].decode()) in contents
    }


def redact_archive(folder: str | Path, contents: Collection[Digest]) -> int:
    """Delete contents from an archive, wherever they stand in it; returns the bundles changed.

    The archive already has the events that say so, or is extended by them next.

    Raises:
        LedgerError: there is no archive, or it cannot be read or written.
    """
    marks = tuple(_MARK + one.encode() + b'","data"' for one in contents)
    changed = 0
    tiles, size = _opened(folder)
    with tiles.alone():
        for number in range(-(-size // WIDTH)):
            width = width_at(size, 0, number)
            if any(line.startswith(marks) for line in tiles.lines("contents", number, width)):
                tiles.write_lines("contents", number, width, _without(tiles, number, width, marks))
                changed += 1
    return changed


def _opened(folder: str | Path) -> tuple[Tiles, int]:
    tiles = Tiles(folder)
    found = tiles.checkpoint()
    if found is None:
        raise LedgerError(f"{folder}: no archive there")
    return tiles, found[0].size


def _look(evidence: Evidence, contents: Collection[Digest]) -> _Found:
    """Read every event once; one that bears a content's name anywhere counts as naming it."""
    found = _Found(names={one: set() for one in contents})
    marks = {one: one.encode() for one in contents}
    for index, _, _, _, data in evidence.rows():
        if data is None:  # let go: its run ended
            continue
        try:
            event = parse_event(data, strict=False)
        except EventError as error:
            raise LedgerError(f"event {index}: {error}; `audition verify` says more") from None
        found.following[event.run] = event.seq + 1
        match event.body:
            case ContentRedacted(content=content):
                found.told.add(content)
                continue
            case RunClosed():
                found.open.discard(event.run)
            case _:
                found.open.add(event.run)
        for one, mark in marks.items():
            if mark in data:
                found.names[one].add(event.run)
    found.open.discard(REGISTER)
    return found


def _teller(found: _Found, content: Digest) -> RunId:
    """A run that has ended, at whose end the redaction is told: one that names it, if any."""
    ended = found.names[content] or found.following.keys() - found.open - {REGISTER}
    if not ended:
        raise LedgerError(f"content {content[:12]}…: no run has ended, where it could be told")
    return min(ended)


def _without(tiles: Tiles, number: int, width: int, marks: tuple[bytes, ...]) -> Iterator[Any]:
    for line in tiles.lines("contents", number, width):
        name = bytes.fromhex(line[12:76].decode()) if line.startswith(marks) else None
        yield line if name is None else content_line(name, None, None)
