"""Losses: the likelihoods that they claim to be, and what must change nothing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.learn.objectives import (
    cross_entropy,
    negative_log_likelihood,
    plackett_luce,
    squared_error,
)

SCORES = st.lists(st.floats(-8, 8), min_size=2, max_size=5)


def scores(values: list[float]) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@settings(deadline=None)
@given(SCORES)
def test_the_likelihoods_of_all_rankings_of_a_moment_sum_to_one(values):
    every = torch.tensor([list(p) for p in itertools.permutations(range(len(values)))])
    losses = plackett_luce(scores(values).expand(len(every), -1), every)
    assert torch.exp(-losses).sum() == pytest.approx(1.0)


@settings(deadline=None)
@given(SCORES, st.floats(-50, 50), st.randoms())
def test_a_constant_added_to_a_moments_scores_changes_no_loss(values, constant, random):
    order = list(range(len(values)))
    random.shuffle(order)
    ranking = torch.tensor([order])
    moved = plackett_luce(scores(values) + constant, ranking)
    assert float(moved) == pytest.approx(float(plackett_luce(scores(values), ranking)), abs=1e-9)


@given(st.floats(-8, 8), st.floats(-8, 8))
def test_two_candidates_are_bradley_and_terry(a, b):
    loss = plackett_luce(scores([a, b]), torch.tensor([[1, 0]]))
    assert float(loss) == pytest.approx(math.log1p(math.exp(a - b)))


def test_two_candidates_ranked_both_ways_are_drawn_together():
    value = torch.tensor([[2.0, -1.0]], requires_grad=True)
    both = torch.tensor([[0, 1], [1, 0]])
    plackett_luce(value.expand(2, -1), both).sum().backward()
    assert value.grad is not None
    assert value.grad[0, 0] > 0 > value.grad[0, 1]


def test_equal_scores_of_one_thing_have_no_gradient():
    value = torch.tensor([1.5], requires_grad=True)
    plackett_luce(value.expand(1, 4), torch.tensor([[2, 0, 3, 1]])).sum().backward()
    assert value.grad is not None and abs(float(value.grad)) < 1e-6


@pytest.mark.parametrize(
    ("score", "ranking"), [((2, 3), (2, 2)), ((2, 1), (2, 1)), ((1, 3), (2, 3))]
)
def test_scores_and_rankings_that_do_not_fit_are_refused(score, ranking):
    with pytest.raises(ValueError, match="same two candidates or more"):
        plackett_luce(torch.zeros(score), torch.zeros(ranking, dtype=torch.int64))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_best_prediction_of_many_ratings_is_their_mean(ratings):
    rating = torch.tensor(ratings, dtype=torch.float64)
    mean = rating.mean().clamp(1e-6, 1 - 1e-6).requires_grad_()
    squared_error(mean, rating).sum().backward()
    assert float(mean.grad) == pytest.approx(0, abs=1e-4)
    logit = torch.logit(mean.detach()).requires_grad_()
    cross_entropy(logit.expand(len(ratings)), rating).sum().backward()
    assert float(logit.grad) == pytest.approx(0, abs=1e-4)


def test_only_a_demonstrations_own_tokens_count():
    logp = torch.tensor([[-1.0, -2.0, -4.0]], requires_grad=True)
    own = torch.tensor([[False, True, True]])
    loss = negative_log_likelihood(logp, own)
    loss.sum().backward()
    assert loss.tolist() == [6.0]
    assert logp.grad is not None and logp.grad.tolist() == [[0.0, -1.0, -1.0]]
