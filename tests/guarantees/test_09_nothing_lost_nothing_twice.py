"""Guarantee 9: kill the process at any instant: nothing committed is lost, nothing happens twice.

`killed.py` carries one run with real effects and is killed (SIGKILL) at each of its instants in
turn: before and after every event is staged, around and within every commit, before and after
thinking, judging and acting, and between an act's effect and its answer. What is left is then taken
up by another process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from killed import RUN, SETTLED_BY
from sqlalchemy.exc import ProgrammingError

import audition.history
from audition.gate import person, strictest, threshold
from audition.history import Progress
from audition.ledger import Conflict, Journal, SqlLedger, on_server, parse_event
from audition.ledger.events import (
    ActFinished,
    ActInDoubt,
    ActSettled,
    ActStarted,
    AuditRecorded,
    RunOpened,
    RunResumed,
    StepThought,
    TicketIssued,
)
from audition.loop import OtherProject
from audition.project import Budget
from audition.step import (
    Body,
    Box,
    Event,
    Evidence,
    History,
    Outcome,
    RunId,
    Thought,
    Ticket,
    Usage,
    Verdict,
    View,
)
from audition.verify import verify
from audition.waiting import NotWaiting, answer, settle, waiting
from databases import ADDRESS, ask, place
from rehearsal import Absent, Note, Plays, Says, bodies, carried, kinds, note, project, written
from servers.postgres import Server

SHARES = 4
TELLING = ("before a commit", "within a commit", "after a commit", "after an effect")
"""Instants at which a server may differ from a file; with the others they are all in `full`."""
SCRIPT = Path(__file__).parent / "killed.py"


# ------------------------------------------------------------------------ at most once


def test_an_act_whose_process_died_is_in_doubt_until_a_person_settles_it(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    judged, run = _dies_acting(tmp_path, ledger)
    for _ in range(3):  # however often it is taken up
        result = carried(judged, ledger, run_id=run)
        assert (result.status, result.waits_for) == ("waiting", "settle")
    assert len(list(bodies(ledger, run, ActInDoubt))) == 1
    assert written(tmp_path) == ["a"]
    (asked,) = waiting(ledger)
    assert (asked.for_whom, asked.run, asked.proposal) == ("settle", run, note("a"))

    anyio.run(lambda: settle(ledger, run, happened=True, by="bob", told="it is there"))
    assert list(waiting(ledger)) == []
    assert carried(judged, ledger, run_id=run).status == "finished"
    assert written(tmp_path) == ["a", "b"]
    settled = next(bodies(ledger, run, ActSettled))
    assert (settled.by, settled.happened) == ("bob", True)
    assert Outcome.parse(ledger.get(settled.outcome)).output == "it is there"


def test_an_act_that_is_settled_as_not_done_is_not_tried_again(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    judged, run = _dies_acting(tmp_path, ledger)
    anyio.run(lambda: settle(ledger, run, happened=False, by="bob"))
    assert carried(judged, ledger, run_id=run).status == "finished"
    assert written(tmp_path) == ["a", "b"]  # `a` was written before the death, and never after it


def test_nothing_is_settled_twice_nor_where_nothing_is_in_doubt(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    _, run = _dies_acting(tmp_path, ledger)
    anyio.run(lambda: settle(ledger, run, happened=True, by="bob"))
    with pytest.raises(NotWaiting, match="no act is in doubt"):
        anyio.run(lambda: settle(ledger, run, happened=False, by="eve"))
    with pytest.raises(NotWaiting, match="no run"):
        anyio.run(lambda: settle(ledger, "9" * 32, happened=True, by="bob"))
    assert len(list(bodies(ledger, run, ActSettled))) == 1


def test_an_act_is_started_only_where_that_is_durable(tmp_path: Path, ledger: SqlLedger) -> None:
    """The executor reads the file itself: `act.started` stands there before it does anything."""

    class Looks(Note):
        async def act(self, ticket: Ticket) -> Outcome:
            assert _rows(tmp_path)[-1][1].find(b'"kind":"act.started"') > 0
            return await super().act(ticket)

    carried(project(tmp_path, note("a"), executors=[Looks(tmp_path / "log")]), ledger)
    assert written(tmp_path) == ["a"]


def test_no_act_where_its_start_cannot_be_written(tmp_path: Path, ledger: SqlLedger) -> None:
    """Another hand writes to the run first: what stood on events that are not there is not done."""
    thoughts: list[int] = []

    def intrudes(event: Event) -> None:
        thoughts.extend([event.body.turn] if isinstance(event.body, StepThought) else [])
        if isinstance(event.body, TicketIssued) and len(thoughts) == 1:
            with SqlLedger.open(tmp_path / "ledger.db") as other:
                journal = Journal(other, event.run, len(list(other.read(event.run))))
                journal.log(RunResumed())
                hand = Thread(target=anyio.run, args=(journal.commit,))
                hand.start()
                hand.join()

    run = "a" * 32
    with pytest.raises(Conflict, match=r"another process carries this run \(it wrote run\.resumed"):
        carried(project(tmp_path, note("a")), ledger, run_id=run, watch=intrudes)
    assert (thoughts, written(tmp_path)) == ([1], [])
    assert kinds(ledger, run).count("run.resumed") == 1  # the loser gives way, once
    assert carried(project(tmp_path, note("a")), ledger, run_id=run).status == "finished"
    assert written(tmp_path) == ["a"]


# ------------------------------------------------------------------------ nothing lost


def test_a_run_that_waits_is_nothing_but_rows(tmp_path: Path, ledger: SqlLedger) -> None:
    """All that was judged before the person was asked is durable when the process returns."""
    critic = Says(0.25)
    gate = threshold("critic", reject_at=0.5, escalate_at=0.2, to="ann")
    judged = project(tmp_path, note("a"), auditors=[critic, Absent(name="ann")], gate=gate)
    begun = carried(judged, ledger)
    assert begun.status == "waiting"
    with SqlLedger.open(tmp_path / "ledger.db") as other:
        told = [one.answer.auditor for one in bodies(other, begun.run, AuditRecorded)]
        assert told == ["form", "critic"]
        (asked,) = waiting(other)
        assert asked.for_whom == "ann"
        anyio.run(answer, other, begun.run, Says(0.0, name="ann"))
    while carried(judged, ledger, run_id=begun.run).status == "waiting":
        anyio.run(answer, ledger, begun.run, Says(0.0, name="ann"))
    assert written(tmp_path) == ["a"]
    assert [view.moment.turn for view in critic.views] == [1, 2]  # asked once about each


def test_what_waits_beside_a_person_is_kept_too(tmp_path: Path, ledger: SqlLedger) -> None:
    """A machine's verdict that came after the person was asked is not lost with the process."""
    critic = Says(0.0)
    gate = strictest(person("ann"), threshold("critic", reject_at=0.5))
    judged = project(tmp_path, note("a"), auditors=[critic, Absent(name="ann")], gate=gate)
    begun = carried(judged, ledger)
    with SqlLedger.open(tmp_path / "ledger.db") as other:
        told = [one.answer.auditor for one in bodies(other, begun.run, AuditRecorded)]
    assert told == ["form", "critic"]


def test_budgets_go_on_from_where_they_stood(tmp_path: Path, ledger: SqlLedger) -> None:
    judged, run = _dies_acting(tmp_path, ledger, budget=Budget(steps=2))
    anyio.run(lambda: settle(ledger, run, happened=True, by="bob"))
    result = carried(judged, ledger, run_id=run)
    assert (result.status, result.turns) == ("exhausted", 2)


def test_time_spent_thinking_goes_on_from_where_it_stood(tmp_path: Path, ledger: SqlLedger) -> None:
    """And it is what the clock says, whatever the thinker claims to have used."""
    judged, run = _dies_acting(tmp_path, ledger)
    anyio.run(lambda: settle(ledger, run, happened=True, by="bob"))
    carried(judged, ledger, run_id=run)
    spent = [one.usage.seconds for one in bodies(ledger, run, StepThought) if one.usage]
    assert len(spent) == 3 and min(spent) > 0
    progress = Progress(run)
    for event in ledger.read(run):
        progress.apply(event)
    assert progress.spent == Usage(seconds=sum(spent))


def test_the_box_goes_on_from_where_it_stood(tmp_path: Path, ledger: SqlLedger) -> None:
    class Keeps(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            done = await box.run(("sh", "-c", "echo thought >> kept; cat kept"))
            thought = await super().think(history, box)
            return thought.model_copy(update={"content": done.stdout.decode()})

    judged, run = _dies_acting(tmp_path, ledger, thinker=Keeps(note("a"), note("b")))
    anyio.run(lambda: settle(ledger, run, happened=True, by="bob"))
    carried(judged, ledger, run_id=run)
    thoughts = [one.content for one in bodies(ledger, run, StepThought) if one.content]
    assert [ledger.get(one) for one in thoughts] == [b"thought\n" * n for n in (1, 2, 3)]


def test_a_finished_run_is_finished(tmp_path: Path, ledger: SqlLedger) -> None:
    judged = project(tmp_path, note("a"))
    first = carried(judged, ledger)
    before = _rows(tmp_path)
    assert carried(judged, ledger, run_id=first.run) == first
    assert _rows(tmp_path) == before
    with pytest.raises(OtherProject):
        carried(project(tmp_path, goal="another"), ledger, run_id=first.run)


def test_a_person_and_a_process_cannot_both_write_what_comes_next(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """Two answers to one question: the first stands, and the second is told."""
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    begun = carried(judged, ledger)

    async def slowly(view: View) -> Verdict:
        with SqlLedger.open(tmp_path / "ledger.db") as other:
            await answer(other, begun.run, Says(1.0, name="ann"))
        return ann.verdict(view, score=0.0)

    ann = Says(slowly, name="ann")
    with pytest.raises(Conflict):
        anyio.run(answer, ledger, begun.run, ann)
    carried(judged, ledger, run_id=begun.run)
    assert written(tmp_path) == []


def test_entries_that_memory_has_let_go_are_read_again(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audition.history, "KEPT", 2)
    seen: list[list[Any]] = []

    def look(view: View) -> Verdict:
        seen.append([entry.number for entry in view.history.last(100)])
        return critic.verdict(view, score=0.0)

    critic = Says(look, sees=frozenset({Evidence.HISTORY}))
    gate = threshold("critic", reject_at=0.5)
    steps = [note(str(n)) for n in range(6)]
    carried(project(tmp_path, *steps, auditors=[critic], gate=gate), ledger)
    assert seen == [list(range(1, n)) for n in range(1, 8)]


# ------------------------------------------------------------------------ killed at every instant


@pytest.fixture(scope="module")
def instants(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the instants of a whole run, in order."""
    return json.loads(_killed("count", tmp_path_factory.mktemp("whole")))


def test_the_instants_cover_every_stage(instants: list[str], unverified: SqlLedger) -> None:
    stages = {"thought", "proposed", "decided"}
    assert {f"before step.{stage}" for stage in stages} <= set(instants)
    for name in ("moment.sealed", "audit.drawn", "audit.recorded", "ticket.issued"):
        assert f"before {name}" in instants
    for name in ("act.started", "act.finished", "run.opened", "run.closed"):
        assert f"before {name}" in instants
    around = [name.removesuffix("a commit") for name in instants if name.endswith(" a commit")]
    assert around == ["before ", "within ", "after "] * (len(around) // 3)
    assert instants.count("before an effect") == instants.count("after an effect") == 2


@pytest.mark.parametrize("share", range(SHARES))
def test_a_run_that_is_killed_at_any_instant_ends_as_if_it_had_not_been(
    tmp_path: Path, unverified: SqlLedger, instants: list[str], share: int
) -> None:
    _ends_as_if_not_killed(tmp_path, instants, range(share, len(instants), SHARES))


def test_a_run_on_a_server_that_is_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, unverified: SqlLedger, instants: list[str], postgres: Server
) -> None:
    telling = [k for k, name in enumerate(instants) if name in TELLING]
    _on_a_server(postgres, tmp_path, telling[::9])
    _ends_as_if_not_killed(tmp_path, instants, telling[::9])


@pytest.mark.full
@pytest.mark.parametrize("share", range(SHARES))
def test_a_run_on_a_server_that_is_killed_at_any_instant_ends_as_if_it_had_not_been(
    tmp_path: Path, unverified: SqlLedger, instants: list[str], postgres: Server, share: int
) -> None:
    chosen = range(share, len(instants), SHARES)
    _on_a_server(postgres, tmp_path, chosen)
    _ends_as_if_not_killed(tmp_path, instants, chosen)


def _on_a_server(postgres: Server, folder: Path, chosen: Sequence[int]) -> None:
    """A database of its own for each of these runs."""
    for k in chosen:
        (folder / str(k)).mkdir()
        (folder / str(k) / ADDRESS).write_text(postgres.address(postgres.fresh()))


def _ends_as_if_not_killed(tmp_path: Path, instants: list[str], chosen: Sequence[int]) -> None:
    _killed("kill", tmp_path, *chosen)
    left = {k: _rows(tmp_path / str(k)) for k in chosen}
    lines = {k: written(tmp_path / str(k)) for k in chosen}
    surfaced = {k: _surfaced(tmp_path / str(k)) for k in chosen}
    _killed("resume", tmp_path, *chosen)
    for k in chosen:
        folder, name = tmp_path / str(k), f"killed at instant {k}, {instants[k]}"
        then = _rows(folder)
        assert then[: len(left[k])] == left[k], f"{name}: a committed event was lost or changed"
        events = [parse_event(data) for _, data in then]
        under_way = _under_way(left[k])
        told = json.loads((folder / "resumed.json").read_text())

        assert told["status"] == "finished", name
        assert told["turns"] == 6, name
        assert told["answer"] == "one\ntwo\n", f"{name}: the box lost what was in it"
        assert surfaced[k] == under_way, f"{name}: what is in doubt was not listed"
        assert [doubt["ticket"] for doubt in told["doubts"]] == under_way, name

        acts = {"one", "two, better"}
        for doubt in told["doubts"]:
            if not doubt["happened"]:  # said not to have happened: it is not tried again
                acts -= {"one"} if not lines[k] else {"two, better"}
        assert sorted(written(folder)) == sorted(acts), f"{name}: an act was lost or done twice"
        _consistent(events, name)
        findings = verify(place(folder)).findings
        assert [str(finding) for finding in findings] == [], name


def _consistent(events: list[Event], name: str) -> None:
    """Every ticket is redeemed at most once, and what was redeemed has one end."""
    started = [event.body.ticket for event in events if isinstance(event.body, ActStarted)]
    ended = [
        event.body.ticket for event in events if isinstance(event.body, (ActFinished, ActSettled))
    ]
    issued = [event.body.ticket for event in events if isinstance(event.body, TicketIssued)]
    assert len(set(started)) == len(started) == 2, name
    assert started == ended, name
    assert set(started) <= set(issued), name
    turns = [event.body.turn for event in events if isinstance(event.body, StepThought)]
    assert turns == [1, 2, 3, 4, 5, 6], f"{name}: a committed thought was thought again"
    assert sum(isinstance(event.body, RunOpened) for event in events) == 1, name
    settled = [event.body for event in events if isinstance(event.body, ActSettled)]
    assert all(one.by == SETTLED_BY for one in settled), name


def test_the_history_of_a_resumed_run_is_that_of_an_uninterrupted_one(
    tmp_path: Path, unverified: SqlLedger, instants: list[str]
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    _killed("count", whole)
    doubtless = [
        k
        for k in range(7, len(instants), 13)
        if "effect" not in instants[k] and "act.finished" not in instants[k]
    ]
    _killed("kill", tmp_path, *doubtless)
    _killed("resume", tmp_path, *doubtless)
    digests = {_history(tmp_path / str(k)) for k in doubtless if not _doubted(tmp_path / str(k))}
    assert digests == {_history(whole)}


class _Dies(BaseException):
    """A process that ends in the middle of an act."""


def _dies_acting(folder: Path, ledger: SqlLedger, **changes: Any) -> tuple[Any, RunId]:
    """A run whose first act took effect and was never answered."""

    class Dies(Note):
        async def act(self, ticket: Ticket) -> Outcome:
            done = await super().act(ticket)
            if self.lines == ["a"]:
                raise _Dies
            return done

    runs: list[RunId] = []
    judged = project(folder, note("a"), note("b"), executors=[Dies(folder / "log")], **changes)
    with pytest.raises(_Dies):
        carried(judged, ledger, watch=lambda event: runs.append(event.run))
    assert kinds(ledger, runs[0])[-1] == "act.started"
    return judged, runs[0]


def _killed(do: str, folder: Path, *chosen: int) -> str:
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), do, str(folder), *map(str, chosen)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rows(folder: Path) -> list[tuple[int, bytes]]:
    """The committed events, byte for byte."""
    where = place(folder)
    if not on_server(where) and not Path(where).exists():
        return []
    try:
        return ask(where, 'SELECT "index", data FROM events ORDER BY "index"')
    except ProgrammingError:  # the tables are not there yet
        return []


def _bodies(folder: Path) -> Iterator[Body]:
    return (parse_event(data).body for _, data in _rows(folder))


def _under_way(rows: list[tuple[int, bytes]]) -> list[str]:
    """Tickets that were redeemed and never answered."""
    tickets: list[str] = []
    for _, data in rows:
        match parse_event(data).body:
            case ActStarted(ticket=ticket):
                tickets.append(ticket)
            case ActFinished(ticket=ticket):
                tickets.remove(ticket)
            case _:
                pass
    return tickets


def _surfaced(folder: Path) -> list[str | None]:
    with SqlLedger.open(place(folder)) as ledger:
        return [one.ticket for one in waiting(ledger) if one.for_whom == "settle"]


def _history(folder: Path) -> str:
    progress = Progress(RUN)
    for _, data in _rows(folder):
        progress.apply(parse_event(data))
    return progress.history


def _doubted(folder: Path) -> bool:
    return any(isinstance(body, ActSettled) for body in _bodies(folder))
