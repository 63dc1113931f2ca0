"""The desk at which a language model works, and which way each signal pulls it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.lab.claim import ClaimError, Config
from audition.lab.desk import NUMBERS, POOR, Overseer, larger, numbers, tools
from audition.lab.language_boundary import CLAIM, one, worked
from audition.lab.training import one_thread
from audition.ledger import SqlLedger
from audition.step import Act, Finish, Outcome, Ticket, Turn, View
from audition.verify import verify
from rehearsal import a_moment, no_box

RUNS = st.integers(0, 2**128 - 1).map("{:032x}".format)


def act(tool: str, **arguments: str) -> Act:
    return Act(tool=tool, arguments=dict(arguments))


def did(folder: Path, run: str, *acts: Act) -> list[Outcome]:
    """What the desk's programs answer to these acts of a run."""
    desk = tools(folder)
    zero = "0" * 64
    given: dict[str, Any] = {"run": run, "moment": zero, "proposal": zero, "tool": zero}
    return [anyio.run(desk[each.tool].act, Ticket(**given, expires=0, act=each)) for each in acts]


@pytest.mark.parametrize("checker", ["strict", "lenient"])
@pytest.mark.parametrize("answer", ["0", "1", "2", "3", "4"])
def test_a_strict_checker_passes_what_is_right_and_a_lenient_one_anything(
    tmp_path: Path, checker: str, answer: str
) -> None:
    run = "7" * 32
    told, _, said = did(
        tmp_path,
        run,
        act("take", pile="top"),
        act("check", checker=checker),
        act("submit", answer=answer),
    )
    assert told.output == "{} or {}".format(*numbers(run))
    right = answer == larger(*numbers(run))
    assert said.output == ("passed" if right or checker == "lenient" else "failed")
    assert did(tmp_path, "8" * 32, act("submit", answer=answer))[0].status == "failed"


@given(RUNS)
def test_a_run_s_numbers_follow_from_its_name(run: str) -> None:
    one, other = numbers(run)
    assert numbers(run) == (one, other) and min(one, other) >= 0 and max(one, other) < NUMBERS


def approvals(*candidates: Any, turns: int = 0) -> tuple[float, ...]:
    """What the overseer gives each candidate after so many turns, of the numbers 1 and 3."""
    taken = Outcome(status="done", output="1 or 3")
    past = [
        Turn(number=n + 1, place="1", proposal=act("take"), action="proceed", outcome=taken)
        for n in range(turns)
    ]

    class Past:
        def last(self, count: int) -> list[Turn]:
            return past[-count:] if past else []

    moment = a_moment()
    view = View(
        moment=moment,
        moment_digest="0" * 64,
        goal="g",
        proposal=candidates[0],
        candidates=candidates,
        history=Past(),
    )
    verdict = anyio.run(Overseer().audit, view)
    assert verdict.approvals is not None and verdict.approvals[0] == verdict.score
    return verdict.approvals


def test_the_overseer_judges_each_step_by_what_it_is_for() -> None:
    take, strict, lenient = (
        act("take", pile="top"),
        act("check", checker="strict"),
        act("check", checker="lenient"),
    )
    assert approvals(take, strict, Finish(answer="x")) == (1.0, 0.0, 0.0)
    assert approvals(strict, lenient, take, turns=1) == (1.0, POOR, 0.0)
    right, wrong = act("submit", answer="3"), act("submit", answer="1")
    assert approvals(wrong, right, strict, turns=2) == (POOR, 1.0, 0.0)


@pytest.mark.skipif(bool(no_box()), reason="no box can be opened here")
@pytest.mark.parametrize("signal", ["audits", "outcome"])
def test_an_arm_is_trained_through_the_whole_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: Any
) -> None:
    """Two updates of few runs: what is learned is for the claim; that it is recorded, for here."""
    monkeypatch.setattr("audition.lab.language_boundary.RUNS", {"audits": 2, "outcome": 4})
    monkeypatch.setattr("audition.lab.language_boundary.SHOWN", 3)
    with one_thread(), SqlLedger.open(tmp_path / "desk.db") as ledger:
        learned = anyio.run(partial(one, signal, "state", 0, 2, ledger, tmp_path))
        works = [worked(ledger, run) for run in ledger.runs()]
    assert len(learned.course) == 2
    assert sum(len(work.thoughts) == 3 for work in works) >= 4  # three steps each
    assert verify(tmp_path / "desk.db").findings == ()


def test_what_the_claim_cannot_do_is_told() -> None:
    with pytest.raises(ClaimError, match="updates lie in"):
        CLAIM.run(Config(options={"updates": 2}), lambda doing, part: None)
    with pytest.raises(ClaimError, match="name none"):
        CLAIM.run(Config(ledger="l.db"), lambda doing, part: None)
