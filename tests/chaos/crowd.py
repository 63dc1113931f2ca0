"""Several runs in one process, killed at random and started again, for `test_process_kills`.

    python crowd.py FOLDER SEED KILLS

Starts a crowd of runs on one ledger, kills the process that carries them after a random while, and
starts it again, KILLS times; the last one is left alone. Prints how often it killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import anyio

from audition.ledger import PrivateKey, SqlLedger
from audition.loop import run as carry
from audition.project import Project
from audition.step import Act, Box, History, Outcome, Thought, Ticket
from audition.waiting import settle, waiting
from databases import place
from rehearsal import Note, Plays, note, project

RUNS = 4
ACTS = 6


class Dawdles(Note):
    """Takes its time before and after its effect, so that a kill falls anywhere."""

    async def act(self, ticket: Ticket) -> Outcome:
        await anyio.sleep(random.uniform(0, 0.03))
        outcome = await super().act(ticket)
        await anyio.sleep(random.uniform(0, 0.03))
        return outcome


class Ponders(Plays):
    """Leaves a line in its box with every thought, and finishes with all of them."""

    async def think(self, history: History, box: Box) -> Thought:
        done = await box.run(("sh", "-c", f"echo {history.turns} >> kept; cat kept"))
        thought = await super().think(history, box)
        if history.turns < ACTS:
            return thought
        answer = thought.proposal.model_copy(update={"answer": done.stdout.decode()})
        return thought.model_copy(update={"proposal": answer})


def planned(folder: Path, number: int) -> Project:
    here = folder / f"run{number}"
    here.mkdir(exist_ok=True)
    thinker = Ponders(*[note(f"act {n}") for n in range(ACTS)])
    return project(here, thinker=thinker, executors=[Dawdles(here / "log")])


def run_id(number: int) -> str:
    return f"{number:032x}"


async def carried(folder: Path, ledger: SqlLedger, number: int) -> None:
    """Carry one run to its end; where an act is in doubt, say what its own log says."""
    judged, run = planned(folder, number), run_id(number)
    while (await carry(judged, ledger, run_id=run)).status == "waiting":
        (asked,) = (one for one in waiting(ledger) if one.run == run)
        assert isinstance(asked.proposal, Act)
        happened = asked.proposal.arguments["text"] in Note(folder / f"run{number}" / "log").lines
        with (folder / "doubts").open("a") as doubts:
            doubts.write(json.dumps([number, asked.proposal.arguments["text"], happened]) + "\n")
        await settle(ledger, run, happened=happened, by="tester")


async def crowd(folder: Path) -> None:
    with SqlLedger.open(place(folder), signer=PrivateKey.generate("crowd")) as ledger:
        async with anyio.create_task_group() as tasks:
            for number in range(RUNS):
                tasks.start_soon(carried, folder, ledger, number)


def started(folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        code = 1
        try:
            anyio.run(crowd, folder)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return pid


def main(where: str, seed: str, kills: str) -> int:
    folder, chance, killed = Path(where), random.Random(int(seed)), 0
    for _ in range(int(kills)):
        pid = started(folder)
        time.sleep(chance.uniform(0.1, 1.2))
        os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code not in (0, -signal.SIGKILL):
            return 1
        killed += code != 0
    print(killed)
    return os.waitstatus_to_exitcode(os.waitpid(started(folder), 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
