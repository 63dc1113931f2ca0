"""Makes the weights of an update those with which a thinker thinks from its next run on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import anyio.to_thread
from pydantic import BeforeValidator, Field

from audition.act.schema import misfit, schema_of
from audition.model import ModelError
from audition.model.deployed import InUse, Weights, check, in_use, write
from audition.step import Act, Frozen, JsonObject, Name, Outcome, RunId, Ticket, Unit


def _listed(given: Any) -> Any:
    """JSON has lists alone."""
    return tuple(cast("list[Any]", given)) if isinstance(given, list) else given


class Measured(Frozen):
    """How a teacher found the runs that were made with some weights."""

    approval: Unit
    """Mean over the runs of its mean approval in each."""
    low: Unit
    """Lower end of the interval of the expected approval."""
    high: Unit
    """Upper end."""
    runs: Annotated[tuple[RunId, ...], BeforeValidator(_listed)] = Field(
        min_length=1, max_length=1000
    )
    """The runs, all of them."""
    unscored: int = Field(ge=0)
    """How many of them the teacher said nothing about; either end takes the worst for it."""
    ends: dict[Name, int]
    """How many ended how."""


class Measures(Frozen):
    """What speaks for the weights, and what against."""

    teacher: Name
    """Whose approval it is."""
    level: Unit
    """Confidence of each interval."""
    acts: Literal["withheld", "performed"]
    """What became of the acts that were approved in these runs."""
    new: Measured
    """With the weights that are to be deployed."""
    old: Measured
    """With those that they replace."""


class DeployArguments(Frozen):
    """What the tool takes."""

    new: Weights
    """What is to be in use."""
    old: Weights
    """What is in use, and is replaced."""
    training: RunId
    """The run that made the new weights, or began from them."""
    attempt: int = Field(ge=1)
    """How often this was proposed, this time included."""
    measured: Measures
    """Runs with either."""


class Deploy:
    """Deploys the weights of an update, which are checked against their digests first.

    Args:
        folder: of the thinker's model.
        pointer: the file beside its checkpoints that says which is in use.
        only: the acts that were measured; any other is refused.
    """

    def __init__(self, folder: Path, pointer: Path, only: Iterable[Act]) -> None:
        self._folder = folder
        self._pointer = pointer
        self._only = [act.arguments for act in only]
        setup: JsonObject = {"folder": str(folder.resolve()), "pointer": str(pointer.resolve())}
        self.schema = schema_of(
            "deploy", "Have the thinker's next runs use these weights", DeployArguments, setup
        )

    def refuses(self, act: Act) -> str:
        """Why the arguments do not fit; empty if they do."""
        if why := misfit(DeployArguments, act):
            return why
        return "" if act.arguments in self._only else f"{act.tool}: it is not what was measured"

    async def act(self, ticket: Ticket) -> Outcome:
        """Deploy the weights; to do so again changes nothing."""
        assert isinstance(ticket.act, Act)
        arguments = DeployArguments.model_validate(ticket.act.arguments)
        try:
            return await anyio.to_thread.run_sync(self._deploy, arguments)
        except ModelError as error:
            return Outcome(status="refused", output=str(error))
        except OSError as error:
            why = os.strerror(error.errno or 0)
            return Outcome(status="failed", output=f"{self._pointer.name}: {why}")

    def _deploy(self, arguments: DeployArguments) -> Outcome:
        new, old = arguments.new, arguments.old
        with _alone(self._pointer.parent) as folder:
            check(self._folder, self._pointer, new)
            standing = in_use(self._folder, self._pointer)
            if standing.now == new:
                before = standing.before
            elif standing.now == old:
                write(self._pointer, InUse(now=new, before=old))
                before = old
            else:
                raise ModelError(
                    f"{_told(standing.now)} is in use now, and {_told(old)} was to be replaced; "
                    "propose it again"
                )
            try:
                os.fsync(folder)
            except OSError as error:  # whether it outlives a crash, nobody knows
                return Outcome(status="unknown", output=os.strerror(error.errno or 0))
        said = "" if before is None else f"; before it, {_told(before)} was"
        return Outcome(
            status="done",
            output=f"{_told(new)} is in use{said}",
            data=InUse(now=new, before=before).model_dump(exclude_none=True),
        )


@contextmanager
def _alone(folder: Path) -> Generator[int]:
    """Hold the folder against another deployment.

    Raises:
        ModelError: another is under way.
    """
    import fcntl  # of Unix, where runs are carried; the rest of the room is not

    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"{folder}: another deployment is under way") from None
        yield held
    finally:
        os.close(held)


def _told(one: Weights) -> str:
    return f"update {one.update} ({one.weights[:12]}…)"
