"""The policy-gradient trainer: its objective, its boundary, what it refuses, and that it learns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from audition.learn import Boundary, LessonError, Lessons, Outcomes
from audition.learn.ppo import Ppo, Settings, clipped
from audition.learn.probe import probe
from audition.learn.probe_update import probe_update

STATES, ACTIONS, LANES, STEPS = 6, 3, 4, 5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def learner(boundary: Boundary | None = None, **changes: Any) -> Ppo:
    fields: dict[str, Any] = {"hidden": (8,), "span": (-1.0, 1.0)}
    return Ppo(
        np.eye(STATES, dtype=np.float32),
        ACTIONS,
        Settings(**(fields | changes)),
        boundary or Boundary(1),
        seed=0,
        updates=40,
    )


def rows(seed: int = 0) -> dict[str, Any]:
    """Lanes of steps whose episodes end in their last column."""
    rng = np.random.default_rng(seed)
    count = LANES * STEPS
    return {
        "context.state": rng.integers(0, STATES, count).astype(np.uint8),
        "context.t": np.tile(np.arange(STEPS), LANES).astype(np.uint8),
        "span.action": rng.integers(0, ACTIONS, count).astype(np.uint8),
        "span.logp": rng.normal(-1.1, 0.05, count),
        "approval": rng.random(count),
        "weight": 1 / rng.uniform(0.2, 1, count),
        "moment": np.arange(count),
    }


def tensors() -> dict[str, Tensor]:
    return {
        name: torch.tensor(array.astype(np.int64) if array.dtype.kind in "iu" else array)
        for name, array in rows().items()
    }


def lessons(arrays: dict[str, Any] | None = None, **changes: Any) -> Lessons:
    found = (arrays or rows()) | changes
    count = len(found["moment"])
    return Lessons(
        signal="approval",
        auditor="judge",
        context={"state": found["context.state"], "t": found["context.t"]},
        span={"action": found["span.action"], "logp": found["span.logp"]},
        weight_L=found["weight"],
        moment_L=found["moment"],
        population=found.get("population", 2 * count),
        approval_L=found["approval"],
    )


def outcomes(last: bool, seed: int = 0) -> dict[str, Tensor]:
    """Two lanes; whether an episode ends in the middle of each."""
    rng = np.random.default_rng(seed)
    last_NT = np.zeros((2, STEPS), bool)
    last_NT[:, 2] = last
    return {
        "context.state": torch.from_numpy(rng.integers(0, STATES, (2, STEPS))),
        "span.action": torch.from_numpy(rng.integers(0, ACTIONS, (2, STEPS))),
        "span.logp": torch.full((2, STEPS), -1.1),
        "reward": torch.from_numpy(rng.normal(size=(2, STEPS)).astype(np.float32)),
        "last": torch.from_numpy(last_NT),
    }


# ------------------------------------------------------------------------------- the objective

finite = st.floats(-3, 3, width=32)


@given(st.lists(st.tuples(finite, finite, finite), min_size=1), st.floats(0.01, 0.9))
def test_the_surrogate_is_that_of_the_paper(lines: list[Any], clip: float) -> None:
    logp, old, advantage = (torch.tensor(one, dtype=torch.float64) for one in zip(*lines))  # noqa: B905
    given = clipped(logp, old, advantage, clip)
    for number, (now, before, gain) in enumerate(lines):
        ratio = np.exp(now - before)
        kept = min(max(ratio, 1 - clip), 1 + clip)
        assert given[number].item() == pytest.approx(-min(ratio * gain, kept * gain), abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "flat"),
    [
        (1.3, 1.0, True),  # already likelier by more than ε, and rightly so
        (0.7, -1.0, True),
        (1.3, -1.0, False),  # gone the wrong way: always pulled back
        (0.7, 1.0, False),
        (1.1, 1.0, False),
        (0.9, -1.0, False),
    ],
)
def test_a_clipped_ratio_has_no_gradient(ratio: float, advantage: float, flat: bool) -> None:
    logp = torch.tensor([np.log(ratio)], requires_grad=True)
    clipped(logp, torch.zeros(1), torch.tensor([advantage]), 0.2).sum().backward()
    assert logp.grad is not None
    assert (logp.grad.item() == 0) is flat


def test_one_evaluation_of_all_contexts_has_the_gradient_of_one_for_every_step() -> None:
    subject, held = learner(entropy=(0.1, 0.1)), tensors()
    parameters = [*subject.policy.parameters(), *subject.critic.parameters()]
    given = torch.autograd.grad(subject.losses(held).sum(), parameters)
    features = torch.eye(STATES)[held["context.state"]]
    logp_LA = torch.log_softmax(subject.policy(features), 1)
    value_L, signal_L = subject.critic(features)[:, 0], 2 * held["approval"] - 1
    chosen_L = logp_LA.gather(1, held["span.action"][:, None])[:, 0]
    stepwise = (
        clipped(chosen_L, held["span.logp"], signal_L - value_L.detach(), 0.2)
        + (value_L - signal_L) ** 2 / 2
        + 0.1 * (logp_LA.exp() * logp_LA).sum(1)
    )
    for one, other in zip(given, torch.autograd.grad(stepwise.sum(), parameters), strict=True):
        torch.testing.assert_close(one, other)


# -------------------------------------------------------------------------------- the boundary


def test_no_other_approval_reaches_a_lesson() -> None:
    held = tensors()
    held["approval"].requires_grad_()
    jacobian_LL = torch.autograd.functional.jacobian(
        lambda approval: learner().losses({**held, "approval": approval}), held["approval"]
    )
    assert isinstance(jacobian_LL, Tensor)
    own_L = jacobian_LL.diagonal()
    assert (own_L != 0).all()
    assert torch.equal(jacobian_LL, torch.diag(own_L))


def test_the_probe_finds_no_leak_in_losses_or_update() -> None:
    came_of_it = {"reward": np.random.default_rng(1).normal(size=LANES * STEPS)}
    found = probe(learner(), rows() | came_of_it, STEPS)
    assert found.tight, found
    assert "gradient" in str(found)
    assert probe_update(learner(), lessons(), STEPS).tight


@pytest.mark.parametrize("horizon", [2, None])
def test_with_the_boundary_open_the_probe_finds_the_leak(horizon: int | None) -> None:
    found = probe(learner(Boundary(horizon)), rows(), STEPS)
    assert ("after", "approval") in {(leak.source, leak.array) for leak in found.leaks}
    assert not probe_update(learner(Boundary(horizon)), lessons(), STEPS).tight


def test_with_the_boundary_open_credit_still_ends_with_the_episode() -> None:
    held = tensors()
    other = {**held, "approval": held["approval"].clone()}
    other["approval"][STEPS:] = 0.5  # all lanes but the first
    one, two = (learner(Boundary(None)).losses(each)[:STEPS] for each in (held, other))
    assert torch.equal(one, two)


# --------------------------------------------------------------------------------- the outcome


def test_an_outcome_credits_what_came_later_but_not_past_an_episodes_end() -> None:
    for last in (False, True):
        held = outcomes(last)
        spoiled = {name: array.clone() for name, array in held.items()}
        spoiled["reward"][:, 3:] += 1.0
        spoiled["context.state"][:, 3:] = (spoiled["context.state"][:, 3:] + 1) % STATES
        before, after = (learner().losses(each).reshape(2, -1)[:, :3] for each in (held, spoiled))
        assert torch.equal(before, after) is last  # a time limit ends it without a bootstrap


def test_a_lanes_last_step_is_the_value_after_the_one_before_and_no_lesson() -> None:
    subject, held = learner(decay=0.0, entropy=(0.0, 0.0)), outcomes(False)
    value_NT = subject.critic(torch.eye(STATES))[:, 0].detach()[held["context.state"]]
    logp_SA = torch.from_numpy(subject.log_policy())
    target_N = held["reward"][:, -2] + value_NT[:, -1]
    error_N = target_N - value_NT[:, -2]
    logp_N = logp_SA[held["context.state"][:, -2], held["span.action"][:, -2]]
    due_N = clipped(logp_N, held["span.logp"][:, -2], error_N, 0.2) + error_N**2 / 2
    given = subject.losses(held).reshape(2, -1)
    assert given.shape == (2, STEPS - 1)
    torch.testing.assert_close(given[:, -1], due_N)
    spoiled = {**held, "reward": held["reward"].clone()}
    spoiled["reward"][:, -1] += 1.0
    assert torch.equal(given, subject.losses(spoiled).reshape(2, -1))


def test_outcomes_are_learned_from() -> None:
    rng = np.random.default_rng(0)
    subject = learner()
    for _ in range(40):
        state_NT = rng.integers(0, STATES, (20, STEPS))
        logp_SA = subject.log_policy()
        action_NT = drawn(logp_SA, state_NT.ravel(), rng).reshape(20, STEPS)
        last_NT = np.tile(np.arange(STEPS) == STEPS - 2, (20, 1))
        held = Outcomes(
            {"state": state_NT},
            {"action": action_NT, "logp": logp_SA[state_NT, action_NT]},
            (action_NT == 1).astype(np.float32),
            last_NT,
        )
        subject.update(held, rng)
    assert np.exp(subject.log_policy())[:, 1].mean() > 0.8


# ------------------------------------------------------------------------------------ learning


def drawn(logp_SA: Any, state_L: Any, rng: np.random.Generator) -> Any:
    cut = rng.random((len(state_L), 1))
    return (np.exp(logp_SA[state_L]).cumsum(1)[:, :-1] <= cut).sum(1)


def taught(rate: float, updates: int = 40) -> Ppo:
    """A learner of which action is right in each state, told of some of what it tries."""
    rng, subject = np.random.default_rng(0), learner()
    for _ in range(updates):
        state_L = rng.integers(0, STATES, 200)
        logp_SA = subject.log_policy()
        action_L = drawn(logp_SA, state_L, rng)
        told_L = rng.random(200) < rate
        held = {
            "context.state": state_L,
            "context.t": np.zeros(200, int),
            "span.action": action_L,
            "span.logp": logp_SA[state_L, action_L],
            "approval": (action_L == state_L % ACTIONS).astype(float),
            "weight": np.full(200, 1 / rate),
            "moment": np.arange(200),
        }
        few = {name: array[told_L] for name, array in held.items()}
        subject.update(lessons(few, population=200), rng)
    return subject


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_it_learns_what_is_approved_of(rate: float) -> None:
    policy_SA = np.exp(taught(rate).log_policy())
    assert policy_SA[np.arange(STATES), np.arange(STATES) % ACTIONS].min() > 0.8


def test_lessons_weigh_by_their_inverse_probability() -> None:
    """Each drawn twice is each drawn once at twice the weight."""
    once, twice = learner(), learner()
    one, rng = rows(), np.random.default_rng(0)
    doubled = {name: np.concatenate([array, array]) for name, array in one.items()}
    once.update(lessons(one, weight=2 * one["weight"], population=100), rng)
    twice.update(lessons(doubled, population=100), rng)
    np.testing.assert_allclose(once.log_policy(), twice.log_policy(), atol=1e-4)


def test_the_loss_is_divided_by_the_moments_that_the_lottery_drew_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, total = set(), Boundary.total

    def noted(self: Boundary, losses_L: Any, weight_L: Any, population: float) -> Any:
        seen.add((population, round(float(weight_L.sum()), 3)))
        return total(self, losses_L, weight_L, population)

    monkeypatch.setattr(Boundary, "total", noted)
    given = lessons(population=100)
    learner().update(given, np.random.default_rng(0))
    assert seen == {(100, round(float(given.weight_L.sum()), 3))}


def test_the_entropys_weight_falls_from_the_first_update_to_the_last() -> None:
    subject = Ppo(
        np.eye(STATES, dtype=np.float32),
        ACTIONS,
        Settings(hidden=(8,), entropy=(0.5, 0.0)),
        Boundary(1),
        seed=0,
        updates=2,
    )
    held = tensors()
    plain = learner(span=(0.0, 1.0), entropy=(0.0, 0.0))
    uniform = np.log(ACTIONS)
    gap = (plain.losses(held) - subject.losses(held)).detach().numpy()
    np.testing.assert_allclose(gap, 0.5 * uniform, rtol=1e-3)
    subject.update(lessons(), np.random.default_rng(0))
    plain.restore(subject.weights())
    assert torch.equal(plain.losses(held), subject.losses(held))


def test_the_same_lessons_give_the_same_weights_to_the_bit() -> None:
    assert taught(0.5, updates=5).weights() == taught(0.5, updates=5).weights()


def test_weights_are_put_back_to_the_bit() -> None:
    subject, other = taught(1.0, updates=3), learner()
    assert other.weights() != subject.weights()
    other.restore(subject.weights())
    assert other.weights() == subject.weights()
    assert (other.log_policy() == subject.log_policy()).all()


# ------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "field",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"epochs": 0},
        {"clip": 1.0},
        {"entropy": (-0.1, 0.0)},
        {"entropy": (float("nan"), 0.0)},
        {"span": (1.0, 1.0)},
        {"span": (float("nan"), 1.0)},
        {"span": (0.0, float("inf"))},
        {"discount": 0.0},
        {"decay": 1.1},
        {"momentum": 0.9},
    ],
    ids=str,
)
def test_settings_that_are_none_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        Settings(**field)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"context.state": np.full(LANES * STEPS, STATES)}, r"state: a number outside 0\.\.5"),
        ({"context.state": np.full(LANES * STEPS, -1)}, "state: a number outside"),
        ({"span.action": np.full(LANES * STEPS, ACTIONS)}, r"action: a number outside 0\.\.2"),
        ({"span.logp": np.full(LANES * STEPS, np.nan)}, "logp: a log-probability is finite"),
    ],
)
def test_lessons_of_another_world_are_refused(changes: dict[str, Any], says: str) -> None:
    subject = learner()
    before = subject.weights()
    with pytest.raises(LessonError, match=says):
        subject.update(lessons(**changes), np.random.default_rng(0))
    assert subject.weights() == before


def test_comparisons_are_refused() -> None:
    compared = Lessons(
        signal="comparison",
        auditor="judge",
        context={"state": np.zeros(1, int)},
        span={"action": np.zeros(1, int), "logp": np.zeros(1)},
        weight_L=np.ones(1),
        moment_L=np.zeros(1, int),
        population=1,
        candidates={"action": np.array([[0, 1]])},
        ranking_LK=np.array([[0, 1]]),
    )
    with pytest.raises(LessonError, match="not by comparison"):
        learner().update(compared, np.random.default_rng(0))


def test_lessons_without_a_column_are_refused() -> None:
    found = lessons()
    without = Lessons(
        signal="approval",
        auditor="judge",
        context={},
        span=found.span,
        weight_L=found.weight_L,
        moment_L=found.moment_L,
        population=found.population,
        approval_L=found.approval_L,
    )
    with pytest.raises(LessonError, match="column 'state'"):
        learner().update(without, np.random.default_rng(0))


def test_weights_of_other_networks_are_refused() -> None:
    subject = learner()
    with pytest.raises(LessonError, match="weights of ppo"):
        subject.restore(b"no weights")
    with pytest.raises(LessonError, match="other layers"):
        subject.restore(learner(hidden=(8, 8)).weights())
    with pytest.raises(LessonError, match=r"critic.0.weight is \(9, 6\), not \(8, 6\)"):
        subject.restore(learner(hidden=(9,)).weights())
