"""An overseer learns approval from what it buys and from nothing else, and then is held to that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from audition.canonical import digest_bytes
from audition.learn import Boundary, LessonError, Lessons, NoLessons, Outcomes
from audition.learn.overseer import ApprovalModel, Fitting, LearnedOverseer, Prospects

CONTEXTS, ACTIONS = 12, 3


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


FITTING = Fitting(hidden=8, members=2, steps=30, sample=32, rate=1e-2)


def prospects() -> Prospects:
    """A ring of prospects, one part each: action a leads a steps on; the last context stays."""
    parts = np.eye(CONTEXTS, dtype=np.float32)[:, None, :]
    after = (np.arange(CONTEXTS)[:, None] + np.arange(ACTIONS)) % CONTEXTS
    after[-1] = CONTEXTS - 1
    return Prospects(parts, np.ones((CONTEXTS, 1), bool), after.astype(np.int64))


WORTH = np.sin(np.arange(CONTEXTS) * 1.7)


def lessons(seed: int, count: int = 80, compared: bool = True, **changes) -> Lessons:
    """What someone who knows each prospect's worth says."""
    rng, after = np.random.default_rng(seed), prospects().after_SA
    state, action = rng.integers(0, CONTEXTS - 1, count), rng.integers(0, ACTIONS, count)
    fields = {
        "signal": "comparison" if compared else "approval",
        "auditor": "person",
        "context": {"state": state},
        "span": {"action": action},
        "weight_L": np.full(count, 4.0),
        "moment_L": np.arange(count),
        "population": 4 * count,
    }
    if compared:
        candidate = (action[:, None] + np.arange(ACTIONS)) % ACTIONS
        reached = after[state[:, None], candidate]
        fields |= {
            "candidates": {"candidate": candidate, "after": reached},
            "ranking_LK": np.argsort(-WORTH[reached], axis=1),
        }
    else:
        lost = WORTH[after[state]].max(1) - WORTH[after[state, action]]
        fields["approval_L"] = np.exp(-lost)
    return Lessons(**(fields | changes))


def model(seed: int = 0, **changes) -> ApprovalModel:
    return ApprovalModel(prospects(), FITTING.model_copy(update=changes), Boundary(1), seed=seed)


@pytest.mark.parametrize("compared", [True, False])
def test_it_learns_which_action_is_best_and_a_policy_can_be_judged_by_it(compared):
    learner = model()
    for number in range(4):
        learner.update(lessons(number, compared=compared), np.random.default_rng(number))
    best = WORTH[prospects().after_SA].argmax(1)[:-1]
    assert (learner.approvals()[:-1].argmax(1) == best).all()
    weights = learner.weights()
    teacher = LearnedOverseer(prospects(), digest_bytes(weights))
    teacher.restore(weights)
    shown = {"state": np.arange(CONTEXTS - 1), "action": best}
    approval = teacher.judge(shown)
    assert ((approval > 0.5) & (approval <= 1)).all()
    assert (approval == learner.approvals()[shown["state"], best]).all()


def test_the_same_lessons_give_the_same_weights_to_the_bit():
    made = [model(), model()]
    for one in made:
        one.update(lessons(0), np.random.default_rng(1))
    assert made[0].weights() == made[1].weights() != model().weights()


def test_a_lessons_gradient_is_the_same_whatever_other_lessons_there_are():
    learner, given = model(), lessons(3)
    arrays = learner._arrays(given)
    alone = {name: one[:1] for name, one in arrays.items()}
    changed = {name: one.clone() for name, one in arrays.items()}
    changed["ranking"][1:] = changed["ranking"][1:].flip(1)
    slopes = []
    for some in (alone, arrays, changed):
        loss = learner.losses(some)[0]
        slopes.append(torch.autograd.grad(loss, list(learner._networks.values())))
    for one in zip(*slopes, strict=True):
        assert torch.allclose(one[0], one[1], rtol=0, atol=1e-6)
        assert torch.equal(one[1], one[2])


def test_comparisons_of_things_all_alike_are_counted_and_change_no_weight():
    learner, given = model(), lessons(0)
    state = np.full(len(given), CONTEXTS - 1)
    candidates = {**given.candidates, "after": np.full((len(given), ACTIONS), CONTEXTS - 1)}
    level = replace(given, context={"state": state}, candidates=candidates)
    before = learner.weights()
    assert learner.update(level, np.random.default_rng(0)) == {
        "loss": 0.0,
        "kept": 0.0,
        "level": float(len(given)),
    }
    assert learner.weights() == before


def test_what_counts_more_is_fitted_more_closely():
    """Lessons contradict each other; those drawn at the lower rate count inversely more."""
    given, half = lessons(0, compared=False), np.arange(80) % 2
    same = {"context": {"state": np.zeros(80, int)}, "span": {"action": np.ones(80, int)}}
    rating, weight = np.array([0.2, 0.8])[half], np.array([1.0, 9.0])[half]
    rated = replace(given, **same, approval_L=rating, weight_L=weight)
    learner = model(steps=150, sample=80)
    learner.update(rated, np.random.default_rng(0))
    assert learner.approvals()[0, 1] == pytest.approx(0.74, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"context": {"state": np.full(80, CONTEXTS)}}, "state: numbers from 0 to 11"),
        ({"context": {"state": np.full(80, -1)}}, "state: numbers"),
        ({"span": {"action": np.zeros(80)}}, "action: numbers"),
    ],
)
def test_what_the_world_lacks_is_refused(changes, says):
    with pytest.raises(LessonError, match=says):
        model().update(lessons(0, **changes), np.random.default_rng(0))


def test_candidates_of_different_moments_are_refused():
    given = lessons(0)
    elsewhere = given.candidates["after"].copy()
    elsewhere[7, 2] = (elsewhere[7, 2] + 5) % CONTEXTS
    mixed = replace(given, candidates={**given.candidates, "after": elsewhere})
    with pytest.raises(LessonError, match="lesson 7: candidate 2 is of another moment"):
        model().update(mixed, np.random.default_rng(0))


def test_a_candidate_0_that_is_not_the_proposal_is_refused():
    given = lessons(0)
    other = replace(given, span={"action": (given.span["action"] + 1) % ACTIONS})
    with pytest.raises(LessonError, match="candidate 0 is of another moment"):
        model().update(other, np.random.default_rng(0))


def test_ratings_that_are_no_numbers_and_empty_lessons_are_refused():
    given = lessons(0, compared=False)
    assert given.approval_L is not None
    with pytest.raises(LessonError, match="lesson 0: an approval of nan"):
        replace(given, approval_L=np.full(80, np.nan))
    with pytest.raises(NoLessons, match="no lessons"):
        lessons(0, count=0)


def test_outcomes_demonstrations_and_mixed_signals_are_refused():
    learner, rng = model(), np.random.default_rng(0)
    outcomes = Outcomes({}, {}, np.zeros((1, 1)), np.zeros((1, 1), bool))
    with pytest.raises(LessonError, match="not from outcomes"):
        learner.update(outcomes, rng)
    shown = replace(lessons(0, compared=False), signal="demonstration", approval_L=None)
    with pytest.raises(LessonError, match="not from demonstrations"):
        learner.update(shown, rng)
    learner.update(lessons(0), rng)
    with pytest.raises(LessonError, match="another signal"):
        learner.update(lessons(1, compared=False), rng)


def test_a_teacher_judges_by_the_weights_it_is_trained_from_and_by_no_others():
    learner = model()
    weights = learner.weights()
    teacher = LearnedOverseer(prospects(), digest_bytes(weights))
    shown = {"state": np.array([0]), "action": np.array([1])}
    with pytest.raises(LessonError, match="has no weights"):
        teacher.judge(shown)
    with pytest.raises(LessonError, match="not the weights that it is trained from"):
        teacher.restore(model(seed=1).weights())
    teacher.restore(weights)
    assert teacher.judge(shown).shape == (1,)
    with pytest.raises(LessonError, match="state: numbers"):
        teacher.judge({"state": np.array([CONTEXTS]), "action": np.array([1])})


@pytest.mark.parametrize("weights", [b"", b"not safetensors", model(hidden=4).weights()])
def test_weights_of_something_else_are_refused(weights):
    with pytest.raises(LessonError, match="weights of"):
        model().restore(weights)


def test_restored_weights_judge_the_same():
    learner, other = model(), model(seed=5)
    learner.update(lessons(0), np.random.default_rng(0))
    other.restore(learner.weights())
    assert (other.approvals() == learner.approvals()).all()
    assert other.weights() == learner.weights()


def test_where_it_looks_is_a_policy_that_follows_its_approval_and_wanders():
    learner = model(wander=0.3)
    learner.update(lessons(0), np.random.default_rng(0))
    policy = np.exp(learner.log_policy().astype(float))
    assert policy.sum(1) == pytest.approx(np.ones(CONTEXTS))
    assert policy.min() >= 0.1 * 0.999
    assert (policy.argmax(1)[:-1] == learner.approvals().argmax(1)[:-1]).all()
