"""`audition executor` as a process of its own, and a ledger in which tickets can be redeemed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from audition.act import Remote, RemoteSetup, issue, issued
from audition.ledger import Journal, PrivateKey, SqlLedger
from audition.ledger.events import ActStarted, MomentSealed, StepDecided
from audition.step import Act, Body, Decision, Moment, Ticket, ToolSchema, digest_of

NOTHING = "0" * 64


class Executors:
    """The process, from the moment that it listens."""

    def __init__(self, folder: Path, tools: str, key: PrivateKey, **said: Any) -> None:
        self.socket = folder / "executors.sock"
        self.file = folder / "executors.toml"
        callers = said.get("callers", [os.getuid()])
        group = f'group = "{said["group"]}"\n' if "group" in said else ""
        self.file.write_text(f"callers = {callers!r}\n{group}{tools}")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "audition", "executor", self.file),
                *("--socket", self.socket, "--ledger", said.get("ledger", folder / "ledger.db")),
                *("--trust", str(key.public)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"AUDITION_HOME": str(folder / "home")},
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        if not (first := self.process.stderr.readline()).startswith("performs"):
            raise ValueError(first + self.process.communicate()[1])
        lines = [self.process.stdout.readline() for _ in range(1 + tools.count("[tools."))]
        self.pins: dict[str, str] = tomllib.loads("".join(lines))["tools"]["remote"]["tools"]

    def setup(self, **changes: Any) -> RemoteSetup:
        given = {"socket": str(self.socket), "tools": self.pins, "seconds": 30}
        return RemoteSetup.model_validate({**given, **changes})

    def remote(self, tool: str = "shell", **changes: Any) -> Remote:
        return Remote(self.setup(**changes), tool)

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        self.process.communicate()
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


def act(command: str, tool: str = "shell") -> Act:
    return Act(tool=tool, arguments={"command": command})


class Steps:
    """Writes the path of one step up to its act, as a run does; each part may be left out."""

    def __init__(self, ledger: SqlLedger, run: str, schema: ToolSchema, proposal: Act) -> None:
        self.journal = Journal(ledger, run)
        self.moment = Moment(
            run=run,
            turn=1,
            place="1",
            goal=NOTHING,
            history=NOTHING,
            proposal=self.journal.put(proposal),
            tool=digest_of(schema),
            restrictions=NOTHING,
            reviewers=NOTHING,
        )

    def decided(self, action: Any = "proceed") -> None:
        sealed = digest_of(self.moment)
        self.write(MomentSealed(moment=self.moment))
        self.write(StepDecided(moment=sealed, decision=Decision(action=action, reason="")))

    def issued(self, **valid: float) -> Ticket:
        ticket = issue(self.moment, digest_of(self.moment), self.journal, **valid)
        self.write(issued(ticket))
        return ticket

    def started(self, ticket: Ticket) -> None:
        self.write(ActStarted(ticket=digest_of(ticket)))

    def write(self, *bodies: Body) -> None:
        for body in bodies:
            self.journal.log(body)
        anyio.run(self.journal.commit)
