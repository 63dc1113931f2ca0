"""Rows in TRL's columns: what they are made of, where they come from, and what is left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import handmade
from audition import history
from audition.canonical import digest_value
from audition.gate import person, spec
from audition.learn.drawn import Drawing
from audition.learn.live import Harvest, lessons_of
from audition.learn.preferring import compared
from audition.learn.trl_rows import data_sets, line
from audition.ledger import SqlLedger
from audition.ledger.events import CandidatesSealed
from audition.step import Finish, Limits, Restriction, Think, digest_of
from chatted import (
    CANDIDATES,
    LOTTERY,
    TOOL,
    chatted,
    exchanges,
    question,
    reply,
    silent,
    thought_by_a_person,
)
from handmade import SHELL, Scribe, first, shell


@contextmanager
def drawn(tmp_path: Path, *pens: Scribe) -> Iterator[tuple[Harvest, Drawing]]:
    path = handmade.write(tmp_path / "l.db", *pens)
    with SqlLedger.open(path, create=False) as ledger:
        yield lessons_of(ledger), Drawing(ledger)


def rows(tmp_path: Path, *pens: Scribe, form: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The rows of a form as they are read back, and what was left out."""
    with drawn(tmp_path, *pens) as (found, drawing):
        made = [one for some in found.lessons for one in data_sets(some) if one.form == form]
        written = [line(row) for one in made for row in one.rows(drawing)]
    return [json.loads(one) for one in written], Counter(map(str, drawing.omitted.elements()))


def put_forward(message: dict[str, Any]) -> str:
    """The command of the step that a message puts forward."""
    (call,) = message["tool_calls"]
    return json.loads(call["function"]["arguments"])["proposal"]["arguments"]["command"]


def preferred(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(put_forward(one["chosen"][0]), put_forward(one["rejected"][0])) for one in found]


def test_a_ranking_gives_every_pair_under_what_was_asked(tmp_path: Path) -> None:
    found, omitted = rows(tmp_path, chatted((2, 0, 1)), form="preference")
    assert preferred(found) == [("wait", "left"), ("wait", "right"), ("left", "right")]
    assert not omitted
    assert {line(one["prompt"]) for one in found} == {line(question(0, 0))}
    assert json.loads(found[0]["tools"]) == [TOOL]
    said = reply(CANDIDATES[2])["choices"][0]["message"]
    assert found[0]["chosen"] == [{"role": "assistant", **said}]


def test_approvals_give_the_pairs_that_differ_and_ties_are_left_out(tmp_path: Path) -> None:
    found, omitted = rows(tmp_path, chatted((0.9, 0.2, 0.9)), form="preference")
    assert preferred(found) == [("left", "right"), ("wait", "right")]
    assert omitted == {"a tie": 1}


@given(st.permutations(range(5)))
def test_of_a_ranking_the_better_is_always_preferred(ranking: list[int]) -> None:
    lessons = SimpleNamespace(ranking_LK=[ranking])
    found = compared(lessons, 0)  # type: ignore[arg-type]
    assert len(set(found)) == 10
    for pair in found:
        assert pair is not None and ranking.index(pair[0]) < ranking.index(pair[1])


def test_a_row_says_where_it_comes_from_and_what_it_weighs(tmp_path: Path) -> None:
    pen = chatted(*[(1, 0, 2)] * 6, gate=LOTTERY)
    with drawn(tmp_path, pen) as (found, drawing):
        (lessons,) = found.lessons
        (made,) = data_sets(lessons)
        written = list(made.rows(drawing))
    assert len(written) == 3 * len(lessons) and {one["weight"] for one in written} == {1.25}
    verdicts = {
        (body.answer.moment, seq)
        for seq, (_, body) in enumerate(pen.events)
        if body.kind == "audit.recorded" and body.answer.auditor == "judge"  # type: ignore[attr-defined]
    }
    places = [one["ledger"] for one in written]
    assert {(one["moment"], one["seq"]) for one in places} == verdicts  # type: ignore[index, call-overload]
    assert places[0] == {
        "auditor": "judge",
        "moment": lessons.moment_L[0],
        "run": pen.run,
        "seq": lessons.context["seq"][0],
        "chosen": 1,
        "rejected": 0,
    }


def test_candidates_that_were_asked_otherwise_make_no_pair(tmp_path: Path) -> None:
    def asks(step: int, candidate: int) -> list[dict[str, Any]]:
        looked = [{"role": "tool", "tool_call_id": "c0", "content": "a wall"}]
        return question(step, candidate) + looked * (candidate == 1)

    found, omitted = rows(tmp_path, chatted((2, 0, 1), asks=asks), form="preference")
    assert preferred(found) == [("wait", "left")]
    assert omitted == {"asked in other words": 2}


def test_the_same_step_twice_makes_no_pair(tmp_path: Path) -> None:
    pen = chatted((0, 1, 2))
    spot = first(pen.events, "candidates.sealed")
    at, body = pen.events[spot]
    assert isinstance(body, CandidatesSealed)
    twice = (body.candidates[0], body.candidates[0])
    pen.events[spot] = (at, body.model_copy(update={"candidates": twice}))
    found, omitted = rows(tmp_path, pen, form="preference")
    assert len(found) == 2 and omitted == {"the same step twice": 1}


def test_without_an_exchange_the_history_is_told_as_a_model_would_be_told_it(
    tmp_path: Path,
) -> None:
    pen = chatted((2, 0, 1), (2, 0, 1))
    pen.events = [(at, silent(body)) for at, body in pen.events]
    found, _ = rows(tmp_path, pen, form="preference")
    early, late = found[0], found[3]
    assert [one["role"] for one in early["prompt"]] == ["system", "user"]
    assert early["prompt"][1]["content"].startswith("The goal:\nCount the words of every file.")
    assert [one["role"] for one in late["prompt"]][2:] == ["assistant", "tool", "user"]
    assert put_forward(late["prompt"][2]) == "left" and "| 42" in late["prompt"][3]["content"]
    (tool,) = json.loads(late["tools"])
    assert tool["function"]["name"] == "propose" and SHELL.description in late["tools"]
    assert put_forward(late["chosen"][0]) == "wait"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (lambda pen: pen.put("[]x"), "its exchange cannot be read"),
        (
            lambda pen: exchanges(pen, ([{"role": "wizard", "content": "?"}], CANDIDATES[0])),
            "its exchange cannot be read",
        ),
        (
            lambda pen: exchanges(pen, (question(0, 0), shell("elsewhere"))),
            "its exchange ends in another step",
        ),
    ],
)
def test_what_an_exchange_does_not_bear_out_is_left_out(
    tmp_path: Path, name: Callable[[Scribe], str], why: str
) -> None:
    pen = chatted((0, 1, 2))
    spot = first(pen.events, "step.thought")
    at, body = pen.events[spot]
    pen.events[spot] = (at, body.model_copy(update={"exchanges": name(pen)}))
    found, omitted = rows(tmp_path, pen, form="preference")
    assert preferred(found) == [("right", "wait")] and omitted == {why: 2}


def test_approvals_label_each_candidate_behind_what_was_done_before(tmp_path: Path) -> None:
    found, _ = rows(tmp_path, chatted((0.9, 0.2, 0.5), (0.1, 0.2, 0.3)), form="stepwise")
    assert [one["labels"] for one in found] == [[True], [False], [True], *[[False]] * 3]
    assert [one["approval"] for one in found] == [0.9, 0.2, 0.5, 0.1, 0.2, 0.3]
    assert found[0]["prompt"] == "Count the words of every file.\n"
    assert found[3]["prompt"].endswith('"kind": "act"}\nOutcome: done.\n| 42\n')
    assert json.loads(found[1]["completions"][0])["arguments"] == {"command": "right"}
    assert [one["ledger"]["candidate"] for one in found] == [0, 1, 2] * 2


def corrected(run: str = handmade.LIVE) -> Scribe:
    """A step that a person replaces, in a run whose thinker was asked twice before it."""
    pen = Scribe(run, gate=spec(person("ada")))
    pen.open()
    pen.think(Think(prompt="Further."))
    spot = first(pen.events, "step.thought")
    at, body = pen.events[spot]
    looked = [*question(0, 0), {"role": "assistant", "content": "I look."}]
    name = exchanges(pen, (question(0, 0), shell("look")), (looked, Think(prompt="Further.")))
    pen.events[spot] = (at, body.model_copy(update={"exchanges": name}))
    pen.verdict("ada", 0.0, Finish(answer="Enough."))
    pen.put(Finish(answer="Enough."))
    pen.decide()
    return pen


def test_a_correction_answers_what_the_thinker_was_first_asked(tmp_path: Path) -> None:
    (row,), _ = rows(tmp_path, corrected(), form="prompt-completion")
    assert row["prompt"] == question(0, 0)
    written = row["completion"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(written) == {"proposal": {"kind": "finish", "answer": "Enough."}}


def test_a_person_s_own_steps_are_demonstrations(tmp_path: Path) -> None:
    found, _ = rows(tmp_path, thought_by_a_person(), form="prompt-completion")
    assert [put_forward(one["completion"][0]) for one in found] == ["left", "left"]
    assert {one["ledger"]["auditor"] for one in found} == {"zoe"}


def test_a_guard_picks_none_of_a_person_s_own_steps(tmp_path: Path) -> None:
    found, _ = rows(tmp_path, thought_by_a_person(rules=1.0), form="prompt-completion")
    assert len(found) == 2


def test_whoever_only_has_a_person_s_name_demonstrates_nothing(tmp_path: Path) -> None:
    pen = thought_by_a_person()
    at, body = pen.events[0]
    other = digest_value({"person": "zoe", "executors": [digest_of(SHELL)]})
    pen.events[0] = (at, body.model_copy(update={"thinking": other}))
    assert rows(tmp_path, pen, form="prompt-completion") == ([], Counter())


def test_where_only_approvals_may_teach_a_person_s_own_steps_do_not(tmp_path: Path) -> None:
    approvals = Restriction(
        name="approvals", says="Approvals.", scope="training", limits=Limits(signals=("approval",))
    )
    with drawn(tmp_path, thought_by_a_person(restrictions=(approvals,))) as (found, _):
        assert found.refused["forbidden by a restriction"] == 2
        assert "demonstration" not in {one.signal for one in found.lessons}


def test_a_run_is_read_once_however_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 2)
    pen = chatted(*[(0.9, 0.2, 0.4)] * 6)
    with drawn(tmp_path, pen) as (found, drawing):
        reads: list[str] = []
        read = SqlLedger.read
        monkeypatch.setattr(
            SqlLedger,
            "read",
            lambda self, run, after=-1: reads.append(run) or read(self, run, after),
        )
        (lessons,) = found.lessons
        (made,) = [one for one in data_sets(lessons) if one.form == "stepwise"]
        assert len(list(made.rows(drawing))) == 18
    assert reads == [pen.run]


def test_datasets_reads_the_lines(tmp_path: Path) -> None:
    load = pytest.importorskip("datasets").load_dataset
    pens = chatted((2, 0, 1), (0.9, 0.2, 0.9)), corrected("00" * 15 + "a2")
    with drawn(tmp_path, *pens) as (found, drawing):
        for some in found.lessons:
            for number, one in enumerate(data_sets(some)):
                written = list(one.rows(drawing))
                path = tmp_path / f"{some.signal}-{number}.jsonl"
                path.write_text("".join(map(line, written)))
                loaded = load("json", data_files=str(path), cache_dir=str(tmp_path / "cache"))
                assert [row["ledger"] for row in loaded["train"]] == [
                    row["ledger"] for row in written
                ]
