"""A wire between a ledger and its server: it can be cut at a commit, or swallow all it is given."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal


class Wire:
    """Carries bytes both ways; when told to, cuts at the next `COMMIT`.

    Args:
        port: the server's, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._ears = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port = self._ears.getsockname()[1]
        self.cut: Literal["before", "after"] | None = None
        """Where the next commit is lost: on its way, or with its answer."""
        self.quiet = False
        """Whether what is lost is lost without a sign: all that follows on it is swallowed."""
        self.mute = False
        """Whether everything is swallowed from now on."""
        threading.Thread(target=self._listen, daemon=True).start()

    def deafen(self) -> None:
        """Nobody who comes anew is let through."""
        with suppress(OSError):
            self._ears.shutdown(socket.SHUT_RDWR)
        self._ears.close()

    def close(self) -> None:
        """Nobody is let through any more."""
        self.deafen()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._ears.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # it is away for a while
                    client.close()
                    continue
                self._ends += (client, server)
                lost = threading.Event()
                for here, there in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._carry, args=(here, there, here is client, lost), daemon=True
                    ).start()

    def _carry(
        self, here: socket.socket, there: socket.socket, asks: bool, lost: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := here.recv(1 << 16):
                if self.cut == ("before" if asks else "after") and b"COMMIT\0" in data:
                    self.cut = None
                    if not self.quiet:
                        break
                    lost.set()
                if not (lost.is_set() or self.mute):
                    there.sendall(data)
        if lost.is_set() or self.mute:  # not even that it ended is heard
            return
        for end in (here, there):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
