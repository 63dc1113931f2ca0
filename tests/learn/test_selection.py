"""Which sibling goes on: declared or by lot, out of all of them, and never by results."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bandit
from audition.canonical import digest_bytes
from audition.learn import Plan, train
from audition.learn.selection import (
    ChosenByResult,
    MissingSibling,
    Selection,
    SelectionError,
    Sibling,
    check_rule,
    goes_on,
    missing,
    repeated,
    siblings,
)
from audition.ledger import SqlLedger
from audition.ledger.events import RunClosed, RunOpened, ThinkerChosen

pytestmark = pytest.mark.anyio

RUN = "ab" * 16


@pytest.fixture
def held(tmp_path: Path) -> Any:
    with SqlLedger.open(tmp_path / "siblings.db") as ledger:
        yield ledger


def run_of(seed: int, trained: bool = True) -> Sibling:
    return Sibling(RUN, seed, "00" * 32, trained)


async def trained(ledger: SqlLedger, plan: Plan, *seeds: int) -> None:
    for seed in seeds:
        await train(plan, ledger, seed, study=bandit.study(plan, seed))


@pytest.mark.parametrize("by", ["outcome", "approval"])
async def test_a_choice_by_results_is_refused_with_the_reason(held: SqlLedger, by: str) -> None:
    with pytest.raises(ChosenByResult, match=f"choosing by {by} trains by {by}.*lottery"):
        await Selection.open(held, bandit.plan(), by)
    assert held.runs() == []


def test_a_rule_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SelectionError, match="'best' is no rule"):
        check_rule("best")


async def test_the_first_declared_seed_goes_on(held: SqlLedger) -> None:
    plan = bandit.plan(seeds=(4, 1, 3))
    selection = await Selection.open(held, plan, "declared")
    await trained(held, plan, 1, 3, 4)
    assert (await selection.choose()).seed == 4


async def test_a_choice_is_recorded_among_all_siblings_and_can_be_computed_again(
    held: SqlLedger,
) -> None:
    plan = bandit.plan(seeds=(0, 1, 2, 3))
    selection = await Selection.open(held, plan, "lottery")
    await trained(held, plan, 0, 1, 2, 3)
    chosen = await selection.choose()
    opened, choice, closed = [event.body for event in held.read(selection.run)]
    assert isinstance(opened, RunOpened) and isinstance(choice, ThinkerChosen)
    assert isinstance(closed, RunClosed) and closed.secret is not None
    assert digest_bytes(closed.secret) == opened.secret
    assert choice.among == tuple(one.thinker for one in siblings(held, plan))
    number = goes_on("lottery", choice.among, closed.secret, selection.run)
    assert choice.chosen == choice.among[number] == chosen.thinker
    assert choice.by == "lottery"


async def test_rule_and_secret_are_durable_before_the_first_sibling(held: SqlLedger) -> None:
    plan = bandit.plan(seeds=(0,))
    await Selection.open(held, plan, "lottery")
    assert len(held.runs()) == 1
    await trained(held, plan, 0)
    with pytest.raises(SelectionError, match="seed 0 has begun"):
        await Selection.open(held, plan, "lottery")


async def test_no_choice_while_a_declared_sibling_is_missing(held: SqlLedger) -> None:
    plan = bandit.plan(seeds=(0, 1))
    selection = await Selection.open(held, plan, "lottery")
    await trained(held, plan, 0)
    with pytest.raises(MissingSibling, match="seed 1 was declared and not trained"):
        await selection.choose()
    await trained(held, plan, 1)
    await selection.choose()


async def test_no_choice_where_a_seed_was_begun_twice(held: SqlLedger) -> None:
    plan = bandit.plan(seeds=(0, 1))
    selection = await Selection.open(held, plan, "lottery")
    await trained(held, plan, 0, 1, 1)
    with pytest.raises(MissingSibling, match="seed 1 was begun more than once"):
        await selection.choose()


async def test_a_lot_is_drawn_once(held: SqlLedger) -> None:
    plan = bandit.plan(seeds=(0,))
    selection = await Selection.open(held, plan, "lottery")
    await trained(held, plan, 0)
    await selection.choose()
    with pytest.raises(SelectionError, match="drawn once"):
        await selection.choose()


async def test_runs_of_another_plan_are_no_siblings(held: SqlLedger) -> None:
    plan, other = bandit.plan(seeds=(0,)), bandit.plan(seeds=(0,), batches=2)
    await trained(held, other, 0)
    assert siblings(held, plan) == []
    assert [one.seed for one in siblings(held, other)] == [0]


@given(st.sets(st.integers(0, 30), min_size=1), st.data())
def test_missing_are_the_declared_seeds_without_a_finished_run(seeds: set[int], data: Any) -> None:
    plan = bandit.plan(seeds=tuple(sorted(seeds)))
    finished = data.draw(st.sets(st.sampled_from(sorted(seeds))))
    runs = [run_of(seed) for seed in finished] + [run_of(s, False) for s in seeds - finished]
    assert set(missing(plan, runs)) == seeds - finished
    assert repeated(plan, runs) == ()


def test_a_run_that_was_broken_off_counts_as_begun() -> None:
    plan = bandit.plan(seeds=(0, 1))
    assert repeated(plan, [run_of(0), run_of(1, False), run_of(1)]) == (1,)
    assert missing(plan, [run_of(0), run_of(1, False)]) == (1,)


def test_the_lot_falls_on_all_siblings_alike() -> None:
    among = [f"{number:064x}" for number in range(5)]
    secrets = (hashlib.sha256(bytes([a, b])).digest() for a in range(40) for b in range(100))
    count = Counter(goes_on("lottery", among, secret, RUN) for secret in secrets)
    assert set(count) == set(range(5))
    assert sum((count[one] - 800) ** 2 / 800 for one in range(5)) < 18.5  # chi-squared, p = .001


@given(st.integers(1, 50), st.binary(min_size=32, max_size=32))
def test_the_lot_always_falls_on_someone(count: int, secret: bytes) -> None:
    assert 0 <= goes_on("lottery", ["00" * 32] * count, secret, RUN) < count


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(SelectionError, match="no siblings"):
        goes_on("lottery", [], b"", RUN)
