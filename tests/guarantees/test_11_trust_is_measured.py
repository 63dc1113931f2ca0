"""Guarantee 11: trust is measured, by planted steps with known answers and by secret sampling."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.gate import keys, person, planted, run_secret, sampled, sequential, threshold
from audition.learn.live import lessons_of
from audition.ledger import SqlLedger
from audition.ledger.events import (
    ActStarted,
    AuditDrawn,
    MomentSealed,
    PlantOpened,
    TicketIssued,
)
from audition.measure import clopper_pearson
from audition.records import record_of
from audition.records.judged import judged
from audition.step import Act, History, Role, Thought, Ticket, digest_of
from audition.think import Plant, Plants, Replayed
from audition.trust import trust
from audition.verify import Verification, verify
from handmade import KEY, Events, first
from rehearsal import (
    SECRET,
    Absent,
    Plays,
    Says,
    bodies,
    carried,
    history_of,
    note,
    project,
    written,
)

STEPS = tuple(note(f"line {number}") for number in range(12))
HARMFUL = (note("forbidden 1"), note("forbidden 2"), note("sly 3"))
HARMLESS = (note("plain 1"), note("plain 2"), note("plain 3"))
PLANTS = Plants(
    steps=(
        *(Plant(proposal=step, harmful=True) for step in HARMFUL),
        *(Plant(proposal=step, harmful=False) for step in HARMLESS),
    ),
    rate=0.4,
)
RUN = next(
    run
    for run in (f"{number:032x}" for number in range(100))
    if sum(planted(run_secret(SECRET, run), run, turn, 0.4) for turn in range(2, 11)) >= 6
)
"""A run whose lottery plants all of them among the first ten steps."""


@pytest.fixture
def run(ledger: SqlLedger, tmp_path: Path) -> str:
    return carried(project(tmp_path, *STEPS, plants=PLANTS), ledger, run_id=RUN).run


def planted_turns(ledger: SqlLedger, run: str) -> list[int]:
    """The turns that were opened as planted."""
    turn, found = 0, []
    for event in ledger.read(run):
        if isinstance(event.body, MomentSealed):
            turn = event.body.moment.turn
        elif isinstance(event.body, PlantOpened):
            found.append(turn)
    return found


def rewritten(
    ledger: SqlLedger, run: str, twist: Callable[[Events], Any], folder: Path
) -> Verification:
    """The verification of the same run with other events in it."""
    events = [(event.at, event.body) for event in ledger.read(run)]
    twist(events)
    names = {
        value
        for _, body in events
        for value in str(body.model_dump()).split("'")
        if len(value) == 64 and set(value) <= set("0123456789abcdef")
    }
    contents: list[Any] = []
    for name in names:
        try:
            contents.append((ledger.get(name), False))
        except Exception:
            continue
    pen: Any = types.SimpleNamespace(run=run, events=events, contents=contents)
    return verify(handmade.write(folder / "again.db", pen), [KEY.public])


def change(kind: str, nth: int = 0, **fields: Any) -> Callable[[Events], None]:
    def twist(events: Events) -> None:
        spot = first(events, kind, nth)
        at, body = events[spot]
        events[spot] = at, body.model_copy(update=fields)

    return twist


def other_answer(events: Events) -> None:
    spot = first(events, "plant.opened")
    at, body = events[spot]
    assert isinstance(body, PlantOpened)
    events[spot] = at, body.model_copy(update={"harmful": not body.harmful})


def end_in_the_middle(events: Events) -> None:
    """What an auditor let pass is not opened: the run ends instead."""
    closed = events[-1]
    del events[first(events, "plant.opened", 2) :]
    events.append((closed[0], closed[1].model_copy(update={"status": "exhausted", "answer": None})))


def swap_opened(events: Events) -> None:
    """Two planted steps are opened with each other's salts."""
    one, other = first(events, "plant.opened", 0), first(events, "plant.opened", 1)
    (at, early), (late_at, late) = events[one], events[other]
    assert isinstance(early, PlantOpened) and isinstance(late, PlantOpened)
    events[one] = at, early.model_copy(update={"salt": late.salt})
    events[other] = late_at, late.model_copy(update={"salt": early.salt})


def drop(kind: str, nth: int = 0) -> Callable[[Events], None]:
    return lambda events: events.pop(first(events, kind, nth)) and None


def move(kind: str, by: int, nth: int = 0) -> Callable[[Events], None]:
    def twist(events: Events) -> None:
        spot = first(events, kind, nth)
        events.insert(spot + by, events.pop(spot))

    return twist


def twice(kind: str) -> Callable[[Events], None]:
    def twist(events: Events) -> None:
        spot = first(events, kind)
        events.insert(spot + 1, events[spot])

    return twist


# ------------------------------------------------------------------------ plants never act


def test_no_ticket_is_ever_issued_for_a_planted_step(
    ledger: SqlLedger, run: str, tmp_path: Path
) -> None:
    opened = {one.moment for one in bodies(ledger, run, PlantOpened)}
    assert len(opened) == len(PLANTS.steps)
    assert not opened & {one.moment for one in bodies(ledger, run, TicketIssued)}
    assert written(tmp_path) == [f"line {number}" for number in range(12)]


def test_an_act_by_a_planted_moment_is_found(ledger: SqlLedger, run: str, tmp_path: Path) -> None:
    def act(events: Events) -> None:
        bodies = [body for _, body in events]
        spot = next(
            n for n, body in enumerate(bodies) if isinstance(body, PlantOpened) and not body.harmful
        )
        moment = [body.moment for body in bodies[:spot] if isinstance(body, MomentSealed)][-1]
        plant = next(one for one in PLANTS.steps if digest_of(one.proposal) == moment.proposal)
        assert isinstance(plant.proposal, Act) and moment.tool is not None
        at = events[spot][0]
        named: Any = {
            "moment": digest_of(moment),
            "proposal": moment.proposal,
            "tool": moment.tool,
            "expires": at + 1_000_000,
        }
        name = digest_of(Ticket(run=run, act=plant.proposal, **named))
        acts = [(at, TicketIssued(ticket=name, **named)), (at, ActStarted(ticket=name))]
        events[spot + 2 : spot + 2] = acts

    found = rewritten(ledger, run, act, tmp_path).first_bad
    assert found is not None
    assert "ticket.issued without a decision to proceed" in found.says


def test_the_run_is_the_same_without_them(ledger: SqlLedger, tmp_path: Path) -> None:
    class Looks(Plays):
        def __init__(self, *proposals: Act) -> None:
            super().__init__(*proposals)
            self.seen: list[Any] = []

        async def think(self, history: History, box: Any) -> Thought:
            entries = [entry.canonical() for entry in history.last(99)]
            self.seen.append((history.digest, history.turns, len(history), entries))
            return await super().think(history, box)

    with_plants, without = Looks(*STEPS), Looks(*STEPS)
    first = carried(
        project(tmp_path, *STEPS, plants=PLANTS, thinker=with_plants), ledger, run_id=RUN
    )
    second = carried(project(tmp_path, *STEPS, thinker=without), ledger)
    assert with_plants.seen == without.seen
    assert history_of(ledger, first.run) == history_of(ledger, second.run)
    assert first.turns == second.turns
    one, other = (list(record_of(ledger, run)[0].steps()) for run in (first.run, second.run))
    assert one == other


def test_every_planted_step_is_drawn_and_the_thinkers_own_at_their_rate(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    inner = threshold("critic", reject_at=0.5)
    critic = Says(0.0)
    gate = sampled(0.3, inner, undrawn="proceed")
    measured = project(tmp_path, *STEPS, plants=PLANTS, auditors=[critic], gate=gate)
    result = carried(measured, ledger, run_id=RUN)
    found = planted_turns(ledger, result.run)
    lots = list(bodies(ledger, result.run, AuditDrawn))
    assert all(lots[turn - 1].drawn for turn in found)
    assert not all(lot.drawn for lot in lots)
    assert {lot.rate for lot in lots} == {0.3}
    assert len(critic.views) == sum(lot.drawn for lot in lots)


def test_nothing_is_learned_from_a_planted_step(ledger: SqlLedger, tmp_path: Path) -> None:
    teacher = Says(0.9, name="teacher", role=Role.TEACHER)
    gate = threshold("teacher", reject_at=0.5)
    result = carried(
        project(tmp_path, *STEPS, plants=PLANTS, auditors=[teacher], gate=gate), ledger, run_id=RUN
    )
    harvest = lessons_of(ledger)
    (lessons,) = harvest.lessons
    taken = {ledger.get(str(name)) for name in lessons.span["proposal"]}
    assert len(taken) == 13 == harvest.moments == lessons.population
    assert not taken & {plant.proposal.canonical() for plant in PLANTS.steps}
    assert harvest.refused["planted"] == len(planted_turns(ledger, result.run))


def test_nothing_is_learned_from_a_step_that_may_still_be_planted(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    teacher = Says(0.9, name="teacher", role=Role.TEACHER)
    gate = sequential(threshold("teacher", reject_at=0.5), keys(1, of=["ann"]))
    measured = project(
        tmp_path, *STEPS, plants=PLANTS, auditors=[teacher, Absent(name="ann")], gate=gate
    )
    assert carried(measured, ledger).status == "waiting"
    harvest = lessons_of(ledger)
    assert harvest.lessons == []
    assert harvest.refused["may be planted"] == 1


# ------------------------------------------------------------------------ anyone can check


def test_the_same_run_as_it_was_verifies(ledger: SqlLedger, run: str, tmp_path: Path) -> None:
    found = rewritten(ledger, run, lambda events: None, tmp_path)
    assert found.ok, found.findings


@pytest.mark.parametrize(
    ("twist", "says"),
    [
        (drop("plant.sealed"), "a planted step in a run in which none was sealed"),
        (twice("plant.sealed"), "sealed a second time"),
        (move("plant.sealed", 10), "sealed after the first step"),
        (change("plant.sealed", count=5), "no list of 5 planted steps"),
        (change("plant.sealed", rate=0.9), "planted by the lottery"),
        (change("plant.sealed", rate=0.05), "not planted by the lottery"),
        (other_answer, "not the one that was sealed"),
        (change("plant.opened", label="mild"), "not the one that was sealed"),
        (change("plant.opened", salt=bytes(32)), "not the one that was sealed"),
        (change("plant.opened", number=3), "planted step 3 where 0 was due"),
        (change("plant.opened", moment="e" * 64), "another moment is opened"),
        (move("plant.opened", -1), "stands where the decision about the planted step was due"),
        (twice("plant.opened"), "stands where the decision about the planted step was due"),
        (drop("plant.opened"), ""),
        (end_in_the_middle, "closes where verdicts and a decision was due"),
        (swap_opened, "do not come in the order of their salts"),
    ],
)
def test_what_was_sealed_is_what_is_opened_where_the_lottery_says(
    twist: Callable[[Events], None], says: str, ledger: SqlLedger, run: str, tmp_path: Path
) -> None:
    found = rewritten(ledger, run, twist, tmp_path)
    assert not found.ok
    if says:
        assert any(says in one.says for one in found.findings), found.findings


def test_a_list_that_was_deleted_is_found(ledger: SqlLedger, run: str, tmp_path: Path) -> None:
    """Without it nobody could tell whether an answer was turned round."""

    def other_list(events: Events) -> None:
        other_answer(events)
        change("plant.sealed", leaves="e" * 64)(events)

    found = rewritten(ledger, run, other_list, tmp_path)
    assert any("sealed is gone" in one.says for one in found.findings), found.findings


def test_a_step_that_may_be_planted_is_nobodys_step_elsewhere(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    """Neither replayed, nor exported, nor told to another program, until it is decided."""
    waits = project(
        tmp_path,
        *STEPS,
        plants=PLANTS,
        auditors=[Absent(name="ann")],
        gate=person("ann"),
    )
    run = carried(waits, ledger, run_id=RUN).run
    with pytest.raises(ValueError, match="no proposals"):
        Replayed(ledger, run)
    assert list(record_of(ledger, run)[0].steps()) == []
    assert judged(ledger, run).decisions == []


def test_a_record_of_a_run_has_no_planted_step_in_it(ledger: SqlLedger, run: str) -> None:
    planted_moments = {one.moment for one in bodies(ledger, run, PlantOpened)}
    told = judged(ledger, run)
    assert [one.step for one in told.decisions] == list(range(1, 14))
    assert not planted_moments & {one.moment for one in told.decisions}
    assert {str(one["moment"]) for said in told.verdicts.values() for one in said} == {
        one.moment for one in told.decisions
    }


def test_a_planted_step_that_was_not_drawn_is_found(ledger: SqlLedger, tmp_path: Path) -> None:
    measured = project(
        tmp_path,
        *STEPS,
        plants=PLANTS,
        auditors=[Says(0.0)],
        gate=sampled(0.3, threshold("critic", reject_at=0.5), undrawn="proceed"),
    )
    run = carried(measured, ledger, run_id=RUN).run
    secret = run_secret(SECRET, run)
    turn = next(n for n in range(2, 11) if planted(secret, run, n, PLANTS.rate))
    found = rewritten(ledger, run, change("audit.drawn", turn - 1, drawn=False), tmp_path)
    assert not found.ok


# ------------------------------------------------------------------------ what it says of auditors


def test_the_miss_rate_of_an_auditor_is_what_it_let_pass(ledger: SqlLedger, run: str) -> None:
    found = trust(ledger, [run])
    red = found.auditors["red"]
    assert (red.harmful.n, red.harmful.hits) == (3, 1)
    assert (red.harmless.n, red.harmless.hits) == (3, 0)
    assert (red.harmful.low, red.harmful.high) == clopper_pearson(1, 3)
    assert (found.passed.n, found.passed.hits) == (3, 1)


def test_the_bound_on_what_ran_unseen_is_that_of_the_lottery(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    """A bound at 95 %: this lottery is fixed, and none of the few for which it may not hold."""
    measured = project(
        tmp_path,
        *(note(f"{'forbidden' if number % 5 == 0 else 'plain'} {number}") for number in range(40)),
        gate=sampled(0.5, threshold("red", reject_at=0.5), undrawn="proceed"),
    )
    run = carried(measured, ledger, run_id="0" * 32).run
    red = trust(ledger, [run]).auditors["red"]
    drawn = [one.drawn for one in bodies(ledger, run, AuditDrawn)]
    assert red.unseen is not None
    assert (red.drawn, red.reached) == (sum(drawn), len(drawn))
    ran = sum("forbidden" in line for line in written(tmp_path))
    assert ran <= red.unseen.unseen <= len(drawn) - sum(drawn)
