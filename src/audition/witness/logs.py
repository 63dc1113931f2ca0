"""Whose checkpoints a witness takes: keys that are trusted, for any ledger or for one by name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, ValidationError

from audition.ledger import NoteError, PublicKey
from audition.misread import misread
from audition.step import Frozen

LARGEST = 1 << 20
"""Bytes of a file of logs."""


class LogsError(ValueError):
    """A file of logs is not one; one line says where."""


class _Log(Frozen):
    """A ledger that is named, and the keys that may sign its checkpoints."""

    origin: str = Field(min_length=1, max_length=200)
    keys: tuple[str, ...] = Field(min_length=1, max_length=100)


class _Logs(Frozen):
    """A file of them."""

    log: tuple[_Log, ...] = Field(min_length=1, max_length=100_000)


class TrustedLogs:
    """The keys that sign checkpoints, by the ledger's name.

    Args:
        keys: for every ledger that is not named; each ledger then belongs to the key that was the
            first to bring it, so that no other can take its name.
        named: for the ledgers that are.
    """

    def __init__(
        self, keys: Iterable[PublicKey] = (), named: dict[str, tuple[PublicKey, ...]] | None = None
    ) -> None:
        self._keys = tuple(keys)
        self._named = named or {}

    @classmethod
    def read(cls, file: str | Path) -> TrustedLogs:
        """Read a file of `[[log]]` tables, each with `origin` and `keys`.

        Raises:
            LogsError: it cannot be read, or is no such file.
        """
        name = Path(file).name
        try:
            with Path(file).open("rb") as opened:
                text = opened.read(LARGEST).decode()
        except OSError as error:
            raise LogsError(f"{file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise LogsError(f"{name}: not UTF-8") from None
        try:
            logs = _Logs.model_validate(tomllib.loads(text)).log
            named = {one.origin: tuple(map(PublicKey.parse, one.keys)) for one in logs}
        except ValidationError as error:
            raise LogsError(misread(error, name, text, (_Log, _Logs))) from None
        except (NoteError, tomllib.TOMLDecodeError) as error:
            raise LogsError(f"{name}: {error}") from None
        if len(named) < len(logs):
            raise LogsError(f"{name}: an origin is named twice")
        return cls(named=named)

    def __or__(self, other: TrustedLogs) -> TrustedLogs:
        return TrustedLogs(self._keys + other._keys, self._named | other._named)

    def keys(self, origin: str, owner: str | None) -> tuple[PublicKey, ...]:
        """Who may sign for a ledger.

        Args:
            origin: the ledger's name.
            owner: the key that brought it first, as `name+hash`; None: it was never brought.
        """
        if origin in self._named:
            return self._named[origin]
        return tuple(key for key in self._keys if owner in (None, key.id))
