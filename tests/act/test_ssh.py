"""One command on another machine: which may run, where, and what nobody knows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.act import SetupError, Ssh, SshSetup
from audition.step import Act, Outcome, Ticket, digest_of
from servers.process import Server

HOST = asyncssh.generate_private_key("ssh-ed25519")
USER = asyncssh.generate_private_key("ssh-ed25519")
COMMANDS = [
    ["echo", ".*"],
    ["touch", "[a-z ;]+"],
    ["cat", "[a-z]+"],
    ["seq", "[0-9]+"],
    ["false"],
    ["hang-up"],
    ["stall"],
    ["killed"],
    ["env"],
]


@dataclass
class Machine:
    """A machine with an SSH server, and what is needed to log in."""

    server: Server
    folder: Path

    def setup(self, **changes: Any) -> SshSetup:
        given = {
            "host": "127.0.0.1",
            "port": self.server.port,
            "user": "deploy",
            "host_key": HOST.export_public_key().decode(),
            "key": str(self.folder / "user"),
            "commands": COMMANDS,
            "checks": [["test", "-e", "[a-z]+"], ["stall"], ["hang-up"]],
            "seconds": 30,
        }
        return SshSetup.model_validate({**given, **changes})

    def run(self, *argv: str, check: list[str] | None = None, **changes: Any) -> Outcome:
        tool = Ssh(self.setup(**changes))
        asked = ticket(argv=list(argv), **({"check": check} if check else {}))
        assert isinstance(asked.act, Act) and tool.refuses(asked.act) == ""
        return anyio.run(tool.act, asked)

    @property
    def commands(self) -> list[str]:
        return [one["command"] for one in self.server.log]


def ticket(**arguments: Any) -> Ticket:
    parts = dict.fromkeys(("moment", "proposal", "tool"), "0" * 64)
    act = Act(tool="ssh", arguments=arguments)
    return Ticket(run="0" * 32, expires=0, act=act, **parts)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("ssh")
    HOST.write_private_key(folder / "host")
    USER.write_private_key(folder / "user")
    USER.write_public_key(folder / "authorized")
    (folder / "user").chmod(0o600)
    (folder / "work").mkdir()
    arguments = (folder / "host", folder / "authorized", folder / "work")
    with Server("ssh", folder / "log", *arguments) as server:
        yield Machine(server, folder)


# ------------------------------------------------------------------------ what runs


def test_a_command_runs_and_answers(machine: Machine) -> None:
    outcome = machine.run("echo", "hello")
    assert (outcome.status, outcome.output) == ("done", "hello\n")
    assert outcome.data == {"returncode": 0, "signal": None, "stderr": ""}
    assert machine.server.log[-1] == {"command": "echo hello", "env": {}, "term": None}


def test_no_word_is_more_than_a_word_to_the_shell(machine: Machine) -> None:
    text = "a; touch b $(touch c) `touch d` 'e' \"f\" > g && h * ~ # i"
    assert machine.run("echo", text).output == f"{text}\n"
    assert machine.run("touch", "a; b").status == "done"
    assert os.listdir(machine.folder / "work") == ["a; b"]
    (machine.folder / "work" / "a; b").unlink()


@pytest.mark.parametrize(("argv", "code"), [(("false",), 1), (("cat", "missing"), 1)])
def test_a_command_that_fails_is_an_outcome(
    machine: Machine, argv: tuple[str, ...], code: int
) -> None:
    outcome = machine.run(*argv)
    assert (outcome.status, outcome.data["returncode"]) == ("failed", code)


def test_a_command_that_is_killed_there_has_failed(machine: Machine) -> None:
    outcome = machine.run("killed")
    assert (outcome.status, outcome.data["signal"]) == ("failed", "KILL")


def test_output_is_bounded_and_the_command_still_ends(machine: Machine) -> None:
    outcome = machine.run("seq", "300000", output=1000)
    assert (outcome.status, len(outcome.output)) == ("done", 1000)


def test_nothing_of_the_callers_environment_or_configuration_is_used(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  Port 1\n  SendEnv TOKEN\n  User eve\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody"))
    assert "secret" not in machine.run("env").output
    assert machine.server.log[-1]["env"] == {}


# ------------------------------------------------------------------------ what is allowed


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"argv": ["rm", "-rf", "/"]}, "argv: rm -rf / is no command that may run"),
        ({"argv": ["touch", "a", "b"]}, "is no command that may run"),
        ({"argv": ["touch", "UPPER"]}, "is no command that may run"),
        ({"argv": ["touchy", "a"]}, "is no command that may run"),
        ({"argv": ["echo"]}, "is no command that may run"),
        ({"argv": ["echo", "a\nb"]}, "ssh.argv.1"),
        ({"argv": ["echo", "a\0b"]}, "ssh.argv.1"),
        ({"argv": ["echo", "\ud800"]}, "ssh.argv.1"),
        ({"argv": []}, "ssh.argv"),
        ({"argv": "echo a"}, "ssh.argv"),
        ({"argv": ["echo", "a"], "check": ["touch", "a"]}, "check: touch a is no check"),
        ({"argv": ["echo", "a"], "user": "root"}, "ssh.user"),
    ],
)
def test_what_is_not_allowed_is_refused(
    machine: Machine, arguments: dict[str, Any], why: str
) -> None:
    tool, before = Ssh(machine.setup()), len(machine.commands)
    act = Act(tool="ssh").model_copy(update={"arguments": arguments})
    assert why in tool.refuses(act)
    if "command" in why or "check" in why:
        assert anyio.run(tool.act, ticket(**arguments)).status == "refused"
    assert len(machine.commands) == before


@given(st.lists(st.text(alphabet=st.sampled_from("touch a;-$`\\'\"\n"), max_size=8), max_size=4))
def test_what_fits_is_one_of_the_templates(argv: list[str]) -> None:
    setup = SshSetup(
        host="h", user="u", host_key=HOST.export_public_key().decode(), agent="AGENT",
        commands=(("touch", "[a-z]+"),),
    )  # fmt: skip
    os.environ["AGENT"] = "/nowhere"
    if not Ssh(setup).refuses(Act(tool="ssh", arguments={"argv": list(argv)})):
        assert argv[0] == "touch" and len(argv) == 2 and argv[1].isalpha()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key": None}, "either key .* or agent"),
        ({"agent": "SSH_AUTH_SOCK"}, "either key .* or agent"),
        ({"key": None, "agent": "A", "passphrase": "P"}, "give key too"),
        ({"commands": [["("]]}, "is no regular expression"),
        ({"commands": [[]]}, "commands"),
        ({"commands": []}, "commands"),
        ({"host": "-oProxyCommand=evil x"}, "host"),
    ],
)
def test_a_setup_that_cannot_be_meant_is_refused(
    machine: Machine, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        machine.setup(**change)


def test_a_key_that_others_can_read_is_refused(machine: Machine, tmp_path: Path) -> None:
    USER.write_private_key(tmp_path / "open")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "none").write_text("none")
    (tmp_path / "none").chmod(0o600)
    for name, why in (
        ("open", "others can read"),
        ("gone", "No such file"),
        ("none", "no private k"),
    ):
        with pytest.raises(SetupError, match=why):
            Ssh(machine.setup(key=str(tmp_path / name)))
    with pytest.raises(SetupError, match="no public key"):
        Ssh(machine.setup(host_key="ssh-ed25519 what"))


# ------------------------------------------------------------------------ what came of it


def test_a_machine_whose_key_has_changed_is_told_nothing(machine: Machine) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    before = len(machine.commands)
    outcome = machine.run("echo", "hello", host_key=other.export_public_key().decode())
    assert outcome.status == "failed"
    assert HOST.get_fingerprint() in outcome.output and other.get_fingerprint() in outcome.output
    assert "find out why before you change the setup" in outcome.output
    assert "\n" not in outcome.output
    assert len(machine.commands) == before


def test_a_machine_with_a_key_of_another_kind_is_told_nothing(machine: Machine) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    before = len(machine.commands)
    outcome = machine.run("echo", "hello", host_key=other.export_public_key().decode())
    assert outcome.status == "failed"
    assert outcome.output.startswith("nothing was run")
    assert len(machine.commands) == before


def test_a_connection_that_is_lost_after_the_command_leaves_it_in_doubt(machine: Machine) -> None:
    outcome = machine.run("hang-up")
    assert machine.commands[-1] == "hang-up"
    assert outcome.status == "unknown"
    assert "lost after the command was sent" in outcome.output


def test_a_command_that_does_not_end_is_left_in_doubt(machine: Machine) -> None:
    outcome = machine.run("stall", seconds=8)
    assert machine.commands[-1] == "stall"
    assert outcome.status == "unknown"
    assert "no answer within 8 s" in outcome.output


def test_a_command_that_is_let_nowhere_has_failed(machine: Machine) -> None:
    """The machine says so itself: there is nothing to doubt."""
    before = machine.commands
    outcome = machine.run("touch", "never", user="locked")
    assert outcome.status == "failed"
    assert "nothing was run: ChannelOpenError" in outcome.output
    assert machine.commands == before


@pytest.mark.parametrize("check", [["test", "-e", "missing"], ["hang-up"]])
def test_nothing_runs_where_the_check_does_not_hold(machine: Machine, check: list[str]) -> None:
    outcome = machine.run("touch", "never", check=check)
    assert outcome.status == "failed"
    assert "the command was not sent" in outcome.output
    assert machine.commands[-1] == " ".join(check)
    assert not (machine.folder / "work" / "never").exists()


def test_a_check_that_holds_comes_first(machine: Machine) -> None:
    (machine.folder / "work" / "there").touch()
    assert machine.run("cat", "there", check=["test", "-e", "there"]).status == "done"
    assert machine.commands[-2:] == ["test -e there", "cat there"]


def test_without_a_connection_or_a_key_that_is_known_nothing_runs(
    machine: Machine, tmp_path: Path
) -> None:
    before = len(machine.commands)
    assert machine.run("echo", "a", port=1).status == "failed"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "other")
    (tmp_path / "other").chmod(0o600)
    outcome = machine.run("echo", "a", key=str(tmp_path / "other"))
    assert outcome.status == "failed"
    assert "Permission denied" in outcome.output
    assert len(machine.commands) == before


def test_a_setup_changes_the_schema_and_so_what_was_judged(machine: Machine) -> None:
    changes: list[dict[str, Any]] = [{}, {"user": "root"}, {"commands": [["id"]]}, {"seconds": 1}]
    assert len({digest_of(Ssh(machine.setup(**one)).schema) for one in changes}) == 4


def test_an_agent_can_hold_the_key(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.folder / "agent"
    try:
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip("no ssh-agent here")
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # it says where it listens once it does
        monkeypatch.setenv("AGENT", str(path))

        async def add() -> None:
            async with await asyncssh.connect_agent(str(path)) as keys:
                await keys.add_keys([USER])

        anyio.run(add)
        assert machine.run("echo", "hello", key=None, agent="AGENT").output == "hello\n"
    finally:
        agent.kill()
        agent.communicate()


@pytest.mark.parametrize("missing", [("LOGNAME", "USER", "LNAME", "USERNAME"), ("HOME",)])
def test_a_user_without_an_account_is_told_at_once_what_to_set(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("LOGNAME", "performs")
    monkeypatch.setenv("HOME", "/")
    assert Ssh(machine.setup())
    for variable in missing:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SetupError, match="set LOGNAME and HOME"):
        Ssh(machine.setup())
