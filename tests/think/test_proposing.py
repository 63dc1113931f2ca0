"""The tool that ends a thought: its schema and its reader agree, whatever is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import Field

from audition.act.schema import schema_of
from audition.step import Act, Ask, Finish, Frozen, Proposal, Think, ToolSchema
from audition.think.proposing import Malformed, Propose, fields


class Inner(Frozen):
    size: int = Field(ge=0, le=2**53 - 1)


class Outer(Frozen):
    name: str
    inner: Inner
    more: tuple[Inner, ...] = ()


ASK = schema_of("ask", "Ask", Inner)
TOOL = schema_of("put", "Put it", Outer)
PROPOSE = Propose([TOOL, ASK])
SCHEMA: Any = PROPOSE.function
CHECK = Draft202012Validator(SCHEMA["function"]["parameters"])

TEXT = st.text(max_size=20)
INNER = st.builds(lambda size: {"size": size}, st.integers(0, 2**53 - 1))
ARGUMENTS = st.fixed_dictionaries(
    {"name": TEXT, "inner": INNER}, optional={"more": st.lists(INNER, max_size=2)}
)
STEP: st.SearchStrategy[Proposal] = st.one_of(
    st.builds(Act, tool=st.just("put"), arguments=ARGUMENTS, reason=TEXT),
    st.builds(Ask, question=TEXT, to=TEXT, reason=TEXT),
    st.builds(Think, prompt=TEXT, reason=TEXT),
    st.builds(Finish, answer=TEXT, reason=TEXT),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def outcome(text: str) -> Proposal | str:
    """The proposal that is read, or what is wrong with it."""
    try:
        return PROPOSE.read(text)
    except Malformed as error:
        return str(error)


@given(STEP, st.lists(STEP, max_size=3))
def test_every_step_can_be_written_and_is_read_as_it_was_meant(
    step: Proposal, others: list[Proposal]
) -> None:
    given = {"proposal": fields(step), "alternatives": [fields(one) for one in others]}
    assert CHECK.is_valid(given)
    assert outcome(json.dumps(given)) == step.model_copy(update={"alternatives": tuple(others)})


@given(STEP, st.data())
def test_what_is_read_is_what_the_schema_takes(step: Proposal, data: st.DataObject) -> None:
    given = fields(step)
    place = given.get("arguments", given) if data.draw(st.booleans()) else given
    place[data.draw(st.sampled_from([*place, "name", "inner", "more"]))] = data.draw(JSON)
    read = outcome(json.dumps({"proposal": given}))
    assert isinstance(read, str) != CHECK.is_valid({"proposal": given})


@given(st.text(max_size=200) | JSON.map(lambda value: json.dumps({"proposal": value})))
def test_whatever_is_written_is_read_or_malformed_in_one_line(text: str) -> None:
    read = outcome(text)
    assert not isinstance(read, str) or ("\n" not in read and len(read) < 600)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "NaN", "null"])
def test_what_no_reader_of_json_would_take_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        PROPOSE.read(text)


def test_what_refers_is_put_where_it_is_referred_to() -> None:
    told = json.dumps(SCHEMA)
    assert "$ref" not in told and "$defs" not in told
    with pytest.raises(Malformed, match=r"put: arguments\.inner\.size: -1 is less than"):
        PROPOSE.step({"kind": "act", "tool": "put", "arguments": {"name": "a", "inner": BAD}})


BAD = {"size": -1}


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("#/$defs/a", "nested too deep, or in itself"),
        ("#/$defs/b", "refers to '#/\\$defs/b'"),
        ("#/properties/x", "refers to"),
        ("http://127.0.0.1/schema.json", "refers to 'http://127.0.0.1/schema.json'"),
    ],
)
def test_a_schema_that_refers_elsewhere_or_to_itself_is_refused(reference: str, why: str) -> None:
    looped: Any = {"type": "object", "properties": {"x": {"$ref": reference}}}
    parameters = {**looped, "$defs": {"a": looped}}
    with pytest.raises(ValueError, match=f"tool loop: its schema .*{why}"):
        Propose([ToolSchema(name="loop", description="", parameters=parameters)])
