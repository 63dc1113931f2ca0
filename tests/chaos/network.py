"""A PostgreSQL server that is restarted, crashes, stands still or is cut off; what it is denied."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from fault import Fault
from workers import queued
from world import Process, World

from servers.postgres import Server
from servers.wire import Wire

AGAIN = "an act that was begun is begun again"
SWALLOWED = "a commit that failed is believed"
SILENT = "a server that says nothing is waited for"
HELD = "whoever holds the ledger may say nothing for ever"
BEFORE, AFTER = "before act.started is durable", "after act.started is durable"
SERVER = ("postgresql",)
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = '{}'"


# ------------------------------------------------------------------------ the server


def restarted(how: str, at: str) -> Callable[[World], None]:
    """The server is restarted at an instant; `immediate` is a crash."""

    def play(world: World) -> None:
        process = world.start(at=at)
        server = _server(world)
        server.stop(how)
        server.start()
        process.go()
        assert process.ended().startswith("LedgerError"), process.why

    return play


def hasty(world: World) -> None:
    """It is set to answer before anything is durable, and crashes after it has answered."""
    server = _server(world)
    server.stop()
    server.start(wal_writer_delay="10s")
    server.tell(f"ALTER DATABASE {world.name} SET synchronous_commit = off")
    process = world.start(at=AFTER)
    server.stop("immediate")
    server.start()
    process.kill()


def stands_still(world: World) -> None:
    """It stands still when an act is to start, and goes on later."""
    process = world.start(at=BEFORE)
    with _still(world):
        process.go()
        assert world.acts == []
    assert process.ended() == ""


def never_goes_on(world: World) -> None:
    """It stands still when an act is to start, for longer than anybody waits."""
    process = world.start(at="opening")
    process.do("silence")
    process.on_to(BEFORE)
    with _still(world):
        process.go()
        assert "the server has said nothing for 2 seconds" in _gives_up(process)
        assert world.acts == []


def stands_still_under_a_worker(world: World) -> None:
    """It stands still; a worker puts its run down, and another takes it up when it goes on."""
    queued(world)
    process = world.start(at="opening", do="work")
    process.do("silence")
    process.on_to(BEFORE)
    with _still(world):
        process.go()
        assert _gives_up(process) == ""
        assert "said nothing" in str(process.stands), process.stands
        assert world.acts == []
    other = world.start(do="work")
    assert other.ended() == "" and set(other.stands.values()) == {"finished"}, other.stands


def terminated(world: World) -> None:
    """Its connections are ended while they are idle."""
    process = world.start(at=BEFORE)
    _end_connections(world)
    _refused(world, process)


def taken(world: World) -> None:
    """The database is renamed under a running process."""
    process = world.start(at=BEFORE)
    _end_connections(world)
    server = _server(world)
    server.tell(f"ALTER DATABASE {world.name} RENAME TO {world.name}_taken")
    _refused(world, process)
    server.tell(f"ALTER DATABASE {world.name}_taken RENAME TO {world.name}")


def read_only(world: World) -> None:
    """The database may only be read from now on, as after a failover."""
    world.start(at="acting").kill()
    server = _server(world)
    server.tell(f"ALTER DATABASE {world.name} SET default_transaction_read_only = on")
    process = world.start(at="opening")
    _refused(world, process)
    server.tell(f"ALTER DATABASE {world.name} RESET default_transaction_read_only")


def full(world: World) -> None:
    """The disk of its files is full when a run is to begin; then there is room again."""
    server, space = _server(world), f"{world.name}_small"
    place = Path(tempfile.mkdtemp(prefix="pg"))  # where the server's user may go
    world.ends.callback(place.rmdir)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m,mode=777", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.decode().strip()}")
    world.ends.callback(subprocess.run, ["umount", place], check=True)
    (place / "data").mkdir()
    shutil.chown(place / "data", (server.folder / "data").owner())
    server.tell(f"CREATE TABLESPACE {space} LOCATION '{place / 'data'}'")
    world.ends.callback(server.tell, f"DROP TABLESPACE {space}")
    server.tell(f"ALTER DATABASE {world.name} SET TABLESPACE {space}")
    process = world.start(at="before run.opened is durable")
    with (place / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 12))
    _refused(world, process)
    (place / "filler").unlink()


# ------------------------------------------------------------------------ the way to it


def cut(where: Literal["before", "after"], at: str) -> Callable[[World], None]:
    """The connection is lost with a commit, or with its answer."""

    def play(world: World) -> None:
        with _wire(world) as wire:
            process = world.start(at=at)
            acts = world.acts
            wire.cut = where
            process.go()
            if where == "after":  # whoever asks again learns that it was written
                assert process.ended() == ""
                return
            assert process.ended().startswith("LedgerError"), process.why
            assert world.acts == acts

    return play


def cut_for_good(world: World) -> None:
    """The connection is lost with the answer to a commit, and the server is out of reach."""
    with _wire(world) as wire:
        process = world.start(at=BEFORE)
        process.do("patience", 100)
        wire.cut = "after"
        wire.deafen()
        process.go()
        assert "whether it was written is not known" in process.ended()
        assert world.acts == []


def swallowed(where: Literal["before", "after", "all"]) -> Callable[[World], None]:
    """A commit, its answer, or all that is said is swallowed on the way, and no connection ends."""

    def play(world: World) -> None:
        with _wire(world) as wire:
            process = world.start(at="opening")
            process.do("silence")
            process.on_to(BEFORE)
            wire.quiet = True
            if where == "all":
                wire.mute = True
            else:
                wire.cut = where
            process.go()
            if where == "after":  # whoever asks again, by another way, learns that it was written
                assert _gives_up(process) == ""
                return
            assert "the server has said nothing for 2 seconds" in _gives_up(process)
            assert world.acts == []

    return play


@contextmanager
def _wire(world: World) -> Iterator[Wire]:
    """A wire to the server, for whoever carries runs meanwhile."""
    wire = Wire(_server(world).port)
    direct, world.where = world.where, f"postgresql://audition@127.0.0.1:{wire.port}/{world.name}"
    try:
        yield wire
    finally:
        world.where = direct
        wire.close()


@contextmanager
def _still(world: World) -> Iterator[None]:
    """Let the server do nothing for a while, nor anybody who comes anew."""
    if os.geteuid() != 0:
        pytest.skip("only root may stop another user's server")
    server = _server(world)
    one = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    stopped = [pid for (pid,) in _told(server, BACKENDS.format(world.name))] + [one]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def _server(world: World) -> Server:
    assert world.server is not None
    return world.server


def _gives_up(process: Process) -> str:
    """See that it waits no longer; what it says then."""
    assert process.ends_within(40), "it waits for a server that says nothing"
    return process.ended()


def _refused(world: World, process: Process) -> None:
    """Let a process go on, and see that it does nothing more."""
    acts = world.acts
    process.go()
    assert process.ended().startswith("LedgerError"), process.why
    assert world.acts == acts, "an act was done though its start was not durable"


def _end_connections(world: World) -> None:
    end = f"SELECT pg_terminate_backend(pid, 60000) FROM ({BACKENDS.format(world.name)}) AS those"
    assert all(gone for (gone,) in _told(_server(world), end))


def _told(server: Server, query: str) -> list[tuple[int]]:
    with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


NETWORK = (
    Fault(
        "the server is restarted when an act is to start",
        restarted("fast", BEFORE),
        (SWALLOWED,),
        SERVER,
    ),
    Fault("the server is restarted during an act", restarted("fast", "acting"), (AGAIN,), SERVER),
    Fault(
        "the server crashes within a commit",
        restarted("immediate", "while act.started is committed"),
        (SWALLOWED,),
        SERVER,
    ),
    Fault(
        "the server crashes after an act's start is durable",
        restarted("immediate", AFTER),
        (AGAIN,),
        SERVER,
    ),
    Fault(
        "a server that answers before it has synced crashes",
        hasty,
        ("a server may answer before it has synced",),
        SERVER,
    ),
    Fault("the server stands still for a while", stands_still, (), SERVER),
    Fault("the server stands still for ever", never_goes_on, (SILENT,), SERVER),
    Fault(
        "the server stands still under a worker; another takes over",
        stands_still_under_a_worker,
        (SILENT,),
        SERVER,
    ),
    Fault("the server ends idle connections", terminated, (SWALLOWED,), SERVER),
    Fault("the database is renamed under a running process", taken, (SWALLOWED,), SERVER),
    Fault("the database turns read-only", read_only, (SWALLOWED,), SERVER),
    Fault("the server's disk is full", full, (SWALLOWED,), SERVER),
    Fault(
        "the network is cut with a commit",
        cut("before", BEFORE),
        ("a commit without an answer was written",),
        SERVER,
    ),
    Fault(
        "the network is cut with a commit's answer",
        cut("after", BEFORE),
        ("nobody asks what became of a commit",),
        SERVER,
    ),
    Fault(
        "the network is cut with the answer to an act's outcome",
        cut("after", "before act.finished is durable"),
        ("nobody asks what became of a commit",),
        SERVER,
    ),
    Fault(
        "the network is cut with a commit's answer, for good",
        cut_for_good,
        ("a commit without an answer was written",),
        SERVER,
    ),
    Fault("everything is swallowed on the way", swallowed("all"), (SILENT,), SERVER),
    Fault("a commit is swallowed on the way", swallowed("before"), (SILENT, HELD), SERVER),
    Fault(
        "a commit's answer is swallowed on the way",
        swallowed("after"),
        (SILENT, "nobody asks what became of a commit"),
        SERVER,
    ),
)
