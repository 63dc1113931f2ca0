"""LangGraph on its SQLite saver: the same gate as a node, decide and then act, in a loop.

Every node's result is durable before the next node begins (`durability="sync"`, WAL, synchronous
FULL), so that a decision stands before its act, as with ours. Both savers that it has for SQLite
are tried: `async`, many tasks on an `AsyncSqliteSaver`, and `threads`, a thread for each run on one
`SqliteSaver`. State is what it must be: a turn, what is proposed, what was decided. A compiled
graph keeps nothing of a run, for every invocation reads the saver; so it is compiled once, before
the clock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, TypedDict

import aiosqlite
from child import Figures, Task, clocked, serve
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt
from same_gate import Reviewer, judged, proposal

PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000;"

Judge = Callable[[str], str]
Saver = BaseCheckpointSaver[str]
Graph = CompiledStateGraph[Any, Any, Any, Any]


class State(TypedDict):
    """What one run carries from node to node."""

    run: str
    turn: int
    proposed: str
    decided: str


def made(saver: Saver, steps: int, judge: Judge) -> Graph:
    """The graph: propose and decide, act, and again until the steps are done."""

    def decide(state: State) -> dict[str, str]:
        proposed = proposal(state["run"], state["turn"])
        return {"proposed": proposed, "decided": judge(proposed)}

    def act(state: State) -> dict[str, int]:
        return {"turn": state["turn"] + 1}

    def may(state: State) -> str:
        return "act" if state["decided"] == "proceed" else END

    def again(state: State) -> str:
        return "decide" if state["turn"] < steps else END

    builder = StateGraph(State)
    builder.add_node("decide", decide)
    builder.add_node("act", act)
    builder.add_edge(START, "decide")
    builder.add_conditional_edges("decide", may, ["act", END])
    builder.add_conditional_edges("act", again, ["decide", END])
    return builder.compile(checkpointer=saver)


def beginning(number: int) -> State:
    """The state in which a run begins."""
    return {"run": str(number), "turn": 0, "proposed": "", "decided": ""}


def options(number: int, task: Task) -> dict[str, Any]:
    """How a run is invoked."""
    config = {"configurable": {"thread_id": str(number)}, "recursion_limit": 4 * task["steps"] + 4}
    return {"config": config, "durability": "sync"}


def measured(task: Task, judge: Judge, reviewer: Reviewer | None = None) -> Figures:
    """So many runs at once, by the saver that is asked for."""
    if task["variant"] == "async":
        return asyncio.run(on_tasks(task, judge, reviewer))
    return on_threads(task, judge, reviewer)


async def on_tasks(task: Task, judge: Judge, reviewer: Reviewer | None) -> Figures:
    """A task for each run, and one more for each verdict."""
    async with aiosqlite.connect(task["path"]) as connection:
        await connection.executescript(PRAGMAS)
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        graph = made(saver, task["steps"], judge)

        async def carried(number: int) -> None:
            state = await graph.ainvoke(beginning(number), **options(number, task))
            while "__interrupt__" in state:
                assert reviewer is not None
                asked = state["__interrupt__"][0].value
                verdict = await asyncio.create_task(review(reviewer, asked))
                state = await graph.ainvoke(Command(resume=verdict), **options(number, task))
            assert state["turn"] == task["steps"], state

        with clocked() as figures:
            await asyncio.gather(*(carried(number) for number in range(task["runs"])))
    return figures | {"count": task["runs"] * task["steps"]}


async def review(reviewer: Reviewer, asked: str) -> dict[str, str]:
    """A verdict, from another task."""
    return reviewer.verdict(asked)


def on_threads(task: Task, judge: Judge, reviewer: Reviewer | None) -> Figures:
    """A thread for each run, and another for the verdicts."""
    connection = sqlite3.connect(task["path"], check_same_thread=False)
    connection.executescript(PRAGMAS)
    saver = SqliteSaver(connection)
    saver.setup()
    graph = made(saver, task["steps"], judge)

    def carried(number: int) -> None:
        state = graph.invoke(beginning(number), **options(number, task))
        while "__interrupt__" in state:
            assert reviewer is not None
            asked = state["__interrupt__"][0].value
            verdict = reviewing.submit(reviewer.verdict, asked).result()
            state = graph.invoke(Command(resume=verdict), **options(number, task))
        assert state["turn"] == task["steps"], state

    reviewing, threads = ThreadPoolExecutor(1), ThreadPoolExecutor(task["runs"])
    with reviewing, threads, clocked() as figures:
        list(threads.map(carried, range(task["runs"])))
    connection.close()
    return figures | {"count": task["runs"] * task["steps"]}


def acts(task: Task) -> Figures:
    """Acts that one rule judges."""
    return measured(task, judged)


def approvals(task: Task) -> Figures:
    """Acts that a person approves, from another task."""
    reviewer = Reviewer()
    return measured(task, lambda asked: reviewer.decides(asked, interrupt(asked)), reviewer)


if __name__ == "__main__":
    serve(
        {name: version(name) for name in ("langgraph", "langgraph-checkpoint-sqlite")},
        {"acts": acts, "approvals": approvals},
    )
