"""The loop: what it writes, what it draws, where it stops, and what it refuses to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import bandit
from audition.canonical import digest_bytes
from audition.gate import draw_rows
from audition.learn import (
    PROCESS,
    Batch,
    BatchError,
    Boundary,
    Forbidden,
    LessonError,
    NoLessons,
    PlanError,
    Study,
    moment_of,
    study_of,
    train,
)
from audition.learn.sealing import rates_of
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import Column, RestrictionLifted, lifting_note
from audition.step import Evidence, Lifting, Limits, Restriction, Role, Signature
from audition.verify import verify
from forge import SECRET, Memory, trained

STRATUM = Column(name="stage", dtype="i8", part="stratum")


def kinds(pen: Memory) -> list[str]:
    return [body.kind for _, body in pen.events]


def batch_of(pen: Memory, number: int = 0) -> Batch:
    sealed = pen.body("batch.sealed", number)
    (data,) = [data for data, _ in pen.contents if digest_bytes(data) == sealed.data]
    return Batch.read(sealed, data)


# ------------------------------------------------------------------------------- what is written


def test_a_run_is_its_events_in_order() -> None:
    pen = trained(bandit.plan(batches=2))
    once = ["batch.sealed", "lesson.taken", "thinker.updated"]
    assert kinds(pen) == ["run.opened", "restriction.declared", *once * 2, "run.closed"]
    bought = trained(bandit.plan(batches=1, teacher={"person": True}))
    found = kinds(bought)
    audits = found.count("audit.recorded")
    assert audits == batch_of(bought).columns()["drawn"].sum() > 0
    assert found[2] == "batch.sealed"
    assert found[3 : 3 + audits] == ["audit.recorded"] * audits
    assert found[3 + audits :] == ["lesson.taken", "thinker.updated", "run.closed"]


def test_the_weights_form_a_chain_and_the_last_are_kept() -> None:
    pen = trained(bandit.plan())
    updates = [body for _, body in pen.events if body.kind == "thinker.updated"]
    assert pen.body("run.opened").thinking == updates[0].before
    for number, one in enumerate(updates):
        assert one.number == number and one.before == pen.body("batch.sealed", number).thinker
        assert one.after == (updates[number + 1].before if number < 5 else pen.thinker)
        assert one.weights is None
    assert pen.body("run.closed").answer == pen.thinker
    assert any(digest_bytes(data) == pen.thinker for data, _ in pen.contents)


def test_the_same_plan_seed_and_secret_give_the_same_run_to_the_bit() -> None:
    assert trained(bandit.plan()).events == trained(bandit.plan()).events
    assert trained(bandit.plan()).thinker != trained(bandit.plan(), 1).thinker


def test_a_run_in_a_real_ledger_verifies_and_learns(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    async def work(ledger: SqlLedger) -> Any:
        plan = bandit.plan(batches=20)
        return await train(
            plan,
            ledger,
            0,
            study=bandit.study(plan, 0),
            progress=lambda done, of, _: told.append((done, of)),
        )

    key = PrivateKey.generate("test")
    with SqlLedger.open(tmp_path / "l.db", signer=key) as ledger:
        done = anyio.run(work, ledger)
    assert verify(tmp_path / "l.db", [key.public]).ok
    assert done.lessons == done.audits > 0 and not done.stopped
    assert told == [(number + 1, 20) for number in range(20)]
    policy = done.study.learner.policy(np.arange(bandit.ROOMS))
    assert (policy.argmax(axis=1) == bandit.right(np.arange(bandit.ROOMS))).all()


def test_the_baseline_learns_the_prize_and_takes_no_lesson() -> None:
    plan = bandit.plan(signal="outcome", horizon=None, rates={"0": 1.0}, batches=20)
    study = bandit.study(plan, 0)
    pen = trained(plan, study=study)
    assert "lesson.taken" not in kinds(pen)
    assert {body.signal for _, body in pen.events if body.kind == "thinker.updated"} == {"outcome"}
    policy = study.learner.policy(np.arange(bandit.ROOMS))  # type: ignore[attr-defined]
    assert (policy.argmax(axis=1) == 0).all()


def test_what_was_not_drawn_has_no_approval_and_teaches_nothing() -> None:
    pen = trained(bandit.plan(batches=1))
    columns = batch_of(pen).columns()
    rate_R = np.where(columns["stage"] == 0, 1.0, 0.5)
    drawn_R = draw_rows(SECRET, pen.run, 0, rate_R)
    assert (columns["drawn"] == drawn_R).all() and 0 < drawn_R.sum() < len(drawn_R)
    assert (np.isnan(columns["approval"]) == ~drawn_R).all()
    taken = pen.body("lesson.taken")
    assert taken.taken == taken.admissible == drawn_R.sum() and taken.population == len(drawn_R)


def test_a_persons_verdicts_name_the_moments_that_were_drawn() -> None:
    pen = trained(bandit.plan(batches=1, teacher={"person": True}))
    sealed, batch = pen.body("batch.sealed"), batch_of(pen)
    rows = np.flatnonzero(batch.columns()["drawn"])
    verdicts = [body.verdict for _, body in pen.events if body.kind == "audit.recorded"]
    assert [one.moment for one in verdicts] == [moment_of(sealed.root, int(row)) for row in rows]
    assert batch.column("approval") is None


class Nosy(bandit.Judge):
    """Notes what it is handed."""

    seen: set[str]

    def judge(self, shown: Any) -> Any:
        self.seen = set(shown)
        return super().judge(shown)


def test_a_teacher_is_handed_neither_reward_nor_stratum_nor_what_came_after() -> None:
    plan, nosy = bandit.plan(batches=1), Nosy()
    trained(plan, study=replace(bandit.study(plan, 0), teacher=nosy))
    assert nosy.seen == {"room", "lever"}


@given(st.lists(st.integers(-3, 3), min_size=1), st.data())
def test_each_row_is_drawn_at_its_own_stratums_rate(strata: list[int], data: st.DataObject) -> None:
    rates = {str(one): data.draw(st.floats(0, 1)) for one in set(strata)}
    batch = {"stage": np.array(strata)}
    found = rates_of(batch, [STRATUM], rates)
    assert found.tolist() == [rates[str(one)] for one in strata]
    assert rates_of(batch, [], {"0": 0.25}).tolist() == [0.25] * len(strata)


@pytest.mark.parametrize(
    ("layout", "rates", "why"),
    [
        ([STRATUM], {"0": 1.0}, f"stratum {2**62} has no declared rate"),
        ([], {"1": 1.0}, "stratum 0 has no declared rate"),
        ([STRATUM, STRATUM.model_copy(update={"name": "b"})], {"0": 1.0}, "of one stratum"),
        ([STRATUM.model_copy(update={"dtype": "f8"})], {"0": 1.0}, "whole numbers"),
        ([STRATUM.model_copy(update={"shape": (2,)})], {"0": 1.0}, "of one stratum"),
    ],
)
def test_strata_without_a_rate_or_of_several_minds_are_refused(
    layout: list[Column], rates: dict[str, float], why: str
) -> None:
    batch = {"stage": np.array([0, 2**62])}
    with pytest.raises(LessonError, match=why):
        rates_of(batch, layout, rates)


def test_the_estimate_is_unbiased_at_any_rates() -> None:
    """Weighted by inverse probability, the mean over lotteries is that of auditing everything."""
    approval_R = np.random.default_rng(0).random(200)
    rate_R = np.where(np.arange(200) % 3 == 0, 0.9, 0.2)
    estimates = []
    for number in range(2000):
        drawn_R = draw_rows(SECRET, "0" * 32, number, rate_R)
        losses, weight = approval_R[drawn_R], 1 / rate_R[drawn_R]
        estimates.append(Boundary().total(losses, weight, 200))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - approval_R.mean()) < 4 * error


# ---------------------------------------------------------------------------------- where it stops


@pytest.mark.parametrize(
    ("limits", "updates", "why"),
    [
        (Limits(updates=2), 2, "2 updates are made"),
        (Limits(updates=0), 0, "0 updates are made"),
        (Limits(lessons=0), 0, "0 lessons are taken"),
        (Limits(lessons=150), 2, "150 lessons are taken"),
        (Limits(updates=99), 6, ""),
    ],
)
def test_a_declared_stop_ends_the_run_before_more_is_learned(
    limits: Limits, updates: int, why: str
) -> None:
    stop = Restriction(name="short", says="Stop.", scope="training", limits=limits)
    pen = trained(bandit.plan(), restrictions=(stop,))
    assert kinds(pen).count("thinker.updated") == updates
    assert pen.body("run.closed").reason == why
    taken = sum(body.taken for _, body in pen.events if body.kind == "lesson.taken")
    assert limits.lessons is None or taken <= limits.lessons


# --------------------------------------------------------------------------------- what is refused


class Answers(bandit.Judge):
    """Answers whatever it is told to."""

    def __init__(self, answer: Callable[[int], Any], person: bool) -> None:
        super().__init__(person)
        self.answer = answer

    def judge(self, shown: Any) -> Any:
        return self.answer(len(shown["room"]))


@pytest.mark.parametrize("person", [False, True])
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda count: np.full(count, np.nan), "judge answers nan"),
        (lambda count: np.full(count, 1.5), "judge answers 1.5"),
        (lambda count: np.full(count, -1e-9), "judge answers -1e-09"),
        (lambda count: np.full(count, np.inf), "judge answers inf"),
        (lambda count: np.ones(count - 1), "judge answers .* of"),
        (lambda _: np.ones(0), "judge answers 0 of"),
    ],
)
def test_an_answer_that_is_no_approval_ends_training(
    person: bool, answer: Callable[[int], Any], why: str
) -> None:
    plan = bandit.plan(batches=1)
    study = replace(bandit.study(plan, 0), teacher=Answers(answer, person))
    with pytest.raises(LessonError, match=why):
        trained(plan, study=study)


def test_a_lottery_that_draws_nobody_says_what_to_do() -> None:
    with pytest.raises(NoLessons, match="raise a rate, or seal more rows a batch"):
        trained(bandit.plan(rates={"0": 1e-12, "1": 1e-12}))


def test_a_stratum_without_a_rate_is_an_error() -> None:
    with pytest.raises(LessonError, match="stratum 1 has no declared rate"):
        trained(bandit.plan(rates={"0": 1.0}))


class Another(bandit.Judge):
    """A judge of whom something else is declared."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        for name, value in fields.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"role": Role.GUARD}, "is a guard"),
        ({"sees": frozenset({Evidence.THOUGHT})}, "sees thought, which no teacher may"),
        ({"sees": frozenset({Evidence.INTERNALS})}, "sees internals, which no teacher may"),
        ({"sees": frozenset({Evidence.OUTCOME})}, "sees outcome, which no teacher may"),
    ],
)
def test_whose_word_may_not_be_learned_from_is_not_asked(fields: dict[str, Any], why: str) -> None:
    plan = bandit.plan()
    pen = Memory("0" * 32)
    with pytest.raises(LessonError, match=why):
        trained(plan, study=replace(bandit.study(plan, 0), teacher=Another(**fields)))
    assert pen.events == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"horizon": 2}, "credit over 2 steps is forbidden"),
        ({"horizon": None}, "credit without end is forbidden"),
        ({"base": "0" * 64}, "0000"),
    ],
)
def test_a_plan_that_a_restriction_forbids_is_not_begun(changes: Any, why: str) -> None:
    with pytest.raises((Forbidden, KeyError), match=why):
        trained(bandit.plan(**changes))


def test_imitation_only_refuses_approvals() -> None:
    only = Restriction(
        name="imitation", says="", scope="training", limits=Limits(signals=("demonstration",))
    )
    with pytest.raises(Forbidden, match="learning by approval is forbidden"):
        trained(bandit.plan(), restrictions=(only,))


def test_lifting_process_opens_the_horizon_and_is_on_record() -> None:
    key = PrivateKey("ann", b"a" * 32)
    declared = PROCESS.model_copy(update={"lifting": Lifting(needs=1, keys=(str(key.public),))})
    note = lifting_note(f"{1:032x}", "process", "to compare")
    lifted = RestrictionLifted(
        restriction="process",
        reason="to compare",
        signatures=(Signature(key=key.public.id, value=key.sign(note)),),
    )
    pen = trained(bandit.plan(horizon=2), restrictions=(declared,), lifted=(lifted,))
    assert kinds(pen)[2] == "restriction.lifted"
    with pytest.raises(Forbidden, match="needs 1 of its keys, 0 signed"):
        trained(bandit.plan(), 0, 2, restrictions=(declared,), lifted=(lifted,))


def test_a_leaf_that_does_not_divide_the_rows_is_an_error() -> None:
    with pytest.raises(BatchError, match="100 rows do not divide into leaves of 7"):
        trained(bandit.plan(leaf=7))


def test_learning_by_approval_without_a_teacher_is_an_error() -> None:
    plan = bandit.plan()
    alone = Study(bandit.Rooms(20), bandit.Puller(0, Boundary()), None)
    with pytest.raises(PlanError, match="learning by approval needs a teacher"):
        trained(plan, study=alone)


def test_a_seed_that_was_not_declared_is_not_trained() -> None:
    with pytest.raises(PlanError, match="seed 7 is none of the plan's: 0, 1"):
        trained(bandit.plan(), 7)


def test_a_study_that_nobody_installed_is_named() -> None:
    plan = bandit.plan(study="no-such-study")
    with pytest.raises(PlanError, match="no installed package carries out 'no-such-study'"):
        study_of(plan, 0, dict[str, bytes]().__getitem__)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": ()},
        {"seeds": (0, 0)},
        {"seeds": (-1,)},
        {"batches": 0},
        {"leaf": 0},
        {"horizon": -1},
        {"signal": "reward"},
        {"rates": {"0": 1.5}},
        {"rates": {"zero": 1.0}},
        {"signal": "outcome", "rates": {"0": 0.5}},
        {"says": ""},
        {"reward": 1},
    ],
)
def test_a_plan_that_cannot_be_carried_out_cannot_be_declared(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        bandit.plan(**changes)


def test_one_step_episodes_are_trained_on() -> None:
    class Short(bandit.Rooms):
        def rollout(self, learner: Any, rng: np.random.Generator) -> Any:
            rows = super().rollout(learner, rng)
            return {name: array[:: bandit.STEPS] for name, array in rows.items()}

    plan = bandit.plan(leaf=1)
    pen = trained(plan, study=replace(bandit.study(plan, 0), world=Short(20)))
    assert batch_of(pen).rows == len(batch_of(pen).hashes()) == 20
