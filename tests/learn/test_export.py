"""Exports: what came after a step leaves its row as it is, and only what was written reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.canonical import digest_value
from audition.learn import Batch, Lessons, of_batch
from audition.learn.export import ExportError, from_arrays, from_rows, to_arrays, to_rows
from audition.ledger.events import Column

RUN = "0" * 32
STEPS = 5

LAYOUT = (
    Column(name="seen", dtype="f4", shape=(2,), part="context"),
    Column(name="lever", dtype="u1", part="span"),
    Column(name="drawn", dtype="u1", part="drawn"),
    Column(name="approval", dtype="f4", part="approval"),
    Column(name="prize", dtype="f4", part="reward"),
)


def rows(seed: int, lanes: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    count = lanes * STEPS
    return {
        "seen": rng.normal(size=(count, 2)).astype(np.float32),
        "lever": rng.integers(0, 3, count).astype(np.uint8),
        "drawn": (rng.random(count) < 0.7).astype(np.uint8) | (np.arange(count) == 0),
        "approval": rng.random(count).astype(np.float32),
        "prize": rng.normal(size=count).astype(np.float32),
    }


def taken(columns: Mapping[str, Any]) -> Lessons:
    batch = Batch.of(columns, LAYOUT, STEPS)
    return of_batch(
        batch,
        batch.root(),
        signal="approval",
        auditor="judge",
        rate_R=np.full(batch.rows, 0.7),
        drawn_R=columns["drawn"].astype(bool),
    )


def live(count: int = 3) -> Lessons:
    """Lessons of moments that were not in a batch."""
    return Lessons(
        signal="comparison",
        auditor="ann",
        context={
            "run": np.array([f"{number:032}" for number in range(count)]),
            "tokens": np.arange(count * 2, dtype="<i8").reshape(count, 2) - 2**60,
        },
        span={"text": np.arange(count, dtype="<u2")},
        candidates={"text": np.ones((count, 2, 3), "<f8")},
        weight_L=np.full(count, 4.0),
        moment_L=np.array([digest_value(number) for number in range(count)]),
        population=count * 4,
        ranking_LK=np.tile(np.array([1, 0]), (count, 1)),
    )


LESSONS = [taken(rows(0)), live()]


def same(one: Lessons, other: Lessons) -> bool:
    return one.digest() == other.digest() and (one.signal, one.batch) == (other.signal, other.batch)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_an_export_comes_back_to_the_bit(seed: int, data: st.DataObject) -> None:
    columns = rows(seed)
    odd = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.just(-0.0)
    columns["seen"][:, 0] = data.draw(st.lists(odd, min_size=15, max_size=15))
    lessons = taken(columns)
    for run, again in (from_rows(to_rows(lessons, RUN)), from_arrays(to_arrays(lessons, RUN))):
        assert run == RUN and same(again, lessons)


def test_lessons_of_live_moments_come_back_under_their_digests() -> None:
    for run, again in (from_rows(to_rows(live(), RUN)), from_arrays(to_arrays(live(), RUN))):
        assert run == RUN and same(again, live())
        assert again.moment_L.tolist() == live().moment_L.tolist()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.integers(0, STEPS - 2))
def test_a_corrupted_future_leaves_every_earlier_row_as_it_was(seed: int, step: int) -> None:
    columns, other = rows(seed), rows(seed + 1)
    columns["drawn"][:], later = 1, np.tile(np.arange(STEPS) > step, 3)
    spoiled = {
        name: np.where(later.reshape(-1, *[1] * (array.ndim - 1)), other[name], array)
        for name, array in columns.items()
    }
    spoiled["drawn"][later] = other["drawn"][later]

    def earlier(columns: Mapping[str, Any]) -> list[bytes]:
        lessons = taken(columns)
        lines = list(to_rows(lessons, RUN))[1:]
        return [line for line, row in zip(lines, lessons.moment_L, strict=True) if not later[row]]

    assert taken(columns).batch != taken(spoiled).batch
    assert len(earlier(columns)) == 3 * (step + 1)
    assert earlier(columns) == earlier(spoiled)


def test_a_row_says_which_moment_it_is_of_and_what_it_weighs_and_nothing_that_came_of_it() -> None:
    head, first, *_ = (json.loads(line) for line in to_rows(taken(rows(0)), RUN))
    assert first.keys() == {"approval", "context.seen", "moment", "span.lever", "weight"}
    assert first["weight"] == 1 / 0.7 and first["moment"] == 0
    assert head["run"] == RUN and head["auditor"] == "judge" and head["population"] == 15
    assert head["batch"] == Batch.of(rows(0), LAYOUT, STEPS).root()
    assert head["lessons"] == taken(rows(0)).digest()


@pytest.mark.parametrize("lessons", LESSONS)
def test_the_same_lessons_are_exported_as_the_same_bytes(lessons: Lessons) -> None:
    assert list(to_rows(lessons, RUN)) == list(to_rows(lessons, RUN))
    assert to_arrays(lessons, RUN) == to_arrays(lessons, RUN)


def test_a_number_that_json_lacks_is_refused_by_rows_and_carried_by_arrays() -> None:
    columns = rows(0)
    columns["seen"][0, 1] = np.nan
    lessons = taken(columns)
    with pytest.raises(ExportError, match="lesson 0: JSON has no NaN"):
        list(to_rows(lessons, RUN))
    assert same(from_arrays(to_arrays(lessons, RUN))[1], lessons)


def test_a_run_without_a_name_and_an_array_of_objects_are_refused() -> None:
    with pytest.raises(ExportError, match="run"):
        to_arrays(live(), "")
    odd = Lessons(
        signal="approval",
        auditor="ann",
        context={"text": np.array(["a", None])},
        span={},
        weight_L=np.ones(2),
        moment_L=np.arange(2),
        population=2,
        approval_L=np.ones(2),
    )
    with pytest.raises(ExportError, match=r"arrays\.context\.text\.dtype"):
        list(to_rows(odd, RUN))


# ------------------------------------------------------------------------------ hostile exports


def changed(line: int, **fields: Any) -> list[bytes]:
    """The rows of a good export with fields of one line changed (None: left out)."""
    lines = list(to_rows(taken(rows(0)), RUN))
    row = json.loads(lines[line]) | fields
    row = {name: value for name, value in row.items() if value is not None}
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    lines[line] = text.encode() + b"\n"
    return lines


GOOD = list(to_rows(taken(rows(0)), RUN))
DEEP = b"[" * 100_000 + b"\n"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "line 1: there is no head"),
        ([b"\n"], "line 1: .*JSON"),
        ([b"\xff\n"], "line 1: "),
        ([DEEP], "line 1: "),
        (GOOD[:1], "no lessons"),
        (GOOD[1:], "line 1: "),
        (GOOD[:-1], r"lessons, and the head says \d+"),
        ([*GOOD, GOOD[-1]], "more than the"),
        ([GOOD[0], GOOD[2], GOOD[1], *GOOD[3:]], "not the lessons that the head names"),
        ([*GOOD[:-1], GOOD[-1][:-1]], "not the bytes"),
        ([*GOOD[:-1], GOOD[-1][:-9]], "not JSON"),
        ([*GOOD[:-1], b" " + GOOD[-1]], "not the bytes"),
        ([*GOOD[:-1], DEEP], "not JSON"),
        ([*GOOD[:-1], b"[1]\n"], "not the arrays of the head"),
        ([*GOOD[:-1], b" " * (1 << 24) + b"\n"], "longer than"),
        (changed(0, extra=1), "line 1: extra"),
        (changed(0, format="audition.lessons/2"), "line 1: format"),
        (changed(0, signal="outcome"), "line 1: signal"),
        (changed(0, count=10**17), "line 1: count"),
        (changed(0, count=0), "line 1: count"),
        (changed(0, count=10**12), r"line 1: .*bytes a lesson, 1000000000000 times"),
        (changed(0, arrays={"weight": {"dtype": "<f8", "shape": [1 << 22]}}), "bytes a lesson"),
        (changed(0, arrays={"weight": {"dtype": "<U9999", "shape": [500]}}), "bytes a lesson"),
        (changed(0, population=1), "lessons of 1 moments"),
        (changed(0, lessons="0" * 64), "not the lessons that the head names"),
        (changed(0, arrays={}), "line 2: not the arrays of the head"),
        (changed(3, approval=None), "line 4: not the arrays of the head"),
        (changed(3, reward=1.0), "line 4: not the arrays of the head"),
        (changed(3, approval=2.0), r"lesson 2: an approval of 2.0 is not in \[0, 1\]"),
        (changed(3, approval=True), "line 4: not the bytes"),
        (changed(3, approval="1"), "line 4: not the bytes"),
        (changed(3, approval=[1.0]), "line 4: approval: no <f8 of shape"),
        (changed(3, approval=float("nan")), "line 4: not the bytes"),
        (changed(3, approval={}), "line 4: approval: no <f8"),
        (changed(3, **{"span.lever": 300}), "line 4: span.lever: no |u1"),
        (changed(3, **{"span.lever": 1.5}), "line 4: not the bytes"),
        (changed(3, **{"context.seen": [0.1, 0.0]}), "line 4: not the bytes"),
        (changed(3, **{"context.seen": [1e300, 0.0]}), "line 4: not the bytes"),
        (changed(3, **{"context.seen": [[1.0], 0.0]}), "line 4: context.seen: no <f4"),
        (changed(3, **{"context.seen": []}), "line 4: context.seen: no <f4"),
        (changed(3, weight=-1.0), "weight: an inverse probability"),
        (changed(3, weight=0.5), "not the lessons that the head names"),
    ],
)
def test_what_no_export_says_is_refused_with_its_place(lines: list[bytes], why: str) -> None:
    with pytest.raises(ExportError, match=why):
        from_rows(lines)


@pytest.mark.parametrize("name", ["reward.prize", "outcome", "weight", "moment"])
def test_arrays_that_no_lesson_has_or_lacks_are_refused(name: str) -> None:
    head = json.loads(GOOD[0])["arrays"]
    odd = "." in name or name == "outcome"
    if odd:
        head[name] = {"dtype": "<f8", "shape": []}
    else:
        del head[name]
    lines = changed(0, arrays=head)
    for number in range(1, len(lines)):
        row = json.loads(lines[number])
        row |= {name: 1.0} if odd else {}
        row = {key: value for key, value in row.items() if key in head}
        lines[number] = json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(ExportError, match=f"{name}: a lesson"):
        from_rows(lines)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), lessons=st.sampled_from(LESSONS))
def test_no_flipped_byte_reads_as_an_export(data: st.DataObject, lessons: Lessons) -> None:
    for whole, read in (
        (b"".join(to_rows(lessons, RUN)), lambda new: from_rows(new.splitlines(keepends=True))),
        (to_arrays(lessons, RUN), from_arrays),
    ):
        place = data.draw(st.integers(0, len(whole) - 1))
        new = bytearray(whole)
        new[place] ^= data.draw(st.integers(1, 255))
        try:
            run, again = read(bytes(new))
        except ExportError:
            continue
        assert same(again, lessons)  # the run's name, or the order in which tensors stand
        assert run != RUN or read is from_arrays


@pytest.mark.parametrize("character", [0xD800, 0xDFFF, 0x110000])
def test_a_text_of_what_is_no_character_is_refused(character: int) -> None:
    from safetensors.numpy import load, save

    data = to_arrays(live(), RUN)
    tensors = load(data)
    tensors["context.run"] = tensors["context.run"].copy()
    tensors["context.run"][0, 0] = character
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    with pytest.raises(ExportError, match="no characters"):
        from_arrays(save(tensors, head))


@pytest.mark.parametrize("cut", [0, 7, 8, 40, 400])
def test_safetensors_that_are_cut_off_or_bare_are_refused(cut: int) -> None:
    from safetensors.numpy import save

    with pytest.raises(ExportError):
        from_arrays(to_arrays(live(), RUN)[:cut])
    with pytest.raises(ExportError, match="metadata"):
        from_arrays(save({"weight": np.ones(3)}))
