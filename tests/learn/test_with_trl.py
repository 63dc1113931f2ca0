"""Fitting by TRL's trainers: it learns, is recorded, comes out the same; and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import handmade
from audition.canonical import digest_bytes
from audition.learn import Forbidden, LessonError, Lessons, NoLessons
from audition.learn.drawn import Drawing
from audition.learn.live import lessons_of
from audition.learn.trl_rows import data_sets
from audition.learn.trl_trainer import Settings, with_objects
from audition.learn.with_trl import Fitted, fit
from audition.ledger import SqlLedger
from audition.ledger.events import LessonTaken, ThinkerUpdated
from audition.step import JsonObject, Limits, Restriction
from audition.verify import certify, verify
from chatted import LOTTERY, chatted, thought_by_a_person
from folders import SIGNS, TEMPLATE, folder
from handmade import Scribe

DPO = Settings(by="dpo", steps=12, rate=1e-2, batch=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("models") / "tiny")


def ledger_of(tmp_path: Path, *pens: Scribe) -> Path:
    return handmade.write(tmp_path / "l.db", *pens, key=None)


def fitted(
    path: Path,
    model: Path,
    out: Path,
    settings: Settings = DPO,
    lessons: Sequence[Lessons] | None = None,
    **more: Any,
) -> Fitted:
    async def work(ledger: SqlLedger) -> Fitted:
        some = lessons_of(ledger).lessons if lessons is None else lessons
        return await fit(ledger, some, model, out, settings, name="steerer", **more)

    with SqlLedger.open(path, create=False) as ledger:
        return anyio.run(work, ledger)


def rows_of(path: Path, form: str) -> list[JsonObject]:
    with SqlLedger.open(path, create=False) as ledger:
        some = [one for each in lessons_of(ledger).lessons for one in data_sets(each)]
        return [row for one in some if one.form == form for row in one.rows(Drawing(ledger))]


def ids(tokenizer: Any, row: Any, answer: str | None) -> torch.Tensor:
    said = [*row["prompt"], *(with_objects(row[answer]) if answer else ())]
    found = tokenizer.apply_chat_template(said, add_generation_prompt=not answer, return_dict=True)
    return torch.tensor(found["input_ids"])


def likely(folder: Path, row: Any, answer: str) -> float:
    """Log-probability that a model gives an answer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt, whole = ids(tokenizer, row, None), ids(tokenizer, row, answer)
    with torch.no_grad():
        logp = model(whole[None]).logits[0, :-1].log_softmax(-1)
    return logp.gather(1, whole[1:, None])[len(prompt) - 1 :].sum().item()


def test_preferences_make_the_chosen_answer_likelier_than_the_rejected(
    tmp_path: Path, model: Path
) -> None:
    path = ledger_of(tmp_path, chatted((2, 0, 1)))
    done = fitted(path, model, tmp_path / "out")
    assert done.rows == 3 and done.losses[-1] < done.losses[0] / 2
    for row in rows_of(path, "preference"):
        margin = [likely(one, row, "chosen") - likely(one, row, "rejected") for one in
                  (model, tmp_path / "out")]  # fmt: skip
        assert margin[1] > margin[0] + 1


def test_demonstrations_make_a_person_s_step_likelier_however_long_its_history(
    tmp_path: Path, model: Path
) -> None:
    """More tokens than those at which TRL cuts, if it is not told otherwise."""
    path = ledger_of(tmp_path, thought_by_a_person(outcome="a word " * 60))
    room = folder(tmp_path / "roomy", room=8192)
    with SqlLedger.open(path, create=False) as ledger:
        some = [one for one in lessons_of(ledger).lessons if one.signal == "demonstration"]
    settings = Settings(by="sft", steps=4, rate=1e-2)
    done = fitted(path, room, tmp_path / "out", settings, some)
    (row, _) = rows_of(path, "prompt-completion")
    assert done.rows == 2
    assert likely(tmp_path / "out", row, "completion") > likely(room, row, "completion") + 1


def test_a_reward_model_scores_the_chosen_answer_above_the_rejected(
    tmp_path: Path, model: Path
) -> None:
    path = ledger_of(tmp_path, chatted((0.9, 0.1, 0.5)))
    fitted(path, model, tmp_path / "out", Settings(by="reward", steps=15, rate=1e-2, batch=3))
    scorer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        for row in rows_of(path, "preference"):
            chosen, rejected = (
                scorer.eval()(ids(tokenizer, row, one)[None]).logits.item()
                for one in ("chosen", "rejected")
            )
            assert chosen > rejected


def test_it_is_recorded_and_comes_out_the_same_for_a_seed(tmp_path: Path, model: Path) -> None:
    path = ledger_of(tmp_path, chatted((2, 0, 1), (0, 1, 2)))
    settings = Settings(by="dpo", steps=2, rate=1e-2)
    one = fitted(path, model, tmp_path / "one", settings, seed=3)
    assert one.after == digest_bytes((tmp_path / "one" / "model.safetensors").read_bytes())
    with SqlLedger.open(path, create=False) as ledger:
        bodies = [event.body for event in ledger.read(one.run)]
        (lessons,) = lessons_of(ledger).lessons
    (taken,) = [body for body in bodies if isinstance(body, LessonTaken)]
    (update,) = [body for body in bodies if isinstance(body, ThinkerUpdated)]
    assert (taken.batch, taken.lessons, taken.taken) == (None, lessons.digest(), 2)
    assert (update.before, update.after, update.lessons) == (one.before, one.after, taken.lessons)
    assert not verify(path).findings
    certificate = certify(path, one.after)
    assert certificate.recorded.holds and certificate.taught[0].auditor == "judge"
    assert any("lessons of live moments" in one for one in certificate.not_seen)
    other = fitted(path, model, tmp_path / "other", settings, seed=4)
    again = fitted(path, model, tmp_path / "again", settings, seed=3)
    assert again.after == one.after != other.after
    shifted = load_file(tmp_path / "one" / "model.safetensors")
    assert any((shifted[name] != value).any() for name, value in
               load_file(model / "model.safetensors").items())  # fmt: skip


def test_unequal_weights_are_refused_unless_that_is_wanted(tmp_path: Path, model: Path) -> None:
    path = ledger_of(tmp_path, chatted(*[(2, 0, 1)] * 3, gate=LOTTERY))
    with SqlLedger.open(path, create=False) as ledger:
        (drawn,) = lessons_of(ledger).lessons
    weight_L = drawn.weight_L.copy()
    weight_L[0] = 2.0
    some = [replace(drawn, weight_L=weight_L)]
    settings = Settings(by="dpo", steps=1)
    with pytest.raises(LessonError, match="2 different weights, and TRL's trainer for dpo reads"):
        fitted(path, model, tmp_path / "out", settings, some)
    assert not (tmp_path / "out").exists()
    fitted(path, model, tmp_path / "out", settings, some, unweighted=True)


def test_what_may_not_teach_is_not_fitted_to(tmp_path: Path, model: Path) -> None:
    path = ledger_of(tmp_path, chatted((2, 0, 1)))
    with SqlLedger.open(path, create=False) as ledger:
        (some,) = lessons_of(ledger).lessons
    out = tmp_path / "out"
    imitation = Restriction(
        name="imitation",
        says="Imitate.",
        scope="training",
        limits=Limits(signals=("demonstration",)),
    )
    with pytest.raises(Forbidden, match="comparison is forbidden"):
        fitted(path, model, out, restrictions=(imitation,))
    few = imitation.model_copy(update={"limits": Limits(lessons=0)})
    with pytest.raises(LessonError, match="1 lessons, and a restriction allows"):
        fitted(path, model, out, restrictions=(few,))
    with pytest.raises(LessonError, match="rules is a guard"):
        fitted(path, model, out, lessons=[replace(some, auditor="rules")])
    with pytest.raises(LessonError, match="nobody was not declared in run"):
        fitted(path, model, out, lessons=[replace(some, auditor="nobody")])
    with pytest.raises(LessonError, match="several auditors or signals"):
        fitted(path, model, out, lessons=[some, replace(some, auditor="rules")])
    with pytest.raises(NoLessons):
        fitted(path, model, out, lessons=[])
    with SqlLedger.open(path, create=False) as ledger:
        assert ledger.runs() == [handmade.LIVE]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"room": 64}, r"row 0 \(run 00000000, event 9\): \d+ tokens, and it has room for 64"),
        ({"words": len(SIGNS) - 20}, "its tokenizer is another model's"),
        ({"template": ""}, "no chat template"),
        ({"template": "{% for m in messages %}x{% endfor %}"}, "leaves out calls of tools"),
        (
            {
                "template": TEMPLATE + "{% if messages[1].content == 'At 1?' %}"
                "{{ raise_exception('no second') }}{% endif %}"
            },
            "it: TemplateError: no second",
        ),
        (
            {"template": "{{ raise_exception('only two') }}"},
            "its chat template: TemplateError: only two",
        ),
    ],
)
def test_a_model_that_cannot_read_the_rows_is_refused(
    tmp_path: Path, given: dict[str, Any], says: str
) -> None:
    path = ledger_of(tmp_path, chatted((2, 0, 1), (2, 0, 1)))
    with pytest.raises(LessonError, match=says):
        fitted(path, folder(tmp_path / "it", **given), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_model_s_or_is_there_already_is_refused(
    tmp_path: Path, model: Path
) -> None:
    path = ledger_of(tmp_path, chatted((2, 0, 1)))
    with pytest.raises(LessonError, match=r"no \*.safetensors there"):
        fitted(path, tmp_path, tmp_path / "out")
    with pytest.raises(LessonError, match="it is there already; name a new folder"):
        fitted(path, model, tmp_path)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(LessonError, match="bare"):
        fitted(path, bare, tmp_path / "out")


def test_a_loss_that_is_no_number_ends_it_and_nothing_is_saved(tmp_path: Path) -> None:
    path, broken = ledger_of(tmp_path, chatted((2, 0, 1))), folder(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    nowhere = {name: torch.full_like(one, torch.nan) for name, one in weights.items()}
    save_file(nowhere, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(LessonError, match="step 1 of 12: a loss of nan; nothing was saved"):
        fitted(path, broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_approvals_of_one_step_alone_give_no_preferences(tmp_path: Path, model: Path) -> None:
    path = ledger_of(tmp_path, chatted((0.5,), others=()))
    with pytest.raises(LessonError, match="give no rows of the form preference, which dpo needs"):
        fitted(path, model, tmp_path / "out")


def test_where_all_are_ties_nothing_is_fitted(tmp_path: Path, model: Path) -> None:
    path = ledger_of(tmp_path, chatted((0.5, 0.5, 0.5)))
    with pytest.raises(NoLessons, match="no rows of the form preference"):
        fitted(path, model, tmp_path / "out")
