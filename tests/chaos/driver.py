"""A process that carries runs, and stops where it is told to: the one to which faults happen.

It tells the test that started it of every event that a receipt covered. At a chosen instant it
says so and waits; then the test does to it, or to the world, what the fault is, and lets it go on.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import resource
import sqlite3
import sys
import threading
import types
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import psycopg  # noqa: F401  loaded here once, and not when files are short
import sqlalchemy as sa
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite
from disk import Disk
from plans import line_of, planned
from sqlalchemy import event

import audition.console.app
import audition.ledger.postgres
import audition.ledger.sqlite
import audition.ledger.store
import audition.verify
from audition.act import perform
from audition.ledger import Journal, PrivateKey, RegisterError, SqlLedger, enrol
from audition.ledger.events import MomentSealed, TicketIssued
from audition.ledger.together import Together
from audition.loop import WORKER
from audition.loop import run as carry
from audition.project import Project
from audition.step import (
    Act,
    Digest,
    Event,
    Moment,
    Receipt,
    RunId,
    Ticket,
    digest_of,
    parse_proposal,
)
from audition.waiting import answer, awaited, settle
from audition.worker import Carrying, work
from rehearsal import Note, Says

OPERATOR = PrivateKey("operator", bytes(range(1, 33)))
ANN = PrivateKey("ann", bytes(range(2, 34)))
PATIENCE = 60
"""Seconds after which a process is taken to hang."""

codecs.lookup("unicode_escape")  # loaded here once, and not by a user who may not read it

_GROWS = re.compile(r'UPDATE "?ledger"?\b')


@dataclass(frozen=True)
class Order:
    """What a process is to do."""

    where: str
    """The ledger."""
    folder: Path
    """Where the log of the acts is."""
    runs: tuple[RunId, ...]
    plan: str = "plain"
    do: str = "carry"
    """`carry` each run until it ends or waits, `answer` what a person is asked, `settle` what is in
    doubt, `recover`: all of it until each run has ended; `replay` a ticket, `cancel` each run;
    `work` as a worker does until a run was put down, or `work till idle`."""
    step: int = 1
    """Of runs that are cancelled, how many more places each passes where it waits."""
    lease: float = 1.0
    """Seconds for which a worker holds a run."""
    at: tuple[str, int] = ("", 1)
    """At which instant to stop, and for the how manieth time it then comes."""
    remote: dict[str, Any] | None = None
    """An executor's process that is to perform; `RemoteSetup`."""
    record: Path | None = None
    """Where to record what becomes of the ledger's files; SQLite's."""


class Wire:
    """What goes between a process and the test that started it."""

    def __init__(self, line: Connection, at: tuple[str, int], disk: Disk) -> None:
        self._line = line
        self._at, self._times = at
        self._disk = disk
        self._one = threading.RLock()

    def tell(self, what: str, *more: Any) -> None:
        """Say something, and how far the record of the disk was then."""
        with self._one:
            self._line.send((what, self._disk.recorded(), *more))

    def instant(self, name: str) -> None:
        """Pass an instant; stop there if it is the chosen one."""
        with self._one:
            if self._disk.recorded():
                self.tell("passed", name)
            if name != self._at:
                return
            self._times -= 1
            if self._times:
                return
            self.tell("at", name)
            self._obey()

    def _obey(self) -> None:
        while True:
            match self._line.recv():
                case ("go",):
                    return
                case "then", str(name), int(times):
                    self._at, self._times = name, times
                case "raise", error:
                    raise error
                case "limit", int(what), int(most):
                    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
                case "memory", int(more):
                    _limit_memory(more)
                case "user", int(user):
                    os.seteuid(user)
                case "disk", *how:
                    self._disk.fail(*how)
                case "patience", int(milliseconds):
                    _wait_no_longer(milliseconds)
                case ("silence",):
                    _hear_no_longer()
                case "clock", int(seconds):
                    self._disk.set_clock(seconds)
                case other:
                    raise AssertionError(f"this is nothing that a process can do: {other}")


class Ledger(SqlLedger):
    """A ledger whose stages, transactions and commits are instants, and whose receipts are told."""

    wire: Wire
    newest: str = ""
    """Kind of the newest event that was staged."""

    def watched(self, wire: Wire) -> Ledger:
        self.wire = wire
        self._told: dict[RunId, list[tuple[RunId, int, Digest]]] = defaultdict(list)
        return self

    def stage(self, event: Event) -> Digest:
        self.newest = event.body.kind
        self.wire.instant(f"stage {event.body.kind}")
        leaf = super().stage(event)
        told = self._told[event.run]
        while told and told[-1][1] >= event.seq:  # staged before, and never committed
            told.pop()
        told.append((event.run, event.seq, leaf))
        return leaf

    async def commit(self, run: RunId | None = None) -> Receipt:
        kind = self.newest
        staged = self._told.pop(run, []) if run is not None else []
        self.wire.instant(f"before {kind} is durable")
        receipt = await super().commit(run)
        if staged:
            self.wire.tell("durable", staged, receipt.size, receipt.root)
        self.wire.instant(f"after {kind} is durable")
        return receipt


def drive(line: Connection, order: Order) -> None:
    """Do what is ordered; tell how each run stands, or why that could not be done."""
    disk = Disk()
    if "://" not in order.where:
        disk.watch(Path(order.where), order.record)
    wire = Wire(line, order.at, disk)
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more
        try:
            for run, stands in anyio.run(_done, order, wire):
                wire.tell("stands", run, stands)
            wire.tell("ended", "")
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            wire.tell("ended", f"{type(error).__name__}: {error}")


def command(arguments: tuple[str, ...], home: Path, says: Path, line: Connection) -> None:
    """`audition` with these arguments; what it says goes into a file, its answer to the test."""
    os.environ["AUDITION_HOME"] = str(home)
    os.dup2(os.open(says, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    os.dup2(line.fileno(), 1)
    line.close()
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  not the file that was there before
    sys.argv = ["audition", *arguments]
    audition.console.app.main()


async def _done(order: Order, wire: Wire) -> list[tuple[RunId, str]]:
    wire.instant("opening")
    ledger = Ledger.open(order.where, signer=OPERATOR).watched(wire)
    with ledger, _transactions(ledger), anyio.fail_after(PATIENCE):
        stands: list[tuple[RunId, str]] = []
        if order.do.startswith("work"):
            await _worked(order, wire, ledger, stands)
            return stands
        async with anyio.create_task_group() as tasks:
            for run in order.runs:
                tasks.start_soon(_one, order, wire, ledger, run, stands)
    return stands


async def _one(
    order: Order, wire: Wire, ledger: Ledger, run: RunId, stands: list[tuple[RunId, str]]
) -> None:
    match order.do:
        case "answer":
            wire.instant("answering")
            await _answered(order, ledger, run)
        case "settle":
            await settled(order, ledger, run)
        case "replay":
            await _replayed(order, wire, ledger, run)
        case "cancel":
            await _cancelled(order, wire, ledger, run)
        case "carry":
            project = _project(order, wire, run)
            result = await carry(project, ledger, run_id=run)
            stands.append((run, result.waits_for or result.status))
        case _:
            stands.append((run, await recovered(order, wire, ledger, run)))


async def _worked(
    order: Order, wire: Wire, ledger: Ledger, stands: list[tuple[RunId, str]]
) -> None:
    """Carry what is in the queue as a worker does."""
    stop, idle = anyio.Event(), order.do.endswith("idle")

    def tell(one: Carrying) -> None:
        how = (one.result.waits_for or one.result.status) if one.result else one.why
        if how != WORKER:  # put down because its lease ran out, and claimed again
            stands.append((one.run, how))
            stop.set()

    project = _project(order, wire, order.runs[0])
    await work([project], ledger, lease=order.lease, until_idle=idle, stop=stop, tell=tell)


async def recovered(order: Order, wire: Wire, ledger: Ledger, run: RunId) -> str:
    """Carry a run to its end; whatever it waits for on the way is answered."""
    project = _project(order, wire, run)
    while True:
        result = await carry(project, ledger, run_id=run)
        match result.waits_for:
            case "":
                return result.status
            case "settle":
                await settled(order, ledger, run)
            case _:
                await _answered(order, ledger, run)


async def _answered(order: Order, ledger: Ledger, run: RunId) -> None:
    key = None
    if order.plan == "signed":
        key = ANN
        with contextlib.suppress(RegisterError):  # the key is enrolled already
            await enrol(ledger, ANN.public, "ann", OPERATOR)
    await answer(ledger, run, Says(0.0, name="ann"), key=key)


async def settled(order: Order, ledger: Ledger, run: RunId) -> None:
    """Say of an act in doubt what the log of the acts says."""
    (asked,) = (one for one in awaited(ledger, run) if one.for_whom == "settle")
    assert isinstance(asked.proposal, Act)
    happened = line_of(asked.proposal, run) in Note(order.folder / "acts").lines
    await settle(ledger, run, happened=happened, by="tester")


async def _replayed(order: Order, wire: Wire, ledger: Ledger, run: RunId) -> None:
    """Present the run's first ticket as a process does that had read as far as its issue."""
    ticket, issue, moment = first_ticket(ledger, run)
    executor = _project(order, wire, run).executors["note"]
    await perform(ticket, issue, executor, moment, Journal(ledger, run, issue.seq + 1))


def first_ticket(ledger: SqlLedger, run: RunId) -> tuple[Ticket, Event, Moment]:
    """The first ticket of a run, its issue, and the moment that it is for."""
    moments: dict[Digest, Moment] = {}
    for written in ledger.read(run):
        match written.body:
            case MomentSealed(moment=moment):
                moments[digest_of(moment)] = moment
            case TicketIssued() as issued:
                act = parse_proposal(ledger.get(issued.proposal))
                assert isinstance(act, Act)
                fields = {name: getattr(issued, name) for name in ("proposal", "tool", "expires")}
                ticket = Ticket(run=run, moment=issued.moment, act=act, **fields)
                return ticket, written, moments[issued.moment]
            case _:
                pass
    raise AssertionError(f"no ticket was issued in {run}")


def _project(order: Order, wire: Wire, run: RunId) -> Project:
    return planned(order.plan, order.folder, run, wire.instant, order.remote)


async def _cancelled(order: Order, wire: Wire, ledger: Ledger, run: RunId) -> None:
    """Carry a run and cancel it where it waits for the n-th time, n being its number."""
    project = _project(order, wire, run)
    places = order.step * (1 + order.runs.index(run))
    with anyio.CancelScope() as scope:
        await _until(carry(project, ledger, run_id=run), places, scope.cancel)


@types.coroutine
def _until(work: Coroutine[Any, Any, Any], places: int, then: Callable[[], None]) -> Any:
    """Do some work, and something else besides where it waits for the n-th time."""
    value, error = None, None
    while True:
        try:
            waits = work.send(value) if error is None else work.throw(error)
        except StopIteration as done:
            return done.value
        places -= 1
        if places == 0:
            then()
        try:
            value, error = (yield waits), None
        except BaseException as thrown:
            value, error = None, thrown


@contextlib.contextmanager
def _transactions(ledger: Ledger) -> Generator[None]:
    """Two instants in every transaction that writes events: in its middle, and at its end."""

    def statement(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if _GROWS.match(sql):
            connection.info["grows"] = True
            ledger.wire.instant(f"while {ledger.newest} is written")

    def commit(connection: sa.Connection) -> None:
        if connection.info.pop("grows", False):
            ledger.wire.instant(f"while {ledger.newest} is committed")

    send = Together.send

    def together(self: Together, sql: str, *values: bytes) -> None:
        if _GROWS.match(sql):
            ledger.wire.instant(f"while {ledger.newest} is written")
        if sql == "COMMIT":
            ledger.wire.instant(f"while {ledger.newest} is committed")
        send(self, sql, *values)

    event.listen(sa.Engine, "before_cursor_execute", statement)
    event.listen(sa.Engine, "commit", commit)
    Together.send = together
    try:
        yield
    finally:
        Together.send = send
        event.remove(sa.Engine, "before_cursor_execute", statement)
        event.remove(sa.Engine, "commit", commit)


def _wait_no_longer(milliseconds: int) -> None:
    """Wait so long for a lock, on connections made from now on, and for a server that is gone."""
    audition.ledger.store.PATIENCE = milliseconds / 1000
    audition.ledger.postgres.SESSION["lock_timeout"] = f"{milliseconds}ms"

    @event.listens_for(sa.Engine, "connect")
    def patience(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


def _hear_no_longer() -> None:
    """Give up a server that says nothing after two seconds, and have it do likewise."""
    audition.ledger.postgres.ANSWER = 2.0
    audition.ledger.store.PATIENCE = 10.0
    audition.ledger.postgres.NETWORK["connect_timeout"] = 2
    audition.ledger.postgres.WRITING["idle_in_transaction_session_timeout"] = "1s"


def _limit_memory(more: int) -> None:
    """Let this process have so much memory beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
