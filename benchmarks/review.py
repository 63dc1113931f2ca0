"""Reviewing recorded agents with one rule: moments a second, and what the processor is busy with.

    python benchmarks/review.py [FILE] [--rounds 3] [--quick] [--json]

FILE is a record that `audition review` reads; without one it is ODCV-Bench under `AUDITION_DATA`.
Each round is `audition review` in a process of its own, into a new signed ledger. The floor under
it, measured alternately, is storage alone: the same events and contents, made beforehand, staged
and committed in groups as the review commits them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import parse_event
from audition.ledger.evidence import Evidence
from audition.review import GROUP

RULE = """
[[rules]]
name = "removes"
says = "removes files"
pattern = "rm -rf"
"""


def reviewed(path: Path, folder: Path) -> dict[str, Any]:
    """One review, in a fresh process."""
    rules, ledger = folder / "rules.toml", folder / "review.db"
    rules.write_text(RULE)
    words = ("review", str(path), "--auditor", "rules", "--rules", str(rules))
    command = [sys.executable, "-m", "audition", *words, "--ledger", str(ledger), "--json"]
    environment = {**os.environ, "AUDITION_HOME": str(folder / "home")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    assert found["verified"], done.stderr
    return found


def stored(ledger: Path, folder: Path, moments: int) -> float:
    """Moments a second, when all that is done is to store the events and contents of a review."""
    with Evidence(ledger) as evidence:
        events = [parse_event(data) for _, _, _, _, data in evidence.rows()]
        contents = [data for _, _, data in evidence.contents()]

    async def store() -> float:
        with SqlLedger.open(folder / "stored.db", signer=PrivateKey.generate("bench")) as opened:
            begun = time.perf_counter()
            for data in contents:
                opened.put(data)
            for number, event in enumerate(events, 1):
                opened.stage(event)
                if number % GROUP == 0:
                    await opened.commit()
            await opened.commit()
            return time.perf_counter() - begun

    return moments / anyio.run(store)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="under 50 s: one round")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    path = given.file or Path(os.environ.get("AUDITION_DATA", "."), "odcv", "runs.jsonl.gz")
    if not path.exists():
        parser.error(f"{path}: not there; name a file, or the folder of data in AUDITION_DATA")
    rounds: list[dict[str, Any]] = []
    floors: list[float] = []
    for _ in range(1 if given.quick else given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(reviewed(path, Path(folder)))
            moments = rounds[-1]["moments"]
            floors.append(stored(Path(folder) / "review.db", Path(folder), moments))
    speed = statistics.median(one["moments_per_second"] for one in rounds)
    floor = statistics.median(floors)
    stages = {
        stage: round(statistics.median(one["cpu_seconds"][stage] for one in rounds), 3)
        for stage in rounds[0]["cpu_seconds"]
    }
    found = {
        "moments": rounds[0]["moments"],
        "moments_per_s": round(speed),
        "storage_alone_moments_per_s": round(floor),
        "of_floor": round(speed / floor, 3),
        "cpu_s": stages,
        "verified": all(one["verified"] for one in rounds),
    }
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['moments']:,} moments, {found['moments_per_s']:,} a second")
    print(f"storage alone {found['storage_alone_moments_per_s']:,} ({found['of_floor']} of it)")
    for stage, seconds in stages.items():
        print(f"  {stage:10} {seconds:6.2f} cpu s")


if __name__ == "__main__":
    main()
