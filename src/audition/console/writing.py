"""Files that commands write for people."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it, and no planted link is followed."""
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """The same of lines, which need not be in memory together; each has its end."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(part, flags, 0o666), "w", encoding="utf-8") as file:
        try:
            file.writelines(lines)
            file.flush()
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
