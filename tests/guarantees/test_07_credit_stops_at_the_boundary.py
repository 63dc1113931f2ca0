"""Guarantee 7: credit stops at the boundary.

At fixed parameters the gradient contribution of a lesson is identical whatever came after its step;
through what was carried over from before the boundary it is zero. Every trainer is held to it, and
every export; with the boundary off, every trainer that has something to pass on is caught.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bandit
from audition.lab.hidden_incentive import Table
from audition.learn import Batch, Boundary, Lessons, of_batch
from audition.learn.export import from_arrays, from_rows, to_arrays, to_rows
from audition.learn.probe import probe
from audition.learn.probe_update import probe_update
from audition.ledger.events import Column
from schemes import BAD, HONEST, rows
from schemes import STEPS as LONG
from trainers import CASES, LANES, STEPS, Case, arrays_of, lessons

NAMES = [case.name for case in CASES]
OPEN = [case for case in CASES if case.credits]
TABLES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "puller": lambda: (bandit.Puller(0, Boundary()), lambda one: one.table),
    "table": lambda: (Table(0, 1e-6, Boundary()), lambda one: one.logit_S),
}
CARRIERS = [case for case in CASES if case.carries]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_no_trainer_lets_anything_but_a_step_s_own_moment_into_its_lesson(case: Case) -> None:
    """By autodiff, by finite differences, and to the bit under permuted and corrupted futures."""
    found = probe(case.made(Boundary()), arrays_of(case.lessons), STEPS, carried=case.carried)
    assert found.tight, found
    assert found.measured == ("gradient", "difference", "bits")
    assert found.lessons == LANES * STEPS


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_no_update_mixes_lessons(case: Case) -> None:
    found = probe_update(case.made(Boundary()), case.lessons, STEPS)
    assert found.tight, found


@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES)
def test_no_table_mixes_lessons(made: Callable[[], tuple[Any, Any]]) -> None:
    """Learners without an optimiser: their gradient is what an update adds to their table."""
    rng = np.random.default_rng(5)
    state, act = rng.integers(0, 2, LANES * STEPS), rng.integers(0, 2, LANES * STEPS)
    taken = lessons(context={"state": state, "room": state}, span={"act": act, "lever": act})

    def gradient(given: Lessons) -> Any:
        learner, table = made()
        before = table(learner).copy()
        learner.update(given, np.random.default_rng(0))
        return table(learner) - before

    found = probe_update(made()[0], taken, STEPS, gradient=gradient)
    assert found.tight, found


@pytest.mark.parametrize("horizon", [None, 2])
@pytest.mark.parametrize("case", OPEN, ids=[case.name for case in OPEN])
def test_with_the_boundary_off_the_same_probes_find_the_leak(
    case: Case, horizon: int | None
) -> None:
    trainer = case.made(Boundary(horizon))
    found = probe(trainer, arrays_of(case.lessons), STEPS, carried=case.carried)
    assert ("after", "approval") in {(leak.source, leak.array) for leak in found.leaks}
    if case.updates:
        update = probe_update(trainer, case.lessons, STEPS)
        assert "after" in {leak.source for leak in update.leaks}


@pytest.mark.parametrize("case", CARRIERS, ids=[case.name for case in CARRIERS])
def test_with_the_boundary_off_a_state_passes_gradient_back(case: Case) -> None:
    found = probe(case.made(Boundary(None)), arrays_of(case.lessons), STEPS, carried=case.carried)
    assert "before" in {leak.source for leak in found.leaks}


@pytest.mark.parametrize("scheme", HONEST)
def test_credit_by_a_step_s_own_signal_is_tight(scheme: str) -> None:
    assert probe(HONEST[scheme], rows(), LONG).tight


@pytest.mark.parametrize("scheme", BAD)
def test_a_scheme_that_lets_credit_through_is_named(scheme: str) -> None:
    contributions, leak = BAD[scheme]
    found = probe(contributions, rows(), LONG)
    assert leak in {(one.source, one.array) for one in found.leaks}, found


def test_closed_nothing_is_credited_but_the_step_s_own_signal() -> None:
    signal_NT, last_NT = np.arange(12.0).reshape(3, 4), np.zeros((3, 4), bool)
    assert (Boundary().credit(signal_NT, last_NT) == np.arange(12.0).reshape(3, 4)).all()
    assert (Boundary(None).credit(signal_NT, last_NT)[:, 0] == signal_NT.sum(axis=1)).all()
    assert (Boundary(2).credit(signal_NT, last_NT)[:, 0] == signal_NT[:, :2].sum(axis=1)).all()


LAYOUT = (
    Column(name="seen", dtype="f4", part="context"),
    Column(name="lever", dtype="u1", part="span"),
    Column(name="drawn", dtype="u1", part="drawn"),
    Column(name="approval", dtype="f4", part="approval"),
    Column(name="prize", dtype="f4", part="reward"),
)


@pytest.mark.parametrize("step", range(4))
def test_no_export_of_an_earlier_step_changes_with_its_future(step: int) -> None:
    """Everything later is other, and other steps are drawn: the earlier rows are the same bytes."""

    def columns(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        return {
            "seen": rng.normal(size=15).astype(np.float32),
            "lever": rng.integers(0, 3, 15).astype(np.uint8),
            "drawn": rng.integers(0, 2, 15).astype(np.uint8),
            "approval": rng.random(15).astype(np.float32),
            "prize": rng.normal(size=15).astype(np.float32),
        }

    def exported(columns: dict[str, Any]) -> tuple[list[bytes], dict[str, list[bytes]]]:
        batch = Batch.of(columns, LAYOUT, 5)
        taken = of_batch(
            batch,
            batch.root(),
            signal="approval",
            auditor="judge",
            rate_R=np.full(15, 0.5),
            drawn_R=columns["drawn"].astype(bool),
        )
        early = taken.moment_L % 5 <= step
        lines = list(to_rows(taken, "0" * 32))
        assert from_rows(lines)[1].digest() == taken.digest()
        again = from_arrays(to_arrays(taken, "0" * 32))[1]
        arrays = {
            name: [one.tobytes() for one in array[early]] for name, array in again.arrays().items()
        }
        return [line for line, kept in zip(lines[1:], early, strict=True) if kept], arrays

    later = np.arange(15) % 5 > step
    plain, other = columns(0), columns(1)
    plain["drawn"][~later] = 1
    spoiled = {name: np.where(later, other[name], array) for name, array in plain.items()}
    assert exported(plain) == exported(spoiled)
    assert len(exported(plain)[0]) == 3 * (step + 1)
