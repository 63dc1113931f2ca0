"""Co-signatures of witnesses as C2SP tlog-cosignature specifies them: `cosignature/v1`, Ed25519.

A witness signs the text of a checkpoint behind a line with the time: as of then, no larger tree of
this origin had been shown to it, and this one continues all that were.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from audition.ledger.note import (
    NoteError,
    PrivateKey,
    PublicKey,
    key_hash,
    read_key,
    signature_line,
    taken_apart,
)

_COSIGNATURE = b"\x04"
_LATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness's verifier key: good for co-signatures, and for nothing else."""

    name: str
    raw: bytes

    @property
    def hash(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ 0x04 ‖ key)."""
        return key_hash(self.name, _COSIGNATURE + self.raw)

    @property
    def id(self) -> str:
        """Short name for people: `name+hash`."""
        return f"{self.name}+{self.hash.hex()}"

    def __str__(self) -> str:
        """The C2SP form: `name+hash+base64(0x04 ‖ key)`."""
        return f"{self.id}+{base64.b64encode(_COSIGNATURE + self.raw).decode()}"

    @classmethod
    def of(cls, key: PrivateKey) -> WitnessKey:
        """The key under which what `cosign` makes with this one verifies."""
        return cls(key.public.name, key.public.raw)

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read the C2SP form.

        Raises:
            NoteError: malformed, the key of something else than a witness, or a wrong hash.
        """
        return cls(*read_key(text, _COSIGNATURE, "the key of a witness"))


def cosign(text: str, key: PrivateKey, at: int) -> str:
    """The line that a witness adds to a note.

    Args:
        text: the note's text, down to its last newline.
        key: the witness's own, used for nothing else.
        at: seconds since 1970 UTC.
    """
    stamped = struct.pack(">Q", at) + key.sign(_message(text, at))
    return signature_line(key.public.name, WitnessKey.of(key).hash + stamped)


def cosigners(note: str, witnesses: Iterable[WitnessKey]) -> dict[WitnessKey, int]:
    """The witnesses among these that co-signed a note, and when each did so last.

    Raises:
        NoteError: malformed, or a line that names one of these witnesses does not verify.
    """
    text, signatures = taken_apart(note)
    known = {(one.name, one.hash): one for one in witnesses}
    found: dict[WitnessKey, int] = {}
    for name, blob in signatures:
        witness = known.get((name, blob[:4]))
        if witness is None:
            continue
        at = struct.unpack(">Q", blob[4:12])[0] if len(blob) == 76 else _LATEST + 1
        public = PublicKey(witness.name, witness.raw)
        if at > _LATEST or not public.verifies(_message(text, at), blob[12:]):
            raise NoteError(f"the co-signature of {witness.id} does not verify")
        found[witness] = max(at, found.get(witness, 0))
    return found


def mark(witness: WitnessKey) -> str:
    """How every line of this witness begins, as far as whole characters of base64 tell."""
    return f"— {witness.name} {base64.b64encode(witness.hash)[:5].decode()}"


def _message(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()
