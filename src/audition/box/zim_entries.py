"""Reads a ZIM file and writes its entries out. Runs alone: `python3 -P zim_entries.py FILE`.

Each entry is a frame on standard output: kind, lengths, path, media type or target, contents.
"""

import os
import struct
import sys
from pathlib import Path
from typing import IO

FRAME = struct.Struct("<BHHI")
"""Kind, bytes of the path, bytes of the media type or target, bytes of the contents."""
END, PAGE, ALIAS, SKIPPED, BROKEN = range(5)
"""What a frame may be."""
MEMORY_MAX = 2 << 30
"""Bytes of memory that reading may take."""
_PAGE_MAX = 4 << 20
_SECONDS, _SECONDS_PER_MEBI = 60, 2
_NAME_MAX = 4096
_TEXTS = ("text/", "application/")


def main(name: str) -> None:
    """Write every entry out, then that this was all."""
    import resource  # not everywhere, as this module's words must be

    # What the library prints is not for whom the entries are.
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    seconds = _SECONDS + _SECONDS_PER_MEBI * (os.path.getsize(name) >> 20)
    for kind, most in (
        (resource.RLIMIT_DATA, MEMORY_MAX),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    path = ""
    try:
        from libzim.reader import Archive

        archive = Archive(Path(name))
        for number in range(archive.entry_count):
            entry = archive._get_entry_by_id(number)
            path = entry.path
            if entry.is_redirect:
                _write(frames, ALIAS, path, entry.get_redirect_entry().path)
                continue
            item = entry.get_item()
            if item.mimetype.startswith(_TEXTS):
                _write(frames, PAGE, path, item.mimetype, bytes(item.content[:_PAGE_MAX]))
            else:
                _write(frames, SKIPPED, path)
        _write(frames, END)
    except (RuntimeError, ValueError, LookupError, MemoryError) as error:
        _write(frames, BROKEN, path, f"{type(error).__name__}: {error}")
    frames.close()


def _write(frames: IO[bytes], kind: int, path: str = "", more: str = "", body: bytes = b"") -> None:
    names = path.encode(errors="replace")[:_NAME_MAX], more.encode(errors="replace")[:_NAME_MAX]
    frames.write(FRAME.pack(kind, len(names[0]), len(names[1]), len(body)))
    frames.writelines((*names, body))


if __name__ == "__main__":
    main(sys.argv[1])
