"""Guarantee 6: one source of signal.

Lessons come from teachers' verdicts and demonstrations recorded before the act. Outcomes, later
steps and rewards never enter, nor decide which lessons are taken, their weight, or which seed goes
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

import bandit
import handmade
from audition.canonical import digest_bytes
from audition.learn import (
    PROCESS,
    Batch,
    Boundary,
    Forbidden,
    LessonError,
    Lessons,
    Outcomes,
    PlanError,
    follow,
)
from audition.learn.live import lessons_of
from audition.ledger import SqlLedger
from audition.ledger.events import ThinkerChosen
from audition.step import Limits, Restriction
from audition.verify import Certificate, certify
from forge import SECRET, Memory, find, trained, write
from handmade import Scribe, shell


class Richer(bandit.Rooms):
    """The same world, in which other things come of the same steps."""

    def rollout(self, learner: Any, rng: np.random.Generator) -> Any:
        rows = super().rollout(learner, rng)
        return rows | {"prize": 100 - 7 * rows["prize"], "last": 1 - rows["last"]}


def made(pen: Memory, number: int = 0) -> Batch:
    sealed = pen.body("batch.sealed", number)
    (data,) = [data for data, _ in pen.contents if digest_bytes(data) == sealed.data]
    return Batch.read(sealed, data)


def certified(tmp_path: Path, *runs: Memory) -> Certificate:
    tmp_path.mkdir(exist_ok=True)
    path = write(tmp_path / "ledger.db", *runs)
    return certify(path, runs[0].thinker, leaves=20, again=True, find=find)


# --------------------------------------------------------------------------- what a lesson holds


def test_other_rewards_give_the_same_lessons_and_the_same_weights() -> None:
    plan = bandit.plan()
    plain = trained(plan)
    richer = trained(plan, study=replace(bandit.study(plan, 0), world=Richer(20)))
    for number in range(plan.batches):
        ours, theirs = (pen.body("lesson.taken", number) for pen in (plain, richer))
        assert plain.body("batch.sealed", number).root != richer.body("batch.sealed", number).root
        assert (ours.taken, ours.population) == (theirs.taken, theirs.population)
    assert plain.thinker == richer.thinker


class Looking(bandit.Puller):
    """Notes what it is handed."""

    handed: Lessons

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        assert isinstance(lessons, Lessons)
        self.handed = lessons
        return super().update(lessons, rng)


def test_a_learner_is_handed_context_span_approval_and_weight_and_nothing_else() -> None:
    plan = bandit.plan(batches=1)
    looking = Looking(0, Boundary())
    trained(plan, study=replace(bandit.study(plan, 0), learner=looking))
    assert looking.handed.arrays().keys() == {
        "context.room",
        "span.lever",
        "approval",
        "weight",
        "moment",
    }


class Nosy(bandit.Judge):
    """Notes what it is shown."""

    shown: set[str]

    def judge(self, shown: Any) -> Any:
        self.shown = set(shown)
        return super().judge({name: shown[name] for name in ("room", "lever")})


def test_a_teacher_is_shown_no_reward_and_nothing_that_came_of_the_step() -> None:
    plan, nosy = bandit.plan(batches=1), Nosy()
    trained(plan, study=replace(bandit.study(plan, 0), teacher=nosy))
    assert nosy.shown == {"room", "lever"}


# ----------------------------------------------------------------------------- which are taken


def test_every_drawn_step_is_a_lesson_whatever_its_approval() -> None:
    pen = trained(bandit.plan(batches=2))
    for number in range(2):
        columns = made(pen, number).columns()
        drawn_R, taken = columns["drawn"].astype(bool), pen.body("lesson.taken", number)
        assert taken.taken == taken.admissible == drawn_R.sum() and not taken.refused
        assert {0.0, 1.0} <= set(columns["approval"][drawn_R].tolist())


def test_a_lesson_weighs_the_inverse_of_its_strata_s_rate_and_nothing_else() -> None:
    plan = bandit.plan(batches=1)
    looking = Looking(0, Boundary())
    pen = trained(plan, study=replace(bandit.study(plan, 0), learner=looking))
    stage = made(pen).columns()["stage"][looking.handed.moment_L]
    assert looking.handed.weight_L.tolist() == np.where(stage == 0, 1.0, 2.0).tolist()
    assert looking.handed.population == 100


def test_a_batch_is_durable_before_anything_is_learned_from_it() -> None:
    durable: list[int] = []

    class Pen(Memory):
        async def commit(self) -> None:
            durable.append(len(self.events))

    class Waiting(bandit.Puller):
        def update(
            self, lessons: Lessons | Outcomes, rng: np.random.Generator
        ) -> Mapping[str, float]:
            sealed = pen.where("batch.sealed", len(updates))
            assert durable and durable[-1] > sealed, "learned from what was not durable"
            updates.append(sealed)
            return super().update(lessons, rng)

    updates: list[int] = []
    plan, pen = bandit.plan(batches=3), Pen("1" * 32)
    study = replace(bandit.study(plan, 0), learner=Waiting(0, Boundary()))
    anyio.run(follow, plan, pen, study, 0, (PROCESS,), SECRET)
    assert len(updates) == 3


def test_a_live_verdict_after_the_act_teaches_nothing(tmp_path: Path) -> None:
    def record(late: bool) -> Any:
        pen = Scribe(
            handmade.RECORD, gate={}, cards=handmade.CARDS[1:2], restrictions=(), mode="record"
        )
        pen.open()
        pen.think(shell("ls"), thought=None)
        for turn in ("outcome", "verdict") if late else ("verdict", "outcome"):
            if turn == "verdict":
                pen.verdict("critic", 1.0)
            else:
                handmade._recorded(pen, "a b c")
        (tmp_path / str(late)).mkdir()
        path = handmade.write(tmp_path / str(late) / "l.db", pen)
        with SqlLedger.open(path, create=False) as ledger:
            return lessons_of(ledger)

    assert len(record(late=False).lessons) == 1
    late = record(late=True)
    assert not late.lessons and late.refused["after the act"] == 1


def test_some_runs_of_a_project_cannot_be_picked(tmp_path: Path) -> None:
    pens = [Scribe(name, gate={}) for name in ("00" * 15 + "a1", "00" * 15 + "a2")]
    for pen in pens:
        pen.open()
    with (
        SqlLedger.open(handmade.write(tmp_path / "l.db", *pens), create=False) as ledger,
        pytest.raises(LessonError, match="chosen by outcome"),
    ):
        lessons_of(ledger, [pens[0].run])


# ------------------------------------------------------------------------- which seed goes on


def test_a_seed_that_was_not_declared_is_not_trained() -> None:
    with pytest.raises(PlanError, match="seed 2 is none of the plan's"):
        trained(bandit.plan(seeds=(0, 1)), 2)


def test_a_missing_sibling_fails_certification(tmp_path: Path) -> None:
    plan = bandit.plan(batches=2)
    runs = [trained(plan, seed, seed + 1) for seed in plan.seeds]
    assert certified(tmp_path, *runs).level == "replayed"
    alone = certified(tmp_path / "alone", runs[0])
    assert alone.level == "none"
    assert "seed 1 was declared and is missing" in " ".join(alone.recorded.against)


def test_a_thinker_that_was_chosen_by_outcome_is_not_certified(tmp_path: Path) -> None:
    plan = bandit.plan(batches=2)
    runs = [trained(plan, seed, seed + 1) for seed in plan.seeds]
    both = tuple(pen.thinker for pen in runs)
    chosen = ThinkerChosen(among=both, chosen=both[0], by="outcome")
    at = runs[1].events[-1][0]
    runs[1].events.insert(-1, (at, chosen))
    found = certified(tmp_path, *runs)
    assert found.level == "none"
    assert "chosen by outcome" in " ".join(found.recorded.against)


def test_what_learned_from_outcomes_can_never_be_certified(tmp_path: Path) -> None:
    plan = bandit.plan(batches=2, signal="outcome", horizon=None, rates={"0": 1.0})
    runs = [trained(plan, seed, seed + 1) for seed in plan.seeds]
    found = certified(tmp_path, *runs)
    assert found.level == "none"
    assert "can never be certified" in " ".join(found.recorded.against)


def test_some_lessons_of_a_batch_left_out_fail_certification(tmp_path: Path) -> None:
    plan = bandit.plan(batches=2)
    runs = [trained(plan, seed, seed + 1) for seed in plan.seeds]
    runs[0].alter("lesson.taken", taken=runs[0].body("lesson.taken").taken - 1)
    found = certified(tmp_path, *runs)
    assert found.level == "none"
    assert "chosen, not drawn" in " ".join(found.recorded.against)


def test_a_signal_that_a_restriction_forbids_is_not_learned_from() -> None:
    only = Restriction(
        name="imitation",
        says="Imitate people, and nothing else.",
        scope="training",
        limits=Limits(signals=("demonstration",)),
    )
    with pytest.raises(Forbidden, match="learning by approval is forbidden"):
        trained(bandit.plan(), restrictions=(only,))
