"""`audition submit` and `worker`: runs are put in a queue, and carried by whoever has room."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.runs import Json
from audition.console.speaking import Stop, answer, command, plainly, say, some, tell, wait_for
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.project import PersonAuditor, Project
    from audition.step import Auditor, Thinker, ToolSchema
    from audition.think import HumanThinker
    from audition.worker import Carrying

Queue = Annotated[
    str, typer.Option("--ledger", help="The ledger with the queue.", metavar="LEDGER")
]


@plainly
def submit(
    project: Annotated[
        Path, typer.Argument(help="The project file.", metavar="PROJECT", show_default=False)
    ],
    ledger: Queue = "audition.db",
    times: Annotated[int, typer.Option(help="How many runs.", min=1, max=1_000_000)] = 1,
    as_json: Json = False,
) -> None:
    """Put runs of a project in the queue; a worker carries them."""
    from audition.console.keys import signer
    from audition.ledger import SqlLedger
    from audition.ledger.claims import submit as put
    from audition.opening import identity

    loaded = elsewhere(project)
    runs = [uuid.uuid4().hex for _ in range(times)]
    with SqlLedger.open(ledger, signer=signer()) as opened:
        put(opened.database, runs, loaded.name, identity(loaded))
    if as_json:
        answer({"runs": runs})
        return
    for run in runs:
        tell(run)
    say(f"carried by: {command('worker', project, '--ledger', ledger)}")


@plainly
def worker(
    projects: Annotated[
        list[Path],
        typer.Argument(help="The project files.", metavar="PROJECT…", show_default=False),
    ],
    ledger: Queue = "audition.db",
    runs: Annotated[int, typer.Option(help="Runs that are carried at once.", min=1, max=1000)] = 16,
    lease: Annotated[
        float,
        typer.Option(help="Seconds after which a worker that is silent has lost its runs.", min=3),
    ] = 30.0,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when no run is left that can go on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Carry the queue's runs of these projects, many at once, until told to end (SIGTERM, Ctrl-C).

    When told to, it finishes the stages that are under way and puts its runs down; told again, it
    stops at once, and its runs are taken over when their lease has run out.
    """
    from audition.console.keys import signer
    from audition.ledger import SqlLedger

    loaded = [elsewhere(one) for one in projects]
    told: list[Carrying] = []

    with SqlLedger.open(ledger, signer=signer()) as opened:

        def put_down(one: Carrying) -> None:
            told.append(one)
            say(f"run {one.run}: {_how(one, opened, ledger)}")

        wait_for(lambda: _until_told(loaded, opened, runs, lease, until_idle, put_down))
    last = {one.run: one for one in told}
    ends = {one.run: one.result.status for one in last.values() if one.result}
    left = [run for run in last if ends.get(run, "waiting") == "waiting"]
    if as_json:
        answer({"ended": {run: how for run, how in ends.items() if run not in left}, "left": left})
    else:
        tell(f"{some(len(last) - len(left), 'run')} ended, {some(len(left), 'run')} put down")


async def _until_told(
    projects: Sequence[Project],
    ledger: SqlLedger,
    runs: int,
    lease: float,
    until_idle: bool,
    put_down: Callable[[Carrying], None],
) -> None:
    import anyio

    from audition.collecting import seldom_here
    from audition.worker import work

    stop = anyio.Event()

    async def hear() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                if stop.is_set():
                    raise KeyboardInterrupt
                say("finishing the stages under way; once more stops at once")
                stop.set()

    with seldom_here():  # many runs make many values, and few cycles
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear)
            await work(
                projects,
                ledger,
                runs=runs,
                lease=lease,
                until_idle=until_idle,
                stop=stop,
                tell=put_down,
            )
            tasks.cancel_scope.cancel()


def elsewhere(file: Path, *, deployed: bool = True) -> Project:
    """A project whose people are all elsewhere; see `load`."""
    from audition.audit import Person
    from audition.console.keys import draw_secret
    from audition.project import load
    from audition.step import Role

    def person(one: PersonAuditor) -> Auditor:
        return Person(one.name, role=Role(one.role), ranks=one.ranks, say=say, hear=None, key=None)

    def human(one: HumanThinker, tools: Sequence[ToolSchema]) -> Thinker:
        raise Stop(f"{shown(one.name, 100)} thinks at a terminal; a worker has none")

    async def put(question: str, to: str) -> str | None:
        return None

    secret = draw_secret()
    return load(file, secret=secret, person=person, put=put, human=human, deployed=deployed)


def _how(one: Carrying, ledger: SqlLedger, where: str) -> str:
    from audition.console.awaiting import whom
    from audition.ledger import LedgerError
    from audition.waiting import awaited

    if one.result is None:
        return f"could not be carried: {shown(one.why, 300)}"
    if one.result.status != "waiting":
        return f"{one.result.status} after {some(one.result.turns, 'step')}"
    found = []
    with suppress(LedgerError):  # whom it waits for is told as far as it can be read
        found = list(awaited(ledger, one.run))
    if not found:
        return f"waits for {shown(one.result.waits_for, 100)}"
    return f"waits for {whom(found)}; see: {command('pending', where)}"
