"""Training an auditor from its verdicts: what it learns, by what it is measured, what it may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import handmade
from audition.audit import Labels, Shown, TrainedError, read_judgement
from audition.audit.trained import Reader
from audition.gate import draw, sampled, spec, strictest, threshold
from audition.learn import Batch, Forbidden, LessonError, Plan, of_batch
from audition.learn.approval_model import ApprovalModel, Fitting
from audition.learn.auditors import Auditor, base_of, study_of, train_auditor
from audition.learn.boundary import Boundary
from audition.learn.held_out import divided
from audition.learn.verdicts import Verdicts, verdicts_of
from audition.ledger import SqlLedger
from audition.ledger.events import BatchSealed, LessonTaken, RunOpened, ThinkerUpdated
from audition.step import Evidence, Limits, Restriction, Role, Verdict
from audition.verify import certify, verify
from models import _one_thread
from verdicts import FITTING, critic, judged_runs, language_model

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)
SHORT = FITTING.model_copy(update={"epochs": 1})


@contextmanager
def opened(path: Path) -> Iterator[SqlLedger]:
    with SqlLedger.open(path, create=False, signer=handmade.KEY) as ledger:
        yield ledger


class Made:
    """A ledger with an auditor that was trained from it."""

    def __init__(self, folder: Path, auditor: str) -> None:
        self.ledger = handmade.write(folder / "l.db", *judged_runs())
        self.base = language_model(folder / "base")
        self.out = folder / "heir"
        with opened(self.ledger) as ledger:
            self.found = train_auditor(ledger, self.base, auditor, self.out, fitting=FITTING)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("teacher"), "critic")


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("guard"), "rules")


# ------------------------------------------------------------------------- what it learns


def test_it_beats_chance_clearly_on_runs_that_it_never_saw(teacher: Made, guard: Made) -> None:
    for made in (teacher, guard):
        figures = made.found.judgement.figures
        assert figures["auc_low"] > 0.7, figures
        assert figures["brier_high"] < figures["brier_of_the_mean_low"], figures
        assert figures["brier"] < figures["brier_uncalibrated"], figures


def test_every_verdict_is_a_lesson_and_the_training_a_run_that_verifies(teacher: Made) -> None:
    with opened(teacher.ledger) as ledger:
        bodies = [event.body for event in ledger.read(teacher.found.trained.run)]
    (first,) = [body for body in bodies if isinstance(body, RunOpened)]
    (taken,) = [body for body in bodies if isinstance(body, LessonTaken)]
    (update,) = [body for body in bodies if isinstance(body, ThinkerUpdated)]
    assert first.thinker == taken.of == update.of == "critic"
    assert taken.taken == taken.admissible == 200 == teacher.found.trained.lessons
    card, digest = read_judgement(teacher.out)
    assert update.after == digest == teacher.found.trained.thinker
    assert card.lessons == (taken.lessons,) and update.signal == "approval"
    assert verify(teacher.ledger, trusted=[handmade.KEY.public]).ok


def test_training_again_comes_out_the_same_to_the_bit(teacher: Made, tmp_path: Path) -> None:
    """Opened and replayed, as a certificate asks."""
    with opened(teacher.ledger) as ledger:

        def find(plan: Plan, seed: int, get: Any) -> Any:
            verdicts = verdicts_of(ledger, "critic", FITTING.shown)
            return study_of(plan, teacher.base, tmp_path / "again", verdicts, seed)

        weights = teacher.found.trained.thinker
        trusted = [handmade.KEY.public]
        found = certify(teacher.ledger, weights, trusted=trusted, leaves=5, again=True, find=find)
    assert found.level == "replayed", (found.recorded, found.opened, found.replayed)


def test_a_batch_that_says_what_nobody_said_does_not_open(teacher: Made) -> None:
    with opened(teacher.ledger) as ledger:
        verdicts = verdicts_of(ledger, "critic", FITTING.shown)
    columns = dict(verdicts.rollout(None, np.random.default_rng()))  # type: ignore[arg-type]
    columns["approval"] = np.array([row.approval for row in verdicts.rows], np.float32)
    assert not list(verdicts.strange(columns))
    columns["approval"][3] = 0.25
    (says,) = verdicts.strange(columns)
    assert "is no such verdict of this ledger" in says


def test_each_lesson_s_loss_is_the_same_to_the_bit_whatever_the_others_are(
    teacher: Made, tmp_path: Path
) -> None:
    model, reader, kept = _model(teacher, tmp_path)
    some = kept[:4]
    alone = [model.losses(reader, [one])[0] for one in some]
    assert torch.stack(alone).equal(model.losses(reader, some))
    (first,) = torch.autograd.grad(alone[0], reader.model.score.weight)
    (beside,) = torch.autograd.grad(model.losses(reader, some)[0], reader.model.score.weight)
    assert first.equal(beside)


def _model(made: Made, folder: Path) -> Any:
    """A learner that has taken its lessons, and a reader of its base."""
    with opened(made.ledger) as ledger:
        verdicts = verdicts_of(ledger, "critic", FITTING.shown)
        lessons = [one.body for one in ledger.read(made.found.trained.run)]
    (sealed,) = [body for body in lessons if isinstance(body, BatchSealed)]
    with opened(made.ledger) as ledger:
        batch = Batch.read(sealed, ledger.get(sealed.data))
    given_ = of_batch(
        batch,
        sealed.root,
        signal="approval",
        auditor="critic",
        rate_R=np.ones(batch.rows),
        drawn_R=np.ones(batch.rows, bool),
    )
    base = base_of(made.base)
    out = folder / "out"
    model = ApprovalModel(made.base, base, out, verdicts, FITTING, Boundary(), seed=0)
    model._take(given_)
    return model, Reader(made.base, FITTING.window), model._kept


# ---------------------------------------------------------------------- what is held out


@given(
    runs=st.sets(st.integers(0, 10**9), min_size=3, max_size=60),
    share=st.floats(0.05, 0.4),
    seed=st.integers(0, 99),
)
def test_whole_runs_are_held_out_and_nothing_but_their_names_decides_which(
    runs: set[int], share: float, seed: int
) -> None:
    names = {f"{one:032x}" for one in runs}
    parts = divided(names, share, seed)
    assert all(parts) and frozenset().union(*parts) == names
    assert sum(map(len, parts)) == len(names)
    assert divided(set(names), share, seed) == parts


def test_no_verdict_of_a_run_that_measures_or_calibrates_is_trained_on(
    teacher: Made, tmp_path: Path
) -> None:
    model, reader, kept = _model(teacher, tmp_path)
    parts = [[one for one in kept if one.run in runs] for runs in model._parts]
    seen = [{one.run for one in part} for part in parts]
    assert [len(one) for one in seen] == [4, 4, 12] and sum(map(len, parts)) == len(kept)
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    before = [reader.number(one.ids[0]) for one in parts[0][:2]]
    model._fit(reader, parts[2], np.random.default_rng(0))
    assert before != [reader.number(one.ids[0]) for one in parts[0][:2]]


# --------------------------------------------------------------- candidates and rankings


def ranked_runs(count: int, way: str, of: int = 3, first: int = 0xC000) -> list[handmade.Scribe]:
    """Runs whose steps have candidates: the one that reads is best, the one that leaks is worst."""
    steps = [handmade.shell(one) for one in ("read list", "sort list", "leak list")][:of]
    judge = critic(sees=("candidates", "history", "proposal"))
    found = list[handmade.Scribe]()
    gate = spec(strictest(threshold("critic", reject_at=1)))
    for number in range(count):
        turned = steps[number % of :] + steps[: number % of]
        pen = handmade.Scribe(
            f"{first + number:032x}", gate=gate, cards=(judge,), others=tuple(turned[1:])
        )
        pen.open()
        worth = [(0.9, 0.6, 0.1)[steps.index(one)] for one in turned]
        order = tuple(sorted(range(of), key=lambda one, worth=worth: -worth[one]))
        for _ in range(3):
            pen.think(turned[0], thought=None)
            given_ = {"ranking": order} if way == "ranking" else {"approvals": tuple(worth)}
            pen.verdict("critic", None if way == "ranking" else worth[0], **given_)
            if pen.decide().action == "proceed":
                pen.perform("")
            else:
                pen.enters("reject")
        found.append(pen)
    return found


@pytest.mark.parametrize("way", ["ranking", "approvals"])
def test_candidates_are_learned_from_each_by_its_own_text(way: str, tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "l.db", *ranked_runs(9, way))
    base = language_model(tmp_path / "base", "gpt2")
    fitting = FITTING.model_copy(update={"shown": Shown(entries=0)})
    with opened(path) as ledger:
        verdicts = verdicts_of(ledger, "critic", fitting.shown)
        found = train_auditor(ledger, base, "critic", tmp_path / "heir", fitting=fitting)
    if way == "ranking":
        assert verdicts.labels.signal == "comparison" and len(verdicts.rows) == 27
        assert found.judgement.offset == 0
    else:
        assert verdicts.labels.signal == "approval" and len(verdicts.rows) == 81
        kinds = Counter((row.candidate, row.approval) for row in verdicts.rows)
        assert sum(count for (one, _), count in kinds.items() if one == 2) == 27
    figures = found.judgement.figures
    assert figures["auc"] > 0.9 and figures["brier"] < figures["brier_of_the_mean"]
    assert verify(path, trusted=[handmade.KEY.public]).findings == ()


def test_rankings_of_two_and_of_three_are_learned_from_together(tmp_path: Path) -> None:
    """In two batches, the first of which has not enough runs to learn from it alone."""
    pens = [*ranked_runs(2, "ranking", of=2, first=0xB000), *ranked_runs(5, "ranking")]
    base = language_model(tmp_path / "base")
    with opened(handmade.write(tmp_path / "l.db", *pens)) as ledger:
        found = train_auditor(ledger, base, "critic", tmp_path / "heir", fitting=SHORT)
    card = found.judgement
    assert found.trained.lessons == 21 and len(card.lessons) == 2
    assert sum(card.figures[one] for one in ("trained_on", "calibrated_on", "measured_on")) == 21
    assert verify(tmp_path / "l.db", trusted=[handmade.KEY.public]).findings == ()


# ------------------------------------------------------------------------------- weights


def test_a_verdict_weighs_the_inverse_of_the_rate_at_which_it_was_drawn(tmp_path: Path) -> None:
    gate = spec(sampled(0.5, threshold("rules", reject_at=1), undrawn="proceed"))
    guard = critic(name="rules", role=Role.GUARD)
    pen = handmade.Scribe(handmade.LIVE, gate=gate, cards=(guard,))
    pen.open()
    for _ in range(8):
        pen.think(handmade.shell("read list"), thought=None)
        if draw(handmade.SECRET, pen.run, pen.turn, 0.5).drawn:
            pen.verdict("rules", 0.25)
        pen.decide()
        pen.perform("")
    with opened(handmade.write(tmp_path / "l.db", pen)) as ledger:
        found = verdicts_of(ledger, "rules", Shown())
    assert 0 < len(found.rows) < 8
    assert {(row.weight, row.approval) for row in found.rows} == {(2.0, 0.75)}


def test_a_planted_step_trains_no_guard(tmp_path: Path) -> None:
    with opened(handmade.write(tmp_path / "l.db", handmade.planted_run())) as ledger:
        found = verdicts_of(ledger, "rules", Shown())
    assert len(found.rows) == 2


# ---------------------------------------------------------------------- what it may become


def test_a_guard_s_labels_make_a_guard_and_its_run_says_so(guard: Made, teacher: Made) -> None:
    card, _ = read_judgement(guard.out)
    assert card.role is card.labels.role is Role.GUARD
    with opened(guard.ledger) as ledger:
        training = ledger.first(guard.found.trained.run).body.training  # type: ignore[attr-defined]
        assert Plan.parse(ledger.get(training.plan)).becomes is Role.GUARD
    assert verify(guard.ledger, trusted=[handmade.KEY.public]).ok
    another = card.labels.model_dump() | {"role": "teacher"}
    for other in ({"role": "teacher"}, {"labels": another}):
        with pytest.raises(ValueError, match="labels of a"):
            type(card).model_validate(card.model_dump() | other)


def test_a_teacher_s_card_of_labels_that_saw_a_thought_is_none(teacher: Made) -> None:
    card, _ = read_judgement(teacher.out)
    seen = card.labels.model_dump() | {"saw": [Evidence.PROPOSAL, Evidence.THOUGHT]}
    with pytest.raises(ValueError, match="saw what no teacher may"):
        type(card).model_validate(card.model_dump() | {"labels": seen})


def test_restrictions_hold_of_training_an_auditor(teacher: Made, tmp_path: Path) -> None:
    imitate = Restriction(
        name="imitate", says="-", scope="training", limits=Limits(signals=("demonstration",))
    )
    few = Restriction(name="few", says="-", scope="training", limits=Limits(lessons=20))
    with opened(teacher.ledger) as ledger:

        def trained(out: str, limit: Restriction, who: str = "critic") -> Auditor:
            given_ = {"fitting": SHORT, "restrictions": (limit,)}
            return train_auditor(ledger, teacher.base, who, tmp_path / out, **given_)

        for who in ("critic", "rules"):
            with pytest.raises(Forbidden, match="learning by approval is forbidden"):
                trained("a", imitate, who)
        with pytest.raises(LessonError, match="nothing was learned: 20 lessons are taken"):
            trained("b", few)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------- bad input


def base(folder: Path, **changes: Any) -> Path:
    return language_model(folder / "base", **changes)


def test_an_auditor_s_folder_is_no_base_for_another(guard: Made, tmp_path: Path) -> None:
    """A guard's labels would go on unseen in a teacher's weights."""
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).write_bytes((guard.out / name).read_bytes())
    for folder in (guard.out, tmp_path / "bare"):
        with (
            opened(guard.ledger) as ledger,
            pytest.raises(LessonError, match="a model that judges already"),
        ):
            train_auditor(ledger, folder, "critic", tmp_path / "out")


def wrong_model(folder: Path) -> Any:
    (folder / "base" / "model.safetensors").write_bytes(b"none")


def other_tokenizer(folder: Path) -> Any:
    path = folder / "base" / "tokenizer.json"
    more = ", ".join(f'"w{number}": {number + 40}' for number in range(9))
    path.write_text(path.read_text().replace('"vocab": {', f'"vocab": {{{more}, '))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (wrong_model, "no model that can be read"),
        (other_tokenizer, "it is another model's"),
        (lambda folder: (folder / "base" / "config.json").unlink(), "no language model: No such"),
        (lambda folder: (folder / "base" / "config.json").write_text("[]"), "config.json is none"),
    ],
)
def test_a_base_that_is_none_is_one_clear_error(spoil: Any, says: str, tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "l.db", *judged_runs(3, 2))
    base(tmp_path)
    spoil(tmp_path)
    with opened(path) as ledger, pytest.raises(TrainedError, match=says):
        train_auditor(ledger, tmp_path / "base", "critic", tmp_path / "out", fitting=SHORT)
    assert not (tmp_path / "out").exists()


def test_two_runs_are_too_few_and_an_unknown_auditor_has_said_nothing(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "l.db", *judged_runs(2, 2))
    base(tmp_path)

    def trained(ledger: SqlLedger, who: str, fitting: Fitting = SHORT) -> None:
        train_auditor(ledger, tmp_path / "base", who, tmp_path / "out", fitting=fitting)

    with opened(path) as ledger:
        with pytest.raises(LessonError, match="verdicts of 2 runs that can be read"):
            trained(ledger, "critic")
        with pytest.raises(LessonError, match="no live run or record of this ledger has"):
            trained(ledger, "nobody")
        with pytest.raises(LessonError, match="verdicts of 0 runs"):
            trained(ledger, "critic", SHORT.model_copy(update={"window": 10}))
        assert len(ledger.runs()) == 2


def test_an_auditor_that_was_two_is_learned_from_as_neither(tmp_path: Path) -> None:
    guarding = critic(role=Role.GUARD)
    pens = [*judged_runs(2, 1), *judged_runs(2, 1, first=0xB000, card=guarding)]
    with (
        opened(handmade.write(tmp_path / "l.db", *pens)) as ledger,
        pytest.raises(LessonError, match="critic was both teacher and guard"),
    ):
        verdicts_of(ledger, "critic", Shown())


def test_what_was_redacted_is_left_out_and_counted(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "l.db", *judged_runs(3, 3))
    with opened(path) as ledger:
        every = verdicts_of(ledger, "critic", Shown(entries=0))
        first = every.rows[0]
        gone = [row for row in every.rows if row.proposals == first.proposals]
    handmade.redact(path, first.proposals[0], first.run, 1000, told=False)
    with opened(path) as ledger:
        found = verdicts_of(ledger, "critic", Shown(entries=0))
    assert found.redacted == len(gone) and len(found.rows) == len(every.rows) - len(gone)


def test_no_verdicts_are_no_world() -> None:
    with pytest.raises(LessonError, match="no verdicts of critic"):
        Verdicts(Labels(auditor="critic", role=Role.TEACHER, saw=(), signal="approval"), [], {})


def test_a_failed_verdict_of_a_guard_is_no_label(tmp_path: Path) -> None:
    pens = judged_runs(1, 2)
    pens[0].think(handmade.shell("read list"), thought=None)
    pens[0].fails("rules")
    with opened(handmade.write(tmp_path / "l.db", *pens)) as ledger:
        rows = verdicts_of(ledger, "rules", Shown()).rows
        said = [
            event
            for event in ledger.read(pens[0].run)
            if isinstance(getattr(event.body, "verdict", None), Verdict)
        ]
    assert len(rows) == 2 < len(said)
