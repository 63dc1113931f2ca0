"""Ours: runs carried by `audition.run`, many at once in one process, on one SQLite ledger.

The box is real and withstood its probes, but it is opened once, before the clock, and lent to all
runs: no thought calls it, and what opening one costs `benchmarks/box.py` says. The ledger is
verified after the clock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from child import Figures, Task, clocked, serve
from same_gate import FORBIDDEN

import audition.ledger.recent
import audition.loop
from audition.audit import Rule, Rules, signed
from audition.box import Box, BoxConfig, open_box
from audition.collecting import seldom
from audition.gate import keys, person, threshold
from audition.ledger import PrivateKey, SqlLedger, enrol
from audition.loop import run
from audition.project import Budget, Project
from audition.step import (
    Act,
    Evidence,
    Finish,
    History,
    Outcome,
    Role,
    Thought,
    Ticket,
    ToolSchema,
    Verdict,
    View,
)
from audition.verify import verify
from audition.waiting import answer


class Script:
    """A thinker that proposes so many notes, each its own, and finishes."""

    name, outside = "script", False

    def __init__(self, number: int, steps: int) -> None:
        self._number, self._steps = number, steps

    async def think(self, history: History, box: Box) -> Thought:
        if history.turns == self._steps:
            return Thought(proposal=Finish(answer="done"))
        text = f"{self._number}.{history.turns}"
        return Thought(proposal=Act(tool="note", arguments={"text": text}))


class Note:
    """An executor that does nothing."""

    schema = ToolSchema(name="note", description="Nothing", parameters={"type": "object"})

    def refuses(self, act: Act) -> str:
        return ""

    async def act(self, ticket: Ticket) -> Outcome:
        return Outcome(status="done")


class Ann:
    """A reviewer who is not here when she is asked, and approves under her key when she comes."""

    name, role, sees, person = "ann", Role.GUARD, frozenset({Evidence.PROPOSAL}), True

    def __init__(self, key: PrivateKey | None) -> None:
        self._key = key

    async def audit(self, view: View) -> Verdict:
        verdict = Verdict(
            auditor=self.name,
            role=self.role,
            moment=view.moment_digest,
            saw=tuple(self.sees),
            score=0.0,
        )
        return signed(verdict, self._key) if self._key is not None else verdict


def planned(number: int, steps: int, auditor: Any, gate: Any) -> Project:
    """The project of one run."""
    return Project(
        name="durable-steps",
        goal="note what may be noted",
        thinker=Script(number, steps),
        box=BoxConfig(),
        auditors={auditor.name: auditor},
        gate=gate,
        executors={"note": Note()},
        budget=Budget(steps=steps + 1, seconds=1e6),
        secret=bytes(32),
    )


async def acts(task: Task) -> Figures:
    """Acts that one rule judges."""
    rules, gate = (
        Rules([Rule(name="forbidden", pattern=FORBIDDEN)]),
        threshold("rules", reject_at=0.5),
    )
    key = PrivateKey.generate("bench")
    with SqlLedger.open(task["path"], signer=key) as ledger:
        async with lent():
            with clocked() as figures:
                async with anyio.create_task_group() as group:
                    for number in range(task["runs"]):
                        project = planned(number, task["steps"], rules, gate)
                        group.start_soon(run, project, ledger)
    if "of" in task:  # one of several processes on one ledger, which is verified when all are done
        return figures | {"count": task["runs"] * task["steps"]}
    return figures | written(task, [key])


async def approvals(task: Task) -> Figures:
    """Acts that a person approves from another task; each time the run is put down meanwhile.

    `signed`: the verdict carries a signature, which whoever verifies the ledger checks. `enrolled`:
    the gate asks for one under an enrolled key, and nothing passes without.
    """
    key, hers = PrivateKey.generate("bench"), PrivateKey.generate("ann")
    enrolled = task["variant"] == "enrolled"
    ann, gate = Ann(None if enrolled else hers), keys(1, of=["ann"]) if enrolled else person("ann")

    async def carried(number: int) -> None:
        name, result = f"{number:032x}", None
        project = planned(number, task["steps"], ann, gate)
        while result is None or result.status == "waiting":
            if result is not None:
                await asyncio.create_task(review(name))
            result = await run(project, ledger, run_id=name)
        assert result.status == "finished", result

    async def review(name: str) -> None:
        await answer(ledger, name, ann, key=hers if enrolled else None)

    with nothing_at_hand(), SqlLedger.open(task["path"], signer=key) as ledger:
        if enrolled:
            await enrol(ledger, hers.public, "ann", key)
        async with lent():
            with clocked() as figures:
                async with anyio.create_task_group() as group:
                    for number in range(task["runs"]):
                        group.start_soon(carried, number)
    return figures | written(task, [key, hers])


@contextmanager
def nothing_at_hand() -> Generator[None]:
    """While it lasts, all that is read comes from the database, though this process wrote it."""
    longest, audition.ledger.recent.LONGEST = audition.ledger.recent.LONGEST, -1
    try:
        yield
    finally:
        audition.ledger.recent.LONGEST = longest


@asynccontextmanager
async def lent() -> AsyncGenerator[None]:
    """While it lasts, every run is carried in one box that is open already."""
    async with open_box(BoxConfig()) as box:

        @asynccontextmanager
        async def opened(config: BoxConfig, *, saved: bytes | None = None) -> AsyncGenerator[Box]:
            yield box

        audition.loop.open_box = opened  # type: ignore[assignment]
        try:
            yield
        finally:
            audition.loop.open_box = open_box


def written(task: Task, keys: list[PrivateKey]) -> Figures:
    """What stands in the ledger, once it was verified."""
    path = Path(task["path"])
    sound = verify(path, trusted=[key.public for key in keys])
    assert sound.ok, sound
    with sqlite3.connect(path) as database:
        (groups,) = database.execute("SELECT count(*) FROM checkpoints").fetchone()
        done = (
            'SELECT count(*) FROM events WHERE CAST(data AS TEXT) LIKE \'%"kind":"act.finished"%\''
        )
        (count,) = database.execute(done).fetchone()
    database.close()
    assert count == task["runs"] * task["steps"], count
    return {
        "count": count,
        "events": sound.events,
        "commits": groups,
        "bytes": path.stat().st_size,
        "verified": sound.ok,
    }


if __name__ == "__main__":
    seldom()  # as `audition worker` does
    serve(
        {"audition": version("audition"), "sqlite": sqlite3.sqlite_version},
        {"acts": partial(anyio.run, acts), "approvals": partial(anyio.run, approvals)},
    )
