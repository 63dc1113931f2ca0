"""`audition train`: a thinker learns from its own audited runs, by turns."""

from __future__ import annotations

import math
import sys
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.speaking import (
    Stop,
    answer,
    command,
    plainly,
    progress_bar,
    say,
    some,
    tell,
    wait_for,
)
from audition.console.working import elsewhere
from audition.plain import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from audition.learn.alternating import Alternated, Carrying, MakeProject, Schedule, Updated
    from audition.learn.language import LanguageLearner
    from audition.ledger import SqlLedger
    from audition.model.local import Loaded
    from audition.project import Project
    from audition.think import HuggingFaceThinker


@plainly
def train(
    project: Annotated[
        Path, typer.Argument(help="The project file.", metavar="PROJECT", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(help="Where checkpoints are written, one folder each.", metavar="FOLDER"),
    ] = Path("checkpoints"),
    ledger: Annotated[str, typer.Option(help="The ledger.", metavar="LEDGER")] = "audition.db",
    ray: Annotated[
        str,
        typer.Option(
            help="Have the runs carried by the workers of this Ray cluster, or of one on this "
            "machine (`local`).",
            metavar="ADDRESS",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Have a project's thinker learn from the audits of its own runs.

    Runs, audits and updates alternate as the project's [training] says. The same command goes on
    with a training that was interrupted. Begun by `accelerate launch`, several processes share
    the moments of each update.
    """
    from audition.console.keys import signer
    from audition.learn.alternating import alternate
    from audition.learn.with_accelerate import launched
    from audition.ledger import SqlLedger

    schedule, learner, base = _read(project, divided=launched())
    folder = out.resolve()  # workers elsewhere are told of it too
    more = ("--ray", ray) if ray else ()
    again = command("train", project, "--ledger", ledger, "--out", out, *more)
    with learner.leading() as leads:
        if not leads:
            return
        with (
            SqlLedger.open(ledger, signer=signer()) as opened,
            progress_bar("updates", schedule.updates) as done,
        ):

            def told(one: Updated) -> None:
                done(one.number)
                say(f"update {one.number} of {one.of}: {_measured(one)}")

            async def body() -> Alternated:
                opening = _Elsewhere(project.resolve(), _reached(ledger))
                async with _carrying(ray, opening, schedule, base) as carrying:
                    return await alternate(
                        opened,
                        schedule,
                        learner,
                        _making(base),
                        folder,
                        restrictions=_restrictions(base),
                        carrying=carrying,
                        progress=told,
                    )

            try:
                result = wait_for(body)
            except KeyboardInterrupt:
                raise Stop(f"interrupted; go on with: {again}", 130) from None
    if as_json:
        answer(_described(result))
        return
    tell(f"run {result.run}: {some(len(result.updates), 'update')} made here")
    if result.stopped:
        tell(f"  ended by a restriction: {shown(result.stopped, 200)}")
    for reason, count in result.refused.most_common():
        tell(f"  not learned from {count:,}: {reason}")
    tell(f"weights {result.weights}")
    tell(f"  in {shown(str(result.folder), 300)}")


def scheduled(path: Path) -> tuple[Schedule, HuggingFaceThinker]:
    """What a project file says of training, and who learns.

    Args:
        path: the project file.

    Raises:
        Stop: it says nothing, or something that is not so.
    """
    from pydantic import ValidationError

    from audition.misread import misread
    from audition.project import parse
    from audition.think import HuggingFaceThinker

    data = path.read_bytes()
    file = parse(data, path.name)
    if file.training is None:
        raise Stop(f"{path.name}: [training] is missing; it names the teacher, if no more")
    if not isinstance(file.thinker, HuggingFaceThinker):
        raise Stop(f'{path.name}: thinker.kind is {file.thinker.kind!r}; "huggingface" can learn')
    from audition.learn.alternating import Schedule

    try:
        return Schedule.model_validate(file.training), file.thinker
    except ValidationError as error:
        wrong = misread(error, path.name, data.decode(), [Schedule], ("training",))
        raise Stop(wrong) from None


def _read(path: Path, *, divided: bool = False) -> tuple[Schedule, LanguageLearner, Project]:
    """What a project file says of training, the model that learns, and the project.

    Args:
        path: the project file.
        divided: the model learns together with that of other processes.
    """
    schedule, thinker = scheduled(path)
    folder = path.resolve().parent / thinker.folder
    if not divided:
        from audition.learn.language import LanguageLearner

        base = elsewhere(path, deployed=False)
        return schedule, LanguageLearner(base.thinker.chat.given, schedule.learning, folder), base
    from audition.learn.with_accelerate import DividedLearner, joined

    process = joined(cpu=not thinker.device.startswith("cuda"))
    base = elsewhere(path, deployed=False)  # once the process has a card of its own
    given = base.thinker.chat.given
    return schedule, DividedLearner(given, schedule.learning, folder, process), base


def _making(base: Project) -> MakeProject:
    def make(given: Loaded, name: str) -> Project:
        from audition.model.local import Local

        chat = Local(base.thinker.chat.config, given)
        return replace(base, name=name or base.name, thinker=base.thinker.by(chat))

    return make


@dataclass(frozen=True)
class _Elsewhere:
    """What a worker process opens: the project file and the ledger, as they are called there."""

    project: Path
    ledger: str

    def __call__(self) -> tuple[LanguageLearner, MakeProject, SqlLedger]:
        from audition.console.keys import signer
        from audition.ledger import SqlLedger

        _, learner, base = _read(self.project)
        return learner, _making(base), SqlLedger.open(self.ledger, signer=signer(), create=False)


@asynccontextmanager
async def _carrying(
    ray: str, opening: _Elsewhere, schedule: Schedule, base: Project
) -> AsyncIterator[Carrying | None]:
    if not ray:
        yield None
        return
    from audition.learn.with_ray import workers

    cards = int(base.thinker.chat.config.device.startswith("cuda"))
    with redirect_stdout(sys.stderr):  # Ray tells there of workers that died
        async with workers(opening, address=ray, at_once=schedule.at_once, gpus=cards) as carrying:
            yield carrying


def _reached(ledger: str) -> str:
    """The ledger's address for a process that stands in another folder."""
    from audition.ledger.database import on_server

    return ledger if on_server(ledger) else str(Path(ledger.removeprefix("sqlite:///")).resolve())


def _restrictions(project: Project) -> Any:
    """Those of the project that limit training, and the one that holds in any case."""
    from audition.learn import PROCESS

    own = [one for one in project.restrictions if one.scope == "training"]
    return own if any(one.name == PROCESS.name for one in own) else [PROCESS, *own]


def _measured(one: Updated) -> str:
    approval = "" if math.isnan(one.approval) else f"approval {one.approval:.3f}, "
    moments, even = int(one.measures["moments"]), int(one.measures["even"])
    return f"{approval}learned from {some(moments, 'moment')}, {even:,} approved of alike"


def _described(result: Alternated) -> dict[str, Any]:
    return {
        "run": result.run,
        "weights": result.weights,
        "folder": str(result.folder),
        "stopped": result.stopped,
        "updates": [
            {"number": one.number, "weights": one.weights, "measures": one.measures}
            for one in result.updates
        ],
        "refused": dict(result.refused),
    }
