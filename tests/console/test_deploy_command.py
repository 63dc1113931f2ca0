"""`audition train` and `audition deploy`, as the page about deploying has them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audition.console.app import app
from audition.console.speaking import Stop
from chatting import written
from models import _one_thread
from rehearsal import no_box
from taught import SAYS

pytestmark = [
    pytest.mark.usefixtures(_one_thread.__name__),
    pytest.mark.skipif(bool(no_box()), reason="no box can be opened here"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text(encoding="utf-8")
Says = Callable[..., str]


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Says:
    """What a command prints, in this process, in a folder with the page's project."""
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "m", SAYS)
    (tmp_path / "p.toml").write_text(block("toml"), encoding="utf-8")

    def said(*words: str, code: int | tuple[int, ...] = 0) -> str:
        ended, line = 0, ""
        try:
            app(list(words), standalone_mode=False)
        except Stop as stop:
            ended, line = stop.code, stop.line
        told = capsys.readouterr()
        assert ended in (code if isinstance(code, tuple) else (code,)), (words, line, told)
        return f"{told.out}{line}"

    return said


def asked(says: Says) -> tuple[str, str]:
    (one,) = json.loads(says("pending", "a.db", "--json"))["waiting"]
    return one["run"], one["moment"]


def test_the_page_s_commands_deploy_and_take_back(tmp_path: Path, says: Says) -> None:
    pointer = tmp_path / "checkpoints" / "deployed.json"
    codes = iter((3, 0))
    for line in block("sh").splitlines():
        _, *words = shlex.split(line)
        if words[0] == "approve":
            run, moment = asked(says)
            words = [*words, "--moment", moment]
            words[words.index("RUN")] = run
            assert not pointer.exists()
        if ">" in words:
            (tmp_path / words[-1]).write_text(says(*words[:-2]))
        elif words[0] == "run":
            assert "after 1 step" in says(*words, code=(0, 4))
        else:
            told = says(*words, code=next(codes) if words[0] == "deploy" else 0)
    assert "update 2" in told and "is in use" in told
    standing = json.loads(pointer.read_bytes())
    assert (standing["now"]["update"], standing["before"]["update"]) == (2, 0)
    found = json.loads(says("deploy", "p.toml", "--back", "--ledger", "a.db", "--json", code=3))
    assert (found["status"], found["awaited"]) == ("waiting", ["ann"])
    assert (found["new"]["update"], found["old"]["update"]) == (0, 2)
    run, moment = asked(says)
    says("approve", "a.db", run, "--as", "ann", "--moment", moment)
    assert "is in use" in says("deploy", "p.toml", "--back", "--ledger", "a.db")
    assert json.loads(pointer.read_bytes())["now"]["update"] == 0
    assert "in use already" in says("deploy", "p.toml", "0", "--ledger", "a.db")
    says("train", "p.toml", "--ledger", "a.db")  # from its own weights: it has ended, and so stays
    says("verify", "a.db")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('deployed = "checkpoints/deployed.json"\n', "", "thinker.deployed is missing"),
        ("[training.deploy]\nruns = 4\ngate", "# gate", "[training.deploy] is missing"),
        ('of = ["ann"]', 'of = ["bob"]', "no auditor is called 'bob'"),
        ("needs = 1", "needs = 2", "of` lists 1 reviewers"),
        ('"keys"', '"key"', "no gate is called"),
        (
            '{ kind = "keys", needs = 1, of = ["ann"] }',
            '{ kind = "person", auditor = "ann" }',
            "nobody has signed",
        ),
        ("runs = 4\ngate", "runs = 0\ngate", "training.deploy.runs"),
    ],
)
def test_what_a_project_says_wrong_is_one_line(
    tmp_path: Path, says: Says, old: str, new: str, told: str
) -> None:
    path = tmp_path / "p.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    says("keys", "new", "ann")
    from audition.console.keys import signer
    from audition.ledger import SqlLedger

    SqlLedger.open(tmp_path / "a.db", signer=signer()).close()
    line = says("deploy", "p.toml", "0", "--ledger", "a.db", code=1)
    assert told in line and "\n" not in line


def test_an_update_or_back_and_not_both(says: Says) -> None:
    for words in ((), ("1", "--back")):
        assert "name an update, or say --back" in says("deploy", "p.toml", *words, code=2)
