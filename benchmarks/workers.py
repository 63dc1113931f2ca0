"""One process and four, SQLite and PostgreSQL: gated acts of 64 runs on one ledger, in turn.

    python benchmarks/workers.py [--quick] [--json]

Each process carries its share of the runs with `audition.run` in a box that is open already; the
server is the machine's own PostgreSQL, started here, synced, and connected by its socket. After
every repetition the ledger is verified, and every run must have one carrier only: nothing but its
first process may have resumed it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parent.parent / "tests"))

import psycopg
from durable_steps import RUNS, System, say

from audition.ledger import SqlLedger
from audition.ledger.events import RunClosed, RunResumed
from audition.verify import verify
from servers.postgres import Server, programs, serving

WAYS = (("sqlite", 1), ("postgresql", 1), ("postgresql", 4))
"""Databases, and processes that share the runs."""


def carried(systems: Sequence[System], address: str, steps: int) -> dict[str, float]:
    """What it took these processes to carry 64 runs between them."""
    runs = RUNS // len(systems)
    task = {"what": "acts", "path": address, "runs": runs, "steps": steps, "of": len(systems)}
    with ThreadPoolExecutor(len(systems)) as asking:
        found = list(asking.map(lambda system: system.ask(**task), systems))
    seconds = max(one["to"] for one in found) - min(one["from"] for one in found)
    count = sum(one["count"] for one in found)
    check(address, count)
    cpu = sum(one["cpu_seconds"] for one in found)
    return {"per_second": count / seconds, "cpu_us": 1e6 * cpu / count}


def size(server: Server, place: str | None, database: str | None) -> int:
    """Bytes of a ledger's database, its indexes included."""
    if place is not None:
        with closing(sqlite3.connect(place)) as opened:
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(place).stat().st_size
    with psycopg.connect(server.address("postgres")) as opened:
        row = opened.execute("SELECT pg_database_size(%s)", (database,)).fetchone()
    assert row is not None
    return int(row[0])


def check(address: str, count: int) -> None:
    """See that the ledger holds what was done, and that nobody took a run from another."""
    sound = verify(address)
    assert sound.ok, sound.first_bad
    with SqlLedger.open(address, create=False) as ledger:
        runs = ledger.runs()
        bodies = [event.body for run in runs for event in ledger.read(run)]
    assert len(runs) == RUNS == sum(isinstance(body, RunClosed) for body in bodies)
    assert not any(isinstance(body, RunResumed) for body in bodies)
    assert sum(body.kind == "act.finished" for body in bodies) == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, fewer times")
    parser.add_argument("--json", action="store_true", help="one object and nothing else")
    given = parser.parse_args()
    if programs() is None:
        parser.error("no PostgreSQL server here: initdb is on no path")
    steps, times = (20, 3) if given.quick else (60, 7)
    found: dict[str, list[dict[str, float]]] = {f"{name}, {many}": [] for name, many in WAYS}
    with ExitStack() as stack:
        server = stack.enter_context(serving())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        systems = [stack.enter_context(System("audition")) for _ in range(4)]
        for turn in range(times + 1):  # the first warms up
            for name, many in WAYS:
                place = str(folder / f"{turn}.db") if name == "sqlite" else None
                database = None if place else server.fresh()
                address = place or server.address(str(database))
                SqlLedger.open(address).close()
                empty = size(server, place, database)
                one = carried(systems[:many], address, steps)
                one["bytes"] = (size(server, place, database) - empty) / (RUNS * steps)
                if turn:
                    found[f"{name}, {many}"].append(one)
                    say(f"{name}, {many}: {one['per_second']:.0f}/s")
    told: dict[str, Any] = {
        name: {what: round(statistics.median(one[what] for one in ones), 1) for what in ones[0]}
        for name, ones in found.items()
    }
    told["ratio"] = {
        "postgresql to sqlite": ratio(found["postgresql, 1"], found["sqlite, 1"]),
        "four processes to one": ratio(found["postgresql, 4"], found["postgresql, 1"]),
    }
    print(json.dumps(told) if given.json else json.dumps(told, indent=1))


def ratio(ones: Sequence[dict[str, float]], others: Sequence[dict[str, float]]) -> float:
    """The median over the turns."""
    pairs = zip(ones, others, strict=True)
    return round(
        statistics.median(one["per_second"] / other["per_second"] for one, other in pairs), 2
    )


if __name__ == "__main__":
    main()
