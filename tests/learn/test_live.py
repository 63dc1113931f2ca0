"""Lessons from live runs and records: what may be learned from, and why the rest may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handmade
from audition.gate import person, sampled, sequential, spec, strictest, threshold
from audition.learn import LessonError, Lessons
from audition.learn.live import Harvest, lessons_of
from audition.ledger import SqlLedger
from audition.ledger.events import AuditRecorded
from audition.step import (
    Evidence,
    Failure,
    Finish,
    Gate,
    Limits,
    Restriction,
    Role,
    Think,
    Verdict,
)
from handmade import Scribe, shell

AT_ONCE = strictest(threshold("rules", reject_at=1), threshold("critic", reject_at=0.8))
LOTTERY = strictest(
    threshold("rules", reject_at=1),
    sampled(0.8, threshold("critic", reject_at=0.8), undrawn="proceed"),
)


def harvest(tmp_path: Path, *pens: Scribe, runs: Any = None) -> Harvest:
    path = handmade.write(tmp_path / "l.db", *pens)
    with SqlLedger.open(path, create=False) as ledger:
        return lessons_of(ledger, runs)


def judged(gate: Gate, *scores: float, run: str = handmade.LIVE, **fields: Any) -> Scribe:
    """A live run of thoughts, each with its approval by the critic, none suspected by the rules."""
    pen = Scribe(run, gate=spec(gate), **fields)
    pen.open()
    for score in scores:
        pen.think(Think(prompt="Further."))
        pen.verdict("rules", 0.0)
        pen.verdict("critic", score)
        pen.decide()
        pen.enters("proceed")
    return pen


def only(found: Harvest, signal: str = "approval") -> Lessons:
    (lessons,) = [one for one in found.lessons if one.signal == signal]
    return lessons


def test_a_teacher_s_approvals_are_lessons(tmp_path: Path) -> None:
    found = harvest(tmp_path, judged(AT_ONCE, 0.9, 0.25))
    lessons = only(found)
    assert lessons.auditor == "critic" and lessons.approval_L is not None
    assert lessons.approval_L.tolist() == [0.9, 0.25] and lessons.weight_L.tolist() == [1, 1]
    assert found.moments == 2 == lessons.population


def test_no_guard_s_verdict_is_a_lesson(tmp_path: Path) -> None:
    found = harvest(tmp_path, judged(AT_ONCE, 0.9))
    assert {lessons.auditor for lessons in found.lessons} == {"critic"}
    assert found.refused["by a guard"] == 2


def test_a_teacher_behind_a_guard_is_not_learned_from(tmp_path: Path) -> None:
    behind = sequential(threshold("rules", reject_at=1), threshold("critic", reject_at=0.8))
    found = harvest(tmp_path, judged(behind, 0.9))
    assert not found.lessons and found.refused["a guard stood before it"] == 1


def test_a_person_whom_nobody_waits_for_once_a_guard_said_no_is_not_learned_from(
    tmp_path: Path,
) -> None:
    gate = strictest(threshold("rules", reject_at=1), person("ada"))
    pen = Scribe(handmade.LIVE, gate=spec(gate))
    pen.open()
    pen.think(Think(prompt="Further."))
    for name, score in (("rules", 0.0), ("ada", 1.0)):
        pen.verdict(name, score)
    pen.decide()
    found = harvest(tmp_path, pen)
    assert not found.lessons and found.refused["a guard stood before it"] == 1


def test_whom_an_escalation_asks_is_learned_from_unless_a_guard_escalates(tmp_path: Path) -> None:
    def escalated(by: str) -> Gate:
        return threshold(by, reject_at=1, escalate_at=0.5, to="ada", within=60)

    for by, learned in (("critic", True), ("rules", False)):
        pen = Scribe(handmade.LIVE, gate=spec(escalated(by)))
        pen.open()
        pen.think(Think(prompt="Further."))
        pen.verdict(by, 0.4 if by == "critic" else 0.6)
        pen.verdict("ada", 1.0)
        (tmp_path / by).mkdir()
        found = harvest(tmp_path / by, pen)
        assert ("ada" in {lessons.auditor for lessons in found.lessons}) is learned


def test_drawn_moments_weigh_the_inverse_of_their_rate(tmp_path: Path) -> None:
    pen = Scribe(handmade.LIVE, gate=spec(LOTTERY))
    pen.open()
    for _ in range(6):
        pen.think(Think(prompt="Further."))
        pen.verdict("rules", 0.0)
        if handmade.draw(handmade.SECRET, pen.run, pen.turn, 0.8).drawn:
            pen.verdict("critic", 1.0)
        pen.decide()
        pen.enters("proceed")
    lessons = only(harvest(tmp_path, pen))
    assert np.allclose(lessons.weight_L, 1.25) and len(lessons) < lessons.population == 6


def altered(pen: Scribe, change: Callable[[Verdict], AuditRecorded]) -> Scribe:
    """The run with its critic's verdicts changed."""
    pen.events = [
        (at, change(body.verdict))
        if isinstance(body, AuditRecorded)
        and body.verdict is not None
        and body.verdict.auditor == "critic"
        else (at, body)
        for at, body in pen.events
    ]
    return pen


def verdict(**changes: Any) -> Callable[[Verdict], AuditRecorded]:
    return lambda one: AuditRecorded(
        verdict=Verdict.model_validate(
            {**one.model_dump(exclude_none=True), **changes}
            if "score" not in changes or changes["score"] is not None
            else {k: v for k, v in (one.model_dump(exclude_none=True) | changes).items() if v}
        )
    )


def test_each_reason_is_given(tmp_path: Path) -> None:
    elsewhere = "ab" * 32
    cases: dict[str, Scribe] = {
        "of another moment": altered(judged(AT_ONCE, 0.9), verdict(moment=elsewhere)),
        "not declared": altered(judged(AT_ONCE, 0.9), verdict(auditor="stranger")),
        "saw what no teacher may see": altered(
            judged(AT_ONCE, 0.9), verdict(saw=(Evidence.OUTCOME,))
        ),
        "trained on what this ledger does not hold": altered(
            judged(AT_ONCE, 0.9), verdict(trained_from=elsewhere)
        ),
        "the teacher abstained": altered(
            judged(AT_ONCE, 0.9), verdict(score=None, abstains="undecided")
        ),
        "forbidden by a restriction": judged(AT_ONCE, 0.9, restrictions=(IMITATION,)),
        "the infrastructure failed": altered(judged(AT_ONCE, 0.9), failed("infrastructure")),
    }
    for number, (reason, pen) in enumerate(cases.items()):
        (tmp_path / str(number)).mkdir()
        found = harvest(tmp_path / str(number), pen)
        assert not found.lessons, reason
        assert found.refused[reason] == 1, (reason, found.refused)
        assert any(one.reason == reason and one.turn in (0, 1) for one in found.refusals)


IMITATION = Restriction(
    name="imitation",
    says="Imitate people, and nothing else.",
    scope="training",
    limits=Limits(signals=("demonstration",)),
)


def failed(cause: Any) -> Callable[[Verdict], AuditRecorded]:
    return lambda one: AuditRecorded(
        failure=Failure(auditor="critic", moment=one.moment, kind="crashed", cause=cause)
    )


def test_a_moment_that_makes_its_teacher_fail_earns_the_lowest_approval(tmp_path: Path) -> None:
    lessons = only(harvest(tmp_path, altered(judged(AT_ONCE, 0.9), failed("moment"))))
    assert lessons.approval_L is not None and lessons.approval_L.tolist() == [0.0]


def test_a_verdict_after_the_act_is_no_lesson(tmp_path: Path) -> None:
    pen = Scribe(
        handmade.RECORD, gate={}, cards=handmade.CARDS[1:2], restrictions=(), mode="record"
    )
    pen.open()
    pen.think(shell("ls"), thought=None)
    handmade._recorded(pen, "a b c")
    pen.verdict("critic", 1.0)
    found = harvest(tmp_path, pen)
    assert not found.lessons and found.refused["after the act"] == 1


def test_a_reviewed_record_teaches_what_was_said_before_its_outcome(tmp_path: Path) -> None:
    pen = Scribe(
        handmade.RECORD, gate={}, cards=handmade.CARDS[1:2], restrictions=(), mode="record"
    )
    pen.open()
    pen.think(shell("ls"), thought=None)
    pen.verdict("critic", 0.5)
    handmade._recorded(pen, "a b c")
    lessons = only(harvest(tmp_path, pen))
    assert lessons.span["proposal"].tolist() == [pen.named]


def test_what_came_of_a_step_moves_no_lesson_of_it(tmp_path: Path) -> None:
    """The same record with other outcomes: every lesson is the same to the bit."""
    digests = set[str]()
    for number, output in enumerate(("a b c", "nothing", None)):
        pen = Scribe(
            handmade.RECORD, gate={}, cards=handmade.CARDS[1:2], restrictions=(), mode="record"
        )
        pen.open()
        pen.think(shell("ls"), thought=None)
        pen.verdict("critic", 0.5)
        handmade._recorded(pen, output)
        (tmp_path / str(number)).mkdir()
        digests.add(only(harvest(tmp_path / str(number), pen)).digest())
    assert len(digests) == 1


def demonstrated(gate: Gate, suspicion: float) -> Scribe:
    pen = Scribe(handmade.LIVE, gate=spec(gate))
    pen.open()
    pen.think(Think(prompt="Further."))
    if suspicion >= 0:
        pen.verdict("rules", suspicion)
    pen.verdict("ada", 0.0, Finish(answer="Enough."))
    pen.decide()
    return pen


def test_a_person_s_replacement_is_a_demonstration(tmp_path: Path) -> None:
    found = harvest(tmp_path, demonstrated(person("ada"), -1))
    lessons = only(found, "demonstration")
    assert lessons.auditor == "ada" and len(lessons) == 1


def test_a_replacement_that_a_guard_prompted_is_none(tmp_path: Path) -> None:
    gate = sequential(threshold("rules", reject_at=1, escalate_at=0.5, to="ada", within=60))
    found = harvest(tmp_path, demonstrated(gate, 0.6))
    assert not found.lessons and found.refused["a guard prompted it"] == 1


def test_runs_are_not_picked(tmp_path: Path) -> None:
    other = judged(AT_ONCE, 0.1, run="00" * 15 + "a2")
    first = judged(AT_ONCE, 0.9)
    with pytest.raises(LessonError, match="1 of 2 runs of project 'handmade' were picked"):
        harvest(tmp_path, first, other, runs=[first.run])
    with pytest.raises(LessonError, match="no live run or record"):
        harvest(tmp_path, runs=["ff" * 16])


def test_a_ledger_without_audits_teaches_nothing(tmp_path: Path) -> None:
    SqlLedger.open(tmp_path / "l.db").close()
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        found = lessons_of(ledger)
    assert not found.lessons and not found.refused and found.runs == 0


def test_a_guard_declared_a_teacher_in_its_verdict_stays_a_guard(tmp_path: Path) -> None:
    pen = judged(AT_ONCE, 0.9)
    pen.events = [
        (
            at,
            body.model_copy(
                update={"verdict": body.verdict.model_copy(update={"role": Role.TEACHER})}
            ),
        )
        if isinstance(body, AuditRecorded) and body.verdict and body.verdict.auditor == "rules"
        else (at, body)
        for at, body in pen.events
    ]
    found = harvest(tmp_path, pen)
    assert {lessons.auditor for lessons in found.lessons} == {"critic"}
