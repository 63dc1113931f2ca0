"""What process supervision costs, and that no later approval is bought with this step's."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, softmax

from audition.lab.alignment_tax import CLAIM, Score, Sizes, limit, strata
from audition.lab.claim import ClaimError, Config
from audition.lab.giving_up import CREDITS, capturable, given_up, giving_up
from audition.lab.layered import (
    GAME_SEEN,
    GAME_WORTH,
    as_read,
    audited_gradient,
    backward,
    earned,
    greedy,
    outcome_gradient,
    policy_gradient,
    random_projects,
    visits,
)
from audition.lab.taxes import (
    COST,
    RELIABILITY,
    SIGNALS,
    context,
    held,
    illegible,
    information,
    simulated,
)
from audition.measure.agreement import errors_apart

SHAPE = (2, 4, 4, 3)
SEEDS = st.integers(0, 10_000)
PAGE = Path(__file__).parents[2] / "docs" / "claims" / "alignment-tax.md"


def world(seed, shape=SHAPE, gameable=False):
    rng = np.random.default_rng(seed)
    made = random_projects(rng, shape, 0.5, gameable)
    return rng, made, rng.normal(size=shape), np.full(shape[2], 1 / shape[2])


# ------------------------------------------------------------------------ the boundary


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(0, 2))
def test_no_later_approval_moves_an_earlier_lesson(seed, step):
    rng, made, logits, start = world(seed)
    approval = rng.random(SHAPE)
    other = approval.copy()
    other[:, step + 1 :] = rng.random(other[:, step + 1 :].shape)

    def early(approval, credit):
        exact = policy_gradient(logits, approval, made.next_P_T_S_A, start, credit)
        return exact[:, : step + 1]

    assert (early(approval, 0.0) == early(other, 0.0)).all()
    assert (early(approval, 1.0) != early(other, 1.0)).any()


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(0, 2))
def test_no_later_judgement_moves_a_sampled_lesson_and_every_result_does(seed, candidates, step):
    _, made, logits, _ = world(seed)
    estimate = made.true_P_T_S_A
    other = estimate.copy()
    other[:, step + 1 :] *= -1

    def audited(estimate):
        rng, rates = np.random.default_rng(seed), np.full(4, 0.5)
        after = made.next_P_T_S_A
        return audited_gradient(rng, logits, estimate, after, 20, rates, candidates, 1.0)

    def outcome(seen):
        rng = np.random.default_rng(seed)
        return outcome_gradient(rng, logits, seen, made.next_P_T_S_A, 20)

    assert (audited(estimate)[:, : step + 1] == audited(other)[:, : step + 1]).all()
    assert (outcome(estimate)[:, : step + 1] != outcome(other)[:, : step + 1]).any()


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_gradients_are_finite_differences(seed):
    rng, made, logits, start = world(seed, (1, 3, 2, 3))
    reward, after = rng.random(logits.shape), made.next_P_T_S_A
    visited = visits(softmax(logits, axis=-1), after, start)

    def summed(logits):
        return earned(softmax(logits, axis=-1), reward, after)[0]

    def bounded(logits):
        # How each moment was reached is fixed and exogenous.
        return (visited[..., None] * softmax(logits, axis=-1) * reward).sum()

    for objective, credit in ((summed, 1.0), (bounded, 0.0)):
        exact = policy_gradient(logits, reward, after, start, credit)
        for place in np.ndindex(logits.shape):
            up, down = logits.copy(), logits.copy()
            up[place] += 1e-5
            down[place] -= 1e-5
            slope = (objective(up) - objective(down)) / 2e-5
            assert exact[place] == pytest.approx(slope, abs=1e-8)


def test_approval_is_never_given_up_at_the_boundarys_optimum_and_is_for_a_sum():
    figures, checks = giving_up((0, 1), (4, 6, 4, 4))
    assert [check.says for check in checks if not check.holds] == []
    for row in figures["rows"]:
        assert row["boundary"]["steps"] == row["boundary"]["captures"] == 0
        assert row["summed"]["approval"] > row["boundary"]["approval"]
        assert row["by_credit"]["steps"][0] == 0 < row["by_credit"]["steps"][-1]
    assert figures["credits"] == list(CREDITS)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from(CREDITS[1:]))
def test_whoever_gives_up_approval_gets_more_of_it_later(seed, credit):
    approval, after = capturable(np.random.default_rng(seed), SHAPE)
    myopic = given_up(greedy(approval), approval, after)
    summed = given_up(greedy(backward(approval, after)), approval, after)
    credited = given_up(greedy(backward(approval, after, None, credit)), approval, after)
    assert myopic["steps"] == myopic["captures"] == 0
    assert myopic["approval"] <= summed["approval"] + 1e-12
    assert credited["approval"] <= summed["approval"] + 1e-12
    assert 0 <= credited["captures"] <= 1 + 1e-12


def test_a_capture_is_refused_now_and_raises_every_later_approval():
    approval, after = capturable(np.random.default_rng(0), SHAPE)
    free, captured = approval[:, :, :4], approval[:, :, 4:]
    assert (free[..., -1] == 0).all() and (free[..., :-1] > 0).all()
    assert (captured - free).min() == pytest.approx(0.3)
    assert (after[:, :, :4, -1] >= 4).all() and (after[:, :, :4, :-1] < 4).all()
    assert (after[:, :, 4:] >= 4).all()
    assert approval.min() >= 0 and approval.max() <= 1


# ------------------------------------------------------------------------ projects


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_backward_is_the_best_of_all_policies(seed):
    rng, made, _, _ = world(seed, (1, 2, 2, 2))
    reward = rng.random((1, 2, 2, 2))
    best = [
        earned(np.eye(2)[np.reshape(acts, (1, 2, 2))], reward, made.next_P_T_S_A)[0]
        for acts in itertools.product(range(2), repeat=4)
    ]
    q = backward(reward, made.next_P_T_S_A)
    assert q[:, 0].max(-1).mean() == pytest.approx(max(best))
    assert (backward(reward, made.next_P_T_S_A, None, 0.0) == reward).all()


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_what_is_earned_is_what_the_visited_moments_are_worth(seed):
    rng, made, logits, start = world(seed)
    reward, policy = rng.normal(size=SHAPE), softmax(logits, axis=-1)
    visited = visits(policy, made.next_P_T_S_A, start)
    assert visited.sum(-1) == pytest.approx(np.ones(SHAPE[:2]))
    walked = (visited[..., None] * policy * reward).sum((1, 2, 3))
    assert earned(policy, reward, made.next_P_T_S_A) == pytest.approx(walked)


def test_an_auditor_who_reads_all_judges_each_context_and_one_who_reads_none_all_alike():
    q = np.random.default_rng(0).normal(size=SHAPE)
    assert as_read(q, 2) == pytest.approx(q)
    assert as_read(q, 0) == pytest.approx(np.broadcast_to(q.mean(2, keepdims=True), SHAPE))
    half = as_read(q, 1)
    assert half[:, :, 0] == pytest.approx(q[:, :, :2].mean(2))
    assert half[:, :, 3] == pytest.approx(q[:, :, 2:].mean(2))


@pytest.mark.parametrize("bits", [-1, 3])
def test_bits_that_a_context_does_not_have_cannot_be_read(bits):
    with pytest.raises(ValueError, match="bits cannot be read"):
        as_read(np.zeros(SHAPE), bits)


def test_one_act_of_every_moment_games_the_result_and_the_others_tell_the_truth():
    _, made, _, _ = world(3, gameable=True)
    games = made.true_P_T_S_A != made.seen_P_T_S_A
    assert (games.sum(-1) == 1).all()
    assert (made.true_P_T_S_A[games] == GAME_WORTH).all()
    assert (made.seen_P_T_S_A[games] == GAME_SEEN).all()
    _, honest, _, _ = world(3)
    assert (honest.true_P_T_S_A == honest.seen_P_T_S_A).all()


# ------------------------------------------------------------------------ lotteries


def projected(gradient, exact, runs=300):
    along = exact / np.sqrt((exact**2).sum())
    seen = [float((gradient() * along).sum()) for _ in range(runs)]
    return errors_apart(seen, float((exact * along).sum()))


@pytest.mark.parametrize("rate", [0.05, 0.25, 1.0])
def test_a_weighted_lottery_teaches_what_auditing_everything_teaches(rate):
    rng, made, logits, start = world(1)
    after, estimate = made.next_P_T_S_A, made.true_P_T_S_A
    exact = policy_gradient(logits, ndtr(estimate), after, start, 0.0)
    rates = strata(rate, 4)

    def lessons():
        return audited_gradient(rng, logits, estimate, after, 50, rates, 1, 0.0)

    assert abs(projected(lessons, exact)) < 3


@pytest.mark.parametrize("k", [2, 3])
def test_naming_the_best_of_k_teaches_the_chance_to_be_named(k):
    rng, made, logits, start = world(2)
    after, estimate = made.next_P_T_S_A, made.true_P_T_S_A
    policy = softmax(logits, axis=-1)
    # Against k − 1 others drawn from the policy, ties shared: a sum over how many tie.
    worse = (policy[..., None, :] * (estimate[..., None, :] < estimate[..., None])).sum(-1)
    named = ((worse + policy) ** k - worse**k) / (k * policy)
    signal = named - 1 / k
    visited = visits(policy, after, start)[..., None]
    exact = k * visited * policy * (signal - (policy * signal).sum(-1, keepdims=True))
    rates = np.full(4, 0.5)

    def lessons():
        return audited_gradient(rng, logits, estimate, after, 50, rates, k, 9.0)

    assert abs(projected(lessons, exact)) < 3


def test_results_teach_the_gradient_of_the_result():
    rng, made, logits, start = world(4)
    after, seen = made.next_P_T_S_A, made.seen_P_T_S_A
    exact = policy_gradient(logits, seen, after, start, 1.0) / np.sqrt(4)
    assert abs(projected(lambda: outcome_gradient(rng, logits, seen, after, 50), exact)) < 3


@given(st.sampled_from([0.01, 0.05, 0.125, 0.25, 0.5, 1.0]), st.integers(2, 6))
def test_declared_rates_are_probabilities_and_come_to_the_rate(rate, half):
    rates = strata(rate, 2 * half)
    assert rates.mean() == pytest.approx(rate)
    assert (rates > 0).all() and (rates <= 1).all()


# ------------------------------------------------------------------------ the taxes


@pytest.mark.parametrize("tax", [context, information, illegible])
def test_a_tax_is_what_its_simulation_and_its_closed_forms_say(tax):
    _, checks = tax(np.random.default_rng(5), 4000)
    assert [check.says for check in checks if not check.holds] == []
    assert any("standard errors" in check.says for check in checks)


def test_the_whole_context_finds_the_one_of_a_million_and_less_does_not():
    figures, _ = context(np.random.default_rng(0), 400)
    million = next(row for row in figures["needle"] if row["n"] == 10**6)
    assert million["mean_rank"][-1] == million["first"][-1] == 1
    assert all(less < more for less, more in itertools.pairwise(million["first"]))
    assert million["first"][figures["shares"].index(0.5)] < 1e-4


@pytest.mark.parametrize(("shared", "own"), [(0, 5), (3, 0), (5, 5)])
def test_what_an_auditor_decides_is_bayes_rule_over_every_signal_written_out(shared, own):
    figures, _ = information(np.random.default_rng(0), 100)
    row = next(row for row in figures["rows"] if (row["shared"], row["own"]) == (shared, own))

    def chance(signals, truth):
        return np.prod([RELIABILITY if s == truth else 1 - RELIABILITY for s in signals])

    def belief(signals):
        return chance(signals, 1) / (chance(signals, 1) + chance(signals, 0))

    def signals(number):
        return list(itertools.product([0, 1], repeat=number))

    worth = dict.fromkeys(("posterior", "models_team", "report", "never", "ideal"), 0.0)
    for both, others in itertools.product(signals(shared), signals(own)):
        p = belief(both + others)
        mistaken = sum(
            p * chance(alone, 1) * (belief(both + alone) < 0.5)
            + (1 - p) * chance(alone, 0) * (belief(both + alone) > 0.5)
            for alone in signals(SIGNALS - shared)
        )
        for alone in signals(SIGNALS - shared):
            team = belief(both + alone)
            buys = {
                "posterior": min(p, 1 - p) > COST,
                "models_team": mistaken > COST,
                "report": True,
                "never": False,
                "ideal": min(team, 1 - team) > COST,
            }
            for who, buy in buys.items():
                got = 1 - COST if buy else team > 0.5
                worth[who] += chance(both + alone + others, 1) * got
    ideal = worth.pop("ideal")
    assert row["ideal"] == pytest.approx(ideal)
    for who, got in worth.items():
        assert row["lost"][who] == pytest.approx(ideal - got), who


def test_reasons_buy_back_what_hiding_costs():
    figures, _ = illegible(np.random.default_rng(0), 100)
    rows = {(row["tail"], row["hidden"], row["pages"]): row["lost"] for row in figures["rows"]}
    for tail in {row["tail"] for row in figures["rows"]}:
        for which in ("any", "best"):
            read = [rows[tail, 0.5, pages][which] for pages in (0.0, 0.5, 1.0, 2.0, 4.0)]
            hidden = [rows[tail, share, 0.0][which] for share in (0.0, 0.05, 0.25, 0.5, 0.9)]
            assert read == sorted(read, reverse=True) and hidden == sorted(hidden)
            assert hidden[0] == 0
        assert all(lost["any"] <= lost["best"] + 1e-9 for lost in rows.values())


@pytest.mark.parametrize(
    ("sign", "holds"),
    [
        ("<=", [True, True, False]),
        ("==", [False, True, False]),
        (">=", [False, True, True]),
    ],
)
def test_a_bar_holds_what_it_says(sign, holds):
    assert [held(got, sign, 2.0, "it").holds for got in (1.0, 2.0, 3.0)] == holds
    assert not held(float("nan"), sign, 2.0, "it").holds
    assert not simulated([0.1, -9.0], "it").holds


# ------------------------------------------------------------------------ the claim


def test_process_supervision_is_free_with_all_context_and_dear_without():
    figures, checks = limit((0,), Sizes(projects=60))
    assert [check.says for check in checks if not check.holds] == []
    for row in figures["rows"]:
        assert row["a"][-1] == pytest.approx(0, abs=1e-12)
        assert row["a_fooled"][-1] == pytest.approx(row["b"])
        assert row["b"] >= 0
    assert figures["break_even"] == sorted(figures["break_even"], reverse=True)


def test_a_cost_is_nothing_for_the_best_and_all_for_acting_at_random():
    _, made, _, _ = world(6, gameable=True)
    score = Score(made)
    assert score.cost(greedy(score.foresight)) == 0
    assert score.cost(np.full(SHAPE, 1 / 3)) == pytest.approx(1)


@pytest.fixture(scope="module")
def told():
    progress = []
    figures = CLAIM.run(Config(quick=True, seeds=1), lambda what, far: progress.append((what, far)))
    return figures, progress


def test_the_claim_holds_quickly_and_shows_every_seed(told):
    figures, progress = told
    assert [check.says for check in figures.checks if not check.holds] == []
    assert figures.seeds == (0,)
    for part in ("giving_up", "limit", "learned"):
        assert {row["seed"] for row in figures.figures[part]["rows"]} == {0}
    far = [one for _, one in progress]
    assert far == sorted(far) and far[0] == 0 and far[-1] == 1


def test_pictures_are_drawn_from_kept_figures_alone(told):
    kept = type(told[0]).model_validate_json(told[0].model_dump_json())
    drawn = CLAIM.plots(kept)
    assert len(drawn) == 6
    for picture in drawn.values():
        picture.canvas.draw()


def test_the_same_seeds_give_the_same_figures():
    small = Sizes(projects=16)
    assert json.dumps(limit((3,), small)[0]) == json.dumps(limit((3,), small)[0])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"stesp": 6}, "no option"),
        ({"steps": 3}, "option steps"),
        ({"bits": 7}, "option bits"),
        ({"acts": 1}, "option acts"),
        ({"projects": 10**6}, "option projects"),
        ({"steps": "six"}, "option steps"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, match):
    with pytest.raises(ClaimError, match=match):
        CLAIM.run(Config(quick=True, options=options), lambda what, far: None)


def test_the_example_on_the_page_runs_as_printed(capsys):
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == printed


@pytest.mark.full
def test_the_claim_holds_in_full():
    figures = CLAIM.run(Config(), lambda what, far: None)
    assert [check.says for check in figures.checks if not check.holds] == []
    assert len(figures.seeds) == CLAIM.seeds
