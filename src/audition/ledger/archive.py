"""Sealed segments: a ledger's events and contents written out as tiles, only what is new.

From one checkpoint to the next the archive grows by whole bundles; whoever is killed on the way
begins again at the checkpoint that was reached.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from audition.canonical import canonical
from audition.ledger.database import LedgerError
from audition.ledger.events import EventError, parse_event
from audition.ledger.evidence import Evidence
from audition.ledger.naming import names
from audition.ledger.note import Checkpoint, NoteError, read_checkpoint
from audition.ledger.tiles import WIDTH, Tiles
from audition.ledger.tree import leaf_hash, root_of

STRIDE = 1 << 16
"""Events between two checkpoints of a long archive, about."""


def archive(
    ledger: str | Path,
    folder: str | Path,
    progress: Callable[[int, int], None] = lambda now, total: None,
) -> tuple[int, int]:
    """Write what a ledger's newest checkpoint covers and the archive does not have yet.

    Args:
        ledger: the ledger; it is read, never written.
        folder: the archive; made if it is not there.
        progress: called with events written and events to write, now and then.

    Returns:
        The events in the archive, and how many of them are new.

    Raises:
        LedgerError: the ledger is damaged or unsigned, the folder holds something else or the
            archive of another history, or the disk refuses. What the archive's checkpoint covers
            is as it was, or as it is to be.
    """
    tiles = Tiles(folder)
    with tiles.alone(), Evidence(ledger) as evidence:
        begun = size = _reached(tiles, evidence)
        total = 0
        for head, note in _strides(evidence, size):
            total = max(total, evidence.size if isinstance(evidence.size, int) else 0)
            _extend(tiles, evidence, size, head)
            tiles.write_checkpoint(note)
            tiles.drop_partial(size, head.size)
            size = head.size
            progress(size - begun, total - begun)
    return size, size - begun


def content_line(name: bytes, salt: Any, data: Any) -> bytes:
    """A content as a line of an archive or an export.

    Raises:
        LedgerError: it is damaged.
    """
    line: dict[str, Any] = {"content": name.hex()}
    if data is None:
        return canonical({**line, "redacted": True})
    if not isinstance(data, bytes) or not isinstance(salt, bytes | None):
        raise LedgerError(f"content {name.hex()[:12]}… is damaged; `audition verify` says more")
    line["data"] = base64.b64encode(data).decode()
    if salt is not None:
        line["salt"] = base64.b64encode(salt).decode()
    return canonical(line)


def _reached(tiles: Tiles, evidence: Evidence) -> int:
    """How much of this ledger is in the archive."""
    found = tiles.checkpoint()
    if found is None:
        return 0
    head = found[0]
    if head.origin != evidence.origin:
        raise LedgerError(f"{tiles.folder}: the archive of another ledger, {head.origin}")
    if tiles.edge(head.size).root() != head.root:
        raise LedgerError(f"{tiles.folder}: damaged: its tiles are not of its checkpoint")
    return head.size


def _strides(evidence: Evidence, begun: int) -> Iterator[tuple[Checkpoint, str]]:
    """The checkpoints at which the archive pauses: one a stride, and the newest."""
    last, newest = begun, None
    for size, note in evidence.checkpoints():
        if not isinstance(size, int) or not isinstance(note, str):
            raise LedgerError("a checkpoint is damaged; `audition verify` says more")
        if newest is not None and size - last > STRIDE:
            yield _head(evidence, *newest)
            last, newest = newest[0], None
        if size > last:
            newest = size, note
    if newest is not None:
        yield _head(evidence, *newest)
    elif not begun:
        raise LedgerError("the ledger is not signed; an archive rests on a checkpoint")


def _head(evidence: Evidence, size: int, note: str) -> tuple[Checkpoint, str]:
    try:
        head = read_checkpoint(note, ())[0]
    except NoteError as error:
        raise LedgerError(f"the checkpoint at size {size}: {error}") from None
    if (head.origin, head.size) != (evidence.origin, size):
        raise LedgerError(f"the checkpoint at size {size} is of another ledger or size")
    return head, note


def _extend(tiles: Tiles, evidence: Evidence, size: int, head: Checkpoint) -> None:
    """Write tiles and bundles from the last full bundle on."""
    first = size // WIDTH
    rows = evidence.events(first * WIDTH, head.size)
    growing = _Growing(tiles, first)
    for number in range(first, -(-head.size // WIDTH)):
        width = min(WIDTH, head.size - number * WIDTH)
        growing.add(_bundle(tiles, evidence, rows, number, width))
    growing.end()
    if tiles.edge(head.size).root() != head.root:
        raise LedgerError(
            f"{tiles.folder}: the archive is of another history than the ledger, or the ledger is "
            f"damaged: their tree of {head.size} events is not the checkpoint's"
        )


def _bundle(
    tiles: Tiles, evidence: Evidence, rows: Iterator[Any], number: int, width: int
) -> list[bytes]:
    """Write a bundle of events and the contents that they name; returns the leaf hashes."""
    named: set[bytes] = set()
    leaves: list[bytes] = []

    def events() -> Iterator[bytes]:
        for due in range(number * WIDTH, number * WIDTH + width):
            index, leaf, data = next(rows, (None, None, None))
            if index == due and data is None:
                raise LedgerError(f"event {due} was let go; only the archive that has it can grow")
            if index != due or not isinstance(data, bytes) or leaf_hash(data) != leaf:
                raise LedgerError(f"event {due} is damaged; `audition verify` says more")
            try:
                named.update(map(bytes.fromhex, names(parse_event(data).body)))
            except EventError as error:
                raise LedgerError(f"event {due}: {error}") from None
            leaves.append(leaf_hash(data))
            yield data

    tiles.write_lines("events", number, width, events())
    stored = (content_line(*one) for one in evidence.get(named))
    tiles.write_lines("contents", number, width, stored)
    return leaves


class _Growing:
    """The tiles that are not full yet, at every level."""

    def __init__(self, tiles: Tiles, first: int) -> None:
        self._tiles = tiles
        self._number = [first]
        self._open: list[list[bytes]] = [[]]
        while first:
            first, width = divmod(first, WIDTH)
            self._number.append(first)
            self._open.append(self._there(len(self._open), first, width))

    def add(self, leaves: list[bytes], level: int = 0) -> None:
        """Add hashes at a level; a tile that is full goes into the one above."""
        if level == len(self._open):
            self._number.append(0)
            self._open.append([])
        self._open[level] += leaves
        if len(self._open[level]) == WIDTH:
            self._tiles.write_hashes(level, self._number[level], self._open[level])
            above = root_of(self._open[level])
            self._number[level] += 1
            self._open[level] = []
            self.add([above], level + 1)

    def end(self) -> None:
        """Write what is not full."""
        for level, hashes in enumerate(self._open):
            if hashes:
                self._tiles.write_hashes(level, self._number[level], hashes)

    def _there(self, level: int, number: int, width: int) -> list[bytes]:
        """The first hashes of a tile that was cut short at some size, and is there still."""
        return self._tiles.hashes(level, number, width) if width else []
