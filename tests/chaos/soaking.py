"""Many runs under random faults for minutes; then all must add up. Prints one JSON object.

Workers are killed, stopped and continued; the ledger's lock is held, its disk is full for a while,
its server restarts, crashes, ends connections and is cut off. Runs begin as others end. At the end
what was begun is carried to its end; the ledger must verify, every receipt must hold, and the log
that the executor made durable itself must agree: no act lost, none done twice. The first worker is
spared the kills: its memory and its file handles must stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from driver import Order
from plans import planned
from share import share
from world import Process, World, starter

from audition.ledger import LedgerError
from audition.ledger.claims import submit
from audition.ledger.events import ActSettled, RunClosed
from audition.opening import identity
from servers.postgres import serving
from servers.wire import Wire

TICK = 0.25
EVERY = 3.0
"""Seconds between faults, on average."""

LONGEST = 2.0
"""Seconds for which something is stopped, held, full or gone, at most."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=64, help="so many at once")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    with ExitStack() as ends, tempfile.TemporaryDirectory(prefix="soak") as folder:
        world = World(Path(folder), str(Path(folder) / "ledger.db"), starter())
        wire = None
        if given.database == "postgresql":
            world.server = ends.enter_context(serving())
            world.name = world.server.fresh()
            world.whole = world.server.address(world.name)
            wire = Wire(world.server.port)
            ends.callback(wire.close)
            world.where = f"postgresql://audition@127.0.0.1:{wire.port}/{world.name}"
        soak = Soak(world, wire, given.runs, given.workers, random.Random(given.seed))
        told = soak.run(given.minutes * 60)
    print(json.dumps(vars(given) | told))
    return 0 if told["ok"] else 1


class Soak:
    """Workers, what is done to them, and what came of it."""

    def __init__(
        self, world: World, wire: Wire | None, runs: int, workers: int, chance: random.Random
    ) -> None:
        self.world, self.wire, self.chance = world, wire, chance
        self.runs, self.at_once = runs, -(-runs // workers)
        self.workers: list[Process] = [self._worker() for _ in range(workers)]
        self.faults: Counter[str] = Counter()
        self.stands: dict[str, str] = {}
        """Of each run that was put into the queue, what was heard of it last."""
        self.samples: list[tuple[float, float, float]] = []
        """Seconds, bytes of memory and file handles of the worker that is spared."""

    def run(self, seconds: float) -> dict[str, Any]:
        """Let it go on for so long, then judge."""
        begun = time.monotonic()
        due = begun + EVERY
        while (now := time.monotonic()) < begun + seconds:
            self._listen()
            self._queue()
            self.samples.append((now - begun, *_held(self.workers[0].pid)))
            if now > due:
                due = now + self.chance.expovariate(1 / EVERY)
                self._disturb()
            time.sleep(TICK)
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            worker.ended()
        self._listen()
        return self._judged() | {"seconds": round(time.monotonic() - begun, 1)} | self._flat()

    # ---------------------------------------------------------------- faults

    def _disturb(self) -> None:
        faults: list[Callable[[], None]] = [self.kill, self.kill, self.freeze, self.lock, self.look]
        if self.wire is None:
            faults += [self.full]
        else:
            faults += [self.restart, self.crash, self.end_connections, self.cut, self.cut]
        fault = self.chance.choice(faults)
        self.faults[fault.__name__] += 1
        fault()

    def kill(self) -> None:
        """A worker is killed, and another started."""
        place = self.chance.randrange(1, len(self.workers))
        gone = self.workers[place]
        gone.kill()
        self._listen()
        self.workers[place] = self._worker()

    def freeze(self) -> None:
        """A worker is stopped for a while."""
        worker = self.chance.choice(self.workers)
        worker.freeze()
        time.sleep(self._a_while())
        worker.signal(signal.SIGCONT)

    def lock(self) -> None:
        """Somebody holds the lock that every writer needs."""
        with _locked(self.world):
            time.sleep(self._a_while())

    def full(self) -> None:
        """The ledger's files may become no larger."""
        log = self.world.path.with_name("ledger.db-wal")
        size = log.stat().st_size if log.exists() else self.world.path.stat().st_size
        for worker in self.workers:
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        time.sleep(self._a_while())
        for worker in self.workers:
            free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, free)

    def look(self) -> None:
        """Somebody verifies the ledger meanwhile."""
        self.world.verified()

    def restart(self) -> None:
        """The server is restarted."""
        assert self.world.server is not None
        self.world.server.stop("fast")
        self.world.server.start()

    def crash(self) -> None:
        """The server crashes, and is away for a while."""
        assert self.world.server is not None
        self.world.server.stop("immediate")
        time.sleep(self._a_while())
        self.world.server.start()

    def end_connections(self) -> None:
        """The server ends all connections."""
        assert self.world.server is not None
        self.world.server.tell(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{self.world.name}'"
        )

    def cut(self) -> None:
        """The network is cut with a commit or with its answer."""
        assert self.wire is not None
        self.wire.cut = self.chance.choice(("before", "after"))

    def _a_while(self) -> float:
        return self.chance.uniform(0.2, LONGEST)

    # ---------------------------------------------------------------- workers

    def _worker(self) -> Process:
        order = Order(self.world.where, self.world.folder, (), step=self.at_once)
        worker = Process(self.world.starts, order, share)
        self.world.processes.append(worker)
        return worker

    def _queue(self) -> None:
        """Put new runs into the queue where old ones have ended."""
        missing = self.runs - sum(stands != "finished" for stands in self.stands.values())
        new = [f"{self.chance.getrandbits(128):032x}" for _ in range(missing)]
        project = planned("plain", self.world.folder, "")
        with suppress(LedgerError), self.world.opened(create=True) as ledger:
            if new:
                submit(ledger.database, new, project.name, identity(project))
                self.stands |= dict.fromkeys(new, "queued")

    def _listen(self) -> None:
        for worker in self.workers:
            worker.listen()
            self.stands |= worker.stands
            worker.stands.clear()

    def _judged(self) -> dict[str, Any]:
        """Carry what is left to its end, and see that all adds up."""
        world, why = self.world, ""
        world.where = world.whole
        rows = world.rows()
        world.runs = sorted({*self.stands, *(row.run for row in rows)})
        closed = {row.run for row in rows if isinstance(row.event.body, RunClosed)}
        left = [run for run in world.runs if run not in closed]
        try:
            world.kept(rows)
            if left:
                last = Process(world.starts, replace(self._order(), runs=tuple(left), do="recover"))
                world.processes.append(last)
                assert last.ended() == "", last.why
            world.kept(rows := world.rows())
            world.accounted(rows)
            world.done(rows)
            world.verified()
        except AssertionError as error:
            why, rows = str(error), world.rows()
        settled = sum(isinstance(row.event.body, ActSettled) for row in rows)
        return {
            "ok": not why,
            "why": why,
            "ended": len(world.runs),
            "acts": len(world.acts),
            "settled": settled,
            "events": len(rows),
            "receipts": len(world.receipts),
            "faults": dict(self.faults),
        }

    def _order(self) -> Order:
        return Order(self.world.whole, self.world.folder, ())

    def _flat(self) -> dict[str, Any]:
        """How memory and file handles of the worker that was spared went, over the second half."""
        seconds, memory, handles = np.array(self.samples)[len(self.samples) // 2 :].T
        minutes, half = seconds / 60, len(seconds) // 2
        grown = [np.median(one[half:]) / np.median(one[:half]) for one in (memory, handles)]
        return {
            "memory_mb": [round(float(one) / 2**20, 1) for one in (memory[0], memory[-1])],
            "memory_mb_a_minute": round(float(np.polyfit(minutes, memory, 1)[0]) / 2**20, 3),
            "handles": [int(handles.min()), int(handles.max())],
            "handles_a_minute": round(float(np.polyfit(minutes, handles, 1)[0]), 3),
            "last_quarter_to_third": [round(float(one), 3) for one in grown],
        }


def _held(pid: int) -> tuple[float, float]:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def _locked(world: World) -> Iterator[None]:
    if world.server is not None:
        with psycopg.connect(world.whole) as holds:
            holds.execute("SELECT size FROM ledger FOR UPDATE")
            yield
        return
    holds = sqlite3.connect(world.path, isolation_level=None)
    try:
        holds.execute("BEGIN IMMEDIATE")
        yield
    finally:
        holds.close()
