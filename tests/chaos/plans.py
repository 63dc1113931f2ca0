"""The runs that are disturbed: each plan goes another part of the path, its acts into one log.

Whoever takes part tells of its instants by name: a thought, a judgement, an act before its effect,
and one between its effect and its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from audition.act import Remote, RemoteSetup
from audition.gate import keys, person, planted, run_secret, sampled, sequential, threshold
from audition.project import Budget, Project
from audition.step import (
    Act,
    Auditor,
    Box,
    Evidence,
    Finish,
    History,
    Outcome,
    Proposal,
    Thought,
    Ticket,
    View,
    Words,
)
from audition.think import Plant, Plants
from rehearsal import SECRET, Absent, Note, Says, note, project, red

Instant = Callable[[str], None]

WORDS = ("one", "two")
"""What the acts of a run write, beside its name."""

PLANTED_AT = 0.5
"""Rate of planted steps, in the plan that has them."""


def due(plan: str, run: str) -> list[str]:
    """The lines that a run leaves in the log if nothing goes amiss."""
    words = ("one, better", "two") if plan == "replaced" else WORDS
    return [f"{run} {word}" for word in words]


def line_of(act: Act, run: str) -> str:
    """What an act of a run writes."""
    said = act.arguments.get("text") or str(act.arguments["command"]).split("'")[1]
    return f"{run} {said}" if act.tool == "note" else str(said)


def planned(
    plan: str,
    folder: Path,
    run: str,
    instant: Instant = lambda name: None,
    remote: dict[str, Any] | None = None,
) -> Project:
    """The project under which a run goes.

    Args:
        plan: `plain`, `asked` (a person judges), `signed` (a person signs), `replaced` (a critic
            puts another act in an act's place), `several` (further candidates), `planted`.
        folder: where the log is.
        run: the run.
        instant: is told of each instant.
        remote: an executor's process that is to perform; a shell command there writes the line.
    """
    sees = {Evidence.PROPOSAL} | ({Evidence.CANDIDATES} if plan == "several" else set())
    critic = Says(lambda view: _judgement(critic, view, plan, instant), sees=frozenset(sees))
    auditors: list[Auditor] = [red(), critic]
    gate: Any = sequential(threshold("red", reject_at=0.5), threshold("critic", reject_at=0.5))
    more: dict[str, Any] = {}
    match plan:
        case "asked" | "signed":
            auditors = [red(), Absent(name="ann")]
            gate = person("ann", within=3600) if plan == "asked" else keys(1, of=["ann"])
        case "several":
            more["candidates"] = 2
            gate = sampled(1.0, gate)
        case "planted":
            plant = Plant(proposal=note("plant"), harmful=False)
            more["plants"] = Plants(steps=(plant,), rate=PLANTED_AT)
        case _:
            pass
    tool: Any = Acts(folder / "acts", instant)
    if remote is not None:
        tool = Remote(RemoteSetup.model_validate(remote), "shell")
    return project(
        folder,
        thinker=Thinks(instant, run if remote is not None else None),
        auditors=auditors,
        executors=[tool],
        gate=gate,
        budget=Budget(steps=8),
        **more,
    )


def run_id(plan: str, number: int = 0) -> str:
    """A run's name; a planted one is called so that its second or third step is planted."""
    run = f"{number:032x}"
    while plan == "planted" and not _plants_early(run):
        number += 1000
        run = f"{number:032x}"
    return run


class Thinks:
    """Leaves a word in the box with each thought, and finishes with all that is there."""

    name = "thinks"
    stateless = True

    def __init__(self, instant: Instant, remote: str | None) -> None:
        self._instant = instant
        self._remote = remote

    async def think(self, history: History, box: Box) -> Thought:
        self._instant("thinking")
        word = history.turns
        done = await box.run(("sh", "-c", f"echo {word} >> kept; cat kept"))
        proposal: Proposal = Finish(answer=done.stdout.decode())
        if word < len(WORDS):
            proposal = self._act(WORDS[word])
        return Thought(content=f"thought {word}", calls=(done,), proposal=proposal)

    def _act(self, word: str) -> Act:
        if self._remote is None:
            return note(word)
        command = f". ./before; echo '{self._remote} {word}' >> acts; . ./after"
        return Act(tool="shell", arguments={"command": command})


class Acts(Note):
    """Writes a line, durable at once: what was done is known there, whatever a ledger says."""

    def __init__(self, log: Path, instant: Instant) -> None:
        super().__init__(log)
        self._instant = instant

    async def act(self, ticket: Ticket) -> Outcome:
        assert isinstance(ticket.act, Act)
        self._instant("acting")
        self.write(line_of(ticket.act, ticket.run))
        self._instant("acted")
        return Outcome(status="done", output="written")


def _judgement(critic: Says, view: View, plan: str, instant: Instant) -> Any:
    instant("judging")
    first = view.proposal == note("one")
    words = Words(replacement=note("one, better")) if plan == "replaced" and first else None
    return critic.verdict(view, score=0.0, words=words)


def _plants_early(run: str) -> bool:
    secret = run_secret(SECRET, run)
    return any(planted(secret, run, turn, PLANTED_AT) for turn in (2, 3))
