"""What a file says of tools, and the executors made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, cast

from pydantic import BeforeValidator, Field

from audition.act.ask import AskPerson
from audition.act.credential import SetupError
from audition.act.http import Http, HttpSetup
from audition.act.mail import Mail, MailSetup
from audition.act.remote import Remote, RemoteSetup
from audition.act.shell import Shell
from audition.act.ssh import Ssh, SshSetup
from audition.act.write import WriteFile
from audition.step import Executor, Frozen

_S = TypeVar("_S", bound=Frozen)


class ShellTool(Frozen):
    """`[tools.shell]`."""

    folder: str = "."
    """Where commands run, relative to the file."""
    seconds: float = Field(default=60, gt=0)
    """Seconds after which a command is killed."""
    output: int = Field(default=1 << 20, ge=0, le=1 << 22)
    """Bytes of output that are kept, of each stream."""
    environment: dict[str, str] = Field(default={})
    """Variables that commands see."""


class WriteTool(Frozen):
    """`[tools.write]`."""

    folder: str = "."
    """Below which files are written, relative to the file."""


class AskTool(Frozen):
    """`[tools.ask]`."""


Label: TypeAlias = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]*)?$", max_length=40)]
"""What one of several tables of a kind is called; empty where there is only the one."""


def _several(setup: type[Frozen]) -> BeforeValidator:
    """Reads `[tools.KIND]`, or several `[tools.KIND.LABEL]`, by their labels."""

    def tables(given: Any) -> Any:
        if not isinstance(given, dict):
            return {"": given}
        said = cast("dict[str, Any]", given)
        labels = [
            name
            for name, value in said.items()
            if isinstance(value, (dict, setup)) and name not in setup.model_fields
        ]
        if "" in labels:
            raise ValueError("a table has no name; give it one")
        if not labels:
            return {"": said}
        if fields := [name for name in said if name not in labels]:
            raise ValueError(
                f"{fields[0]} is a field of the one, {labels[0]} a table of several; give each its "
                "own table"
            )
        return said

    return BeforeValidator(tables)


class Tools(Frozen):
    """`[tools]`: what may act; a tool that is not named here does not exist."""

    shell: ShellTool | None = None
    """Shell commands in the world."""
    write: WriteTool | None = None
    """Files written in the world."""
    ask: AskTool | None = None
    """Questions to a person at the terminal."""
    http: HttpSetup | None = None
    """HTTP requests."""
    mail: MailSetup | None = None
    """E-mail."""
    ssh: Annotated[dict[Label, SshSetup], _several(SshSetup)] = Field(default={})
    """Commands on other machines: the tool `ssh`, or for each `[tools.ssh.LABEL]` `ssh_LABEL`."""
    remote: Annotated[dict[Label, RemoteSetup], _several(RemoteSetup)] = Field(default={})
    """Tools of executors in processes of their own, each by the name that its process gives it."""


def made(
    tools: Tools,
    here: Path,
    *,
    protected: Iterable[str | Path] = (),
    put: Callable[[str, str], Awaitable[str | None]] | None = None,
) -> dict[str, Executor]:
    """The executors of these tools, by name.

    Args:
        tools: what the file says.
        here: the folder that its paths are relative to.
        protected: files that are never written.
        put: asks a person a question, for `[tools.ask]`.

    Raises:
        SetupError: a tool cannot be set up here, or two have one name.
    """
    found: dict[str, Executor] = {}
    where: dict[str, str] = {}
    for place, executor in _each(tools, here, protected, put):
        name = executor.schema.name
        if name in found:
            raise SetupError(
                f"tools: {name!r} is in {where[name]} and in {place}; rename or remove one"
            )
        found[name], where[name] = executor, place
    return found


def _each(
    tools: Tools,
    here: Path,
    protected: Iterable[str | Path],
    put: Callable[[str, str], Awaitable[str | None]] | None,
) -> Iterator[tuple[str, Executor]]:
    """Every executor and the table that it stands in."""
    if (shell := tools.shell) is not None:
        yield (
            "tools.shell",
            Shell(
                _folder(here, shell.folder, "tools.shell"),
                seconds=shell.seconds,
                output=shell.output,
                environment=shell.environment,
            ),
        )
    if tools.write is not None:
        folder = _folder(here, tools.write.folder, "tools.write")
        yield "tools.write", WriteFile(folder, protected=protected)
    if tools.ask is not None and put is not None:
        yield "tools.ask", AskPerson(put)
    if tools.http is not None:
        yield "tools.http", Http(_placed(tools.http, here, "authority"))
    if tools.mail is not None:
        yield "tools.mail", Mail(_placed(tools.mail, here, "authority"))
    for label, ssh in tools.ssh.items():
        with _at(place := _table("ssh", label)):
            there = Ssh(_placed(ssh, here, "key"), name=f"ssh_{label}" if label else "ssh")
        yield place, there
    for label, remote in tools.remote.items():
        setup = _placed(remote, here, "socket")
        for name in remote.tools:
            with _at(place := _table("remote", label)):
                far = Remote(setup, name)
            yield place, far


def _table(kind: str, label: str) -> str:
    return f"tools.{kind}.{label}" if label else f"tools.{kind}"


@contextmanager
def _at(place: str) -> Generator[None]:
    """Name the table that cannot be set up: there may be several."""
    try:
        yield
    except SetupError as error:
        raise SetupError(f"{place}: {error}") from None


def _placed(setup: _S, here: Path, field: str) -> _S:
    path = getattr(setup, field)
    return setup if path is None else setup.model_copy(update={field: str(here / path)})


def _folder(here: Path, path: str, table: str) -> Path:
    if not (here / path).is_dir():
        raise SetupError(f"{table}.folder: no such folder: {path}; make it or mend the path")
    return here / path
