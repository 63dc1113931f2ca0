"""The keyring: a folder with a signing key and its public half to a name.

A private key is a file that nobody but its owner can read, made once and never overwritten. Keep
the folder out of reach of whatever thinks.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from audition.ledger.note import NoteError, PrivateKey, PublicKey

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
_LARGEST = 4096
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a named pipe must not make anyone wait


class KeyringError(NoteError):
    """A key cannot be made, found or read; one line says which and what to do."""


class Keyring:
    """The keys in a folder.

    Args:
        folder: where they are; None: `$AUDITION_HOME/keys`, else the user's configuration folder.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else _default()

    def new(self, name: str) -> PublicKey:
        """Make a key; returns its public half.

        Raises:
            KeyringError: the name is taken or no file name, or the folder cannot be written.
        """
        _check_name(name)
        key = PrivateKey.generate(name)
        private, public = self.path(name), self.path(name, public=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if public.exists():
                raise FileExistsError
            _create(private, key.text(), 0o600)
            try:
                _create(public, str(key.public), 0o644)
            except OSError:
                private.unlink()
                raise
        except FileExistsError:
            raise KeyringError(
                f"{self.folder}: there is a key {name!r} already, and keys are never overwritten; "
                "choose another name"
            ) from None
        except OSError as error:
            raise KeyringError(f"{error.filename or self.folder}: {error.strerror}") from None
        return key.public

    def path(self, name: str, *, public: bool = False) -> Path:
        """The file of the key of this name, or of its public half."""
        return self.folder / f"{name}{'.pub' if public else '.key'}"

    def made(self, name: str) -> PrivateKey:
        """The signing key of this name, made if there is none; one key, whoever makes it at once.

        Raises:
            KeyringError: it can neither be read nor be made.
        """
        if not self.holds(name):
            try:
                self.new(name)
            except KeyringError:
                if not self.holds(name):
                    raise
        return self.signer(name)

    def list(self) -> list[PublicKey]:
        """Every public key, by name.

        Raises:
            KeyringError: a file cannot be read or holds no key.
        """
        return [_public(path) for path in sorted(self.folder.glob("*.pub"))]

    def holds(self, name: str) -> bool:
        """Whether there is a signing key of this name."""
        return _NAME.fullmatch(name) is not None and self.path(name).exists()

    def signer(self, name: str) -> PrivateKey:
        """The signing key of this name.

        Raises:
            KeyringError: no such key, malformed, or readable by others.
        """
        _check_name(name)
        path = self.path(name)
        text = _read(path, private=True)
        try:
            key = PrivateKey.parse(text)
        except NoteError as error:
            raise KeyringError(f"{path}: {error}") from None
        if key.public.name != name:
            raise KeyringError(f"{path}: holds the key of {key.public.name!r}; rename the file")
        return key

    def trusted(self, what: str) -> PublicKey:
        """The public key that is meant: its text, a file that holds it, or a name in this folder.

        Raises:
            KeyringError: none of the three, or malformed.
        """
        if what.count("+") >= 2:
            try:
                return PublicKey.parse(what)
            except NoteError as error:
                if not Path(what).is_file():
                    raise KeyringError(f"{what[:60]}: {error}") from None
        if Path(what).is_file():
            return _public(Path(what))
        if _NAME.fullmatch(what) and self.path(what, public=True).is_file():
            return _public(self.path(what, public=True))
        raise KeyringError(
            f"{what[:200]}: neither a public key, nor a file, nor a name in {self.folder}"
        )


def _default() -> Path:
    if home := os.environ.get("AUDITION_HOME"):
        return Path(home) / "keys"
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "audition" / "keys"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise KeyringError(
            f"{name[:120]!r} is no name for a key; use letters, digits and . _ @ -, at most 100"
        )


def _create(path: Path, text: str, mode: int) -> None:
    """Write a new file, durably; it appears whole, and what exists is never touched."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(draft, flags, mode), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _public(path: Path) -> PublicKey:
    text = _read(path)
    if text.startswith("PRIVATE+KEY+"):
        raise KeyringError(f"{path}: a private key; name its .pub file instead")
    try:
        return PublicKey.parse(text)
    except NoteError as error:
        raise KeyringError(f"{path}: {error}") from None


def _read(path: Path, *, private: bool = False) -> str:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise KeyringError(f"{path}: not a regular file")
            if private and os.name == "posix" and mode & 0o077:
                raise KeyringError(f"{path}: others can read this private key; chmod 600 it")
            return file.read(_LARGEST).decode("ascii")
    except FileNotFoundError:
        way_out = f"; make it with: audition keys new {path.stem}" if private else ""
        raise KeyringError(f"{path}: no such key{way_out}") from None
    except OSError as error:
        raise KeyringError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyringError(f"{path}: not the text of a key") from None
