"""A secret that only the executor knows: read from its environment, kept out of every record."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from audition.canonical import digest_bytes

SHORTEST = 8
"""Characters of a part of a secret that is hidden where it stands alone."""


class SetupError(ValueError):
    """An executor cannot be set up as declared; the message names what is missing and the mend."""


class Credential:
    """The value of an environment variable of the process that acts.

    The setup, and so the ledger, holds the variable's name and never its value.

    Args:
        variable: its name.

    Raises:
        SetupError: there is no such variable, or it holds what no header could.
    """

    def __init__(self, variable: str) -> None:
        value = os.environ.get(variable, "")
        if not value:
            raise SetupError(f"${variable} is not set; set it where the executor runs")
        if not value.isascii() or not value.isprintable():
            raise SetupError(f"${variable} holds more than plain ASCII on one line; mend it")
        self.variable = variable
        self.secret = value

    def hidden(self, text: str) -> str:
        """The text with the secret, and each long word of it, replaced by the variable's name."""
        words = [word for word in self.secret.split() if len(word) >= SHORTEST]
        for part in (self.secret, *words):
            text = text.replace(part, f"<${self.variable}>")
        return text

    def __repr__(self) -> str:
        return f"Credential({self.variable!r})"


def tls(authority: str | None) -> ssl.SSLContext:
    """What verifies a server: its name and its chain, always.

    Args:
        authority: file of the certificates that alone are trusted; None: the system's.

    Raises:
        SetupError: there are none in it.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError):
        raise SetupError(f"{authority}: no certificates there (PEM); mend the path") from None


def held(path: str | None) -> str | None:
    """Digest of what a file of a setup holds, so that the file cannot be exchanged unseen.

    Raises:
        SetupError: it cannot be read.
    """
    if path is None:
        return None
    try:
        return digest_bytes(Path(path).read_bytes())
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}; mend the path") from None
