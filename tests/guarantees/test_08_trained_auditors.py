"""Guarantee 8 of auditors that were themselves trained: provenance is transitive, and looked up.

A trained teacher is learned from where this ledger holds how it was trained, from lessons alone,
and nowhere else. What a guard's labels made is a guard, whatever anyone declares of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

import bandit
import handmade
from audition.audit import Shown
from audition.learn import GUARDED, PROCESS, LessonError, Study, train
from audition.learn.auditors import base_of, plan_of, study_of, train_auditor
from audition.learn.live import lessons_of
from audition.learn.training import Trained
from audition.learn.verdicts import Verdicts, verdicts_of
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import RestrictionLifted, lifting_note
from audition.step import Digest, Evidence, Lifting, Restriction, Role, Signature
from audition.verify import certify, verify
from forge import find
from models import _one_thread
from verdicts import FITTING, critic, judged_runs, language_model

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)
QUICK = FITTING.model_copy(update={"epochs": 1, "shown": Shown(entries=0)})
RUN = "0" * 31 + "7"


class Place:
    """A ledger of three judged runs, and a language model to train."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = handmade.write(folder / "l.db", *judged_runs(3, 2))
        self.base = language_model(folder / "base")
        self.ledger = SqlLedger.open(self.path, create=False, signer=handmade.KEY)

    def trained(self, auditor: str) -> Digest:
        """An auditor trained as it should be."""
        out = self.folder / f"{auditor}-{len(list(self.folder.iterdir()))}"
        return train_auditor(self.ledger, self.base, auditor, out, fitting=QUICK).trained.thinker

    def forged(
        self,
        verdicts: Verdicts,
        *,
        restrictions: tuple[Restriction, ...] = (PROCESS,),
        lifted: tuple[RestrictionLifted, ...] = (),
        **declared: Any,
    ) -> Trained:
        """An auditor trained from whatever these say, under whatever plan."""
        plan = plan_of(verdicts, base_of(self.base), QUICK, 0).model_copy(update=declared)
        study = study_of(plan, self.base, self.folder / "forged", verdicts, 0)

        async def carry() -> Trained:
            return await train(
                plan,
                self.ledger,
                0,
                study=study,
                run=RUN,
                restrictions=restrictions,
                lifted=lifted,
            )

        return anyio.run(carry)

    def verdicts(self, auditor: str = "critic") -> Verdicts:
        return verdicts_of(self.ledger, auditor, QUICK.shown)

    def judges(self, made: Digest, name: str = "heir", first: int = 0xD000, runs: int = 1) -> None:
        """Further runs, in which a teacher judges that is said to be trained so."""
        card = critic(name=name, trained_from=made)
        handmade.write(self.path, *judged_runs(runs, 2, first=first, card=card))

    def taught(self, name: str = "heir") -> int:
        """Lessons that this teacher has to give."""
        found = lessons_of(self.ledger)
        return sum(len(one) for one in found.lessons if one.auditor == name)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    with found.ledger:
        yield found


def test_a_teacher_that_this_ledger_trained_from_lessons_is_learned_from(place: Place) -> None:
    place.judges(place.trained("critic"))
    assert place.taught() == 2
    assert verify(place.path, trusted=[handmade.KEY.public]).findings == ()


def test_so_is_whoever_that_one_taught_and_whoever_nobody_vouches_for_is_not(
    place: Place,
) -> None:
    first = place.trained("critic")
    place.judges(first, runs=3)
    second = place.trained("heir")
    place.judges(second, "grandchild", 0xE000)
    assert place.taught() == 6 and place.taught("grandchild") == 2
    place.judges("ab" * 32, "stranger", 0xF000)
    found = lessons_of(place.ledger)
    assert found.refused["trained on what this ledger does not hold"] == 2
    assert place.taught("grandchild") == 2


def test_a_model_of_a_guard_s_labels_teaches_nobody_whatever_is_declared(place: Place) -> None:
    place.judges(place.trained("rules"))
    assert not place.taught()


def test_a_thinker_that_rests_on_a_trained_guard_is_not_certified(place: Place) -> None:
    guard, teacher = place.trained("rules"), place.trained("critic")
    for number, (made, says) in enumerate(((guard, True), (teacher, False))):

        class Heir(bandit.Judge):
            trained_from = made

            def restore(self, weights: bytes) -> None:
                """A card, which says whose word it is."""

        plan = bandit.plan(batches=2, name=f"heir {number}", seeds=(0,))
        study = replace(bandit.study(plan, 0), teacher=Heir())

        async def carry(plan: Any = plan, study: Study = study) -> Trained:
            return await train(plan, place.ledger, 0, study=study)

        thinker = anyio.run(carry).thinker
        found = certify(place.path, thinker, trusted=[handmade.KEY.public], find=find)
        assert found.rests_on
        assert ("it trained a guard" in " ".join(found.recorded.against)) is says


def test_a_thinker_that_is_called_a_guard_to_learn_from_one_is_not_certified(place: Place) -> None:
    class Guarding(bandit.Judge):
        role = Role.GUARD

    plan = bandit.plan(batches=2, seeds=(0,)).model_copy(update={"becomes": Role.GUARD})
    study = replace(bandit.study(plan, 0), teacher=Guarding())

    async def carry() -> Trained:
        return await train(plan, place.ledger, 0, study=study, restrictions=(GUARDED,))

    thinker = anyio.run(carry).thinker
    found = certify(place.path, thinker, trusted=[handmade.KEY.public], find=find)
    assert found.level == "none"
    assert found.recorded.against == ("it trained a guard, which neither thinks nor teaches",)


def test_a_guard_s_labels_under_a_teacher_s_name_are_seen_through(place: Place) -> None:
    """The batch names every verdict, and those are no lessons of that teacher's."""
    guard, teacher = place.verdicts("rules"), place.verdicts()
    place.judges(place.forged(replace(guard, labels=teacher.labels)).thinker)
    assert not place.taught()


def test_so_are_labels_that_nobody_gave_and_texts_of_other_steps(place: Place) -> None:
    honest = place.verdicts()
    first, *others = honest.rows
    last = others[-1]
    for rows in (
        [replace(first, approval=0.5)],
        [replace(first, weight=2.0)],
        [replace(first, seq=first.seq + 1)],
        [replace(first, moment=last.moment, proposals=last.proposals)],
        [first, first],
    ):
        spoiled = replace(honest, rows=[*rows, *others])
        place.judges(_forged_afresh(place, spoiled))
        assert not place.taught(), rows


def _forged_afresh(place: Place, verdicts: Verdicts) -> Digest:
    """The forged auditor, in a place of its own with the same runs."""
    number = len(list(place.folder.iterdir()))
    place.ledger.close()
    (place.folder / str(number)).mkdir()
    fresh = Place(place.folder / str(number))
    place.path, place.ledger, place.folder = fresh.path, fresh.ledger, fresh.folder
    place.base = fresh.base
    return place.forged(verdicts).thinker


@pytest.mark.parametrize("becomes", [None, Role.GUARD])
def test_a_run_that_did_not_declare_to_train_a_teacher_trained_none(
    place: Place, becomes: Role | None
) -> None:
    if becomes is Role.GUARD:
        with pytest.raises(LessonError, match="critic is a teacher"):
            place.forged(place.verdicts(), becomes=becomes, restrictions=(GUARDED,))
        return
    place.judges(place.forged(place.verdicts(), becomes=becomes).thinker)
    assert not place.taught()


def test_a_teacher_trained_after_keys_had_lifted_a_restriction_is_not_learned_from(
    place: Place,
) -> None:
    key = PrivateKey("anna", b"anna" * 8)
    liftable = PROCESS.model_copy(update={"lifting": Lifting(needs=1, keys=(str(key.public),))})
    note = lifting_note(RUN, "process", "to compare")
    lifted = RestrictionLifted(
        restriction="process",
        reason="to compare",
        signatures=(Signature(key=key.public.id, value=key.sign(note)),),
    )
    made = place.forged(place.verdicts(), restrictions=(liftable,), lifted=(lifted,))
    place.judges(made.thinker)
    assert not place.taught()


def test_a_guard_is_trained_under_no_restriction_that_was_declared_for_teachers(
    place: Place,
) -> None:
    with pytest.raises(LessonError, match="rules is a guard: teacher verdicts teach"):
        place.forged(place.verdicts("rules"), restrictions=(GUARDED, PROCESS))
    with pytest.raises(LessonError, match="rules is a guard: teacher verdicts teach"):
        place.forged(place.verdicts("rules"), becomes=Role.TEACHER)


@pytest.mark.parametrize("seen", [Evidence.THOUGHT, Evidence.OUTCOME])
def test_a_guard_that_saw_what_no_teacher_may_makes_a_guard_that_says_so(
    tmp_path: Path, seen: Evidence
) -> None:
    card = critic(name="probe", role=Role.GUARD, sees=sorted({Evidence.PROPOSAL, seen}))
    path = handmade.write(tmp_path / "l.db", *judged_runs(3, 2, card=card))
    base = language_model(tmp_path / "base")
    with SqlLedger.open(path, create=False, signer=handmade.KEY) as ledger:
        found = train_auditor(ledger, base, "probe", tmp_path / "out", fitting=QUICK)
    assert found.judgement.role is Role.GUARD and seen in found.judgement.labels.saw
