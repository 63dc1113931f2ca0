"""The value of information: never negative, at most the value of knowing, and exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audition.measure.information import best_utility, value_of_information


def distributions(*shape):
    return arrays(float, shape, elements=st.floats(0.01, 1)).map(
        lambda array: array / array.sum(-1, keepdims=True)
    )


PROBLEMS = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda size: st.tuples(
        distributions(size[0]),
        distributions(size[0], size[1]),
        arrays(float, (size[2], size[0]), elements=st.floats(-10, 10)),
    )
)


@given(PROBLEMS)
def test_knowing_more_is_never_worth_less_than_nothing_nor_more_than_knowing_all(problem):
    prior, likelihood, utility = problem
    value = value_of_information(prior, likelihood, utility)
    everything = value_of_information(prior, np.eye(len(prior)), utility)
    assert 0 <= value <= everything + 1e-9
    assert everything == pytest.approx(prior @ utility.max(0) - best_utility(prior, utility))


@given(PROBLEMS, st.data())
def test_a_garbled_observation_is_worth_no_more(problem, data):
    prior, likelihood, utility = problem
    garbling = data.draw(distributions(likelihood.shape[1], 3))
    garbled = value_of_information(prior, likelihood @ garbling, utility)
    assert garbled <= value_of_information(prior, likelihood, utility) + 1e-9


@given(PROBLEMS)
def test_the_value_is_bayes_rule_written_out(problem):
    prior, likelihood, utility = problem
    chance = prior @ likelihood
    posterior = (prior[:, None] * likelihood / chance).T
    written = chance @ best_utility(posterior, utility) - best_utility(prior, utility)
    assert value_of_information(prior, likelihood, utility) == pytest.approx(written, abs=1e-9)


@given(st.floats(0, 1), st.floats(0.5, 1))
def test_of_two_states_a_test_is_worth_what_it_adds_to_the_better_guess(p, q):
    value = value_of_information([p, 1 - p], [[q, 1 - q], [1 - q, q]], np.eye(2))
    assert value == pytest.approx(max(0, q - max(p, 1 - p)), abs=1e-12)


def test_beliefs_are_taken_by_the_stack():
    beliefs = np.array([[[0.5, 0.5], [0.9, 0.1]], [[1.0, 0.0], [0.3, 0.7]]])
    values = value_of_information(beliefs, np.eye(2), np.eye(2))
    assert values == pytest.approx(np.array([[0.5, 0.1], [0.0, 0.3]]))


@pytest.mark.parametrize(
    ("prior", "likelihood", "utility", "match"),
    [
        ([0.5, 0.6], np.eye(2), np.eye(2), "prior"),
        ([1.5, -0.5], np.eye(2), np.eye(2), "prior"),
        ([float("nan"), 1], np.eye(2), np.eye(2), "prior"),
        ([0.5, 0.5], [[0.5, 0.6], [0, 1]], np.eye(2), "likelihood"),
        ([0.5, 0.5], np.eye(3), np.eye(2), "likelihood has shape"),
        ([0.5, 0.5], np.eye(2), np.eye(3), "prior has shape"),
        ([0.5, 0.5], np.eye(2), [[float("inf"), 0]], "utility"),
        ([0.5, 0.5], np.eye(2), np.empty((0, 2)), "utility"),
        (0.5, np.eye(2), np.eye(2), "prior has shape"),
    ],
)
def test_what_is_no_decision_problem_is_refused(prior, likelihood, utility, match):
    with pytest.raises(ValueError, match=match):
        value_of_information(prior, likelihood, utility)
