"""`audition deploy`: what was learned is measured, and put to those whose keys let it be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.speaking import Stop, answer, command, plainly, say, tell, wait_for
from audition.console.training import scheduled
from audition.console.working import elsewhere
from audition.plain import shown

if TYPE_CHECKING:
    from audition.act import Measured
    from audition.learn.deploying import Deployed, Deployment
    from audition.model.deployed import Weights
    from audition.project import Project

CODES = {"already": 0, "done": 0, "waiting": 3, "in doubt": 3, "rejected": 1, "failed": 1}
"""Exit codes, by what became of it."""

ENDS = "Exit codes: 0 in use, 1 turned down or not possible, 3 somebody is awaited."


@plainly
def deploy(
    project: Annotated[
        Path, typer.Argument(help="The project file.", metavar="PROJECT", show_default=False)
    ],
    update: Annotated[
        int | None,
        typer.Argument(
            help="The update, by its number; 0 is the model as it was before any.",
            metavar="UPDATE",
            min=0,
            max=999_999,
            show_default=False,
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="What was in use before.")] = False,
    ledger: Annotated[
        str, typer.Option(help="The ledger of the training.", metavar="LEDGER")
    ] = "audition.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Have a project's next runs think with an update, once those have signed whom it names.

    The update is measured first, beside what is in use. The same command goes on with it.
    """
    from audition.console.awaiting import keyless, signings, whom
    from audition.console.keys import signer
    from audition.learn.deploying import Unmeasured
    from audition.learn.deploying import deploy as carry
    from audition.ledger import SqlLedger
    from audition.waiting import awaited

    if (update is None) != back:
        raise Stop("name an update, or say --back", 2)
    given = _read(project)
    again = command("deploy", project, "--back" if back else update, "--ledger", ledger)
    with SqlLedger.open(ledger, create=False, signer=signer()) as opened:
        try:
            result = wait_for(lambda: carry(opened, given, update))
        except Unmeasured as error:
            raise Stop(f"{error}: {again}; see: {command('pending', ledger)}", 3) from None
        except KeyboardInterrupt:
            raise Stop(f"interrupted; go on with: {again}", 130) from None
        found = list(awaited(opened, result.run)) if CODES[result.status] == 3 else []
        hints = [*signings(found), *keyless(opened, ledger, found)]
    if as_json:
        awaits = list(dict.fromkeys(one.for_whom for one in found))
        answer(_described(result) | {"awaited": awaits})
    else:
        _tell(result)
        if found:
            tell(f"it waits for {whom(found)}; see: {command('pending', ledger)}")
            for line in hints:
                tell(f"  {line}")
            tell(f"then: {again}")
    if code := CODES[result.status]:
        raise Stop(code=code)


def _read(path: Path) -> Deployment:
    """What a project file says of deploying.

    Raises:
        Stop: it says nothing, or something that is not so.
    """
    from pydantic import ValidationError

    from audition.gate import GATES, GateError
    from audition.learn import LessonError
    from audition.learn.deploying import Deployment
    from audition.misread import misread

    base = elsewhere(path)
    schedule, thinker = scheduled(path)
    if thinker.deployed is None:
        raise Stop(
            f"{path.name}: thinker.deployed is missing; it names the file beside the checkpoints "
            'that says which is in use: deployed = "checkpoints/deployed.json"'
        )
    if schedule.deploy is None:
        raise Stop(f"{path.name}: [training.deploy] is missing; its gate says who signs")
    here = path.resolve().parent
    folder, pointer = here / thinker.folder, here / thinker.deployed

    def make(wanted: Weights) -> Project:
        from audition.model.local import Local
        from audition.model.updated import updated

        chat = base.thinker.chat
        if chat.given.digest == wanted.files:
            return base
        say(f"update {wanted.update} is loaded")
        given = updated(chat.config, folder, pointer, wanted)
        return replace(base, thinker=base.thinker.by(Local(chat.config, given)))

    try:
        return Deployment(schedule.deploy, schedule.teacher, folder, pointer, base, make)
    except ValidationError as error:
        place = ("training", "deploy", "gate")
        wrong = misread(error, path.name, path.read_text(), GATES, place)
        raise Stop(wrong) from None
    except GateError as error:
        raise Stop(f"{path.name}: training.deploy: {shown(str(error), 300)}") from None
    except LessonError as error:
        raise Stop(f"{path.name}: {shown(str(error), 300)}") from None


def _tell(result: Deployed) -> None:
    new, old = _called(result.new), _called(result.old)
    if result.status == "already":
        tell(f"{new} is in use already")
        return
    if result.measured is not None:
        tell(f"{shown(result.measured.teacher, 100)} approved, of 1 at most")
        tell(f"  with {new}: {_approval(result.measured.new)}")
        tell(f"  with {old}: {_approval(result.measured.old)}")
    stands = {
        "waiting": f"to put {new} in the place of {old} is proposed",
        "in doubt": f"whether {new} is in use nobody knows",
        "done": f"{new} is in use",
        "rejected": f"{new} is not in use: turned down",
        "failed": f"{new} is not in use",
    }[result.status]
    why = f": {shown(result.told, 300)}" if result.status in ("rejected", "failed", "done") else ""
    tell(f"run {result.run}: {stands}{why}")


def _called(one: Weights) -> str:
    return f"update {one.update} ({one.weights[:12]}…)"


def _approval(one: Measured) -> str:
    silent = f", {one.unscored} of them unscored" if one.unscored else ""
    return f"{one.approval:.3f} in [{one.low:.3f}, {one.high:.3f}], {len(one.runs)} runs{silent}"


def _described(result: Deployed) -> dict[str, Any]:
    measured = result.measured
    return {
        "status": result.status,
        "run": result.run or None,
        "new": result.new.model_dump(),
        "old": result.old.model_dump(),
        "told": result.told,
        "measured": None if measured is None else measured.model_dump(mode="json"),
    }
