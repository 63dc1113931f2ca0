"""A person who ranks: all candidates in full, in an order of no meaning, and a committed answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from critics import judged

from audition.audit import Left, card, without_words
from audition.audit.person import LONGEST, TRIES, Person
from audition.ledger import PrivateKey
from audition.step import Evidence, Failure, Proposal, Role, Verdict, digest_of
from rehearsal import a_moment, note

CODE = digest_of(a_moment(turn=3))[:4]
HOSTILE = "\x1b[2J\u202e\u200b\r\nA: better"


class Terminal:
    """Puts candidates in the order of a wish, or types what it is given."""

    def __init__(self, *typed: str, wish: str = "") -> None:
        self.typed = list(typed)
        self.wish = wish
        self.shown: list[str] = []
        self.asked: list[str] = []

    async def hear(self, question: str) -> str:
        self.asked.append(question)
        if self.wish:
            labels = {
                found.group(2): found.group(1)
                for line in self.shown
                if (found := re.match(r"  \| ([A-Z]): arguments\.text: (.)", line))
            }
            line = " ".join([*(labels[one] for one in self.wish), CODE])
            self.wish = ""
            return line
        if not self.typed:
            raise ConnectionError("nobody is at the terminal")
        return self.typed.pop(0)


def at(terminal: Terminal, *candidates: Proposal, **options: Any) -> Verdict | Failure:
    given = {"role": Role.TEACHER, "ranks": True, **options}
    ann = Person("ann", say=terminal.shown.append, hear=terminal.hear, **given)
    return judged(ann, *candidates)


def three(**fields: Any) -> list[Proposal]:
    return [note(text, **fields) for text in "xyz"]


def test_an_order_by_label_is_a_ranking_by_number() -> None:
    for wish, ranking in {"xyz": (0, 1, 2), "zxy": (2, 0, 1), "yzx": (1, 2, 0)}.items():
        verdict = at(Terminal("because", wish=wish), *three())
        assert isinstance(verdict, Verdict)
        assert (verdict.ranking, verdict.score) == (ranking, None)
        assert verdict.rationale.endswith(": because")
        assert verdict.saw == (Evidence.CANDIDATES, Evidence.HISTORY, Evidence.PROPOSAL)
        key = dict(part.split(" = ") for part in verdict.rationale.split(": ")[0].split(", "))
        assert sorted(key) == ["A", "B", "C"]
        assert sorted(key.values()) == ["0", "1", "2"]


def test_the_order_on_the_screen_tells_nothing() -> None:
    """Over many moments the proposal stands in every place."""
    firsts = set()
    for _ in range(60):
        terminal = Terminal()
        at(terminal, *three())
        (first,) = (line for line in terminal.shown if "| A: arguments.text" in line)
        firsts.add(first[-1])
    assert firsts == {"x", "y", "z"}


@pytest.mark.parametrize(
    "slip",
    [
        *("A B C", f"A B {CODE}", f"A B C D {CODE}", f"A A B {CODE}", f"a b c {CODE}"),
        *(f"ABC {CODE}", "", CODE, f"{CODE} A B C", "abstain", f"A B C {CODE}x", f"approve {CODE}"),
    ],
)
def test_a_slip_of_the_hand_is_no_ranking(slip: str) -> None:
    terminal = Terminal(slip, f"abstain {CODE}")
    verdict = at(terminal, *three())
    assert isinstance(verdict, Verdict) and verdict.abstains == "undecided"
    assert any(line.startswith("Type every letter once") for line in terminal.shown)


@pytest.mark.parametrize(
    "typed",
    [
        [],
        [f"A B C {CODE}"],
        [f"A B C {CODE}", *["no"] * TRIES],
        ["A B C"] * TRIES,
        [f"abstain {CODE}"],
    ],
    ids=lambda typed: f"{len(typed)} lines",
)
def test_a_ranking_that_is_not_finished_is_none(typed: list[str]) -> None:
    told = at(Terminal(*typed), *three())
    assert isinstance(told, Failure) or told.abstains == "undecided"
    assert told.suspicion == 1.0


def test_one_candidate_is_rated_as_ever() -> None:
    verdict = at(Terminal(f"approve {CODE}", "80", "because"), note("x"))
    assert isinstance(verdict, Verdict)
    assert (verdict.score, verdict.ranking) == (0.8, None)


def test_a_person_who_does_not_rank_is_shown_the_proposal_alone() -> None:
    terminal = Terminal(f"approve {CODE}", "80", "because")
    verdict = at(terminal, *three(), ranks=False)
    assert isinstance(verdict, Verdict) and verdict.score == 0.8
    assert not any(line[-1] == "y" for line in terminal.shown if "arguments" in line)


@pytest.mark.parametrize("candidates", [[note("x"), note("y" * LONGEST)], [note("x")] * 27])
def test_what_cannot_be_shown_whole_is_not_ranked(candidates: list[Proposal]) -> None:
    terminal = Terminal()
    verdict = at(terminal, *candidates)
    assert isinstance(verdict, Verdict) and verdict.abstains == "not shown"
    assert terminal.asked == []


def test_no_candidate_acts_on_the_screen_or_pretends_to_be_another() -> None:
    terminal = Terminal()
    at(terminal, note("x", reason=HOSTILE), note(HOSTILE), note(f"z{HOSTILE}"))
    for line in (*terminal.shown, *terminal.asked):
        assert line.lstrip("\n").isprintable(), line
    labels = [line[4] for line in terminal.shown if re.match(r"  \| [A-Z]: ACT", line)]
    assert labels == ["A", "B", "C"]
    assert not any(line.startswith("A: better") for line in terminal.shown)


def test_a_ranking_is_signed_like_any_verdict() -> None:
    key = PrivateKey.generate("ann")
    verdict = at(Terminal("because", wish="zyx"), *three(), key=key)
    assert isinstance(verdict, Verdict) and verdict.signature is not None
    told = without_words(verdict).model_copy(update={"signature": None})
    assert key.public.verifies(told.canonical(), verdict.signature.value)


def test_only_a_teacher_ranks_and_the_card_says_so() -> None:
    with pytest.raises(ValueError, match="only a teacher ranks"):
        Person("ann", role=Role.GUARD, ranks=True)
    assert Evidence.CANDIDATES in card(Person("ann", role=Role.TEACHER, ranks=True)).sees
    assert Evidence.CANDIDATES not in card(Person("ann", role=Role.TEACHER)).sees


def test_a_person_who_goes_away_has_ranked_nothing() -> None:
    class Gone(Terminal):
        async def hear(self, question: str) -> str:
            raise Left

    with pytest.raises(Left):
        at(Gone(), *three())
