"""Executors under a user of their own: the credentials are theirs, and acts are done all the same.

A run, its thinker and its executor belong to three different sides: the run to one ordinary user,
the executor's process and its credentials to another, and strangers to neither. Needs root, to be
each of them in turn.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pydantic
import pytest

import rehearsal
from audition.ledger import SqlLedger
from audition.ledger.events import ActFinished, StepThought
from audition.step import Outcome
from servers.process import Server

RUNS, PERFORMS, STRANGER, GROUP = 61_011, 61_012, 61_013, 61_014
"""Users that need no account: who runs, who performs, who is neither; and who may connect."""

LIBRARIES = [Path(__file__).parents[2] / "src", Path(pydantic.__file__).parents[1]]

PHRASE = "only the executor knows this"

READS = """\
import sys
for path in sys.argv[1:]:
    try:
        print(len(open(path, "rb").read()))
    except OSError as error:
        print(type(error).__name__)
"""
"""Reads each file that it is given and says how long it is, or why not."""

ASKS = """\
import sys
from audition.act import Remote, RemoteSetup, SetupError
try:
    Remote(RemoteSetup(socket=sys.argv[1], tools={"ssh": sys.argv[2]}), "ssh")
    print("heard")
except SetupError as error:
    print(error)
"""
"""Asks the process what it performs."""

PROJECT = """\
name = "another-user"
goal = "Touch a file on the other machine."
[thinker]
kind = "scripted"
[[thinker.steps]]
run = [["sh", "-c", "cat {key} {file} 2>&1 || true"]]
propose = {{ kind = "act", tool = "ssh", arguments = {{ argv = ["touch", "done"] }} }}
[[thinker.steps]]
propose = {{ kind = "finish", answer = "done" }}
[box]
[[auditors]]
kind = "rules"
name = "red"
rules = [{{ name = "none", pattern = "rm -rf" }}]
[gate]
kind = "threshold"
auditor = "red"
reject_at = 0.5
[tools.remote]
socket = "{socket}"
tools = {{ ssh = "{pin}" }}
[budget]
"""


@dataclass
class Sides:
    """The folders of each side, and a machine to act on."""

    folder: Path
    process: subprocess.Popen[str]
    pin: str

    @property
    def key(self) -> Path:
        return self.folder / "performs" / "deploy.key"

    @property
    def file(self) -> Path:
        return self.folder / "performs" / "executors.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "socket" / "performs.sock"


def as_user(uid: int, *groups: int) -> dict[str, Any]:
    """How a process is started as this user, in these groups and no other."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, LIBRARIES)),
    }
    return {"user": uid, "group": uid, "extra_groups": list(groups), "cwd": "/", "env": environment}


@functools.cache
def python() -> str | None:
    """A Python that an ordinary user may run, and that finds there what the package needs."""
    for found in (sys.executable, "/usr/bin/python3"):
        command = [found, "-c", "import audition.console, audition.act"]
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(command, check=True, capture_output=True, **as_user(RUNS))
            return found
    return None


def audition(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A command of the side that runs."""
    options = as_user(RUNS, GROUP)
    options["env"]["AUDITION_HOME"] = str(folder / "runs" / "home")
    command = [python(), "-m", "audition", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def says(uid: int, groups: tuple[int, ...], program: str, *words: object) -> list[str]:
    """What a program says that this user starts."""
    command = [python(), "-c", program, *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, **as_user(uid, *groups)
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    if os.geteuid() != 0:
        pytest.skip("not root, so cannot be three users in turn")
    if python() is None:
        pytest.skip("no Python with the package's needs that an ordinary user may run")
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o711)
        yield from _sides(folder)
    finally:
        shutil.rmtree(folder)


def _sides(folder: Path) -> Iterator[Sides]:
    for name, owner, mode in (
        ("runs", RUNS, 0o755),
        ("performs", PERFORMS, 0o700),
        ("socket", PERFORMS, 0o711),
        ("machine", 0, 0o700),
    ):
        (folder / name).mkdir()
        os.chown(folder / name, owner, owner)
        (folder / name).chmod(mode)
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    host.write_private_key(folder / "machine" / "host")
    user.write_public_key(folder / "machine" / "authorized")
    (folder / "machine" / "world").mkdir()
    key, file = folder / "performs" / "deploy.key", folder / "performs" / "executors.toml"
    user.write_private_key(key, "pkcs8-pem", passphrase=PHRASE)
    public = audition(folder, "keys", "new", "ledger").stdout.strip()
    paths = [folder / "machine" / name for name in ("log", "host", "authorized", "world")]
    with Server("ssh", *paths) as server:
        file.write_text(
            f'callers = [{RUNS}]\ngroup = {GROUP}\n[tools.ssh]\nhost = "127.0.0.1"\n'
            f'port = {server.port}\nuser = "deploy"\nkey = "deploy.key"\npassphrase = "PHRASE"\n'
            f'host_key = "{host.export_public_key().decode().strip()}"\n'
            'commands = [["touch", "[a-z]+"]]\n'
        )
        for secret in (key, file):
            os.chown(secret, PERFORMS, PERFORMS)
            secret.chmod(0o600)
        options = as_user(PERFORMS, GROUP)
        home = str(folder / "performs")
        options["env"] |= {"PHRASE": PHRASE, "LOGNAME": "performs", "HOME": home}
        process = subprocess.Popen(
            [
                *(python(), "-m", "audition", "executor", file),
                *("--socket", folder / "socket" / "performs.sock"),
                *("--ledger", folder / "runs" / "runs.db", "--trust", public),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        with process:
            assert process.stdout is not None and process.stderr is not None
            try:
                first = process.stderr.readline()
                assert first.startswith("performs at"), first
                lines = [process.stdout.readline() for _ in range(2)]
                pin = tomllib.loads("".join(lines))["tools"]["remote"]["tools"]["ssh"]
                yield Sides(folder, process, pin)
            finally:
                process.send_signal(signal.SIGTERM)


def test_nobody_but_the_executors_user_reads_its_credentials(sides: Sides) -> None:
    memory = [f"/proc/{sides.process.pid}/{name}" for name in ("environ", "mem")]
    secrets = [sides.key, sides.file, *memory]
    for uid in (RUNS, STRANGER):
        assert says(uid, (GROUP,), READS, *secrets) == ["PermissionError"] * len(secrets)
    held, environment = says(PERFORMS, (), READS, sides.key, memory[0])
    assert int(held) > 0 and int(environment) > len(PHRASE), "there is something to read"


def test_the_socket_is_reached_by_the_group_and_heard_for_the_callers_alone(sides: Sides) -> None:
    asked = ASKS, sides.socket, sides.pin
    assert says(RUNS, (GROUP,), *asked) == ["heard"]
    for uid in (RUNS, STRANGER):
        (refused,) = says(uid, (), *asked)
        assert "Permission denied" in refused
    (refused,) = says(STRANGER, (GROUP,), *asked)
    assert f"user {STRANGER} is not among the callers of this executor" in refused


def test_a_run_of_another_user_acts_through_it_and_learns_nothing(sides: Sides) -> None:
    if why := rehearsal.no_box():
        pytest.skip(why)
    runs = sides.folder / "runs"
    text = PROJECT.format(key=sides.key, file=sides.file, socket=sides.socket, pin=sides.pin)
    (runs / "project.toml").write_text(text)
    done = audition(sides.folder, "run", runs / "project.toml", "--ledger", runs / "runs.db")
    assert done.returncode == 0, done.stderr
    assert (sides.folder / "machine" / "world" / "done").exists()
    verified = audition(sides.folder, "verify", runs / "runs.db")
    assert verified.returncode == 0 and verified.stdout.startswith("VERIFIED"), verified.stderr
    with SqlLedger.open(runs / "runs.db", create=False) as ledger:
        (run,) = ledger.runs()
        events = [event.body for event in ledger.read(run)]
        (outcome,) = [ledger.get(one.outcome) for one in events if isinstance(one, ActFinished)]
        thought = next(one.calls for one in events if isinstance(one, StepThought))
        assert thought is not None
        tried = ledger.get(thought)
    assert Outcome.parse(outcome).status == "done"
    assert b"PRIVATE" not in tried and PHRASE.encode() not in tried
    everything = b"".join(file.read_bytes() for file in runs.iterdir() if file.is_file())
    assert PHRASE.encode() not in everything
