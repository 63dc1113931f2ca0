"""Ways in which a certificate was once had by cheating, or verification brought down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_certificate import siblings

import bandit
import forge
import handmade
import trained as by_hand
from audition.canonical import digest_bytes
from audition.ledger import parse_event
from audition.ledger.events import EventError, RestrictionLifted, RunClosed, lifting_note
from audition.step import AuditorCard, Evidence, Lifting, Role, Signature
from audition.verify import Certificate, certify, verify
from forge import Memory, find, trained, write


def against(path: Path, thinker: str, *, leaves: int = 0) -> str:
    shown = certify(path, thinker, leaves=leaves, find=find)
    assert shown.level == "none" or leaves
    found = [*shown.recorded.against, *(shown.opened.against if shown.opened else ())]
    return "\n".join(found)


# -------------------------------------------------------------------------------- provenance


def test_a_checkpoint_of_an_outcome_run_is_no_clean_base(tmp_path: Path) -> None:
    outcome = trained(
        bandit.plan(name="first", seeds=(0,), signal="outcome", horizon=None, rates={"0": 1.0})
    )
    checkpoint = outcome.body("thinker.updated", 4).after
    kept = forge.Memory(forge.run(8))
    kept.put(_weights(outcome, checkpoint))
    plan = bandit.plan(seeds=(5,), base=checkpoint)
    second = trained(plan, 5, 9, held=[kept])
    path = write(tmp_path / "l.db", outcome, _kept(second, kept))
    said = against(path, second.thinker)
    assert "is a checkpoint of run" in said and "learned from outcomes" in said


def test_weights_that_two_runs_made_are_held_to_both(tmp_path: Path) -> None:
    """Behind a run that changes nothing stands the one that made them."""
    outcome = trained(
        bandit.plan(name="first", seeds=(0,), signal="outcome", horizon=None, rates={"0": 1.0})
    )
    plan = bandit.plan(seeds=(5,), base=outcome.thinker)
    still = replace(bandit.study(plan, 5), learner=_Still(5, bandit.Boundary(1)))
    decoy = trained(plan, 5, 9, study=still, held=[outcome])
    assert decoy.thinker == outcome.thinker
    path = write(tmp_path / "l.db", outcome, decoy)
    assert "learned from outcomes" in against(path, decoy.thinker)


def test_an_undeclared_base_that_this_ledger_trained_is_found(tmp_path: Path) -> None:
    first = trained(bandit.plan(name="first", seeds=(0,)))
    plan = bandit.plan(seeds=(5,))
    made = bandit.study(plan, 5)
    made.learner.restore(_weights(first, first.thinker))
    second = trained(plan, 5, 9, study=made)
    path = write(tmp_path / "l.db", first, second)
    assert "declares no base" in against(path, second.thinker)


def test_a_teacher_trained_from_its_own_pupil_is_found(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,)))[0]
    card = pen.body("run.opened").auditors[0].model_copy(update={"trained_from": pen.thinker})
    pen.alter("run.opened", auditors=(card,))
    assert "had not ended" in against(write(tmp_path / "l.db", pen), pen.thinker)


def test_a_verdict_by_other_weights_than_declared_is_found(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,), teacher={"person": True}))[0]
    verdict = pen.body("audit.recorded").verdict
    pen.alter("audit.recorded", verdict=verdict.model_copy(update={"trained_from": pen.thinker}))
    said = against(write(tmp_path / "l.db", pen), pen.thinker)
    assert "other weights than it declared" in said


# -------------------------------------------------------------------------------- retries, choices


@pytest.mark.parametrize("end", ["left open", "failed"])
def test_a_seed_begun_twice_is_found_however_the_other_run_ended(tmp_path: Path, end: str) -> None:
    plan = bandit.plan()
    runs = siblings(plan)
    other = trained(plan, 0, 7)
    other.events.pop()
    if end == "failed":
        other.log(RunClosed(status="failed", secret=forge.SECRET))
    path = write(tmp_path / "l.db", other, *runs)
    assert "seed 0 was trained 2 times" in against(path, runs[0].thinker)


def test_a_plan_in_another_spelling_is_none(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,)))[0]
    training = pen.body("run.opened").training
    data = next(data for data, _ in pen.contents if digest_bytes(data) == training.plan)
    spaced = pen.put(data.replace(b'{"', b'{ "', 1))
    pen.alter("run.opened", training=training.model_copy(update={"plan": spaced}))
    assert "none that this version writes" in against(write(tmp_path / "l.db", pen), pen.thinker)


# -------------------------------------------------------------------------------- who taught


def test_a_guard_that_answers_in_a_teacher_s_place_is_found(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,), teacher={"person": True}))[0]
    opened = pen.body("run.opened")
    guard = AuditorCard(name="watch", role=Role.GUARD, sees=(Evidence.OUTCOME,))
    pen.alter("run.opened", auditors=(*opened.auditors, guard))
    for number in range(sum(body.kind == "audit.recorded" for _, body in pen.events)):
        verdict = pen.body("audit.recorded", number).verdict
        changed = verdict.model_copy(
            update={"auditor": "watch", "role": Role.GUARD, "saw": (Evidence.OUTCOME,)}
        )
        pen.alter("audit.recorded", number, verdict=changed)
    said = against(write(tmp_path / "l.db", pen), pen.thinker)
    assert "watch judged them, not judge" in said and "2 auditors were declared" in said


def test_a_machine_s_answers_do_not_come_as_a_person_s(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,), teacher={"person": True}))[0]
    card = pen.body("run.opened").auditors[0].model_copy(update={"person": False})
    pen.alter("run.opened", auditors=(card,))
    said = against(write(tmp_path / "l.db", pen), pen.thinker)
    assert "a person answers by verdicts of their own" in said


def test_columns_are_what_the_study_has_them_be(tmp_path: Path) -> None:
    class Relabelled(bandit.Rooms):
        layout = tuple(
            one.model_copy(update={"part": "context"}) if one.name == "prize" else one
            for one in bandit.LAYOUT
        )

    class Lenient(bandit.Judge):
        def judge(self, shown: Any) -> Any:
            return super().judge({name: shown[name] for name in ("room", "lever")})

    plan = bandit.plan(seeds=(0,))
    study = replace(bandit.study(plan, 0), world=Relabelled(20), teacher=Lenient())
    pen = trained(plan, study=study)
    said = against(write(tmp_path / "l.db", pen), pen.thinker, leaves=5)
    assert "column 'prize' is not as its study has it" in said


# -------------------------------------------------------------------------------- honest runs


def test_a_restriction_lifted_by_its_keys_is_no_finding(tmp_path: Path) -> None:
    """A wider horizon: the ledger verifies, and the certificate says that it was lifted."""
    keys = Lifting(needs=1, keys=(str(handmade.KEY.public),))
    process = by_hand.PROCESS.model_copy(update={"lifting": keys})
    plan = bandit.plan(seeds=(0,), horizon=5)
    note = lifting_note(forge.run(1), "process", "to compare")
    lifted = RestrictionLifted(
        restriction="process",
        reason="to compare",
        signatures=(Signature(key=handmade.KEY.public.id, value=handmade.KEY.sign(note)),),
    )
    pen = trained(plan, restrictions=(process,), lifted=(lifted,))
    path = write(tmp_path / "l.db", pen)
    assert verify(path, [handmade.KEY.public]).ok
    shown: Certificate = certify(path, pen.thinker, again=True, find=find)
    assert shown.level == "none" and shown.restrictions[0].lifted
    assert shown.replayed is not None and shown.replayed.holds


def test_a_person_may_answer_minus_nothing(tmp_path: Path) -> None:
    class Negative(bandit.Judge):
        def judge(self, shown: Any) -> Any:
            return -1.0 * (1 - super().judge(shown)) * 0.0

    plan = bandit.plan(seeds=(0,), teacher={"person": True})
    pen = trained(plan, study=replace(bandit.study(plan, 0), teacher=Negative(person=True)))
    assert certify(write(tmp_path / "l.db", pen), pen.thinker, find=find).level == "recorded"


# -------------------------------------------------------------------------------- hostile ledgers


def test_a_number_that_can_be_read_and_not_written_is_no_event() -> None:
    data = handmade.live_run().events[0][1]
    event = b'{"at":"~i:%s","body":{},"kind":"run.resumed","run":"%s","seq":0}' % (
        b"9" * 4300,
        b"0" * 32,
    )
    assert data.kind == "run.opened"
    with pytest.raises(EventError):
        parse_event(event)


def test_a_draw_in_two_dimensions_is_a_finding(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,)))[0]
    sealed = pen.body("batch.sealed")
    columns = tuple(
        one.model_copy(update={"shape": (1,)}) if one.part == "drawn" else one
        for one in sealed.columns
    )
    pen.alter("batch.sealed", columns=columns)
    said = against(write(tmp_path / "l.db", pen), pen.thinker)
    assert "one drawn a row" in said


def test_stated_rows_without_end_open_nothing(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,)))[0]
    for number in range(6):
        pen.alter("batch.sealed", number, rows=2**53 - 1, leaf=1)
    shown = certify(write(tmp_path / "l.db", pen), pen.thinker, leaves=5, find=find)
    assert shown.level == "none" and shown.opened is not None and not shown.opened.holds


def test_a_study_that_crashes_opens_nothing(tmp_path: Path) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("no such thing")

    pen = siblings(bandit.plan(seeds=(0,)))[0]
    path = write(tmp_path / "l.db", pen)
    shown = certify(path, pen.thinker, leaves=5, again=True, find=broken)
    assert shown.level == "recorded"
    assert shown.opened is not None and "the study failed: KeyError" in shown.opened.against[0]


def test_a_plan_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    pen = siblings(bandit.plan(seeds=(0,), world={"lanes": 20, "more": "x" * 100_000}))[0]
    assert "the plan is longer than" in against(write(tmp_path / "l.db", pen), pen.thinker)


class _Still(bandit.Puller):
    """Learns nothing."""

    def update(self, lessons: Any, rng: np.random.Generator) -> Any:
        return {}


def _weights(pen: Memory, digest: str) -> bytes:
    """Weights by their digest; those of a checkpoint by training again up to it."""
    for data, _ in pen.contents:
        if digest_bytes(data) == digest:
            return data
    plan = bandit.plan(
        name="first", seeds=(0,), signal="outcome", horizon=None, rates={"0": 1.0}, batches=5
    )
    shorter = trained(plan)
    return next(data for data, _ in shorter.contents if digest_bytes(data) == digest)


def _kept(pen: Memory, other: Memory) -> Memory:
    pen.contents += other.contents
    return pen
