"""A worker of the soak: carries what is in the queue until it is told to end (SIGTERM).

What goes wrong with the ledger is tried again after a while, as whoever runs it would; an act in
doubt is settled by what the log of the acts says.
"""

from __future__ import annotations

import contextlib
import signal
from functools import partial
from multiprocessing.connection import Connection

import anyio
from disk import Disk
from driver import OPERATOR, Ledger, Order, Wire, settled
from plans import planned

from audition.ledger import LedgerError
from audition.waiting import NotWaiting
from audition.worker import Carrying, work

LEASE = 2.0
"""Seconds for which a run is held."""

PAUSE = 0.3
"""Seconds until what went wrong is tried again."""


def share(line: Connection, order: Order) -> None:
    """Carry as many runs at once as `order.step` says; tell how each stands when it is put down."""
    wire = Wire(line, ("", 1), Disk())
    with contextlib.suppress(BrokenPipeError):
        anyio.run(_all, order, wire)
        wire.tell("ended", "")


async def _all(order: Order, wire: Wire) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hear, stop)
        while not stop.is_set():
            try:
                with await anyio.to_thread.run_sync(_opened, order, wire) as ledger:
                    await _work(order, wire, ledger, stop)
            except* LedgerError:
                await anyio.sleep(PAUSE)
        tasks.cancel_scope.cancel()


async def _hear(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


def _opened(order: Order, wire: Wire) -> Ledger:
    return Ledger.open(order.where, signer=OPERATOR).watched(wire)


async def _work(order: Order, wire: Wire, ledger: Ledger, stop: anyio.Event) -> None:
    async with anyio.create_task_group() as settling:

        def tell(one: Carrying) -> None:
            how = (one.result.waits_for or one.result.status) if one.result else one.why
            wire.tell("stands", one.run, how)
            if how == "settle":
                settling.start_soon(_settled, order, ledger, one.run)

        project = planned("plain", order.folder, "")
        carries = partial(work, runs=order.step, lease=LEASE, stop=stop, tell=tell)
        await carries([project], ledger)


async def _settled(order: Order, ledger: Ledger, run: str) -> None:
    """Say what the log says, unless somebody else has, or nobody can just now."""
    with contextlib.suppress(LedgerError, NotWaiting, ValueError):
        await settled(order, ledger, run)
