"""A run that learns from live moments: what verification holds its events to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import handmade
from audition.learn.live import lessons_of
from audition.learn.trl_trainer import Settings
from audition.learn.with_trl import fit
from audition.ledger import SqlLedger
from audition.ledger.events import LessonTaken, RunOpened
from audition.step import Role
from audition.verify import verify
from chatted import chatted
from folders import folder
from forge import Memory


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    """The events of one run of fitting."""
    place = tmp_path_factory.mktemp("fitted")
    path, model = handmade.write(place / "l.db", chatted((2, 0, 1))), folder(place / "model")

    async def work(ledger: SqlLedger) -> Memory:
        found = lessons_of(ledger).lessons
        settings = Settings(by="dpo", steps=1)
        done = await fit(ledger, found, model, place / "out", settings, name="steerer")
        events = [(event.at, event.body) for event in ledger.read(done.run)]
        opened = events[0][1]
        assert isinstance(opened, RunOpened) and opened.training is not None
        contents = [ledger.get(opened.goal), ledger.get(opened.training.plan)]
        return Memory(done.run, events, [(one, False) for one in contents])

    with SqlLedger.open(path, create=False) as ledger:
        return anyio.run(work, ledger)


def of_a_guard(pen: Memory) -> None:
    (card,) = pen.body("run.opened").auditors
    pen.alter("run.opened", auditors=(card.model_copy(update={"role": Role.GUARD}),))


def of_nobody(pen: Memory) -> None:
    pen.alter("lesson.taken", auditor="somebody")


def picked(pen: Memory) -> None:
    pen.alter("lesson.taken", admissible=2)


def by_another_signal(pen: Memory) -> None:
    pen.alter("lesson.taken", signal="approval")


def others_learned(pen: Memory) -> None:
    pen.alter("thinker.updated", lessons="e" * 64)


def never_learned(pen: Memory) -> None:
    del pen.events[pen.where("thinker.updated")]


def never_taken(pen: Memory) -> None:
    del pen.events[pen.where("lesson.taken")]


def taken_twice(pen: Memory) -> None:
    spot = pen.where("lesson.taken")
    pen.events.insert(spot, pen.events[spot])


def ends_elsewhere(pen: Memory) -> None:
    pen.alter("run.closed", answer=pen.put("other weights"))


@pytest.mark.parametrize(
    ("cheat", "guarantee", "says"),
    [
        (of_a_guard, 8, "lessons of judge, a guard"),
        (of_nobody, 6, "lessons of somebody, who was not declared"),
        (picked, 6, "1 of 2 admissible lessons were taken: chosen, not drawn"),
        (by_another_signal, 6, "lessons by approval; the plan declares comparison"),
        (others_learned, 6, "the update learned from other lessons than were taken"),
        (never_learned, 6, "lessons of live moments were taken and not learned from"),
        (never_taken, 6, "an update without lessons"),
        (taken_twice, 6, "lessons of live moments before those taken earlier were learned"),
        (ends_elsewhere, 6, "the weights at the end are not those of the last update"),
    ],
)
def test_a_cheat_with_lessons_of_live_moments_is_found(
    tmp_path: Path, honest: Memory, cheat: Callable[[Memory], None], guarantee: int, says: str
) -> None:
    pen = Memory(honest.run, [*honest.events], [*honest.contents])
    cheat(pen)
    found = verify(handmade.write(tmp_path / "l.db", pen)).findings  # type: ignore[type-var]
    assert (guarantee, says) in {(one.guarantee, one.says) for one in found}


def test_an_honest_run_shows_nothing_amiss(tmp_path: Path, honest: Memory) -> None:
    assert isinstance(honest.body("lesson.taken"), LessonTaken)
    assert not verify(handmade.write(tmp_path / "l.db", honest)).findings  # type: ignore[type-var]
