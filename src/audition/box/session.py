"""One box as its caller holds it: the line to its keeper, and what every call takes along."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from audition.box import archive, confine, seccomp, tree
from audition.box.cgroup import Bounds, Group, make_group
from audition.box.config import BoxConfig, BoxError, BoxUnavailable
from audition.box.line import Line, Passed
from audition.step import Completed

_KEEPER_BYTES = 64 << 20
_KEEPER_PROCESSES = 8
_STDIN_MAX = 64 << 20
_ENTRY_BYTES = 1024
_PATIENCE_S = 5.0
_LOOK_S = 0.005


@dataclass(frozen=True)
class Session:
    """An open box; closing the line ends it."""

    config: BoxConfig
    """What is in it and what binds it."""
    line: Line
    """The line to its keeper."""
    bubblewrap: str
    """Path of the confining program."""
    uid: int
    """The user outside that it runs as."""
    keeper: int
    """The keeper's process."""
    group: Group | None = None
    """The group that binds it as a whole, where there can be one."""

    async def ask(self, word: str, passed: Passed | None = None, **fields: Any) -> dict[str, Any]:
        """Ask the keeper for what needs no more than words."""
        return (await self.line.ask({"do": word, **fields}, passed=passed))[0]

    async def run(
        self, argv: Sequence[str], stdin: bytes, also: tuple[Path, ...] = ()
    ) -> Completed:
        """Run a command; `also` are further folders shown to it, each in its own place."""
        if not argv or any("\0" in part for part in argv):
            raise ValueError("a command is one or more words without NUL")
        if len(stdin) > _STDIN_MAX:
            raise ValueError(f"standard input of {len(stdin)} bytes; the most is {_STDIN_MAX}")
        kills = self.group.kills() if self.group else 0
        header, (stdout, stderr) = await self.line.ask(
            {
                "do": "run",
                "argv": list(argv),
                "confined": confine.arguments(self.bubblewrap, self.config, also),
                "environment": confine.environment(self.config),
                "limits": confine.bounds(self.config.limits, counts(self.group, "memory")),
            },
            (stdin, seccomp.program()),
        )
        if self.group and header["returncode"] != 0 and self.group.kills() > kills:
            header.update(returncode=None, stopped=header["stopped"] or "memory")
        return Completed(argv=tuple(argv), stdout=stdout, stderr=stderr, **header)

    async def fill(self, pack: Callable[[archive.Write], object]) -> None:
        """Have the workspace, still empty, filled with what `pack` writes."""
        source, sink = _pipe()
        ours: list[Exception] = []
        theirs: list[Exception] = []

        def write() -> None:
            # A keeper that refuses what it reads hangs up, and says why in its answer.
            try:
                with contextlib.suppress(BrokenPipeError), sink:
                    pack(sink.write)
            except (OSError, tree.TreeError) as error:
                ours.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, write)
            with source:
                try:
                    await self.ask("fill", source)
                except BoxError as error:
                    theirs.append(error)
        # What went wrong on our side is why the stream was cut on theirs.
        for error in (*ours, *theirs):
            raise BoxError(f"the workspace does not go in: {error}") from error

    async def save(self) -> bytes:
        """The workspace, packed."""
        limits = self.config.limits
        most = limits.disk + limits.files * _ENTRY_BYTES
        source, sink = _pipe()
        saved = b""

        async def read() -> None:
            nonlocal saved
            saved = await anyio.to_thread.run_sync(source.read, most + 1)

        wrong: list[BoxError] = []
        with source:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                with sink:
                    try:
                        await self.ask("save", sink)
                    except BoxError as error:
                        wrong.append(error)
        if wrong:
            raise wrong[0]
        if len(saved) > most:
            raise BoxError(f"the saved box would be over {most} bytes; raise limits.disk")
        return saved

    async def close(self) -> None:
        """Hang up, and clear away once the last process is gone."""
        self.line.close()
        if self.group is None:
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(_PATIENCE_S):
            while not self.group.remove():  # noqa: ASYNC110  the kernel sends no word of it
                await anyio.sleep(_LOOK_S)


def bind(config: BoxConfig, pid: int) -> Group | None:
    """Put a keeper into a group of its own, if there can be one.

    Raises:
        BoxUnavailable: There cannot, and a limit asks for one.
    """
    limits = config.limits
    memory = limits.memory + limits.disk + limits.scratch + _KEEPER_BYTES
    group = make_group(Bounds(memory, limits.processes + _KEEPER_PROCESSES, limits.cores))
    if group is not None:
        try:
            group.add(pid)
        except OSError:  # a group that we may make, but not enter
            group.remove()
            group = None
    if limits.cores is not None and not counts(group, "cpu"):
        raise BoxUnavailable(
            "no box here: limits.cores takes a cgroup that binds processor time, and none can be "
            "made; leave it out, or have `cpu` delegated to this user"
        )
    return group


def counts(group: Group | None, what: str) -> bool:
    """Whether a group binds this: `memory`, `pids` or `cpu`."""
    return group is not None and what in group.folders


def child_of(parent: int, inside: int) -> int:
    """The child of a process that goes by this number in its own, inner process namespace.

    Raises:
        BoxError: There is none; it has ended.
    """
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{parent}/task"):
            children = Path(f"/proc/{parent}/task/{thread}/children").read_text().split()
            for child in children:
                status = Path(f"/proc/{child}/status").read_text()
                names = status.partition("\nNSpid:")[2].partition("\n")[0].split()
                if names and int(names[-1]) == inside:
                    return int(child)
    raise BoxError("a keeper ended as it began; open another box from what was saved")


def pair() -> tuple[Line, socket.socket]:
    """A line, and the end of it that goes to a keeper."""
    ours, theirs = socket.socketpair()
    return Line(ours), theirs


def _pipe() -> tuple[Any, Any]:
    ours, theirs = os.pipe()
    return os.fdopen(ours, "rb"), os.fdopen(theirs, "wb")
