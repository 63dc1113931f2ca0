"""One value, one sequence of bytes: RFC 8785 where it suffices, tagged strings beyond."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audition.canonical import MAX_DEPTH, CanonicalError, canonical, digest_value, loads, parse

SAFE = 2**53 - 1
plain_text = (
    st.text().filter(lambda text: not text.startswith("~"))
    | st.sampled_from(["", "null", ",null,", ":1e5,", ',"a":1.0}', ",1.0,", '"', "\\"])
    | st.sampled_from(["\ue000", "\U00010000", "\uffff", "\x7f", "\u2028"])
)
plain_floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda x: not x.is_integer() or abs(x) <= SAFE
) | st.floats(1e-10, 1e-3)
plain_leaves = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | plain_floats | plain_text
any_leaves = (
    plain_leaves
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters(), max_size=6)
    | st.text(st.sampled_from("\ud800\udbff\udc00\udfff\U00010000a"), max_size=4)
    | st.sampled_from(["~", "~~", "~i:1", "~b:", 2**53, -(2**53), 1e16, 1e300])
)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=20,
    )


any_values = nested(any_leaves, st.text(max_size=4) | st.sampled_from(["~", "~i:1", "\ud800"]))


@settings(max_examples=500, deadline=None)
@given(nested(plain_leaves, plain_text))
@example({"\ue000": 1, "\U00010000": 2})
@example([1.0, -0.0, 0.5, 1e-6, 1e-7, 5e-324, 123456789012345.6])
@example([1.0, 2.0, [-3.0], ",4.0,", 5.0, {"[6.0]": 7.0, ":8.0}": "\\"}])
@example([1.0, 2.0, [-3.0], ",4.0,", 5.0, {"[6.0]": 7.0, ":8.0}": -0.0}])
@example([1.0, "\\", ",2.0,", '"\\', ",3.0]", '\\"', '\\\\"', -4.0, {'\\",5.0}': 6.0}])
@example([999999999999999.0, 1000000000000000.0, 9007199254740991.0])
def test_plain_json_is_what_rfc_8785_says(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@settings(max_examples=500, deadline=None)
@given(any_values)
@example("\ud83d\ude00")
@example({"\ud83d\ude00": 1, "\U0001f600": 2})
@example([b"one", '"~b:0', "~b:0", '\\"~b:0"', {'"~b:0': b"two"}, b"", 1e-7])
def test_every_value_comes_back(value: Any) -> None:
    assert same(parse(canonical(value)), value)


@settings(max_examples=300, deadline=None)
@given(any_values, any_values)
def test_two_values_never_share_a_form(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == same(one, other)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), any_leaves, min_size=2))
def test_the_order_of_fields_makes_no_difference(value: dict[str, Any]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SAFE, b"9007199254740991"),
        (SAFE + 1, b'"~i:9007199254740992"'),
        (-SAFE - 1, b'"~i:-9007199254740992"'),
        (1e16, b'"~i:10000000000000000"'),
        ([9007199254740994.0, 1.0], b'["~i:9007199254740994",1]'),
        ([1.0, math.nan, None], b'[1,"~f:nan",null]'),
        (10**16, b'"~i:10000000000000000"'),
        (math.nan, b'"~f:nan"'),
        (math.inf, b'"~f:inf"'),
        (-math.inf, b'"~f:-inf"'),
        (b"", b'"~b:"'),
        (b"\0\xff", b'"~b:AP8="'),
        ("\ud800", b'"~u:7aCA"'),
        ("\ud83d\ude00", b'"~u:7aC97biA"'),
        ("~", b'"~~"'),
        ("~~i:1", b'"~~~i:1"'),
        ({"~": 1}, b'{"~~":1}'),
        (1.0, b"1"),
        (-0.0, b"0"),
        (True, b"true"),
        (None, b"null"),
        ({"b": 1, "a": [None, {}]}, b'{"a":[null,{}],"b":1}'),
        ({"a": (1, 2)}, b'{"a":[1,2]}'),
    ],
)
def test_what_json_cannot_carry_is_tagged(value: Any, expected: bytes) -> None:
    assert canonical(value) == expected
    assert same(loads(expected), value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nul",
        b"{",
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":0.10}',
        b'{"a":9007199254740992}',
        b'{"a":1e400}',
        b'{"a":NaN}',
        b'"\\u0061"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\xff"',
        b'"~"',
        b'"~x:"',
        b'"~i:1"',
        b'"~i:01"',
        b'"~i:+9007199254740992"',
        b'"~i:9007199254740991"',
        b'"~i:' + b"9" * 5000 + b'"',
        b'"~f:NaN"',
        b'"~f:1"',
        b'"~b:AP8"',
        b'"~b:AP9="',
        b'"~b:A P8="',
        b'"~u:YQ=="',
        b'"~u:8J+YgA=="',
        b'"~u:2AA="',
        b'"~u:7aCB="',
        b'{"~i:9007199254740992":1}',
        b'{"~b:":1}',
        b'\xef\xbb\xbf{"a":1}',
        '{"\U00010000":1,"\ue000":2}'.encode("utf-16"),
        '{"\ue000":1,"\U00010000":2}'.encode(),
    ],
)
def test_bytes_in_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(CanonicalError):
        parse(data)


@settings(max_examples=500, deadline=None)
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore"))
)
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        value = parse(data)
    except CanonicalError:
        return
    assert canonical(value) == data


@settings(max_examples=200, deadline=None)
@given(any_values, st.data())
def test_a_changed_byte_is_another_value_or_refused(value: Any, data: st.DataObject) -> None:
    whole = canonical(value)
    spot = data.draw(st.integers(0, len(whole) - 1))
    changed = (
        whole[:spot] + bytes([whole[spot] ^ data.draw(st.integers(1, 255))]) + whole[spot + 1 :]
    )
    try:
        other = parse(changed)
    except CanonicalError:
        return
    assert not same(other, value)


@pytest.mark.parametrize(
    "value",
    [
        {1: 2},
        {None: 1},
        {"a": object()},
        {"a": {1, 2}},
        datetime.datetime(2020, 1, 1),
        {"a": datetime.date(2020, 1, 1)},
        [1j],
        2**14_001,
    ],
)
def test_what_has_no_form_is_refused(value: Any) -> None:
    with pytest.raises(CanonicalError):
        canonical(value)


def test_a_uuid_beside_a_null_is_refused_as_everywhere() -> None:
    with pytest.raises(CanonicalError):
        canonical([uuid.UUID(int=1), None])


def test_nesting_is_bounded_when_writing_and_when_reading() -> None:
    def deep(levels: int) -> Any:
        value: Any = "[[[{{{"
        for _ in range(levels):
            value = [value]
        return value

    assert parse(canonical(deep(MAX_DEPTH))) == deep(MAX_DEPTH)
    assert parse(canonical([deep(1)] * 100)) == [deep(1)] * 100
    for bad in (deep(MAX_DEPTH + 1), [None, deep(MAX_DEPTH)], deep(5000)):
        with pytest.raises(CanonicalError, match="deeper"):
            canonical(bad)
    for data in (b"[" * 65 + b"]" * 65, b"[" * 1_000_000, b'{"a":' * 100_000):
        with pytest.raises(CanonicalError, match="deeper"):
            loads(data)


def test_hostile_strings_are_measured_in_linear_time() -> None:
    """Unclosed quotes and escapes: quadratic time would take hours here."""
    for tail in (b'\\"' * 2_000_000, b'"' * 1_999_999, b"\\" * 4_000_000, b'"\\'):
        with pytest.raises(CanonicalError):
            loads(b"[" * 65 + tail)


class Ordered(Mapping[str, Any]):
    def __init__(self, **items: Any) -> None:
        self.items_ = items

    def __getitem__(self, key: str) -> Any:
        return self.items_[key]

    def __iter__(self) -> Any:
        return iter(self.items_)

    def __len__(self) -> int:
        return len(self.items_)


def test_any_mapping_is_an_object() -> None:
    assert canonical(Ordered(b=1, a=2)) == b'{"a":2,"b":1}'
    assert digest_value(Ordered(b=1, a=2)) == digest_value({"a": 2, "b": 1})


def test_python_s_own_json_agrees_on_ascii() -> None:
    value = {"b": [1, 0.5, "x\u0001\n"], "a": {"z": None, "y": False}}
    assert canonical(value) == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def same(one: Any, other: Any) -> bool:
    """Equal as values: numbers by size, NaN equal to itself, true unequal to 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, bytes) != isinstance(other, bytes):
        return False
    return one == other
