"""The list language: what is written is what is read, and nothing in it runs on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.lab.listlang import (
    MOST_TESTS,
    MOST_VALUES,
    PRIMITIVES,
    LanguageError,
    Program,
    Test,
    Values,
    description_of,
    parse,
    parse_tests,
    passes,
    programs,
    run,
    words_of,
    written,
)

values = st.lists(st.integers(0, 9), max_size=MOST_VALUES).map(tuple)
some = st.sampled_from(programs((0, 1, 5, 9)))
tests = st.lists(st.builds(Test, values, values), min_size=1, max_size=MOST_TESTS)


@given(some)
def test_a_program_reads_back_as_it_was_written(program: Program) -> None:
    assert parse(words_of(program)) == program


@given(tests)
def test_tests_read_back_as_they_were_written(given_: list[Test]) -> None:
    assert parse_tests(written(given_)) == tuple(given_)


@given(some, values)
def test_every_program_ends_in_digits_and_no_more_of_them(program: Program, given_: Values) -> None:
    found = run(program, given_)
    assert len(found) <= max(1, len(given_))
    assert all(0 <= value <= 9 for value in found)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("reverse", (1, 9, 3, 7)),
        ("sort", (1, 3, 7, 9)),
        ("sum", (0,)),
        ("add 4", (1, 7, 3, 5)),
        ("keep 3", (7, 9)),
        ("take 2", (7, 3)),
        ("sort take 1", (1,)),
        ("take 1 sum", (7,)),
    ],
)
def test_functions_do_what_they_say(program: str, expected: Values) -> None:
    assert run(parse(program.split()), (7, 3, 9, 1)) == expected


@given(some, st.lists(values, min_size=1, max_size=MOST_TESTS))
def test_a_program_passes_its_own_tests_and_fails_any_other(
    program: Program, inputs: list[Values]
) -> None:
    right = [Test(one, run(program, one)) for one in inputs]
    assert passes(program, right)
    wrong = Test(inputs[0], (*run(program, inputs[0]), 0))
    assert not passes(program, [*right, wrong])


def test_programs_are_every_one_once() -> None:
    found = programs((1, 2))
    assert len(set(found)) == len(found)
    assert all(1 <= len(words_of(one)) <= 3 for one in found)
    assert {one.word for one in PRIMITIVES} == {word for one in found for word, _ in one}
    descriptions = {description_of(one) for one in found}
    assert len(descriptions) == len(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 3 words, not 0"),
        ("sort sort sort sort", "1 to 3 words, not 4"),
        ("shuffle", "'shuffle' is no function"),
        ("add", "'' after 'add': a digit"),
        ("add sort", "'sort' after 'add': a digit"),
        ("add 12", "'12' after 'add': a digit"),
        ("sort 1", "'1' is no function"),
    ],
)
def test_words_that_are_no_program_are_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(LanguageError, match=why):
        parse(text.split())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 8 tests, not 0"),
        ("1 = 1 ; " * 9, "1 to 8 tests, not 9"),
        ("1 = 1", "test 1 does not end"),
        ("1 = 1 ; 2 2 ;", "test 2 needs one '='"),
        ("1 = 1 = 1 ;", "test 1 needs one '='"),
        ("1 = x ;", "'x' in test 1: a digit"),
        ("1 " * 17 + "= 1 ;", "at most 16 values"),
    ],
)
def test_words_that_are_no_tests_are_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(LanguageError, match=why):
        parse_tests(text.split())


@pytest.mark.parametrize("given_", [(10,), (-1,), (0,) * 17])
def test_a_list_out_of_bounds_is_refused(given_: Values) -> None:
    with pytest.raises(LanguageError, match="at most 16 values, each from 0 to 9"):
        run((("sort", 0),), given_)
