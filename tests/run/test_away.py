"""A model that is away: the run stays where it is, and goes on as if nothing had been begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import audition.loop
from audition.audit import Left
from audition.gate import threshold
from audition.ledger import SqlLedger
from audition.ledger.events import AuditRecorded, StepThought
from audition.loop import run as carry
from audition.model import ModelAway, ModelError
from audition.step import Box, Finish, History, Think, Thought, View
from rehearsal import Plays, Says, bodies, carried, kinds, note, project, written


class Calls(Plays):
    """Leaves a line in the box, then calls a model that is away a number of times."""

    def __init__(self, *proposals: Any, away: int = 1, error: Exception | None = None) -> None:
        super().__init__(*proposals)
        self.away = away
        self.error = error or ModelAway("no answer from\n127.0.0.1\u202e")
        self.lines: list[bytes] = []

    async def think(self, history: History, box: Box) -> Thought:
        done = await box.run(("sh", "-c", "echo begun >> kept; cat kept"))
        self.lines.append(done.stdout)
        if self.away:
            self.away -= 1
            raise self.error
        return await super().think(history, box)


def test_nothing_is_written_and_the_reason_is_one_line(tmp_path: Path, ledger: SqlLedger) -> None:
    judged = project(tmp_path, thinker=Calls(note("a")))
    result = carried(judged, ledger)
    assert (result.status, result.waits_for, result.turns) == ("waiting", "thinker", 0)
    assert result.reason == "ModelAway: no answer from⟨U+000A⟩127.0.0.1⟨U+202E⟩"
    assert kinds(ledger, result.run) == ["run.opened"]


def test_a_run_that_waits_for_its_model_is_nothing_but_rows(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """Also what no act made durable: the step before is there for whoever goes on."""

    class Later(Calls):
        async def think(self, history: History, box: Box) -> Thought:
            return await (super() if history.turns else Plays(Think(prompt="b"))).think(
                history, box
            )

    judged = project(tmp_path, thinker=Later())
    result = carried(judged, ledger)
    assert (result.status, result.turns) == ("waiting", 1)
    assert kinds(ledger, result.run)[-1] == "step.decided"
    assert carried(judged, ledger, run_id=result.run).status == "finished"


def test_what_was_begun_in_the_box_is_gone_when_the_thought_is_had_again(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    thinker = Calls(note("a"))
    judged = project(tmp_path, thinker=thinker)
    first = carried(judged, ledger)
    assert carried(judged, ledger, run_id=first.run).status == "finished"
    assert thinker.lines == [b"begun\n", b"begun\n", b"begun\nbegun\n"]
    assert written(tmp_path) == ["a"]


def test_who_waits_tries_again_with_growing_pauses_and_writes_nothing_meanwhile(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(audition.loop.anyio, "sleep", sleep)
    monkeypatch.setattr(audition.loop, "LONGEST", 4.0)

    class Flaky(Calls):
        async def think(self, history: History, box: Box) -> Thought:
            if history.turns and not self.away and len(self.lines) == 5:
                self.away = 1  # away again, after a step
            return await super().think(history, box)

    thinker = Flaky(note("a"), away=4)
    result = carried(project(tmp_path, thinker=thinker), ledger, wait=True)
    assert (result.status, pauses) == ("finished", [1.0, 2.0, 4.0, 4.0, 1.0])
    assert thinker.lines[:5] == [b"begun\n"] * 5
    assert "run.resumed" not in kinds(ledger, result.run)


def test_who_waits_gives_way_to_another_process(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audition.loop, "PAUSE", 0.01)
    run = "e" * 32

    class Taken(Calls):
        async def think(self, history: History, box: Box) -> Thought:
            with SqlLedger.open(tmp_path / "ledger.db") as other:
                result = await carry(project(tmp_path, thinker=Calls()), other, run_id=run)
            assert result.waits_for == "thinker"
            return await super().think(history, box)

    with pytest.raises(audition.loop.Carried):
        carried(project(tmp_path, thinker=Taken(note("b"))), ledger, run_id=run, wait=True)
    assert kinds(ledger, run) == ["run.opened", "run.resumed"]


def test_a_model_whose_answer_cannot_be_used_ends_the_run(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    error = ModelError("another model answers now")
    result = carried(project(tmp_path, thinker=Calls(note("a"), error=error)), ledger)
    assert result.status == "failed"
    assert result.reason == "the thinker failed: ModelError: another model answers now"
    assert not list(bodies(ledger, result.run, StepThought))


def test_an_auditor_whose_model_is_away_fails_and_teaches_nothing(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    def away(view: View) -> Any:
        raise ModelAway("no answer")

    gate = threshold("critic", reject_at=1)
    judged = project(tmp_path, Finish(answer="a"), auditors=[Says(away)], gate=gate)
    result = carried(judged, ledger)
    failures = [one.failure for one in bodies(ledger, result.run, AuditRecorded) if one.failure]
    assert {(one.kind, one.cause) for one in failures} == {("crashed", "infrastructure")}


def test_a_person_who_thinks_and_leaves_has_said_nothing_and_the_run_waits(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    judged = project(tmp_path, thinker=Calls(note("a"), error=Left("nobody is there")))
    first = carried(judged, ledger, wait=True)
    assert (first.status, first.turns, first.reason) == ("waiting", 0, "Left: nobody is there")
    assert first.waits_for == judged.thinker.name
    assert kinds(ledger, first.run) == ["run.opened"]
    assert carried(judged, ledger, run_id=first.run).status == "finished"
