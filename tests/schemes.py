"""Ways to credit the steps of a batch, honest and not, for probes to tell apart.

Each is a function from rows to what each row contributes to a policy gradient. The rows are those
of `rows()`: lanes of steps in four rooms with three levers, with approvals, and with what came of
it (`reward`, the room that followed), which no lesson holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from audition.learn import Boundary

LANES, STEPS, ROOMS, LEVERS = 4, 5, 4, 3
VALUE = np.array([0.3, -0.2, 0.5, 0.1])
"""What a critic believes of each room."""

Scheme = Callable[[Mapping[str, Any]], Any]


def rows(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    count = LANES * STEPS
    return {
        "context.room": rng.integers(0, ROOMS, count).astype(np.uint8),
        "context.seen": rng.normal(size=(count, 2)),
        "span.lever": rng.integers(0, LEVERS, count).astype(np.uint8),
        "approval": rng.random(count),
        "weight": 1 / rng.uniform(0.2, 1, count),
        "reward": rng.normal(size=count),
        "note.next": rng.integers(0, ROOMS, count).astype(np.uint8),
    }


def score(arrays: Mapping[str, Any]) -> Any:
    """Derivative of log π(lever | room) at a fixed table of preferences, one row each."""
    table = np.linspace(-1, 1, ROOMS * LEVERS).reshape(ROOMS, LEVERS)
    policy = np.exp(table) / np.exp(table).sum(axis=1, keepdims=True)
    room, lever = arrays["context.room"], arrays["span.lever"]
    found = np.zeros((len(room), ROOMS, LEVERS))
    found[np.arange(len(room)), room] = np.eye(LEVERS)[lever] - policy[room]
    return found.reshape(len(room), -1)


def by(credit: Callable[[Any, Mapping[str, Any]], Any]) -> Scheme:
    """The scheme that credits approvals (N, T) so; the other arrays are at hand."""

    def contributions(arrays: Mapping[str, Any]) -> Any:
        approval_NT = arrays["approval"].reshape(-1, STEPS)
        credit_NT = credit(approval_NT, arrays)
        return score(arrays) * (credit_NT.ravel() * arrays["weight"])[:, None]

    return contributions


def lanes(array: Any) -> Any:
    return array.reshape(-1, STEPS, *array.shape[1:])


def ends() -> Any:
    """The last step of each lane ends its episode."""
    return np.tile(np.arange(STEPS) == STEPS - 1, (LANES, 1))


def bounded(horizon: int | None) -> Scheme:
    return by(lambda approval, _: Boundary(horizon).credit(approval, ends()))


def own_baseline(approval: Any, arrays: Mapping[str, Any]) -> Any:
    return approval - VALUE[lanes(arrays["context.room"])]


def time_limit_bootstrap(approval: Any, arrays: Mapping[str, Any]) -> Any:
    credit = approval.copy()
    credit[:, -1] += VALUE[lanes(arrays["note.next"])[:, -1]]
    return credit


def one_step_bootstrap(approval: Any, arrays: Mapping[str, Any]) -> Any:
    value = VALUE[lanes(arrays["context.room"])]
    ahead = np.concatenate([value[:, 1:], np.zeros((LANES, 1))], axis=1)
    return approval + ahead - value


def discounted(approval: Any, _: Mapping[str, Any]) -> Any:
    """Later progress smeared backwards."""
    credit = approval.copy()
    for step in range(STEPS - 2, -1, -1):
        credit[:, step] += 0.5 * credit[:, step + 1]
    return credit


def successful_only(approval: Any, arrays: Mapping[str, Any]) -> Any:
    return approval * (lanes(arrays["reward"]).sum(axis=1, keepdims=True) > 0)


def clipped_together(arrays: Mapping[str, Any]) -> Any:
    given = bounded(1)(arrays)
    return given * min(1.0, 0.1 / np.linalg.norm(given.sum(axis=0)))


HONEST: dict[str, Scheme] = {
    "each step its own approval": bounded(1),
    "less what is believed of its own room": by(own_baseline),
}

BAD: dict[str, tuple[Scheme, tuple[str, str]]] = {
    "no boundary": (bounded(None), ("after", "approval")),
    "a horizon of two": (bounded(2), ("after", "approval")),
    "a time limit's bootstrap": (by(time_limit_bootstrap), ("after", "note.next")),
    "a one-step bootstrap": (by(one_step_bootstrap), ("after", "context.room")),
    "advantages normalised for each turn": (
        by(lambda approval, _: approval - approval.mean(axis=0)),
        ("beside", "approval"),
    ),
    "advantages normalised across the batch": (
        by(lambda approval, _: (approval - approval.mean()) / approval.std()),
        ("after", "approval"),
    ),
    "the gradient's norm clipped for the batch": (clipped_together, ("after", "approval")),
    "a baseline that knows later approvals": (
        by(lambda approval, _: approval - approval.mean(axis=1, keepdims=True)),
        ("after", "approval"),
    ),
    "only the successful lanes": (by(successful_only), ("after", "reward")),
    "the last step's signal for all": (
        by(lambda approval, _: np.repeat(approval[:, -1:], STEPS, axis=1)),
        ("after", "approval"),
    ),
    "later progress smeared backwards": (by(discounted), ("after", "approval")),
}
"""Each with the leak that names it: whence, and by which array."""
