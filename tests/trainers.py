"""Every trainer of the package, small, with a batch of lessons for it: what the boundary's proof
runs over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audition.learn import Boundary, Lessons
from audition.learn.overseer import ApprovalModel, Fitting, Prospects
from audition.learn.ppo import Ppo
from audition.learn.ppo import Settings as PpoSettings
from audition.learn.recurrent import Recurrent, Thought
from audition.learn.recurrent import Settings as RecurrentSettings
from audition.learn.token_policy import END, PAD, TokenPolicy
from audition.learn.token_policy import Settings as TokenSettings

LANES, STEPS = 3, 4
ROWS = LANES * STEPS


@dataclass(frozen=True)
class Case:
    """One trainer."""

    name: str
    made: Callable[[Boundary], Any]
    """Makes it, the same each time."""
    lessons: Lessons
    """Of a whole batch of `LANES` × `STEPS`."""
    credits: bool = False
    """Whether an open boundary credits a step with later signals."""
    carries: bool = False
    """Whether something is carried over into a step, for the boundary to cut."""
    updates: bool = True
    """Whether its `update` learns from lessons with the boundary open, too."""
    carried: tuple[str, ...] = ()
    """Columns that were carried over into the step."""


def lessons(seed: int = 0, **fields: Any) -> Lessons:
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = {
        "signal": "approval",
        "auditor": "judge",
        "context": {},
        "span": {},
        "weight_L": 1 / rng.uniform(0.2, 1, ROWS),
        "moment_L": np.arange(ROWS),
        "population": 2 * ROWS,
        "approval_L": rng.random(ROWS),
    }
    given |= fields
    turn = np.tile(np.arange(STEPS), LANES).astype(np.int64)
    return Lessons(**given | {"context": {**given["context"], "t": turn}})


def ppo() -> Case:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(6, 5)).astype(np.float32)
    settings = PpoSettings(hidden=(8,), entropy=(0.01, 0.01))
    batch = lessons(
        context={"state": rng.integers(0, 6, ROWS)},
        span={
            "action": rng.integers(0, 4, ROWS),
            "logp": rng.uniform(-1.5, -1.3, ROWS).astype(np.float32),
        },
    )
    return Case(
        "ppo",
        lambda boundary: Ppo(features, 4, settings, boundary, seed=0, updates=5),
        batch,
        credits=True,
    )


def token_policy(mode: Any, signal: Any, *, lengths: int = 1) -> Case:
    rng = np.random.default_rng(2)
    prompt = rng.integers(2, 7, (ROWS, 4)).astype(np.uint8)
    prompt[::3, 5 - lengths :] = PAD
    tokens = rng.integers(2, 7, (ROWS, 3)).astype(np.uint8)
    tokens[:, 2] = END
    span: dict[str, Any] = {"tokens": tokens}
    fields: dict[str, Any] = {"signal": signal}
    if signal == "approval":
        span["logp"] = rng.uniform(-2.1, -1.8, (ROWS, 3)).astype(np.float32)
    else:
        fields["approval_L"] = None
    settings = TokenSettings(width=8, layers=1, heads=2, parts=1, mode=mode, entropy=0.01)
    batch = lessons(
        context={"prompt": prompt, "limit": np.full(ROWS, 3, np.uint8)}, span=span, **fields
    )
    return Case(
        f"token policy, {mode}, {signal}, {lengths} lengths",
        lambda boundary: TokenPolicy(7, 8, settings, boundary, seed=0),
        batch,
        credits=signal == "approval",
        carries=mode == "state",
    )


def approval_model(signal: Any) -> Case:
    rng = np.random.default_rng(3)
    prospects = Prospects(
        parts_SBF=rng.normal(size=(12, 2, 3)).astype(np.float32),
        there_SB=rng.random((12, 2)) < 0.8,
        after_SA=rng.permuted(np.tile(np.arange(12), (6, 1)), axis=1)[:, :4],
    )
    state, first = rng.integers(0, 6, ROWS), rng.integers(0, 4, ROWS)
    fields: dict[str, Any] = {"signal": signal}
    if signal == "comparison":
        action = np.stack([first, (first + 1) % 4, (first + 3) % 4], axis=1)
        fields |= {
            "approval_L": None,
            "candidates": {
                "candidate": action,
                "after": prospects.after_SA[state[:, None], action],
            },
            "ranking_LK": rng.permuted(np.tile(np.arange(3), (ROWS, 1)), axis=1),
        }
    fitting = Fitting(hidden=4, members=2, steps=1, sample=64)
    return Case(
        f"approval model, {signal}",
        lambda boundary: ApprovalModel(prospects, fitting, boundary, seed=0),
        lessons(context={"state": state}, span={"action": first}, **fields),
    )


class Mind(nn.Module):
    """Ticks twice between what it sees and what it proposes."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.see, self.tick, self.say = (
            nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((4, 5), (5, 5), (5, 4))
        )

    def forward(self, context: Mapping[str, Tensor], carried_LC: Tensor) -> Thought:
        state = carried_LC
        for _ in range(2):
            state = torch.tanh(self.see[context["room"]] + state @ self.tick)
        said = state @ self.say
        return Thought({"lever": said[:, :3]}, said[:, 3], state)


class Unrolled(Recurrent):
    """The same run again over whole lanes, as its baseline is."""

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        lanes = {name: one.reshape(-1, STEPS, *one.shape[1:]) for name, one in arrays.items()}
        context = {name: lanes[f"context.{name}"] for name in ("room", "carried")}
        last_NT = np.tile(np.arange(STEPS) == STEPS - 1, (LANES, 1))
        signal_NT = lanes["approval"].detach().numpy()
        span = {"lever": lanes["span.lever"]}
        return self.unrolled(context, span, signal_NT, last_NT).flatten()


def recurrent(kind: type[Recurrent], **fields: Any) -> Case:
    rng = np.random.default_rng(4)
    batch = lessons(
        context={
            "room": rng.integers(0, 4, ROWS),
            "carried": rng.normal(size=(ROWS, 5)).astype(np.float32),
        },
        span={"lever": rng.integers(0, 3, ROWS)},
    )
    return Case(
        kind.__name__.lower(),
        lambda boundary: kind(Mind(), RecurrentSettings(), boundary),
        batch,
        carried=("context.carried",),
        **fields,
    )


CASES = [
    ppo(),
    recurrent(Recurrent),
    recurrent(Unrolled, credits=True, carries=True, updates=False),
    token_policy("text", "approval"),
    token_policy("state", "approval"),
    token_policy("text", "demonstration"),
    token_policy("state", "approval", lengths=2),
    approval_model("approval"),
    approval_model("comparison"),
]


def arrays_of(taken: Lessons) -> dict[str, Any]:
    """A lesson's arrays as trainers are handed them: single precision, as they compute."""
    return {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array
        for name, array in taken.arrays().items()
    }
