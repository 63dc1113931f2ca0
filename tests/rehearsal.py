"""A small real run for tests: a real ledger, a real box, a real gate, effects in a folder.

What a test varies is who thinks, who judges and what performs; these are the plainest of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio

from audition.act.schema import misfit, schema_of
from audition.audit import Rule, Rules
from audition.box import BoxConfig, BoxRefused, BoxUnavailable, open_box
from audition.gate import threshold
from audition.history import Progress
from audition.ledger import SqlLedger
from audition.ledger.events import StepDecided
from audition.loop import Result
from audition.loop import run as carry
from audition.project import Budget, Project
from audition.step import (
    Act,
    Body,
    Box,
    Evidence,
    Finish,
    Frozen,
    History,
    Moment,
    Outcome,
    Proposal,
    Role,
    RunId,
    Thought,
    Ticket,
    Verdict,
    View,
)

SECRET = bytes(range(32))
PATIENCE = 30
"""Seconds after which a run of a few steps is taken to go round in circles."""

B = TypeVar("B", bound=Body)


class NoteArguments(Frozen):
    text: str


class Note:
    """An executor with an effect that can be counted: a line in its own log, made durable."""

    def __init__(self, log: Path, *, name: str = "note") -> None:
        self.log = log
        self.schema = schema_of(name, "Write a line", NoteArguments)

    def refuses(self, act: Act) -> str:
        return misfit(NoteArguments, act)

    async def act(self, ticket: Ticket) -> Outcome:
        assert isinstance(ticket.act, Act)
        self.write(str(ticket.act.arguments["text"]))
        return Outcome(status="done", output="written")

    def write(self, text: str) -> None:
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, text.encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


class Plays:
    """A thinker that proposes what it is given, in order, then finishes."""

    name = "plays"

    def __init__(self, *proposals: Proposal) -> None:
        self.proposals = proposals

    async def think(self, history: History, box: Box) -> Thought:
        if history.turns < len(self.proposals):
            return Thought(proposal=self.proposals[history.turns])
        return Thought(proposal=Finish(answer="done"))


class Says:
    """An auditor that answers what it is given, or what a function makes of the view."""

    def __init__(
        self,
        answer: float | Callable[[View], Any] = 0.0,
        *,
        name: str = "critic",
        role: Role = Role.GUARD,
        sees: frozenset[Evidence] = frozenset({Evidence.PROPOSAL}),
    ) -> None:
        self.name, self.role, self.sees = name, role, sees
        self.answer = answer
        self.views: list[View] = []

    async def audit(self, view: View) -> Verdict:
        self.views.append(view)
        if callable(self.answer):
            answer = self.answer(view)
            return await answer if isinstance(answer, Awaitable) else answer
        return self.verdict(view, score=self.answer)

    def verdict(self, view: View, **fields: Any) -> Verdict:
        given = {"auditor": self.name, "role": self.role, "moment": view.moment_digest}
        return Verdict(**{**given, "saw": tuple(sorted(self.sees)), **fields})


class Absent(Says):
    """A person who is not here; the run waits for whoever answers in the same name."""

    person = True


def note(text: str, **fields: Any) -> Act:
    return Act(tool="note", arguments={"text": text}, **fields)


def a_moment(**fields: Any) -> Moment:
    """A moment about nothing, for what is pure."""
    digests = ("goal", "history", "proposal", "restrictions", "reviewers")
    given = {"run": "0" * 32, "turn": 1, "place": "1"} | dict.fromkeys(digests, "0" * 64)
    return Moment(**{**given, **fields})


def red(pattern: str = "forbidden") -> Rules:
    return Rules([Rule(name="red", pattern=pattern)], name="red")


def project(folder: Path, *proposals: Proposal, **changes: Any) -> Project:
    """A project whose one act writes to `folder/log`, judged by one rule unless told otherwise."""
    auditors = changes.pop("auditors", None) or [red()]
    executors = changes.pop("executors", None) or [Note(folder / "log")]
    parts: dict[str, Any] = {
        "name": "rehearsal",
        "goal": "write what may be written",
        "thinker": Plays(*proposals),
        "box": BoxConfig(),
        "auditors": {one.name: one for one in auditors},
        "executors": {one.schema.name: one for one in executors},
        "gate": threshold(auditors[0].name, reject_at=0.5),
        "budget": Budget(),
        "secret": SECRET,
    }
    return Project(**{**parts, **changes})


def carried(project: Project, ledger: SqlLedger, **options: Any) -> Result:
    """Carry a run as far as it goes, in an event loop of its own."""

    async def body() -> Result:
        with anyio.fail_after(PATIENCE):
            return await carry(project, ledger, **options)

    return anyio.run(body)


def written(folder: Path) -> list[str]:
    """The lines that the acts of `project(folder)` wrote."""
    return Note(folder / "log").lines


def kinds(ledger: SqlLedger, run: RunId) -> list[str]:
    return [event.body.kind for event in ledger.read(run)]


def bodies(ledger: SqlLedger, run: RunId, kind: type[B]) -> Iterator[B]:
    return (event.body for event in ledger.read(run) if isinstance(event.body, kind))


def decisions(ledger: SqlLedger, run: RunId) -> list[str]:
    return [one.decision.action for one in bodies(ledger, run, StepDecided)]


def history_of(ledger: SqlLedger, run: RunId) -> str:
    """The chained digest of all that is complete."""
    progress = Progress(run)
    for event in ledger.read(run):
        progress.apply(event)
    return progress.history


def elsewhere(source: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs Python source with this module's names at hand."""
    names = "import sys; from pathlib import Path; from rehearsal import *\n"
    here = os.pathsep.join(path for path in (str(Path(__file__).parent), *sys.path) if path)
    return subprocess.Popen(
        [sys.executable, "-c", names + textwrap.dedent(source), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": here},
    )


def no_box() -> str:
    """Why no box can be opened on this machine; empty if one can."""

    async def attempt() -> None:
        async with open_box():
            pass

    try:
        anyio.run(attempt)
    except (BoxUnavailable, BoxRefused) as error:
        return str(error)
    return ""
