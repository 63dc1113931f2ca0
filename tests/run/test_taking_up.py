"""Taking a run up again: one process, the same project, the same box."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import audition.loop
from audition.act import Shell, WriteFile
from audition.act.schema import schema_of
from audition.box import BoxConfig, BoxRefused, open_box
from audition.gate import person, threshold
from audition.history import Progress
from audition.ledger import Conflict, SqlLedger
from audition.loop import OtherProject
from audition.project import Budget, Project
from audition.step import MOST, Box, History, Restriction, Thought, Usage, Verdict, View
from audition.think import Line, Scripted
from audition.waiting import answer, waiting
from databases import ask
from rehearsal import (
    Absent,
    NoteArguments,
    Plays,
    Says,
    carried,
    kinds,
    note,
    project,
    red,
    written,
)

ANOTHER = schema_of("note", "Write another line", NoteArguments)


def test_who_waits_beside_a_run_that_another_takes_up_gives_way(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audition.loop, "POLL", 0.01)
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    run = "b" * 32

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(taken_up)
            with pytest.raises(Conflict, match="nothing more was done here"):
                await audition.loop.run(judged, ledger, run_id=run, wait=True)

    async def taken_up() -> None:
        with SqlLedger.open(tmp_path / "ledger.db") as other:
            while not list(waiting(other)):  # noqa: ASYNC110  the ledger tells nobody
                await anyio.sleep(0.01)
            assert (await audition.loop.run(judged, other, run_id=run)).status == "waiting"

    anyio.run(both)
    assert kinds(ledger, run).count("run.resumed") == 1


def test_a_persons_word_in_between_is_gone_on_from(tmp_path: Path, ledger: SqlLedger) -> None:
    """The person at this terminal is slower than the same person at another."""

    async def slowly(view: View) -> Verdict:
        if view.moment.turn == 1:
            with SqlLedger.open(tmp_path / "ledger.db") as other:
                await answer(other, view.moment.run, Says(0.0, name="ann"))
        return ann.verdict(view, score=0.0)

    ann = Absent(slowly, name="ann")
    ann.present = True  # type: ignore[attr-defined]
    ann.outside = True  # type: ignore[attr-defined]
    judged = project(tmp_path, note("a"), auditors=[ann], gate=person("ann"))
    assert carried(judged, ledger).status == "finished"
    assert written(tmp_path) == ["a"]


def test_a_box_that_is_not_as_the_last_thought_left_it_is_refused(
    tmp_path: Path, unverified: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keeps(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            await box.run(("sh", "-c", "echo good > kept"))
            return await super().think(history, box)

    async def planted() -> bytes:
        async with open_box() as box:
            await box.run(("sh", "-c", "echo evil > kept"))
            return await box.save()

    judged = project(
        tmp_path, thinker=Keeps(note("a")), auditors=[Absent(name="ann")], gate=person("ann")
    )
    begun = carried(judged, unverified)
    before, archive = kinds(unverified, begun.run), anyio.run(planted)
    box = partial(open_box, saved=archive)
    monkeypatch.setattr(audition.loop, "open_box", lambda config, *, saved: box(config))
    with pytest.raises(BoxRefused, match="the saved state was altered") as caught:
        carried(judged, unverified, run_id=begun.run)
    assert "\n" not in str(caught.value)
    assert kinds(unverified, begun.run) == before


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("thinker", {"thinker": Scripted([Line(propose=note("c"))])}),
        ("gate", {"gate": threshold("red", reject_at=0.6)}),
        ("auditors", {"auditors": [red("b")]}),
        ("budget", {"budget": Budget(steps=7)}),
        ("box", {"box": BoxConfig(uid=61_185)}),
        ("goal", {"goal": "another"}),
        ("restrictions", {"restrictions": (Restriction(name="r", says="no"),)}),
        ("secret", {"secret": bytes(32)}),
        ("tools", {"executors": [Shell("/", environment={"A": "1"})]}),
        ("tools", {"executors": [Shell("/", seconds=9)]}),
        ("tools", {"executors": [Shell("/tmp")]}),
        ("tools", {"executors": [Shell("/"), WriteFile("/")]}),
    ],
)
def test_a_project_that_has_changed_is_told_which_part(
    tmp_path: Path, ledger: SqlLedger, part: str, changes: dict[str, Any]
) -> None:
    same: dict[str, Any] = {
        "thinker": Scripted([Line(propose=note("b"))]),
        "executors": [Shell("/")],
    }
    first = carried(project(tmp_path, **same), ledger)
    assert carried(project(tmp_path, **same), ledger, run_id=first.run) == first
    with pytest.raises(OtherProject, match=rf"under another project: its {part} differs?;"):
        carried(project(tmp_path, **(same | changes)), ledger, run_id=first.run)


def test_a_run_taken_up_for_its_answer_is_made_durable_with_the_acts_start(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """Nothing leaves before; what is thought next, or in doubt, waits for its own commit."""
    judged = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    first = carried(judged, ledger)
    anyio.run(answer, ledger, first.run, Says(0.0, name="ann"))
    ((begun,),) = ask(tmp_path / "ledger.db", "SELECT max(size) FROM checkpoints")
    assert carried(judged, ledger, run_id=first.run).status == "waiting"
    groups = ask(
        tmp_path / "ledger.db", f"SELECT size FROM checkpoints WHERE size > {begun} ORDER BY size"
    )
    assert kinds(ledger, first.run)[begun : groups[0][0]] == [
        *("run.resumed", "step.decided", "ticket.issued", "act.started")
    ]


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("thinker", lambda of: vars(of.thinker).update(configuration=lambda: "a" * 64)),
        ("thinker", lambda of: vars(of.thinker).update(name="another")),
        ("auditors", lambda of: vars(of.auditors["ann"]).update(trained_from="a" * 64)),
        ("tools", lambda of: vars(of.executors["note"]).update(schema=ANOTHER)),
    ],
)
def test_what_a_projects_objects_say_is_asked_of_them_each_time(
    tmp_path: Path, ledger: SqlLedger, part: str, changed: Callable[[Project], None]
) -> None:
    """One project carries many runs, and what thinks in it may be updated between two of them."""
    lasting = project(tmp_path, note("a"), auditors=[Absent(name="ann")], gate=person("ann"))
    first = carried(lasting, ledger)
    assert carried(lasting, ledger, run_id=first.run).status == "waiting"
    changed(lasting)
    with pytest.raises(OtherProject, match=rf"under another project: its {part} differs?;"):
        carried(lasting, ledger, run_id=first.run)
    assert carried(lasting, ledger).status == "waiting"


def test_a_thought_that_cannot_be_written_has_failed_and_leaves_no_half_of_its_step(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """What is staged is shared: another run's commit would make half a step durable."""
    result = carried(project(tmp_path, note("a" * (65 << 20))), ledger)
    assert result.status == "failed"
    assert kinds(ledger, result.run) == ["run.opened", "thought.failed", "run.closed"]


def test_costs_stop_at_the_most_that_can_be_written(tmp_path: Path, ledger: SqlLedger) -> None:
    most = Usage(usd=MOST, tokens_in=MOST)

    class Costly(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            return (await super().think(history, box)).model_copy(update={"usage": most})

    result = carried(project(tmp_path, thinker=Costly(note("a"), note("b"))), ledger)
    assert result.status == "finished"
    progress = Progress(result.run)
    for event in ledger.read(result.run):
        progress.apply(event)
    assert (progress.spent.usd, progress.spent.tokens_in) == (MOST, MOST)
    for beyond in ({"usd": 1.7e308}, {"tokens_in": 10**5000}, {"seconds": float("inf")}):
        with pytest.raises(ValueError, match=r"less than or equal|finite"):
            Usage(**beyond)
