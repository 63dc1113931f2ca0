"""Signed notes and checkpoints as C2SP specifies them (signed-note, tlog-checkpoint), Ed25519.

A checkpoint is three lines, *origin*, *size*, *root in base64*, then a blank line and signature
lines; a witness adds its line without touching the others.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LONGEST = 100_000
"""Characters of a note that is read."""

_ED25519 = b"\x01"


class NoteError(ValueError):
    """A note, key or signature is malformed or does not verify; the message says which."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verifier key."""

    name: str
    raw: bytes

    @property
    def hash(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ key)."""
        return key_hash(self.name, _ED25519 + self.raw)

    @property
    def id(self) -> str:
        """Short name for people and for signatures: `name+hash`."""
        return f"{self.name}+{self.hash.hex()}"

    def __str__(self) -> str:
        """The C2SP form: `name+hash+base64(0x01 ‖ key)`."""
        return f"{self.id}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read the C2SP form.

        Raises:
            NoteError: malformed, another algorithm, or a hash that does not fit.
        """
        return cls(*read_key(text, _ED25519, "an Ed25519 verifier key"))

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A signer key; its text form is secret."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not _name_ok(name):
            raise NoteError(f"a key's name may not be empty or hold spaces or plus signs: {name!r}")
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> PrivateKey:
        """A fresh key."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> PrivateKey:
        """Read the form `PRIVATE+KEY+name+hash+base64(0x01 ‖ seed)`.

        Raises:
            NoteError: malformed; the message never quotes the text.
        """
        parts = text.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
            raise NoteError("not a private key (expected PRIVATE+KEY+name+hash+base64)")
        blob = _decode(parts[4], "private key")
        if blob[:1] != _ED25519 or len(blob) != 33:
            raise NoteError("not an Ed25519 private key")
        key = cls(parts[2], blob[1:])
        if key.public.hash.hex() != parts[3]:
            raise NoteError(f"private key {parts[2]!r}: its hash does not fit")
        return key

    def text(self) -> str:
        """The secret form; write it to a file that only its owner reads."""
        body = base64.b64encode(_ED25519 + self._seed).decode()
        return f"PRIVATE+KEY+{self.public.id}+{body}"

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.id})"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says: this ledger had this root at this size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The signed text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, *keys: PrivateKey) -> str:
        """The note: text, blank line, a signature line for each key."""
        text = self.text()
        return f"{text}\n" + "".join(
            signature_line(key.public.name, key.public.hash + key.sign(text.encode()))
            for key in keys
        )


def read_checkpoint(note: str, trusted: Iterable[PublicKey]) -> tuple[Checkpoint, list[PublicKey]]:
    """Read a note and verify the signatures of the keys that are trusted.

    Signatures of unknown keys are ignored, as the specification asks; a signature that names a
    trusted key and does not verify is an error.

    Returns:
        The checkpoint, and those trusted keys that signed it (maybe none).

    Raises:
        NoteError: malformed, or a trusted key's signature is wrong.
    """
    text, signatures = taken_apart(note)
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not lines[1].isascii() or not lines[1].isdigit():
        raise NoteError("not a checkpoint (origin, size, root)")
    if (len(lines[1]) > 1 and lines[1][0] == "0") or len(lines[1]) > 16:
        raise NoteError("not a checkpoint: its size is no plain number")
    root = _decode(lines[2], "root")
    if len(root) != 32:
        raise NoteError("not a checkpoint: its root is not 32 bytes")
    by_name = {(key.name, key.hash): key for key in trusted}
    signed: list[PublicKey] = []
    for name, blob in signatures:
        key = by_name.get((name, blob[:4]))
        if key is None:
            continue
        if not key.verifies(text.encode(), blob[4:]):
            raise NoteError(f"the signature of {key.id} does not verify")
        signed.append(key)
    return Checkpoint(lines[0], int(lines[1]), root), signed


def taken_apart(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, and of every signature line the key's name, its hash and what follows that.

    Raises:
        NoteError: malformed, or longer than `LONGEST`.
    """
    if len(note) > LONGEST:
        raise NoteError(f"a note of more than {LONGEST:,} characters")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise NoteError("not a signed note (text, blank line, signatures)")
    lines: list[tuple[str, bytes]] = []
    for line in signatures.split("\n")[:-1]:
        if not line.startswith("— ") or line.count(" ") != 2:
            raise NoteError("malformed signature line")
        _, name, encoded = line.split(" ")
        lines.append((name, _decode(encoded, "signature")))
    return text + "\n", lines


def signers(note: str) -> list[str]:
    """The `name+hash` of every key that a note claims to be signed by, unverified."""
    return [f"{name}+{blob[:4].hex()}" for name, blob in taken_apart(note)[1]]


def key_hash(name: str, material: bytes) -> bytes:
    """First 4 bytes of SHA-256(name ‖ newline ‖ algorithm ‖ key)."""
    return hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]


def read_key(text: str, algorithm: bytes, what: str) -> tuple[str, bytes]:
    """The name and the 32 bytes of a verifier key `name+hash+base64(algorithm ‖ key)`.

    Raises:
        NoteError: malformed, another algorithm, or a hash that does not fit.
    """
    name, _, rest = text.strip().partition("+")
    given, _, encoded = rest.partition("+")
    blob = _decode(encoded, "public key")
    if not _name_ok(name) or blob[:1] != algorithm or len(blob) != 33:
        raise NoteError(f"not {what} (expected name+hash+base64)")
    if key_hash(name, blob).hex() != given:
        raise NoteError(f"public key {name!r}: its hash does not fit its name and bytes")
    return name, blob[1:]


def signature_line(name: str, blob: bytes) -> str:
    """A signature's line: who signed, the key's hash and what follows it."""
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def _decode(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{what}: not base64") from None
    if base64.b64encode(data).decode() != text:  # bits to spare could be set, and no one would see
        raise NoteError(f"{what}: not base64 in its one form")
    return data


def _name_ok(name: str) -> bool:
    return bool(name) and "+" not in name and name.isprintable() and not any(map(str.isspace, name))
