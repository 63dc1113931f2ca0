"""Watching a long run: how soon is there a picture, how long is counting, and in what memory?

Prints one JSON object. A run of so many steps (100,000 by default) is written straight into a
ledger, event by event as the loop writes them, and left open; a fresh process then watches it as
`audition watch` does: seconds from its start to the first picture (imports included), seconds until
everything is counted, seconds for the picture of one more step, and peak resident memory. The
same for a run of a hundredth of the steps, beside it in the same ledger.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from audition.canonical import digest_bytes, digest_value
from audition.gate import spec, threshold
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActStarted,
    AuditDrawn,
    AuditRecorded,
    MomentSealed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
    TicketIssued,
)
from audition.step import (
    Act,
    AuditorCard,
    Decision,
    Evidence,
    Moment,
    Outcome,
    Role,
    Usage,
    Verdict,
    digest_of,
)

GROUP = 20_000
"""Events of one commit."""

WATCH = """
import json, sys, time
from pathlib import Path
begun = time.time() - float(sys.argv[3])
from rich.console import Console, ConsoleDimensions
from audition.console.picture import picture
from audition.console.standing import Standing
from audition.console.watching import AT_ONCE
from audition.ledger import SqlLedger
size = ConsoleDimensions(120, 50)
console = Console(file=open("/dev/null", "w"), width=120)
started = time.perf_counter()
with SqlLedger.open(sys.argv[1], create=False) as ledger:
    standing = Standing(ledger, sys.argv[2])
    standing.take(AT_ONCE)
    console.print(picture(standing, size))
    first = time.perf_counter() - started
    while standing.take(AT_ONCE):
        console.print(picture(standing, size))
    counted = time.perf_counter() - started
    once = time.perf_counter()
    console.print(picture(standing, size))
    once = time.perf_counter() - once
status = Path("/proc/self/status").read_text().split()
print(json.dumps({
    "events": standing.tally.events,
    "steps": standing.tally.steps,
    "first_picture_s": round(first, 3),
    "with_start_of_python_s": round(begun + first, 3),
    "all_counted_s": round(counted, 3),
    "one_picture_ms": round(once * 1000, 2),
    "peak_resident_mb": int(status[status.index("VmHWM:") + 1]) // 1024,
}))
"""


async def write(ledger: SqlLedger, run: str, steps: int) -> None:
    """A live run of so many steps, as the loop would have written it, still open."""
    journal = Journal(ledger, run)
    goal, nothing = journal.put("write numbers"), digest_value([])
    tool = digest_bytes(b"tool")
    journal.log(
        RunOpened(
            mode="live",
            project="long",
            goal=goal,
            thinker="bench",
            auditors=(AuditorCard(name="rules", role=Role.GUARD, sees=(Evidence.PROPOSAL,)),),
            gate=spec(threshold("rules", reject_at=0.5)),
            restrictions=nothing,
        )
    )
    for turn in range(1, steps + 1):
        act = journal.put(Act(tool="write", arguments={"path": "n.txt", "content": str(turn)}))
        moment = Moment(
            run=run,
            turn=turn,
            place="1",
            goal=goal,
            history=goal,
            proposal=act,
            tool=tool,
            restrictions=nothing,
            reviewers=nothing,
        )
        sealed, ticket = digest_of(moment), digest_bytes(str(turn).encode())
        verdict = Verdict(auditor="rules", role=Role.GUARD, moment=sealed, score=0.0)
        outcome = journal.put(Outcome(status="done", output=f"wrote {turn}"))
        journal.log(StepThought(turn=turn, usage=Usage(seconds=0.5, tokens_in=900, tokens_out=80)))
        journal.log(StepProposed(turn=turn, proposal=act, what="act"))
        journal.log(MomentSealed(moment=moment))
        journal.log(AuditDrawn(moment=sealed, stratum="act", rate=1.0, drawn=True))
        journal.log(AuditRecorded(verdict=verdict))
        journal.log(
            StepDecided(moment=sealed, decision=Decision(action="proceed", reason="rules 0"))
        )
        journal.log(
            TicketIssued(moment=sealed, ticket=ticket, proposal=act, tool=tool, expires=2**52)
        )
        journal.log(ActStarted(ticket=ticket))
        journal.log(ActFinished(ticket=ticket, status="done", outcome=outcome))
        if journal.seq - journal.durable > GROUP:
            await journal.commit()
    await journal.commit()


def watched(path: Path, run: str) -> dict[str, float]:
    """What a fresh process measures."""
    words = [sys.executable, "-c", WATCH, str(path), run, str(time.time())]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


async def main(steps: int) -> None:
    runs = {"a" * 32: steps, "b" * 32: max(1, steps // 100)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        begun = time.monotonic()
        with SqlLedger.open(path) as ledger:
            for run, count in runs.items():
                await write(ledger, run, count)
        seconds = round(time.monotonic() - begun, 1)
        long, short = (watched(path, run) for run in runs)
        size = path.stat().st_size >> 20
        print(json.dumps({"written_s": seconds, "ledger_mb": size, "long": long, "short": short}))


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
