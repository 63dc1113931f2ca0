"""A run that is taken up goes on from its last savepoint, as if it were read from its beginning."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_history import RUN, STEPS, Told, play

import audition.history
from audition.gate import person
from audition.history import LedgerHistory, Progress, standing
from audition.ledger import Journal, LedgerError, PrivateKey, SqlLedger
from audition.ledger.events import KeyEnrolled, MomentSealed, RunClosed, RunResumed, RunSaved
from audition.ledger.savepoint import Savepoint
from audition.model import ModelAway
from audition.step import Box, Event, History, RunId, Signature, Thought, digest_of
from audition.waiting import answer
from rehearsal import Absent, Plays, Says, bodies, carried, kinds, note, project, written

OF_THE_READER = {"recent", "read"}
"""What a reading holds of entries beside where the run stands."""


def from_the_beginning(ledger: SqlLedger, run: RunId) -> Progress:
    progress = Progress(run)
    for event in ledger.read(run):
        progress.apply(event)
    return progress


def save(told: Told) -> None:
    told.log(RunSaved(savepoint=told.journal.put(told.progress.savepoint())))


def waiting(folder: Path, *notes: str, **changes: Any) -> Any:
    proposals = [note(text) for text in notes]
    return project(folder, *proposals, auditors=[Absent(name="ann")], gate=person("ann"), **changes)


def taken_up(judged: Any, ledger: SqlLedger, times: int) -> RunId:
    """Carry a run on so many approvals; each time it is put down meanwhile."""
    result = carried(judged, ledger)
    for _ in range(times):
        anyio.run(answer, ledger, result.run, Says(0.0, name="ann"))
        result = carried(judged, ledger, run_id=result.run)
    return result.run


def test_a_run_that_was_taken_up_is_saved_before_its_next_step(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    run = taken_up(waiting(tmp_path, "a", "b", "c"), ledger, 4)
    assert written(tmp_path) == ["a", "b", "c"]
    of_note = ("run.resumed", "run.saved", "step.thought", "run.closed")
    assert [kind for kind in kinds(ledger, run) if kind in of_note] == [
        "step.thought",
        *("run.resumed", "run.saved", "step.thought") * 3,
        "run.resumed",
        "run.closed",
    ]


def test_who_takes_a_run_up_reads_no_further_back_than_its_savepoint(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = taken_up(waiting(tmp_path, *"abcdefgh"), ledger, 5)
    read: list[str] = []
    parse = audition.ledger.store.parse_event  # type: ignore[attr-defined]

    def counted(data: bytes, *, strict: bool = True) -> Any:
        event = parse(data, strict=strict)
        read.append(event.body.kind)
        return event

    monkeypatch.setattr("audition.ledger.store.parse_event", counted)
    standing(ledger, run)
    assert sorted(read) == sorted(
        ["run.opened", "run.saved", "step.thought", "step.proposed", "moment.sealed",
         "audit.drawn", "audit.recorded", "audit.asked"]
    )  # fmt: skip


def test_a_long_run_is_saved_though_nobody_takes_it_up(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audition.history, "SAVED", 20)
    run = carried(project(tmp_path, *[note(str(n)) for n in range(12)]), ledger).run
    told = kinds(ledger, run)
    saved = [at for at, kind in enumerate(told) if kind == "run.saved"]
    assert len(saved) >= 3
    assert all(after - before < 40 for before, after in pairwise(saved))


def test_the_savepoints_of_a_run_hold_its_whole_history(tmp_path: Path, ledger: SqlLedger) -> None:
    run = taken_up(waiting(tmp_path, *"abcd"), ledger, 4)
    points = [Savepoint.parse(ledger.get(body.savepoint)) for body in bodies(ledger, run, RunSaved)]
    assert [len(point.entries) for point in points] == [1, 1, 1, 1]
    assert points[0].earlier is None and all(point.earlier for point in points[1:])
    whole = from_the_beginning(ledger, run)
    kept = [entry for point in points for entry in point.entries]
    assert kept == list(islice(whole.recent, len(kept)))


def test_a_savepoint_that_was_deleted_costs_a_longer_reading_and_nothing_else(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    judged = waiting(tmp_path, "a", "b")
    run = taken_up(judged, unverified, 1)
    (saved,) = bodies(unverified, run, RunSaved)
    assert anyio.run(unverified.redact, saved.savepoint)
    assert vars(standing(unverified, run)[0]).keys() == vars(Progress(run)).keys()
    anyio.run(answer, unverified, run, Says(0.0, name="ann"))
    carried(judged, unverified, run_id=run)
    assert written(tmp_path) == ["a", "b"]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    run = Told(tmp_path)
    yield run
    run.ledger.close()


def test_what_is_no_savepoint_is_refused_in_one_line(told: Told) -> None:
    told.step("act", approved=True)
    told.log(RunSaved(savepoint=told.journal.put("no savepoint")))
    anyio.run(told.journal.commit)
    with pytest.raises(LedgerError, match="its savepoint cannot be read") as caught:
        standing(told.ledger, RUN)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_earlier_version_has_no_savepoint_and_is_read_whole(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audition.history, "LOOK", 10)
    for _ in range(5):
        told.step("act", approved=True)
    anyio.run(told.journal.commit)
    progress, following = standing(told.ledger, RUN)
    assert vars(progress)["length"] == 5 and following == told.journal.seq
    assert list(LedgerHistory(told.ledger, progress).last(9)) == told.plain


def test_keys_that_the_run_was_told_of_are_saved(told: Told) -> None:
    told.step("act", approved=True)
    key = PrivateKey.generate("ann").public
    enrolled = KeyEnrolled(person="ann", key=str(key), signature=Signature(key="op", value=b"s"))
    told.log(enrolled)
    save(told)
    anyio.run(told.journal.commit)
    progress, _ = standing(told.ledger, RUN)
    assert list(progress.signoffs.keys.values()) == [enrolled]


@pytest.mark.parametrize("body", [RunResumed(), RunClosed(status="terminated")])
def test_a_run_is_not_saved_before_its_first_step(told: Told, body: Any) -> None:
    told.log(body)
    assert not told.progress.to_be_saved
    told.step("act", approved=True)
    assert told.progress.to_be_saved == isinstance(body, RunResumed)


def test_an_empty_run_stands_nowhere(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        progress, following = standing(ledger, "f" * 32)
        assert following == 0 and progress.opened is None
        with pytest.raises(LedgerError, match="no first event"):
            ledger.first("f" * 32)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STEPS, min_size=1, max_size=4), st.integers(0, 9), st.integers(1, 9))
def test_where_a_run_stands_is_the_same_from_a_savepoint_on(
    tmp_path_factory: pytest.TempPathFactory, parts: list[Any], count: int, kept: int
) -> None:
    told = Told(tmp_path_factory.mktemp("saved"))
    for steps in parts:
        play(told, [step for step in steps if step[0] != "say"])  # no live run has messages
        if told.progress.turns and told.progress.answer is None:
            save(told)
    anyio.run(told.journal.commit)
    progress, following = standing(told.ledger, RUN)
    whole = from_the_beginning(told.ledger, RUN)
    assert following == told.journal.seq
    for name in vars(whole).keys() - OF_THE_READER:
        assert getattr(progress, name) == getattr(whole, name), name
    progress.recent = type(progress.recent)(progress.recent, maxlen=kept)
    history = LedgerHistory(told.ledger, progress)
    assert list(history.last(count)) == told.plain[len(told.plain) - min(count, len(told.plain)) :]
    assert list(history.last(len(told.plain))) == told.plain
    told.ledger.close()


# ------------------------------------------------------- what whoever can write the rows could do


def rewritten(ledger: SqlLedger, run: RunId, kind: str, change: Any) -> None:
    """Put another event in the place of a run's last of a kind."""
    event = [one for one in ledger.read(run) if one.body.kind == kind][-1]
    other = change(event)
    with sqlite3.connect(ledger.database.name) as database:
        database.execute(
            "UPDATE events SET data = ? WHERE data = ?", (other.canonical(), event.canonical())
        )
    database.close()


def test_a_past_that_was_put_in_a_savepoint_is_shown_to_nobody(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    judged = waiting(tmp_path, "a", "b", "c")
    run = taken_up(judged, unverified, 2)
    saved = list(bodies(unverified, run, RunSaved))[-1]
    point = Savepoint.parse(unverified.get(saved.savepoint))
    harmless = Journal(unverified, run).put(note("harmless"))
    (entry,) = point.entries
    forged = point.model_copy(update={"entries": (replace(entry, proposal=harmless),)})
    name = Journal(unverified, run).put(forged)
    anyio.run(unverified.commit)

    def put_in(event: Event) -> Event:
        return event.model_copy(update={"body": RunSaved(savepoint=name)})

    rewritten(unverified, run, "run.saved", put_in)
    with pytest.raises(LedgerError, match="entries do not lead to its history"):
        standing(unverified, run)
    with pytest.raises(LedgerError, match="entries do not lead to its history"):
        carried(judged, unverified, run_id=run)


def test_who_judges_sees_the_history_that_the_moment_was_sealed_with(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    judged = waiting(tmp_path, "a", "b")
    run = taken_up(judged, unverified, 1)

    def elsewhere(event: Event) -> Event:
        moment = event.body.moment.model_copy(update={"history": "e" * 64})  # type: ignore[attr-defined]
        return event.model_copy(update={"body": MomentSealed(moment=moment)})

    rewritten(unverified, run, "moment.sealed", elsewhere)
    asked = list(bodies(unverified, run, MomentSealed))[-1].moment

    def of_that(event: Event) -> Event:
        body = event.body.model_copy(update={"moment": digest_of(asked)})
        return event.model_copy(update={"body": body})

    rewritten(unverified, run, "audit.asked", of_that)
    with pytest.raises(LedgerError, match="is not what it was sealed with"):
        anyio.run(answer, unverified, run, Says(0.0, name="ann"))


@pytest.mark.parametrize("change", [{"seq": 0}, {"run": "f" * 32}], ids=str)
def test_an_event_that_stands_in_anothers_place_is_not_read(
    tmp_path: Path, unverified: SqlLedger, change: dict[str, Any]
) -> None:
    run = taken_up(waiting(tmp_path, "a", "b"), unverified, 1)
    rewritten(unverified, run, "audit.asked", lambda event: event.model_copy(update=change))
    for reading in (unverified.read, unverified.latest):
        with pytest.raises(LedgerError, match="another event stands where event"):
            list(reading(run))


def test_an_event_that_was_taken_out_leaves_a_gap_that_is_seen(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    run = taken_up(waiting(tmp_path, "a", "b"), unverified, 1)
    with sqlite3.connect(unverified.database.name) as database:
        database.execute("DELETE FROM events WHERE seq = 5")
    database.close()
    for reading in (unverified.read, unverified.latest):
        with pytest.raises(LedgerError, match="another event stands where event"):
            list(reading(run))


def test_a_run_that_is_put_down_without_a_step_is_saved_once(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    class Away(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            if history.turns == 1 and len(list(bodies(ledger, RUN, RunResumed))) < 3:
                raise ModelAway("not here")
            return await super().think(history, box)

    judged = project(tmp_path, thinker=Away(note("a"), note("b")))
    for _ in range(4):
        result = carried(judged, ledger, run_id=RUN)
    assert result.status == "finished"
    of_note = [kind for kind in kinds(ledger, RUN) if kind in ("run.resumed", "run.saved")]
    again = ["run.resumed", "run.saved"]
    assert of_note == [*again, "run.resumed", *again]  # before b, thrice tried, and after it
