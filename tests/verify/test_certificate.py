"""The certificate: an honest run earns it at every level; each cheat is named where it can be seen.

A cheat is a function that gives the runs of a ledger and the thinker to certify. What is expected
of it: the words with which each level names it, or None where that level cannot see it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

import bandit
import handmade
from audition.canonical import digest_bytes
from audition.learn import Boundary, Lessons, Outcomes, Plan, Study, train
from audition.learn.batch import Columns
from audition.learn.selection import Selection
from audition.ledger import SqlLedger
from audition.ledger.events import (
    RestrictionLifted,
    ThinkerChosen,
    lifting_note,
)
from audition.step import Event, Evidence, Role, Signature
from audition.verify import Certificate, CertificateError, certify, verify
from audition.verify.contents import names
from forge import Memory, find, trained, write

LEAVES = 40


def examined(path: str | Path, thinker: str) -> Certificate:
    return certify(path, thinker, leaves=LEAVES, again=True, find=find)


def siblings(plan: Plan, **options: Any) -> list[Memory]:
    return [trained(plan, seed, seed + 1, **options) for seed in plan.seeds]


# -------------------------------------------------------------------------------- honest runs


@pytest.mark.parametrize("person", [False, True])
def test_an_honest_run_certifies_at_all_three_levels(where: str, person: bool) -> None:
    runs = siblings(bandit.plan(teacher={"person": person}))
    path = write(where, *runs)
    for pen in runs:
        shown = examined(path, pen.thinker)
        assert shown.level == "replayed", (shown.recorded, shown.opened, shown.replayed)
        assert shown.lessons == shown.taught[0].moments > 0
        assert shown.updates == 6 and set(shown.siblings) == {"0", "1"}
        assert shown.opened is not None and shown.opened.violating_at_most < 3 / LEAVES


def test_a_level_that_was_not_looked_at_is_said_to_be_unseen(tmp_path: Path) -> None:
    runs = siblings(bandit.plan())
    path = write(tmp_path / "l.db", *runs)
    shown = certify(path, runs[0].thinker, find=find)
    assert shown.level == "recorded" and shown.opened is None and shown.replayed is None
    assert any("not replayed" in line for line in shown.not_seen)
    assert any("off the ledger" in line for line in shown.not_seen)


def test_a_teacher_trained_in_the_same_ledger_is_followed_to_its_own_teachers(
    tmp_path: Path,
) -> None:
    taught = siblings(bandit.plan(seeds=(0,)))
    plan = bandit.plan(seeds=(5,), name="second")
    second = trained(plan, 5, 9, study=rests_on(plan, 5, taught[0].thinker), held=taught)
    path = write(tmp_path / "l.db", *taught, second)
    shown = certify(
        path,
        second.thinker,
        leaves=LEAVES,
        again=True,
        find=lambda plan, seed, get: (
            find(plan, seed, get)
            if plan.name != "second"
            else rests_on(plan, seed, taught[0].thinker)
        ),
    )
    assert shown.level == "replayed" and shown.rests_on == (taught[0].run,)


def test_a_thinker_that_the_ledger_does_not_hold_is_a_clear_error(tmp_path: Path) -> None:
    path = write(tmp_path / "l.db", *siblings(bandit.plan(seeds=(0,))))
    with pytest.raises(CertificateError, match="it holds "):
        certify(path, "0" * 64, find=find)
    with pytest.raises(CertificateError, match="no thinker"):
        certify(path, "", find=find)


def test_a_ledger_without_training_certifies_nothing(ledger_path: Path) -> None:
    with pytest.raises(CertificateError, match="holds no trained thinker"):
        certify(ledger_path, "0" * 64, find=find)


def test_a_study_that_is_not_installed_is_no_replay(tmp_path: Path) -> None:
    runs = siblings(bandit.plan(seeds=(0,), study="nobody's"))
    shown = certify(write(tmp_path / "l.db", *runs), runs[0].thinker, leaves=3, again=True)
    assert shown.level == "recorded"
    assert shown.replayed is not None and "no installed package" in shown.replayed.against[0]
    assert shown.opened is not None and shown.opened.violating_at_most == 1


# -------------------------------------------------------------------------------- dishonest parts


class Handed(bandit.Judge):
    """A teacher that remembers the weights it was trained to."""

    def __init__(self, trained_from: str) -> None:
        super().__init__()
        self.trained_from = trained_from  # type: ignore[assignment]

    def restore(self, weights: bytes) -> None:
        assert digest_bytes(weights) == self.trained_from


def rests_on(plan: Plan, seed: int, weights: str) -> Study:
    return replace(bandit.study(plan, seed), teacher=Handed(weights))


class Smuggler(bandit.Judge):
    """Approves of what the world rewards."""

    def judge(self, shown: Columns) -> Any:
        return (shown["lever"] == 0).astype(np.float32)


class Reader(bandit.Judge):
    """A teacher that sees thoughts."""

    sees = frozenset({Evidence.PROPOSAL, Evidence.THOUGHT})


class Guard(bandit.Judge):
    """A guard."""

    role = Role.GUARD


class Peeking(bandit.Rooms):
    """A world that hands its rewards to the learner behind everybody's back."""

    def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
        rows = super().rollout(learner, rng)
        learner.prize = rows["prize"]
        return rows


class Greedy(bandit.Puller):
    """Learns from rewards and says that it was approvals."""

    prize: Any = None

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        assert isinstance(lessons, Lessons)
        prize = self.prize[lessons.moment_L].astype(float)
        return super().update(replace(lessons, approval_L=prize), rng)


class Borderless(bandit.Puller):
    """Credits each step with all approvals that come after it."""

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        assert isinstance(lessons, Lessons) and lessons.approval_L is not None
        whole = np.zeros(lessons.population)
        whole[lessons.moment_L] = lessons.approval_L
        last = np.zeros((len(whole) // bandit.STEPS, bandit.STEPS), bool)
        summed = Boundary(None).credit(whole.reshape(last.shape), last).ravel()
        return super().update(
            replace(lessons, approval_L=summed[lessons.moment_L] / bandit.STEPS), rng
        )


class Hasty(bandit.Puller):
    """Learns at another rate than it says."""

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        before = self.table.copy()
        measures = super().update(lessons, rng)
        self.table = before + 1.5 * (self.table - before)
        return measures


class Stranger(bandit.Rooms):
    """Rooms in an order that cannot be."""

    def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
        rows = dict(super().rollout(learner, rng))
        rows["room"] = (rows["room"] * 2 % bandit.ROOMS).astype(np.uint8)
        return rows


class Offstage(bandit.Rooms):
    """Rooms in which somebody else pulled."""

    def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
        rows = dict(super().rollout(learner, rng))
        rows["lever"] = bandit.right(rows["room"]).astype(np.uint8)
        rows["prize"] = (rows["lever"] == 0).astype(np.float32)
        return rows


def with_learner(kind: type[bandit.Puller], **parts: Any) -> list[Memory]:
    plan = bandit.plan()
    return [
        trained(
            plan,
            seed,
            seed + 1,
            study=replace(
                bandit.study(plan, seed), learner=kind(seed, Boundary(plan.horizon)), **parts
            ),
        )
        for seed in plan.seeds
    ]


def with_parts(plan: Plan | None = None, **parts: Any) -> list[Memory]:
    plan = plan or bandit.plan()
    return [
        trained(plan, seed, seed + 1, study=replace(bandit.study(plan, seed), **parts))
        for seed in plan.seeds
    ]


# -------------------------------------------------------------------------------- the cheats


@dataclass
class Cheat:
    """A cheat, and where it shows."""

    do: Callable[[], tuple[list[Memory], str]]
    recorded: str | None = None
    opened: str | None = None
    replayed: str | None = None


CHEATS: dict[str, Cheat] = {}


def cheat(
    recorded: str | None = None, opened: str | None = None, replayed: str | None = None
) -> Callable[[Callable[[], tuple[list[Memory], str]]], None]:
    def note(do: Callable[[], tuple[list[Memory], str]]) -> None:
        CHEATS[do.__name__.replace("_", " ")] = Cheat(do, recorded, opened, replayed)

    return note


@cheat(recorded="after its lesson was taken", replayed="comes out")
def a_verdict_after_its_lesson() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan(teacher={"person": True}))
    late = runs[0].events.pop(runs[0].where("audit.recorded", 3))
    runs[0].events.insert(runs[0].where("thinker.updated"), late)
    return runs, runs[0].thinker


@cheat(recorded="not those that the batch and its verdicts give", replayed="lessons comes out")
def a_swapped_digest_of_lessons() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    other = runs[1].body("lesson.taken").lessons
    runs[0].alter("lesson.taken", lessons=other)
    runs[0].alter("thinker.updated", lessons=other)
    return runs, runs[0].thinker


@cheat(opened="judge says otherwise", replayed="comes out otherwise")
def an_outcome_smuggled_as_approval() -> tuple[list[Memory], str]:
    runs = with_parts(teacher=Smuggler())
    return runs, runs[0].thinker


@cheat(recorded="shown what no teacher may see", replayed="run.opened: auditors")
def a_teacher_that_reads_thoughts() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    for pen in runs:
        opened = pen.body("run.opened")
        card = opened.auditors[0].model_copy(update={"sees": tuple(sorted(Reader.sees))})
        pen.alter("run.opened", auditors=(card,))
    return runs, runs[0].thinker


@cheat(recorded="lessons of judge, a guard", replayed="run.opened: auditors")
def a_guard_that_teaches() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    for pen in runs:
        card = pen.body("run.opened").auditors[0].model_copy(update={"role": Role.GUARD})
        pen.alter("run.opened", auditors=(card,))
    return runs, runs[0].thinker


@cheat(recorded="on which it rests: .*a guard", replayed="run .*: event 0")
def a_guard_that_teaches_through_a_helper() -> tuple[list[Memory], str]:
    helper, _ = a_guard_s_pupil()
    plan = bandit.plan(seeds=(5,), name="second")
    second = trained(plan, 5, 9, study=rests_on(plan, 5, helper[0].thinker), held=helper)
    return [*helper, second], second.thinker


def a_guard_s_pupil() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan(seeds=(0,)))
    card = runs[0].body("run.opened").auditors[0].model_copy(update={"role": Role.GUARD})
    runs[0].alter("run.opened", auditors=(card,))
    return runs, runs[0].thinker


@cheat(recorded="which this ledger does not hold", replayed="not in this ledger|comes out")
def a_teacher_trained_nobody_knows_where() -> tuple[list[Memory], str]:
    plan = bandit.plan(seeds=(5,), name="second")
    elsewhere = siblings(bandit.plan(seeds=(0,)))
    study = rests_on(plan, 5, elsewhere[0].thinker)
    second = trained(plan, 5, 9, study=study, held=elsewhere)
    return [second], second.thinker


@cheat(replayed="thinker.updated 0: after comes out otherwise")
def a_trajectory_return_in_the_place_of_approvals() -> tuple[list[Memory], str]:
    runs = with_learner(Greedy, world=Peeking(20))
    return runs, runs[0].thinker


@cheat(recorded="it learned from outcomes")
def an_outcome_declared_as_one() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan(signal="outcome", horizon=None, rates={"0": 1.0}))
    return runs, runs[0].thinker


@cheat(recorded="learned from an outcome; the plan declares none", replayed="comes out otherwise")
def an_outcome_that_the_plan_does_not_declare() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    runs[0].alter("thinker.updated", 2, signal="outcome", lessons=None, horizon=None)
    return runs, runs[0].thinker


@cheat(recorded="chosen, not drawn", replayed="taken comes out")
def lessons_filtered_by_success() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    taken = runs[0].body("lesson.taken")
    runs[0].alter("lesson.taken", taken=taken.taken - 5)
    return runs, runs[0].thinker


@cheat(recorded="draws are not those of the lottery", replayed="comes out otherwise")
def a_lottery_that_draws_successes() -> tuple[list[Memory], str]:
    plan = bandit.plan()
    runs = siblings(plan)
    chosen = trained(plan, 0, 1)
    secret = digest_bytes(b"not the secret that drew")
    runs[0] = chosen
    runs[0].alter("run.opened", secret=secret)
    runs[0].alter("run.closed", secret=b"not the secret that drew")
    return runs, runs[0].thinker


@cheat(recorded="seed 1 was declared and is missing")
def a_seed_chosen_by_outcome() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    return runs[:1], runs[0].thinker


@cheat(recorded="seed 0 was trained 2 times")
def a_seed_trained_until_it_pleased() -> tuple[list[Memory], str]:
    plan = bandit.plan()
    runs = [*siblings(plan), trained(plan, 0, 7)]
    return runs, runs[0].thinker


@cheat(recorded="chosen by outcome")
def a_sibling_chosen_by_outcome() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    every = tuple(pen.thinker for pen in runs)
    at, closed = runs[1].events.pop()
    runs[1].events.append((at, ThinkerChosen(among=every, chosen=every[0], by="outcome")))
    runs[1].events.append((at, closed))
    return runs, runs[0].thinker


@cheat(recorded="a checkpoint was chosen")
def a_checkpoint_chosen() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    return runs, runs[0].body("thinker.updated", 3).after


@cheat(recorded="that this run did not seal", replayed="batch comes out otherwise")
def a_lesson_from_another_run() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    runs[0].alter("lesson.taken", batch=runs[1].body("batch.sealed").root)
    return runs, runs[0].thinker


@cheat(recorded="leaves do not make its root", replayed="data comes out otherwise")
def an_altered_batch() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    sealed = runs[0].body("batch.sealed")
    data = next(data for data, _ in runs[0].contents if digest_bytes(data) == sealed.data)
    forged = bytes([data[0] ^ 1]) + data[1:]
    runs[0].alter("batch.sealed", data=runs[0].put(forged))
    return runs, runs[0].thinker


@cheat(opened="a room does not follow", replayed="comes out otherwise")
def steps_that_cannot_have_happened() -> tuple[list[Memory], str]:
    runs = with_parts(world=Stranger(20))
    return runs, runs[0].thinker


@cheat(replayed="data comes out otherwise")
def steps_that_somebody_else_took() -> tuple[list[Memory], str]:
    runs = with_parts(world=Offstage(20))
    return runs, runs[0].thinker


@cheat(replayed="after comes out otherwise")
def a_trainer_without_a_boundary() -> tuple[list[Memory], str]:
    runs = with_learner(Borderless)
    return runs, runs[0].thinker


@cheat(recorded="credit over 5 steps is forbidden", replayed=None)
def a_horizon_that_the_restrictions_forbid() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    wide = bandit.plan(horizon=5)
    for pen in runs:
        training = pen.body("run.opened").training
        pen.alter("run.opened", training=training.model_copy(update={"plan": pen.put(wide)}))
        for number in range(wide.batches):
            pen.alter("thinker.updated", number, horizon=5)
    return runs, runs[0].thinker


@cheat(replayed="after comes out otherwise")
def other_hyper_parameters_than_declared() -> tuple[list[Memory], str]:
    runs = with_learner(Hasty)
    return runs, runs[0].thinker


@cheat(replayed="thinker.updated 5: after comes out otherwise")
def weights_that_come_from_nowhere() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    forged = runs[0].put(np.ones((bandit.ROOMS, bandit.LEVERS)).tobytes())
    runs[0].alter("thinker.updated", 5, after=forged)
    runs[0].alter("run.closed", answer=forged)
    return runs, forged


@cheat(recorded="does not begin from the last weights", replayed="before comes out")
def an_update_that_nobody_recorded() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    runs[0].alter("thinker.updated", 3, before=digest_bytes(b"elsewhere"))
    return runs, runs[0].thinker


@cheat(recorded="other weights than the plan's base", replayed="comes out|not in this ledger")
def another_base_than_declared() -> tuple[list[Memory], str]:
    first = siblings(bandit.plan(seeds=(0,)))
    plan = bandit.plan(seeds=(5,), name="second", base=first[0].thinker)
    honest = bandit.plan(seeds=(5,), name="second")
    second = trained(honest, 5, 9)
    training = second.body("run.opened").training
    second.alter("run.opened", training=training.model_copy(update={"plan": second.put(plan)}))
    return [*first, second], second.thinker


@cheat(recorded="needs 1 of its keys, 0 signed", replayed="needs 1 of its keys")
def a_restriction_lifted_without_its_keys() -> tuple[list[Memory], str]:
    import trained as by_hand

    runs = siblings(
        bandit.plan(),
        restrictions=(
            by_hand.PROCESS,
            by_hand.SHORT.model_copy(
                update={"limits": by_hand.SHORT.limits.model_copy(update={"updates": 6})}  # type: ignore
            ),
        ),
    )
    note = lifting_note(runs[0].run, "short", "no reason at all")
    thief = handmade.PrivateKey("thief", bytes(32))
    lifted = RestrictionLifted(
        restriction="short",
        reason="no reason at all",
        signatures=(Signature(key=handmade.KEY.public.id, value=thief.sign(note)),),
    )
    runs[0].events.insert(3, (runs[0].events[3][0], lifted))
    return runs, runs[0].thinker


@cheat(recorded="an update without lessons", replayed="comes out")
def an_update_without_lessons() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    del runs[0].events[runs[0].where("lesson.taken", 5)]
    return runs, runs[0].thinker


@cheat(recorded="was sealed and not learned from", replayed="comes out")
def a_batch_sealed_and_passed_over() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    place = runs[0].where("batch.sealed", 3)
    at, body = runs[0].events[place]
    runs[0].events.insert(place, (at, body))
    for number in range(4, 7):
        runs[0].alter("batch.sealed", number, number=number)
    return runs, runs[0].thinker


@cheat(recorded="weights at the end are not those", replayed="answer comes out otherwise")
def other_weights_at_the_end() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    runs[0].alter("run.closed", answer=runs[0].put(bytes(96)))
    return runs, runs[0].thinker


@cheat(recorded="a second verdict of judge on one moment", replayed="answers 5. of")
def a_verdict_bought_twice() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan(teacher={"person": True}))
    place = runs[0].where("audit.recorded", 2)
    runs[0].events.insert(place, runs[0].events[place])
    return runs, runs[0].thinker


@cheat(recorded="a moment that this batch did not draw", replayed="comes out")
def a_verdict_on_another_moment() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan(teacher={"person": True}))
    verdict = runs[0].body("audit.recorded", 2).verdict
    elsewhere = verdict.model_copy(update={"moment": digest_bytes(b"another")})
    runs[0].alter("audit.recorded", 2, verdict=elsewhere)
    return runs, runs[0].thinker


@cheat(recorded="its training is not complete")
def a_run_that_was_broken_off_when_it_pleased() -> tuple[list[Memory], str]:
    runs = siblings(bandit.plan())
    del runs[0].events[runs[0].where("batch.sealed", 4) :]
    return runs, runs[0].body("thinker.updated", 3).after


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_named_at_the_level_that_can_see_it(name: str, tmp_path: Path) -> None:
    cheat = CHEATS[name]
    runs, thinker = cheat.do()
    shown = examined(write(tmp_path / "l.db", *runs), thinker)
    levels = {"recorded": shown.recorded, "opened": shown.opened, "replayed": shown.replayed}
    for level, found in levels.items():
        due = getattr(cheat, level)
        assert found is not None
        if due is None:
            assert found.holds or level != "recorded", (level, found.against)
        else:
            assert not found.holds, f"{level} does not see it"
            assert any(re.search(due, says) for says in found.against), found.against
    named = [level for level in levels if getattr(cheat, level)]
    assert named and shown.level == ("none" if cheat.recorded else _below(named))


def test_no_fewer_than_fourteen_cheats_are_tried() -> None:
    assert len(CHEATS) >= 14
    assert any(one.recorded is None and one.opened for one in CHEATS.values())
    assert any(one.recorded is None and one.opened is None for one in CHEATS.values())


def test_selection_off_the_ledger_shows_at_no_level(tmp_path: Path) -> None:
    """Ten ledgers are trained, one is kept: it certifies, and the certificate says what that is."""
    kept: list[Memory] = []
    for number in range(3):
        plan = bandit.plan(seeds=(number,))
        kept = [trained(plan, number, 1)]
    shown = examined(write(tmp_path / "l.db", *kept), kept[0].thinker)
    assert shown.level == "replayed"
    assert any("selection off the ledger" in line for line in shown.not_seen)


def _below(named: list[str]) -> str:
    return {"opened": "recorded", "replayed": "opened"}[named[0]]


# -------------------------------------------------------------------------------- selection


def selected(path: Path, by: str) -> tuple[Path, Any]:
    """A ledger in which a rule was committed to, the siblings trained, and one chosen."""
    plan = bandit.plan()

    async def work() -> Any:
        with SqlLedger.open(path) as ledger:
            selection = await Selection.open(ledger, plan, by)
            for seed in plan.seeds:
                await train(plan, ledger, seed, study=bandit.study(plan, seed))
            return await selection.choose()

    return path, anyio.run(work)


@pytest.mark.parametrize("by", ["declared", "lottery"])
def test_a_choice_by_rule_certifies_the_chosen_sibling_and_no_other(
    tmp_path: Path, by: str
) -> None:
    path, chosen = selected(tmp_path / "l.db", by)
    shown = certify(path, chosen.thinker, again=True, find=find)
    assert shown.level == "replayed" and shown.chosen, shown.recorded
    others = [one for one in shown.siblings.values() if one != chosen.thinker]
    refused = certify(path, others[0], find=find)
    assert refused.level == "none" and not refused.chosen
    assert any("fell on another sibling" in line for line in refused.recorded.against)


def test_a_choice_that_the_lot_did_not_make_is_found(tmp_path: Path) -> None:
    path, chosen = selected(tmp_path / "l.db", "lottery")
    with SqlLedger.open(path, create=False) as ledger:
        runs = {run: list(ledger.read(run)) for run in ledger.runs()}
        contents = {
            digest: ledger.get(digest)
            for events in runs.values()
            for event in events
            for digest in names(event.body)
        }
    pens: list[Memory] = []
    for run, events in runs.items():
        pen = Memory(run, [(event.at, event.body) for event in events])
        pen.contents = [(data, False) for data in contents.values()]
        pens.append(pen)
    pen = next(one for one in pens if one.body("run.opened").training is None)
    among = pen.body("thinker.chosen").among
    other = next(one for one in among if one != chosen.thinker)
    pen.alter("thinker.chosen", chosen=other)
    found = verify(forge_in_order(tmp_path / "forged.db", pens))
    assert any("falls on another sibling" in str(one) for one in found.findings), found.findings
    pen.alter("thinker.chosen", chosen=chosen.thinker, by="outcome")
    found = verify(forge_in_order(tmp_path / "worse.db", pens))
    assert any("the rule committed to is another" in str(one) for one in found.findings)


def forge_in_order(path: Path, pens: list[Memory]) -> Path:
    """The choosing run is opened first and ends last; the others are written in between."""

    async def work() -> None:
        first, *rest = sorted(pens, key=lambda pen: pen.body("run.opened").training is not None)
        queue = [(first.run, 0, *first.events[0])]
        for pen in rest:
            queue += [(pen.run, seq, *event) for seq, event in enumerate(pen.events)]
        queue += [(first.run, seq, *event) for seq, event in enumerate(first.events) if seq]
        with SqlLedger.open(path) as ledger:
            for data, _ in first.contents:
                ledger.put(data)
            for run, seq, at, body in queue:
                ledger.stage(Event(run=run, seq=seq, at=at, body=body))
            await ledger.commit()

    anyio.run(work)
    return path
