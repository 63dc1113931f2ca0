"""One command in the box, from fork to the death of everything that it started."""

from __future__ import annotations

import fcntl
import io
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from audition.box.keeper import kernel

_LOOK_S = 0.025
_READ = 1 << 16
_SECCOMP_FD = 3
_XCPU = 128 + signal.SIGXCPU


@dataclass(frozen=True)
class Call:
    """What to run, and what binds it."""

    command: list[str]
    """The confining program with its arguments, then the guest's command."""
    environment: dict[str, str]
    """All that the guest has of an environment."""
    stdin: bytes
    """Standard input."""
    seccomp: bytes
    """Filter of system calls, handed over on descriptor 3."""
    limits: dict[str, Any]
    """The limits' fields; `address_space` is None where a cgroup binds memory."""


@dataclass
class Ended:
    """How a call ended."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    returncode: int | None = None
    stopped: str | None = None
    seconds: float = 0.0


Become = Callable[[Call, list[int]], None]
"""In the forked child, handed its three descriptors; never returns."""
Look = Callable[[int, dict[str, Any]], str | None]
"""Handed the leader and the limits; says which is broken."""


def run(
    call: Call,
    control: socket.socket,
    others: frozenset[int],
    become: Become | None = None,
    look: Look | None = None,
) -> Ended:
    """Run a call; when this returns, no process of it is alive.

    Args:
        call: What to run.
        control: A word here, or its end, stops the call.
        others: Children of this process that do not belong to the call.
        become: What the forked child becomes; the confining program if left out.
        look: Says now and then which limit is broken; the memory's if left out.
    """
    ended, started = Ended(), time.monotonic()
    ours, guests = _pipes()
    leader = os.fork()
    if not leader:
        (become or _become)(call, guests)
    for end in guests:
        os.close(end)
    try:
        ended.stopped = _watch(call, leader, ours, control, ended, started, look or _look)
    finally:
        status = _end(leader, others, kill=ended.stopped is not None)
    for end, kept in zip(ours[1:], (ended.stdout, ended.stderr), strict=True):
        while (room := call.limits["output"] + 1 - len(kept)) > 0 and (data := _read(end, room)):
            kept += data
    for end in ours:
        end.close()
    if status == _XCPU:
        ended.stopped = ended.stopped or "cpu"
    if ended.stopped is None:
        # Bubblewrap tells of a signal as a shell does.
        ended.returncode = 128 - status if 128 < status < 128 + signal.NSIG else status
    ended.seconds = time.monotonic() - started
    return ended


def end_all_but(others: frozenset[int]) -> None:
    """Kill and await every child but these.

    What a call left behind is ours: the first process of its namespace, with whose death the
    kernel ends every other one before we are told. Without a namespace it is one generation after
    another.
    """
    while orphans := set(kernel.children()) - others:
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)


def limit(limits: dict[str, Any]) -> None:
    """Bind this process, and those that it starts."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    # The confining program and the namespace's first process are two beside the guest's.
    if limits["processes"] is not None:
        kernel.lower_limit(resource.RLIMIT_NPROC, limits["processes"] + 2)
    kernel.lower_limit(resource.RLIMIT_FSIZE, limits["disk"])
    kernel.lower_limit(resource.RLIMIT_NOFILE, limits["open_files"])
    kernel.lower_limit(resource.RLIMIT_CORE, 0)
    kernel.lower_limit(resource.RLIMIT_MEMLOCK, _READ)
    kernel.lower_limit(resource.RLIMIT_MSGQUEUE, _READ)
    kernel.lower_limit(resource.RLIMIT_CPU, limits["cpu_seconds"] + 1)
    resource.setrlimit(
        resource.RLIMIT_CPU, (limits["cpu_seconds"], resource.getrlimit(resource.RLIMIT_CPU)[1])
    )
    if limits["address_space"] is not None:
        kernel.lower_limit(resource.RLIMIT_AS, limits["address_space"])


def _pipes() -> tuple[list[io.FileIO], list[int]]:
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    ours = [io.FileIO(stdin[1], "w"), io.FileIO(stdout[0]), io.FileIO(stderr[0])]
    for end in ours:
        os.set_blocking(end.fileno(), False)
    return ours, [stdin[0], stdout[1], stderr[1]]


def _become(call: Call, guests: list[int]) -> None:
    """In the forked child: limits, then the confining program. Never returns."""
    try:
        filter_, filling = os.pipe()
        os.write(filling, call.seccomp)
        # Copies above every target, so that none is overwritten before its turn.
        above = [fcntl.fcntl(end, fcntl.F_DUPFD, 16) for end in (*guests, filter_)]
        for target, source in enumerate(above):
            os.dup2(source, target)
        os.closerange(_SECCOMP_FD + 1, 1 << 16)
        # Processes are counted by user namespace: in one of its own, the call counts alone.
        kernel.enter_users()
        limit(call.limits)
        os.umask(0o022)
        os.execve(call.command[0], call.command, call.environment)
    except BaseException as error:  # noqa: BLE001  whatever it was, this copy must end here
        os.write(2, f"box: {error}\n".encode())
    finally:
        os._exit(126)


def _watch(
    call: Call,
    leader: int,
    ours: list[io.FileIO],
    control: socket.socket,
    ended: Ended,
    started: float,
    look: Look,
) -> str | None:
    """Move input and output until the leader ends or a limit is reached; says which."""
    limits, stdin = call.limits, memoryview(call.stdin)
    entry, out, err = ours
    kept = {out.fileno(): (out, ended.stdout), err.fileno(): (err, ended.stderr)}
    poll, done = select.poll(), os.pidfd_open(leader)
    for end in (out, err, done, control):
        poll.register(end, select.POLLIN)
    poll.register(entry, select.POLLOUT)
    deadline, next_look = started + limits["seconds"], started + _LOOK_S
    try:
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "time"
            if now >= next_look:
                if why := look(leader, limits):
                    return why
                # Looking takes at most a tenth of the time, however many processes there are.
                next_look = time.monotonic() + max(_LOOK_S, 10 * (time.monotonic() - now))
            for end, _ in poll.poll(max(1, 1000 * (min(next_look, deadline) - now))):
                if end == done:
                    return None
                if end == control.fileno():
                    return "cancelled"
                if end not in kept:
                    stdin = _feed(entry, stdin, poll)
                    continue
                source, sink = kept[end]
                if data := _read(source, _READ):
                    sink += data
                    if len(sink) > limits["output"]:
                        return "output"
                else:
                    poll.unregister(source)
    finally:
        os.close(done)


def _feed(entry: io.FileIO, stdin: memoryview, poll: select.poll) -> memoryview:
    try:
        stdin = stdin[(entry.write(stdin[:_READ]) or 0) if stdin else 0 :]
    except BrokenPipeError:
        stdin = stdin[:0]
    if not stdin:
        poll.unregister(entry)
        entry.close()
    return stdin


def _read(end: io.FileIO, most: int) -> bytes:
    return end.read(min(most, _READ)) or b""


def _end(leader: int, others: frozenset[int], kill: bool) -> int:
    """Wait for the leader and for all that it left, and return the leader's exit status."""
    if kill:
        os.kill(leader, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1])
    end_all_but(others)
    return status if status >= 0 else 128 - status


def _look(leader: int, limits: dict[str, Any]) -> str | None:
    return "memory" if _memory(leader, limits["memory"]) > limits["memory"] else None


def _memory(leader: int, enough: int) -> int:
    """Bytes that the call's processes hold together, exact only where it may be too much."""
    try:
        with open(f"/proc/{leader}/task/{leader}/children") as file:
            first = file.read().split()[0]
        seen = f"/proc/{first}/root/proc"
        guests = [name for name in os.listdir(seen) if name.isdigit()]
    except (OSError, IndexError):  # not begun yet, or over
        return 0
    roughly = sum(_resident(f"{seen}/{guest}") for guest in guests)
    if roughly <= enough:
        return roughly
    return sum(_share(f"{seen}/{guest}") for guest in guests)


def _resident(process: str) -> int:
    try:
        with open(f"{process}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _share(process: str) -> int:
    """A process's memory, with its part of what it shares with others."""
    try:
        with open(f"{process}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) << 10
    except (OSError, StopIteration):
        return 0
