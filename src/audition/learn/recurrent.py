"""Policy gradient for a thinker that carries a state from step to step and thinks in between.

A mind is a network from a step's context and the state carried into it to a `Thought`: logits of
the step's acts, a value, and the state carried on. It may tick as often as it likes inside: that is
the step's own, and the gradient goes back through all of it. Where one step's thought becomes
another's input stands `Boundary.cut`: closed, what was carried in is a constant (back-propagation
through time ends at the previous proposal), and each step is credited with its own approval;
open, it is the ordinary kind over the whole episode.

The same trainer takes both: lessons, each alone with the state recorded in its context; and, for
the `outcome` baseline, whole lanes. There, credit and state may be given boundaries of their own,
to tell what each of them causes.

    loss = −log π(act | context, carried) · (credit − V) + ½ c (V − credit)² − e · H(π)

with V a constant in the first term: a baseline that depends on the step's own moment alone.
Source: Williams 1992, REINFORCE, eq. 11, with a learned baseline; Werbos 1990, back-propagation
through time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from audition.learn.boundary import Boundary
from audition.learn.lessons import LessonError, Lessons
from audition.learn.outcome import Outcomes
from audition.step import Frozen

CARRIED = "carried"
"""Name of the context's column that holds the state carried into a step."""


class Thought(NamedTuple):
    """What L steps' thinking ends in."""

    logits: Mapping[str, Tensor]
    """Of each part of the proposal by its name among the span's columns, shape (L, choices)."""
    value_L: Tensor
    """What credit the mind expects."""
    carried_LC: Tensor
    """The state carried on to the next step."""


class Settings(Frozen):
    """Hyper-parameters."""

    rate: float = Field(default=0.01, gt=0, le=10)
    """Adam's step size."""
    entropy: float = Field(default=0.05, ge=0, le=10)
    """e, the weight of the policy's entropy."""
    critic: float = Field(default=1.0, ge=0, le=100)
    """c, the weight of the value's error."""


class Recurrent:
    """A learner with a mind; one step of Adam a batch.

    Args:
        mind: maps (context columns as tensors of shape (L, ...), carried of shape (L, C)) to a
            `Thought`. Integer columns arrive as int64.
        settings: hyper-parameters.
        boundary: where credit stops, and what is carried.
        state: another boundary for what is carried, to take the two apart; the baseline's alone.
    """

    name = "recurrent"

    def __init__(
        self,
        mind: nn.Module,
        settings: Settings,
        boundary: Boundary,
        state: Boundary | None = None,
    ) -> None:
        self.mind, self.settings = mind, settings
        self.boundary, self.state = boundary, state or boundary
        self._optimiser = torch.optim.Adam(mind.parameters(), lr=settings.rate, fused=True)

    @torch.no_grad()
    def propose(
        self,
        context: Mapping[str, NDArray[Any]],
        carried_NC: NDArray[np.float32],
        rng: np.random.Generator | None,
    ) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]:
        """Think, and propose for N environments.

        Args:
            context: the step's columns, without what is carried.
            carried_NC: the state carried into it.
            rng: draws from the policy; None: its most probable act.

        Returns:
            The span's columns, and the state carried on.
        """
        thought = self.mind(_tensors(context), torch.from_numpy(carried_NC))
        acts: dict[str, NDArray[np.uint8]] = {}
        for name in sorted(thought.logits):
            score_NA = thought.logits[name].double().numpy()
            if rng is not None:  # the largest of logits with Gumbel noise is a draw from them
                score_NA = score_NA + rng.gumbel(size=score_NA.shape)
            acts[name] = score_NA.argmax(axis=1).astype(np.uint8)
        return acts, thought.carried_LC.numpy()

    def weights(self) -> bytes:
        """The mind, as safetensors; the optimiser's moments are not part of it."""
        return save({name: one.contiguous() for name, one in self.mind.state_dict().items()})

    def restore(self, weights: bytes) -> None:
        """Go on from these weights, with an optimiser that remembers nothing.

        Raises:
            LessonError: bytes of another mind.
        """
        try:
            self.mind.load_state_dict(load(weights))
        except (SafetensorError, RuntimeError) as error:
            raise LessonError(f"weights of recurrent: {str(error).splitlines()[0]}") from None
        self._optimiser = torch.optim.Adam(
            self.mind.parameters(), lr=self.settings.rate, fused=True
        )

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """One step on a batch, all of it at once; `rng` is not needed.

        Raises:
            LessonError: no approvals, no carried state, or a boundary that is open to lessons.
        """
        if CARRIED not in lessons.context:
            raise LessonError(f"recurrent learns from a context with a column {CARRIED!r}")
        context, span = _tensors(lessons.context), _tensors(lessons.span)
        if isinstance(lessons, Outcomes):
            losses_L = self.unrolled(context, span, lessons.reward_NT, lessons.last_NT).flatten()
            weight_L, population = torch.ones(len(losses_L)), len(losses_L)
        else:
            if lessons.approval_L is None:
                raise LessonError(f"recurrent learns from approvals, not by {lessons.signal}")
            arrays = {f"context.{name}": one for name, one in context.items()}
            arrays |= {f"span.{name}": one for name, one in span.items()}
            arrays["approval"] = torch.from_numpy(lessons.approval_L.astype(np.float32))
            losses_L = self.losses(arrays)
            weight_L = torch.from_numpy(lessons.weight_L.astype(np.float32))
            population = lessons.population
        loss = self.boundary.total(losses_L, weight_L, population)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return {"loss": float(loss.detach())}

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Each lesson's own loss at the present parameters, before `Boundary.total`.

        Args:
            arrays: `context.…` (with `context.carried`), `span.…` and `approval`, shape (L, ...).

        Raises:
            LessonError: the boundary is open, and lessons one by one have nothing after them.
        """
        if not (self.boundary.closed and self.state.closed):
            raise LessonError("lessons are learned from with the boundary closed: horizon 1")
        context, span = _part(arrays, "context"), _part(arrays, "span")
        carried_LC = self.state.cut(context.pop(CARRIED))
        return self._loss(self.mind(context, carried_LC), span, arrays["approval"])

    def unrolled(
        self,
        context: Mapping[str, Tensor],
        span: Mapping[str, Tensor],
        signal_NT: NDArray[Any],
        last_NT: NDArray[np.bool_],
    ) -> Tensor:
        """Each step's loss, shape (N, T), the mind run again over whole lanes.

        Args:
            context: columns of shape (N, T, ...); of `carried` only the first step's is read.
            span: columns of shape (N, T).
            signal_NT: approvals, or rewards for the baseline.
            last_NT: whether an episode ends with the step; the next begins with nothing carried.
        """
        credit = self.boundary.credit(signal_NT, last_NT)
        credit_NT = torch.from_numpy(credit.astype(np.float32))
        others = {name: one for name, one in context.items() if name != CARRIED}
        carried_NC = context[CARRIED][:, 0]
        losses: list[Tensor] = []
        for t in range(signal_NT.shape[1]):
            carried_NC = self.state.cut(carried_NC)
            thought = self.mind({name: one[:, t] for name, one in others.items()}, carried_NC)
            acts = {name: one[:, t] for name, one in span.items()}
            losses.append(self._loss(thought, acts, credit_NT[:, t]))
            goes_on_N = torch.from_numpy(~last_NT[:, t])
            carried_NC = torch.where(goes_on_N[:, None], thought.carried_LC, 0.0)
        return torch.stack(losses, 1)

    def _loss(self, thought: Thought, span: Mapping[str, Tensor], credit_L: Tensor) -> Tensor:
        logp_L, entropy_L = torch.zeros_like(credit_L), torch.zeros_like(credit_L)
        for name, logits_LA in thought.logits.items():
            if name not in span:
                raise LessonError(f"recurrent proposes {name!r}, which the span does not hold")
            logp_LA = functional.log_softmax(logits_LA, 1)
            logp_L = logp_L + logp_LA.gather(1, span[name].long()[:, None])[:, 0]
            entropy_L = entropy_L - (logp_LA.exp() * logp_LA).sum(1)
        ahead_L = credit_L - thought.value_L
        return (
            -logp_L * ahead_L.detach()
            + 0.5 * self.settings.critic * ahead_L**2
            - self.settings.entropy * entropy_L
        )


def _tensors(columns: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(array.astype(np.int64 if array.dtype.kind in "iu" else np.float32))
        for name, array in columns.items()
    }


def _part(arrays: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = part + "."
    return {name.removeprefix(start): one for name, one in arrays.items() if name.startswith(start)}
