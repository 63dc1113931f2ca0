"""Disks that fill up, fail, lie or turn read-only; files that are torn, taken away or put back."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg
import pytest
from disk import Change, changes, left, shim, unsynced
from driver import OPERATOR
from fault import Fault
from hypothesis import given, settings
from hypothesis import strategies as st
from world import Receipt, World

from audition.ledger import LedgerError
from audition.verify import verify

SWALLOWED = "a commit that failed is believed"
BEFORE = "before act.started is durable"
SQLITE = ("sqlite",)


# ------------------------------------------------------------------------ what fails


def fails(
    call: str, error: int, says: str, *, after: int = 0, times: int = -1, at: str = BEFORE
) -> Callable[[World], None]:
    """Writes or syncs of the ledger's files fail from an instant on; then all is well again."""

    def play(world: World) -> None:
        _needs_shim()
        process = world.start(at=at)
        acts = world.acts
        process.do("disk", call, error, after, times)
        process.go()
        assert process.ended().startswith("LedgerError") and says in process.why, process.why
        assert world.acts == acts, "an act was done though its start was not durable"

    return play


def short_writes(world: World) -> None:
    """Every write is done in part; whoever writes goes on with the rest."""
    _needs_shim()
    process = world.start(at="before run.opened is durable")
    process.do("disk", "write", 0)
    process.go()
    assert process.ended() == ""


def too_large(world: World) -> None:
    process = world.start(at=BEFORE)
    log = world.path.with_name("ledger.db-wal")
    process.do("limit", resource.RLIMIT_FSIZE, log.stat().st_size + 100)
    process.go()
    assert process.ended().startswith("LedgerError"), process.why
    assert world.acts == []


# ------------------------------------------------------------------------ what is taken away


def locked(world: World) -> None:
    """Another process holds the lock for longer than anybody waits."""
    world.start(at="acting").kill()
    with _lock(world):
        process = world.start(at="opening")
        process.do("patience", 50)
        process.go()
        assert process.ended().startswith("LedgerError"), process.why


def locked_for_a_while(world: World) -> None:
    """Another process holds the lock when an act is to start, and lets it go."""
    process = world.start(at=BEFORE)
    with _lock(world):
        process.go()
        assert not process.ends_within(0.5), process.ended()
        assert world.acts == []
    assert process.ended() == ""


def forbidden(world: World) -> None:
    """The right to the files is taken away before a ledger is opened."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    world.start(at="acting").kill()
    process = world.start(at="opening")
    process.do("user", 65534)
    process.go()
    assert process.ended().startswith("LedgerError"), process.why


def away(world: World) -> None:
    """The files are deleted under a running process; what it then writes is nowhere."""
    process = world.start(at=BEFORE)
    kept = _taken(world)
    process.go()
    assert process.ended().startswith("LedgerError"), process.why
    assert world.acts == [], "an act was done of which no ledger tells"
    _put(kept, world.path.parent)


def older(world: World) -> None:
    """An older copy of the files is put in their place under a running process."""
    process = world.start(at="stage act.started")
    copy = _copied(world, "older")
    process.on_to("stage act.started")
    acts = world.acts
    kept = _taken(world)
    _put(copy, world.path.parent)
    process.go()
    assert process.ended().startswith("LedgerError"), process.why
    assert world.acts == acts, "an act was done of which no ledger tells"
    _put(kept, world.path.parent)


def rolled_back(world: World) -> None:
    """An older copy is put in place while nobody looks: it shows to whoever kept a checkpoint."""
    world.start(at="acting").kill()
    copy = _copied(world, "older")
    world.finish("recover")
    kept = world.folder / "kept"
    code, said = world.command("verify", world.whole, "--key", _key(world), "--keep", str(kept))
    assert code == 0, said
    _taken(world)
    _put(copy, world.path.parent)
    world.verified()
    code, said = world.command(
        "verify", world.whole, "--key", _key(world), "--checkpoint", str(kept)
    )
    assert code == 1 and "checkpoint" in said, said


def index_garbled(world: World) -> None:
    """The shared index of the log is garbage when nobody holds it: it is made anew."""
    world.start(at="acting").kill()
    index = world.path.with_name("ledger.db-shm")
    index.write_bytes(os.urandom(index.stat().st_size))


# ------------------------------------------------------------------------ power loss


def log_torn(examples: int) -> Callable[[World], None]:
    """The log's tail, of a commit that was never synced, is cut or garbled anywhere."""

    def play(world: World) -> None:
        process = world.start(at="acted")
        log, promised = world.path.with_name("ledger.db-wal"), list(world.receipts)
        synced = log.stat().st_size
        process.on_to("after act.finished is durable")
        process.kill()
        files = _copied(world, "torn")
        torn, whole = files / log.name, log.read_bytes()
        assert len(whole) > synced

        @settings(max_examples=examples, deadline=None, database=None, derandomize=True)
        @given(st.integers(synced, len(whole)), st.binary(max_size=64), st.booleans())
        def anywhere(cut: int, garbage: bytes, rest: bool) -> None:
            after = whole[cut + len(garbage) :] if rest else b""
            torn.with_name("ledger.db-shm").unlink(missing_ok=True)
            torn.write_bytes(whole[:cut] + garbage + after)
            shutil.copy(world.path, files)
            _holds(world, files, promised, world.acts)

        anywhere()

    return play


def power_lost(plan: str, examples: int) -> Callable[[World], None]:
    """The power fails anywhere; of what was not synced, any part is on the disk."""

    def play(world: World) -> None:
        _needs_shim()
        record = world.folder / "record"
        process = world.start(plan, record=record)
        assert process.ended() == "", process.why
        _any_loss(world, changes(record), examples)

    return play


def sync_lied(examples: int) -> Callable[[World], None]:
    """A sync fails once and what it was to write is gone for good, though the next succeeds."""

    def play(world: World) -> None:
        _needs_shim()
        record = world.folder / "record"
        process = world.start(at=BEFORE, record=record)
        process.do("disk", "sync", errno.EIO, 0, 1)
        process.go()
        assert process.ended().startswith("LedgerError"), process.why
        again = world.start(do="recover", record=record)
        assert again.ended() == "", again.why
        _any_loss(world, changes(record), examples, since=process.recorded)

    return play


def _any_loss(world: World, done: list[Change], examples: int, since: int = 0) -> None:
    files = world.folder / "left"

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    @given(st.integers(since, len(done)), st.randoms(use_true_random=False), st.integers(-1, 5000))
    def anywhere(place: int, chance: Random, cut: int) -> None:
        loose = unsynced(done[:place])
        kept = [one for one in loose if chance.random() < 0.5]
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        for name, data in left(done[:place], kept, cut).items():
            (files / name).write_bytes(data)
        promised = [one for one in world.receipts if one.recorded <= place]
        acted = sum(
            name == "acted" and recorded <= place
            for process in world.processes
            for recorded, name in process.passed
        )
        _holds(world, files, promised, world.acts[:acted])

    anywhere()


def _holds(world: World, files: Path, promised: list[Receipt], acts: list[str]) -> None:
    """What was promised holds in these files, and what was done is accounted for there."""
    there = World(world.folder, str(files / "ledger.db"), world.starts)
    try:
        rows = there.rows()
    except LedgerError:  # the power failed before it was fully made
        assert not promised, "a ledger was committed to, and cannot be read"
        return
    there.kept(rows, promised)
    there.accounted(rows, acts)
    if rows:
        found = verify(there.whole, [OPERATOR.public]).findings
        assert found == (), found


@contextmanager
def _lock(world: World) -> Iterator[None]:
    """The lock that whoever writes needs."""
    if world.server is not None:
        with psycopg.connect(world.whole) as holds:
            holds.execute("SELECT size FROM ledger FOR UPDATE")
            yield
        return
    other = sqlite3.connect(world.path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


def _needs_shim() -> None:
    if shim() is None:
        pytest.skip("no C compiler: nothing stands between a process and its disk")


def _key(world: World) -> str:
    return str(world.folder / "operator.pub")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("ledger.db*"))


def _copied(world: World, name: str) -> Path:
    """A copy of the ledger's files as they are."""
    there = world.folder / name
    there.mkdir()
    for file in _files(world.path.parent):
        shutil.copy(file, there)
    return there


def _taken(world: World) -> Path:
    """The ledger's files, moved away."""
    there = world.folder / "taken"
    there.mkdir()
    for file in _files(world.path.parent):
        file.rename(there / file.name)
    return there


def _put(files: Path, there: Path) -> None:
    """Put a copy where the ledger's files were, and nothing else."""
    for file in _files(there):
        file.unlink()
    for file in _files(files):
        shutil.copy(file, there)


STORAGE = (
    Fault(
        "a full disk at the first commit",
        fails("write", errno.ENOSPC, "the disk is full", at="before run.opened is durable"),
        (SWALLOWED,),
        SQLITE,
    ),
    Fault(
        "a full disk when an act is to start",
        fails("write", errno.ENOSPC, "the disk is full"),
        (SWALLOWED,),
        SQLITE,
    ),
    Fault(
        "a disk that fills up within a commit",
        fails("write", errno.ENOSPC, "the disk is full", after=5000),
        (SWALLOWED,),
        SQLITE,
    ),
    Fault(
        "a full disk after an act",
        fails("write", errno.ENOSPC, "the disk is full", at="before act.finished is durable"),
        ("an act that was begun is begun again",),
        SQLITE,
    ),
    Fault("a file as large as it may become (RLIMIT_FSIZE)", too_large, (SWALLOWED,), SQLITE),
    Fault(
        "a write that fails",
        fails("write", errno.EIO, "the disk failed", times=1),
        (SWALLOWED,),
        SQLITE,
    ),
    Fault(
        "a disk that turns read-only",
        fails("write", errno.EROFS, "ledger.db: "),
        (SWALLOWED,),
        SQLITE,
    ),
    Fault(
        "a sync that fails",
        fails("sync", errno.EIO, "the disk failed", times=1),
        (SWALLOWED,),
        SQLITE,
    ),
    Fault("a sync that fails and loses what it was to write", sync_lied(25), (SWALLOWED,), SQLITE),
    Fault("writes done in part", short_writes, (), SQLITE),
    Fault("another holds the lock for long", locked, (SWALLOWED,)),
    Fault(
        "another holds the lock for a while",
        locked_for_a_while,
        ("nobody waits for a lock",),
    ),
    Fault("no right to the files", forbidden, ("a database's error is nobody's",), SQLITE),
    Fault(
        "the files are deleted under a running process",
        away,
        ("a ledger need not stand where it stood",),
        SQLITE,
    ),
    Fault(
        "an older copy is put in their place under a running process",
        older,
        ("a ledger need not stand where it stood",),
        SQLITE,
    ),
    Fault(
        "an older copy is put in their place while nobody looks",
        rolled_back,
        ("a checkpoint from elsewhere is not compared",),
        SQLITE,
        judged=False,
    ),
    Fault("the log's index is garbled", index_garbled, (), SQLITE),
    Fault("the log's tail is torn", log_torn(25), (), SQLITE),
    Fault("a power loss", power_lost("plain", 40), ("commits are not synced",), SQLITE),
    Fault(
        "a power loss, anywhere",
        power_lost("plain", 1000),
        ("commits are not synced",),
        SQLITE,
        quick=False,
    ),
)
