"""Comparison lessons: a teacher's ranking of the candidates that were sealed before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handmade
from audition.gate import sampled, sequential, spec, strictest, threshold
from audition.learn import Lessons
from audition.learn.live import Harvest, lessons_of
from audition.ledger import SqlLedger
from audition.ledger.events import CandidatesSealed
from audition.step import Limits, Restriction, Think, digest_of
from handmade import JUDGES, OTHERS, Scribe, first

AT_ONCE = strictest(threshold("rules", reject_at=1), threshold("judge", reject_at=1))
SEALED = "candidates.sealed"


def harvest(tmp_path: Path, *pens: Scribe) -> Harvest:
    path = handmade.write(tmp_path / "l.db", *pens)
    with SqlLedger.open(path, create=False) as ledger:
        return lessons_of(ledger)


def ranked(
    *rankings: tuple[int, ...], gate: Any = AT_ONCE, rated: bool = False, **fields: Any
) -> Scribe:
    """A live run of steps that nobody performs, each with the judge's word on its candidates.

    Rated, that of rank r is given 1 / (r + 1).
    """
    pen = Scribe(handmade.LIVE, gate=spec(gate), **{"cards": JUDGES, "others": OTHERS} | fields)
    pen.open()
    for number, ranking in enumerate(rankings):
        pen.think(Think(prompt=f"Further, {number}."))
        pen.verdict("rules", 0.0)
        if pen.lot.drawn:
            if rated:
                each = tuple(1 / (ranking.index(one) + 1) for one in range(len(ranking)))
                pen.verdict("judge", each[0], approvals=each)
            else:
                pen.verdict("judge", None, ranking=ranking)
        pen.decide()
        pen.enters("reject" if pen.lot.drawn else "proceed")
    return pen


def only(found: Harvest) -> Lessons:
    (lessons,) = found.lessons
    return lessons


def test_a_teacher_s_ranking_is_a_lesson_about_what_was_sealed(tmp_path: Path) -> None:
    pen = ranked((2, 0, 1), (0, 1, 2))
    lessons = only(harvest(tmp_path, pen))
    assert (lessons.signal, lessons.auditor, lessons.population) == ("comparison", "judge", 2)
    assert lessons.ranking_LK is not None and lessons.ranking_LK.tolist() == [[2, 0, 1], [0, 1, 2]]
    others = [digest_of(one) for one in OTHERS if not isinstance(one, str)]
    candidates = lessons.candidates["proposal"].tolist()
    assert [row[1:] for row in candidates] == [others, others]
    assert [row[0] for row in candidates] == lessons.span["proposal"].tolist()
    assert lessons.approval_L is None


def test_approvals_of_each_candidate_are_a_lesson_about_what_was_sealed(tmp_path: Path) -> None:
    lessons = only(harvest(tmp_path, ranked((2, 0, 1), (0, 1, 2), rated=True)))
    assert (lessons.signal, lessons.population) == ("approval", 2)
    assert lessons.approvals_LK is not None and lessons.approval_L is not None
    assert np.allclose(lessons.approvals_LK, [[1 / 2, 1 / 3, 1], [1, 1 / 2, 1 / 3]])
    assert lessons.approval_L.tolist() == lessons.approvals_LK[:, 0].tolist()
    assert lessons.candidates["proposal"].shape == lessons.candidates["exchanges"].shape == (2, 3)


def test_sets_of_different_sizes_are_lessons_apart(tmp_path: Path) -> None:
    pen = ranked((2, 0, 1), (1, 0))
    spot = first(pen.events, SEALED, 1)
    at, body = pen.events[spot]
    assert isinstance(body, CandidatesSealed)
    pen.events[spot] = (at, body.model_copy(update={"candidates": body.candidates[:1]}))
    found = harvest(tmp_path, pen)
    assert sorted(len(one.candidates["proposal"][0]) for one in found.lessons) == [2, 3]
    assert {one.population for one in found.lessons} == {2}


def test_drawn_comparisons_weigh_the_inverse_of_their_rate(tmp_path: Path) -> None:
    lottery = strictest(
        threshold("rules", reject_at=1),
        sampled(0.8, threshold("judge", reject_at=1), undrawn="proceed"),
    )
    lessons = only(harvest(tmp_path, ranked(*[(0, 1, 2)] * 6, gate=lottery)))
    assert np.allclose(lessons.weight_L, 1.25) and len(lessons) < lessons.population == 6


def moved_behind(pen: Scribe) -> Scribe:
    """The candidates sealed after the ranking."""
    spot = first(pen.events, SEALED)
    pen.events.insert(spot + 3, pen.events.pop(spot))
    return pen


def behind_another_answer(pen: Scribe) -> Scribe:
    spot = first(pen.events, SEALED)
    pen.events.insert(spot + 1, pen.events.pop(spot))
    return pen


def of_another_moment(pen: Scribe) -> Scribe:
    spot = first(pen.events, SEALED)
    at, body = pen.events[spot]
    pen.events[spot] = (at, body.model_copy(update={"moment": "e" * 64}))
    return pen


def fewer(pen: Scribe) -> Scribe:
    spot = first(pen.events, SEALED)
    at, body = pen.events[spot]
    pen.events[spot] = (at, body.model_copy(update={"candidates": body.candidates[:1]}))  # type: ignore[attr-defined]
    return pen


def unsealed(pen: Scribe) -> Scribe:
    del pen.events[first(pen.events, SEALED)]
    return pen


UNSEALED = "its candidates were not sealed before it"


@pytest.mark.parametrize("rated", [False, True])
@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (moved_behind, UNSEALED),
        (behind_another_answer, UNSEALED),
        (of_another_moment, UNSEALED),
        (unsealed, UNSEALED),
        (fewer, "of another moment"),
    ],
)
def test_what_is_said_of_what_was_not_sealed_before_it_is_none(
    tmp_path: Path, forged: Any, reason: str, rated: bool
) -> None:
    found = harvest(tmp_path, forged(ranked((2, 0, 1), rated=rated)))
    assert not found.lessons and found.refused[reason] == 1


def test_candidates_that_are_sealed_twice_stay_the_first(tmp_path: Path) -> None:
    pen = ranked((2, 0, 1))
    spot = first(pen.events, SEALED)
    at, body = pen.events[spot]
    assert isinstance(body, CandidatesSealed)
    twisted = body.model_copy(update={"candidates": body.candidates[::-1]})
    pen.events.insert(spot + 1, (at, twisted))
    (row,) = only(harvest(tmp_path, pen)).candidates["proposal"].tolist()
    assert row[1:] == [one.proposal for one in body.candidates]


def test_what_stands_alone_is_compared_with_nothing(tmp_path: Path) -> None:
    pen = ranked((0,))
    spot = first(pen.events, SEALED)
    at, body = pen.events[spot]
    pen.events[spot] = (at, body.model_copy(update={"candidates": ()}))
    found = harvest(tmp_path, pen)
    assert not found.lessons and found.refused["it compares nothing"] == 1


def test_a_judge_behind_a_guard_teaches_no_comparison(tmp_path: Path) -> None:
    behind = sequential(threshold("rules", reject_at=1), threshold("judge", reject_at=1))
    found = harvest(tmp_path, ranked((2, 0, 1), gate=behind))
    assert not found.lessons and found.refused["a guard stood before it"] == 1


def test_a_restriction_to_approvals_forbids_comparisons(tmp_path: Path) -> None:
    approvals = Restriction(
        name="approvals", says="Approvals.", scope="training", limits=Limits(signals=("approval",))
    )
    found = harvest(tmp_path, ranked((2, 0, 1), restrictions=(approvals,)))
    assert not found.lessons and found.refused["forbidden by a restriction"] == 1
