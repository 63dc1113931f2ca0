"""`audition train-auditor`, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.audit import read_judgement
from audition.console.app import main
from verdicts import judged_runs, language_model


@pytest.fixture
def audition(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """The command in this process, which has the heavy libraries: what it says, and what aside."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("AUDITION_HOME", str(place / "home"))

    def said(*words: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["audition", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        found = capsys.readouterr()
        assert (ended.value.code or 0) == code, found
        return found.out, found.err

    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    handmade.write(folder / "runs.db", *judged_runs(3, 3))
    language_model(folder / "base")
    return folder


def test_an_auditor_is_trained_and_verifies(place: Path, audition: Any) -> None:
    words = ("train-auditor", "runs.db", "--model", "base", "--entries", 0, "--epochs", 1)
    told = audition(*words, "--auditor", "critic", "--out", "told")[0]
    assert told.startswith("teacher trained from 9 verdicts of critic\n  trained on: 3\n")
    assert "wrote told, trained_from" in told
    said = json.loads(audition(*words, "--auditor", "rules", "--out", "heir", "--json")[0])
    card, digest = read_judgement(place / "heir")
    assert said["trained_from"] == digest and said["role"] == card.role == "guard"
    assert said["lessons"] == 9 and said["figures"] == card.figures
    audition("verify", "runs.db")
    again = audition(*words, "--auditor", "critic", "--out", "heir", code=1)
    assert again[1] == "audition: heir: it is there already; name a new folder\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model", "base", "--auditor", "nobody"), "has an auditor 'nobody'"),
        (("--model", "none", "--auditor", "critic"), "none: no language model: No such file"),
        (
            ("--model", "base", "--auditor", "rules", "--signal", "comparison"),
            "rules is a guard, and ranks nothing",
        ),
        (
            ("--model", "base", "--auditor", "critic", "--signal", "comparison"),
            "no verdicts of critic to learn from: there are none",
        ),
    ],
)
def test_what_stands_in_the_way_is_one_line(
    place: Path, audition: Any, words: tuple[str, ...], says: str
) -> None:
    _, told = audition("train-auditor", "runs.db", *words, "--out", "new", code=1)
    lines = [line for line in told.splitlines() if not line.startswith("made the key")]
    assert len(lines) == 1 and says in lines[0]
    assert not (place / "new").exists()
