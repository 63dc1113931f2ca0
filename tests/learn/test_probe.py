"""The probe finds every way in which a step could learn from what it must not, and only those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.learn import Boundary, Lessons
from audition.learn.leak import ProbeError
from audition.learn.probe import probe
from audition.learn.probe_update import probe_update
from bandit import Puller
from schemes import BAD, HONEST, LANES, STEPS, bounded, rows

# ------------------------------------------------------------------ functions of a batch's rows


@pytest.mark.parametrize("name", HONEST)
def test_a_scheme_that_credits_each_step_with_its_own_is_tight(name: str) -> None:
    found = probe(HONEST[name], rows(), STEPS)
    assert found.tight, found
    assert found.lessons == LANES * STEPS
    assert str(found) == "tight: 20 lessons, by difference, bits"


@pytest.mark.parametrize("name", BAD)
def test_the_probe_names_the_leak_of_a_bad_scheme(name: str) -> None:
    scheme, expected = BAD[name]
    found = probe(scheme, rows(), STEPS)
    assert not found.tight
    assert expected in {(leak.source, leak.array) for leak in found.leaks}, found
    assert found.worst is not None and found.worst.size == max(leak.size for leak in found.leaks)
    assert "is reached by" in str(found)


def test_a_time_limits_bootstrap_reaches_the_last_step_and_no_other() -> None:
    scheme, _ = BAD["a time limit's bootstrap"]
    found = probe(scheme, rows(), STEPS)
    assert {leak.step for leak in found.leaks if leak.source == "after"} == {STEPS - 1}


def test_filtering_by_success_lets_rewards_in_and_nothing_else() -> None:
    scheme, _ = BAD["only the successful lanes"]
    assert {leak.array for leak in probe(scheme, rows(), STEPS).leaks} == {"reward"}


def test_a_baseline_for_each_turn_is_no_leak_from_later_steps() -> None:
    """It is other lanes that it lets in; whoever looks only at what comes later misses it."""
    scheme, _ = BAD["advantages normalised for each turn"]
    assert {leak.source for leak in probe(scheme, rows(), STEPS).leaks} == {"beside"}


def test_normalising_for_each_turn_turns_a_true_gradient_to_zero() -> None:
    """Two turns: go on with probability p and earn r; a stop is no proposal and leaves no row."""
    go_on, first, second = Fraction(6, 10), Fraction(7, 10), Fraction(3, 10)
    lanes = [  # probability, returns from each turn on
        (1 - go_on, ()),
        (go_on * (1 - go_on), (first,)),
        (go_on * go_on, (first + second, second)),
    ]
    slope = 1 - go_on  # derivative of log p in the logit of p, the same in every row
    means = [
        sum(chance * given[turn] for chance, given in lanes if len(given) > turn)
        / sum(chance for chance, given in lanes if len(given) > turn)
        for turn in range(2)
    ]
    plain = sum(chance * slope * one for chance, given in lanes for one in given)
    centred = sum(
        chance * slope * (one - mean)
        for chance, given in lanes
        for one, mean in zip(given, means, strict=False)
    )
    truth = go_on * (1 - go_on) * (first + 2 * second * go_on)  # d(p·r₁ + p²·r₂) in the logit
    assert plain == truth == Fraction(2544, 10_000)
    assert centred == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), horizon=st.integers(2, STEPS) | st.none())
def test_any_horizon_but_one_shows_on_any_batch(seed: int, horizon: int | None) -> None:
    assert probe(bounded(1), rows(seed), STEPS, seed=seed).tight
    worst = probe(bounded(horizon), rows(seed), STEPS, seed=seed).worst
    assert worst is not None and worst.array == "approval"


def test_the_size_of_a_difference_is_the_derivative() -> None:
    def smeared(arrays: Mapping[str, Any]) -> Any:
        approval = arrays["approval"].reshape(-1, STEPS)
        return (approval + 0.25 * np.roll(approval, -1, axis=1)).ravel()

    found = probe(smeared, rows(), STEPS)
    moved = [leak for leak in found.leaks if leak.found == "difference"]
    assert [leak.array for leak in moved] == ["approval"]
    assert moved[0].size == pytest.approx(0.25)


def test_a_leak_that_no_single_array_shows_is_still_found() -> None:
    """Later levers and approvals count only where both moved."""

    def both(arrays: Mapping[str, Any]) -> Any:
        approval = arrays["approval"].reshape(-1, STEPS)
        moved = [
            not np.array_equal(arrays[name], rows()[name]) for name in ("span.lever", "reward")
        ]
        return (approval + all(moved)).ravel()

    worst = probe(both, rows(), STEPS).worst
    assert worst is not None and worst.array == "everything"


def test_rows_that_are_no_lessons_may_be_missing() -> None:
    arrays = rows()
    drawn = np.array([0, 2, 3, 4, 5, 7, 11, 12, 14, 16])
    arrays = {name: array[drawn] for name, array in arrays.items()} | {"moment": drawn}

    def own(each: Mapping[str, Any]) -> Any:
        return each["approval"] * each["weight"]

    def next_one(each: Mapping[str, Any]) -> Any:
        return each["approval"] + np.append(each["approval"][1:], 0)

    assert probe(own, arrays, STEPS).tight
    found = probe(next_one, arrays, STEPS)
    assert {leak.source for leak in found.leaks} == {"after", "beside"}


@pytest.mark.parametrize(
    ("arrays", "steps", "why"),
    [
        ({"approval": np.ones(7)}, 2, "7 rows are no lanes of 2 steps"),
        ({"approval": np.ones(4)}, 0, "4 rows are no lanes of 0 steps"),
        ({"approval": np.ones(1)}, 1, "a single row"),
        ({"approval": np.ones(0)}, 1, "the same number of rows"),
        ({"approval": np.ones(4), "weight": np.ones(3)}, 2, "the same number of rows"),
        ({}, 2, "the same number of rows"),
    ],
)
def test_rows_that_are_no_lanes_are_refused(arrays: Any, steps: int, why: str) -> None:
    with pytest.raises(ProbeError, match=why):
        probe(lambda each: each["approval"], arrays, steps)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda each: np.random.default_rng().random(len(each["approval"])), "two calls"),
        (lambda each: each["approval"] * np.nan, "not finite"),
        (lambda each: each["approval"].sum(), "no contribution for each"),
        (lambda each: each["approval"][1:], "no contribution for each"),
    ],
)
def test_what_is_no_function_of_the_rows_is_refused(function: Any, why: str) -> None:
    with pytest.raises(ProbeError, match=why):
        probe(function, rows(), STEPS)


def test_a_function_may_scribble_on_what_it_is_handed() -> None:
    def scribbles(each: Any) -> Any:
        each["approval"] *= 2
        return each["approval"]

    assert probe(scribbles, rows(), STEPS).tight


# ------------------------------------------------------------------------------ torch trainers


class Remembering:
    """A recurrent policy whose state runs through a lane; what is carried over may be cut."""

    name = "remembering"

    def __init__(self, boundary: Boundary, credit: Callable[[Any], Any] | None = None) -> None:
        draw = torch.Generator().manual_seed(0)
        self.parameters = [
            torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()
            for shape in ((2, 4), (4, 4), (4, 3))
        ]
        self.boundary = boundary
        self.credit = credit or (lambda approval: approval)

    def losses(self, arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
        seen, take, out = self.parameters
        seen_NT2 = arrays["context.seen"].reshape(-1, STEPS, 2)
        state, logits = torch.zeros(len(seen_NT2), 4, dtype=torch.float64), []
        for step in range(STEPS):
            state = torch.tanh(seen_NT2[:, step] @ seen + self.boundary.cut(state) @ take)
            logits.append(state @ out)
        logp = torch.log_softmax(torch.stack(logits, 1), 2).reshape(-1, 3)
        chosen = logp[torch.arange(len(logp)), arrays["span.lever"]]
        return -chosen * self.credit(arrays["approval"])


def test_a_trainer_whose_state_is_cut_is_tight() -> None:
    found = probe(Remembering(Boundary(1)), rows(), STEPS)
    assert found.tight, found
    assert found.measured == ("gradient", "difference", "bits")


def test_a_state_that_is_not_cut_shows_as_a_gradient_from_before() -> None:
    found = probe(Remembering(Boundary(None)), rows(), STEPS)
    assert {(leak.found, leak.source, leak.array) for leak in found.leaks} == {
        ("gradient", "before", "context.seen"),
        ("gradient", "before", "what is carried"),
    }
    assert {leak.step for leak in found.leaks} <= set(range(1, STEPS))


def test_a_state_made_of_numbers_that_have_no_gradient_shows_at_the_cut() -> None:
    """Rooms are integers: no autodiff reaches them, but it does reach what is carried."""

    class Numbered(Remembering):
        def losses(self, arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
            seen = torch.nn.functional.one_hot(arrays["context.room"], 4)[:, :2].double()
            return super().losses({**arrays, "context.seen": seen})

    assert probe(Numbered(Boundary(1)), rows(), STEPS).tight
    found = probe(Numbered(Boundary(None)), rows(), STEPS)
    assert {(leak.source, leak.array) for leak in found.leaks} == {("before", "what is carried")}


@pytest.mark.parametrize(
    "credit",
    [
        lambda approval: approval.reshape(-1, STEPS).flip(1).cumsum(1).flip(1).flatten(),
        lambda approval: approval.reshape(-1, STEPS)[:, -1:].expand(-1, STEPS).flatten(),
        lambda approval: (approval - approval.mean()) / approval.std(),
    ],
)
def test_credit_from_later_steps_shows_in_every_measure(credit: Any) -> None:
    found = probe(Remembering(Boundary(1), credit), rows(), STEPS)
    after = {leak.found for leak in found.leaks if leak.source == "after"}
    assert after == {"gradient", "difference", "bits"}


def test_a_detached_leak_hides_from_autodiff_and_from_nothing_else() -> None:
    def credit(approval: torch.Tensor) -> torch.Tensor:
        return approval - approval.detach().mean()

    found = probe(Remembering(Boundary(1), credit), rows(), STEPS)
    assert {leak.found for leak in found.leaks} == {"difference", "bits"}


def test_a_leak_into_the_gradient_alone_is_found() -> None:
    """The loss keeps its value, and its slope takes the next approval."""

    def credit(approval: torch.Tensor) -> torch.Tensor:
        return approval

    class Sloped(Remembering):
        def losses(self, arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
            loss = super().losses(arrays)
            later = arrays["approval"].detach().roll(-1)
            return loss + later * (loss - loss.detach())

    found = probe(Sloped(Boundary(1), credit), rows(), STEPS)
    assert ("bits", "after", "approval") in {
        (leak.found, leak.source, leak.array) for leak in found.leaks
    }


def test_a_carried_state_in_a_column_gets_no_gradient_where_it_is_said_to_be_one() -> None:
    class Stored(Remembering):
        def losses(self, arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
            _, take, out = self.parameters
            state = self.boundary.cut(arrays["context.state"])
            logp = torch.log_softmax(torch.tanh(state @ take) @ out, 1)
            return -logp[:, 0] * arrays["approval"]

    arrays = rows() | {"context.state": np.random.default_rng(1).normal(size=(LANES * STEPS, 4))}
    assert probe(Stored(Boundary(1)), arrays, STEPS, carried=["context.state"]).tight
    found = probe(Stored(Boundary(None)), arrays, STEPS, carried=["context.state"])
    assert {(leak.source, leak.array) for leak in found.leaks} == {
        ("before", "context.state"),
        ("before", "what is carried"),
    }


def test_losses_that_leave_the_graph_are_said_not_to_be_measured() -> None:
    def credit(approval: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(approval.numpy() * 1)

    found = probe(Remembering(Boundary(1), credit), rows(), STEPS)
    assert not found.tight and not found.leaks
    assert "not measured: losses are not differentiable" in str(found)
    assert "gradient" not in found.measured


def test_losses_that_are_summed_are_refused() -> None:
    class Summed(Remembering):
        def losses(self, arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return super().losses(arrays).sum()

    with pytest.raises(ProbeError, match="one each"):
        probe(Summed(Boundary(1)), rows(), STEPS)


# ------------------------------------------------------------------------------ whole updates


class Updating(Remembering):
    """The same with an update, whose gradient may be clipped or its losses averaged badly."""

    def __init__(
        self,
        horizon: int | None = 1,
        *,
        clip: float = 0,
        centred: bool = False,
        shared: bool = False,
    ) -> None:
        super().__init__(Boundary(horizon))
        self.clip, self.centred, self.shared = clip, centred, shared
        self.optimiser = torch.optim.SGD(self.parameters, 0.1)

    def update(self, lessons: Lessons, rng: np.random.Generator) -> Mapping[str, float]:
        arrays = {
            name: torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "u" else array)
            for name, array in lessons.arrays().items()
        }
        approval = lessons.approval_L
        assert approval is not None
        last = np.arange(STEPS) == STEPS - 1
        credit = self.boundary.credit(
            approval.reshape(-1, STEPS), np.tile(last, (len(lessons) // STEPS, 1))
        ).ravel()
        credit = credit - credit.mean() if self.centred else credit
        losses = self.losses({**arrays, "approval": torch.from_numpy(credit)})
        self.optimiser.zero_grad()
        population = float(lessons.weight_L.sum()) if self.shared else lessons.population
        self.boundary.total(losses, arrays["weight"], population).backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        return {}


def lessons_of(arrays: Mapping[str, Any]) -> Lessons:
    return Lessons(
        signal="approval",
        auditor="judge",
        context={"seen": arrays["context.seen"], "room": arrays["context.room"]},
        span={"lever": arrays["span.lever"]},
        weight_L=arrays["weight"],
        moment_L=np.arange(len(arrays["weight"])),
        population=50,
        approval_L=arrays["approval"],
    )


def test_an_update_that_keeps_lessons_apart_is_tight_and_its_trainer_unchanged() -> None:
    trainer = Updating()
    before = [one.detach().clone() for one in trainer.parameters]
    found = probe_update(trainer, lessons_of(rows()), STEPS)
    assert found.tight, found
    assert found.measured == ("update",)
    assert all(torch.equal(*two) for two in zip(before, trainer.parameters, strict=True))


@pytest.mark.parametrize(
    ("trainer", "sources"),
    [
        (Updating(None), {"after"}),
        (Updating(2), {"after"}),
        (Updating(clip=0.5), {"beside"}),
        (Updating(shared=True), {"beside"}),
        (Updating(centred=True), {"after", "beside"}),
    ],
)
def test_what_an_update_does_to_its_losses_is_seen_from_outside(
    trainer: Updating, sources: set[str]
) -> None:
    assert {leak.source for leak in probe_update(trainer, lessons_of(rows()), STEPS).leaks} == (
        sources
    )


def test_a_learner_without_an_optimiser_hands_its_gradient_over() -> None:
    def gradient(lessons: Lessons) -> Any:
        puller = Puller(0, Boundary())
        before = puller.table.copy()
        puller.update(lessons, np.random.default_rng(0))
        return puller.table - before

    lessons = lessons_of(rows())
    with pytest.raises(ProbeError, match="hand its gradient over"):
        probe_update(Puller(0, Boundary()), lessons, STEPS)
    assert probe_update(Puller(0, Boundary()), lessons, STEPS, gradient=gradient).tight
