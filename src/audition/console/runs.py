"""`audition runs` and `show`: which runs a ledger has, and what happened in one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.speaking import (
    Stop,
    answer,
    as_json,
    command,
    margined,
    plainly,
    some,
    tell,
)
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.step import Event, RunId

Ledger = Annotated[str, typer.Argument(help="The ledger.", metavar="LEDGER", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Newest = Annotated[
    str,
    typer.Argument(
        help="The run, or how its id begins; otherwise the newest.",
        metavar="[RUN]",
        show_default=False,
    ),
]

SHORTEST = 4
"""Digits of a run's id that may stand for the whole of it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in a line."""

    run: RunId
    project: str
    mode: str
    """`live`, or `record` for one that was reviewed."""
    status: str
    """How it ended, or `open`; `archived` where an archive has it, `unreadable` where its events
    are no run."""
    steps: int
    last: int
    """When its last event was written, in microseconds."""


@plainly
def runs(ledger: Ledger, as_json: Json = False) -> None:
    """List the runs of a ledger, oldest first."""
    from audition.ledger import SqlLedger

    with SqlLedger.open(ledger, create=False) as opened:
        found = [summary(opened, run) for run in opened.runs()]
    if as_json:
        answer({"runs": [asdict(one) for one in found]})
        return
    for one in found:
        project = shown(one.project, 60)
        if one.status == "archived":
            tell(f"{one.run}  {'-':<20}  archived")
            continue
        tell(f"{one.run}  {_time(one.last)}  {one.status}, {some(one.steps, 'step')}  {project}")
    if not found:
        tell("no runs")


@plainly
def show(
    ledger: Ledger,
    run: Newest = "",
    thoughts: Annotated[
        bool, typer.Option("--thoughts", help="Also what was thought, and done in the box.")
    ] = False,
    exchanges: Annotated[
        int | None,
        typer.Option(
            help="Only what was said to models about this step, and their answers.",
            metavar="STEP",
            min=1,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell one run step by step."""
    from audition.console.telling import Telling
    from audition.ledger import Redacted, SqlLedger, text
    from audition.ledger.events import RunOpened

    with SqlLedger.open(ledger, create=False) as opened:
        run = find(opened, ledger, run) if run else newest(opened, ledger)
        if exchanges is not None:
            _exchanges(opened, run, exchanges, as_json)
            return
        opened.first(run)  # of what cannot be read nothing is told by halves
        one = summary(opened, run)
        if as_json:
            _whole(opened, one, thoughts)
            return
        tell(f"run {one.run}: {shown(one.project, 100)}, {one.status}, {some(one.steps, 'step')}")
        telling = Telling(opened, say=tell, thoughts=thoughts)
        for event in opened.read(run):
            if isinstance(event.body, RunOpened):
                tell("goal:")
                try:
                    goal = text(opened.get(event.body.goal))
                except Redacted as error:
                    goal = f"({error})"
                for line in margined(goal):
                    tell(line)
            telling(event)


def newest(ledger: SqlLedger, where: str) -> RunId:
    """The run that began last.

    Raises:
        Stop: there is none.
    """
    runs = ledger.runs()
    if not runs:
        begins = command("run", "PROJECT", "--ledger", where)
        raise Stop(f"{where}: there is no run yet; begin one: {begins}")
    return runs[-1]


def find(ledger: SqlLedger, where: str, named: str) -> RunId:
    """The run whose id begins so.

    Raises:
        Stop: none does, or several do.
    """
    hexadecimal = len(named) >= SHORTEST and set(named) <= set("0123456789abcdef")
    found = [run for run in ledger.runs() if run.startswith(named)] if hexadecimal else []
    if len(found) == 1:
        return found[0]
    if len(named) < SHORTEST:
        lists = command("runs", where)
        raise Stop(f"{shown(named, 40)}: {SHORTEST} digits or more name a run; see: {lists}")
    there = "there are several runs" if found else "there is no run"
    raise Stop(f"{where}: {there} {shown(named, 40)}; see: {command('runs', where)}")


def summary(ledger: SqlLedger, run: RunId) -> Summary:
    """Where a run stands."""
    from audition.ledger import LedgerError, LetGo
    from audition.ledger.events import PlantOpened, RunClosed, RunOpened, StepProposed

    project, mode, status, steps, planted, last = "", "", "open", 0, 0, 0
    try:
        for event in ledger.read(run):
            last = event.at
            match event.body:
                case RunOpened() as body:
                    project, mode = body.project, body.mode
                case StepProposed(turn=turn):
                    steps = turn - planted
                case PlantOpened():
                    planted, steps = planted + 1, steps - 1
                case RunClosed() as body:
                    status = body.status
                case _:
                    pass
    except LetGo:
        status = "archived"
    except LedgerError:
        status = "unreadable"
    return Summary(run, project, mode, status, steps, last)


def left_open(ledger: SqlLedger, waiting: set[RunId]) -> Iterator[Summary]:
    """Runs that nobody is asked about and that have not ended: carried now, or cut off."""
    for run in ledger.runs():
        one = None if run in waiting else summary(ledger, run)
        if one is not None and one.status == "open" and one.mode == "live":
            yield one


def _whole(ledger: SqlLedger, one: Summary, thoughts: bool) -> None:
    """The run and its events as one object, of which no more than an event is held."""
    print(as_json(asdict(one)).removesuffix("}"), end=',"events":[')
    for number, event in enumerate(ledger.read(one.run)):
        print("," if number else "", as_json(told_event(ledger, event, thoughts)), sep="", end="")
    print("]}", flush=True)


def _exchanges(ledger: SqlLedger, run: RunId, turn: int, as_json: bool) -> None:
    from audition.console.exchanging import exchanges, tell_exchanges

    found = list(exchanges(ledger, run, turn))
    if not as_json:
        tell_exchanges(found)
        return
    listed = [{"by": who, **_plain(one.model_dump())} for who, one in found]
    answer({"run": run, "step": turn, "exchanges": listed})


def told_event(ledger: SqlLedger, event: Event, thoughts: bool) -> dict[str, Any]:
    """An event as data, with what it names where a person would want to read it."""
    from audition.canonical import parse
    from audition.ledger import LedgerError, text

    names: dict[str, Any] = _plain(event.body.model_dump(exclude_none=True))
    contents: dict[str, Any] = {}
    told = {
        "run.opened": {"goal": text},
        "step.thought": {"content": text, "calls": parse} if thoughts else {},
        "thought.failed": {"content": text, "calls": parse} if thoughts else {},
        "step.proposed": {"proposal": parse},
        "audit.recorded": {"said": parse},
        "act.finished": {"outcome": parse},
        "act.settled": {"outcome": parse},
        "act.recorded": {"outcome": parse},
        "transcript.recorded": {"content": text},
    }
    for field, read in told.get(event.body.kind, {}).items():
        answer = names.get("verdict") or names.get("failure") or {}
        name = names.get(field) or answer.get(field)
        if name is not None:
            try:
                contents[field] = _plain(read(ledger.get(name)))
            except (LedgerError, ValueError) as error:
                contents[field] = f"({error})"
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.body.kind,
        "body": names,
        "contents": contents,
    }


def _plain(value: Any) -> Any:
    """Bytes as text where they are some, else in hexadecimal."""
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value.hex()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def _time(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
