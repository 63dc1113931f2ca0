"""PRM800K's step format: what is written of a chain of reasoning, and that it is read back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.gate import spec
from audition.learn.drawn import Drawing
from audition.learn.live import lessons_of
from audition.learn.prm800k_lines import prm800k_rows, rating
from audition.learn.trl_rows import line
from audition.ledger import SqlLedger
from audition.records import MISTAKE, read
from audition.step import Finish, Proposal, Think
from chatted import AT_ONCE, chatted
from handmade import JUDGES, Scribe

OTHERS = (Think(prompt="1 + 1 = 3"), Finish(answer="11"))


def reasoned(*steps: tuple[Proposal, tuple[float, ...]]) -> Scribe:
    """A chain of thoughts, each rated among its candidates; one below 0.5 is rejected."""
    pen = Scribe(handmade.LIVE, gate=spec(AT_ONCE), cards=JUDGES, others=OTHERS)
    pen.open()
    for proposal, approvals in steps:
        pen.think(proposal)
        pen.verdict("rules", 0.0)
        pen.verdict("judge", approvals[0], approvals=approvals)
        action = pen.decide().action
        pen.enters(action)
        pen.place += ".1" * (action == "proceed")
    return pen


def written(tmp_path: Path, pen: Scribe) -> tuple[Path, Counter[str]]:
    path, out = handmade.write(tmp_path / "l.db", pen), tmp_path / "steps.jsonl"
    with SqlLedger.open(path, create=False) as ledger:
        drawing = Drawing(ledger)
        rows = [row for one in lessons_of(ledger).lessons for row in prm800k_rows(drawing, one)]
    out.write_text("".join(map(line, rows)))
    return out, Counter(map(str, drawing.omitted.elements()))


CHAIN = reasoned(
    (Think(prompt="1 + 1 = 2"), (0.9, 0.0, 0.5)),
    (Think(prompt="2 + 2 = 5"), (0.0, 0.0, 0.0)),
    (Think(prompt="2 + 2 = 4"), (0.8, 0.1, 0.3)),
)


def test_a_line_is_a_judged_step_behind_those_that_the_chain_went_on_with(tmp_path: Path) -> None:
    path, omitted = written(tmp_path, CHAIN)
    lines = [json.loads(one) for one in path.read_text().splitlines()]
    assert not omitted
    taken = [[step["completions"] for step in one["label"]["steps"]] for one in lines]
    texts = [[[one["text"] for one in some] for some in steps] for steps in taken]
    more = ["1 + 1 = 3", "11"]
    assert texts == [
        [["1 + 1 = 2", *more]],
        [["1 + 1 = 2"], ["2 + 2 = 5", *more]],
        [["1 + 1 = 2"], ["2 + 2 = 4", *more]],
    ]
    ratings = [[[one["rating"] for one in some] for some in steps] for steps in taken]
    assert ratings == [[[1, -1, 0]], [[None], [-1, -1, -1]], [[None], [1, -1, 0]]]
    assert {one["question"]["problem"] for one in lines} == {"Count the words of every file."}
    assert {one["weight"] for one in lines} == {1.0}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path, _ = written(tmp_path, CHAIN)
    records = list(read(path))
    assert {one.source.format for one in records} == {"prm800k"}
    steps: list[list[Any]] = [[step.proposal for step in one.steps()] for one in records]
    assert steps == [
        [Finish(answer="1 + 1 = 2")],
        [Think(prompt="1 + 1 = 2"), Finish(answer="2 + 2 = 5")],
        [Think(prompt="1 + 1 = 2"), Finish(answer="2 + 2 = 4")],
    ]
    assert [one.labels["ratings"] for one in records] == [[1], [None, -1], [None, 1]]
    assert [one.labels.get(MISTAKE, "unsaid") for one in records] == [None, "unsaid", "unsaid"]
    assert {one.goal for one in records} == {"Count the words of every file."}


def test_acts_and_outcomes_are_no_chain_of_reasoning(tmp_path: Path) -> None:
    path, omitted = written(tmp_path, chatted((0.9, 0.1, 0.2), (0.9, 0.1, 0.2)))
    assert not path.read_text() and omitted == {"no chain of reasoning": 2}


@pytest.mark.parametrize(
    ("approval", "stands_for"), [(0, -1), (0.24, -1), (0.25, 0), (0.75, 0), (0.76, 1), (1, 1)]
)
def test_a_rating_is_the_nearest(approval: float, stands_for: int) -> None:
    assert rating(approval) == stands_for
