"""The sweep over all horizons, against the recursion and against paths written out."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.lab.dropbox import exact, recursion
from audition.lab.dropbox.rules import Dropbox, Rules

SHORT = Rules(height=3, turns=6).compile()
GAME = Rules().compile()
COLUMNS = ("fail", "intended", "hack", "observed", "true")


def followed(game: Dropbox, values_TS: np.ndarray) -> dict[str, np.ndarray]:
    """The recursion's outcomes, by column."""
    approvals_TAS = recursion.approvals(game, values_TS)
    rows = [recursion.outcomes(game, q_TAS) for q_TAS in recursion.q_values(game, approvals_TAS)]
    return {key: np.array([getattr(row, key)[0] for row in rows]) for key in COLUMNS}


def agree(game: Dropbox, overseer: exact.Overseer) -> None:
    swept, plain = exact.horizons(game, overseer), followed(game, overseer.values_TS)
    for key in COLUMNS:
        np.testing.assert_allclose(getattr(swept, key), plain[key], rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_the_sweep_is_the_recursion_for_any_overseer(seed: int, spread: int) -> None:
    cents_TS = np.random.default_rng(seed).integers(-spread, spread + 1, (6, SHORT.states))
    agree(SHORT, exact.Overseer(cents_TS.astype(np.int16)))
    agree(SHORT, exact.Overseer.of(cents_TS / 100))


def test_the_sweep_is_the_recursion_over_more_columns_than_one_block() -> None:
    game = Rules(height=3, turns=exact.LANES + 6).compile()
    agree(game, exact.trusted(game))


def test_values_are_optimal() -> None:
    for overseer, reward_S in (
        (exact.trusted(GAME), GAME.true_S),
        (exact.flawed(GAME), GAME.observed_S),
    ):
        plain_TS = recursion.optimal(GAME, reward_S)
        np.testing.assert_allclose(overseer.values_TS, plain_TS, rtol=0, atol=1e-12)


def test_the_recursion_telescopes_to_the_best_path() -> None:
    rng = np.random.default_rng(0)
    values_TS = rng.normal(size=(6, SHORT.states))
    approvals_TAS = recursion.approvals(SHORT, values_TS)
    learned = list(recursion.q_values(SHORT, approvals_TAS))
    for steps, time in ((1, 0), (2, 3), (3, 1), (4, 1)):
        for state in rng.integers(0, SHORT.states, 20):
            best = -np.inf
            for path in product(range(4), repeat=steps):
                reached, total = int(state), 0.0
                for action in path:
                    reached = int(SHORT.next_SA[reached, action])
                    total += SHORT.observed_S[reached]
                best = max(best, total + values_TS[time + steps, reached])
            found = learned[steps - 1][time, :, state].max() + values_TS[time, state]
            assert found == pytest.approx(best, abs=1e-12)


def test_the_telescoping_identity_holds_and_would_show_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values_TS = exact.trusted(SHORT).values_TS
    assert recursion.telescoping_error(SHORT, values_TS) <= 1e-12
    honest = recursion.approvals
    monkeypatch.setattr(recursion, "approvals", lambda *given: honest(*given) + 1e-3)
    assert recursion.telescoping_error(SHORT, values_TS) > 1e-4


def test_a_policy_is_uniform_over_the_best_actions_and_no_others() -> None:
    overseer = exact.trusted(GAME)
    approvals_TAS = recursion.approvals(GAME, overseer.values_TS)
    for horizon, q_TAS in enumerate(recursion.q_values(GAME, approvals_TAS), start=1):
        if horizon in (1, 9, 50):
            tied_TAS = q_TAS >= q_TAS.max(axis=1, keepdims=True) - 1e-9
            due_TAS = tied_TAS / tied_TAS.sum(axis=1, keepdims=True)
            np.testing.assert_array_equal(
                exact.policy(GAME, overseer, horizon), due_TAS.transpose(0, 2, 1)
            )


@pytest.mark.parametrize("horizon", [1, 12, 50])
def test_a_policy_followed_alone_ends_as_it_does_in_the_sweep(horizon: int) -> None:
    overseer = exact.trusted(GAME)
    swept = exact.horizons(GAME, overseer)
    alone = exact.evaluate(GAME, exact.policy(GAME, overseer, horizon))
    for key in COLUMNS:
        assert getattr(alone, key)[0] == pytest.approx(getattr(swept, key)[horizon - 1], abs=1e-12)


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_no_later_value_moves_a_step_of_horizon_one(time: int, seed: int) -> None:
    clear = exact.trusted(SHORT).values_TS
    noise_TS = np.random.default_rng(seed).normal(size=clear.shape)
    noise_TS[: time + 2] = 0
    moved = exact.policy(SHORT, exact.Overseer.of(clear + noise_TS), 1)
    kept = exact.policy(SHORT, exact.Overseer.of(clear), 1)
    np.testing.assert_array_equal(moved[: time + 1], kept[: time + 1])


def test_the_last_step_earns_no_approval_and_is_drawn_blindly() -> None:
    overseer = exact.trusted(GAME)
    assert not exact.approvals(GAME, overseer)[-1].any()
    assert (exact.policy(GAME, overseer, 50)[-1] == 0.25).all()


def test_approvals_are_what_the_recursion_takes() -> None:
    overseer = exact.trusted(SHORT)
    np.testing.assert_allclose(
        exact.approvals(SHORT, overseer),
        recursion.approvals(SHORT, overseer.values_TS).transpose(0, 2, 1),
        atol=1e-12,
    )


def test_noise_leaves_zero_values_alone_and_is_the_same_at_all_times() -> None:
    clear = exact.trusted(GAME)
    noise_TS = exact.noisy(clear, 0.5, 3).values_TS - clear.values_TS
    silent_TS = clear.values_TS == 0
    assert not noise_TS[silent_TS].any()
    state = int(GAME.starts[0])
    assert np.ptp(noise_TS[:-1, state][~silent_TS[:-1, state]]) < 1e-5
    assert np.std(noise_TS[0][~silent_TS[0]]) == pytest.approx(0.5, rel=0.1)


def test_an_episode_follows_the_table_and_its_seed() -> None:
    policy_TSA = exact.policy(GAME, exact.trusted(GAME), 50)
    start = int(GAME.starts[0])
    states = exact.episode(GAME, policy_TSA, start, 7)
    assert states == exact.episode(GAME, policy_TSA, start, 7)
    assert states[0] == start and states[-1] == GAME.ended
    assert all(after in GAME.next_SA[before] for before, after in pairwise(states))
    assert GAME.second_S[states].any()


@pytest.mark.parametrize("horizon", [0, 51, -1, 1.0, True])
def test_a_horizon_outside_the_episode_is_refused(horizon: int) -> None:
    with pytest.raises(ValueError, match=r"is not a whole number in 1\.\.50"):
        exact.policy(GAME, exact.trusted(GAME), horizon)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused(wrong: float) -> None:
    values_TS = np.zeros((6, SHORT.states))
    values_TS[2, 5] = wrong
    with pytest.raises(ValueError, match=r"at \(2, 5\) is not finite"):
        exact.Overseer.of(values_TS)


def test_an_approval_that_is_no_number_is_refused() -> None:
    approvals_TAS = np.zeros((6, 4, SHORT.states))
    approvals_TAS[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="approval nan at time 1, state 3, action 2"):
        next(recursion.q_values(SHORT, approvals_TAS))
    with pytest.raises(ValueError, match="approvals have shape"):
        next(recursion.q_values(SHORT, approvals_TAS[:3]))


def test_a_value_beyond_the_whole_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="a value exceeds 1000"):
        exact.Overseer.of(np.full((6, SHORT.states), 1000.1))


@pytest.mark.parametrize("sigma", [-0.1, np.nan, np.inf])
def test_noise_without_a_size_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="is not a finite number >= 0"):
        exact.noisy(exact.trusted(SHORT), sigma, 0)


def test_values_of_another_game_are_refused() -> None:
    with pytest.raises(ValueError, match="are not of this game"):
        exact.horizons(GAME, exact.trusted(SHORT))
    counts_TS = exact.trusted(SHORT).counts_TS.astype(np.int32)
    with pytest.raises(ValueError, match="are not of this game"):
        exact.horizons(SHORT, exact.Overseer(counts_TS))


def test_a_sweep_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="use a smaller grid, fewer boxes or fewer steps"):
        exact.horizons(SHORT, exact.trusted(SHORT))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([0.5, 0.5, 0.5, 0.5], "no distribution"),
        ([1.5, -0.5, 0.0, 0.0], "no distribution"),
        ([np.nan, 0.5, 0.25, 0.25], "no distribution"),
    ],
)
def test_a_policy_that_is_no_distribution_is_refused(row: list[float], says: str) -> None:
    policy_SA = np.full((SHORT.states, 4), 0.25)
    policy_SA[7] = row
    with pytest.raises(ValueError, match=f"time 0, state 7 .*{says}"):
        exact.evaluate(SHORT, policy_SA)
    with pytest.raises(ValueError, match="policy has shape"):
        exact.evaluate(SHORT, policy_SA[:-1])
