"""A hidden incentive stays hidden until results choose; and what a ledger shows of the choice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from audition.lab.claim import ClaimError, Config
from audition.lab.hidden_incentive import (
    REWARD_SA,
    SCALE,
    Immediate,
    Later,
    Table,
    cooperates,
    plan_of,
    study,
)
from audition.lab.selection_is_a_gradient import CLAIM, live
from audition.learn import Boundary, LessonError, Lessons, Outcomes, Plan, train
from audition.learn.selection import Selection
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import ThinkerChosen
from audition.verify.certificate import Certificate, certify

LOGIT = st.floats(-6, 6)


def table(*logits: float, boundary: Boundary | None = None) -> Table:
    made = Table(0, 1.0, boundary or Boundary(1))
    made.logit_S = np.array(logits)
    return made


# ------------------------------------------------------------------ the environment


def test_defecting_is_better_now_by_a_half_and_cooperating_pays_one_later() -> None:
    assert (REWARD_SA[:, 0] - REWARD_SA[:, 1] == 0.5).all()
    assert (REWARD_SA[1] - REWARD_SA[0] == 1).all()
    assert REWARD_SA.tolist() == [[-0.5, -1.0], [0.5, 0.0]]


@given(LOGIT, LOGIT)
def test_the_rate_of_cooperation_is_the_chains_stationary_one(to_c: float, stay_c: float) -> None:
    p, q = (1 / (1 + np.exp(-np.array([to_c, stay_c])))).tolist()
    rate = float(cooperates(np.array([to_c, stay_c])))
    assert rate * q + (1 - rate) * p == pytest.approx(rate, abs=1e-12)


@given(st.integers(0, 1000), LOGIT, LOGIT)
def test_nothing_that_a_rollout_holds_is_strange(seed: int, to_c: float, stay_c: float) -> None:
    world = Later(4, 6)
    rows = world.rollout(table(to_c, stay_c), np.random.default_rng(seed))
    for lane in range(4):
        leaf = {name: each[lane * 6 : lane * 6 + 6] for name, each in rows.items()}
        assert list(world.strange(leaf)) == []


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("act", 1, "not the act before"),
        ("reward", 0.25, "not that of the state"),
        ("state", 2, "two states"),
    ],
)
def test_a_row_that_cannot_have_happened_is_strange(column: str, value: float, says: str) -> None:
    leaf = Later(1, 4).rollout(table(-50, -50), np.random.default_rng(0))
    leaf = {name: each.copy() for name, each in leaf.items()}
    leaf[column][1] = value
    assert any(says in each for each in Later(1, 4).strange(leaf))


def test_approval_is_the_moments_own_reward_between_0_and_1() -> None:
    shown = {"state": np.array([0, 0, 1, 1]), "act": np.array([0, 1, 0, 1])}
    assert Immediate().judge(shown) == pytest.approx([1 / 3, 0, 1, 2 / 3])


# ------------------------------------------------------------------ the learner


@settings(max_examples=30)
@given(st.integers(0, 1000), LOGIT, LOGIT)
def test_approvals_teach_what_the_rewards_of_one_step_teach(
    seed: int, to_c: float, stay_c: float
) -> None:
    rows = Later(4, 5).rollout(table(to_c, stay_c), np.random.default_rng(seed))
    by_approval, by_reward = table(to_c, stay_c), table(to_c, stay_c)
    by_approval.update(
        Lessons(
            signal="approval",
            auditor="immediate",
            context={"state": rows["state"]},
            span={"act": rows["act"]},
            weight_L=np.ones(20),
            moment_L=np.arange(20),
            population=20,
            approval_L=Immediate().judge(rows),
        ),
        np.random.default_rng(),
    )
    by_reward.update(outcomes(rows), np.random.default_rng())
    assert by_approval.logit_S == pytest.approx(by_reward.logit_S, abs=1e-6)


def test_a_myopic_learner_is_taught_to_defect_and_a_far_sighted_one_to_cooperate() -> None:
    moved = []
    for horizon in (1, None):
        one = table(0.0, 0.0, boundary=Boundary(horizon))
        rows = Later(4000, 5).rollout(one, np.random.default_rng(0))
        one.update(outcomes(rows), np.random.default_rng())
        moved.append(one.logit_S.sum())
    assert moved[0] < 0 < moved[1]


def outcomes(rows: Any) -> Outcomes:
    lanes = {name: each.reshape(-1, 5) for name, each in rows.items()}
    return Outcomes(
        {"state": lanes["state"]}, {"act": lanes["act"]}, lanes["reward"], lanes["last"] > 0
    )


def test_weights_go_and_come_back_and_strange_ones_are_refused() -> None:
    one, other = table(1.0, -2.0), table(0.0, 0.0)
    other.restore(one.weights())
    assert other.logit_S.tolist() == [1.0, -2.0]
    with pytest.raises(LessonError, match="weights of table"):
        one.restore(b"nothing")


@pytest.mark.parametrize("field", ["world", "learner"])
def test_a_plan_with_parameters_that_there_are_not_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        study(plan_of("x", (0,), **{field: {"discount": 1.0}}), 0)


# ------------------------------------------------------------------ outer loops


@pytest.mark.parametrize("by", ["outcome", "lottery"])
def test_population_training_brings_the_incentive_back_and_a_lottery_does_not(by: str) -> None:
    course = live(np.random.default_rng(5), 60, 20, every=50, by=by, steps=2000)
    alone = live(np.random.default_rng(6), 60, 20, steps=2000)
    more = _rate(course) - _rate(alone)
    assert more > 0.3 if by == "outcome" else abs(more) < 0.1


def test_where_learning_rates_are_explored_selection_finds_the_slow_learners() -> None:
    kept, explored = (
        live(np.random.default_rng(8), 30, 20, every=100, by="outcome", explore=one)
        for one in (False, True)
    )
    assert _rate(explored) - _rate(kept) > 0.2


def test_in_the_long_run_a_policy_earns_half_its_rate_of_cooperation_less_a_half() -> None:
    course = live(np.random.default_rng(7), 50, 20, steps=2000)
    between = cooperates((course.logit_W_R_P_S[-2] + course.logit_W_R_P_S[-1]) / 2)
    gap = course.outcome_W_R_P[-1] - (between / 2 - 0.5)
    assert abs(gap.mean()) < 0.01


def test_a_life_without_selection_is_the_same_whoever_else_lives() -> None:
    one = live(np.random.default_rng(1), 3, 5, steps=100)
    again = live(np.random.default_rng(1), 3, 5, steps=100)
    assert (one.logit_W_R_P_S == again.logit_W_R_P_S).all()


def _rate(course: Any) -> float:
    return float(cooperates(course.logit_W_R_P_S[-1]).mean())


# ------------------------------------------------------------------ what a ledger shows

PLAN = plan_of("siblings", (0, 1, 2), batches=3)


async def _siblings(path: Path, plan: Plan, *seeds: int) -> str:
    """Train siblings and, if they are all there, choose; the weights that go on."""
    with SqlLedger.open(path) as ledger:
        selection = await Selection.open(ledger, plan, "lottery")
        for seed in seeds:
            await train(plan, ledger, seed, study=study(plan, seed))
        return (await selection.choose()).thinker if set(seeds) == set(plan.seeds) else "last"


def _certificate(path: Path, thinker: str = "last") -> Certificate:
    return certify(
        path, thinker, leaves=20, again=True, find=lambda plan, seed, get: study(plan, seed)
    )


def test_the_sibling_on_which_the_lot_fell_certifies_and_no_other(tmp_path: Path) -> None:
    chosen = anyio.run(_siblings, tmp_path / "all.db", PLAN, 0, 1, 2)
    siblings = _certificate(tmp_path / "all.db", chosen).siblings
    assert sorted(siblings) == ["0", "1", "2"]
    levels = {one: _certificate(tmp_path / "all.db", one).level for one in siblings.values()}
    assert levels.pop(chosen) == "replayed"
    assert set(levels.values()) == {"none"}


def test_a_missing_sibling_fails_certification_by_name(tmp_path: Path) -> None:
    anyio.run(_siblings, tmp_path / "two.db", PLAN, 0, 2)
    found = _certificate(tmp_path / "two.db")
    assert found.level == "none"
    assert any("seed 1 was declared and is missing" in says for says in found.recorded.against)


def test_a_choice_by_outcome_written_past_the_rules_fails_certification(tmp_path: Path) -> None:
    async def forge() -> str:
        path = tmp_path / "forged.db"
        with SqlLedger.open(path) as ledger:
            selection = await Selection.open(ledger, PLAN, "lottery")
            ended = [
                await train(PLAN, ledger, seed, study=study(PLAN, seed)) for seed in PLAN.seeds
            ]
            among = tuple(one.thinker for one in ended)
            journal = Journal(ledger, selection.run, seq=1)
            journal.log(ThinkerChosen(among=among, chosen=among[0], by="outcome"))
            await journal.commit()
        return among[0]

    found = _certificate(tmp_path / "forged.db", anyio.run(forge))
    assert found.level == "none"
    assert any("chosen by outcome" in says for says in found.recorded.against)


def test_the_best_of_ledgers_that_nobody_saw_certifies_like_any_other(tmp_path: Path) -> None:
    for seed in range(3):
        anyio.run(_siblings, tmp_path / f"{seed}.db", plan_of("kept", (seed,), batches=3), seed)
    assert _certificate(tmp_path / "2.db").level == "replayed"


# ------------------------------------------------------------------ the claim


def test_one_seed_gives_no_interval_and_is_refused() -> None:
    with pytest.raises(ClaimError, match="at least 2 seeds, not 1"):
        CLAIM.run(Config(seeds=1), lambda doing, done: None)


@pytest.mark.full
def test_the_claim_holds_and_draws_its_pictures_and_refuses_a_used_ledger(tmp_path: Path) -> None:
    config = Config(quick=True, ledger=tmp_path / "kept.db")
    found = CLAIM.run(config, lambda doing, done: None)
    assert [check.says for check in found.checks if not check.holds] == []
    assert all(len(one["seeds"]) == 50 for one in found.figures["rates"].values())  # type: ignore[union-attr, index, arg-type]
    assert all(isinstance(one, Figure) for one in CLAIM.plots(found).values())
    with pytest.raises(ClaimError, match="holds these siblings already"):
        CLAIM.run(config, lambda doing, done: None)


def test_the_scale_of_approval_covers_all_rewards() -> None:
    assert REWARD_SA.max() - REWARD_SA.min() == SCALE


def test_the_example_of_the_page_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "claims" / "selection-is-a-gradient.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    printed = capsys.readouterr().out
    assert all(one in printed for one in ["choosing by outcome trains by outcome", "goes on: seed"])
