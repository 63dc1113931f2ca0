"""A box: a workspace that commands change, and nothing else that they can reach."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from audition.box.report import BoxReport, held, uncovered
from audition.box.session import Session, bind, child_of, pair
from audition.step import Completed, Digest, Snapshot


class Box(Protocol):
    """A confined workspace. Get one from `open_box`, or a future of one from `open`."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        """Run a command in the workspace; nothing of it is alive afterwards.

        Args:
            argv: The command, looked up in the box.
            stdin: Its standard input.

        Returns:
            What it left. A command that a limit stopped has no exit status, and says which.

        Raises:
            BoxError: The box is closed, or its state can no longer be carried.
            ValueError: This cannot be a command.
        """
        ...

    async def snapshot(self) -> Snapshot:
        """Freeze the present state; it lasts as long as the box."""
        ...

    async def forget(self, snapshot: Snapshot) -> None:
        """Let a snapshot go, so that what only it needed takes no more room."""
        ...

    def open(self, snapshot: Snapshot) -> AbstractAsyncContextManager[Box]:
        """A box with the state of a snapshot of this one, and a future of its own.

        It ends with the box it comes from.

        Raises:
            BoxError: This box has no such snapshot.
        """
        ...

    async def digest(self) -> Digest:
        """SHA-256 of the workspace: names, types, modes, contents, link targets; no times."""
        ...

    async def save(self) -> bytes:
        """The workspace as bytes, the same for the same contents; see `open_box`.

        Raises:
            BoxError: The box is closed, or its state can no longer be carried.
        """
        ...

    def report(self) -> BoxReport:
        """Which limits hold here by which means, and what this layer does not cover."""
        ...


class NativeBox:
    """A box of namespaces, layers and limits of our own."""

    def __init__(self, session: Session, probes: tuple[str, ...]) -> None:
        """Wrap an open session that withstood these probes."""
        self._session = session
        self._probes = probes
        self._digest: Digest | None = None

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        """Have the keeper run a command."""
        self._digest = None
        try:
            return await self._session.run(argv, stdin)
        finally:
            self._digest = None  # it may have been asked for while the command waited its turn

    async def snapshot(self) -> Snapshot:
        """Put an empty layer upon the present state, copying nothing."""
        return Snapshot(**await self._session.ask("snapshot"))

    async def forget(self, snapshot: Snapshot) -> None:
        """Let go of layers that only this snapshot needed."""
        await self._session.ask("forget", **snapshot.model_dump())

    @contextlib.asynccontextmanager
    async def open(self, snapshot: Snapshot) -> AsyncGenerator[Box]:
        """A fork of the keeper upon the snapshot's layers, with what room there was left."""
        line, theirs = pair()
        session = dataclasses.replace(self._session, line=line, group=None)
        try:
            with theirs:
                reply = await self._session.ask("open", theirs, **snapshot.model_dump())
            keeper = child_of(self._session.keeper, reply["pid"])
            session = dataclasses.replace(
                session, keeper=keeper, group=bind(session.config, keeper)
            )
            await line.reply()
            yield NativeBox(session, self._probes)
        finally:
            await session.close()

    async def digest(self) -> Digest:
        """What the keeper knows already: each call's changes are hashed before it returns, and
        nothing else changes the workspace, so that the keeper is asked once after each."""
        if self._digest is not None:
            return self._digest
        digest: Digest = (await self._session.ask("digest"))["digest"]
        self._digest = digest
        return digest

    async def save(self) -> bytes:
        """The workspace, packed by the keeper."""
        return await self._session.save()

    def report(self) -> BoxReport:
        """What holds here."""
        group = self._session.group
        return BoxReport(
            kernel=platform.release(),
            bubblewrap=self._session.bubblewrap,
            uid=self._session.uid,
            limits=held(self._session.config.limits, group),
            probes=self._probes,
            uncovered=uncovered(group),
        )
