"""What supervision adds to a step, with a model that answers at once over HTTP.

    python benchmarks/supervision.py [--steps 600] [--json]

A scripted chat-completions server on loopback answers every request with the same proposal. The
same requests are asked twice, alternately in rounds: by `audition.loop.run` (think in a real box,
seal, draw, judge by rules, ticket, a no-op executor, a signed ledger, fully synced), and by the
same client in a bare loop, which does nothing with the answers. Commits are timed apart: what is
left of a step without its model call and its commits is the overhead. Steps early and late in a
run are compared, so that growth shows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from audition.audit import Rule, Rules
from audition.box import BoxConfig
from audition.gate import threshold
from audition.ledger import Journal, PrivateKey, SqlLedger
from audition.ledger.events import ActFinished
from audition.loop import run
from audition.model import Served, Server
from audition.project import Budget, Project
from audition.step import Act, Event, Outcome, Ticket, ToolSchema
from audition.think import LanguageModel
from servers.chat import chat_server

Asked = tuple[Any, Any, int | None]

NOTED = {"kind": "act", "tool": "note", "arguments": {}}
PROPOSAL = {"calls": [{"name": "propose", "arguments": {"proposal": NOTED}}]}


class Note:
    """An executor that does nothing."""

    schema = ToolSchema(name="note", description="Nothing", parameters={"type": "object"})

    def refuses(self, act: Act) -> str:
        return ""

    async def act(self, ticket: Ticket) -> Outcome:
        return Outcome(status="done")


class Timed:
    """A chat that keeps how long each reply took, and what was asked."""

    def __init__(self, chat: Served) -> None:
        self.name, self._chat = chat.name, chat
        self.seconds: list[float] = []
        self.asked: list[Asked] = []

    def configuration(self) -> str:
        return self._chat.configuration()

    async def reply(
        self, messages: Any, *, tools: Any = (), schema: Any = None, tokens: int | None = None
    ) -> Any:
        begun = time.perf_counter()
        try:
            return await self._chat.reply(messages, tools=tools, schema=schema, tokens=tokens)
        finally:
            self.seconds.append(time.perf_counter() - begun)
            self.asked.append((list(messages), list(tools), tokens))


async def supervised(
    server: Server, steps: int, folder: Path
) -> tuple[dict[str, list[float]], list[Asked]]:
    """A run of so many steps: seconds of each, its model call and commits; and what was asked."""
    chat = Timed(Served(server))
    note = Note()
    project = Project(
        name="overhead",
        goal="Note something, again and again.",
        thinker=LanguageModel(chat, [note.schema]),
        box=BoxConfig(),
        auditors={"rules": Rules([Rule(name="none", pattern="never to be found")])},
        gate=threshold("rules", reject_at=0.5),
        executors={"note": note},
        budget=Budget(steps=steps, seconds=1e6),
    )
    ends: list[float] = []
    commits: list[float] = []
    committing = [0.0]
    commit = Journal.commit

    async def timed(journal: Journal) -> Any:
        begun = time.perf_counter()
        try:
            return await commit(journal)
        finally:
            committing[0] += time.perf_counter() - begun

    def watch(event: Event) -> None:
        if isinstance(event.body, ActFinished):
            ends.append(time.perf_counter())
            commits.append(committing[0])

    Journal.commit = timed  # type: ignore[method-assign]
    try:
        with SqlLedger.open(folder / "runs.db", signer=PrivateKey.generate("bench")) as ledger:
            result = await run(project, ledger, watch=watch)
    finally:
        Journal.commit = commit  # type: ignore[method-assign]
    assert result.status == "exhausted" and len(ends) == steps, result
    return {
        "step": _differences(ends),
        "commit": _differences(commits),
        "model": chat.seconds[1:],
    }, chat.asked


async def bare(server: Server, asked: Sequence[Asked]) -> list[float]:
    """The same requests by the same client, and nothing else: seconds of each."""
    chat = Served(server)
    taken: list[float] = []
    for messages, tools, tokens in asked:
        begun = time.perf_counter()
        await chat.reply(messages, tools=tools, tokens=tokens)
        taken.append(time.perf_counter() - begun)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    over: list[list[float]] = []
    steps: list[float] = []
    models: list[float] = []
    commits: list[float] = []
    alone: list[float] = []
    with chat_server(PROPOSAL) as opened:
        server = Server(base_url=opened.base_url, model="scripted")
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found, asked = anyio.run(supervised, server, given.steps, Path(folder))
            alone += anyio.run(bare, server, asked)
            parts = zip(found["step"], found["model"], found["commit"], strict=True)
            over.append([step - model - commit for step, model, commit in parts])
            steps += found["step"]
            models += found["model"]
            commits += found["commit"]
    each = [one for many in over for one in many]
    fifth = len(over[0]) // 5
    figures = {
        "steps": given.steps,
        "rounds": given.rounds,
        "step_ms": _ms(steps),
        "bare_call_ms": _ms(alone),
        "call_ms": _ms(models),
        "commits_ms": _ms(commits),
        "overhead_ms": _ms(each),
        "overhead_first_fifth_ms": _ms([one for many in over for one in many[:fifth]]),
        "overhead_last_fifth_ms": _ms([one for many in over for one in many[-fifth:]]),
        "against_bare_ms": round(_ms(steps) - _ms(commits) - _ms(alone), 3),
    }
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:>26}  {value}")


def _ms(seconds: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return round(1000 * statistics.median(seconds), 3)


def _differences(points: Sequence[float]) -> list[float]:
    return [b - a for a, b in itertools.pairwise(points)]


if __name__ == "__main__":
    main()
