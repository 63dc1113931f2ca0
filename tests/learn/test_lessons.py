"""Lessons hold what may be learned from; arrays that are no lessons are refused with the reason."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.learn import Batch, LessonError, Lessons, NoLessons, of_batch, outcomes_of
from audition.ledger.events import Column

CONTEXT = Column(name="room", dtype="u1", part="context")
SPAN = Column(name="lever", dtype="u1", part="span")
OFFERED = Column(name="offered", dtype="u1", shape=(3,), part="candidates")
APPROVAL = Column(name="approval", dtype="f4", part="approval")
RANKING = Column(name="ranking", dtype="i1", shape=(3,), part="ranking")
REWARD = Column(name="prize", dtype="f4", part="reward")
LAST = Column(name="last", dtype="u1", part="note")


def good(**changes: Any) -> Lessons:
    given: dict[str, Any] = {
        "signal": "approval",
        "auditor": "judge",
        "context": {"room": np.arange(3)},
        "span": {"lever": np.arange(3)},
        "weight_L": np.ones(3),
        "moment_L": np.arange(3),
        "population": 3,
        "approval_L": np.array([0.0, 0.5, 1.0]),
    }
    return Lessons(**(given | changes))


def ranked(**changes: Any) -> Lessons:
    given: dict[str, Any] = {
        "signal": "comparison",
        "approval_L": None,
        "candidates": {"offered": np.zeros((3, 2))},
        "ranking_LK": np.array([[0, 1], [1, 0], [0, 1]]),
    }
    return good(**(given | changes))


def packed(seed: int, leaf: int = 5, lanes: int = 4) -> Batch:
    rng = np.random.default_rng(seed)
    count = leaf * lanes
    columns = {
        "room": rng.integers(0, 4, count).astype(np.uint8),
        "lever": rng.integers(0, 3, count).astype(np.uint8),
        "offered": rng.integers(0, 3, (count, 3)).astype(np.uint8),
        "approval": rng.random(count).astype(np.float32),
        "ranking": rng.permuted(np.tile(np.arange(3, dtype=np.int8), (count, 1)), axis=1),
        "prize": rng.normal(size=count).astype(np.float32),
        "last": np.zeros(count, np.uint8),
    }
    return Batch.of(columns, (CONTEXT, SPAN, OFFERED, APPROVAL, RANKING, REWARD, LAST), leaf)


def test_there_is_no_place_in_a_lesson_for_what_came_of_it() -> None:
    names = {one.name for one in fields(Lessons)}
    assert names == {
        "signal",
        "auditor",
        "context",
        "span",
        "weight_L",
        "moment_L",
        "population",
        "approval_L",
        "approvals_LK",
        "candidates",
        "ranking_LK",
        "batch",
    }


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), by=st.sampled_from(["approval", "comparison", "demonstration"]))
def test_the_lessons_of_a_batch_are_its_drawn_rows_and_hold_no_reward(seed: int, by: Any) -> None:
    batch = packed(seed)
    rng = np.random.default_rng(seed)
    rate_R = rng.uniform(0.3, 1, batch.rows)
    drawn_R = rng.random(batch.rows) < rate_R
    drawn_R[0] = True
    lessons = of_batch(
        batch, batch.root(), signal=by, auditor="judge", rate_R=rate_R, drawn_R=drawn_R
    )
    rows = np.flatnonzero(drawn_R)
    assert lessons.moment_L.tolist() == rows.tolist()
    assert lessons.population == batch.rows and lessons.batch == batch.root()
    assert (lessons.weight_L == 1 / rate_R[rows]).all()
    arrays = {"weight", "moment", "context.room", "span.lever", "candidates.offered"}
    arrays |= {"approval": {"approval"}, "comparison": {"ranking"}}.get(by, set())
    assert lessons.arrays().keys() == arrays
    for name in ("room", "lever", "offered"):
        part = {"room": "context", "lever": "span", "offered": "candidates"}[name]
        held = lessons.arrays()[f"{part}.{name}"]
        assert held.tobytes() == batch.columns()[name][rows].tobytes()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), lane=st.integers(0, 3), step=st.integers(0, 4))
def test_no_later_step_moves_an_earlier_lesson(seed: int, lane: int, step: int) -> None:
    """Everything after a step in its lane is taken from another batch; its lesson stays."""
    batch, other = packed(seed), packed(seed + 1)
    leaves = batch.leaves.copy()
    for name in leaves.dtype.names or ():
        leaves[name][lane, step + 1 :] = other.leaves[name][lane, step + 1 :]
        if name in ("prize", "last"):
            leaves[name][lane, step] = other.leaves[name][lane, step]
    spoiled = replace(batch, leaves=leaves)
    row = lane * 5 + step

    def lesson(one: Batch, drawn_R: Any) -> dict[str, bytes]:
        lessons = of_batch(
            one, "0" * 64, signal="approval", auditor="a", rate_R=np.ones(20), drawn_R=drawn_R
        )
        place = lessons.moment_L.tolist().index(row)
        return {name: array[place].tobytes() for name, array in lessons.arrays().items()}

    fewer = np.ones(20, bool)
    fewer[row + 1 :] = False
    assert lesson(batch, np.ones(20, bool)) == lesson(spoiled, np.ones(20, bool))
    assert lesson(batch, np.ones(20, bool)) == lesson(spoiled, fewer)


def test_answers_from_outside_are_taken_where_the_batch_has_none() -> None:
    batch = packed(0)
    given_R = np.full(batch.rows, np.nan)
    given_R[[2, 7]] = 0.25, 0.75
    lessons = of_batch(
        batch,
        batch.root(),
        signal="approval",
        auditor="ann",
        rate_R=np.full(batch.rows, 0.1),
        drawn_R=~np.isnan(given_R),
        approval_R=given_R,
    )
    assert lessons.approval_L is not None and lessons.approval_L.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("signal", "why"), [("approval", "no approvals"), ("comparison", "no rankings")]
)
def test_a_batch_without_answers_teaches_nothing(signal: Any, why: str) -> None:
    batch = Batch.of({"room": np.zeros(2, np.uint8)}, [CONTEXT], 1)
    with pytest.raises(LessonError, match=why):
        of_batch(
            batch,
            batch.root(),
            signal=signal,
            auditor="judge",
            rate_R=np.ones(2),
            drawn_R=np.ones(2, bool),
        )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"moment_L": np.arange(0)}, "no lessons"),
        ({"population": 2}, "3 lessons of 2 moments"),
        ({"population": 0}, "3 lessons of 0 moments"),
        ({"context": {"room": np.arange(4)}}, r"context\.room: 4 rows for 3 lessons"),
        ({"weight_L": np.ones(2)}, "weight: 2 rows"),
        ({"weight_L": np.ones((3, 1))}, "weight: one number for each lesson"),
        ({"weight_L": np.array([1, 0, 1])}, "finite and positive"),
        ({"weight_L": np.array([1, -1, 1])}, "finite and positive"),
        ({"weight_L": np.array([1, np.inf, 1])}, "finite and positive"),
        ({"weight_L": np.array([1, np.nan, 1])}, "finite and positive"),
        ({"approval_L": None}, "without approvals"),
        ({"approval_L": np.array([0, 1, np.nan])}, r"lesson 2: an approval of nan is not in"),
        ({"approval_L": np.array([0, 1.01, 1])}, r"lesson 1: an approval of 1.01"),
        ({"approval_L": np.array([-0.01, 1, 1])}, r"lesson 0: an approval of -0.01"),
        ({"approval_L": np.ones((3, 2))}, "approval: one number for each lesson"),
        ({"ranking_LK": np.tile([0, 1], (3, 1))}, "hold no comparison"),
        ({"signal": "outcome"}, "hold no approval"),
        ({"signal": "outcome", "approval_L": None}, "is no signal that lessons carry"),
        ({"signal": "demonstration"}, "hold no approval"),
        ({"signal": "demonstration", "approval_L": None, "span": {}}, "shows nothing"),
    ],
)
def test_arrays_that_are_no_lessons_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LessonError, match=why):
        good(**changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ranking_LK": None}, "need rankings"),
        ({"ranking_LK": np.zeros((3, 1), int)}, "two candidates or more"),
        ({"ranking_LK": np.zeros(3, int)}, "two candidates or more"),
        ({"candidates": {}}, "without the candidates"),
        ({"candidates": {"offered": np.zeros((3, 3))}}, "alternatives at one moment"),
        ({"ranking_LK": np.zeros((3, 2), int)}, "names every candidate"),
        ({"ranking_LK": np.full((3, 2), -1)}, "names every candidate"),
        ({"ranking_LK": np.tile([1, 2], (3, 1))}, "names every candidate"),
    ],
)
def test_rankings_that_do_not_fit_their_candidates_are_refused(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(LessonError, match=why):
        ranked(**changes)


def test_an_empty_lesson_set_is_an_error_of_its_own() -> None:
    batch = packed(0)
    with pytest.raises(NoLessons):
        of_batch(
            batch,
            batch.root(),
            signal="approval",
            auditor="judge",
            rate_R=np.ones(batch.rows),
            drawn_R=np.zeros(batch.rows, bool),
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"auditor": "other"},
        {"population": 4},
        {"batch": "0" * 64},
        {"weight_L": np.array([1, 1, 1.5])},
        {"moment_L": np.array([0, 1, 3])},
        {"approval_L": np.array([0, 0.5, 0.9])},
        {"context": {"room": np.array([0, 1, 3])}},
        {"context": {"hall": np.arange(3)}},
        {"context": {"room": np.arange(3).astype(np.int32)}},
        {"span": {"room": np.arange(3)}, "context": {"lever": np.arange(3)}},
    ],
)
def test_the_digest_of_lessons_covers_all_that_they_hold(changes: dict[str, Any]) -> None:
    assert good().digest() == good().digest()
    assert good(**changes).digest() != good().digest()


def test_the_baselines_outcomes_are_lanes_and_need_rewards_and_ends() -> None:
    batch = packed(0)
    found = outcomes_of(batch)
    assert found.reward_NT.shape == found.last_NT.shape == (4, 5)
    assert (found.context["room"].ravel() == batch.columns()["room"]).all()
    with pytest.raises(LessonError, match="a reward column and a note 'last'"):
        outcomes_of(Batch.of({"room": np.zeros(2, np.uint8)}, [CONTEXT], 1))
