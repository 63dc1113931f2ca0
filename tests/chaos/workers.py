"""Workers on one queue: dead, stopped beyond their lease, with another clock, or two at once."""

from __future__ import annotations

import signal

from disk import shim
from fault import Fault
from plans import planned, run_id
from world import Process, World

from audition.ledger.claims import submit
from audition.opening import identity

TWICE = "two may write the same place"
AGAIN = "an act that was begun is begun again"
BEFORE = "before act.started is durable"
DAY = 86_400


def queued(world: World) -> None:
    """Put the run into the queue."""
    project = planned("plain", world.folder, run_id("plain"))
    with world.opened(create=True) as ledger:
        submit(ledger.database, [run_id("plain")], project.name, identity(project))


def dies_acting(world: World) -> None:
    """A worker dies during an act; another takes its run over, and leaves the act in doubt."""
    queued(world)
    world.start(at="acting", do="work").kill()
    other = world.start(do="work")
    assert other.ended() == "" and set(other.stands.values()) == {"settle"}, other.stands


def dies_claiming(world: World) -> None:
    """A worker dies between its claim and the run's first event."""
    queued(world)
    world.start(at="stage run.opened", do="work").kill()
    _finishes(world.start(do="work"))


def sleeps(world: World) -> None:
    """A worker is stopped beyond its lease; another carries the run to its end."""
    queued(world)
    first = world.start(at=BEFORE, do="work")
    first.freeze()
    first.go()
    _finishes(world.start(do="work"))
    first.signal(signal.SIGCONT)
    assert first.ended() == ""


def ahead(world: World) -> None:
    """A worker's clock jumps a day ahead: to it, every lease has run out."""
    queued(world)
    first = world.start(at=BEFORE, do="work")
    second = world.start(at="opening", do="work")
    if shim() is not None:
        second.do("clock", DAY)
    second.go()
    _finishes(second)
    first.go()
    assert first.ended() == ""


def two_claim(world: World) -> None:
    """Two workers claim one run: whoever comes second is given nothing."""
    queued(world)
    first = world.start(at="thinking", do="work", lease=60.0)
    second = world.start(do="work till idle")
    assert second.ended() == "" and not second.stands, "both were given the run"
    first.go()
    assert first.ended() == ""


def _finishes(worker: Process) -> None:
    assert worker.ended() == "" and set(worker.stands.values()) == {"finished"}, worker.stands


WORKERS = (
    Fault("a worker dies during an act; another takes over", dies_acting, (AGAIN,)),
    Fault(
        "a worker dies between its claim and the first event",
        dies_claiming,
        ("what a dead worker held is held for ever",),
    ),
    Fault("a worker is stopped beyond its lease", sleeps, (TWICE,)),
    Fault("a worker's clock jumps ahead", ahead, (TWICE,)),
    Fault("two workers claim one run", two_claim, ("a claim keeps nobody away",)),
)
