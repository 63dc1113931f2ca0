"""Telling two kinds of text apart: what differs is found, and what does not is not."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.measure import told_apart
from audition.measure.apart import FEWEST

WORDS = ("read", "write", "count", "sort", "file", "line", "word", "page")


def text(source: random.Random, extra: str = "") -> str:
    return " ".join([*source.choices(WORDS, k=8), extra])


def test_a_word_that_only_one_kind_has_tells_them_apart() -> None:
    source = random.Random(1)
    texts = [text(source, "please" if number % 4 == 0 else "") for number in range(200)]
    found = told_apart(texts, np.zeros((200, 0)), [number % 4 == 0 for number in range(200)])
    assert found is not None
    assert found.low > 0.95
    assert found.n == (50, 150)


def test_a_number_that_differs_tells_them_apart() -> None:
    source = random.Random(2)
    texts = [text(source) for _ in range(200)]
    first = [number < 60 for number in range(200)]
    waits = [[source.random() + 2 * one] for one in first]
    found = told_apart(texts, waits, first)
    assert found is not None
    assert found.low > 0.9


def test_alike_they_are_not_told_apart_at_the_rate_that_is_promised() -> None:
    covered, values = 0, []
    for seed in range(60):
        source = random.Random(seed)
        texts = [text(source) for _ in range(120)]
        first = [number < 40 for number in range(120)]
        found = told_apart(texts, [[source.random()] for _ in texts], first, seed=seed)
        assert found is not None
        covered += found.low <= 0.5 <= found.high
        values.append(found.auroc)
    assert abs(np.mean(values) - 0.5) < 0.02
    assert covered >= 52  # of 60; fewer has probability below .01 at 95 %


@settings(max_examples=20)
@given(st.integers(0, FEWEST - 1), st.integers(0, 40))
def test_of_too_few_nothing_is_said(few: int, many: int) -> None:
    texts = ["x"] * (few + many)
    kinds = [True] * few + [False] * many
    assert told_apart(texts, np.zeros((len(texts), 1)), kinds) is None
    assert told_apart(texts, np.zeros((len(texts), 1)), [not one for one in kinds]) is None


@pytest.mark.parametrize("odd", ["", "\ud800", "x" * 100_000, "\x00"])
def test_no_text_breaks_it(odd: str) -> None:
    found = told_apart([odd] * 24, np.zeros((24, 0)), [True, False] * 12)
    assert found is not None
    assert found.auroc == 0.5
