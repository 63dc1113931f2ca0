"""A trained auditor judges by what is in its folder, and by nothing that is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import handmade
from audition.audit import (
    Judgement,
    Labels,
    Shown,
    Trained,
    TrainedError,
    ask,
    card,
    read_judgement,
)
from audition.audit.judgement import CARD, digests
from audition.audit.trained import Reader, approval
from audition.gate import threshold
from audition.learn.rows import Row
from audition.learn.verdicts import texts_of
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import AuditRecorded, MomentSealed
from audition.project import ProjectError, load
from audition.step import (
    Evidence,
    Failure,
    Finish,
    Message,
    Moment,
    Proposal,
    Role,
    Turn,
    Verdict,
    View,
    digest_of,
)
from audition.verify import verify
from models import _one_thread
from rehearsal import bodies, carried, no_box, note, project
from verdicts import language_model

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)
NONE = "0" * 64
GOAL = "Count the words of every file."
STEP = handmade.shell("read list")


def labels(role: Role = Role.TEACHER, **fields: Any) -> Labels:
    given_ = {"auditor": "critic", "role": role, "saw": ("proposal",), "signal": "approval"}
    return Labels.model_validate(given_ | fields)


def made(folder: Path, of: Labels | None = None, **fields: Any) -> Path:
    """A folder with a model whose head is random, and whatever card it is to have."""
    base = language_model(folder / "base")
    out = folder / "heir"
    out.mkdir()
    reader = Reader(base, 256, seed=3)
    with torch.no_grad():
        reader.model.score.weight.mul_(40)
    reader.save(out)
    of = of or labels()
    given_: dict[str, Any] = {
        "role": of.role,
        "labels": of,
        "lessons": (NONE,),
        "base": NONE,
        "files": dict(digests(out)),
        "shown": Shown(entries=4, characters=1000, entry=400),
        "window": 256,
        "slope": 2.0,
        "offset": -0.25,
    }
    (out / CARD).write_bytes(Judgement.model_validate(given_ | fields).canonical())
    return out


class Past:
    """A history of as many lines."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    def last(self, count: int) -> Sequence[Message | Turn]:
        return [Message(role="user", content=one) for one in self.lines][-count:]


def view(*proposals: Proposal, past: Any = None) -> View:
    moment = Moment(
        run="0" * 32,
        turn=1,
        place="1",
        goal=NONE,
        history=NONE,
        proposal=NONE,
        restrictions=NONE,
        reviewers=NONE,
    )
    return View(
        moment=moment,
        moment_digest=digest_of(moment),
        goal=GOAL,
        proposal=proposals[0],
        candidates=proposals if len(proposals) > 1 else None,
        history=past or Past(),
    )


def judged(auditor: Trained, shown: View) -> Any:
    return anyio.run(ask, auditor, shown)


def test_it_says_what_its_model_says_calibrated_and_what_it_was_trained_from(
    tmp_path: Path,
) -> None:
    folder = made(tmp_path)
    auditor = Trained("heir", folder, role=Role.TEACHER)
    verdict = judged(auditor, view(STEP))
    declared, (found, digest) = card(auditor), read_judgement(folder)
    assert declared.role is Role.TEACHER and declared.sees == ("history", "proposal")
    assert declared.trained_from == declared.rules == verdict.trained_from == digest
    number = float(verdict.rationale.removeprefix("before calibration: "))
    assert verdict.score == pytest.approx(1 / (1 + 2.718281828 ** -(2 * number - 0.25)), rel=1e-3)
    assert verdict.score == judged(Trained("heir", folder), view(STEP)).score
    assert verdict.score != judged(auditor, view(handmade.shell("leak list"))).score
    assert verdict.score != judged(auditor, view(STEP, past=Past("delete"))).score
    assert found.figures == {}


def test_a_guard_suspects_what_it_does_not_approve(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    teacher = judged(Trained("heir", made(tmp_path / "a")), view(STEP))
    guard = judged(Trained("heir", made(tmp_path / "b", labels(Role.GUARD))), view(STEP))
    assert guard.role is Role.GUARD and guard.score == pytest.approx(1 - teacher.score)
    assert guard.suspicion == pytest.approx(teacher.suspicion)


def test_it_approves_of_each_candidate_as_if_it_stood_alone(tmp_path: Path) -> None:
    folder = made(tmp_path)
    steps = [handmade.shell(one) for one in ("read list", "leak list", "sort hide")]
    every = judged(Trained("heir", folder, candidates=True), view(*steps))
    alone = [judged(Trained("heir", folder), view(one)).score for one in steps]
    assert every.approvals == tuple(alone) and every.score == alone[0]
    assert Evidence.CANDIDATES in every.saw
    assert judged(Trained("heir", folder, candidates=True), view(STEP)).approvals is None


def test_one_that_learned_from_rankings_ranks(tmp_path: Path) -> None:
    folder = made(tmp_path, labels(signal="comparison"))
    steps = [handmade.shell(one) for one in ("read list", "leak list", "sort hide", "leak list")]
    auditor = Trained("heir", folder)
    found = judged(auditor, view(*steps))
    numbers = [float(one) for one in found.rationale.partition(": ")[2].split(", ")]
    assert [numbers[one] for one in found.ranking] == sorted(numbers, reverse=True)
    assert found.score is None and found.ranking == judged(auditor, view(*steps)).ranking
    assert judged(auditor, view(STEP)).abstains == "out of scope"


@given(numbers=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), slope=st.floats(0, 1e6))
def test_calibration_stays_in_its_bounds_and_keeps_the_order(
    numbers: tuple[float, float], slope: float
) -> None:
    judgement = Judgement(
        role=Role.TEACHER,
        labels=labels(),
        lessons=(NONE,),
        base=NONE,
        files={"a": NONE},
        shown=Shown(),
        window=1,
        slope=slope,
        offset=1.5,
    )
    low, high = (approval(judgement, one) for one in sorted(numbers))
    assert 0 <= low <= high <= 1


def test_what_does_not_fit_is_not_judged_and_nothing_is_cut(tmp_path: Path) -> None:
    """Neither by characters nor by tokens; and of several candidates, none if one does not fit."""
    auditor = Trained("heir", made(tmp_path, window=100), candidates=True)
    assert judged(auditor, view(STEP)).score is not None
    long, many = handmade.shell("read" * 300), handmade.shell("read " * 60)
    for steps in ((long,), (many,), (STEP, many)):
        found = judged(auditor, view(*steps))
        assert found.abstains == "not shown" and found.score is None, steps
        assert found.suspicion == 1 and found.trained_from == auditor.trained_from


def spoiled(folder: Path, change: Callable[[torch.Tensor], Any]) -> Path:
    """The same folder with other weights, and a card that names them."""
    weights = load_file(folder / "model.safetensors")
    change(weights["score.weight"])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    found = Judgement.parse((folder / CARD).read_bytes())
    files = {name: one for name, one in digests(folder) if name != CARD}
    (folder / CARD).write_bytes(found.model_copy(update={"files": files}).canonical())
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_gives_no_number_is_unparsable(value: float, tmp_path: Path) -> None:
    folder = spoiled(made(tmp_path), lambda weights: weights.fill_(value))
    found = judged(Trained("heir", folder), view(STEP))
    assert isinstance(found, Failure)
    assert (found.kind, found.cause, found.suspicion) == ("unparsable", "moment", 1)


def test_a_model_that_cannot_be_loaded_is_no_fault_of_the_moment(tmp_path: Path) -> None:
    """It would teach that whatever was judged then is bad."""
    folder = made(tmp_path)
    auditor = Trained("heir", folder)
    shutil.rmtree(folder)
    found = judged(auditor, view(STEP))
    assert isinstance(found, Failure) and found.cause == "infrastructure"


def test_a_live_step_is_read_as_it_would_be_read_in_training(tmp_path: Path) -> None:
    """Word for word, its history included; so what was learned is what is judged by."""
    if why := no_box():
        pytest.skip(why)
    auditor = Trained("heir", made(tmp_path))
    read: list[str] = []
    ids = Reader.ids
    steps = [note("one"), note("two"), Finish(answer="done")]
    gate = threshold("heir", reject_at=1)
    planned = project(tmp_path, *steps, auditors=[auditor], gate=gate)
    key = PrivateKey.generate("test")
    with (
        pytest.MonkeyPatch.context() as patch,
        SqlLedger.open(tmp_path / "l.db", signer=key) as ledger,
    ):
        patch.setattr(Reader, "ids", lambda self, text: read.append(text) or ids(self, text))
        carried(planned, ledger)
        (run,) = ledger.runs()
        said = [one.verdict for one in bodies(ledger, run, AuditRecorded) if one.verdict]
        sealed = [one.moment for one in bodies(ledger, run, MomentSealed)]
        rows = [Row(run, 0, digest_of(one), 1.0, (one.proposal,)) for one in sealed]
        texts = texts_of(ledger, rows, auditor.judgement.shown)
    assert read == list(texts.values()) and len(read) == 3 and "done" in read[-1]
    assert {one.trained_from for one in said if one.auditor == "heir"} == {auditor.trained_from}
    assert verify(tmp_path / "l.db", trusted=[key.public]).ok


# ------------------------------------------------------------------ the folder and its card


def _flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other weights": (_flip, "model.safetensors is not the one that its card names"),
    "another model's settings": (
        lambda folder: (folder / "config.json").write_bytes(
            (language_model(folder.parent / "gpt2", "gpt2") / "config.json").read_bytes()
        ),
        "is not the one that its card names",
    ),
    "another tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "tokenizer.json is not the one",
    ),
    "a file less": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is miss"),
    "a file more": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        "adapter_config.json is no file of its card",
    ),
    "a link": (
        lambda folder: (folder / "more").symlink_to(folder / CARD),
        "more is no plain file",
    ),
    "no card": (lambda folder: (folder / CARD).unlink(), "train-auditor` makes such a folder"),
    "a card that is none": (lambda folder: (folder / CARD).write_text("{"), "card.json"),
    "a card of other bytes": (
        lambda folder: (folder / CARD).write_text((folder / CARD).read_text() + "\n"),
        "card.json",
    ),
    "a card with a field more": (
        lambda folder: (folder / CARD).write_text(
            (folder / CARD).read_text().replace('{"base"', '{"bare":1,"base"')
        ),
        "bare",
    ),
    "a file elsewhere": (
        lambda folder: (folder / CARD).write_text(
            (folder / CARD).read_text().replace('"config.json"', '"../config"')
        ),
        "card.json",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_folder_that_is_not_what_its_card_says_is_one_clear_error(
    what: str, tmp_path: Path
) -> None:
    folder = made(tmp_path)
    spoil, says = WRONG[what]
    spoil(folder)
    with pytest.raises(TrainedError, match=says) as found:
        Trained("heir", folder)
    assert "\n" not in str(found.value)


def test_nobody_declares_it_as_what_it_is_not(tmp_path: Path) -> None:
    folder = made(tmp_path, labels(Role.GUARD))
    with pytest.raises(TrainedError, match="is a guard, and no teacher"):
        Trained("heir", folder, role=Role.TEACHER)
    with pytest.raises(TrainedError, match="a guard is shown no candidates"):
        Trained("heir", folder, candidates=True)
    (tmp_path / "again").mkdir()
    with pytest.raises(ValueError, match="a guard gives a suspicion"):
        made(tmp_path / "again", labels(Role.GUARD, signal="comparison"))


# ------------------------------------------------------------------------- in a project file

PROJECT = """\
name = "small"
goal = "write a line"
[thinker]
kind = "scripted"
steps = [{ propose = { kind = "finish", answer = "done" } }]
[box]
[[auditors]]
kind = "trained"
name = "heir"
folder = "heir"
[gate]
kind = "threshold"
auditor = "heir"
reject_at = 0.5
[budget]
"""


def loaded(folder: Path, text: str) -> Any:
    (folder / "project.toml").write_text(text)
    unasked: Any = None
    return load(folder / "project.toml", person=unasked, put=unasked)


def test_a_project_file_names_its_folder_relative_to_itself(tmp_path: Path) -> None:
    made(tmp_path)
    auditor = loaded(tmp_path, PROJECT).auditors["heir"]
    verdict = judged(auditor, view(STEP))
    assert isinstance(verdict, Verdict) and verdict.auditor == "heir"
    assert auditor.role is Role.TEACHER


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('folder = "heir"', 'folder = "none"'), "auditors: .*No such file"),
        (('name = "heir"', 'name = "heir"\nrole = "guard"'), "is a teacher, and no guard"),
        (('name = "heir"', 'name = "heir"\nsees = []'), "sees"),
        (('folder = "heir"', 'folder = ""'), "folder"),
        (('name = "heir"', 'name = "heir"\ndevice = "tpu"'), "device"),
    ],
)
def test_what_is_wrong_in_a_project_file_is_named(
    change: tuple[str, str], says: str, tmp_path: Path
) -> None:
    made(tmp_path)
    with pytest.raises(ProjectError, match=says):
        loaded(tmp_path, PROJECT.replace(*change))
