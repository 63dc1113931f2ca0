"""A savepoint that says anything else than the events before it is found, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.canonical import digest_bytes
from audition.ledger.events import KeyEnrolled, PlantSealed, RunResumed, RunSaved
from audition.ledger.savepoint import ENTRIES, Entry, Frame, Savepoint
from audition.step import Signature, Usage
from audition.verify import Verification, verify
from handmade import KEY, Events, Scribe, first

OTHER = "e" * 64
ENROLLED = KeyEnrolled(person="ann", key="k", signature=Signature(key="k", value=b""))


def examined(tmp_path: Path, pen: Scribe, twist: handmade.Twist | None = None) -> Verification:
    return verify(handmade.write(tmp_path / "runs.db", pen, twist=twist), [KEY.public])


def points(pen: Scribe) -> list[Savepoint]:
    named = [body.savepoint for _, body in pen.events if isinstance(body, RunSaved)]
    held = {digest_bytes(data): data for data, _ in pen.contents}
    return [Savepoint.parse(held[name]) for name in named]


def altered(pen: Scribe, nth: int, data: bytes) -> None:
    """Put another content in the nth savepoint's place."""
    at = first(pen.events, "run.saved", nth)
    pen.contents.append((data, False))
    pen.events[at] = pen.events[at][0], RunSaved(savepoint=digest_bytes(data))


def test_an_honest_run_that_was_saved_verifies(tmp_path: Path) -> None:
    pen = handmade.saved_run()
    one, two = points(pen)
    assert (one.length, two.length, two.planted, len(two.frames)) == (1, 2, 1, 2)
    assert two.earlier is not None and len(one.entries) == len(two.entries) == 1
    found = examined(tmp_path, pen)
    assert found.ok, found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("turns", 7),
        ("planted", 0),
        ("length", 9),
        ("history", OTHER),
        ("before", OTHER),
        ("before", None),
        ("frames", (Frame("1", OTHER),)),
        ("spent", Usage()),
        ("spent", Usage(seconds=0.75, usd=1.0)),
        ("box", OTHER),
        ("box", None),
        ("state", OTHER),
        ("seal", None),
        ("seal", PlantSealed(count=2, rate=0.5, leaves=OTHER)),
        ("paces", ()),
        ("keys", (ENROLLED,)),
        ("since", OTHER),
        ("earlier", None),
        ("earlier", OTHER),
        ("entries", ()),
        ("entries", (Entry(number=2, place="1", proposal=OTHER, action="reject"),)),
    ],
)
def test_what_a_savepoint_says_is_what_the_run_came_to(
    tmp_path: Path, field: str, value: Any
) -> None:
    pen = handmade.saved_run()
    forged = points(pen)[1].model_copy(update={field: value})
    altered(pen, 1, forged.canonical())
    named = examined(tmp_path, pen).first_bad
    assert named is not None and (named.guarantee, named.kind) == (9, "run.saved")
    assert f"the savepoint's {field}" in named.says


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[]", "content is no savepoint"),
        (b"no JSON", "content is no savepoint"),
        (b"[" * 100, "content is no savepoint"),
        (b"{}", "turns is not that of the run here"),
        (b" " * (1 << 20) + b"{}", "content is no savepoint"),
    ],
    ids=["list", "text", "deep", "empty", "long"],
)
def test_what_is_no_savepoint_is_found(tmp_path: Path, data: bytes, says: str) -> None:
    pen = handmade.saved_run()
    altered(pen, 0, data)
    named = examined(tmp_path, pen).first_bad
    assert named is not None and says in named.says


def test_a_savepoint_is_written_as_this_version_writes_it(tmp_path: Path) -> None:
    pen = handmade.saved_run()
    plain = points(pen)[0].canonical()
    altered(pen, 0, plain.replace(b'"turns":1', b'"turns":1,"unknown":1'))
    named = examined(tmp_path, pen).first_bad
    assert named is not None and named.says.startswith("the savepoint's form")


@pytest.mark.parametrize("stood_on", [None, OTHER])
def test_who_takes_a_run_up_stands_on_its_newest_savepoint(
    tmp_path: Path, stood_on: str | None
) -> None:
    def elsewhere(events: Events) -> Events:
        at = first(events, "run.resumed")
        events[at] = events[at][0], RunResumed(box=handmade.BOX, savepoint=stood_on)
        return events

    named = examined(tmp_path, handmade.saved_run(), elsewhere).first_bad
    assert named is not None and (named.guarantee, named.kind) == (9, "run.resumed")
    assert "another savepoint" in named.says


def test_a_run_that_is_saved_too_late_for_one_savepoint_is_out_of_order(tmp_path: Path) -> None:
    pen = Scribe()
    pen.open()
    for number in range(ENTRIES + 1):
        pen.think(handmade.shell(str(number)), None)
        pen.judged(rules=1.0)
        pen.enters("reject")
    pen.log(RunSaved(savepoint=OTHER))
    named = examined(tmp_path, pen).first_bad
    assert named is not None and f"more than {ENTRIES} steps" in named.says


def test_a_run_is_saved_between_two_steps_and_nowhere_else(tmp_path: Path) -> None:
    def during(events: Events) -> Events:
        saved = events.pop(first(events, "run.saved"))
        events.insert(first(events, "moment.sealed", 1), saved)
        return events

    named = examined(tmp_path, handmade.saved_run(), during).first_bad
    assert named is not None and "run.saved stands where" in named.says


def test_a_savepoint_that_was_deleted_is_held_against_the_run_all_the_same(tmp_path: Path) -> None:
    pen = handmade.saved_run()
    path = handmade.write(tmp_path / "runs.db", pen)
    assert pen.saved is not None
    handmade.redact(path, pen.saved, pen.run, len(pen.events))
    assert verify(path, [KEY.public]).ok
    altered(pen, 1, b"{}")
    path = handmade.write(tmp_path / "forged.db", pen)
    handmade.redact(path, digest_bytes(b"{}"), pen.run, len(pen.events))
    named = verify(path, [KEY.public]).first_bad
    assert named is not None and "content is no savepoint" in named.says
