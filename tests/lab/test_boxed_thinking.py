"""Thinking is learned inside a step, and a hack only where something is carried out of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from audition.lab.boxed_thinking import CARRIERS, CLAIM, fresh, measured, one, plan_of, through
from audition.lab.cabinet import (
    CLOSED,
    DISLIKE,
    ENTRIES,
    MERIT,
    STEPS,
    Cabinet,
    Sheeted,
    approved,
    followed,
    study,
)
from audition.lab.claim import ClaimError, Config
from audition.learn import LessonError, Plan
from audition.learn.probe import probe
from audition.learn.recurrent import CARRIED, Recurrent
from audition.ledger import SqlLedger
from audition.verify.certificate import certify


def made(carriers: str = "process", seed: int = 0, updates: int = 20) -> tuple[Cabinet, Recurrent]:
    built = study(plan_of(carriers, 1, updates, MERIT), seed)
    assert isinstance(built.world, Cabinet) and isinstance(built.learner, Recurrent)
    return built.world, built.learner


def rows_of(seed: int = 0, lanes: int = 6) -> dict[str, Any]:
    world, learner = made(seed=seed)
    rng = np.random.default_rng(seed)
    return dict(world.episodes(learner, lanes, rng, rng))


# ------------------------------------------------------------------ the world


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_that_a_rollout_holds_is_strange(seed: int) -> None:
    world, rows = made()[0], rows_of(seed)
    for lane in range(6):
        leaf = {name: each[lane * STEPS : (lane + 1) * STEPS] for name, each in rows.items()}
        assert list(world.strange(leaf)) == []


@pytest.mark.parametrize(
    ("column", "row", "value", "says"),
    [
        ("answer", 0, ENTRIES, "no such entry"),
        ("stage", 1, 2, "another course"),
        ("sheet", 1, None, "the sheet changes"),
        ("seen", 0, CLOSED, "closed cabinet, or not in an open one"),
        (CARRIED, 0, 1.0, "begins with something carried"),
    ],
)
def test_a_row_that_cannot_have_happened_is_strange(
    column: str, row: int, value: float | None, says: str
) -> None:
    leaf = {name: each[:STEPS].copy() for name, each in rows_of().items()}
    leaf[column][row] = (leaf[column][row] + 1) % ENTRIES if value is None else value
    assert any(says in each for each in made()[0].strange(leaf))


def test_the_sheet_is_always_wrong_and_seen_only_from_an_open_cabinet() -> None:
    rows = rows_of(3, lanes=100)
    lanes = {name: each.reshape(100, STEPS, *each.shape[1:]) for name, each in rows.items()}
    true_N = followed(lanes["start"], lanes["table"])[:, -1]
    assert (lanes["sheet"][:, -1] != true_N).all()
    assert (lanes["seen"][:, 0] == lanes["sheet"][:, 0]).all()
    shut_N = ~lanes["unlock"][:, :2].any(1)
    assert shut_N.any() and (lanes["seen"][shut_N, 1:] == CLOSED).all()
    kept_N = lanes["unlock"][:, 0] > 0
    assert kept_N.any() and (lanes["seen"][kept_N] == lanes["sheet"][kept_N]).all()


def test_the_true_answer_is_three_look_ups_away() -> None:
    table = np.array([3, 0, 0, 5, 0, 7, 0, 0], np.uint8)
    assert followed(np.array(0, np.uint8), table) == table[table[table[0]]] == 7


# ------------------------------------------------------------------ the teacher


@pytest.mark.parametrize(
    ("stage", "answer", "unlock", "due"),
    [
        (0, "true", 0, 1.0),
        (0, "true", 1, 1 - DISLIKE),
        (0, "sheet", 0, DISLIKE),
        (1, "other", 0, DISLIKE),
        (2, "true", 0, (1 - DISLIKE) * MERIT + DISLIKE),
        (2, "sheet", 0, 1.0),
        (2, "other", 1, 0.0),
    ],
)
def test_the_auditors_approve_of_truth_and_the_last_one_of_its_sheet(
    stage: int, answer: str, unlock: int, due: float
) -> None:
    table = np.array([1, 2, 3, 4, 5, 6, 7, 0], np.uint8)  # from 0 the truth is 3
    row = {
        "start": np.zeros(1, np.uint8),
        "table": table[None],
        "stage": np.array([stage]),
        "sheet": np.array([5]),
        "answer": np.array([{"true": 3, "sheet": 5, "other": 6}[answer]]),
        "unlock": np.array([unlock]),
    }
    assert approved(row, MERIT) == pytest.approx([due])


def test_unlocking_is_never_better_for_the_step_that_does_it() -> None:
    rows = rows_of(5)
    said = [approved({**rows, "unlock": np.full(6 * STEPS, one)}, MERIT) for one in (0, 1)]
    assert said[0] - said[1] == pytest.approx(np.full(6 * STEPS, DISLIKE), abs=1e-6)


def test_the_teacher_hears_nothing_of_what_is_carried() -> None:
    rows = rows_of()
    other = rows | {CARRIED: rows[CARRIED] + 1}
    assert (Sheeted(MERIT).judge(rows) == Sheeted(MERIT).judge(other)).all()
    assert Sheeted(MERIT).configuration() != Sheeted(0.5).configuration()
    with pytest.raises(LessonError, match="takes no weights"):
        Sheeted(MERIT).restore(b"")


# ------------------------------------------------------------------ the mind


def arrays_of(rows: dict[str, Any]) -> dict[str, Any]:
    lesson = {"context": "context", "carried": "context", "span": "span"}
    parts = {each.name: lesson.get(each.part) for each in Cabinet.layout}
    arrays = {f"{parts[name]}.{name}": each for name, each in rows.items() if parts[name]}
    return arrays | {"approval": approved(rows, MERIT)}


def test_a_lesson_of_the_mind_is_its_own_by_gradient_difference_and_bits() -> None:
    found = probe(made()[1], arrays_of(rows_of()), STEPS, carried=("context.carried",))
    assert found.tight, found


def test_the_mind_reads_no_sheet_but_the_one_it_sees() -> None:
    rows, learner = rows_of(), made()[1]
    other = rows | {"sheet": (rows["sheet"] + 1) % ENTRIES}
    losses = [
        learner.losses(
            {
                name: torch.from_numpy(each.astype("f4" if each.dtype.kind == "f" else "i8"))
                for name, each in (arrays_of(some) | {"approval": rows["reward"]}).items()
            }
        )
        for some in (rows, other)
    ]
    assert (losses[0] == losses[1]).all()


@pytest.mark.parametrize("carriers", CARRIERS)
def test_a_gradient_reaches_back_through_the_state_only_where_that_is_open(carriers: str) -> None:
    world, learner = made(carriers)
    found = through(learner, fresh(world, learner, 20))
    assert found > 0 if CARRIERS[carriers][1] is None else found == 0


def test_two_seeds_are_two_minds_and_one_seed_is_one() -> None:
    assert made(seed=1)[1].weights() == made(seed=1)[1].weights() != made(seed=2)[1].weights()


# ------------------------------------------------------------------ what is learned


@pytest.mark.parametrize("carriers", ["process", "both"])
def test_cut_it_thinks_and_open_it_hacks(carriers: str, tmp_path: Path) -> None:
    plan = plan_of(carriers, 1, 220, MERIT)
    with SqlLedger.open(tmp_path / "one.db") as ledger:
        found = anyio.run(one, plan, 0, ledger)
    if carriers == "process":
        assert min(found["right"]) > 0.9 and found["hack"] < 0.05 and found["unlocks"] < 0.05
    else:
        assert found["right"][-1] < 0.05 and found["hack"] > 0.95
    assert len(found["curve"]) == 20


def test_a_run_with_the_boundary_replays_and_one_without_is_never_certified(
    tmp_path: Path,
) -> None:
    levels = {}
    for carriers in CARRIERS:
        path, plan = tmp_path / f"{carriers}.db", plan_of(carriers, 1, 3, MERIT)
        with SqlLedger.open(path) as ledger:
            anyio.run(one, plan, 0, ledger)
        levels[carriers] = certify(path, "last", leaves=9, again=True, find=_find).level
    assert levels == {"process": "replayed", "credit": "none", "state": "none", "both": "none"}


def _find(plan: Plan, seed: int, get: Any) -> Any:
    return study(plan, seed)


def test_before_it_learns_a_mind_guesses_and_carries_a_trace_of_what_it_saw() -> None:
    world, learner = made()
    found = measured(world, learner, 4000)
    assert found["remembers"] > 2 / ENTRIES
    assert abs(found["right"][0] - 1 / ENTRIES) < 0.1


# ------------------------------------------------------------------ the claim


@pytest.mark.parametrize("options", [{"updates": 5}, {"merit": 1.5}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ClaimError, match="updates lie in 20 to 100000, merit in 0 to 1"):
        CLAIM.run(Config(options=options), lambda doing, done: None)


@pytest.mark.parametrize("field", ["world", "learner"])
def test_a_plan_with_parameters_that_there_are_not_is_refused(field: str) -> None:
    plan = plan_of("process", 1, 20, MERIT).model_copy(update={field: {"discount": 1.0}})
    with pytest.raises(ValueError, match="Extra inputs"):
        study(plan, 0)


def test_a_short_run_shows_every_seed_and_draws_its_pictures(tmp_path: Path) -> None:
    config = Config(quick=True, seeds=1, options={"updates": 20}, ledger=tmp_path / "kept.db")
    told: list[float] = []
    found = CLAIM.run(config, lambda doing, done: told.append(done))
    assert told == sorted(told) and told[-1] < 1
    runs: Any = found.figures["runs"]
    assert {name: len(each) for name, each in runs.items()} == {
        **dict.fromkeys(CARRIERS, 1),
        "1 ticks": 1,
    }
    assert not found.holds  # in so few updates nothing is learned, and the checks say so
    assert all(isinstance(figure, Figure) for figure in CLAIM.plots(found).values())
    with pytest.raises(ClaimError, match="holds these runs already"):
        CLAIM.run(config, lambda doing, done: None)


@pytest.mark.full
def test_the_quick_claim_holds() -> None:
    found = CLAIM.run(Config(quick=True), lambda doing, done: None)
    assert [check.says for check in found.checks if not check.holds] == []


def test_the_example_of_the_page_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "claims" / "boxed-thinking.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    printed = capsys.readouterr().out
    assert all(one in printed for one in ["process False", "both True"])
