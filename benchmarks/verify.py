"""Verifying a ledger of a million events, against reading it and hashing each event once.

    python benchmarks/verify.py [--events 1000000] [--acts 300] [--rounds 3] [--quick] [--json]

A signed ledger is written with honest runs of gated acts, 64 at a time, and verified alternately
with the floor under it, each in a fresh process:

- the floor reads every column of every event and every content once, by the bare driver, and takes
  one SHA-256 of each event: what nobody who checks a ledger can leave out;
- integrity alone, in one process (`audition verify --integrity`);
- integrity and every guarantee, in one process, and with one for each processor.

Said are seconds, processor seconds (all processes together; they tell more than the clock where
others work on the machine), events a second, the share of the floor's rate, and the largest
resident size that any of the processes reached, each counted by itself (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parent))
from ledgers import written

from audition.ledger import PrivateKey
from audition.verify import verify

KEY = PrivateKey("bench.example", bytes(range(32)))
PROCESSORS = len(os.sched_getaffinity(0))


def floor(path: Path) -> int:
    """Read everything once; hash each event."""
    events = 0
    database = sqlite3.connect(path)
    every = 'SELECT "index", run, seq, leaf, data FROM events ORDER BY "index"'
    for _, _, _, _, data in database.execute(every):
        sha256(b"\x00" + data).digest()
        events += 1
    for _ in database.execute("SELECT digest, salt, data FROM contents"):
        pass
    return events


def verified(path: Path, **how: Any) -> int:
    """Verify, which must succeed."""
    found = verify(path, [KEY.public], **how)
    assert found.ok, found.first_bad
    return found.events


WAYS: dict[str, Callable[[Path], int]] = {
    "floor": floor,
    "integrity": lambda path: verified(path, integrity=True),
    "all, one process": lambda path: verified(path),
    f"all, {PROCESSORS} processors": lambda path: verified(path, jobs=PROCESSORS),
}


def once(way: str, path: Path) -> dict[str, float]:
    """One way, measured in this process, which does nothing else."""
    before, begun = sum(os.times()[:4]), time.perf_counter()
    events = WAYS[way](path)
    seconds = time.perf_counter() - begun
    sizes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {
        "events": events,
        "seconds": seconds,
        "cpu": sum(os.times()[:4]) - before,
        "resident_mb": max(resource.getrusage(who).ru_maxrss for who in sizes) / 1024,
    }


def fresh(way: str, path: Path) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--once", way, str(path)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def measured(path: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The middle of some rounds, in which every way has its turn."""
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, results in taken.items():
            results.append(fresh(way, path))
    return {
        way: {name: statistics.median(one[name] for one in results) for name in results[0]}
        for way, results in taken.items()
    }


def figures(path: Path, rounds: int) -> dict[str, Any]:
    """What one ledger gives."""
    taken = measured(path, rounds)
    under = taken["floor"]
    return {
        way: {
            "seconds": round(one["seconds"], 3),
            "cpu_s": round(one["cpu"], 3),
            "events_per_s": round(one["events"] / one["seconds"]),
            "of_floor": round(under["seconds"] / one["seconds"], 3),
            "of_floor_by_cpu": round(under["cpu"] / one["cpu"], 3),
            "resident_mb": round(one["resident_mb"]),
        }
        for way, one in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--acts", type=int, default=300, help="acts of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="under 50 s: 100,000 events, once")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(given.once[0], Path(given.once[1]))))
        return
    events, rounds = (100_000, 1) if given.quick else (given.events, given.rounds)
    found: dict[str, Any] = {"events": events, "processors": PROCESSORS}
    shapes = {"many runs": given.acts, "one run": events // 10}
    with tempfile.TemporaryDirectory() as folder:
        for shape, acts in shapes.items():
            path = Path(folder) / "ledger.db"
            anyio.run(written, path, events, acts, KEY)
            found[shape] = {"mb": path.stat().st_size >> 20} | figures(path, rounds)
            path.unlink()
    if given.json:
        print(json.dumps(found))
        return
    for shape in shapes:
        print(f"{shape}, {found['events']:,} events, {found[shape].pop('mb')} MB")
        for way, one in found[shape].items():
            print(
                f"  {way:18} {one['seconds']:8.2f} s {one['cpu_s']:8.2f} cpu s "
                f"{one['events_per_s']:10,} events/s {one['of_floor']:6.2f} of the floor "
                f"({one['of_floor_by_cpu']:.2f} by cpu) {one['resident_mb']:5} MB"
            )


if __name__ == "__main__":
    main()
