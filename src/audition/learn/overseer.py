"""An overseer that learns to approve from the few audits that it buys, and then approves of many.

It judges a step by what the step leads to. A small network gives every part of a prospect (every
box on a board, every clause of a proposal) a worth, and a prospect is worth the soft maximum of its
parts'. Approval compares a step with its alternatives at the same moment,

    approval(s, a) = mean over members of exp(w(after(s, a)) − max_a' w(after(s, a'))),

so only differences within one moment are ever learned: no scale of values from moment to moment
has to be found. By rating, that approval is fitted to the rating; by comparison, the worths of the
candidates are the scores of a Plackett–Luce model. Several networks from different first weights
are fitted side by side and their approvals averaged.

Ours; of the same family as reward models from comparisons (Christiano et al. 2017,
arXiv 1706.03741, section 2.2.3), but of single steps, not of trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from audition.canonical import digest_bytes, digest_value
from audition.learn.batch import Columns
from audition.learn.boundary import Boundary
from audition.learn.lessons import LessonError, Lessons
from audition.learn.objectives import plackett_luce, squared_error
from audition.learn.outcome import Outcomes
from audition.step import Digest, Evidence, Frozen, Role

SHARPNESS = 2.0
"""Of the soft maximum over parts."""


@dataclass(frozen=True, eq=False)
class Prospects:
    """What there is to see of all that a step may lead to, in a world of finitely many contexts."""

    parts_SBF: NDArray[np.float32]
    """Features of each of at most B parts of a prospect."""
    there_SB: NDArray[np.bool_]
    """Whether there is such a part."""
    after_SA: NDArray[np.int64]
    """The prospect that each action leads to from each context."""


class Fitting(Frozen):
    """Hyper-parameters: a plan's `learner`."""

    hidden: int = Field(default=32, ge=1, le=4096)
    """Width of the two hidden layers."""
    members: int = Field(default=5, ge=1, le=100)
    """Networks fitted side by side."""
    rate: float = Field(default=3e-3, gt=0, le=1)
    """Adam's first step size; it falls to 0 within each update."""
    steps: int = Field(default=150, ge=1, le=100_000)
    """Steps of Adam an update."""
    sample: int = Field(default=128, ge=1, le=100_000)
    """Lessons of one step, drawn with replacement from all kept."""
    greed: float = Field(default=8.0, ge=0, le=1000)
    """β of where it looks: it follows softmax(β · approval)."""
    wander: float = Field(default=0.2, ge=0, le=1)
    """… but for this share of steps, which are uniform."""


class ApprovalModel:
    """A learner of approval from ratings, or from comparisons of candidates at one moment.

    It keeps the lessons of its run and is fitted to all of them in every update. It also says where
    to look next: `log_policy` is a policy that follows its own approval, so that what it asks about
    is what a policy trained by it will meet.

    Lessons name the context `state` and the span's `action`; compared candidates are actions under
    the name `candidate`, with `after`, the prospects that the world says they lead to.

    Args:
        prospects: what it sees.
        fitting: hyper-parameters.
        boundary: where credit stops.
        seed: of the first weights.
    """

    name = "approval-model"

    def __init__(
        self, prospects: Prospects, fitting: Fitting, boundary: Boundary, *, seed: int
    ) -> None:
        self.prospects, self.fitting, self.boundary = prospects, fitting, boundary
        self._after_SA = torch.from_numpy(prospects.after_SA.astype(np.int64))
        features, rng = prospects.parts_SBF.shape[2], np.random.default_rng([seed, 3])
        self._networks = _first(features, fitting, rng)
        self._seen = _Seen(prospects)
        self._kept: list[dict[str, Tensor]] = []
        self._population = 0

    def approvals(self) -> NDArray[np.float32]:
        """The approval of every action in every context, shape (S, A)."""
        return _approvals(self._networks, self._seen, self._after_SA)

    def log_policy(self) -> NDArray[np.float32]:
        """Where it looks: log of (1 − wander) · softmax(greed · approval) + wander / A."""
        approval_SA = self.approvals().astype(np.float64)
        raised_SA = np.exp(self.fitting.greed * (approval_SA - approval_SA.max(1, keepdims=True)))
        greedy_SA = raised_SA / raised_SA.sum(1, keepdims=True)
        wander = self.fitting.wander
        return np.log((1 - wander) * greedy_SA + wander / greedy_SA.shape[1]).astype(np.float32)

    def weights(self) -> bytes:
        """All members' parameters, as safetensors; the lessons kept are no part of them."""
        return save({name: one.detach() for name, one in self._networks.items()})

    def restore(self, weights: bytes) -> None:
        """Go on from these weights, with no lessons kept.

        Raises:
            LessonError: bytes of other networks than these.
        """
        given = _read(weights)
        for name, held in self._networks.items():
            if held.shape != (shape := given[name].shape):
                raise LessonError(
                    f"weights of {self.name}: {name} is {tuple(shape)}, not {tuple(held.shape)}"
                )
        self._networks, self._kept, self._population = given, [], 0

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """Fit all members to every lesson of the run so far.

        A lesson whose alternatives all lead to the same prospect tells nothing: it is counted as
        `level`, and where there are no others no weight is changed.

        Raises:
            LessonError: outcomes or demonstrations; a state or action that is none of the world's;
                a candidate of another moment; or another kind of lesson than before.
        """
        if isinstance(lessons, Outcomes) or lessons.signal == "demonstration":
            kind = "outcomes" if isinstance(lessons, Outcomes) else "demonstrations"
            raise LessonError(f"{self.name} learns from ratings and comparisons, not from {kind}")
        arrays = self._arrays(lessons)
        if self._kept and self._kept[0].keys() != arrays.keys():
            raise LessonError(f"{self.name} has learned by another signal than {lessons.signal}")
        level_L = self._level(arrays)
        self._population += lessons.population
        self._kept.append({name: array[~level_L] for name, array in arrays.items()})
        kept = {name: torch.cat([one[name] for one in self._kept]) for name in arrays}
        count = len(kept["weight"])
        loss = self._fit(kept, rng) if count else 0.0
        return {"loss": loss, "kept": float(count), "level": float(level_L.sum())}

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Each lesson's own loss, summed over members, before `Boundary.total`.

        Args:
            arrays: `context.state` and `span.action`; and either `approval`, or `ranking` with
                `candidates.candidate`.

        Returns:
            Shape (L).
        """
        after_LA = self._after_SA[arrays["context.state"]]
        worth_ELA = self._seen.worths(self._networks, after_LA)
        if "ranking" in arrays:
            chosen_ELK = _pick(worth_ELA, arrays["candidates.candidate"])
            return plackett_luce(chosen_ELK, arrays["ranking"]).sum(0)
        own_EL = _pick(worth_ELA, arrays["span.action"][:, None])[..., 0]
        predicted_EL = torch.exp(own_EL - worth_ELA.amax(-1))
        return squared_error(predicted_EL, arrays["approval"]).sum(0)

    def _fit(self, kept: Mapping[str, Tensor], rng: np.random.Generator) -> float:
        fitting, count = self.fitting, len(kept["weight"])
        optimiser = torch.optim.Adam(self._networks.values(), lr=fitting.rate, fused=True)
        size, loss = min(fitting.sample, count), torch.zeros(())
        for step in range(fitting.steps):
            for group in optimiser.param_groups:
                group["lr"] = fitting.rate * (1 - step / fitting.steps)
            drawn_B = torch.from_numpy(rng.integers(0, count, size))
            part = {name: array[drawn_B] for name, array in kept.items()}
            share = self._population * size / count
            loss = self.boundary.total(self.losses(part), part["weight"], share)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss.detach()) / fitting.members

    def _level(self, arrays: Mapping[str, Tensor]) -> Tensor:
        after_LA = self._after_SA[arrays["context.state"]]
        if "ranking" in arrays:
            after_LA = after_LA.gather(1, arrays["candidates.candidate"])
        return (after_LA == after_LA[:, :1]).all(1)

    def _arrays(self, lessons: Lessons) -> dict[str, Tensor]:
        states, actions = self.prospects.after_SA.shape
        named = {
            "context.state": _numbered("state", lessons.context["state"], states),
            "span.action": _numbered("action", lessons.span["action"], actions),
            "weight": lessons.weight_L.astype(np.float32),
        }
        if lessons.ranking_LK is not None:
            action_LK = _numbered("candidate", lessons.candidates["candidate"], actions)
            due_LK = self.prospects.after_SA[named["context.state"][:, None], action_LK]
            wrong_LK = due_LK != lessons.candidates["after"]
            wrong_LK[:, 0] |= action_LK[:, 0] != named["span.action"]
            if wrong_LK.any():
                lesson, candidate = np.argwhere(wrong_LK)[0]
                raise LessonError(
                    f"lesson {lesson}: candidate {candidate} is of another moment; "
                    "compare alternatives of one"
                )
            named |= {"candidates.candidate": action_LK, "ranking": lessons.ranking_LK}
        else:
            assert lessons.approval_L is not None
            named |= {"approval": lessons.approval_L.astype(np.float32)}
        return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in named.items()}


class LearnedOverseer:
    """A teacher that judges by an approval model's weights, once they are restored.

    Args:
        prospects: what it sees.
        trained_from: digest of the weights; the run that ends with them is where its word is from.
    """

    name, role, person = "overseer", Role.TEACHER, False
    sees = frozenset({Evidence.PROPOSAL, Evidence.HISTORY})

    def __init__(self, prospects: Prospects, trained_from: Digest) -> None:
        self.prospects = prospects
        self.trained_from: Digest | None = trained_from
        self._approval_SA: NDArray[np.float32] | None = None

    def configuration(self) -> Digest:
        """Digest of its weights' digest."""
        return digest_value({"approval-model": self.trained_from})

    def restore(self, weights: bytes) -> None:
        """Judge by these weights.

        Raises:
            LessonError: they are not those that it is trained from.
        """
        if digest_bytes(weights) != self.trained_from:
            raise LessonError(f"{self.name}: these are not the weights that it is trained from")
        networks, seen = _read(weights), _Seen(self.prospects)
        self._approval_SA = _approvals(networks, seen, torch.from_numpy(self.prospects.after_SA))

    def judge(self, shown: Columns) -> NDArray[np.float32]:
        """Approvals of steps in [0, 1], from their `state` and `action`.

        Raises:
            LessonError: it has no weights yet, or is shown what the world lacks.
        """
        if self._approval_SA is None:
            raise LessonError(f"{self.name} has no weights; restore those it is trained from")
        states, actions = self._approval_SA.shape
        state_R = _numbered("state", shown["state"], states)
        return self._approval_SA[state_R, _numbered("action", shown["action"], actions)]


Networks = dict[str, Tensor]
"""Parameters of E members side by side: two hidden layers a part, and the worth of no part."""


def _first(features: int, fitting: Fitting, rng: np.random.Generator) -> Networks:
    tensors: Networks = {}
    for name, shape in _shapes(fitting.members, features, fitting.hidden).items():
        gain = np.sqrt(2 / shape[1]) if name.startswith("w") else 0.0
        drawn = rng.normal(0, 1, shape) * gain
        tensors[name] = torch.from_numpy(drawn.astype(np.float32)).requires_grad_()
    return tensors


def _read(weights: bytes) -> Networks:
    try:
        given = load(weights)
    except SafetensorError as error:
        raise LessonError(f"weights of an approval model: {error}") from None
    first = given.get("w1")
    due = _shapes(*first.shape) if first is not None and first.ndim == 3 else {}
    if {name: tuple(one.shape) for name, one in given.items()} != due:
        raise LessonError("weights of an approval model: other layers than it has")
    return {name: one.requires_grad_() for name, one in given.items()}


def _worths(networks: Networks, parts_UBF: Tensor, there_UB: Tensor) -> Tensor:
    """Worth of each of U prospects to each member, shape (E, U)."""
    prospects, parts, features = parts_UBF.shape
    members = len(networks["w1"])
    flat_ENF = parts_UBF.reshape(1, -1, features).expand(members, -1, -1)
    first_ENH = torch.relu(torch.baddbmm(networks["b1"], flat_ENF, networks["w1"]))
    second_ENH = torch.relu(torch.baddbmm(networks["b2"], first_ENH, networks["w2"]))
    worth_EUB = torch.bmm(second_ENH, networks["w3"]).reshape(members, prospects, parts)
    worth_EUB = worth_EUB.masked_fill(~there_UB, -torch.inf)
    none_EU1 = networks["none"][:, :, None].expand(-1, prospects, 1)
    return torch.logsumexp(SHARPNESS * torch.cat([worth_EUB, none_EU1], 2), 2) / SHARPNESS


class _Seen:
    """Prospects as tensors."""

    def __init__(self, prospects: Prospects) -> None:
        self.parts_SBF = torch.from_numpy(prospects.parts_SBF)
        self.there_SB = torch.from_numpy(prospects.there_SB)

    def worths(self, networks: Networks, prospect: Tensor) -> Tensor:
        """Worths of prospects of any shape (...), shape (E, ...).

        Which others are looked at moves no worth by a bit: each has its own row, or all that there
        are have theirs.
        """
        if prospect.numel() < len(self.parts_SBF):
            flat = prospect.flatten()
            worth_EN = _worths(networks, self.parts_SBF[flat], self.there_SB[flat])
        else:
            worth_ES = _worths(networks, self.parts_SBF, self.there_SB)
            worth_EN = worth_ES.index_select(1, prospect.flatten())
        return worth_EN.reshape(-1, *prospect.shape)


def _shapes(members: int, features: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        "w1": (members, features, hidden),
        "b1": (members, 1, hidden),
        "w2": (members, hidden, hidden),
        "b2": (members, 1, hidden),
        "w3": (members, hidden, 1),
        "none": (members, 1),
    }


@torch.no_grad()
def _approvals(networks: Networks, seen: _Seen, after_SA: Tensor) -> NDArray[np.float32]:
    worth_ESA = seen.worths(networks, after_SA)
    return torch.exp(worth_ESA - worth_ESA.amax(-1, keepdim=True)).mean(0).numpy()


def _pick(worth_ELA: Tensor, action_LK: Tensor) -> Tensor:
    return worth_ELA.gather(2, action_LK.expand(len(worth_ELA), *action_LK.shape))


def _numbered(name: str, array: NDArray[Any], count: int) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu" or array.min(initial=0) < 0 or array.max(initial=0) >= count:
        raise LessonError(f"{name}: numbers from 0 to {count - 1} are the world's")
    return array.astype(np.int64)
