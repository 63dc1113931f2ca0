"""A worker's share of many runs: so many at once, a new one as an old one ends, until told to stop.

What goes wrong with the ledger is tried again after a while, as whoever runs it would; an act in
doubt is settled by what the log of the acts says.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import anyio
from disk import Disk
from driver import OPERATOR, Ledger, Order, Wire, recovered

from audition.ledger import LedgerError

AT_ONCE = 16
"""Runs that one worker carries at once, unless it is told otherwise."""

PAUSE = 0.3
"""Seconds until what went wrong is tried again."""


def share(line: Connection, order: Order) -> None:
    """Carry `order.step` runs at once, those of `order.runs` first, until the file `stop` is there.

    Tells of each run that begins and of how it ended.
    """
    wire = Wire(line, ("", 1), Disk())
    with contextlib.suppress(BrokenPipeError):
        anyio.run(_all, order, wire)
        wire.tell("ended", "")


async def _all(order: Order, wire: Wire) -> None:
    ledger = await _tried(lambda: anyio.to_thread.run_sync(_opened, order, wire))
    begun = list(order.runs)
    with ledger:
        async with anyio.create_task_group() as tasks:
            for _ in range(order.step):
                tasks.start_soon(_one_after_another, order, wire, ledger, begun)


def _opened(order: Order, wire: Wire) -> Ledger:
    return Ledger.open(order.where, signer=OPERATOR).watched(wire)


async def _one_after_another(order: Order, wire: Wire, ledger: Ledger, begun: list[str]) -> None:
    while begun or not (order.folder / "stop").exists():
        run = begun.pop() if begun else uuid.uuid4().hex
        wire.tell("stands", run, "begun")

        async def carried(run: str = run) -> str:
            ledger.forget(run)
            return await recovered(order, wire, ledger, run)

        wire.tell("stands", run, await _tried(carried))


async def _tried(work: Callable[[], Awaitable]) -> object:
    """Do something until the ledger does not stand in its way."""
    while True:
        try:
            return await work()
        except LedgerError:
            await anyio.sleep(PAUSE)
