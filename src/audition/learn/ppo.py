"""Proximal policy optimisation over the contexts of a compiled world.

The world has finitely many contexts, numbered; a network reads each one's features. However many
steps a batch holds, the network is therefore evaluated once for each context there is, and the
steps read their logits there. The gradient is the same: a step's loss depends on the parameters
through its own context's logits alone, so summing the steps' derivatives at each context first and
going back through the network once is the chain rule with its sums exchanged. And as every context
keeps its place in every evaluation, what a step reads does not depend, to the bit, on which other
steps there are.

With the boundary closed a step's advantage is its own approval less what the critic expected of
that context. For the `outcome` baseline it is the generalised advantage estimate of the rewards.

Source: Schulman et al. 2017, arXiv 1707.06347.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from audition.learn.boundary import Boundary
from audition.learn.lessons import LessonError, Lessons
from audition.learn.objectives import squared_error
from audition.learn.outcome import Outcomes, gae
from audition.step import Frozen

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
"""A finite positive number."""
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
"""A finite number that is not negative."""


class Settings(Frozen):
    """Hyper-parameters: a plan's `learner`."""

    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64), min_length=1, max_length=8
    )
    """Widths of the hidden layers, of the policy and of the critic."""
    rate: Positive = 3e-3
    """Adam's step size."""
    epochs: int = Field(default=12, ge=1, le=1000)
    """Steps of Adam on a batch, each over all its lessons."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """ε: how far a ratio may move before its gradient ends."""
    entropy: tuple[Weight, Weight] = (0.03, 0.0)
    """Weight of the policy's entropy in the first update and in the last; linear in between."""
    span: tuple[float, float] = (0.0, 1.0)
    """The values for which approvals 0 and 1 stand; unused by outcomes."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """γ of the outcome baseline."""
    decay: float = Field(default=0.95, ge=0, le=1)
    """λ of the outcome baseline."""

    @model_validator(mode="after")
    def _span_is_an_interval(self) -> Self:
        low, high = self.span
        if not -1e6 <= low < high <= 1e6:
            raise ValueError(f"span: {low} to {high} is no interval within ±1e6")
        return self


class Ppo:
    """A learner whose policy π(a|s) and critic V(s) are small networks over features of contexts.

    Batches name the context `state` and the span's parts `action` and `logp`, its log-probability
    when it was sampled.

    Args:
        features_SF: what the networks are shown of each context.
        actions: number of actions, A.
        settings: hyper-parameters.
        boundary: where credit stops.
        seed: of the first weights.
        updates: how many there will be, for the schedule of the entropy's weight.
    """

    name = "ppo"

    def __init__(
        self,
        features_SF: NDArray[np.float32],
        actions: int,
        settings: Settings,
        boundary: Boundary,
        *,
        seed: int,
        updates: int,
    ) -> None:
        self.settings, self.boundary = settings, boundary
        self._features_SF = torch.from_numpy(np.ascontiguousarray(features_SF, np.float32))
        rng = np.random.default_rng([seed, 2])
        widths = (features_SF.shape[1], *settings.hidden)
        self.policy = _network((*widths, actions), rng)
        self.critic = _network((*widths, 1), rng)
        both = [*self.policy.parameters(), *self.critic.parameters()]
        self._optimiser = torch.optim.Adam(both, lr=settings.rate, eps=1e-5, fused=True)
        self._actions, self._updates, self._done = actions, updates, 0

    @torch.no_grad()
    def log_policy(self) -> NDArray[np.float32]:
        """log π(a|s) of every context and action, shape (S, A)."""
        return torch.log_softmax(self.policy(self._features_SF), 1).numpy()

    def weights(self) -> bytes:
        """Policy and critic, as safetensors; the optimiser's moments are not part of them."""
        return save({name: tensor.contiguous() for name, tensor in self._tensors().items()})

    def restore(self, weights: bytes) -> None:
        """Go on from these weights, with a fresh optimiser's moments.

        Raises:
            LessonError: bytes of other networks than these.
        """
        try:
            given = load(weights)
        except SafetensorError as error:
            raise LessonError(f"weights of ppo: {error}") from None
        held = self._tensors()
        if given.keys() != held.keys():
            raise LessonError(f"weights of ppo: other layers: {sorted(given.keys() ^ held.keys())}")
        for name, tensor in held.items():
            if given[name].shape != tensor.shape or given[name].dtype != tensor.dtype:
                raise LessonError(
                    f"weights of ppo: {name} is {tuple(given[name].shape)}, "
                    f"not {tuple(tensor.shape)}"
                )
        for name, tensor in held.items():
            tensor.copy_(given[name])

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """Improve the policy on one batch, `epochs` times over; `rng` is not needed.

        Raises:
            LessonError: no approvals, or contexts, actions or log-probabilities that are none.
        """
        self._check(lessons)
        steps = self._credited(_arrays(lessons))
        population = len(steps["state"]) if isinstance(lessons, Outcomes) else lessons.population
        for _ in range(self.settings.epochs):
            loss = self.boundary.total(self._losses(steps), steps["weight"], population)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        self._done += 1
        return {
            "signal": float(steps["target"].mean()),
            "advantage": float(steps["advantage"].abs().mean()),
            "entropy": float(-steps["logp"].mean()),
        }

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Each lesson's own loss at the present parameters, before `Boundary.total`.

        −min(rÂ, clip(r)Â) + ½(V(s) − target)² − c·H(π(·|s)), where the policy's part sees the
        advantage as a constant and policy and critic share no parameter.

        Args:
            arrays: `context.state`, `span.action`, `span.logp` and `approval`, of shape (L), with
                `moment` and `context.t` where the boundary is open. Or, of outcomes, the first
                three with `reward` and `last`, of shape (N, T).

        Returns:
            Shape (L); of outcomes (N · (T − 1)), for a lane's last step stands in as the value
            after the one before it.
        """
        return self._losses(self._credited(arrays))

    def _check(self, lessons: Lessons | Outcomes) -> None:
        if not isinstance(lessons, Outcomes) and lessons.approval_L is None:
            raise LessonError(f"ppo learns by approval, not by {lessons.signal}")
        columns = {**lessons.context, **lessons.span}
        if missing := {"state", "action", "logp"} - columns.keys():
            raise LessonError(f"ppo learns from a column {sorted(missing)[0]!r}; there is none")
        for name, count in (("state", len(self._features_SF)), ("action", self._actions)):
            if not 0 <= columns[name].min() <= columns[name].max() < count:
                raise LessonError(f"{name}: a number outside 0..{count - 1}")
        if not np.isfinite(columns["logp"]).all():
            raise LessonError("logp: a log-probability is finite")

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": tensor
            for name, network in (("critic", self.critic), ("policy", self.policy))
            for key, tensor in network.state_dict().items()
        }

    def _credited(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Flat steps, each with its advantage and its critic's target."""
        with torch.no_grad():
            value = self.critic(self._features_SF)[:, 0][arrays["context.state"]]
        if "approval" in arrays:
            low, high = self.settings.span
            target_L = _own(self.boundary, low + (high - low) * arrays["approval"], arrays)
            steps, advantage_L = arrays, target_L - value
        else:
            steps, advantage_L = _estimated(arrays, value, self.settings)
            target_L = advantage_L + value[:, :-1].flatten()
        return {
            "state": steps["context.state"],
            "action": steps["span.action"],
            "logp": steps["span.logp"],
            "weight": steps.get("weight", torch.ones_like(target_L)),
            "advantage": advantage_L,
            "target": target_L,
        }

    def _losses(self, steps: Mapping[str, Tensor]) -> Tensor:
        state_L = steps["state"]
        logp_SA = torch.log_softmax(self.policy(self._features_SF), 1)
        entropy_S = -(logp_SA.exp() * logp_SA).sum(1)
        value_S = self.critic(self._features_SF)[:, 0]
        logp_L = logp_SA.flatten().index_select(0, state_L * logp_SA.shape[1] + steps["action"])
        return (
            clipped(logp_L, steps["logp"], steps["advantage"], self.settings.clip)
            + 0.5 * squared_error(value_S.index_select(0, state_L), steps["target"])
            - self._bonus() * entropy_S.index_select(0, state_L)
        )

    def _bonus(self) -> float:
        first, last = self.settings.entropy
        done = self._done / max(1, self._updates - 1)
        return first + (last - first) * min(1.0, done)


def clipped(logp_L: Tensor, old_L: Tensor, advantage_L: Tensor, clip: float) -> Tensor:
    """The clipped surrogate, as a loss: −min(rÂ, clip(r, 1 − ε, 1 + ε)Â), r = exp(logp − old).

    Args:
        logp_L: log π(a|s) now.
        old_L: when the action was sampled.
        advantage_L: Â, a constant.
        clip: ε.

    Source: Schulman et al. 2017, arXiv 1707.06347, eq. 7.
    """
    ratio_L = torch.exp(logp_L - old_L)
    bounded_L = ratio_L.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio_L * advantage_L, bounded_L * advantage_L)


def _network(widths: tuple[int, ...], rng: np.random.Generator) -> nn.Sequential:
    """Affine layers with tanh between; the last begins near zero, so the policy near uniform."""
    layers: list[nn.Module] = []
    for number, (width, wider) in enumerate(pairwise(widths)):
        final = number == len(widths) - 2
        layer = nn.Linear(width, wider)
        gain = 0.01 if final else 1.0
        drawn = rng.normal(0, gain / np.sqrt(width), (wider, width))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(drawn))
            layer.bias.zero_()
        layers += [layer] if final else [layer, nn.Tanh()]
    return nn.Sequential(*layers)


def _arrays(lessons: Lessons | Outcomes) -> dict[str, Tensor]:
    """What `losses` takes, of these lessons; floats as float32, integers as int64."""
    named: dict[str, NDArray[Any]] = {
        **{f"context.{name}": array for name, array in lessons.context.items()},
        **{f"span.{name}": array for name, array in lessons.span.items()},
    }
    if isinstance(lessons, Outcomes):
        named |= {"reward": lessons.reward_NT, "last": lessons.last_NT}
    else:
        named |= {"weight": lessons.weight_L, "moment": lessons.moment_L}
        named |= {"approval": lessons.approval_L} if lessons.approval_L is not None else {}
    kinds = {"b": np.bool_, "f": np.float32, "i": np.int64, "u": np.int64}
    return {
        name: torch.from_numpy(array.astype(kinds[array.dtype.kind]))
        for name, array in named.items()
        if array.dtype.kind in kinds
    }


def _own(boundary: Boundary, signal_L: Tensor, arrays: Mapping[str, Tensor]) -> Tensor:
    """Each lesson's credit: its own signal, unless the boundary is open.

    Lessons are one lane then, whose stretches end where the next is not its episode's next step.
    """
    if boundary.closed:
        return signal_L
    moment_L, t_L = arrays["moment"].numpy(), arrays["context.t"].numpy()
    last_L = np.ones(len(t_L), np.bool_)
    last_L[:-1] = (np.diff(moment_L) != 1) | (np.diff(t_L) != 1)
    return torch.from_numpy(boundary.credit(signal_L.numpy()[None], last_L[None])[0])


def _estimated(
    arrays: Mapping[str, Tensor], value_NT: Tensor, settings: Settings
) -> tuple[dict[str, Tensor], Tensor]:
    """Outcomes' steps, but for each leaf's last, and their advantages.

    A leaf's last step may have no successor in the batch, so it stands in as the value after the
    step before it and is itself not learned from.
    """
    advantage_NT = gae(
        arrays["reward"][:, :-1].numpy(),
        value_NT[:, :-1].numpy(),
        arrays["last"][:, :-1].numpy(),
        value_NT[:, -1].numpy(),
        discount=settings.discount,
        decay=settings.decay,
    )
    steps = {name: array[:, :-1].flatten() for name, array in arrays.items()}
    return steps, torch.from_numpy(advantage_NT).flatten()
