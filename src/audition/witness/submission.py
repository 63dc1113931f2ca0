"""What a ledger sends to a witness: `POST /add-checkpoint`, as C2SP tlog-witness has it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from audition.ledger import Checkpoint, NoteError, PublicKey, read_checkpoint
from audition.ledger.note import LONGEST

MOST_HASHES = 63
"""Lines of a proof."""

LARGEST = LONGEST + 64 * 45 + 100
"""Bytes of a submission."""

_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")


class Malformed(ValueError):
    """No submission; one line says why."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint, and the proof that it continues an older one."""

    old: int
    """Size of the tree that the witness is believed to remember."""
    proof: tuple[bytes, ...]
    """That it is a prefix of the new one."""
    note: str
    """The checkpoint, signed by the ledger's key; the witness has verified nothing of it yet."""
    head: Checkpoint
    """What it says."""

    @classmethod
    def read(cls, body: bytes) -> Submission:
        """Read the body of a request.

        Raises:
            Malformed: it is not exactly one.
        """
        try:
            before, blank, note = body.decode().partition("\n\n")
            first, *hashes = before.split("\n")
            found = _OLD.fullmatch(first)
            if not blank or found is None:
                raise Malformed("expected `old N`, the proof, an empty line and a checkpoint")
            if len(hashes) > MOST_HASHES:
                raise Malformed(f"a proof of more than {MOST_HASHES} hashes")
            proof = tuple(_hash(one) for one in hashes)
            head, _ = read_checkpoint(note, ())
        except UnicodeDecodeError:
            raise Malformed("not UTF-8") from None
        except NoteError as error:
            raise Malformed(str(error)) from None
        if int(found[1]) > head.size:
            raise Malformed(f"an old tree of {found[1]} events and a newer one of {head.size}")
        return cls(int(found[1]), proof, note, head)

    def body(self) -> bytes:
        """What `read` reads."""
        proof = "".join(f"{base64.b64encode(one).decode()}\n" for one in self.proof)
        return f"old {self.old}\n{proof}\n{self.note}".encode()

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of these keys that signed the checkpoint; None if none did."""
        try:
            return next(iter(read_checkpoint(self.note, keys)[1]), None)
        except NoteError:  # a line bears the name of one of them, and is not theirs
            return None


def _hash(line: str) -> bytes:
    try:
        decoded = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != 32 or base64.b64encode(decoded).decode() != line:
        raise Malformed("a line of the proof is no hash in base64")
    return decoded
