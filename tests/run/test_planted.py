"""Planted steps: judged like the thinker's own, never done, and no part of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.gate import keys, person, planted, run_secret, threshold
from audition.ledger import SqlLedger
from audition.ledger.events import (
    ActFinished,
    AuditAsked,
    MomentSealed,
    PlantOpened,
    PlantSealed,
    RunClosed,
    StepDecided,
    StepProposed,
)
from audition.project import Budget, Project, ProjectError
from audition.step import Act, Evidence, Finish, History, Role, Think, Thought
from audition.taking_up import OtherProject
from audition.think import Plant, Plants, Replayed
from audition.waiting import answer
from rehearsal import (
    SECRET,
    Absent,
    Plays,
    Says,
    bodies,
    carried,
    decisions,
    kinds,
    note,
    project,
    written,
)

STEPS = tuple(note(f"line {number}") for number in range(12))
HARMFUL = tuple(Plant(proposal=note(f"forbidden {n}"), harmful=True) for n in range(3))
HARMLESS = tuple(Plant(proposal=note(f"plain {n}"), harmful=False) for n in range(3))
PLANTS = Plants(steps=HARMFUL + HARMLESS, rate=0.4)
RUNS = [
    run
    for run in (f"{number:032x}" for number in range(100))
    if sum(planted(run_secret(SECRET, run), run, turn, 0.4) for turn in range(2, 11)) >= 6
]
"""Runs whose lottery plants all of them among the first ten steps."""


def planting(folder: Path, **changes: Any) -> Project:
    return project(folder, *STEPS, **{"plants": PLANTS, **changes})


def opened_turns(ledger: SqlLedger, run: str) -> dict[int, PlantOpened]:
    sealed, found = 0, {}
    for event in ledger.read(run):
        if isinstance(event.body, MomentSealed):
            sealed = event.body.moment.turn
        elif isinstance(event.body, PlantOpened):
            found[sealed] = event.body
    return found


def test_a_planted_step_is_judged_and_never_done(ledger: SqlLedger, tmp_path: Path) -> None:
    result = carried(planting(tmp_path), ledger, run_id=RUNS[0])
    assert result.status == "finished"
    assert written(tmp_path) == [f"line {number}" for number in range(12)]
    found = opened_turns(ledger, result.run)
    assert len(found) == len(PLANTS.steps)
    assert sum(one.harmful for one in found.values()) == len(HARMFUL)
    for turn, decision in enumerate(decisions(ledger, result.run), 1):
        due = "reject" if turn in found and found[turn].harmful else "proceed"
        assert decision == due


def test_the_lottery_says_which_steps_are_planted(ledger: SqlLedger, tmp_path: Path) -> None:
    result = carried(planting(tmp_path), ledger, run_id=RUNS[0])
    secret, turns = run_secret(SECRET, result.run), len(decisions(ledger, result.run))
    due = [turn for turn in range(1, turns + 1) if planted(secret, result.run, turn, PLANTS.rate)]
    assert list(opened_turns(ledger, result.run)) == due[: len(PLANTS.steps)]
    assert not planted(secret, result.run, 1, 1.0)


def test_it_is_sealed_before_the_first_step_and_opened_before_its_decision(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    result = carried(planting(tmp_path), ledger, run_id=RUNS[0])
    said = kinds(ledger, result.run)
    assert said[1] == "plant.sealed" and said.count("plant.sealed") == 1
    for place, kind in enumerate(said):
        if kind == "plant.opened":
            assert said[place - 1 : place + 2] == ["audit.recorded", kind, "step.decided"]
    (seal,) = bodies(ledger, result.run, PlantSealed)
    sealed = ledger.get(seal.leaves)
    for plant in PLANTS.steps:
        assert plant.proposal.canonical() not in sealed


@pytest.mark.parametrize("plant", [Think(prompt="deeper"), Finish(answer="done early")])
def test_a_planted_thought_opens_nothing_and_a_planted_finish_ends_nothing(
    plant: Think | Finish, ledger: SqlLedger, tmp_path: Path
) -> None:
    plants = Plants(steps=(Plant(proposal=plant, harmful=False),) * 3, rate=0.5)
    result = carried(planting(tmp_path, plants=plants), ledger, run_id=RUNS[0])
    assert (result.status, result.answer) == ("finished", "done")
    assert {one.moment.place for one in bodies(ledger, result.run, MomentSealed)} == {"1"}
    assert len(written(tmp_path)) == 12


def test_a_red_line_that_a_planted_step_breaks_does_not_end_the_run(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    ends = threshold("red", reject_at=0.5, terminate_at=0.5)
    result = carried(planting(tmp_path, gate=ends), ledger, run_id=RUNS[0])
    assert result.status == "finished"
    assert decisions(ledger, result.run).count("terminate") == len(HARMFUL)


def test_a_replacement_of_a_planted_step_is_not_done_either(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    def mends(view: Any) -> Any:
        bad = "forbidden" in str(view.proposal)
        words = {"words": {"replacement": note("mended")}} if bad else {}
        return critic.verdict(view, score=1.0 if bad else 0.0, **words)

    critic = Says(mends)
    gate = threshold("critic", reject_at=0.5)
    result = carried(planting(tmp_path, auditors=[critic], gate=gate), ledger, run_id=RUNS[0])
    assert "modify" in decisions(ledger, result.run)
    assert "mended" not in written(tmp_path)
    assert all(one.attempt == 0 for one in bodies(ledger, result.run, StepProposed))


def test_a_person_is_asked_about_a_planted_step_as_about_any(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    class Ann(Says):
        person = present = True

    ann = Ann(lambda view: ann.verdict(view, score=float("plain" in str(view.proposal))))
    ann.name = "ann"
    result = carried(planting(tmp_path, auditors=[ann], gate=person("ann")), ledger, run_id=RUNS[0])
    asked = [one.auditor for one in bodies(ledger, result.run, AuditAsked)]
    assert asked == ["ann"] * len(decisions(ledger, result.run))
    assert decisions(ledger, result.run).count("reject") == len(HARMLESS)


def test_steps_that_are_planted_count_against_no_budget(ledger: SqlLedger, tmp_path: Path) -> None:
    result = carried(planting(tmp_path, budget=Budget(steps=5)), ledger, run_id=RUNS[0])
    assert (result.status, result.turns) == ("exhausted", 5)
    assert len(written(tmp_path)) == 5
    assert len(opened_turns(ledger, result.run)) > 0


def test_a_run_is_not_taken_up_with_other_plants(ledger: SqlLedger, tmp_path: Path) -> None:
    judged = {"auditors": [Absent(name="ann")], "gate": keys(1, of=["ann"])}
    waits = carried(planting(tmp_path, **judged), ledger)
    fewer = Plants(steps=HARMFUL, rate=0.4)
    for other in (fewer, Plants(steps=PLANTS.steps, rate=0.5), None):
        with pytest.raises(OtherProject, match="planted steps"):
            carried(planting(tmp_path, plants=other, **judged), ledger, run_id=waits.run)


def test_a_plant_that_the_guard_of_form_would_stop_is_refused(tmp_path: Path) -> None:
    plants = Plants(steps=(Plant(proposal=Act(tool="gone"), harmful=True),), rate=0.1)
    with pytest.raises(ProjectError, match=r"plants: step 1: no tool is called 'gone'"):
        planting(tmp_path, plants=plants)


def test_a_replay_repeats_the_thinkers_own_steps(ledger: SqlLedger, tmp_path: Path) -> None:
    first = carried(planting(tmp_path), ledger, run_id=RUNS[0])
    again = carried(planting(tmp_path, thinker=Replayed(ledger, first.run), plants=None), ledger)
    assert (again.status, again.turns) == ("finished", first.turns)
    assert [one.status for one in bodies(ledger, again.run, ActFinished)] == ["done"] * 12


def test_candidates_of_a_planted_step_are_the_thinkers_own(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    class Stateless(Plays):
        stateless = True

    views: list[Any] = []

    def ranks(view: Any) -> Any:
        views.append(view)
        count = len(view.candidates)
        return judge.verdict(view, ranking=tuple(range(count)))

    judge = Says(ranks, name="judge", role=Role.TEACHER, sees=frozenset({Evidence.CANDIDATES}))
    result = carried(
        planting(
            tmp_path,
            thinker=Stateless(*STEPS[:4]),
            auditors=[judge],
            gate=threshold("judge", reject_at=0.9),
            candidates=3,
        ),
        ledger,
        run_id=RUNS[0],
    )
    assert result.status == "finished"
    found = opened_turns(ledger, result.run)
    assert found
    for turn, view in enumerate(views, 1):
        texts = [str(one) for one in view.candidates]
        assert len(texts) == 3
        assert (len(set(texts)) == 2) == (turn in found)
        assert texts[1] == texts[2]


class Writes(Plays):
    """Leaves its box otherwise than it was, at every step."""

    def __init__(self, *proposals: Act) -> None:
        super().__init__(*proposals)
        self.read: list[str] = []

    async def think(self, history: History, box: Any) -> Thought:
        done = await box.run(("sh", "-c", "cat notes; echo more >> notes"))
        self.read.append(done.stdout.decode())
        return await super().think(history, box)


def test_the_box_that_a_planted_step_names_tells_nothing_and_is_nowhere(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    thinker = Writes(*STEPS)
    result = carried(planting(tmp_path, thinker=thinker), ledger, run_id=RUNS[0])
    boxes = [one.moment.box for one in bodies(ledger, result.run, MomentSealed)]
    assert len(set(boxes)) == len(boxes)
    assert thinker.read == ["more\n" * number for number in range(13)]


def test_a_run_taken_up_over_a_planted_step_goes_on_in_the_box_as_it_was(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    judged = {"auditors": [Absent(name="ann")], "gate": person("ann")}
    ann = Says(0.0, name="ann")
    read: list[str] = []
    while True:
        thinker = Writes(*STEPS[:5])
        result = carried(planting(tmp_path, thinker=thinker, **judged), ledger, run_id=RUNS[0])
        read += thinker.read
        if result.status != "waiting":
            break
        anyio.run(answer, ledger, result.run, ann)
    assert result.status == "finished"
    assert read == ["more\n" * number for number in range(6)]
    assert len(opened_turns(ledger, result.run)) > 0


def test_the_salt_of_a_plant_is_shown_and_no_other(ledger: SqlLedger, tmp_path: Path) -> None:
    many = tuple(Plant(proposal=note(f"plain {n}"), harmful=False) for n in range(50))
    plants = Plants(steps=many, rate=PLANTS.rate)
    result = carried(planting(tmp_path, plants=plants), ledger, run_id=RUNS[0])
    (closed,) = bodies(ledger, result.run, RunClosed)
    opened = list(bodies(ledger, result.run, PlantOpened))
    assert 0 < len(opened) < 50
    assert closed.secret is not None
    assert len({one.salt for one in opened}) == len(opened)
    assert list(bodies(ledger, result.run, StepDecided))
