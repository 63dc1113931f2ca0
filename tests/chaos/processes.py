"""Processes that are stopped, interrupted, starved, cancelled, or not alone; clocks that jump."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable

import pytest
from disk import shim
from fault import Fault
from world import World

ANEW = "a run is begun anew whoever takes it up"
TWICE = "two may write the same place"
SWALLOWED = "a commit that failed is believed"
AGAIN = "an act that was begun is begun again"
PLAINLY = "a database's error is nobody's"
DAY = 86_400
BEFORE, AFTER = "before act.started is durable", "after act.started is durable"


# ------------------------------------------------------------------------ not alone


def another_goes_on(at: str) -> Callable[[World], None]:
    """A process stops for long; another takes the run up; then the first goes on."""

    def play(world: World) -> None:
        first = world.start(at=at)
        first.freeze()
        first.go()
        second = world.finish()
        assert second.why == ""
        first.signal(signal.SIGCONT)
        assert first.ended() == "" or "another process carries this run" in first.why

    return play


def at_once(at: str) -> Callable[[World], None]:
    """Two processes begin the same run, and both come to the same place before either goes on."""

    def play(world: World) -> None:
        both = [world.start(at=at), world.start(at=at)]
        for one in both:
            one.go()
        why = sorted(one.ended() for one in both)
        assert why[0] == "" and "another process carries this run" in why[1], why

    return play


def two_answer(world: World) -> None:
    """A person answers in two windows at once."""
    assert world.start("asked").ended() == ""
    both = [world.start("asked", "stage audit.recorded", do="answer") for _ in range(2)]
    for one in both:
        one.go()
    why = sorted(one.ended() for one in both)
    assert why[0] == "" and why[1].startswith("Conflict"), why


def two_settle(world: World) -> None:
    """Two people settle one act at once."""
    world.start(at="acted").kill()
    both = [world.start(at="stage act.settled", do="settle") for _ in range(2)]
    for one in both:
        one.go()
    why = sorted(one.ended() for one in both)
    assert why[0] == "" and why[1].startswith("Conflict"), why


def replayed(world: World) -> None:
    """A ticket is presented again by a process that had read no further than its issue."""
    world.start(at="stage run.closed").kill()
    again = world.start(do="replay")
    assert again.ended().startswith("Conflict"), again.why


# ------------------------------------------------------------------------ starved and interrupted


def signalled(number: int, at: str) -> Callable[[World], None]:
    """Told to end, at an instant."""

    def play(world: World) -> None:
        process = world.start(at=at)
        process.signal(number)
        if number == signal.SIGINT:  # heard once it goes on
            process.go()
        assert process.ended()

    return play


def raised(error: BaseException, at: str) -> Callable[[World], None]:
    """The thread that writes is ended by something that is no error of a database."""

    def play(world: World) -> None:
        process = world.start(at=at)
        process.do("raise", error)
        assert process.ended().startswith("LedgerError: not written"), process.why

    return play


def no_files(world: World) -> None:
    world.start(at="acting").kill()
    process = world.start(at="opening")
    process.do("limit", resource.RLIMIT_NOFILE, 0)
    process.go()
    assert process.ended().startswith("LedgerError"), process.why


def no_memory(world: World) -> None:
    """No memory is left for the commit; if what there is lasts for it, the run goes on."""
    process = world.start(at="before act.started is durable")
    process.do("memory", 0)
    process.do("then", "acting", 1)
    process.go()
    if process.stopped():
        process.do("memory", 1 << 40)
        process.go()
    process.ended()


def cancelled(runs: int, step: int) -> Callable[[World], None]:
    """Runs that are cancelled, each where it next waits: the n-th at its n-th such place."""

    def play(world: World) -> None:
        process = world.start(runs=runs, do="cancel", step=step)
        assert process.ended() == ""

    return play


# ------------------------------------------------------------------------ clocks


def late_ticket(world: World) -> None:
    """The clock jumps between a ticket's issue and its redemption: the ticket is too old."""
    process = _jumps(world, "plain", "stage ticket.issued", DAY)
    assert process == "Refused: the ticket has expired"
    assert world.acts == []


def late_answer(world: World) -> None:
    """The clock jumps past a person's deadline: the answer is no, and it is written down."""
    assert world.start("asked").ended() == ""
    assert _jumps(world, "asked", "answering", DAY, do="answer").startswith("NotWaiting")
    assert world.finish().why == ""
    assert world.acts == []
    world.verified()


def back(world: World) -> None:
    """The clock jumps back during an act, and the process dies: its ticket has long to live."""
    _needs_shim()
    process = world.start(at="acting")
    process.do("clock", -DAY)
    process.on_to("acted")
    process.kill()


def _jumps(world: World, plan: str, at: str, seconds: int, **more: str) -> str:
    _needs_shim()
    process = world.start(plan, at, **more)
    process.do("clock", seconds)
    process.go()
    return process.ended()


def _needs_shim() -> None:
    if shim() is None:
        pytest.skip("no C compiler: nothing stands between a process and its clock")


PROCESSES = (
    Fault(
        "stopped before an act's start is durable; another goes on",
        another_goes_on(BEFORE),
        (TWICE,),
    ),
    Fault(
        "stopped after an act's start is durable; another goes on", another_goes_on(AFTER), (AGAIN,)
    ),
    Fault("stopped during an act; another goes on", another_goes_on("acting"), (AGAIN,)),
    Fault("stopped after an act; another goes on", another_goes_on("acted"), (AGAIN,)),
    Fault("two begin one run at once", at_once("before run.opened is durable"), (TWICE,)),
    Fault("two redeem one ticket at once", at_once(BEFORE), (TWICE,)),
    Fault("two windows answer for one person", two_answer, (TWICE,)),
    Fault("two people settle one act", two_settle, (TWICE,)),
    Fault("a ticket is presented again", replayed, (TWICE,)),
    Fault(
        "interrupted (SIGINT) before an act's start is durable",
        signalled(signal.SIGINT, BEFORE),
        (ANEW,),
    ),
    Fault("interrupted (SIGINT) during an act", signalled(signal.SIGINT, "acting"), (AGAIN,)),
    Fault("told to end (SIGTERM) during an act", signalled(signal.SIGTERM, "acting"), (AGAIN,)),
    Fault("told to end (SIGTERM) after an act", signalled(signal.SIGTERM, "acted"), (AGAIN,)),
    Fault(
        "the writing thread is ended while it writes",
        raised(SystemExit(3), "while act.started is written"),
        ("whoever ends the writing thread ends the process",),
    ),
    Fault(
        "out of memory while it writes",
        raised(MemoryError(), "while act.started is written"),
        (SWALLOWED,),
    ),
    Fault("no more memory (RLIMIT_AS) when an act is to start", no_memory, ()),
    Fault("no more files (RLIMIT_NOFILE) when a ledger is opened", no_files, (PLAINLY,)),
    Fault("cancelled wherever it waits", cancelled(10, 3), (AGAIN,)),
    Fault("cancelled wherever it waits, one by one", cancelled(60, 1), (AGAIN,), quick=False),
    Fault(
        "the clock jumps ahead between issue and redemption",
        late_ticket,
        ("a ticket never expires",),
    ),
    Fault(
        "the clock jumps past a person's deadline",
        late_answer,
        ("whoever is late has answered",),
        judged=False,
    ),
    Fault("the clock jumps back during an act", back, (AGAIN,)),
)
