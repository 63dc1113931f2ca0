"""Guarantee 6 for what is written for other trainers: no outcome, nothing planted or redacted."""

from __future__ import annotations

from pathlib import Path

import pytest

import handmade
from audition.canonical import digest_bytes
from audition.gate import spec, strictest, threshold
from audition.step import Finish, Think, digest_of
from chatted import chatted, thought_by_a_person
from exported import AWRY, by_event, exported, thinking_run
from handmade import Scribe

WORDS = ((0.9, 0.2, 0.4), (2, 0, 1), (0.1, 0.8, 0.3))


def test_no_outcome_of_a_step_is_in_any_row_of_it(tmp_path: Path) -> None:
    """Other outcomes: rows of the first step are the same bytes, and none tells the last one."""
    rows: list[dict[int, list[str]]] = []
    for number, outcome in enumerate(("a red door", "a blue door")):
        (tmp_path / str(number)).mkdir()
        path = handmade.write(tmp_path / str(number) / "l.db", chatted(*WORDS, outcome=outcome))
        rows.append(by_event(exported(path)[0]))
    (one, other), first = rows, min(rows[0])
    assert one.keys() == other.keys() and len(one) == 3
    assert one[first] == other[first] and not any("door" in row for row in one[first])


def test_the_end_of_a_run_is_in_no_row(tmp_path: Path) -> None:
    pen = chatted(*WORDS)
    before = exported(handmade.write(tmp_path / "open.db", pen))
    pen.close("terminated", reason="it crossed a red line")
    assert exported(handmade.write(tmp_path / "closed.db", pen)) == before


def planted() -> Scribe:
    """A run whose second step is planted; its critic is asked whatever the rules say."""
    gate = strictest(threshold("rules", reject_at=1), threshold("critic", reject_at=1))
    pen = Scribe(handmade.PLANTED, gate=spec(gate))
    pen.open()
    handmade._seal_plant(pen)
    pen.think(Think(prompt="First."))
    pen.judged(0.9)
    pen.enters("proceed")
    pen.place = "1.1"
    handmade._play_plant(pen)
    pen.think(Finish(answer="42"))
    pen.judged(0.4)
    pen.enters("proceed")
    return pen


def test_a_planted_step_is_in_no_row(tmp_path: Path) -> None:
    rows, _ = exported(handmade.write(tmp_path / "l.db", planted()))
    assert len(by_event(rows)) == 2 and len(rows) == 4
    assert not any("/gone" in row or "Nobody looks" in row for row in rows)


SECRET = Think(prompt="The secret is 4711.")


@pytest.mark.parametrize("what", ["proposal", "thought", "candidate"])
def test_what_was_redacted_is_in_no_row_of_its_step_or_a_later_one(
    tmp_path: Path, what: str
) -> None:
    steps = [(Think(prompt=text), (0.9, 0.2, 0.4)) for text in ("One.", "Two.", "Three.")]
    steps[1] = (SECRET, (0.9, 0.2, 0.4))
    pen = thinking_run(*steps)
    pen.close()
    path = handmade.write(tmp_path / "l.db", pen)
    whole, _ = exported(path)
    gone = {
        "proposal": digest_of(SECRET),
        "thought": digest_bytes(b"Hm."),
        "candidate": digest_of(AWRY[0]),
    }[what]
    handmade.redact(path, gone, pen.run, len(pen.events))
    rows, omitted = exported(path)
    kept = {"proposal": 1, "thought": 0, "candidate": 0}[what]
    first, *_ = by_event(whole).values()
    assert rows == first * kept
    assert omitted["redacted"] == 3 * (3 - kept)


def test_an_exchange_that_tells_what_was_redacted_since_is_in_no_row(tmp_path: Path) -> None:
    """The request of a later step repeats the history, whatever was deleted of it."""

    def asks(step: int, candidate: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"It said: a red door. Step {step}?"}]

    pen = chatted(*WORDS[:2], asks=asks, outcome="a red door")
    pen.close()
    path = handmade.write(tmp_path / "l.db", pen)
    (outcome,) = {body.outcome for _, body in pen.events if body.kind == "act.finished"}  # type: ignore[attr-defined]
    handmade.redact(path, outcome, pen.run, len(pen.events))
    rows, omitted = exported(path)
    assert len(by_event(rows)) == 1 and omitted["redacted"] == 1


def test_every_step_of_a_person_who_thinks_is_written_whatever_came_of_it(tmp_path: Path) -> None:
    rows: list[list[str]] = []
    for number, outcome in enumerate(("well", "badly")):
        (tmp_path / str(number)).mkdir()
        pen = thought_by_a_person(outcome=outcome)
        found, _ = exported(handmade.write(tmp_path / str(number) / "l.db", pen))
        rows.append([row for row in found if '"completion"' in row])
    one, other = rows
    assert len(one) == len(other) == 2 and one[0] == other[0]
