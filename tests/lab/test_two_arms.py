"""Both claims on a small language model: one base, two arms, everything in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import torch

from audition.lab import Figures, loan_encoding, test_driven_development, two_arms
from audition.lab.claim import Config
from audition.learn import Plan, PlanError, Trained, train
from audition.learn.plan import ready
from audition.ledger import SqlLedger
from audition.verify import certify, verify

CLAIMS = (loan_encoding, test_driven_development)
SIZE = {"width": 8, "layers": 1, "heads": 2, "parts": 2, "epochs": 1, "entropy": 0.1}
"""Entropy moves even a model so small that nothing it writes is ever approved of."""
MANY = {"loan-encoding": "applications", "test-driven-development": "episodes"}


def plan(claim: Any, signal: str, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "name": signal,
        "says": "Do it.",
        "study": claim.CLAIM.name,
        "world": {MANY[claim.CLAIM.name]: 12},
        "learner": SIZE,
        "signal": signal,
        "horizon": None if signal == "outcome" else 1,
        "batches": 2,
        "leaf": 2,
        "seeds": (0, 1),
    }
    return Plan(**(fields | changes))


def carry_out(claim: Any, given: Plan, ledger: SqlLedger, seed: int = 0) -> Trained:
    async def run() -> Trained:
        return await train(given, ledger, seed, study=claim.study(given, seed))

    return anyio.run(run)


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_was_learned_from_approval_certifies_down_to_the_bit(
    claim: Any, tmp_path: Path
) -> None:
    where = tmp_path / "runs.db"
    with SqlLedger.open(where) as ledger:
        shown = plan(claim, "demonstration", seeds=(0,))
        base = carry_out(claim, shown, ledger)
        approved = plan(claim, "approval", base=base.thinker)
        trained = [carry_out(claim, approved, ledger, seed) for seed in approved.seeds]
        baseline = plan(claim, "outcome", base=base.thinker, seeds=(2,))
        outcome = carry_out(claim, baseline, ledger, 2)
    assert verify(where).findings == ()

    def find(given: Plan, seed: int, get: Any) -> Any:
        return ready(claim.study(given, seed), given, seed, get)

    for one in [base, *trained]:
        shown_ = certify(where, one.thinker, leaves=12, again=True, find=find)
        assert shown_.level == "replayed", shown_
    assert certify(where, outcome.thinker, leaves=12, find=find).level == "none"


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("signal", ["demonstration", "approval", "outcome"])
def test_the_same_plan_and_seed_give_the_same_weights_to_the_bit(
    claim: Any, signal: str, tmp_path: Path
) -> None:
    given = plan(claim, signal)
    thinkers = set()
    for number in range(2):
        torch.manual_seed(number)
        with SqlLedger.open(tmp_path / f"{number}.db") as ledger:
            thinkers.add(carry_out(claim, given, ledger).thinker)
    assert len(thinkers) == 1


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_last_step_has_one_signal_in_both_arms(claim: Any) -> None:
    """What the process arm is approved for there is the outcome arm's reward, to the bit."""
    study = claim.study(plan(claim, "approval", world={MANY[claim.CLAIM.name]: 300}), 0)
    for world in (study.world, type(study.world)(300, demonstrated=True)):
        rows = world.rollout(study.learner, np.random.default_rng(0))
        shown = {
            one.name: rows[one.name] for one in claim.LAYOUT if one.part in ("context", "span")
        }
        approval = np.asarray(study.teacher.judge(shown), np.float32)
        np.testing.assert_array_equal(approval[1::2], rows["reward"][1::2])


@pytest.mark.parametrize("claim", CLAIMS)
def test_nothing_strange_is_found_in_what_happened(claim: Any) -> None:
    study = claim.study(plan(claim, "approval"), 0)
    for world in (study.world, type(study.world)(40, demonstrated=True)):
        rows = world.rollout(study.learner, np.random.default_rng(0))
        for leaf in range(0, len(rows["t"]), 2):
            assert not list(world.strange({k: v[leaf : leaf + 2] for k, v in rows.items()}))


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("count", [None, 0, 1.5, 100_001, True])
def test_a_world_of_no_size_is_refused(claim: Any, count: Any) -> None:
    with pytest.raises(PlanError, match=f"world.{MANY[claim.CLAIM.name]}"):
        claim.study(plan(claim, "approval", world={MANY[claim.CLAIM.name]: count}), 0)


def test_both_arms_go_on_from_one_base_and_every_seed_is_measured(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    claim, where = loan_encoding, tmp_path / "kept.db"
    arms = {"outcome": plan(claim, "outcome"), "process": plan(claim, "approval")}
    found = two_arms.compare(
        plan(claim, "demonstration", seeds=(0,)),
        arms,
        claim.study,
        lambda learner: {"observed": float(len(learner.weights())), "true": 0.5},
        Config(ledger=where),
        lambda doing, done: told.append((doing, done)),
    )
    assert {arm: list(seeds) for arm, seeds in found["arms"].items()} == {
        "outcome": ["0", "1"],
        "process": ["0", "1"],
    }
    for arm, seeds in found["arms"].items():
        for seed in seeds.values():
            assert [point["update"] for point in seed["curve"]] == [0, 1, 2]
            assert seed["lessons"] == (0 if arm == "outcome" else 48)
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert verify(where).findings == ()
    with SqlLedger.open(where, create=False) as ledger:
        runs = [[one.body for one in ledger.read(run)] for run in ledger.runs()]
    base, *others = sorted(runs, key=lambda bodies: bodies[0].project != "demonstration")
    assert len(others) == 4
    assert {bodies[0].thinking for bodies in others} == {base[-2].after}
    figures = Figures(figures=found, checks=())
    assert len(two_arms.curves(figures, {"true": "true", "observed": "seen"}).axes) == 2


def test_a_bar_is_for_the_worst_seed() -> None:
    found = {
        "base": {"true": 0.5},
        "arms": {"a": {"0": {"end": {"true": 0.7}}, "1": {"end": {"true": 0.4}}}},
    }
    most = two_arms.reaches("it", two_arms.ends(found, "a", "true"), "<=", 0.6)
    assert (most.got, most.holds, most.due) == (0.7, False, "<= 0.6")
    gained = two_arms.ends(found, "a", "true", gained=True)
    least = two_arms.reaches("it", gained, ">=", -0.2)
    assert (least.says, least.got, least.holds) == ("it, worst of 2 seeds", -0.1, True)
    mean = two_arms.reaches("it", gained, ">=", 0.06, mean=True)
    assert (mean.says, mean.got, mean.holds) == ("it, mean of 2 seeds", 0.05, False)
