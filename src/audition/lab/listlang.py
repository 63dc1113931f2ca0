"""A small language of list functions, its descriptions, and tests written in it.

A program is one to three words that are done from left to right: `reverse`, `add 2`, `sort take 1`.
Values are digits; `add` and `sum` count modulo 10. There are no loops and no names, every step
leaves at most as many values as it found (or one), so any program ends at once on any input.

A test is an input, `=`, the output that is expected, and `;`: `3 1 4 = 4 1 3 ;`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

DIGITS = tuple("0123456789")
MOST_WORDS, MOST_VALUES, MOST_TESTS = 3, 16, 8
"""Bounds of a program, of a list and of a set of tests."""

Values = tuple[int, ...]
"""A list: digits."""


class LanguageError(ValueError):
    """Words that are no program, list or test; the message says which, and what may stand there."""


@dataclass(frozen=True)
class Primitive:
    """One function of the language."""

    word: str
    """How programs call it."""
    described: str
    """How specifications describe it."""
    argument: bool
    """Whether a digit follows."""
    apply: Callable[[Values, int], Values]
    """What it does; the number is the digit that follows, or 0."""


PRIMITIVES = (
    Primitive("reverse", "backwards", False, lambda values, _: values[::-1]),
    Primitive("sort", "ascending", False, lambda values, _: tuple(sorted(values))),
    Primitive("sum", "total", False, lambda values, _: (sum(values) % 10,)),
    Primitive("add", "plus", True, lambda values, k: tuple((v + k) % 10 for v in values)),
    Primitive("keep", "above", True, lambda values, k: tuple(v for v in values if v > k)),
    Primitive("take", "first", True, lambda values, k: values[:k]),
)
"""All functions there are."""

_BY_WORD = {one.word: one for one in PRIMITIVES}

Program = tuple[tuple[str, int], ...]
"""Functions by word, each with its digit, 0 where it takes none."""


@dataclass(frozen=True)
class Test:
    """One input and what is expected of it."""

    __test__ = False
    given: Values
    """The input."""
    expected: Values
    """The output."""


def parse(words: Sequence[str]) -> Program:
    """The program that words are.

    Raises:
        LanguageError: none, too many, or a word where another kind must stand.
    """
    if not 1 <= len(words) <= MOST_WORDS:
        raise LanguageError(f"a program has 1 to {MOST_WORDS} words, not {len(words)}")
    program: list[tuple[str, int]] = []
    rest = iter(words)
    for word in rest:
        found = _BY_WORD.get(word)
        if found is None:
            raise LanguageError(f"{word!r} is no function; there are {', '.join(_BY_WORD)}")
        program.append((word, _digit(next(rest, ""), f"after {word!r}") if found.argument else 0))
    return tuple(program)


def words_of(program: Program) -> tuple[str, ...]:
    """The program as it is written."""
    return _told(program, lambda one: one.word)


def description_of(program: Program) -> tuple[str, ...]:
    """The specification of which the program is the plainest reading."""
    return _told(program, lambda one: one.described)


@cache
def run(program: Program, values: Values) -> Values:
    """What the program makes of a list.

    Raises:
        LanguageError: a list too long, or with something in it that is no digit.
    """
    if len(values) > MOST_VALUES or not all(0 <= value <= 9 for value in values):
        raise LanguageError(f"a list has at most {MOST_VALUES} values, each from 0 to 9")
    for word, digit in program:
        values = _BY_WORD[word].apply(values, digit)
    return values


def parse_tests(words: Sequence[str]) -> tuple[Test, ...]:
    """The tests that words are.

    Raises:
        LanguageError: none, too many, or one that is not `values = values ;`.
    """
    tests: list[Test] = []
    rest = list(words)
    while rest:
        if ";" not in rest:
            raise LanguageError(f"test {len(tests) + 1} does not end with ';'")
        end = rest.index(";")
        one, rest = rest[:end], rest[end + 1 :]
        if one.count("=") != 1:
            raise LanguageError(f"test {len(tests) + 1} needs one '=' between input and output")
        split = one.index("=")
        where = f"in test {len(tests) + 1}"
        given, expected = (
            tuple(_digit(word, where) for word in half) for half in (one[:split], one[split + 1 :])
        )
        if max(len(given), len(expected)) > MOST_VALUES:
            raise LanguageError(f"test {len(tests) + 1}: at most {MOST_VALUES} values a list")
        tests.append(Test(given, expected))
    if not 1 <= len(tests) <= MOST_TESTS:
        raise LanguageError(f"1 to {MOST_TESTS} tests, not {len(tests)}")
    return tuple(tests)


def written(tests: Iterable[Test]) -> tuple[str, ...]:
    """Tests as they are written."""
    words: list[str] = []
    for test in tests:
        words += [*map(str, test.given), "=", *map(str, test.expected), ";"]
    return tuple(words)


def passes(program: Program, tests: Iterable[Test]) -> bool:
    """Whether the program gives what every test expects."""
    return all(run(program, test.given) == test.expected for test in tests)


@cache
def programs(digits: tuple[int, ...]) -> tuple[Program, ...]:
    """Every program whose arguments are among these digits, shortest first."""
    single = [
        ((one.word, digit),) for one in PRIMITIVES for digit in (digits if one.argument else (0,))
    ]
    found: list[Program] = list(single)
    longer = single
    for _ in range(MOST_WORDS - 1):
        longer = [first + then for first, then in product(longer, single)]
        found += [one for one in longer if len(words_of(one)) <= MOST_WORDS]
    return tuple(sorted(found, key=lambda one: len(words_of(one))))


def _told(program: Program, name: Callable[[Primitive], str]) -> tuple[str, ...]:
    words: list[str] = []
    for word, digit in program:
        primitive = _BY_WORD[word]
        words += [name(primitive), str(digit)] if primitive.argument else [name(primitive)]
    return tuple(words)


def _digit(word: str, where: str) -> int:
    if word not in DIGITS:
        raise LanguageError(f"{word!r} {where}: a digit must stand there")
    return int(word)
