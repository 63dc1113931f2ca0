"""Runs that are killed at a chosen instant and taken up again: the other processes of `test_09`.

    python killed.py count FOLDER           the names of all instants of one whole run, as JSON
    python killed.py kill FOLDER K K …      a run in FOLDER/K for each K, killed at its K-th instant
    python killed.py resume FOLDER K K …    each of them taken up until it ends, settled where asked

Every run has a process of its own; what is killed is never this one. The kills live in the wrappers
below, not in what is tested.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import event

from audition.gate import sequential, threshold
from audition.ledger import PrivateKey, SqlLedger
from audition.project import Budget, Project
from audition.step import (
    Act,
    Box,
    Digest,
    Event,
    Finish,
    History,
    Outcome,
    Think,
    Thought,
    Ticket,
    View,
    Words,
)
from audition.waiting import settle, waiting
from databases import place
from rehearsal import Note, Says, carried, note, project, red

RUN = "d" * 32
SETTLED_BY = "tester"


class Instants:
    """Counts the instants of a run as they pass, and ends the process at one of them."""

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) - 1 == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Ledger(SqlLedger):
    """A ledger whose stages and commits are instants."""

    instant: Instants

    def stage(self, event: Event) -> Digest:
        name = f"before {event.body.kind}"
        if self.instant.names.count(name) < 2:  # what is not committed leaves the same behind
            self.instant(name)
        return super().stage(event)

    def _write(self, group: Any) -> None:
        self.instant("before a commit")
        super()._write(group)
        self.instant("after a commit")


class Thinker:
    """Thinks in the box, so that a later step needs what an earlier one left there."""

    name = "thinker"
    steps: tuple[tuple[str, Any], ...] = (
        ("echo one >> kept", note("one")),
        ("true", Think(prompt="the rest")),
        ("echo two >> kept", note("two")),
        ("true", Finish(answer="the rest is done")),
        ("true", note("forbidden")),
        ("cat kept", Finish(answer="")),
    )

    def __init__(self, instant: Instants) -> None:
        self.instant = instant

    async def think(self, history: History, box: Box) -> Thought:
        command, proposal = self.steps[history.turns]
        self.instant("before thinking")
        done = await box.run(("sh", "-c", command))
        self.instant("after thinking")
        if history.turns == len(self.steps) - 1:
            proposal = Finish(answer=done.stdout.decode())
        return Thought(content=command, calls=(done,), proposal=proposal)


class Tool(Note):
    """An executor that may be ended before its effect, and between its effect and its answer."""

    instant: Instants

    async def act(self, ticket: Ticket) -> Outcome:
        self.instant("before an effect")
        outcome = await super().act(ticket)
        self.instant("after an effect")
        return outcome


def planned(folder: Path, instant: Instants) -> Project:
    """Six steps: two acts, one of them replaced; one rejected; one opened and closed."""

    def answer(view: View) -> Any:
        instant("before a verdict")
        words = Words(replacement=note("two, better")) if view.proposal == note("two") else None
        return critic.verdict(view, score=0.0, words=words)

    critic = Says(answer)
    tool = Tool(folder / "log")
    tool.instant = instant
    return project(
        folder,
        thinker=Thinker(instant),
        auditors=[red(), critic],
        executors=[tool],
        gate=sequential(threshold("red", reject_at=0.5), threshold("critic", reject_at=0.5)),
        budget=Budget(steps=6),
    )


def carry(folder: Path, instant: Instants) -> None:
    with Ledger.open(place(folder), signer=PrivateKey.generate("killed")) as ledger:
        ledger.instant = instant
        event.listen(ledger._engine, "commit", lambda connection: instant("within a commit"))
        carried(planned(folder, instant), ledger, run_id=RUN)


def resume(folder: Path) -> None:
    """Take a run up; where an act is in doubt, say of it what its own log says."""
    judged, doubts = planned(folder, Instants()), []
    lines = Note(folder / "log").lines
    with SqlLedger.open(place(folder), signer=PrivateKey.generate("resumes")) as ledger:
        while (result := carried(judged, ledger, run_id=RUN)).status == "waiting":
            assert result.waits_for == "settle"
            (asked,) = waiting(ledger)
            assert asked.for_whom == "settle" and asked.ticket and isinstance(asked.proposal, Act)
            happened = asked.proposal.arguments["text"] in lines
            doubts.append({"ticket": asked.ticket, "happened": happened})
            anyio.run(lambda: settle(ledger, RUN, happened=happened, by=SETTLED_BY))  # noqa: B023
    told = {"status": result.status, "answer": result.answer, "turns": result.turns}
    (folder / "resumed.json").write_text(json.dumps({**told, "doubts": doubts}))


def apart(work: Callable[[], None]) -> int:
    """Do something in a process of its own; returns how it ended."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(do: str, where: str, *chosen: str) -> int:
    folder = Path(where)
    if do == "count":
        instant = Instants()
        carry(folder, instant)
        print(json.dumps(instant.names))
        return 0
    for number in chosen:
        here = folder / number
        here.mkdir(exist_ok=True)
        if do == "kill":
            code = apart(lambda: carry(here, Instants(int(number))))  # noqa: B023
            if code != -signal.SIGKILL:
                print(f"instant {number}: not killed but ended with {code}", file=sys.stderr)
                return 1
        elif apart(lambda: resume(here)) != 0:  # noqa: B023
            print(f"instant {number}: could not be resumed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
