"""A worker: carries many runs of its projects at once, claimed from a queue that others share.

A worker holds a run for a while, and renews that; what a worker that died held is taken over by
another. A run that waits for a person, a deadline or a model is put down: it holds no worker, and
is claimed again when somebody has written to it or its time has come. That no two carry one run is
not left to leases: whoever takes a run up writes so, and whoever had it before finds it carried.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread

from audition.failing import told
from audition.ledger import LedgerError, SqlLedger
from audition.ledger.claims import LEASE, Claims, Held
from audition.loop import THINKER, WORKER, Result, run
from audition.opening import identity
from audition.project import Project
from audition.step import Digest, RunId, now

POLL = 0.5
"""Seconds between looks at the queue while there is room for more."""

PATIENCE = 300.0
"""Seconds for which a worker that carries nothing waits for a database that does not answer."""


@dataclass(frozen=True, slots=True)
class Carrying:
    """What a worker did with a run that it claimed."""

    run: RunId
    result: Result | None
    """How the run stands; None if it could not be carried."""
    why: str = ""
    """What kept the worker from carrying it."""


async def work(
    projects: Sequence[Project],
    ledger: SqlLedger,
    *,
    runs: int = 16,
    lease: float = LEASE,
    until_idle: bool = False,
    stop: anyio.Event | None = None,
    tell: Callable[[Carrying], None] | None = None,
) -> None:
    """Carry the runs of these projects that are in the queue.

    Args:
        projects: whose runs are claimed; each is shared by its runs.
        ledger: where the queue and the runs are.
        runs: how many are carried at once.
        lease: seconds for which a claim holds; it is renewed three times as often.
        until_idle: return when nothing is left to claim; otherwise wait for more.
        stop: when it is set, every run is put down after its stage, and then this returns.
        tell: is told of every run that was put down.

    Raises:
        LedgerError: the ledger is of an earlier version, or has not answered for long.
    """
    worker = _Worker(projects, ledger, runs, lease, stop or anyio.Event(), tell)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.renew)
        try:
            await worker.claim(until_idle)
        finally:
            tasks.cancel_scope.cancel()


class _Worker:
    """What one process carries."""

    def __init__(
        self,
        projects: Sequence[Project],
        ledger: SqlLedger,
        runs: int,
        lease: float,
        stop: anyio.Event,
        tell: Callable[[Carrying], None] | None,
    ) -> None:
        self._projects: dict[Digest, Project] = {identity(one): one for one in projects}
        self._ledger = ledger
        self._most = runs
        name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._claims = Claims(ledger.database, name, lease)
        self._stop = stop
        self._tell = tell
        self._held: dict[RunId, Held] = {}
        self._gone: set[RunId] = set()
        self._renewed = self._answered = _clock()
        self._news = anyio.Event()

    async def claim(self, until_idle: bool) -> None:
        """Claim and carry until nothing is left, or for ever."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear)
            while not self._stop.is_set():
                self._news, idle = anyio.Event(), not self._held
                patience = 0.0 if until_idle else PATIENCE
                found = await self._claimed(self._most - len(self._held), patience)
                for held in found:
                    self._held[held.run] = held
                    tasks.start_soon(self._carry, held)
                if until_idle and idle and not found:  # what was put down since is looked at again
                    break
                with anyio.move_on_after(POLL):
                    await self._news.wait()
            while self._held:
                self._news = anyio.Event()
                await self._news.wait()
            tasks.cancel_scope.cancel()

    async def renew(self) -> None:
        """Hold on to what is carried; what is not held any more is put down after its stage."""
        while True:
            await anyio.sleep(self._claims.lease / 3)
            begun, carried = _clock(), list(self._held.values())
            try:
                still = await anyio.to_thread.run_sync(self._claims.renew)
            except LedgerError:
                continue
            self._renewed = begun
            for one in carried:
                lost = still.get(one.run) != one.generation
                if lost and self._held.get(one.run) is one:  # and was not put down meanwhile
                    self._gone.add(one.run)

    async def _claimed(self, most: int, patience: float) -> list[Held]:
        if not most or (self._held and not self._sure()):
            return []
        begun = _clock()
        claim = partial(self._claims.claim, list(self._projects), most, besides=list(self._held))
        try:
            found = await anyio.to_thread.run_sync(claim)
        except LedgerError:
            if not self._held and begun - self._answered >= patience:
                raise
            return []
        self._answered = begun
        if not self._held:  # nothing else rests on the last time
            self._renewed = begun
        return found

    async def _carry(self, held: Held) -> None:
        """Carry one run as far as it goes, and put it down."""
        project, result, why = self._projects[held.terms], None, ""
        try:
            result = await run(
                project,
                self._ledger,
                run_id=held.run,
                put_down=lambda: self._stop.is_set() or not self._ours(held),
            )
        except Exception as error:  # noqa: BLE001  whatever it was, the other runs go on
            why = told(error)
        try:
            put = partial(_put_down, self._claims, held, result, why)
            await anyio.to_thread.run_sync(put)
        except LedgerError as error:  # its lease runs out, and it is claimed again
            why = why or told(error)
        finally:
            del self._held[held.run]
            self._gone.discard(held.run)
            self._news.set()
        if self._tell is not None:
            self._tell(Carrying(held.run, result, why))

    def _ours(self, held: Held) -> bool:
        return held.run not in self._gone and self._sure()

    def _sure(self) -> bool:
        """Whether what was claimed is still held, by the clock that goes on while all sleeps."""
        return _clock() - self._renewed < self._claims.lease * 2 / 3

    async def _hear(self) -> None:
        await self._stop.wait()
        self._news.set()


def _put_down(claims: Claims, held: Held, result: Result | None, why: str) -> None:
    """Leave a run to whoever is to go on with it."""
    if result is None:
        claims.put_down(held, "waiting", note=why, failed=True)
    elif result.waits_for == THINKER:
        claims.put_down(held, "waiting", note=result.reason, failed=True)
    elif result.status != "waiting":
        claims.put_down(held, "ended", seen=result.events, note=result.status)
    elif result.waits_for == WORKER:
        claims.put_down(held, "ready")
    else:
        after = None if result.again is None else max((result.again - now()) / 1e6, POLL)
        note = f"for {result.waits_for}"
        claims.put_down(held, "waiting", seen=result.events, after=after, note=note)


def _clock() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
