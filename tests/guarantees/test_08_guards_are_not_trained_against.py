"""Guarantee 8: guards are not trained against.

A guard's verdict never becomes, selects or weighs a lesson; provenance is transitive; a teacher may
not see thoughts, internals or outcomes. Lifting this takes keys and leaves an event.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bandit
import handmade
from audition.canonical import digest_bytes
from audition.gate import sequential, spec, strictest, threshold
from audition.learn import PROCESS, Boundary, Forbidden, LessonError, Study
from audition.learn.batch import Columns
from audition.learn.live import Harvest, lessons_of
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import AuditRecorded, Column, RestrictionLifted, lifting_note
from audition.step import Evidence, Gate, Lifting, Restriction, Role, Signature, Think, Verdict
from audition.verify import Certificate, certify
from forge import Memory, find, run, trained, write
from handmade import Scribe

KEYS = [PrivateKey(name, name.encode() * 8) for name in ("anna", "bert", "cleo")]
LIFTABLE = PROCESS.model_copy(
    update={"lifting": Lifting(needs=2, keys=tuple(str(one.public) for one in KEYS))}
)
HIDDEN = sorted({Evidence.THOUGHT, Evidence.INTERNALS, Evidence.OUTCOME})


class Other(bandit.Judge):
    """A judge of whom something else is declared."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        for name, value in fields.items():
            setattr(self, name, value)


def taught_by(
    teacher: Any, *, lifted: tuple[RestrictionLifted, ...] = (), declared: Restriction = LIFTABLE
) -> Memory:
    plan = bandit.plan(batches=2)
    study = replace(bandit.study(plan, 0), teacher=teacher)
    return trained(plan, study=study, restrictions=(declared,), lifted=lifted)


def lifting(*keys: PrivateKey, of: str = run(1)) -> RestrictionLifted:
    note = lifting_note(of, "process", "to compare")
    return RestrictionLifted(
        restriction="process",
        reason="to compare",
        signatures=tuple(Signature(key=one.public.id, value=one.sign(note)) for one in keys),
    )


# ---------------------------------------------------------------------- in a simulated world


def test_a_guard_teaches_nobody() -> None:
    with pytest.raises(LessonError, match="judge is a guard: teacher verdicts teach"):
        taught_by(Other(role=Role.GUARD))


@pytest.mark.parametrize("seen", HIDDEN)
def test_whoever_sees_thoughts_internals_or_outcomes_teaches_nobody(seen: Evidence) -> None:
    with pytest.raises(LessonError, match=f"judge sees {seen}, which no teacher may"):
        taught_by(Other(sees=frozenset({Evidence.PROPOSAL, seen})))


def test_a_restriction_that_says_less_allows_no_more() -> None:
    weak = Restriction(name="process", says="Whatever you like.", scope="training")
    with pytest.raises(LessonError, match="is a guard"):
        taught_by(Other(role=Role.GUARD), declared=weak)


def certified(tmp_path: Path, *runs: Memory, thinker: str) -> Certificate:
    return certify(write(tmp_path / "ledger.db", *runs), thinker, find=find)


def test_a_guard_that_is_declared_afterwards_fails_certification(tmp_path: Path) -> None:
    plan = bandit.plan(batches=2)
    runs = [trained(plan, seed, seed + 1) for seed in plan.seeds]
    (card,) = runs[0].body("run.opened").auditors
    runs[0].alter("run.opened", auditors=(card.model_copy(update={"role": Role.GUARD}),))
    found = certified(tmp_path, *runs, thinker=runs[0].thinker)
    assert found.level == "none"
    assert "lessons of judge, a guard" in " ".join(found.recorded.against)


def resting_on(source: Memory, number: int) -> Memory:
    """A run whose teacher judges by weights that another run trained."""

    class Heir(bandit.Judge):
        trained_from = source.thinker

        def restore(self, weights: bytes) -> None:
            assert digest_bytes(weights) == self.trained_from

    plan = bandit.plan(batches=2, name="heir", seeds=(0,))
    study = replace(bandit.study(plan, 0), teacher=Heir())
    return trained(plan, 0, number, study=study, held=[source])


def test_provenance_is_transitive(tmp_path: Path) -> None:
    """Whoever was taught by one that a guard had taught is not certified either."""
    plan = bandit.plan(batches=2, seeds=(0,))
    honest, second = trained(plan, 0, 1), trained(plan, 0, 1)
    (card,) = second.body("run.opened").auditors
    second.alter("run.opened", auditors=(card.model_copy(update={"role": Role.GUARD}),))
    for number, source in enumerate((honest, second)):
        heir = resting_on(source, 2)
        last = resting_on(heir, 3)
        last.alter("run.opened", project="last")
        (tmp_path / str(number)).mkdir()
        found = certified(tmp_path / str(number), source, heir, last, thinker=last.thinker)
        guard = "lessons of judge, a guard" in " ".join(found.recorded.against)
        assert guard is (source is second), found.recorded.against
    alone = certified(tmp_path, resting_on(honest, 2), thinker=resting_on(honest, 2).thinker)
    assert "which this ledger does not hold" in " ".join(alone.recorded.against)


# -------------------------------------------------------------------------------- in live runs


def harvest(tmp_path: Path, gate: Gate, **altered: Any) -> Harvest:
    """Lessons of one live thought, judged by the rules (a guard) and the critic (a teacher)."""
    pen = Scribe(handmade.LIVE, gate=spec(gate))
    pen.open()
    pen.think(Think(prompt="Further."))
    pen.verdict("rules", 0.0)
    pen.verdict("critic", 0.75)
    pen.decide()
    pen.events = [
        (at, AuditRecorded(verdict=Verdict.model_validate(_with(body.verdict, altered))))
        if isinstance(body, AuditRecorded) and body.verdict and body.verdict.auditor == "critic"
        else (at, body)
        for at, body in pen.events
    ]
    with SqlLedger.open(handmade.write(tmp_path / "l.db", pen), create=False) as ledger:
        return lessons_of(ledger)


def _with(verdict: Verdict, altered: Any) -> Any:
    return verdict.model_dump(exclude_none=True) | altered


AT_ONCE = strictest(threshold("rules", reject_at=1), threshold("critic", reject_at=0.8))
BEHIND = sequential(threshold("rules", reject_at=1), threshold("critic", reject_at=0.8))


def test_of_a_guard_and_a_teacher_only_the_teacher_is_learned_from(tmp_path: Path) -> None:
    found = harvest(tmp_path, AT_ONCE)
    assert [(one.auditor, len(one)) for one in found.lessons] == [("critic", 1)]
    assert found.refused == {"by a guard": 2}


def test_a_teacher_that_a_guard_stands_before_is_not_learned_from(tmp_path: Path) -> None:
    """The guard would choose which moments are lessons."""
    found = harvest(tmp_path, BEHIND)
    assert not found.lessons and found.refused["a guard stood before it"] == 1


@pytest.mark.parametrize("seen", HIDDEN)
def test_a_live_verdict_that_saw_what_it_must_not_is_no_lesson(
    tmp_path: Path, seen: Evidence
) -> None:
    found = harvest(tmp_path, AT_ONCE, saw=(seen,))
    assert not found.lessons and found.refused["saw what no teacher may see"] == 1


def test_a_live_teacher_that_was_trained_elsewhere_is_not_learned_from(tmp_path: Path) -> None:
    found = harvest(tmp_path, AT_ONCE, trained_from="ab" * 32)
    assert not found.lessons
    assert found.refused["trained on what this ledger does not hold"] == 1


# ------------------------------------------------------------------------------------ lifting


def test_enough_keys_lift_it_and_leave_an_event_and_no_certificate(tmp_path: Path) -> None:
    pen = taught_by(Other(role=Role.GUARD), lifted=(lifting(*KEYS[:2]),))
    assert pen.body("restriction.lifted").reason == "to compare"
    assert pen.where("restriction.lifted") < pen.where("batch.sealed")
    found = certified(tmp_path, pen, thinker=pen.thinker)
    assert found.level == "none"
    assert "restriction 'process' was lifted" in " ".join(found.recorded.against)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lifting(KEYS[0]), "needs 2 of its keys, 1 signed"),
        (lifting(KEYS[0], KEYS[0]), "needs 2 of its keys, 1 signed"),
        (lifting(*KEYS, of=run(9)), "needs 2 of its keys, 0 signed"),
        (lifting(KEYS[0], PrivateKey("bert", b"x" * 32)), "needs 2 of its keys, 1 signed"),
    ],
)
def test_too_few_keys_or_a_signature_for_another_run_lift_nothing(
    body: RestrictionLifted, why: str
) -> None:
    with pytest.raises(Forbidden, match=why):
        taught_by(bandit.Judge(), lifted=(body,))


def test_what_was_declared_without_keys_cannot_be_lifted() -> None:
    with pytest.raises(Forbidden, match="without keys that lift it"):
        taught_by(bandit.Judge(), lifted=(lifting(*KEYS),), declared=PROCESS)


def test_no_teacher_is_shown_what_the_thinker_carries_over() -> None:
    """A carried state is the thinker's inside: part of the lesson's context, and of no view."""
    shown: list[set[str]] = []

    class Remembering(bandit.Rooms):
        layout = (*bandit.LAYOUT, Column(name="memory", dtype="f4", shape=(2,), part="carried"))

        def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
            rows = super().rollout(learner, rng)
            return {**rows, "memory": rng.normal(size=(len(rows["room"]), 2))}

    class Watched(bandit.Judge):
        def judge(self, shown_: Columns) -> Any:
            shown.append(set(shown_))
            return super().judge(shown_)

    class Kept(bandit.Puller):
        def update(self, lessons: Any, rng: np.random.Generator) -> Any:
            assert lessons.context["memory"].shape == (len(lessons), 2)
            return super().update(lessons, rng)

    plan = bandit.plan()
    made = Study(Remembering(20), Kept(0, Boundary(1)), Watched())
    trained(plan, study=made)
    assert shown and all(one == {"room", "lever"} for one in shown)
