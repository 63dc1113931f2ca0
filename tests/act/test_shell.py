"""Running a shell command in the world."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.act import Shell
from audition.step import Act, Outcome, Ticket


def run(folder: Path, command: str, **options: Any) -> Outcome:
    nothing = "0" * 64
    act = Act(tool="shell", arguments={"command": command})
    shell = Shell(folder, **options)
    assert shell.refuses(act) == ""
    ticket = Ticket(
        run="0" * 32, moment=nothing, proposal=nothing, tool=nothing, expires=0, act=act
    )
    return anyio.run(shell.act, ticket)


def test_a_command_runs_in_the_folder_and_answers(tmp_path: Path) -> None:
    outcome = run(tmp_path, "pwd; echo told >&2; echo kept > file")
    assert outcome.output == f"{tmp_path}\n"
    assert outcome.data == {"returncode": 0, "stderr": "told\n", "late": False}
    assert (tmp_path / "file").read_text() == "kept\n"


def test_a_command_that_fails_is_an_outcome(tmp_path: Path) -> None:
    outcome = run(tmp_path, "exit 3")
    assert (outcome.status, outcome.data["returncode"]) == ("failed", 3)


def test_nothing_of_the_callers_environment_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    names = {line.split("=")[0] for line in run(tmp_path, "env").output.splitlines()}
    assert names <= {"PATH", "LANG", "PWD", "SHLVL", "_"}
    assert run(tmp_path, "echo $A", environment={"A": "given"}).output == "given\n"


def test_a_command_hears_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "cat").output == ""


def test_no_open_file_of_the_caller_is_passed_on(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert "secret" not in run(tmp_path, "ls -l /proc/self/fd").output


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    outcome = run(tmp_path, "sleep 60 & echo $! > child; sleep 60", seconds=3)
    assert (outcome.status, outcome.data["late"]) == ("failed", True)
    assert _ended(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60 & echo $! > child; echo answered",
        "nohup sleep 60 > /dev/null 2>&1 & echo $! > child; echo answered",
        "(sleep 60 & echo $! > child); echo answered",
        "sh -c 'sleep 60 & echo $! > child' & wait; echo answered",
    ],
)
def test_what_is_left_in_the_background_ends_with_the_command(tmp_path: Path, command: str) -> None:
    """And does not hold the answer back, though it holds the output open."""
    outcome = run(tmp_path, command, seconds=30)
    assert (outcome.status, outcome.output) == ("done", "answered\n")
    assert outcome.data["late"] is False
    assert _ended(int((tmp_path / "child").read_text()))


def test_output_is_bounded_and_the_rest_is_dropped(tmp_path: Path) -> None:
    outcome = run(tmp_path, "seq 200000; seq 200000 >&2", output=1000)
    assert outcome.status == "done"
    assert len(outcome.output) == len(str(outcome.data["stderr"])) == 1000


def test_output_that_is_no_text_is_replaced(tmp_path: Path) -> None:
    outcome = run(tmp_path, r"printf '\377\376ok'")
    assert outcome.output == "\ufffd\ufffdok"


def test_a_folder_that_is_gone_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        run(tmp_path / "gone", "true")


def _ended(pid: int) -> bool:
    for _ in range(6000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
