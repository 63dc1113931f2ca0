"""The boundary: closed it changes nothing and passes nothing on; open it does what it says."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from audition.learn import Boundary, gae

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 7))
NUMBERS = st.floats(-1e6, 1e6)


@st.composite
def signals(draw: st.DrawFn) -> tuple[Any, Any]:
    shape = draw(SHAPES)
    return (
        draw(arrays.arrays(np.float64, shape, elements=NUMBERS)),
        draw(arrays.arrays(np.bool_, shape)),
    )


def slowly(signal_NT: Any, last_NT: Any, horizon: int | None) -> Any:
    """Credit, one step at a time, in the order in which it is summed."""
    credit_NT = signal_NT.copy()
    lanes, steps = signal_NT.shape
    for lane in range(lanes):
        for step in range(steps):
            ahead = step
            while ahead + 1 < steps and not last_NT[lane, ahead]:
                ahead += 1
                if horizon is not None and ahead - step >= horizon:
                    break
                credit_NT[lane, step] += signal_NT[lane, ahead]
    return credit_NT


@example((np.array([[-0.0, 0.0]]), np.array([[True, True]])), None)
@given(signals(), st.integers(1, 12) | st.none())
def test_credit_is_what_the_slow_sum_gives_for_every_horizon(
    given: tuple[Any, Any], horizon: int | None
) -> None:
    before = given[0].copy()
    credit = Boundary(horizon).credit(*given)
    assert credit.tobytes() == slowly(*given, horizon).tobytes()
    assert given[0].tobytes() == before.tobytes()


@given(signals())
def test_closed_the_credit_is_the_signal_itself(given: tuple[Any, Any]) -> None:
    signal_NT, last_NT = given
    assert Boundary(1).credit(signal_NT, last_NT) is signal_NT


@given(signals(), st.integers(2, 12) | st.none(), st.data())
def test_no_credit_crosses_an_episodes_end(
    given: tuple[Any, Any], horizon: int | None, data: st.DataObject
) -> None:
    signal_NT, last_NT = given
    step = data.draw(st.integers(0, signal_NT.shape[1] - 1))
    last_NT[:, step] = True
    other = signal_NT.copy()
    other[:, step + 1 :] += 1
    before, after = (Boundary(horizon).credit(one, last_NT) for one in (signal_NT, other))
    assert (before[:, : step + 1] == after[:, : step + 1]).all()


@given(signals())
def test_a_horizon_beyond_the_last_step_is_no_boundary(given: tuple[Any, Any]) -> None:
    steps = given[0].shape[1]
    assert (Boundary(steps + 3).credit(*given) == Boundary(None).credit(*given)).all()


@given(signals(), st.floats(0.1, 1), st.floats(0, 1))
def test_generalised_advantages_are_the_slow_sum_and_end_with_the_episode(
    given: tuple[Any, Any], discount: float, decay: float
) -> None:
    reward_NT, last_NT = given
    value_NT, after_N = np.cos(reward_NT), np.sin(reward_NT[:, 0])
    found = gae(reward_NT, value_NT, last_NT, after_N, discount=discount, decay=decay)
    lanes, steps = reward_NT.shape
    for lane in range(lanes):
        for step in range(steps):
            total, factor = 0.0, 1.0
            for ahead in range(step, steps):
                value = after_N[lane] if ahead == steps - 1 else value_NT[lane, ahead + 1]
                value = 0 if last_NT[lane, ahead] else value
                total += factor * (
                    reward_NT[lane, ahead] + discount * value - value_NT[lane, ahead]
                )
                factor *= discount * decay
                if last_NT[lane, ahead]:
                    break
            assert found[lane, step] == pytest.approx(total, rel=1e-9, abs=1e-6)


def test_what_lies_behind_a_time_limit_is_worth_nothing() -> None:
    """A limit that is part of the task ends it: no value of a state after it may enter."""
    reward_NT, value_NT = np.ones((1, 3)), np.zeros((1, 3))
    ends = np.array([[False, False, True]])
    assert gae(reward_NT, value_NT, ends, np.array([100.0]))[0, -1] == 1
    assert gae(reward_NT, value_NT, np.zeros_like(ends), np.array([100.0]))[0, -1] == 101


class Carried(NamedTuple):
    state: Any
    count: int


def test_what_is_carried_is_cut_wherever_it_is_held() -> None:
    live = torch.ones(2, requires_grad=True) * 2
    held = {"a": [live, (live, None)], "b": Carried(live, 3), "c": np.ones(1), "d": "text"}
    cut = Boundary(1).cut(held)
    assert not any(one.requires_grad for one in (cut["a"][0], cut["a"][1][0], cut["b"].state))
    assert isinstance(cut["b"], Carried) and cut["b"].count == 3
    assert cut["c"] is held["c"] and cut["d"] == "text" and cut["a"][1][1] is None
    assert torch.equal(cut["a"][0], live)
    assert Boundary(None).cut(held) is held and Boundary(2).cut(live) is live


def test_an_object_that_may_hide_tensors_is_not_passed_off_as_cut() -> None:
    class Cache:
        keys = torch.ones(1, requires_grad=True)

    with pytest.raises(TypeError, match="cannot cut a Cache"):
        Boundary(1).cut([Cache()])


@given(st.lists(st.tuples(NUMBERS, st.floats(1, 100)), min_size=1), st.integers(1, 1000))
def test_the_loss_is_the_weighted_sum_over_the_population(
    rows: list[tuple[float, float]], population: int
) -> None:
    loss_L, weight_L = (np.array(column) for column in zip(*rows, strict=True))
    total = Boundary(1).total(loss_L, weight_L, population)
    assert total == (loss_L * weight_L).sum() / population
    assert total == pytest.approx(sum(a * b for a, b in rows) / population, rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("population", [0, -1, float("nan")])
def test_no_population_is_no_loss(population: float) -> None:
    with pytest.raises(ValueError, match="no moments"):
        Boundary(1).total(np.ones(1), np.ones(1), population)


@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_that_credits_nothing_is_refused(horizon: int) -> None:
    with pytest.raises(ValueError, match="credits nothing"):
        Boundary(horizon)


def test_only_a_horizon_of_one_is_closed() -> None:
    assert [Boundary(one).closed for one in (1, 2, None)] == [True, False, False]
    assert Boundary().closed
