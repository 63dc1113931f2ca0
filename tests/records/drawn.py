"""Records drawn at random: whatever a record may hold that JSON can carry."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from audition.ledger import Source
from audition.records import Group, Record, RecordedStep, Said
from audition.step import Act, Ask, Finish, Message, Outcome, Think

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["ann", "model-1", "Ünïcode"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
).filter(lambda value: "Infinity" not in json.dumps(value))
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
SIMPLE = st.one_of(
    st.builds(Ask, question=TEXT, to=st.sampled_from(["user", "team"]), reason=TEXT),
    st.builds(Think, prompt=TEXT, reason=TEXT),
    st.builds(Finish, answer=TEXT, reason=TEXT),
    st.builds(Act, tool=TEXT, arguments=OBJECTS, reason=TEXT),
    st.builds(Act, tool=TEXT, malformed=TEXT | st.just('{"a": 1}'), reason=TEXT),
)
PROPOSALS = SIMPLE | st.builds(
    lambda one, others: one.model_copy(update={"alternatives": tuple(others)}),
    SIMPLE,
    st.lists(SIMPLE, max_size=2),
)
OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(["done", "failed", "refused", "unknown"]),
    output=TEXT | st.just('{"error": "x"}') | st.just('{"returncode": 0}'),
    data=st.just({}) | OBJECTS,
)


def steps(proposals: st.SearchStrategy) -> st.SearchStrategy[RecordedStep]:
    return st.builds(
        RecordedStep,
        proposal=proposals,
        thought=st.none() | TEXT,
        by=st.none() | NAMES,
        outcome=st.none() | OUTCOMES,
    )


SAID = st.builds(
    Said,
    message=st.builds(
        Message,
        role=st.sampled_from(["system", "user", "tool", "function", "assistant", "critic"]),
        content=TEXT,
        name=st.none() | NAMES,
    ),
)
CALLS = PROPOSALS.filter(lambda proposal: isinstance(proposal, Act))
GROUPS = st.builds(Group, steps=st.tuples(steps(PROPOSALS))) | st.builds(
    Group, steps=st.lists(steps(CALLS), min_size=2, max_size=3).map(tuple)
)
LABELS = st.dictionaries(TEXT.map(lambda name: f"of {name}"), JSON, max_size=2)
RECORDS = st.builds(
    Record,
    source=st.just(Source(file="here", record=0, format="chat")),
    task=NAMES,
    goal=TEXT,
    thinker=NAMES,
    entries=st.lists(SAID | GROUPS, max_size=6).map(tuple),
    labels=LABELS,
)
