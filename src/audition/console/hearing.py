"""Lines from whoever sits at the terminal, or from a pipe in place of one."""

from __future__ import annotations

import os
import sys

LONGEST = 100_000
"""Bytes of one line; what is longer comes as several."""

_typed = bytearray()
"""What was read and is not asked for yet: someone may paste several answers at once."""


async def hear(question: str) -> str:
    """Ask for one line, without stopping the rest of the process.

    An interrupt ends the wait at once, which a thread that reads a line would not allow.

    Raises:
        Left: nobody is there any more.
    """
    from audition.audit import Left

    sys.stderr.write(question)
    sys.stderr.flush()
    source = sys.stdin.fileno()
    try:
        while b"\n" not in _typed and len(_typed) < LONGEST:
            await _readable(source)
            read = os.read(source, 4096)
            if not read and not _typed:
                raise Left("nothing was recorded; it still waits")
            if not read:
                break
            _typed.extend(read)
    except BaseException:
        sys.stderr.write("\n")  # what is said next does not stand behind the question
        raise
    end = _typed.find(b"\n", 0, LONGEST) + 1 or min(len(_typed), LONGEST)
    line = bytes(_typed[:end])
    del _typed[:end]
    return line.decode(errors="replace")


async def _readable(source: int) -> None:
    import anyio.lowlevel

    try:
        await anyio.wait_readable(source)
    except PermissionError:  # a file is always readable, and cannot be waited for
        await anyio.lowlevel.checkpoint()
