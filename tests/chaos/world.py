"""What a fault is done to: a ledger, the processes that carry runs in it, and the judge after it.

The judge rests on what is outside the ledger: the receipts that the processes were given, and the
log that the executor itself made durable with each act.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeVar

import disk
import driver
from driver import OPERATOR, Order
from plans import due, line_of, run_id

from audition.ledger import SqlLedger, parse_event
from audition.ledger.events import (
    ActFinished,
    ActSettled,
    ActStarted,
    RunClosed,
    TicketIssued,
)
from audition.ledger.tree import Frontier
from audition.step import Act, Event, parse_proposal
from rehearsal import Note
from servers.postgres import Server

_E = TypeVar("_E", ActStarted, ActFinished, ActSettled)

ROWS = (
    'SELECT events."index", runs.name, events.seq, events.leaf, events.data '
    'FROM events JOIN runs ON runs.id = events.run ORDER BY events."index"'
)


@dataclass(frozen=True, slots=True)
class Row:
    """An event as it stands in the database."""

    run: str
    seq: int
    leaf: str
    event: Event


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a process was told is durable."""

    staged: list[tuple[str, int, str]]
    """Run, number and leaf of each event."""
    size: int
    root: str
    recorded: int
    """How long the record of the disk was then."""


class Process:
    """A process that carries runs, from the side of the test."""

    def __init__(
        self, starts: ForkServerContext, order: Order, work: Callable[..., None] = driver.drive
    ) -> None:
        self.order = order
        self.receipts: list[Receipt] = []
        self.recorded = 0
        """How long the record of the disk was when it last said something."""
        self.passed: list[tuple[int, str]] = []
        """Where the disk is recorded: how long the record was at each instant."""
        self.stands: dict[str, str] = {}
        """How each run stood at the end: what it waits for, or its status."""
        self.why = "the process was killed"
        """Why it ended; empty if it did what it was to do."""
        self._line, theirs = starts.Pipe()
        self._process = starts.Process(target=work, args=(theirs, order), daemon=True)
        self._process.start()
        theirs.close()
        if order.at[0]:
            assert self.stopped(), f"it never came to {order.at}: {self.why}"

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    def do(self, *what: Any) -> None:
        """Have something done in the process, which stands at its instant."""
        self._line.send(what)

    def go(self) -> None:
        """Let it go on from where it stands."""
        self.do("go")

    def on_to(self, name: str, times: int = 1) -> None:
        """Let it go on to another instant."""
        self.do("then", name, times)
        self.go()
        assert self.stopped(), f"it never came to {name}: {self.why}"

    def stopped(self) -> bool:
        """Wait until it stands at the instant where it is to stop; False if it ended instead."""
        return self._hear("at")

    def ended(self) -> str:
        """Wait until it has ended; why, or nothing if it did what it was to do."""
        self._hear("")
        self._process.join()
        return self.why

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself, though it is to wait for something."""
        self._process.join(seconds)
        return not self._process.is_alive()

    def kill(self) -> None:
        """End it as it stands."""
        self.signal(signal.SIGKILL)
        self.ended()

    def end(self) -> None:
        """See that nothing is left of it."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._line.close()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop it, and see that it has stopped."""
        self.signal(signal.SIGSTOP)
        state = Path(f"/proc/{self.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "T":
            os.sched_yield()

    def listen(self) -> None:
        """Take in what it has said so far."""
        while self._line.poll() and self._take():
            pass

    def _hear(self, until: str) -> bool:
        while True:
            assert self._line.poll(driver.PATIENCE + 30), f"nothing is heard of {self.order}"
            if not (what := self._take()) or what == until:
                return bool(what)

    def _take(self) -> str:
        """Take in the next thing that it says; what that is, or nothing if it says no more."""
        try:
            what, self.recorded, *more = self._line.recv()
        except (EOFError, ConnectionResetError):
            return ""
        match what:
            case "durable":
                self.receipts.append(Receipt(*more, self.recorded))
            case "passed":
                self.passed.append((self.recorded, more[0]))
            case "stands":
                self.stands[more[0]] = more[1]
            case "ended":
                self.why = more[0]
            case _:
                pass
        return what


class Command:
    """`audition` with some arguments, as a process."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.says = world.folder / f"says-{arguments[0]}"
        line, theirs = world.starts.Pipe()
        given = (arguments, world.folder / "home", self.says, theirs)
        self.process = world.starts.Process(target=driver.command, args=given, daemon=True)
        self.process.start()
        theirs.close()
        self._answer = os.fdopen(os.dup(line.fileno()), "r")
        line.close()

    def read(self, lines: int = -1) -> str:
        """Its answer, or so many lines of it."""
        if lines < 0:
            return self._answer.read()
        return "".join(self._answer.readline() for _ in range(lines))

    def ended(self) -> int:
        """How it ended."""
        self._answer.close()
        self.process.join(driver.PATIENCE)
        assert self.process.exitcode is not None, f"no end: {self.says}"
        return self.process.exitcode

    def kill(self) -> None:
        """End it as it stands."""
        self.process.kill()
        self.ended()


class World:
    """A ledger and all that is done in it."""

    def __init__(self, folder: Path, where: str, starts: ForkServerContext) -> None:
        self.folder = folder
        self.where = where
        """The ledger, for whoever carries runs; the judge reads it at `whole`."""
        self.whole = where
        self.server: Server | None = None
        """The server of the ledger's database, and there its name; PostgreSQL's."""
        self.name = ""
        self.ends = ExitStack()
        """What must be undone at the very end."""
        self.plan = "plain"
        self.remote: dict[str, Any] | None = None
        """An executor's process that performs for all that carry runs from now on."""
        self.runs: list[str] = []
        self.processes: list[Process] = []
        self.commands: list[Command] = []
        """What runs beside them."""
        self.starts = starts
        (folder / "operator.pub").write_text(str(OPERATOR.public))

    @property
    def path(self) -> Path:
        """The ledger's file; SQLite's."""
        return Path(self.where)

    @property
    def acts(self) -> list[str]:
        """What was done, as the executor's own log has it."""
        return Note(self.folder / "acts").lines

    @property
    def receipts(self) -> list[Receipt]:
        """What any process was told is durable."""
        return [one for process in self.processes for one in process.receipts]

    def start(self, plan: str = "plain", at: str = "", times: int = 1, **more: Any) -> Process:
        """Start a process; where it is to stop at an instant, it stands there."""
        self.plan = plan
        runs = tuple(run_id(plan, number) for number in range(more.pop("runs", 1)))
        self.runs = sorted({*self.runs, *runs})
        order = Order(
            self.where, self.folder, runs, plan, at=(at, times), remote=self.remote, **more
        )
        process = Process(self.starts, order)
        self.processes.append(process)
        return process

    def finish(self, do: str = "carry") -> Process:
        """Start a process and let it end by itself."""
        process = self.start(self.plan, do=do, runs=len(self.runs))
        process.ended()
        return process

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run `audition`; its exit code, and its answer or else what it said."""
        command = Command(self, *arguments)
        answer = command.read()
        return command.ended(), answer or command.says.read_text()

    # ---------------------------------------------------------------- the judge

    def judged(self) -> None:
        """Nothing committed is lost, nothing done twice, nothing in doubt kept back; recover."""
        self.kept(rows := self.rows())
        self._surfaced(rows)
        self.accounted(rows)
        if self.runs:
            last = self.finish("recover")
            assert not last.why, f"it could not be recovered: {last.why}"
            assert set(last.stands.values()) == {"finished"}, last.stands
        self.kept(rows := self.rows())
        self.done(rows)
        self.verified()

    def kept(self, rows: list[Row], receipts: list[Receipt] | None = None) -> None:
        """Every event that a receipt covered is there, under the root that the receipt told."""
        held = {(row.run, row.seq): row.leaf for row in rows}
        tree, roots = Frontier(), {0: Frontier().root().hex()}
        for row in rows:
            tree.append(bytes.fromhex(row.leaf))
            roots[tree.size] = tree.root().hex()
        for receipt in self.receipts if receipts is None else receipts:
            for run, seq, leaf in receipt.staged:
                assert held.get((run, seq)) == leaf, f"event {seq} of {run} was committed, and lost"
            assert roots.get(receipt.size) == receipt.root, "the tree is not what a receipt told"

    def accounted(self, rows: list[Row], acts: list[str] | None = None) -> None:
        """What was done had been started in the ledger before, and once."""
        started = Counter(self._lines(rows, ActStarted))
        assert Counter(self.acts if acts is None else acts) <= started, (
            "an act was done without its start being durable"
        )

    def done(self, rows: list[Row]) -> None:
        """Each act that was due was done once, but for what was settled as not done."""
        undone = self._lines(rows, ActFinished, lambda body: body.status != "done")
        assert not set(undone) & set(self.acts), "an act was done that is said to have failed"
        denied = self._lines(rows, ActSettled, lambda body: not body.happened) + undone
        wanted = [line for run in self.runs for line in due(self.plan, run) if line not in denied]
        never = [line for line in denied if line in self.acts]
        assert sorted(self.acts) == sorted(wanted + never), "an act was lost, or done twice"
        started = self._lines(rows, ActStarted)
        assert len(set(started)) == len(started), "a ticket was redeemed twice"
        closed = [row.run for row in rows if isinstance(row.event.body, RunClosed)]
        assert sorted(closed) == self.runs

    def verified(self, *more: str) -> None:
        """`audition verify` finds nothing."""
        code, said = self.command(
            *("verify", self.whole, "--key", str(self.folder / "operator.pub"), "--json"), *more
        )
        assert code == 0 and json.loads(said)["findings"] == [], said

    def rows(self) -> list[Row]:
        """All events, as the database has them."""
        if "://" not in self.whole and not Path(self.whole).exists():
            return []
        with self.opened() as ledger, ledger._engine.connect() as connection:
            return [
                Row(name.hex(), seq, leaf.hex(), parse_event(data))
                for _, name, seq, leaf, data in connection.exec_driver_sql(ROWS)
            ]

    @contextmanager
    def opened(self, *, create: bool = False) -> Iterator[SqlLedger]:
        """The ledger, in this process."""
        with SqlLedger.open(self.whole, signer=OPERATOR, create=create) as ledger:
            yield ledger

    def _surfaced(self, rows: list[Row]) -> None:
        """`audition pending` lists every act that was begun and of which nobody knows more."""
        begun = set[str]()
        for row in rows:
            match row.event.body:
                case ActStarted(ticket=ticket):
                    begun.add(ticket)
                case ActFinished(ticket=ticket) | ActSettled(ticket=ticket):
                    begun.discard(ticket)
                case _:
                    pass
        if not rows:
            assert not self.acts, "something was done of which no ledger tells"
            return
        code, said = self.command("pending", self.whole, "--json")
        assert code == 0, said
        found = {one["ticket"] for one in json.loads(said)["waiting"] if one["for"] == "settle"}
        assert found == begun, "an act in doubt was not surfaced"

    def _lines(
        self, rows: list[Row], kind: type[_E], says: Callable[[_E], bool] = lambda body: True
    ) -> list[str]:
        """The lines of the acts of which an event says something."""
        issued: dict[str, str] = {}
        found: list[str] = []
        if not rows:
            return found
        with self.opened() as ledger:
            for row in rows:
                match row.event.body:
                    case TicketIssued(ticket=ticket, proposal=proposal):
                        act = parse_proposal(ledger.get(proposal))
                        issued[ticket] = line_of(act, row.run) if isinstance(act, Act) else ""
                    case kind(ticket=ticket) as body if says(body):
                        found.append(issued[ticket])
                    case _:
                        pass
        return found


def starter() -> ForkServerContext:
    """What starts processes: each a copy of one that has loaded all there is, the shim first."""
    starts = multiprocessing.get_context("forkserver")
    before = {name: os.environ.get(name) for name in ("LD_PRELOAD", "PYTHONPATH")}
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if (built := disk.shim()) is not None:
        os.environ["LD_PRELOAD"] = str(built)
    starts.set_forkserver_preload(["driver"])
    try:
        warm = starts.Process(target=int)
        warm.start()
        warm.join()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    return starts
