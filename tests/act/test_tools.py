"""Several machines and several executor processes in one project: each its own table and names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import anyio
import asyncssh
import pytest
from pydantic import ValidationError

from audition.act import SetupError, Tools, made
from audition.ledger import PrivateKey, SqlLedger
from audition.step import Act, Executor
from servers.executors import Executors, Steps, act

KEY = PrivateKey.generate("run")
HOST = asyncssh.generate_private_key("ssh-ed25519")
USER = asyncssh.generate_private_key("ssh-ed25519")


def machine(table: str, host: str) -> str:
    """The TOML of one machine."""
    key = HOST.export_public_key().decode().strip()
    return (
        f'[{table}]\nhost = "{host}"\nuser = "deploy"\nhost_key = "{key}"\nkey = "user"\n'
        'commands = [["df"]]\n'
    )


def executors(folder: Path, text: str) -> dict[str, Executor]:
    (folder / "user").write_bytes(USER.export_private_key())
    (folder / "user").chmod(0o600)
    return made(Tools.model_validate(tomllib.loads(text)["tools"]), folder)


def refused(text: str) -> str:
    with pytest.raises(ValidationError) as caught:
        Tools.model_validate(tomllib.loads(text)["tools"])
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def test_one_machine_is_the_tool_ssh(tmp_path: Path) -> None:
    assert list(executors(tmp_path, machine("tools.ssh", "one"))) == ["ssh"]


def test_each_of_several_machines_is_a_tool_by_its_own_name(tmp_path: Path) -> None:
    text = machine("tools.ssh.build", "one") + machine("tools.ssh.web-2", "two")
    found = executors(tmp_path, text)
    told = {name: one.schema.description for name, one in found.items()}
    assert told == {
        "ssh_build": "Run a command on one as deploy",
        "ssh_web-2": "Run a command on two as deploy",
    }
    assert [one.schema.name for one in found.values()] == list(found)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (machine("tools.ssh", "a") + machine("tools.ssh.web", "b"), "host is a field of the one"),
        (machine("tools.ssh.WEB", "a"), "ssh.WEB"),
        (machine('tools.ssh."w b"', "a"), "ssh.w b"),
        (machine('tools.ssh.""', "a") + machine("tools.ssh.web", "b"), "a table has no name"),
        (machine(f"tools.ssh.{'w' * 41}", "a"), "at most 40"),
        ("[tools.remote]\nsocket = 's'\n[tools.remote.office]\nsocket = 't'", "socket is a field"),
        ("[tools.remote.tools]\nmail = 1\n[tools.remote.office]\nsocket = 't'", "tools is a field"),
    ],
)
def test_tables_that_could_mean_two_things_are_refused(text: str, wrong: str) -> None:
    assert wrong in refused(text)


def test_a_machine_that_cannot_be_set_up_is_named(tmp_path: Path) -> None:
    text = machine("tools.ssh.build", "one") + machine("tools.ssh.web", "two")
    cut = text.replace('key = "user"\ncommands', 'key = "gone"\ncommands')
    with pytest.raises(SetupError, match=r"^tools\.ssh\.web: .*gone: No such file"):
        executors(tmp_path, text[: len(text) // 2] + cut[len(text) // 2 :])


class Processes:
    """Two executor processes that follow one ledger."""

    def __init__(self, folder: Path, *tools: str) -> None:
        self.ledger = SqlLedger.open(folder / "ledger.db", signer=KEY)
        self.each = [
            Executors(self._made(folder / f"p{number}"), text, KEY, ledger=folder / "ledger.db")
            for number, text in enumerate(tools)
        ]

    @staticmethod
    def _made(folder: Path) -> Path:
        (folder / "world").mkdir(parents=True)
        return folder

    def tables(self) -> dict[str, Any]:
        return {f"p{number}": one.setup() for number, one in enumerate(self.each)}

    def close(self) -> None:
        for one in self.each:
            one.end()
        self.ledger.close()


def test_each_of_several_processes_performs_its_own_tools(tmp_path: Path) -> None:
    tools = '[tools.shell]\nfolder = "world"\n', '[tools.write]\nfolder = "world"\n'
    processes = Processes(tmp_path, *tools)
    try:
        found = made(Tools(remote=processes.tables()), tmp_path)
        written = Act(tool="write", arguments={"path": "file", "content": "x"})
        for number, proposal in enumerate((act("echo done > log"), written), 1):
            executor = found[proposal.tool]
            steps = Steps(processes.ledger, f"{number:032x}", executor.schema, proposal)
            steps.decided()
            ticket = steps.issued()
            steps.started(ticket)
            assert anyio.run(executor.act, ticket).status == "done"
    finally:
        processes.close()
    worlds = [sorted((tmp_path / name / "world").iterdir()) for name in ("p0", "p1")]
    assert [[file.name for file in files] for files in worlds] == [["log"], ["file"]]


def test_two_tools_of_one_name_are_refused_by_where_they_stand(tmp_path: Path) -> None:
    shell = '[tools.shell]\nfolder = "world"\n'
    processes = Processes(tmp_path, shell, shell)
    try:
        with pytest.raises(SetupError, match=r"'shell' is in tools\.remote\.p0 and in tools\.rem"):
            made(Tools(remote=processes.tables()), tmp_path)
        one = {"": processes.tables()["p1"]}
        with pytest.raises(SetupError, match=r"is in tools\.shell and in tools\.remote; rename"):
            made(Tools.model_validate({"shell": {}, "remote": one[""]}), tmp_path)
    finally:
        processes.close()
