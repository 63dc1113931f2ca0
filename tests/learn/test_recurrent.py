"""A state is carried from step to step; nothing is taught through it while the boundary holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audition.learn import Boundary, LessonError, Lessons, Outcomes
from audition.learn.probe import probe
from audition.learn.recurrent import CARRIED, Recurrent, Settings, Thought

LANES, STEPS, SEES, WIDTH = 3, 4, 2, 5
OPEN, CLOSED = Boundary(None), Boundary(1)


class Mind(nn.Module):
    """Two ticks of a small cell; what it thinks in the end is all that it carries on."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.cell = nn.RNNCell(SEES, WIDTH)
        self.act, self.value = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 1)
        chance = torch.Generator().manual_seed(seed)
        for one in self.parameters():
            nn.init.normal_(one, std=0.5, generator=chance)

    def forward(self, context: Any, carried_LC: torch.Tensor) -> Thought:
        thought = carried_LC
        for _ in range(2):
            thought = self.cell(context["x"], thought)
        return Thought({"act": self.act(thought)}, self.value(thought)[:, 0], thought)


def learner(boundary: Boundary = CLOSED, state: Boundary | None = None, seed: int = 0) -> Recurrent:
    return Recurrent(Mind(seed), Settings(), boundary, state)


def lanes_of(seed: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Whole lanes, with the state that `learner()` carries into each step."""
    rng = np.random.default_rng(seed)
    x_NTS = rng.normal(size=(LANES, STEPS, SEES)).astype(np.float32)
    carried, act = [np.zeros((LANES, WIDTH), np.float32)], []
    for t in range(STEPS):
        acts, after = learner().propose({"x": x_NTS[:, t]}, carried[-1], rng)
        act.append(acts["act"])
        carried.append(after)
    return {
        "x": x_NTS,
        CARRIED: np.stack(carried[:-1], 1),
        "act": np.stack(act, 1),
        "signal": rng.random((LANES, STEPS)),
        "last": np.tile(np.arange(STEPS) == STEPS - 1, (LANES, 1)),
    }


def unrolled(one: Recurrent, lanes: dict[str, Any], carried: torch.Tensor | None = None) -> Any:
    context = {"x": torch.from_numpy(lanes["x"])}
    context[CARRIED] = torch.from_numpy(lanes[CARRIED]) if carried is None else carried
    span = {"act": torch.from_numpy(lanes["act"].astype(np.int64))}
    return one.unrolled(context, span, lanes["signal"], lanes["last"])


def contribution(one: Recurrent, lanes: dict[str, Any], step: int) -> Any:
    """The gradient of one step's losses at fixed parameters, flat."""
    loss = unrolled(one, lanes)[:, step].sum()
    parts = torch.autograd.grad(loss, list(one.mind.parameters()))
    return torch.cat([part.flatten() for part in parts]).numpy()


def lessons_of(lanes: dict[str, Any], **changes: Any) -> Lessons:
    flat = {name: each.reshape(LANES * STEPS, *each.shape[2:]) for name, each in lanes.items()}
    fields: dict[str, Any] = {
        "signal": "approval",
        "auditor": "teacher",
        "context": {"x": flat["x"], CARRIED: flat[CARRIED]},
        "span": {"act": flat["act"]},
        "weight_L": np.ones(LANES * STEPS),
        "moment_L": np.arange(LANES * STEPS),
        "population": LANES * STEPS,
        "approval_L": flat["signal"],
    }
    return Lessons(**(fields | changes))


# ------------------------------------------------------------------ the boundary


def test_every_lesson_is_its_own_by_gradient_difference_and_bits() -> None:
    lessons = lessons_of(lanes_of())
    arrays = {f"context.{name}": each for name, each in lessons.context.items()}
    arrays |= {f"span.{name}": each for name, each in lessons.span.items()}
    assert lessons.approval_L is not None
    arrays["approval"] = lessons.approval_L.astype(np.float32)
    found = probe(learner(), arrays, STEPS, carried=("context.carried",))
    assert found.tight, found
    assert found.measured == ("gradient", "difference", "bits")


@pytest.mark.parametrize(
    ("credit", "state", "reaches"),
    [(CLOSED, CLOSED, False), (OPEN, CLOSED, False), (CLOSED, OPEN, True), (OPEN, OPEN, True)],
)
def test_a_gradient_passes_through_the_carried_state_only_where_it_is_open(
    credit: Boundary, state: Boundary, reaches: bool
) -> None:
    lanes = lanes_of()
    carried = torch.from_numpy(lanes[CARRIED]).requires_grad_()
    x = torch.from_numpy(lanes["x"]).requires_grad_()
    context = {"x": x, CARRIED: carried}
    span = {"act": torch.from_numpy(lanes["act"].astype(np.int64))}
    losses_NT = learner(credit, state).unrolled(context, span, lanes["signal"], lanes["last"])
    into, of = torch.autograd.grad(losses_NT[:, -1].sum(), [carried, x], materialize_grads=True)
    assert bool(into.any()) == reaches
    assert bool(of[:, :-1].any()) == reaches  # what earlier steps saw
    assert of[:, -1].all()  # what the step itself saw, whatever the boundary


@pytest.mark.parametrize("state", [CLOSED, OPEN])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.integers(0, STEPS - 2))
def test_nothing_after_a_step_moves_a_bit_of_its_contribution(
    state: Boundary, seed: int, step: int
) -> None:
    lanes, rng = lanes_of(), np.random.default_rng(seed)
    other = {name: each.copy() for name, each in lanes.items()}
    other["signal"][:, step + 1 :] = rng.random((LANES, STEPS - step - 1))
    other["x"][:, step + 1 :] = rng.permuted(other["x"][:, step + 1 :], axis=0)
    other["act"][:, step + 1 :] = rng.integers(0, 3, (LANES, STEPS - step - 1))
    one = learner(CLOSED, state)
    assert (contribution(one, lanes, step) == contribution(one, other, step)).all()


@pytest.mark.parametrize("state", [CLOSED, OPEN])
def test_with_credit_open_a_later_approval_moves_an_earlier_step(state: Boundary) -> None:
    lanes = lanes_of()
    other = lanes | {"signal": lanes["signal"] + np.array([0, 0, 0, 0.1])}
    moved = [
        float(
            np.abs(
                contribution(learner(credit, state), lanes, 0)
                - contribution(learner(credit, state), other, 0)
            ).max()
        )
        for credit in (CLOSED, OPEN)
    ]
    assert moved[0] == 0 < moved[1]


def test_lessons_one_by_one_are_lanes_with_the_boundary_closed() -> None:
    lanes, one = lanes_of(), learner()
    lessons = lessons_of(lanes)
    arrays = {
        "context.x": torch.from_numpy(lessons.context["x"]),
        "context.carried": torch.from_numpy(lessons.context[CARRIED]),
        "span.act": torch.from_numpy(lessons.span["act"].astype(np.int64)),
        "approval": torch.from_numpy(lanes["signal"].astype(np.float32).ravel()),
    }
    torch.testing.assert_close(one.losses(arrays), unrolled(one, lanes).flatten())


def test_an_episodes_end_carries_neither_state_nor_credit_across() -> None:
    lanes = lanes_of()
    lanes["last"][:, 1] = True
    one = learner(OPEN)
    other = lanes | {"signal": lanes["signal"] + np.array([0, 0, 0.1, 0.1])}
    assert (contribution(one, lanes, 0) == contribution(one, other, 0)).all()
    carried = torch.from_numpy(lanes[CARRIED]).requires_grad_()
    losses_NT = unrolled(one, lanes, carried)
    after = torch.autograd.grad(losses_NT[:, 2:].sum(), [carried], materialize_grads=True)
    assert not after[0].any()
    before = torch.autograd.grad(unrolled(one, lanes, carried)[:, 1].sum(), [carried])
    assert before[0].any()


# ------------------------------------------------------------------ the trainer


def test_a_lottery_weighs_and_does_not_normalise() -> None:
    """Half of the moments at twice the weight: the drawn ones pull exactly twice as hard."""
    lanes, drawn = lanes_of(), np.arange(0, LANES * STEPS, 2)
    every = lessons_of(lanes)
    assert every.approval_L is not None
    half = lessons_of(
        lanes,
        context={name: each[drawn] for name, each in every.context.items()},
        span={"act": every.span["act"][drawn]},
        weight_L=np.full(len(drawn), 2.0),
        moment_L=drawn,
        approval_L=every.approval_L[drawn],
    )
    one, other = learner(), learner()
    small = one.update(half, np.random.default_rng())["loss"]
    whole = other.losses(
        {
            "context.x": torch.from_numpy(half.context["x"]),
            "context.carried": torch.from_numpy(half.context[CARRIED]),
            "span.act": torch.from_numpy(half.span["act"].astype(np.int64)),
            "approval": torch.from_numpy(every.approval_L[drawn].astype(np.float32)),
        }
    )
    assert small == pytest.approx(2 * float(whole.detach().sum()) / (LANES * STEPS), rel=1e-6)


def test_the_baseline_is_a_constant_to_the_policy() -> None:
    """With no weight on its error, nothing moves the value."""
    one = Recurrent(Mind(), Settings(critic=0), CLOSED)
    loss = unrolled(one, lanes_of()).sum()
    value = list(one.mind.get_submodule("value").parameters())
    found = torch.autograd.grad(loss, value, materialize_grads=True)
    assert not any(each.any() for each in found)


def test_the_same_lessons_give_the_same_weights_to_the_bit() -> None:
    made = []
    for _ in range(2):
        one = learner()
        for seed in range(3):
            one.update(lessons_of(lanes_of(seed)), np.random.default_rng())
        made.append(one.weights())
    assert made[0] == made[1] != learner().weights()


def test_it_learns_what_is_approved_of() -> None:
    one, rng = learner(), np.random.default_rng(0)
    for _ in range(150):
        x, carried = rng.normal(size=(64, SEES)).astype(np.float32), np.zeros((64, WIDTH), "f4")
        acts, _ = one.propose({"x": x}, carried, rng)
        wanted = (x[:, 0] > 0).astype(int)
        many = {"weight_L": np.ones(64), "moment_L": np.arange(64), "population": 64}
        one.update(
            lessons_of(
                lanes_of(),
                context={"x": x, CARRIED: carried},
                span=acts,
                approval_L=(acts["act"] == wanted).astype(float),
                **many,
            ),
            rng,
        )
    x = rng.normal(size=(200, SEES)).astype(np.float32)
    acts, _ = one.propose({"x": x}, np.zeros((200, WIDTH), "f4"), None)
    assert (acts["act"] == (x[:, 0] > 0)).mean() > 0.9


def test_acts_are_drawn_as_often_as_the_policy_says() -> None:
    one, x = learner(), np.tile(np.array([[0.3, -0.8]], np.float32), (20_000, 1))
    carried = np.zeros((len(x), WIDTH), np.float32)
    acts, _ = one.propose({"x": x}, carried, np.random.default_rng(3))
    thought = one.mind({"x": torch.from_numpy(x[:1])}, torch.from_numpy(carried[:1]))
    due = torch.softmax(thought.logits["act"], 1)[0].detach().numpy()
    share = np.bincount(acts["act"], minlength=3) / len(x)
    assert np.abs(share - due).max() < 4 * 0.5 / np.sqrt(len(x))
    best, _ = one.propose({"x": x[:1]}, carried[:1], None)
    assert best["act"][0] == due.argmax()


# ------------------------------------------------------------------ what is refused


def test_lessons_are_refused_while_the_boundary_is_open() -> None:
    for one in (learner(OPEN), learner(CLOSED, OPEN), learner(Boundary(2))):
        with pytest.raises(LessonError, match="with the boundary closed: horizon 1"):
            one.update(lessons_of(lanes_of()), np.random.default_rng())


def test_a_context_without_what_was_carried_is_refused() -> None:
    lanes = lanes_of()
    lessons = lessons_of(lanes, context={"x": lanes["x"].reshape(-1, SEES)})
    with pytest.raises(LessonError, match="a column 'carried'"):
        learner().update(lessons, np.random.default_rng())


def test_a_span_without_its_act_is_refused() -> None:
    lanes = lanes_of()
    outcomes = Outcomes(
        {"x": lanes["x"], CARRIED: lanes[CARRIED]}, {}, lanes["signal"], lanes["last"]
    )
    with pytest.raises(LessonError, match="proposes 'act'"):
        learner(OPEN).update(outcomes, np.random.default_rng())


def test_comparisons_are_refused() -> None:
    lanes = lanes_of()
    rows = LANES * STEPS
    lessons = lessons_of(
        lanes,
        signal="comparison",
        approval_L=None,
        candidates={"act": np.zeros((rows, 2), np.uint8)},
        ranking_LK=np.tile([0, 1], (rows, 1)),
    )
    with pytest.raises(LessonError, match="from approvals, not by comparison"):
        learner().update(lessons, np.random.default_rng())


def test_weights_go_and_come_back_and_strange_ones_are_refused() -> None:
    one, other = learner(seed=0), learner(seed=1)
    other.restore(one.weights())
    assert other.weights() == one.weights()
    with pytest.raises(LessonError, match="weights of recurrent"):
        one.restore(b"nothing")
    with pytest.raises(LessonError, match="weights of recurrent"):
        one.restore(Recurrent(nn.Linear(2, 2), Settings(), CLOSED).weights())
