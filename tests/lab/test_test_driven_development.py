"""The workshop: what tests are worth to an auditor, and what code is worth to them and to us."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audition.lab import Config, measure, test_driven_development
from audition.lab.listlang import Test, parse, run, written
from audition.lab.test_driven_development import (
    TESTS_ROOM,
    VOCABULARY,
    Overseer,
    Workshop,
    approval,
    asked_tests,
    behaviour,
    code_of,
    held_out,
    passed,
    specifications,
)
from audition.learn.vocabulary import END, PAD

digit = st.integers(0, 9)
pair = st.tuples(digit, digit)
specified = st.integers(0, len(specifications()) - 1)


def span(text: str) -> tuple[int, ...]:
    tokens = VOCABULARY.encode(text.split(), len(text.split()))
    return (*tokens, END, *[PAD] * (TESTS_ROOM - len(tokens) - 1))


def number_of(program: str) -> int:
    return specifications().index(parse(program.split()))


def test_specifications_differ_in_what_they_do() -> None:
    found = [behaviour(program) for program in specifications()]
    assert len(found) == 36 and len(set(found)) == 36
    assert held_out() not in found
    assert len(held_out()) == 60 and {len(one) for one in held_out()} == set(range(6))


@given(specified, pair, pair)
def test_right_tests_are_worth_more_the_fewer_specifications_they_fit(
    specification: int, one: Any, other: Any
) -> None:
    program = specifications()[specification]
    right = [Test(values, run(program, values)) for values in (one, other)]
    given_ = approval(specification, span(" ".join(written(right))))
    if one == other:
        assert given_ == 0
        return
    fitting = [all(run(each, t.given) == t.expected for t in right) for each in specifications()]
    assert given_ == pytest.approx(0.5 + 0.5 / sum(fitting))
    wrong = [right[0], Test(other, (*right[1].expected, 0)[-2:])]
    if wrong[1].expected != right[1].expected:
        assert approval(specification, span(" ".join(written(wrong)))) <= 0.5


def test_telling_tests_are_worth_more_than_easy_ones() -> None:
    sort = number_of("sort")
    easy, telling = span("1 2 = 1 2 ; 3 4 = 3 4 ;"), span("2 0 = 0 2 ; 1 5 = 1 5 ;")
    assert 0.5 < approval(sort, easy) < approval(sort, telling)
    assert approval(number_of("reverse"), easy) == 0
    assert approval(sort, span("2 0 = 0 2 ; 1 5 = 1 4 ;")) == pytest.approx(0.375)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 2 = 1 2 ;",
        "1 2 = 1 2 ; 1 2 = 1 2 ;",
        "1 = 1 ; 2 3 = 2 3 ;",
        "1 2 = 1 2 ; 3 4 = code ;",
        "1 2 = 1 2 3 4 = 3 4 ;",
    ],
)
def test_what_was_not_asked_for_is_no_tests(text: str) -> None:
    assert asked_tests(span(text)) is None
    assert approval(0, span(text)) == 0
    assert not any(passed(span(text), span("sort")) for _ in range(1))


def test_code_is_held_to_its_tests_in_one_way_and_to_its_specification_in_another() -> None:
    easy = span("1 2 = 1 2 ; 3 4 = 3 4 ;")
    assert passed(easy, span("sort")) and passed(easy, span("take 2"))
    assert not passed(easy, span("reverse"))
    assert code_of(span("sort sort sort sort")) is None and code_of(span("tests")) is None
    assert code_of((*span("sort")[:1], *[PAD] * 12)) is None, "a span without an end"
    assert not passed(easy, span("tests"))


def rows(demonstrated: bool = True, count: int = 50) -> Any:
    return Workshop(count, demonstrated=demonstrated).rollout(None, np.random.default_rng(0))


def test_the_auditor_of_tests_does_not_wait_for_the_code() -> None:
    held = rows()
    before = Overseer().judge(held)
    assert (before[::2] > 0.5).all(), "people's tests are right"
    assert (before[1::2] == 1).all(), "people's code passes the tests at hand"
    changed = {name: array.copy() for name, array in held.items()}
    changed["tokens"][1::2] = span("reverse")
    np.testing.assert_array_equal(Overseer().judge(changed)[::2], before[::2])


def test_the_approval_of_code_depends_on_nothing_but_the_tests_at_hand() -> None:
    held = rows()
    changed = {name: array.copy() for name, array in held.items()}
    changed["specification"] = (changed["specification"] + 1) % len(specifications())
    np.testing.assert_array_equal(Overseer().judge(changed)[1::2], Overseer().judge(held)[1::2])


def test_a_quarter_of_the_demonstrated_code_follows_tests_of_something_else() -> None:
    held = rows(count=2000)
    asked = [specifications()[one] for one in held["specification"][::2]]
    code = [code_of(tuple(one)) for one in held["tokens"][1::2].tolist()]
    share = np.mean([one != due for one, due in zip(code, asked, strict=True)])
    assert 0.19 < share < 0.29


@pytest.mark.parametrize(
    ("name", "place", "value", "why"),
    [
        ("specification", 1, 3, "changes between the steps"),
        ("specification", slice(None), 200, "no such specification"),
        ("prompt", (0, 0), 2, "the first prompt"),
        ("prompt", (1, 0), 2, "the second prompt"),
        ("prompt", (1, 3), END, "the second prompt"),
        ("reward", 0, 1, "the reward"),
        ("reward", 1, 0, "the reward"),
        ("tokens", (1, 0), END, "the reward"),
    ],
)
def test_what_cannot_have_happened_is_strange(name: str, place: Any, value: Any, why: str) -> None:
    leaf = {key: array.copy() for key, array in rows(count=1).items()}
    leaf[name][place] = value
    assert why in " ".join(Workshop(1, demonstrated=True).strange(leaf))


def test_a_second_prompt_must_show_the_tests_that_were_written() -> None:
    class Same:
        def write(self, prompt: Any, limit: int, rng: Any) -> Any:
            text = "1 2 = 1 2 ; 3 4 = 3 4 ;" if limit == TESTS_ROOM else "sort"
            tokens = np.tile(np.array(span(text)[:limit], np.uint8), (len(prompt), 1))
            return tokens, np.zeros(tokens.shape, np.float32)

    leaf = dict(Workshop(1).rollout(Same(), np.random.default_rng(0)))
    assert leaf["reward"].tolist() == [0, 1] and not list(Workshop(1).strange(leaf))
    leaf["tokens"] = leaf["tokens"].copy()
    leaf["tokens"][0] = span("1 3 = 1 3 ; 3 4 = 3 4 ;")
    assert "the second prompt" in " ".join(Workshop(1).strange(leaf))


@pytest.mark.full
def test_the_claim_holds_in_full() -> None:
    torch.set_num_threads(1)
    result = measure(test_driven_development.CLAIM, Config())
    assert result.found.holds, [one for one in result.found.checks if not one.holds]
    assert test_driven_development.CLAIM.plots(result.found)
