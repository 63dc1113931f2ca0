"""What a witness remembers: of each ledger its latest checkpoint, on disk before it says a word.

Forgetting would be lying: whoever has forgotten co-signs what contradicts what it co-signed. So a
memory is made on purpose and never by the way, belongs to one key, only grows, and its clock too
never goes back.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Self

from audition.ledger import PrivateKey, PublicKey
from audition.ledger.cosignature import WitnessKey, cosign
from audition.ledger.note import signature_line, taken_apart
from audition.ledger.tree import EMPTY, ProofError, check_consistency
from audition.witness.submission import Submission

MOST = 100_000
"""Ledgers that one witness remembers."""

_TABLES = (
    "CREATE TABLE witness (one INTEGER PRIMARY KEY CHECK (one = 1), key TEXT NOT NULL)",
    "CREATE TABLE heads (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, "
    "owner TEXT NOT NULL, at INTEGER NOT NULL, note TEXT NOT NULL) WITHOUT ROWID",
)
_ADVANCE = """
INSERT INTO heads (origin, size, root, owner, at, note) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root,
    owner = excluded.owner, at = excluded.at, note = excluded.note
"""


class MemoryLost(Exception):
    """The memory is not there, is another's, or cannot be read; one line says which."""


class Contradicted(Exception):
    """What is shown does not continue what was shown before.

    Args:
        says: in one line.
        size: the size that is remembered, where the one shown as old is another.
        proves: whether two signed checkpoints now contradict each other.
    """

    def __init__(self, says: str, size: int | None = None, *, proves: bool = False) -> None:
        super().__init__(says)
        self.size = size
        self.proves = proves


class Memory:
    """A witness's memory: a small SQLite file of its own.

    Args:
        path: the file.
        key: the witness's own.
        create: make it; otherwise it must be there.

    Raises:
        MemoryLost: it is not there (or is, with `create`), is another key's, or is no memory.
    """

    def __init__(self, path: str | Path, key: PrivateKey, *, create: bool = False) -> None:
        self._key = key
        self._path = Path(path)
        self._pen = threading.Lock()
        self.key = WitnessKey.of(key)
        """What the co-signatures verify under."""
        if self._path.exists() == create:
            raise MemoryLost(
                f"{path}: there is one already; a witness begins anew only under another key"
                if create
                else f"{path}: no memory of a witness there; a lost one is never made anew under "
                "the same key (--new begins one)"
            )
        try:
            self._database = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=30
            )
            self._open(create)
        except sqlite3.Error as error:
            raise MemoryLost(f"{path}: {error}") from None

    def close(self) -> None:
        """Let go of the file."""
        with self._pen:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def owner(self, origin: str) -> str | None:
        """The key that signed a ledger's latest checkpoint; None for one that was never brought."""
        with self._pen:
            return self._row(origin)[2] or None

    def latest(self, origin: str) -> str | None:
        """The latest checkpoint of a ledger, with its key's line and this witness's."""
        with self._pen:
            return self._row(origin)[4] or None

    def advance(self, shown: Submission, signer: PublicKey, now: int) -> str:
        """Take a checkpoint that continues the one that is remembered, and co-sign it.

        Args:
            shown: the checkpoint and its proof.
            signer: the trusted key that signed it.
            now: seconds since 1970 by the clock here; one that was set back counts as stopped.

        Returns:
            The line of the co-signature; what it says is on disk.

        Raises:
            Contradicted: it does not continue what is remembered.
            MemoryLost: it could not be written.
        """
        with self._pen:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    line = self._advanced(shown, signer, now)
                    self._database.execute("COMMIT")
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise MemoryLost(f"{self._path}: not written: {error}") from None
        return line

    def _advanced(self, shown: Submission, signer: PublicKey, now: int) -> str:
        head = shown.head
        size, root, _, before, known = self._row(head.origin)
        if shown.old != size:
            raise Contradicted(f"{size} events are known here, not {shown.old}", size)
        if size == head.size and head.root != root:
            raise Contradicted(f"another tree of {size} events is known here", size, proves=True)
        try:
            if size:
                check_consistency(size, head.size, root, head.root, shown.proof)
            elif shown.proof:
                raise ProofError("of an empty tree nothing is proved")
        except ProofError as error:
            raise Contradicted(str(error)) from None
        if not known and self._count() >= MOST:
            raise MemoryLost(f"{self._path}: {MOST} ledgers are remembered; no more are taken")
        text, lines = taken_apart(shown.note)
        at = max(now, before)
        line = cosign(text, self._key, at)
        own = "".join(
            signature_line(name, blob)
            for name, blob in dict.fromkeys(lines)
            if (name, blob[:4]) == (signer.name, signer.hash)
        )
        note = f"{text}\n{own}{line}"
        row = (head.origin, head.size, head.root, signer.id, at, note)
        self._database.execute(_ADVANCE, row)
        return line

    def _row(self, origin: str) -> tuple[int, bytes, str, int, str]:
        """Size, root, the key that signed it, time and note of what is remembered of a ledger."""
        query = "SELECT size, root, owner, at, note FROM heads WHERE origin = ?"
        row = self._database.execute(query, (origin,)).fetchone()
        return (0, EMPTY, "", 0, "") if row is None else row

    def _count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM heads").fetchone()[0])

    def _open(self, create: bool) -> None:
        self._database.execute("PRAGMA synchronous = EXTRA")
        self._database.execute("PRAGMA trusted_schema = OFF")
        if create:
            self._database.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                self._database.execute(table)
            self._database.execute("INSERT INTO witness VALUES (1, ?)", (str(self.key),))
            self._database.execute("COMMIT")
        (key,) = self._database.execute("SELECT key FROM witness").fetchone()
        if key != str(self.key):
            raise MemoryLost(f"{self._path}: the memory of another witness, {key}")
