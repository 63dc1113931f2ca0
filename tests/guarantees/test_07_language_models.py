"""7. Credit stops at the boundary, for language models that learn by groups.

The schemes of other trainers, written out here, are held to the same test and fail it: one gives
the last step's advantage to every step, one fills each step's reward from the whole run, one smears
later progress backwards, one takes the last step's score alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from audition.learn.step_grpo import Group, Objective, accumulate
from audition.model.sharing import sharing
from models import _one_thread, ids, made

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)

STEPS, CANDIDATES = 3, 4
Approvals = tuple[tuple[float, ...], ...]
"""What a teacher gives each candidate of each step."""

EARLY: Approvals = ((0.1, 0.9, 0.4, 0.3), (0.2, 0.6, 0.8, 0.1), (0.9, 0.3, 0.5, 0.7))
LATER: Approvals = (*EARLY[:2], (0.0, 1.0, 0.2, 0.6))
"""The same but for what is said of the last step."""

HISTORIES = ids(2, 10, 14, 18)
TEXTS = [ids(20 + step, 5, 3, 7, 4) for step in range(STEPS)]


@dataclass(frozen=True)
class Credited(Group):
    """A moment whose advantages somebody else worked out."""

    credit: tuple[float, ...] = ()

    def advantages(self, _: object) -> Tensor:
        """As they were given."""
        return torch.tensor(self.credit)


def own(approvals: Approvals) -> list[Group]:
    """Each step by its own approvals: ours."""
    return [Group(HISTORIES[step], TEXTS[step], None, approvals[step]) for step in range(STEPS)]


def by(scheme: Callable[[Tensor], Tensor]) -> Callable[[Approvals], list[Group]]:
    """Each step by what a scheme makes of all approvals of the run, shape (steps, candidates)."""

    def made_of(approvals: Approvals) -> list[Group]:
        given = torch.tensor(approvals)
        credit = scheme(given)
        credit = credit - credit.mean(1, keepdim=True)
        return [
            Credited(
                HISTORIES[step], TEXTS[step], None, approvals[step],
                credit=tuple(credit[step].tolist()),
            )
            for step in range(STEPS)
        ]  # fmt: skip

    return made_of


LATER_COUNTS_LESS = torch.tensor([[1.0, 0.5, 0.25], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])

SCHEMES: dict[str, Callable[[Tensor], Tensor]] = {
    "broadcast": lambda given: given[-1].expand_as(given),
    "filled from the whole": lambda given: given.mean(0).expand_as(given),
    "smeared backwards": lambda given: given.flip(0).cumsum(0).flip(0),
    "discounted": lambda given: LATER_COUNTS_LESS @ given,
    "the last step alone": lambda given: torch.cat((torch.zeros_like(given[:-1]), given[-1:])),
}


def contribution(groups: Sequence[Group], step: int, objective: Objective) -> list[Tensor]:
    """What one step adds to the gradient of a batch of all of them, at fixed parameters."""
    model = sharing(made())
    parameters = [one for one in model.parameters() if one.requires_grad]
    found: list[Tensor] = []

    def backward(loss: Tensor) -> None:
        place = len(found)
        found.append(loss)
        if place == step:
            loss.backward()

    accumulate(model, groups, objective, backward=backward)
    return [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("boundary", ["text", "state"])
@pytest.mark.parametrize("normaliser", ["grpo", "dr_grpo", "luspo"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_lesson_s_contribution_is_the_same_to_the_bit_whatever_came_after_its_step(
    step: int, normaliser: str, boundary: str
) -> None:
    objective = Objective(boundary=boundary, normaliser=normaliser)  # type: ignore[arg-type]
    before = contribution(own(EARLY), step, objective)
    assert same(before, contribution(own(LATER), step, objective))
    assert not same(before, [torch.zeros_like(one) for one in before])


@pytest.mark.parametrize("name", SCHEMES)
def test_the_schemes_of_other_trainers_fail_that_test(name: str) -> None:
    """Either a later word moves an earlier step's lesson, or the earlier step has none."""
    objective = Objective(boundary="state", normaliser="grpo", scale="none")
    groups = by(SCHEMES[name])
    before, after = (contribution(groups(given), 0, objective) for given in (EARLY, LATER))
    taught = any(bool(one.any()) for one in before)
    assert not taught or not same(before, after)


def test_ours_passes_where_they_fail() -> None:
    """The harness itself is not what fails them: by each step's own approvals it passes."""
    objective = Objective(boundary="state", normaliser="grpo", scale="none")
    mine = by(lambda given: given)
    before, after = (contribution(mine(given), 0, objective) for given in (EARLY, LATER))
    assert same(before, after) and any(bool(one.any()) for one in before)


def test_through_what_lies_before_the_step_nothing_flows_in_state() -> None:
    """To exactly zero: a word that only the history has gets no gradient."""
    objective = Objective(boundary="state", normaliser="grpo")
    groups = own(EARLY)[:1]
    model = sharing(made())
    accumulate(model, groups, objective)
    gradient = model.get_input_embeddings().weight.grad  # type: ignore[union-attr]
    seen = {int(one) for text in (*TEXTS[0], HISTORIES[0][-1:]) for one in text}
    only = set(HISTORIES[0][:-1].tolist()) - seen
    assert only and not any(bool(gradient[word].any()) for word in only)  # type: ignore[index]
