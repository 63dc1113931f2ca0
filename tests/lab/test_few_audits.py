"""Few audits: estimates stay unbiased, and what is told of every run is what was bought."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
from pydantic import ValidationError

from audition.lab import few_audits
from audition.lab.claim import Config
from audition.lab.dropbox import comparing, exact
from audition.lab.dropbox.rules import Dropbox, Rules
from audition.learn import LessonError, NoLessons, PlanError, train, training
from audition.ledger import SqlLedger
from audition.verify import certify, verify


@pytest.fixture(scope="module")
def game() -> Dropbox:
    return Rules().compile()


def even(rate: float) -> dict[str, float]:
    return {str(h): rate for h in range(len(few_audits.EDGES) + 1)}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few lanes and passes, so that a run takes no time."""
    monkeypatch.setattr(few_audits, "LANES", 24)
    monkeypatch.setattr(few_audits, "PILOT", 2)
    learner = {**few_audits.LEARNER, "epochs": 1, "hidden": [8]}
    monkeypatch.setattr(few_audits, "LEARNER", learner)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lots each time: one batch is so few that another lottery may draw none of it."""
    numbers = itertools.count(1)
    names = SimpleNamespace(token_hex=lambda size: f"{next(numbers):0{2 * size}x}")
    monkeypatch.setattr(training, "secrets", names)
    monkeypatch.setattr(training, "new_secret", lambda: bytes(32))


@pytest.mark.parametrize("answer", few_audits.ANSWERS)
def test_over_every_lottery_the_weighted_gradient_is_the_gradient_and_no_other_is(
    game: Dropbox, answer: str
) -> None:
    found = few_audits.enumerated(game, answer)
    assert found["lotteries"] == 256
    assert found["mean_error"] < 1e-12
    assert found["gradient_error"] < 1e-5
    assert found["gradient_error_unweighted"] > 0.05


@pytest.mark.parametrize("answer", few_audits.ANSWERS)
def test_over_many_lotteries_the_weighted_estimates_stay_and_the_plain_one_drifts(
    game: Dropbox, answer: str
) -> None:
    found = few_audits.sampled(game, answer)
    assert abs(found["mean_apart"]) < 4
    assert abs(found["gradient_apart"]) < 4
    assert abs(found["gradient_apart_unweighted"]) > 5


def test_slopes_add_up_to_the_length_of_the_gradient(game: Dropbox) -> None:
    learner, arrays, _ = few_audits._judged(game, "rating", seed=3, few=40)
    count = len(arrays["approval"])
    gradient = few_audits._gradient(learner, arrays, np.ones(count), 1)
    slopes = few_audits._slopes(learner, arrays)
    assert slopes.sum() == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


def test_an_oracles_ranking_is_the_order_of_its_approvals(game: Dropbox) -> None:
    rng = np.random.default_rng(0)
    t, state = rng.integers(0, 50, 500), rng.integers(0, game.states, 500)
    candidate = rng.permuted(np.tile(np.arange(4), (500, 1)), axis=1)
    ranking = comparing.Ranker(game).judge({"t": t, "state": state, "candidate": candidate})
    approval_TSA = exact.approvals(game, exact.trusted(game))
    given = approval_TSA[t[:, None], state[:, None], candidate]
    assert (np.diff(np.take_along_axis(given, ranking, 1), axis=1) < 1e-9).all()
    assert (np.sort(ranking, axis=1) == np.arange(4)).all()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("answer", ["rating", "comparing 2"])
def test_a_run_tells_its_audits_what_they_are_worth_and_certifies(
    game: Dropbox, tmp_path: Path, answer: str
) -> None:
    path = tmp_path / "l.db"
    rates = {**even(0.5), "3": 0.05}
    plan = few_audits.plan_of(game, answer, rates, 2, (0,))
    with SqlLedger.open(path) as ledger:
        row = few_audits.trained(game, ledger, plan, 0)
    assert 0 < row["effective"] < 0.9 * row["audits"]
    assert row["fail"] + row["intended"] + row["hack"] == pytest.approx(1)
    assert [str(one) for one in verify(path).findings] == []
    shown = certify(path, "last", leaves=3, again=True, find=lambda p, s, _: comparing.study(p, s))
    assert '"holds": false' not in json.dumps(shown.model_dump(mode="json"))


@pytest.mark.usefixtures("short")
def test_the_pilots_rates_cost_what_even_ones_do_and_name_the_pilot(
    game: Dropbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_audits, "BATCHES", 2)
    monkeypatch.setattr(few_audits, "SPENT", 0.2)
    monkeypatch.setattr(few_audits, "PILOT_RATE", 0.5)
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        found = few_audits.allocated(game, ledger, 0, 2)
        runs = ledger.runs()
    spent = np.dot(found["rates"], found["moments"])
    assert spent == pytest.approx(0.2 * sum(found["moments"]))
    assert found["least_ratio"] <= 1 + 1e-12
    assert runs == [found["pilot"]["run"], found["trained"]["run"]]
    plan = few_audits.plan_of(game, "rating", even(0.1), 2, (0,), pilot=runs[0])
    assert runs[0] in plan.says


@pytest.mark.usefixtures("short")
def test_no_plan_draws_nothing_and_a_lottery_that_happens_to_stops_the_run(
    game: Dropbox, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="never drawn cannot be weighed"):
        few_audits.plan_of(game, "rating", even(0.0), 2, (0,))
    plan = few_audits.plan_of(game, "rating", even(1e-9), 2, (0,))
    study = comparing.study(plan, 0)
    with (
        SqlLedger.open(tmp_path / "l.db") as ledger,
        pytest.raises(NoLessons, match="the lottery drew none"),
    ):
        anyio.run(partial(train, plan, ledger, 0, study=study))


def test_one_who_learns_by_comparison_learns_by_nothing_else(game: Dropbox) -> None:
    plan = few_audits.plan_of(game, "comparing 2", even(1.0), 1, (0,))
    learner: Any = comparing.study(plan, 0).learner
    rated = few_audits.plan_of(game, "rating", even(1.0), 1, (0,))
    with pytest.raises(PlanError, match="approval where a moment offers 2 candidates"):
        comparing.study(plan.model_copy(update={"signal": rated.signal}), 0)
    lessons: Any = type("L", (), {"ranking_LK": None})()
    with pytest.raises(LessonError, match="by comparison alone"):
        learner.update(lessons, np.random.default_rng(0))


@pytest.mark.usefixtures("short", "fixed")
def test_the_claim_tells_every_seed_and_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_audits, "BATCHES", 1)
    monkeypatch.setattr(few_audits, "PILOT_RATE", 0.5)
    monkeypatch.setattr(few_audits, "RATES", (0.25, 1.0))
    monkeypatch.setattr(few_audits, "BARS", {("rating", 1.0): 0.99})
    told: list[float] = []
    figures = few_audits.run(Config(seeds=2), lambda _, share: told.append(share))
    found: Any = figures.figures
    assert figures.seeds == (0, 1)
    assert [(r["answer"], r["rate"], r["seed"]) for r in found["trained"]] == [
        (answer, rate, seed)
        for answer in few_audits.ANSWERS
        for rate in (0.25, 1.0)
        for seed in (0, 1)
    ]
    assert json.loads(json.dumps(found)) == found
    assert told == sorted(told) and told[-1] <= 1
    assert not figures.holds  # one batch teaches nothing
    for picture in few_audits.plots(figures).values():
        picture.savefig("/dev/null", format="png")


@pytest.mark.full
def test_the_claim_holds_on_three_seeds() -> None:
    figures = few_audits.run(Config(), lambda _what, _share: None)
    assert figures.holds, [str(one) for one in figures.checks if not one.holds]
