"""Group-relative policy optimisation whose credit stops at the step.

A moment has one history and G candidates for the step that follows. A teacher approves of each or
ranks them, and a candidate's advantage is what it is given above the others of its own moment: no
other moment, no later step, no outcome enters. Every token of a candidate has that advantage; no
token of the history has any.

Because what lies before the step is fixed, it is read once for all candidates. In `text` the
history is an ordinary prompt, and the gradient reaches the weights through the reading of it; in
`state` its keys and values are constants, which is back-propagation through time truncated at the
completion of the previous step. The history's last token belongs to the step in both: the first
token of a candidate is chosen from what is computed there.

A thought may call tools in between: what they answered is read and takes no credit, so that a
candidate's own tokens are those that it sampled.

Each moment is a pass of its own, so that what one contributes at fixed parameters is the same to
the bit whatever else is in the batch, as long as its normaliser is.

Sources: Shao et al. 2024 (arXiv 2402.03300), eqs. 3 and 4, for the objective and its KL;
Schulman et al. 2017 (arXiv 1707.06347), eq. 7, for the clip; Zheng et al. 2025 (arXiv 2507.18071),
eq. 7, for ratios of sequences; Liu et al. 2025 (arXiv 2503.20783), section 3.2, for the constant
normaliser; DeepSeek-AI 2025 (arXiv 2512.02556) for the corrected divergence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from audition.learn.lessons import LessonError
from audition.model.sharing import CannotShare, follow, read
from audition.step import Frozen

EVEN = 1e-4
"""Added to the deviation of a group by which its advantages are divided, as TRL does."""

FAR = 0.5
"""Mean distance of log-probabilities, in nats a token, from which ids are not this model's."""


class Objective(Frozen):
    """What is minimised; the names of options are TRL's where it has them."""

    boundary: Literal["text", "state"] = "text"
    """Whether the gradient passes through the reading of the history."""
    scale: Literal["group", "none"] = "group"
    """Whether advantages are divided by their deviation within the group."""
    ratio: Literal["token", "sequence"] = "token"
    """What is clipped: each token's ratio, or the geometric mean of a candidate's."""
    normaliser: Literal["grpo", "dr_grpo", "luspo", "bnpo", "dapo"] = "dr_grpo"
    """What a candidate's summed loss is divided by, beside the number of candidates and of moments:
    its tokens (`grpo`), the most tokens (`dr_grpo`), nothing (`luspo`); or, in place of all that,
    the tokens of the batch (`bnpo`) or of several batches (`dapo`)."""
    epsilon_low: float = Field(default=0.2, ge=0, lt=1)
    """How far a ratio may fall before its gradient ends."""
    epsilon_high: float = Field(default=0.2, ge=0, le=1e6)
    """How far it may rise."""
    delta: float | None = Field(default=None, gt=1, le=1e6)
    """The most that an unclipped ratio counts."""
    beta: float = Field(default=0.0, ge=0, le=1e6)
    """Weight of the KL divergence to the reference."""
    corrected_kl: bool = True
    """Whether that divergence is weighed by the ratio, as of samples from another policy."""
    temperature: float = Field(default=1.0, gt=0, le=1e6)
    """At which candidates were sampled."""
    most: int = Field(default=256, ge=1, le=1 << 20)
    """The most tokens of a step."""

    @property
    def certifiable(self) -> bool:
        """Whether one lesson's contribution is free of what else is in the batch."""
        return self.normaliser in ("grpo", "dr_grpo", "luspo")


@dataclass(frozen=True)
class Group:
    """A moment: its history, its candidates, and what a teacher said of them.

    Raises:
        LessonError: no history, an empty step, one candidate alone, numbers that are no
            log-probabilities, or neither approvals nor a ranking of just these candidates.
    """

    history: Tensor
    """Token ids, shape (H,)."""
    candidates: tuple[Tensor, ...]
    """Token ids of each, shape (S,), the ending one included."""
    sampled: tuple[Tensor, ...] | None
    """Log-probability of each token when it was sampled; None: by the model as it is now."""
    approval: tuple[float, ...] | None = None
    """A teacher's approval of each, in [0, 1]."""
    ranking: tuple[int, ...] | None = None
    """Or the candidates from best to worst, by number."""
    reference: tuple[Tensor, ...] | None = None
    """Log-probability of each token under the reference, where there is one."""
    own: tuple[Tensor, ...] | None = None
    """Which tokens it sampled itself, shape (S,), bool; the others were told to it. None: all."""
    weight: float = 1.0
    """Inverse probability of having been drawn."""

    def __post_init__(self) -> None:
        count = len(self.candidates)
        if not len(self.history):
            raise LessonError("a moment without a history: there is nothing to go on from")
        if count < 2:
            raise LessonError("a group of one: there is nothing to compare a candidate with")
        if not all(len(one) for one in self.candidates):
            raise LessonError("an empty step: a candidate has one token at the least")
        for name, logps in (("sampled", self.sampled), ("reference", self.reference)):
            if logps is not None:
                _check(name, logps, self.candidates)
        if self.own is not None and not (
            [one.shape for one in self.own] == [one.shape for one in self.candidates]
            and all(bool(one.any()) for one in self.own)
        ):
            raise LessonError("own: one word for each token, and one token sampled at the least")
        if not 1 <= self.weight < float("inf"):
            raise LessonError(f"a weight of {self.weight}: an inverse probability is 1 or more")
        if (self.approval is None) == (self.ranking is None):
            raise LessonError("a group has approvals or a ranking, and not both")
        if self.approval is not None:
            right = len(self.approval) == count and all(0 <= one <= 1 for one in self.approval)
            if not right:
                raise LessonError(f"{count} candidates need as many approvals in [0, 1]")
        elif sorted(self.ranking or ()) != list(range(count)):
            raise LessonError(f"a ranking names each of {count} candidates once, from 0")

    def mine(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Of what is said of each token, that of those which the candidates sampled themselves."""
        if self.own is None:
            return tuple(parts)
        return tuple(part[own.to(part.device)] for part, own in zip(parts, self.own, strict=True))

    def advantages(self, scale: Literal["group", "none"]) -> Tensor:
        """What each candidate is given above the mean of its group, shape (G,).

        A ranking counts as approvals spread evenly from 1 for the best to 0 for the worst.
        """
        given = self.approval
        if self.ranking is not None:
            step = len(self.ranking) - 1
            given = tuple(1 - self.ranking.index(one) / step for one in range(step + 1))
        value = torch.tensor(given, dtype=torch.float32)
        above = value - value.mean()
        return above / (value.std() + EVEN) if scale == "group" else above


@dataclass(frozen=True)
class Step:
    """What became of a batch."""

    loss: float
    """What was minimised."""
    moments: int
    """Moments that were learned from."""
    even: int
    """Moments of whose candidates none was given more than another; nothing is learned there."""
    clipped: float
    """Share of tokens (or candidates) whose ratio lay outside its bounds."""
    kl: float
    """Mean KL divergence to the reference, in nats a token; 0 without one."""


def accumulate(
    model: PreTrainedModel,
    groups: Sequence[Group],
    objective: Objective,
    *,
    moments: float | None = None,
    tokens: int | None = None,
    produced: bool = False,
    backward: Callable[[Tensor], None] | None = None,
) -> Step:
    """Add the gradient of a batch of moments to a model's, a moment at a time.

    Args:
        model: made ready by `audition.model.sharing`.
        groups: the moments.
        objective: what is minimised.
        moments: from which the lottery drew these; None: they are all there were.
        tokens: of `dapo`, tokens of candidates in all batches of the update.
        produced: hold the ids against the model: it is still the one that sampled them.
        backward: takes each moment's loss (accelerate's, for one); None: its own `backward`.

    Raises:
        LessonError: no moments, more tokens than the model has positions for, ids that are not
            the model's or that it did not produce, or a loss that is not finite.
    """
    if not groups:
        raise LessonError("no moments, so nothing to learn")
    count = moments or len(groups)
    in_all = sum(len(one) for group in groups for one in group.mine(group.candidates))
    if objective.normaliser == "dapo":
        in_all = tokens or in_all
    total = outside = kls = seen = 0.0
    even = 0
    for number, group in enumerate(groups):
        advantage_C = group.advantages(objective.scale)
        if not advantage_C.any():
            even += 1
            continue
        try:
            logps = group.mine(log_probabilities(model, group, objective))
        except (CannotShare, LessonError) as error:
            raise LessonError(f"moment {number}: {error}") from None
        if produced and group.sampled is not None:
            _check_produced(number, logps, group.mine(group.sampled))
        loss, clipped, kl = _loss(logps, group, advantage_C, objective, count, in_all)
        if not torch.isfinite(loss):
            raise LessonError(f"moment {number}: a loss of {loss.item()}")
        (backward or Tensor.backward)(loss)
        total += loss.item()
        outside, kls, seen = outside + clipped, kls + kl, seen + 1
    part = max(1.0, seen)
    return Step(total, len(groups) - even, even, outside / part, kls / part)


def log_probabilities(
    model: PreTrainedModel, group: Group, objective: Objective
) -> tuple[Tensor, ...]:
    """Log-probability of each token of each candidate, its gradient stopping at the boundary.

    Raises:
        CannotShare: more tokens than the model has positions for.
        LessonError: an id that the model does not have.
    """
    words = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]
    for ids in (group.history, *group.candidates):
        if not 0 <= int(ids.min()) <= int(ids.max()) < words:
            raise LessonError(f"token {int(ids.max())} of a model that knows {words}")
    device = model.device
    history, last = group.history[:-1].to(device), group.history[-1:].to(device)
    past = None
    if len(history):
        grad = torch.is_grad_enabled() and objective.boundary == "text"
        with torch.set_grad_enabled(grad):
            past = read(model, [history])
    targets = [ids.to(device) for ids in group.candidates]
    rows = [torch.cat((last, ids[:-1])) for ids in targets]
    logits = follow(model, past, rows, [0] * len(rows))
    lengths = [len(ids) for ids in targets]
    return tuple(
        _chosen(part / objective.temperature, ids)
        for part, ids in zip(logits.split(lengths), targets, strict=True)
    )


def _chosen(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probability of the token that was chosen at each place, shape (S,)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)


def _loss(
    logps: tuple[Tensor, ...],
    group: Group,
    advantage_C: Tensor,
    objective: Objective,
    moments: float,
    tokens: int,
) -> tuple[Tensor, float, float]:
    """A moment's share of the loss, the share of its ratios that were clipped, and its mean KL."""
    losses: list[Tensor] = []
    outside, kls = 0.0, 0.0
    low, high = 1 - objective.epsilon_low, 1 + objective.epsilon_high
    sampled = group.mine(group.sampled) if group.sampled is not None else None
    reference = group.mine(group.reference) if group.reference is not None else None
    for number, logp in enumerate(logps):
        advantage = advantage_C[number].to(logp.device)
        ratio = logp - (logp.detach() if sampled is None else sampled[number].to(logp))
        if objective.ratio == "sequence":
            ratio = ratio.mean(0, keepdim=True)
        ratio = weight = ratio.exp()
        bounded = ratio.clamp(low, high)
        outside += (bounded != ratio).float().mean().item() / len(logps)
        if objective.delta is not None:
            ratio = ratio.clamp(max=objective.delta)
        each = -torch.minimum(ratio * advantage, bounded * advantage).expand_as(logp)
        if objective.beta:
            if reference is None:
                raise LessonError("a KL divergence to a reference that the group does not have")
            apart = reference[number].to(logp) - logp
            kl = (apart.exp() - apart - 1) * (weight if objective.corrected_kl else 1)
            kls += kl.mean().item() / len(logps)
            each = each + objective.beta * kl
        losses.append(each.mean() if objective.normaliser == "grpo" else each.sum())
    loss = torch.stack(losses).sum() * group.weight
    match objective.normaliser:
        case "grpo" | "luspo":
            return loss / (moments * len(logps)), outside, kls
        case "dr_grpo":
            return loss / (moments * len(logps) * objective.most), outside, kls
        case "bnpo" | "dapo":
            return loss / tokens, outside, kls


def _check(name: str, logps: tuple[Tensor, ...], candidates: tuple[Tensor, ...]) -> None:
    if [one.shape for one in logps] != [one.shape for one in candidates]:
        raise LessonError(f"{name}: one log-probability for each token of each candidate")
    if not all(bool(torch.isfinite(one).all()) and bool((one <= 1e-6).all()) for one in logps):
        raise LessonError(f"{name}: a log-probability is finite and at most 0")


def _check_produced(number: int, logps: tuple[Tensor, ...], sampled: tuple[Tensor, ...]) -> None:
    for one, other in zip(logps, sampled, strict=True):
        apart = (one.detach() - other.to(one)).abs().mean().item()
        if apart > FAR:
            raise LessonError(
                f"moment {number}: the model gives its tokens other log-probabilities than were "
                f"recorded, {apart:.2f} nats apart: it did not produce them"
            )
