"""The file of an executor's process: who may present tickets to it, and what performs them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from audition.act.credential import SetupError
from audition.act.tools import Tools, made
from audition.misread import misread
from audition.step import Executor, Frozen, Name

MAX_FILE = 1 << 20
"""Largest file, in bytes."""


class OfferFile(Frozen):
    """The file, as TOML has it."""

    callers: tuple[int | Name, ...] = Field(min_length=1, max_length=1000)
    """Users who may present tickets, by name or number; the process's own is no exception."""
    group: int | Name | None = None
    """The group that may connect to the socket, by name or number; None: its owner alone."""
    tools: Tools
    """What performs; paths are relative to the file."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a process performs, and for whom."""

    callers: frozenset[int]
    """Ids of the users who may present tickets."""
    group: int | None
    """Id of the group that may connect."""
    executors: Mapping[str, Executor]
    """What performs, by the tool's name."""


def offered(file: str | Path) -> Offer:
    """Read the file, and set up what it names.

    Raises:
        SetupError: it cannot be read, something in it is wrong, or cannot be set up here.
    """
    import grp
    import pwd

    path = Path(file)
    said = _parsed(path)
    if said.tools.ask is not None or said.tools.remote:
        raise SetupError(f"{path.name}: tools: ask and remote belong to the project; leave them")
    try:
        executors = made(said.tools, path.resolve().parent, protected=[path])
        callers = frozenset(
            one if isinstance(one, int) else pwd.getpwnam(one).pw_uid for one in said.callers
        )
        group = grp.getgrnam(said.group).gr_gid if isinstance(said.group, str) else said.group
    except SetupError as error:
        raise SetupError(f"{path.name}: {error}") from None
    except KeyError as error:
        raise SetupError(f"{path.name}: {error.args[0]}; mend the name") from None
    if not executors:
        raise SetupError(f"{path.name}: tools: none; an executor without tools performs nothing")
    return Offer(callers, group, executors)


def _parsed(path: Path) -> OfferFile:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise SetupError(f"{path.name}: larger than {MAX_FILE} bytes; is it the right file?")
    try:
        return OfferFile.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise SetupError(misread(error, path.name, data.decode(), [OfferFile])) from None
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path.name}: not TOML: {error}") from None
