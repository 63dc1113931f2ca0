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
from audition.canonical import CanonicalError, canonical
from audition.ledger import events, parse_event
from audition.ledger.events import AuditRecorded, EventError, StepThought, ThoughtFailed
from audition.step import Event, Role, Signature, Usage, Verdict

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


@pytest.mark.parametrize(
    ("was", "other"),
    [
        (b'"seconds":0.25', b'"seconds":0.250'),
        (b'"seconds":0.25', b'"seconds":25e-2'),
        (b'"seconds":0.25', b'"seconds":00.25'),
        (b'"seconds":0.25', b'"seconds":0.25000000000000001'),
        (b'"seconds":0.25', b'"seconds":0.00001'),
        (b'"seconds":0.25', b'"seconds":0.0000001'),
        (b'"seconds":0.25', b'"seconds":0.0000010'),
        (b'"seconds":0.25', b'"seconds":123456.100000001'),
        (b'"seconds":0.25', b'"seconds":123456.1000000000000001'),
        (b'"tokens_in":900', b'"tokens_in":900.0'),
        (b'"tokens_in":900', b'"tokens_in":-0'),
        (b'"tokens_in":900', b'"tokens_in":0900'),
        (b'"tokens_in":900', b'"tokens_in": 900'),
        (b'"tokens_in":900', b'"tokens_in":9007199254740993'),
        (b'"calls":0,', b'"calls":0,"calls":0,'),
        (b'"calls":0,"seconds":0.25,', b'"seconds":0.25,"calls":0,'),
        (b'"reason":"why"', b'"reason":"\\u0077hy"'),
        (b'"reason":"why"', b'"reason":"~why"'),
        (b'"reason":"why"', b'"reason":"~~why"'),
        (b'"reason":"why"', b'"reason":"w\thy"'),
        (b'"reason":"why"', b'"reason":"w\xffhy"'),
        (b'"kind":"thought.failed"', b'"kind":"thought.failed" '),
        (b'"seq":0}', b'"seq":0}\n'),
        (b'"seq":0}', b'"seq":9007199254740993}'),
    ],
)
def test_another_spelling_is_judged_the_same(was: bytes, other: bytes) -> None:
    usage = Usage(seconds=0.25, tokens_in=900)
    body = ThoughtFailed(turn=1, reason="why", usage=usage)
    data = Event(run="0" * 32, seq=0, at=1, body=body).canonical()
    assert data.count(was) == 1 and isinstance(at_once(data), Event)
    altered = data.replace(was, other)
    assert at_once(altered) == with_care(altered)


@given(
    seconds=st.floats(0, 2**53 - 1),
    score=st.floats(0, 1),
    reason=st.text(max_size=20),
    number=st.integers(0, 2**54),
)
def test_whatever_the_values_they_are_read_the_same(
    seconds: float, score: float, reason: str, number: int
) -> None:
    verdict = Verdict(auditor="a", role=Role.GUARD, moment="0" * 64, score=score)
    usage = Usage(seconds=seconds, tokens_in=min(number, 2**53 - 1))
    for body in (
        AuditRecorded(verdict=verdict),
        ThoughtFailed(turn=1 + number, reason=reason, usage=usage),
    ):
        data = Event(run="0" * 32, seq=number, at=1, body=body).canonical()
        found = at_once(data)
        assert isinstance(found, Event) and found == with_care(data)
        assert found.canonical() == data


def test_numbers_as_they_are_measured_need_no_second_look() -> None:
    for seconds in (0.0, 3.0, 0.25, 0.1 + 0.2, 12.345678901234567, 0.000051604, 1e-6):
        body = StepThought(turn=1, usage=Usage(seconds=seconds))
        data = Event(run="0" * 32, seq=0, at=1, body=body).canonical()
        assert events._at_once(data) is not None  # pyright: ignore[reportPrivateUsage]


def test_a_signed_answer_needs_no_second_look_unless_its_signature_has_bits_to_spare() -> None:
    for value in (b"", b"a", b"ab", b"abc", bytes(range(64))):
        signed = Verdict(
            auditor="a",
            role=Role.GUARD,
            moment="0" * 64,
            score=0,
            signature=Signature(key="a+00000000", value=value),
        )
        event = Event(run="0" * 32, seq=0, at=1, body=AuditRecorded(verdict=signed))
        data = event.canonical()
        assert events._at_once(data) == event  # pyright: ignore[reportPrivateUsage]
        for was, other in ((b"=", b""), (b'"~b:', b'"'), (b"~b:", b"~b:AAAA===="), (b'="', b'"')):
            altered = data.replace(was, other)
            assert at_once(altered) == with_care(altered)
    for spelt in (b"~b:YR==", b"~b:YWJ=", b"~b:-_-_", b"~b:YWJj\n", b"~f:nan", b"~~b:YWJj"):
        altered = data.replace(data[data.index(b"~b:") : data.index(b'"}}')], spelt)
        assert at_once(altered) == with_care(altered)


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
