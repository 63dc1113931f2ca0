"""Guarantee 7 for what is written for other trainers: no row changes with what came later."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import handmade
from audition.step import Finish, Think
from chatted import chatted, question
from exported import by_event, exported, thinking_run

APPROVALS = st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 0.9])] * 3)
STEPS = st.lists(st.tuples(st.sampled_from("abc"), APPROVALS), max_size=3)


def rows_of(pen: handmade.Scribe) -> dict[int, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        return by_event(exported(handmade.write(Path(folder) / "l.db", pen))[0])


@given(before=STEPS, one=STEPS, other=STEPS)
@settings(max_examples=12, phases=[Phase.generate])  # what fails is long to make small
def test_rows_of_thoughts_are_the_same_bytes_whatever_came_later(
    before: Any, one: Any, other: Any
) -> None:
    def run(*steps: Any) -> handmade.Scribe:
        return thinking_run(*[(Think(prompt=text), said) for text, said in steps])

    early = rows_of(run(*before))
    for later in (one, other):
        rows = rows_of(run(*before, *later))
        assert {seq: rows[seq] for seq in early} == early


@pytest.mark.parametrize("step", range(3))
def test_rows_of_exchanges_are_the_same_bytes_whatever_came_later(step: int) -> None:
    def spoiled(at: int, candidate: int) -> list[dict[str, Any]]:
        asked = question(at, candidate)
        return asked if at <= step else [{"role": "user", "content": "Elsewhere."}, *asked]

    words: list[tuple[float, ...]] = [(0.9, 0.2, 0.4), (2, 0, 1), (0.1, 0.8, 0.3), (1, 0, 2)]
    others = [one if at <= step else (0.0, 0.0, 1.0) for at, one in enumerate(words)]
    plain, other = rows_of(chatted(*words)), rows_of(chatted(*others, asks=spoiled))
    early = sorted(plain)[: step + 1]
    assert len(plain) == 4 and early == sorted(other)[: step + 1]
    assert [plain[seq] for seq in early] == [other[seq] for seq in early]
    assert plain[max(plain)] != other[max(other)]


def test_a_prompt_is_never_what_is_learned() -> None:
    """A row of language modelling would teach what stands in the history: outcomes too."""
    pen = thinking_run((Think(prompt="One."), (0.9, 0.2, 0.4)), (Finish(answer="x"), (1, 0, 0)))
    learned = ({"completions", "labels"}, {"chosen", "rejected"}, {"label"})
    for row in [json.loads(row) for rows in rows_of(pen).values() for row in rows]:
        assert sum(row.keys() >= columns for columns in learned) == 1
        assert not row.keys() & {"messages", "text"}
