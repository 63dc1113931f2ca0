"""A run of many steps through the whole path: is a late step as cheap as an early one?

Prints one JSON object: seconds of the first and the last tenth of the steps, their ratio, resident
memory after the first tenth and at the end, whether the ledger verifies, and how long it takes to
see where the run stands, from its last savepoint and from its first event. The project is the
smallest real one: a scripted thinker, the real box (opened once, not called), a rule, a threshold,
an executor that writes a file.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import anyio

from audition.act import WriteFile
from audition.audit import Rule, Rules
from audition.box import BoxConfig
from audition.gate import threshold
from audition.history import Progress, standing
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import ActFinished
from audition.loop import run
from audition.project import Budget, Project
from audition.step import Act, Event, Finish, RunId
from audition.think import Line, Scripted
from audition.verify import verify


def resident() -> int:
    """Resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def where_it_stands(path: Path, name: RunId) -> tuple[float, float]:
    """Seconds until it is known, from the last savepoint and from the first event."""
    with SqlLedger.open(path) as ledger:
        standing(ledger, name)  # what reads each kind of event is made when the first is read
        begun = time.monotonic()
        progress, _ = standing(ledger, name)
        stands = time.monotonic() - begun
        whole = Progress(name)
        for event in ledger.read(name):
            whole.apply(event)
        reading = time.monotonic() - begun - stands
    assert progress.history == whole.history
    return stands, reading


async def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        world.mkdir()
        script = [
            Line(propose=Act(tool="write", arguments={"path": "n.txt", "content": str(number)}))
            for number in range(steps)
        ]
        project = Project(
            name="long-run",
            goal="write numbers",
            thinker=Scripted([*script, Line(propose=Finish(answer="done"))]),
            box=BoxConfig(),
            auditors={"rules": Rules([Rule(name="no-scripts", pattern=r"\.sh$")])},
            gate=threshold("rules", reject_at=0.5),
            executors={"write": WriteFile(world)},
            budget=Budget(steps=steps + 1, seconds=1e6),
        )
        key = PrivateKey.generate("bench")
        tenth = max(1, steps // 10)
        done: list[float] = []
        memory: list[int] = []

        def watch(event: Event) -> None:
            if isinstance(event.body, ActFinished):
                done.append(time.monotonic())
                if len(done) in (tenth, steps):
                    memory.append(resident())

        path = Path(folder) / "ledger.db"
        begun = time.monotonic()
        with SqlLedger.open(path, signer=key) as ledger:
            result = await run(project, ledger, watch=watch)
        first, last = done[tenth - 1] - begun, done[-1] - done[-tenth - 1]
        sound = verify(path, trusted=[key.public])
        stands, reading = where_it_stands(path, result.run)
        print(
            json.dumps(
                {
                    "steps": result.turns,
                    "first_tenth_s": round(first, 3),
                    "last_tenth_s": round(last, 3),
                    "ratio": round(last / first, 3),
                    "resident_mb_after_first_tenth": memory[0] >> 20,
                    "resident_mb_at_end": memory[1] >> 20,
                    "events": sound.events,
                    "verifies": sound.ok,
                    "taking_up_ms": round(1e3 * stands, 2),
                    "reading_it_whole_ms": round(1e3 * reading, 1),
                    "bytes_per_step": path.stat().st_size // steps,
                }
            )
        )


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
