"""People in a run: hours later, from another process, one after the other."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.audit import Left, Person, Rule, Rules
from audition.gate import person, sequential, strictest, threshold
from audition.ledger import Journal, LedgerError, SqlLedger
from audition.ledger.events import ActRecorded, AuditAsked, AuditRecorded, MomentSealed
from audition.loop import run as carry
from audition.project import Budget
from audition.step import Act, Finish, Role, Think, View, Words
from audition.waiting import NotWaiting, answer, declared, waiting
from rehearsal import (
    PATIENCE,
    Absent,
    Says,
    bodies,
    carried,
    decisions,
    history_of,
    kinds,
    note,
    project,
    red,
    written,
)


def test_hours_later_another_process_answers_and_any_other_goes_on(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    begun = carried(judged, ledger)
    assert (begun.status, begun.waits_for) == ("waiting", "ann")
    with SqlLedger.open(tmp_path / "ledger.db") as elsewhere:
        (asked,) = waiting(elsewhere)
        assert (asked.run, asked.turn, asked.for_whom) == (begun.run, 1, "ann")
        assert (asked.proposal, asked.goal) == (note("a"), "write what may be written")
        assert declared(elsewhere, begun.run, "ann").person
        anyio.run(answer, elsewhere, begun.run, Says(0.0, name="ann"))
        assert list(waiting(elsewhere)) == []
    assert carried(judged, ledger, run_id=begun.run).status == "waiting"  # for the next step
    assert written(tmp_path) == ["a"]


def test_only_who_is_asked_may_answer(tmp_path: Path, ledger: SqlLedger) -> None:
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    begun = carried(judged, ledger)
    before = kinds(ledger, begun.run)
    for other, why in (
        (Says(0.0, name="bob"), "does not wait for bob"),
        (Says(0.0, name="form"), "does not wait for form"),
        (Says(1.0, name="ann", role=Role.TEACHER), "declared as a guard"),
    ):
        with pytest.raises(NotWaiting, match=why):
            anyio.run(answer, ledger, begun.run, other)
    with pytest.raises(NotWaiting, match="no run"):
        anyio.run(answer, ledger, "9" * 32, Says(0.0, name="ann"))
    assert kinds(ledger, begun.run) == before


@pytest.mark.parametrize(
    ("says", "expected"), [(0.0, ["escalate", "proceed"]), (1.0, ["escalate", "reject"])]
)
def test_whoever_is_escalated_to_decides(
    tmp_path: Path, ledger: SqlLedger, says: float, expected: list[str]
) -> None:
    critic = Says(lambda view: critic.verdict(view, score=0.4 * isinstance(view.proposal, Act)))
    gate = threshold("critic", reject_at=0.9, escalate_at=0.3, to="ann", within=600)
    judged = project(tmp_path, note("a"), auditors=[critic, Absent(name="ann")], gate=gate)
    begun = carried(judged, ledger)
    assert (begun.status, decisions(ledger, begun.run)) == ("waiting", ["escalate"])
    asked = next(bodies(ledger, begun.run, AuditAsked))
    assert asked.auditor == "ann" and asked.deadline is not None
    anyio.run(answer, ledger, begun.run, Says(says, name="ann"))
    result = carried(judged, ledger, run_id=begun.run)
    assert result.status == "finished"
    assert decisions(ledger, begun.run) == [*expected, "proceed"]
    assert written(tmp_path) == (["a"] if expected[1] == "proceed" else [])


def test_two_escalations_of_one_step_ask_one_person_after_the_other(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    critics = [
        Says(lambda view: _half(critics[0], view), name="one"),
        Says(lambda view: _half(critics[1], view), name="two"),
    ]
    gate = strictest(
        threshold("one", reject_at=0.9, escalate_at=0.3, to="ann"),
        threshold("two", reject_at=0.9, escalate_at=0.3, to="bob"),
    )
    people = [Absent(name="ann"), Absent(name="bob")]
    judged = project(tmp_path, note("a"), auditors=[*critics, *people], gate=gate)
    begun = carried(judged, ledger)
    for name in ("ann", "bob"):
        assert carried(judged, ledger, run_id=begun.run).waits_for == name
        assert written(tmp_path) == []
        anyio.run(answer, ledger, begun.run, Says(0.0, name=name))
    assert carried(judged, ledger, run_id=begun.run).status == "finished"
    assert decisions(ledger, begun.run) == ["escalate", "escalate", "proceed", "proceed"]
    assert written(tmp_path) == ["a"]


def test_a_persons_replacement_is_put_to_the_person_again(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    begun = carried(judged, ledger)
    ann = Says(
        lambda view: ann.verdict(view, score=0.0, words=Words(replacement=note("b"))), name="ann"
    )
    anyio.run(answer, ledger, begun.run, ann)
    assert carried(judged, ledger, run_id=begun.run).status == "waiting"
    (asked,) = waiting(ledger)
    assert (asked.turn, asked.proposal) == (1, note("b"))
    anyio.run(answer, ledger, begun.run, Says(0.0, name="ann"))
    carried(judged, ledger, run_id=begun.run)
    assert written(tmp_path) == ["b"]


def test_a_process_that_stays_goes_on_when_the_answer_comes(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audition.loop.POLL", 0.01)
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    run = "f" * 32

    async def answers() -> None:
        with SqlLedger.open(tmp_path / "ledger.db") as elsewhere:
            for _ in range(2):
                while not any(one.for_whom == "ann" for one in waiting(elsewhere)):  # noqa: ASYNC110  the ledger tells nobody
                    await anyio.sleep(0.01)
                await answer(elsewhere, run, Says(0.0, name="ann"))

    async def both() -> None:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answers)
                result = await carry(judged, ledger, run_id=run, wait=True)
                assert result.status == "finished"

    anyio.run(both)
    assert written(tmp_path) == ["a"]


def _half(critic: Says, view: View) -> Any:
    return critic.verdict(view, score=0.5 * isinstance(view.proposal, Act))


def test_a_run_that_waits_at_every_step_has_the_history_of_one_that_never_did(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    steps = [note("a"), Think(prompt="b"), note("forbidden"), Finish(answer="c"), note("d")]
    gate = sequential(threshold("red", reject_at=0.5), person("ann"))

    def judged(ann: Any) -> Any:
        return project(tmp_path, *steps, auditors=[red(), ann], gate=gate)

    present = Says(0.0, name="ann")
    run = "1" * 32
    with SqlLedger.open(tmp_path / "straight.db") as straight:
        carried(judged(present), straight, run_id=run)
        expected = history_of(straight, run)
    while carried(judged(Absent(name="ann")), ledger, run_id=run).status == "waiting":
        anyio.run(answer, ledger, run, Says(0.0, name="ann"))
    assert history_of(ledger, run) == expected
    assert written(tmp_path) == ["a", "d"] * 2


def test_a_machine_that_waits_for_nobody_is_asked_before_a_person(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    rules = Rules([Rule(name="red", pattern="forbidden")], name="red")
    gate = sequential(threshold("red", reject_at=0.5), person("ann"))
    judged = project(tmp_path, note("forbidden"), auditors=[rules, Absent(name="ann")], gate=gate)
    begun = carried(judged, ledger)
    assert begun.status == "waiting"  # for its second step: the first never came to a person
    assert [one.auditor for one in bodies(ledger, begun.run, AuditAsked)] == ["ann"]
    told = [one.answer.auditor for one in bodies(ledger, begun.run, AuditRecorded)]
    assert told == ["form", "red", "form", "red"]


def test_a_run_that_cannot_be_read_hides_no_other(
    tmp_path: Path, unverified: SqlLedger, caplog: pytest.LogCaptureFixture
) -> None:
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    bad, good = (carried(judged, unverified, run_id=digit * 32).run for digit in "12")
    broken = Journal(unverified, bad, len(kinds(unverified, bad)))
    broken.log(ActRecorded(moment="0" * 64))  # an outcome of no step
    anyio.run(broken.commit)
    told: list[str] = []
    found = list(waiting(unverified, unreadable=lambda run, why: told.append(run)))
    assert ([one.run for one in found], told) == ([good], [bad])
    assert [one.run for one in waiting(unverified)] == [good]
    assert f"run {bad} cannot be read" in caplog.text


def test_a_person_is_shown_what_was_sealed_or_nothing(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    begun = carried(judged, unverified)
    sealed = next(bodies(unverified, begun.run, MomentSealed)).moment.proposal
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        planted = (note("b").canonical(), bytes.fromhex(sealed))
        database.execute("UPDATE contents SET data = ? WHERE digest = ?", planted)
    database.close()
    ann, before = Says(0.0, name="ann"), kinds(unverified, begun.run)
    with SqlLedger.open(tmp_path / "ledger.db") as elsewhere, pytest.raises(LedgerError):
        anyio.run(answer, elsewhere, begun.run, ann)
    assert (ann.views, kinds(unverified, begun.run)) == ([], before)


def test_a_person_who_goes_away_has_said_nothing(tmp_path: Path, ledger: SqlLedger) -> None:
    """From another process or at the run's own terminal: the moment waits as before."""
    asked: list[str] = []

    async def hear(question: str) -> str:
        asked.append(question)
        raise Left("the terminal was closed")

    ann = Person("ann", say=lambda line: None, hear=hear)
    judged = project(tmp_path, note("a"), auditors=[ann], gate=person("ann"))
    begun = carried(judged, ledger)
    assert (begun.status, begun.waits_for, len(asked)) == ("waiting", "ann", 1)
    before = kinds(ledger, begun.run)
    with pytest.raises(Left):
        anyio.run(answer, ledger, begun.run, ann)
    assert kinds(ledger, begun.run) == before
    anyio.run(answer, ledger, begun.run, Says(0.0, name="ann"))
    carried(judged, ledger, run_id=begun.run)
    assert written(tmp_path) == ["a"]


def test_the_silence_of_a_person_who_went_away_is_a_no_at_the_deadline(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person goes while there is time, and then the hour is over, however long that took."""
    monkeypatch.setattr("audition.loop.POLL", 0.01)
    asked: list[str] = []
    clock = time.time_ns

    async def hear(question: str) -> str:
        asked.append(question)
        monkeypatch.setattr("time.time_ns", lambda: clock() + 3600 * 10**9)
        raise Left

    ann = Person("ann", say=lambda line: None, hear=hear)
    gate = person("ann", within=3600)
    judged = project(tmp_path, note("a"), auditors=[ann], gate=gate, budget=Budget(steps=1))
    result = carried(judged, ledger, wait=True)
    assert (result.status, written(tmp_path), len(asked)) == ("exhausted", [], 1)
