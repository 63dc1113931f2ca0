"""`audition lessons` and `audition verify --certificate`, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import handmade
from audition.gate import spec, strictest, threshold
from audition.learn import Plan, train
from audition.learn.export import from_rows
from audition.ledger import SqlLedger
from audition.step import Think
from chatted import chatted
from handmade import Scribe


def audition(folder: Path, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "audition", *map(str, words)],
        cwd=folder,
        env={**os.environ, "AUDITION_HOME": str(folder / "home"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in which a critic, asked whatever the rules say, judged two steps."""
    gate = strictest(threshold("rules", reject_at=1), threshold("critic", reject_at=0.8))
    pen = Scribe(handmade.LIVE, gate=spec(gate))
    pen.open()
    for score in (0.9, 0.5):
        pen.think(Think(prompt="Further."))
        pen.verdict("rules", 0.0)
        pen.verdict("critic", score)
        pen.decide()
        pen.enters("proceed")
    return handmade.write(tmp_path_factory.mktemp("judged") / "runs.db", pen)


def test_lessons_are_counted_and_refusals_explained(judged: Path, tmp_path: Path) -> None:
    said = audition(tmp_path, "lessons", judged).stdout
    assert "2 lessons by approval from critic, of 2 moments" in said
    assert "refused 4: by a guard" in said


def test_lessons_are_written_as_they_can_be_read_back(judged: Path, tmp_path: Path) -> None:
    found = json.loads(audition(tmp_path, "lessons", judged, "--out", "out", "--json").stdout)
    (name,) = found["files"].values()
    run, lessons = from_rows((tmp_path / "out" / name).read_bytes().splitlines(keepends=True))
    assert run is None and lessons.approval_L is not None
    assert lessons.approval_L.tolist() == [0.9, 0.5]
    assert lessons.digest() == found["lessons"][0]["digest"]
    assert (
        "name a new folder" in audition(tmp_path, "lessons", judged, "--out", "out", code=1).stderr
    )


def test_lessons_are_written_for_other_trainers(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "l.db", chatted((2, 0, 1), (0.9, 0.9, 0.2)))
    found = json.loads(
        audition(tmp_path, "lessons", path, "--out", "out", "--format", "trl", "--json").stdout
    )
    assert found["files"] == {
        "preference judge": "01-preference.jsonl",
        "stepwise judge": "02-stepwise.jsonl",
    }
    assert found["omitted"] == {"a tie": 1}
    written = [tmp_path / "out" / name for name in found["files"].values()]
    counts = [len(one.read_text().splitlines()) for one in written]
    assert counts == [5, 3] and len(os.listdir(tmp_path / "out")) == 2
    said = audition(tmp_path, "lessons", path, "--out", "more", "--format", "prm800k").stdout
    assert "not written 1: no chain of reasoning" in said and not os.listdir(tmp_path / "more")
    audition(tmp_path, "lessons", path, "--out", "no", "--format", "csv", code=2)


EXTRA = ("gymnasium", "matplotlib", "numba", "safetensors", "torch", "transformers")


@pytest.mark.parametrize("words", [("lessons",), ("show",), ("pending",)])
def test_what_trains_nothing_needs_no_extra(ledger_path: Path, words: tuple[str, ...]) -> None:
    absent = f"import sys; sys.modules.update(dict.fromkeys({EXTRA})); "
    call = f"sys.argv = ['audition', *{words}, {str(ledger_path)!r}]; "
    main = "from audition.console import main; main()"
    command = [sys.executable, "-c", absent + call + main]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_ledger_without_audits_has_no_lessons(tmp_path: Path) -> None:
    SqlLedger.open(tmp_path / "empty.db").close()
    done = audition(tmp_path, "lessons", "empty.db", "--out", "out")
    assert "no lessons" in done.stdout and not (tmp_path / "out").exists()
    assert "no ledger there" in audition(tmp_path, "lessons", "gone.db", code=1).stderr


@pytest.fixture(scope="module")
def dropbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of Camera Dropbox, trained a moment."""
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("trained") / "dropbox.db"
    plan = Plan(
        name="dropbox",
        says="Put one box into the hole.",
        study="camera-dropbox",
        world={"lanes": 4},
        learner={"span": [-8, 8]},
        teacher={"overseer": "trusted"},
        signal="approval",
        batches=2,
        leaf=10,
        seeds=(0,),
    )

    async def work() -> None:
        with SqlLedger.open(path) as ledger:
            await train(plan, ledger, 0)

    anyio.run(work)
    return path


def certificate(dropbox: Path, *words: Any, code: int = 0) -> Any:
    done = audition(dropbox.parent, "verify", dropbox, "--certificate", *words, "--json", code=code)
    return json.loads(done.stdout)


def test_a_thinker_is_certified_at_every_level_from_the_command_line(dropbox: Path) -> None:
    found = certificate(dropbox, "last", "--open", 5, "--replay")
    assert found["level"] == "replayed"
    assert found["opened"]["leaves"] == 5 and found["opened"]["holds"]
    assert found["taught"][0]["moments"] == found["lessons"] == 80
    again = certificate(dropbox, found["thinker"][:12])
    assert again["level"] == "recorded" and again["replayed"] is None


def test_a_certificate_says_what_it_does_not_show(dropbox: Path) -> None:
    said = audition(dropbox.parent, "verify", dropbox, "--certificate", "last").stdout
    assert said.startswith("CERTIFIED, recorded")
    assert "not replayed: whether the weights follow" in said and "off the ledger" in said


def test_levels_need_a_thinker_and_a_thinker_must_be_there(dropbox: Path) -> None:
    wrong = audition(dropbox.parent, "verify", dropbox, "--open", 5, code=2)
    assert "--certificate" in wrong.stderr
    unknown = audition(dropbox.parent, "verify", dropbox, "--certificate", "f" * 64, code=1)
    assert "it holds" in unknown.stderr
