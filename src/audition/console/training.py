"""`audition train`: a thinker learns from its own audited runs, by turns."""

from __future__ import annotations

import math
from dataclasses import replace
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
    from audition.learn.alternating import Alternated, Schedule, Updated
    from audition.learn.language import LanguageLearner
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Have a project's thinker learn from the audits of its own runs.

    Runs, audits and updates alternate as the project's [training] says. The same command goes on
    with a training that was interrupted.
    """
    from audition.console.keys import signer
    from audition.learn.alternating import alternate
    from audition.ledger import SqlLedger

    schedule, learner, base = _read(project)

    def make(given: Loaded, name: str) -> Project:
        from audition.model.local import Local

        chat = Local(base.thinker.chat.config, given)
        return replace(base, name=name or base.name, thinker=base.thinker.by(chat))

    again = command("train", project, "--ledger", ledger, "--out", out)
    with (
        SqlLedger.open(ledger, signer=signer()) as opened,
        progress_bar("updates", schedule.updates) as done,
    ):

        def told(one: Updated) -> None:
            done(one.number)
            say(f"update {one.number} of {one.of}: {_measured(one)}")

        try:
            result = wait_for(
                lambda: alternate(
                    opened,
                    schedule,
                    learner,
                    make,
                    out,
                    restrictions=_restrictions(base),
                    progress=told,
                )
            )
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


def _read(path: Path) -> tuple[Schedule, LanguageLearner, Project]:
    """What a project file says of training, the model that learns, and the project."""
    base = elsewhere(path, deployed=False)
    schedule, thinker = scheduled(path)
    from audition.learn.language import LanguageLearner

    folder = path.resolve().parent / thinker.folder
    return schedule, LanguageLearner(base.thinker.chat.given, schedule.learning, folder), base


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
