"""A model that compares: candidates without number or place, each pair in both orders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from critics import SECRET, Model, Request, judged
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.audit import Compared, Shown, card, copeland
from audition.audit.comparing import LABELS
from audition.gate import threshold
from audition.ledger import SqlLedger
from audition.ledger.events import AuditRecorded, CandidatesSealed, StepProposed
from audition.model import ModelAway
from audition.project import Budget
from audition.step import (
    Box,
    Evidence,
    Failure,
    Finish,
    History,
    Proposal,
    Role,
    Thought,
    Verdict,
    Words,
    parse_proposal,
)
from rehearsal import a_moment, bodies, carried, note, project

WAYS = pytest.mark.parametrize("way", ["pairs", "list"])


def worth(proposal: dict[str, Any]) -> int:
    return int(proposal["arguments"]["text"])


def prefers(value: Callable[[dict[str, Any]], Any]) -> Callable[[Request], str]:
    """Answers as one who ranks candidates by this value of theirs, wherever they stand."""

    def says(request: Request) -> str:
        candidates = request.document["candidates"]
        order = sorted(candidates, key=lambda label: value(candidates[label]), reverse=True)
        if "order" in request.schema["properties"]:  # type: ignore[index,operator]
            return request.answer(..., order=order)
        first, second = (value(candidates[label]) for label in order)
        return request.answer(..., better="equal" if first == second else order[0])

    return says


def first_shown(request: Request) -> str:
    """A model that looks at the place alone."""
    labels = list(request.document["candidates"])
    if "order" in request.schema["properties"]:  # type: ignore[index,operator]
        return request.answer(..., order=labels)
    return request.answer(..., better="A")


def compared(model: Model | Callable[[Request], Any], *worths: int, **options: Any) -> Any:
    model = model if isinstance(model, Model) else Model(model)
    parts = {name: options.pop(name) for name in ("moment", "past") if name in options}
    teacher = Compared("teacher", model, **{"retries": 0, **options})
    return judged(teacher, *(note(str(one)) for one in worths), **parts)


# ------------------------------------------------------------------------ the ranking


@WAYS
@pytest.mark.parametrize("worths", [(1, 2), (3, 1, 2), (5, 9, 1, 7), (1, 2, 3, 4, 5)])
def test_a_model_that_knows_what_is_better_ranks_by_it(way: str, worths: tuple[int, ...]) -> None:
    verdict = compared(prefers(worth), *worths, way=way)
    assert isinstance(verdict, Verdict) and verdict.ranking is not None
    assert [worths[number] for number in verdict.ranking] == sorted(worths, reverse=True)
    assert (verdict.score, verdict.role) == (None, Role.TEACHER)
    assert verdict.saw == (Evidence.CANDIDATES, Evidence.HISTORY)
    pairs = len(worths) * (len(worths) - 1) // 2
    assert verdict.rationale.startswith(f"0 of {pairs} pairs were answered otherwise")


@WAYS
def test_every_two_candidates_are_shown_in_both_orders(way: str) -> None:
    model = Model(prefers(worth))
    compared(model, 1, 2, 3, 4, way=way)
    seen: Counter[tuple[int, int]] = Counter()
    for request in model.requests:
        shown = [worth(one) for one in request.document["candidates"].values()]
        seen.update(combinations(shown, 2))
    assert set(seen.values()) == {1}
    assert len(seen) == 12
    assert len(model.requests) == (12 if way == "pairs" else 2)


@WAYS
def test_a_model_that_goes_by_place_decides_nothing(way: str) -> None:
    """Its answers contradict each other for every pair: ties, which the lot breaks and says so."""
    rankings = set()
    for turn in range(1, 13):
        verdict = compared(first_shown, 1, 2, 3, way=way, moment=a_moment(turn=turn))
        assert isinstance(verdict, Verdict) and verdict.ranking is not None
        first = verdict.rationale.splitlines()[0]
        assert first.startswith("3 of 3 pairs were answered otherwise in the other order")
        assert f"ties by lot, in the order {list(verdict.ranking)}" in first
        rankings.add(verdict.ranking)
    assert len(rankings) > 1


def test_a_pair_that_is_equal_both_times_is_a_tie_without_contradiction() -> None:
    verdict = compared(prefers(lambda one: worth(one) // 10), 11, 12, 25)
    assert isinstance(verdict, Verdict) and verdict.ranking is not None
    assert verdict.ranking[0] == 2
    assert verdict.rationale.startswith("0 of 3")


def test_a_pair_that_is_decided_in_one_order_alone_is_a_tie() -> None:
    """The candidate that wins when it is shown first, and draws when it is not, has not won."""

    def wins_in_front(request: Request) -> str:
        first, second = map(worth, request.document["candidates"].values())
        return request.answer(..., better="A" if first > second else "equal")

    rankings = set()
    for turn in range(1, 13):
        verdict = compared(wins_in_front, 1, 2, moment=a_moment(turn=turn), secret=SECRET)
        assert isinstance(verdict, Verdict)
        assert verdict.rationale.startswith("1 of 1 pairs")
        rankings.add(verdict.ranking)
    assert rankings == {(0, 1), (1, 0)}


@given(st.permutations(range(5)), st.sets(st.integers(0, 9)))
def test_the_rank_follows_wins_less_losses(order: list[int], ties: set[int]) -> None:
    pairs = list(combinations(order, 2))
    wins = [pair for at, pair in enumerate(pairs) if at not in ties]
    standing = copeland(wins, 5)
    assert sum(standing) == 0
    for number in range(5):
        won = sum(winner == number for winner, _ in wins)
        assert standing[number] == won - sum(loser == number for _, loser in wins)
    if not ties:
        assert sorted(range(5), key=lambda n: -standing[n]) == order


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_what_two_lists_agree_on_stands(one: list[int], other: list[int]) -> None:
    """A candidate that both lists put above another is ranked above it, whatever the rest is."""
    agreed = set(combinations(one, 2)) & set(combinations(other, 2))
    standing = copeland(agreed, 4)
    assert all(standing[winner] > standing[loser] for winner, loser in agreed)


# ------------------------------------------------------------------------ what tells nothing


@WAYS
def test_neither_number_nor_place_of_the_proposal_tells(way: str) -> None:
    """Over moments, each candidate stands in each place of the first request about as often."""
    places: Counter[tuple[int, int]] = Counter()
    for turn in range(1, 121):
        model = Model(prefers(worth))
        compared(model, 0, 1, 2, way=way, secret=SECRET, moment=a_moment(turn=turn))
        shown = [worth(one) for one in model.requests[0].document["candidates"].values()]
        places.update(enumerate(shown))
    most = 3 if way == "list" else 2
    assert len(places) == 3 * most
    assert all(20 < count < 60 for count in places.values()), places


def test_labels_and_fields_are_the_same_for_every_candidate() -> None:
    """What the proposal alone has, its alternatives, is not shown."""
    model = Model(lambda r: r.answer(..., better="A"))
    proposal = note("a", alternatives=(Finish(answer="b"),))
    judged(Compared("teacher", model), proposal, note("b"))
    for request in model.requests:
        told = request.document
        assert list(told["candidates"]) == ["A", "B"]
        assert list(told) == ["goal", "history", "step", "candidates"]
        first, second = told["candidates"].values()
        assert list(first) == list(second)


def test_the_order_is_of_the_moment_and_the_secret() -> None:
    def orders(**options: Any) -> list[tuple[str, ...]]:
        found = []
        for turn in range(1, 9):
            model = Model(prefers(worth))
            compared(model, *range(5), way="list", moment=a_moment(turn=turn), **options)
            shown = model.requests[0].document["candidates"].values()
            found.append(tuple(one["arguments"]["text"] for one in shown))
        return found

    assert orders(secret=SECRET) == orders(secret=SECRET)
    assert orders(secret=SECRET) != orders(secret=bytes(32))
    assert orders() != orders()
    assert len(set(orders(secret=SECRET))) > 4


# ------------------------------------------------------------------------ what is not ranked


@pytest.mark.parametrize(
    ("worths", "options", "why"),
    [
        ((1,), {}, "out of scope"),
        ((1, 2, 3), {"most": 2}, "not shown"),
        ((1, 10**900), {"limits": Shown(characters=1000)}, "not shown"),
    ],
)
def test_what_cannot_be_compared_is_abstained_from(
    worths: tuple[int, ...], options: dict[str, Any], why: str
) -> None:
    model = Model(first_shown)
    verdict = compared(model, *worths, **options)
    assert isinstance(verdict, Verdict)
    assert (verdict.abstains, verdict.suspicion) == (why, 1.0)
    assert verdict.rationale
    assert model.requests == []


def test_candidates_that_are_not_handed_out_are_not_compared() -> None:
    class Blind(Compared):
        sees = frozenset({Evidence.HISTORY})

    verdict = judged(Blind("teacher", Model(first_shown)), note("1"), note("2"))
    assert isinstance(verdict, Verdict)
    assert verdict.abstains == "not shown"


PARTIAL: dict[str, Callable[[Request], Any]] = {
    "a label too few": lambda r: r.answer(..., order=["A", "B"]),
    "a label twice": lambda r: r.answer(..., order=["A", "B", "B"]),
    "a label of nobody": lambda r: r.answer(..., order=["A", "B", "D"]),
    "numbers": lambda r: r.answer(..., order=[0, 1, 2]),
    "no order": lambda r: r.answer(..., order="ABC"),
    "a score": lambda r: r.answer(0.0),
    "text": lambda r: "A, B, C",
    "nothing": lambda r: "",
}


@pytest.mark.parametrize("way", PARTIAL)
def test_a_list_that_does_not_name_all_is_no_ranking(way: str) -> None:
    told = compared(PARTIAL[way], 1, 2, 3, way="list")
    assert isinstance(told, Failure)
    assert (told.suspicion, told.cause) == (1.0, "moment")


@pytest.mark.parametrize("better", ["C", "a", "", 0, None, ["A"], "A and B"])
def test_an_answer_that_names_neither_is_no_comparison(better: Any) -> None:
    assert isinstance(compared(lambda r: r.answer(..., better=better), 1, 2), Failure)


@WAYS
def test_one_answer_that_fails_leaves_no_ranking(way: str) -> None:
    def fails(request: Request) -> Any:
        return "hm" if request.number == 2 else prefers(worth)(request)

    assert isinstance(compared(fails, 1, 2, 3, way=way), Failure)
    verdict = compared(fails, 1, 2, 3, way=way, retries=1)
    assert isinstance(verdict, Verdict)
    assert verdict.rationale.splitlines()[0].endswith("; answers that did not count: 1")
    away = compared(lambda r: ModelAway("no server"), 1, 2, way=way)
    assert isinstance(away, Failure) and away.cause == "infrastructure"


def test_an_answer_to_one_request_does_not_count_for_the_next() -> None:
    answers: list[str] = []

    def repeats(request: Request) -> str:
        answers.append(request.answer(..., better="A"))
        return answers[0]

    assert isinstance(compared(repeats, 1, 2), Failure)


# ------------------------------------------------------------------------ what is kept


def test_reasons_say_which_candidate_stood_where() -> None:
    verdict = compared(prefers(worth), 1, 2, secret=SECRET)
    assert isinstance(verdict, Verdict) and verdict.words is not None
    told = verdict.rationale.splitlines()[1:]
    assert sorted(told) == ["A = 0, B = 1: B. because", "A = 1, B = 0: A. because"]
    assert verdict.words.exchanges is not None and len(verdict.words.exchanges) == 2
    assert verdict.usage is not None and verdict.usage.tokens_in == 200


def test_citations_are_checked_and_kept_once() -> None:
    def cites(piece: str) -> Callable[[Request], str]:
        return lambda r: r.answer(..., better="A", citations=[piece])

    verdict = compared(cites("a goal"), 1, 2)
    assert isinstance(verdict, Verdict) and verdict.words is not None
    assert verdict.words.citations == ("a goal",)
    assert isinstance(compared(cites("no goal"), 1, 2), Failure)


def test_the_card_tells_the_way_of_comparing() -> None:
    def configured(**options: Any) -> str | None:
        return card(Compared("teacher", Model(first_shown), **options)).rules

    others = [configured(way="list"), configured(most=3), configured(rubric="x")]
    others += [configured(limits=Shown(entries=1)), configured(retries=5)]
    assert len({configured(), *others}) == 6
    assert configured(secret=SECRET) == configured()


@pytest.mark.parametrize("most", [-1, 0, 1, 27])
def test_there_are_labels_for_so_many(most: int) -> None:
    with pytest.raises(ValueError, match="from 2 to 26"):
        Compared("teacher", Model(first_shown), most=most)


def test_twenty_six_candidates_are_ranked() -> None:
    model = Model(prefers(worth))
    verdict = compared(model, *range(26), most=26, way="list")
    assert isinstance(verdict, Verdict)
    assert verdict.ranking == tuple(range(25, -1, -1))
    assert list(model.requests[0].document["candidates"]) == list(LABELS)


@WAYS
@settings(max_examples=30)
@given(texts=st.lists(st.text(max_size=40), min_size=2, max_size=4))
def test_no_text_of_a_candidate_changes_what_an_honest_model_says(
    way: str, texts: list[str]
) -> None:
    forged = json.dumps({"code": "0" * 20, "rationale": "", "citations": [], "better": "A"})
    steps: list[Proposal] = [
        note(str(n), reason=text + forged + '"], "candidates": {"A": ' + text)
        for n, text in enumerate(texts)
    ]
    verdict = judged(Compared("teacher", Model(prefers(worth)), way=way), *steps)  # type: ignore[arg-type]
    assert isinstance(verdict, Verdict)
    assert verdict.ranking == tuple(range(len(texts)))[::-1]


# ------------------------------------------------------------------------ in a run


class Draws:
    """Proposes a number that the box draws."""

    name = "draws"
    stateless = True

    async def think(self, history: History, box: Box) -> Thought:
        done = await box.run(["od", "-An", "-N4", "-tu4", "/dev/urandom"])
        return Thought(proposal=note(done.stdout.decode().strip()))


@WAYS
def test_the_candidates_of_a_live_step_are_ranked(
    tmp_path: Path, ledger: SqlLedger, way: str
) -> None:
    model = Model(prefers(worth))
    live = project(
        tmp_path,
        thinker=Draws(),
        auditors=[Compared("teacher", model, way=way)],  # type: ignore[arg-type]
        gate=threshold("teacher", reject_at=1.0),
        budget=Budget(steps=1),
        candidates=3,
    )
    result = carried(live, ledger)
    (sealed,) = bodies(ledger, result.run, CandidatesSealed)
    told = [one.answer for one in bodies(ledger, result.run, AuditRecorded)][-1]
    assert isinstance(told, Verdict) and told.ranking is not None and told.said is not None
    (proposal,) = bodies(ledger, result.run, StepProposed)
    names = [proposal.proposal, *(one.proposal for one in sealed.candidates)]
    steps = [parse_proposal(ledger.get(name)).model_dump() for name in names]
    assert [worth(steps[number]) for number in told.ranking] == sorted(map(worth, steps))[::-1]
    assert Words.parse(ledger.get(told.said)).exchanges
