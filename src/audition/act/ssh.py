"""Runs one command on another machine over SSH, of those that the setup allows."""

from __future__ import annotations

import getpass
import os
import shlex
import stat
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import anyio
from pydantic import Field, field_validator, model_validator

from audition.act.credential import Credential, SetupError
from audition.act.schema import misfit, schema_of
from audition.failing import told
from audition.plain import shown
from audition.step import Act, Frozen, JsonObject, Outcome, Ticket

if TYPE_CHECKING:
    import asyncssh

Argv: TypeAlias = list[Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00-\x1f\x7f]*$")]]
"""A command, word by word; the words are quoted, so that no shell reads anything into them."""

Template: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
"""A command that may run: a regular expression for each word, which the whole word must match."""


class SshSetup(Frozen):
    """`[tools.ssh]`, or one of several `[tools.ssh.LABEL]`."""

    host: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_-]+$")
    """The machine."""
    port: int = Field(default=22, ge=1, le=65535)
    """Its port."""
    user: str = Field(min_length=1, max_length=100, pattern=r"^[!-~]+$")
    """Whom commands run as."""
    host_key: str = Field(max_length=20_000)
    """The machine's public key, `ssh-ed25519 AAAA…`, as `ssh-keyscan` or its owner gives it."""
    key: str | None = None
    """File of the private key that the executor logs in with, which nobody else can read."""
    passphrase: str | None = None
    """The environment variable that holds the file's passphrase, where it has one."""
    agent: str | None = None
    """Or the environment variable that holds the path of an agent's socket."""
    commands: tuple[Template, ...] = Field(min_length=1, max_length=1000)
    """What may run, each as expressions word by word: `["systemctl", "restart", "web-[0-9]+"]`."""
    checks: tuple[Template, ...] = Field(default=(), max_length=1000)
    """What may run first to see whether the command should; declare only what changes nothing."""
    seconds: float = Field(default=60, gt=0, le=86400)
    """Seconds for the whole exchange."""
    output: int = Field(default=1 << 20, ge=0, le=1 << 22)
    """Bytes of output that are kept, of each stream."""

    @model_validator(mode="after")
    def _one_way_in(self) -> SshSetup:
        if (self.key is None) == (self.agent is None):
            raise ValueError("either key (a file) or agent (a variable); give one")
        if self.passphrase is not None and self.key is None:
            raise ValueError("a passphrase opens a key; give key too")
        return self

    @field_validator("commands", "checks")
    @classmethod
    def _expressions(cls, templates: tuple[Template, ...]) -> tuple[Template, ...]:
        for word in (word for template in templates for word in template):
            _compiled(word)
        return templates


class SshArguments(Frozen):
    """What the tool takes."""

    argv: Argv = Field(min_length=1, max_length=1000)
    """The command, word by word."""
    check: Argv | None = Field(default=None, min_length=1, max_length=1000)
    """A command that must end with 0 first; else nothing runs."""


class Ssh:
    """Runs one command on a machine whose key is pinned, and answers with what it printed.

    No configuration, agent or known host of the user is read, nothing is forwarded and no variable
    is passed on. A connection that is lost once the command was sent leaves it `unknown`, and the
    act in doubt: SSH has no way to ask again.

    Args:
        setup: which machine, as whom, and which commands.
        name: the tool's name in proposals.

    Raises:
        SetupError: a key cannot be read, or a variable is not there.
    """

    def __init__(self, setup: SshSetup, *, name: str = "ssh") -> None:
        self._setup = setup
        self._commands = [[_compiled(word) for word in line] for line in setup.commands]
        self._checks = [[_compiled(word) for word in line] for line in setup.checks]
        self._agent = Credential(setup.agent) if setup.agent is not None else None
        self._options = _options(setup)
        declared: JsonObject = setup.model_dump(mode="json")
        self.schema = schema_of(
            name, f"Run a command on {setup.host} as {setup.user}", SshArguments, declared
        )

    def refuses(self, act: Act) -> str:
        """Why the arguments do not fit, or the command is not allowed; empty if it is."""
        if why := misfit(SshArguments, act):
            return why
        why = self._forbidden(SshArguments.model_validate(act.arguments))
        return f"{act.tool}.{why}" if why else ""

    async def act(self, ticket: Ticket) -> Outcome:
        """Run the command; whatever comes of it is an outcome, not an error."""
        import asyncssh

        assert isinstance(ticket.act, Act)
        arguments = SshArguments.model_validate(ticket.act.arguments)
        if why := self._forbidden(arguments):
            return Outcome(status="refused", output=why)
        sending = _Sending()
        try:
            with anyio.fail_after(self._setup.seconds):
                return await self._carry_out(arguments, sending)
        except Exception as error:  # noqa: BLE001  whatever broke: was the command sent?
            late = type(error) is TimeoutError
            why = f"no answer within {self._setup.seconds:g} s" if late else told(error)
            plain = shown(sending.other_key or " ".join(why.split()), 500)
            if sending.begun and not isinstance(error, asyncssh.ChannelOpenError):
                return Outcome(status="unknown", output=f"lost after the command was sent: {plain}")
            return Outcome(status="failed", output=f"nothing was run: {plain}")

    async def _carry_out(self, arguments: SshArguments, sending: _Sending) -> Outcome:
        import asyncssh

        pinned = self._options["known_hosts"][0][0]
        where = f"{self._setup.host} port {self._setup.port}"

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(
                self, host: str, addr: str, port: int, key: asyncssh.SSHKey
            ) -> bool:
                sending.other_key = (
                    f"{where} shows the host key {key.get_fingerprint()}, pinned is "
                    f"{pinned.get_fingerprint()}; find out why before you change the setup"
                )
                return False

        async with AsyncExitStack() as stack:
            options = dict(self._options)
            if self._agent is not None:
                agent = await asyncssh.connect_agent(self._agent.secret)
                await stack.enter_async_context(agent)
                options["client_keys"] = await agent.get_keys()
            connection = await stack.enter_async_context(
                asyncssh.connect(
                    self._setup.host,
                    self._setup.port,
                    username=self._setup.user,
                    client_factory=Client,
                    **options,
                )
            )
            if arguments.check is not None:
                checked = await self._run(connection, arguments.check)
                if checked.status != "done":
                    why = "the check did not end with 0; the command was not sent"
                    data: JsonObject = {"check": checked.data}
                    return Outcome(status="failed", output=f"{why}\n{checked.output}", data=data)
            sending.begun = True
            return await self._run(connection, arguments.argv)

    async def _run(self, connection: asyncssh.SSHClientConnection, argv: list[str]) -> Outcome:
        """Run one line to its end; what the connection does not say is unknown."""
        kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        async with connection.create_process(
            shlex.join(argv), encoding=None, stdin=_nothing(), term_type=None
        ) as process:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._drain, process.stdout, kept["stdout"])
                tasks.start_soon(self._drain, process.stderr, kept["stderr"])
            await process.wait_closed()
        out, err = (bytes(kept[name]).decode("utf-8", "replace") for name in ("stdout", "stderr"))
        code, killed = process.exit_status, process.exit_signal
        data: JsonObject = {
            "returncode": code,
            "signal": shown(str(killed[0]), 100) if killed else None,
            "stderr": err,
        }
        if code is None and killed is None:
            why = "lost after the command was sent: the connection ended before the command did"
            return Outcome(status="unknown", output=f"{why}\n{out}", data=data)
        return Outcome(status="done" if code == 0 else "failed", output=out, data=data)

    async def _drain(self, stream: asyncssh.SSHReader[bytes], into: bytearray) -> None:
        import asyncssh

        with suppress(OSError, asyncssh.Error):  # a connection that is lost says how it ended: not
            while chunk := await stream.read(1 << 16):
                into += chunk[: max(0, self._setup.output - len(into))]

    def _forbidden(self, arguments: SshArguments) -> str:
        if not _fits(arguments.argv, self._commands):
            return f"argv: {shown(shlex.join(arguments.argv), 200)} is no command that may run"
        if arguments.check is not None and not _fits(arguments.check, self._checks):
            return f"check: {shown(shlex.join(arguments.check), 200)} is no check that may run"
        return ""


class _Sending:
    """How far it came."""

    begun = False
    other_key = ""


def _nothing() -> int:
    import asyncssh

    return asyncssh.DEVNULL


def _compiled(expression: str) -> Any:
    """An expression whose matching takes linear time, whatever it is matched with."""
    import re2  # pyright: ignore[reportMissingTypeStubs]

    library: Any = re2
    options = library.Options()
    options.log_errors = False  # the error is raised, and needs no second telling on the terminal
    try:
        return library.compile(expression, options)
    except library.error:
        raise ValueError(f"{expression!r} is no regular expression (RE2)") from None


def _fits(argv: list[str], templates: list[list[Any]]) -> bool:
    return any(
        len(argv) == len(template)
        and all(form.fullmatch(word) for form, word in zip(template, argv, strict=True))
        for template in templates
    )


def _options(setup: SshSetup) -> dict[str, Any]:
    """How to connect: the pinned host, our key, and nothing from the user's own configuration.

    Raises:
        SetupError: a key cannot be read, a variable is not there, or the user has no account.
    """
    import asyncssh

    try:
        getpass.getuser()  # the library asks for both at every connection
        Path.home()
    except (KeyError, OSError, RuntimeError):
        raise SetupError(
            "this user has no account here, and SSH wants a name and a home; set LOGNAME and HOME "
            "where the executor runs"
        ) from None
    try:
        host_key = asyncssh.import_public_key(setup.host_key)
    except (asyncssh.KeyImportError, ValueError):
        raise SetupError("host_key: no public key; give it as ssh-keyscan prints it") from None
    options: dict[str, Any] = {
        "known_hosts": ([host_key], [], []),
        "config": None,
        "agent_path": None,
        "client_keys": None,
        "preferred_auth": ("publickey",),
        "password": None,
        "gss_host": None,
        "x509_trusted_certs": [],
        "x509_trusted_cert_paths": [],
        "env": (),
        "send_env": (),
    }
    if setup.key is None:
        return options
    phrase = Credential(setup.passphrase).secret if setup.passphrase is not None else None
    try:
        mode, data = os.stat(setup.key).st_mode, Path(setup.key).read_bytes()
    except OSError as error:
        raise SetupError(f"{setup.key}: {error.strerror}; mend the path") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SetupError(f"{setup.key}: others can read this private key; chmod 600 it")
    try:
        key = asyncssh.import_private_key(data, phrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        raise SetupError(f"{setup.key}: no private key that opens; see passphrase") from None
    return {**options, "client_keys": [key]}
