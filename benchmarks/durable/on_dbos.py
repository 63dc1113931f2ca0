"""DBOS on SQLite: the same gate as a step, decide and then act, in a workflow for each run.

Every step's result is durable before the next begins (its own transactions, with WAL and
synchronous FULL set on its engine), so that a decision stands before its act, as with ours. Tried
as `async`, coroutines on its event loop, and as `threads`, one for each run; with one connection,
which serves it best where only one may write. An approval goes as its documents have it for a
person in the loop: the workflow shows what waits by `set_event` and waits in `recv`; the reviewer,
on another thread, answers by `send`. Its listener looks for messages every 10 ms instead of every
second, and the reviewer hears of what waits without looking for it.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
from child import Figures, Task, clocked, serve
from dbos import DBOS, DBOSConfig
from same_gate import Reviewer, judged, proposal

REVIEWER = Reviewer()
ASKED: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
PATIENCE = 60.0


@DBOS.step()
def decide(proposed: str) -> str:
    return judged(proposed)


@DBOS.step()
def act(proposed: str) -> str:
    return "done"


@DBOS.workflow()
def acting(run: str, steps: int) -> int:
    return sum(_acts(proposal(run, turn)) for turn in range(steps))


@DBOS.workflow()
def asking(run: str, steps: int) -> int:
    done = 0
    for turn in range(steps):
        proposed = proposal(run, turn)
        DBOS.set_event("waits", proposed)
        ASKED.put((DBOS.workflow_id or "", proposed))
        verdict = DBOS.recv("verdict", timeout_seconds=PATIENCE)
        done += REVIEWER.decides(proposed, verdict) == "proceed" and act(proposed) == "done"
    return done


@DBOS.step()
async def decide_async(proposed: str) -> str:
    return judged(proposed)


@DBOS.step()
async def act_async(proposed: str) -> str:
    return "done"


@DBOS.workflow()
async def acting_async(run: str, steps: int) -> int:
    done = 0
    for turn in range(steps):
        proposed = proposal(run, turn)
        done += await decide_async(proposed) == "proceed" and await act_async(proposed) == "done"
    return done


@DBOS.workflow()
async def asking_async(run: str, steps: int) -> int:
    done = 0
    for turn in range(steps):
        proposed = proposal(run, turn)
        await DBOS.set_event_async("waits", proposed)
        ASKED.put((DBOS.workflow_id or "", proposed))
        verdict = await DBOS.recv_async("verdict", timeout_seconds=PATIENCE)
        if REVIEWER.decides(proposed, verdict) == "proceed":
            done += await act_async(proposed) == "done"
    return done


def acts(task: Task) -> Figures:
    """Acts that one rule judges."""
    with launched(task):
        return measured(task, acting, acting_async)


def approvals(task: Task) -> Figures:
    """Acts that a person approves, from another thread."""

    def review() -> None:
        for _ in range(task["runs"] * task["steps"]):
            workflow, proposed = ASKED.get(timeout=PATIENCE)
            sending.submit(DBOS.send, workflow, REVIEWER.verdict(proposed), "verdict")

    with launched(task), ThreadPoolExecutor(8) as sending, ThreadPoolExecutor(1) as reviewing:
        reviewed = reviewing.submit(review)
        figures = measured(task, asking, asking_async)
        reviewed.result()
        return figures


def measured(task: Task, plain: Any, coroutine: Any) -> Figures:
    """So many workflows at once."""

    async def on_tasks() -> list[int]:
        async def carried(run: int) -> int:
            handle = await DBOS.start_workflow_async(coroutine, str(run), task["steps"])
            return await handle.get_result(polling_interval_sec=0.05)

        return await asyncio.gather(*(carried(run) for run in range(task["runs"])))

    def on_threads() -> list[int]:
        runs = range(task["runs"])
        handles = [DBOS.start_workflow(plain, str(run), task["steps"]) for run in runs]
        return [handle.get_result(polling_interval_sec=0.05) for handle in handles]

    with clocked() as figures:
        done = asyncio.run(on_tasks()) if task["variant"] == "async" else on_threads()
    assert done == [task["steps"]] * task["runs"], done
    return figures | {"count": sum(done)}


@contextmanager
def launched(task: Task) -> Generator[None]:
    """DBOS on a fresh database, fully synced, with nobody outside to talk to."""
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 60}
    engine = sa.create_engine(f"sqlite:///{task['path']}", **pool)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = "IMMEDIATE"  # as its own engine has it
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA foreign_keys=ON")

    config: DBOSConfig = {
        "name": "durable-steps",
        "system_database_engine": engine,
        "system_database_url": f"sqlite:///{task['path']}",
        "log_level": "WARNING",
        "enable_otlp": False,
        "executor_id": uuid.uuid4().hex,
        "application_version": "1",
        "max_executor_threads": 2 * max(task["runs"], 8),
        "notification_listener_polling_interval_sec": 0.01,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()
        engine.dispose()


def _acts(proposed: str) -> bool:
    return decide(proposed) == "proceed" and act(proposed) == "done"


if __name__ == "__main__":
    serve({"dbos": version("dbos")}, {"acts": acts, "approvals": approvals})
