"""A worker as a process of its own, for `test_worker`.

    python workforce.py ADDRESS FOLDER LEASE RUNS [HOLD]

Says on standard output, in lines of its own process id and what it does: `thinking RUN`,
`acting RUN` before an effect, and `put RUN STATUS` for a run that it puts down. With HOLD it thinks
its first thought until somebody writes to the pipe FOLDER/go. SIGTERM lets it put down what it
holds, and end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio

from audition.gate import person, strictest, threshold
from audition.ledger import PrivateKey, SqlLedger
from audition.project import Project
from audition.step import Box, History, Outcome, Thought, Ticket
from audition.worker import Carrying, work
from rehearsal import Absent, Note, Plays, note, project, red

ACTS = 2


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())


class Logs(Note):
    """Writes whose act it is, and tells of it first."""

    async def act(self, ticket: Ticket) -> Outcome:
        say("acting", ticket.run)
        assert ticket.act.kind == "act"
        self.write(f"{ticket.run} {ticket.act.arguments['text']}")
        return Outcome(status="done", output="written")


class Ponders(Plays):
    """Thinks until it is let go, where it is to hold."""

    def __init__(self, hold: Path | None) -> None:
        super().__init__(*[note(f"act {n}") for n in range(ACTS)])
        self.hold = hold

    async def think(self, history: History, box: Box) -> Thought:
        say("thinking")
        if self.hold is not None:
            await anyio.to_thread.run_sync(self.hold.read_text)
            self.hold = None
        return await super().think(history, box)


def planned(folder: Path, *, hold: bool = False) -> Project:
    """Acts that are all let pass."""
    thinker = Ponders(folder / "go" if hold else None)
    return project(folder, thinker=thinker, executors=[Logs(folder / "log")])


def asking(folder: Path, within: float | None = None) -> Project:
    """One act, for which a person is asked."""
    gate = strictest(person("ann", within=within), threshold("red", reject_at=0.5))
    judges = [red(), Absent(name="ann")]
    return project(folder, note("a"), auditors=judges, gate=gate, executors=[Logs(folder / "log")])


def put(one: Carrying) -> None:
    how = f"{one.result.status} {one.result.waits_for}" if one.result else f"lost {one.why}"
    say("put", one.run, how)


async def main(where: str, folder: str, lease: str, runs: str, hold: str = "") -> None:
    stop = anyio.Event()

    async def hear() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                stop.set()

    judged = planned(Path(folder), hold=bool(hold))
    with SqlLedger.open(where, signer=PrivateKey("crowd.example", bytes(32))) as ledger:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear)
            await work([judged], ledger, runs=int(runs), lease=float(lease), stop=stop, tell=put)
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
