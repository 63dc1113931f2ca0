"""What a file says of tools, and the executors made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import Field

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
    ssh: SshSetup | None = None
    """Commands on another machine."""
    remote: RemoteSetup | None = None
    """Tools of an executor in a process of its own."""


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
    found: list[Executor] = []
    if (shell := tools.shell) is not None:
        found.append(
            Shell(
                here / shell.folder,
                seconds=shell.seconds,
                output=shell.output,
                environment=shell.environment,
            )
        )
    if tools.write is not None:
        found.append(WriteFile(here / tools.write.folder, protected=protected))
    if tools.ask is not None and put is not None:
        found.append(AskPerson(put))
    if tools.http is not None:
        found.append(Http(_placed(tools.http, here, "authority")))
    if tools.mail is not None:
        found.append(Mail(_placed(tools.mail, here, "authority")))
    if tools.ssh is not None:
        found.append(Ssh(_placed(tools.ssh, here, "key")))
    if tools.remote is not None:
        remote = _placed(tools.remote, here, "socket")
        found.extend(Remote(remote, name) for name in tools.remote.tools)
    executors = {one.schema.name: one for one in found}
    if len(executors) < len(found):
        names = [one.schema.name for one in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise SetupError(f"tools: {twice!r} is both here and remote; keep one")
    return executors


def _placed(setup: _S, here: Path, field: str) -> _S:
    path = getattr(setup, field)
    return setup if path is None else setup.model_copy(update={field: str(here / path)})
