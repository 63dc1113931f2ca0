"""The event parser: exactly what this version writes, or one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handmade
import signed
import trained
from audition.canonical import canonical, loads
from audition.ledger import BODIES, EventError, json_schema, parse_event
from audition.ledger.events import AuditRecorded
from audition.step import Event, Failure

EVENTS = [
    Event(run=pen.run, seq=seq, at=at, body=body).canonical()
    for pen in (
        handmade.live_run(),
        handmade.compared_run(),
        handmade.failed_run(),
        handmade.saved_run(),
        handmade.planted_run(),
        handmade.recorded_run(),
        trained.trained_run(),
        *signed.apart(signed.signed_run()),
    )
    for seq, (at, body) in enumerate(pen.events)
]


@pytest.mark.parametrize("data", EVENTS[:40], ids=range(40))
def test_an_event_comes_back_to_the_byte(data: bytes) -> None:
    assert parse_event(data).canonical() == data


def test_every_kind_but_redaction_is_among_them() -> None:
    assert {parse_event(data).body.kind for data in EVENTS} == BODIES.keys() - {"content.redacted"}


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_an_event_or_an_event_error(data: bytes) -> None:
    refused_in_one_line(data)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(EVENTS), st.data())
def test_a_damaged_event_is_an_event_or_an_event_error(data: bytes, more: st.DataObject) -> None:
    spot = more.draw(st.integers(0, len(data) - 1))
    cut = more.draw(st.integers(0, 5))
    put = more.draw(st.binary(max_size=4) | st.sampled_from([b"~", b'"', b"null", b"[" * 80]))
    refused_in_one_line(data[:spot] + put + data[spot + cut :])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(EVENTS), json_values, st.data())
def test_any_value_in_any_field_is_an_event_or_an_event_error(
    data: bytes, value: Any, more: st.DataObject
) -> None:
    fields = loads(data)
    inside: Any = fields
    while True:
        key = more.draw(st.sampled_from(sorted(inside)))
        if not isinstance(inside[key], dict) or not inside[key] or more.draw(st.booleans()):
            break
        inside = inside[key]
    if more.draw(st.booleans()):
        inside[key] = value
    else:
        del inside[key]
    refused_in_one_line(canonical(fields))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "step.dreamt"}, "unknown kind"),
        ({"kind": None}, "unknown kind"),
        ({"seq": -1}, "seq"),
        ({"seq": "0"}, "canonical form"),
        ({"seq": True}, "canonical form"),
        ({"run": "a1"}, "run"),
        ({"run": "A" * 32}, "run"),
        ({"at": 1.5}, "at"),
        ({"at": -1}, "at"),
        ({"more": 1}, "more"),
        ({"body": None}, "event"),
        ({"body": []}, "event"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], says: str) -> None:
    with pytest.raises(EventError, match=says):
        parse_event(canonical({**loads(EVENTS[0]), **change}))


@pytest.mark.parametrize("data", [b"1", b"[]", b'"x"', b"null", b"{}", b"", b"[" * 100])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(EventError):
        parse_event(data)


def test_a_field_of_the_body_that_nobody_knows_is_refused() -> None:
    fields = loads(EVENTS[0])
    fields["body"]["\u202egoal\x1b[2J\n"] = 1
    with pytest.raises(EventError) as caught:
        parse_event(canonical(fields))
    assert "\n" not in str(caught.value)


def test_words_stay_out_of_events() -> None:
    verdict = next(
        body.verdict
        for _, body in handmade.live_run().events
        if isinstance(body, AuditRecorded) and body.verdict
    )
    with pytest.raises(ValueError, match="by digest"):
        AuditRecorded(verdict=verdict.model_copy(update={"words": handmade.Words()}))
    failure = Failure(auditor="a", moment="0" * 64, kind="late", cause="moment")
    with pytest.raises(ValueError, match="exactly one"):
        AuditRecorded(verdict=verdict, failure=failure)


def test_the_published_schema_is_current() -> None:
    published = Path(__file__).parents[2] / "docs" / "event-schema.json"
    assert json.loads(published.read_text()) == json_schema(), (
        "write it anew: python tests/vectors/generate.py"
    )


def refused_in_one_line(data: bytes) -> None:
    error = None
    try:
        event = parse_event(data)
    except EventError as caught:
        error = str(caught)
    if error is not None:
        assert error.replace("…", "").isprintable() and len(error) < 1000
        return
    assert event.canonical() == data
    assert orjson.loads(data)["kind"] == event.body.kind
