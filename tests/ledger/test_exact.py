"""What is read at one look is what is read with care, whatever the bytes are."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import handmade
from audition.canonical import CanonicalError, canonical, glance, parse
from audition.ledger import events, parse_event
from audition.ledger.events import EventError
from audition.step import Event

PENS = (
    handmade.live_run(),
    handmade.recorded_run(),
    handmade.planted_run(),
    handmade.compared_run(),
    handmade.failed_run(),
    handmade.saved_run(),
)
WRITTEN = {
    body.kind: Event(run=pen.run, seq=seq, at=at, body=body).canonical()
    for pen in PENS
    for seq, (at, body) in enumerate(pen.events)
}
AT_ONCE = sorted(kind for kind, data in WRITTEN.items() if events._at_once(data) is not None)  # pyright: ignore[reportPrivateUsage]

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**54),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "1", "true", "act", "reject", "0" * 64, "~b:AAAA", "é", "a\nb"]),
    st.just([]),
    st.just({}),
)


def with_care(data: bytes) -> Event | str:
    with mock.patch.object(events, "_at_once", return_value=None):
        try:
            return parse_event(data)
        except EventError as error:
            return str(error)


def at_once(data: bytes) -> Event | str:
    try:
        return parse_event(data)
    except EventError as error:
        return str(error)


def test_the_events_of_an_act_are_read_at_one_look() -> None:
    of_an_act = {
        *("step.thought", "step.proposed", "moment.sealed", "audit.drawn", "audit.recorded"),
        *("step.decided", "ticket.issued", "act.started", "act.finished"),
    }
    assert of_an_act <= set(AT_ONCE)


@pytest.mark.parametrize("kind", sorted(WRITTEN))
def test_what_was_written_is_read_the_same(kind: str) -> None:
    found = at_once(WRITTEN[kind])
    assert isinstance(found, Event) and found == with_care(WRITTEN[kind])
    assert found.canonical() == WRITTEN[kind]


@given(kind=st.sampled_from(sorted(WRITTEN)), data=st.data())
def test_an_altered_field_is_judged_the_same(kind: str, data: st.DataObject) -> None:
    fields = orjson.loads(WRITTEN[kind])
    for _ in range(data.draw(st.integers(1, 2))):
        _alter(fields, data)
    try:
        altered = canonical(fields)
    except (CanonicalError, UnicodeEncodeError):
        return
    assert at_once(altered) == with_care(altered)


@given(kind=st.sampled_from(sorted(WRITTEN)), data=st.data())
def test_altered_bytes_are_judged_the_same(kind: str, data: st.DataObject) -> None:
    written = WRITTEN[kind]
    at = data.draw(st.integers(0, len(written)))
    cut = data.draw(st.integers(0, 3))
    altered = written[:at] + data.draw(st.binary(max_size=3)) + written[at + cut :]
    assert at_once(altered) == with_care(altered)


@pytest.mark.parametrize("kind", AT_ONCE)
def test_no_field_is_made_to_fit(kind: str) -> None:
    """Each field in turn as text, as a truth, as nothing, and left out."""
    for path in _paths(orjson.loads(WRITTEN[kind])):
        for value in ("1", True, None, 1, 1.5, ...):
            fields = copy.deepcopy(orjson.loads(WRITTEN[kind]))
            inner = fields
            for step in path[:-1]:
                inner = inner[step]
            if value is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            altered = canonical(fields)
            assert at_once(altered) == with_care(altered), (path, value)


@given(
    st.recursive(
        values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    )
)
def test_a_glance_sees_what_a_look_sees(value: Any) -> None:
    try:
        written = canonical(value)
    except CanonicalError:
        return
    assert glance(written) in (None, parse(written))


@pytest.mark.parametrize(
    "data",
    [
        b"[1.0]",
        b"[1e5]",
        b"[ 1]",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b"[1]\n",
        b"",
        b"[9007199254740993]",
    ],
)
def test_a_glance_takes_nothing_that_is_not_canonical(data: bytes) -> None:
    assert glance(data) is None


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    listed = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in listed:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from _paths(inner, (*path, key))


def _alter(fields: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(_paths(fields))))
    for step in path[:-1]:
        fields = fields[step]
    match data.draw(st.sampled_from(["exchange", "drop", "add"])):
        case "exchange":
            fields[path[-1]] = data.draw(values)
        case "drop":
            del fields[path[-1]]
        case _ if isinstance(fields, dict):
            fields[data.draw(st.sampled_from(["by", "usage", "words", "said", "box", "zz"]))] = (
                data.draw(values)
            )
        case _:
            fields.append(data.draw(values))
