"""Content that was at hand a moment ago: it need not be fetched from the database again."""

from __future__ import annotations

import threading

ROOM = 4 << 20
"""Bytes that are held, the names and what holding them takes included."""

LONGEST = 1 << 16
"""The longest content that is held; few ask for a longer one twice."""

_EACH = 256


class Recent:
    """The contents used last, by name; what is held longest unused makes room.

    What a name stands for never changes, so nothing here is ever out of date, but for what another
    process deletes: that is told here until it has made room.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, bytes] = {}
        self._size = 0
        self._pen = threading.Lock()

    def get(self, name: bytes) -> bytes | None:
        """The content of this name, if it is held."""
        with self._pen:
            data = self._held.pop(name, None)
            if data is not None:
                self._held[name] = data
            return data

    def add(self, name: bytes, data: bytes) -> None:
        """Hold a content which the database is known to have."""
        if len(data) > LONGEST:
            return
        with self._pen:
            self._drop(name)
            self._held[name] = bytes(memoryview(data))  # what was just encoded has room to spare
            self._size += len(data) + _EACH
            while self._size > ROOM:
                self._drop(next(iter(self._held)))

    def drop(self, name: bytes) -> None:
        """Hold it no longer."""
        with self._pen:
            self._drop(name)

    def _drop(self, name: bytes) -> None:
        data = self._held.pop(name, None)
        if data is not None:
            self._size -= len(data) + _EACH
