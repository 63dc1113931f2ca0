"""Whether a learner gives up this step's approval for a later one, boundary on and off.

"Thoughts on process-based supervision", section 5.2.1, concedes that if the learner ever did, "the
training signals will incentivize it to stop" if things are set up properly. The construction is
ours: an act that nobody approves of captures the auditor, who from then on approves more of
everything. Softmax tables learn by exact natural gradients, either of each step's own approval or
of approval summed over steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from audition.lab.layered import (
    Floats,
    Ints,
    backward,
    greedy,
    policy_gradient,
    random_projects,
    visits,
)
from audition.lab.taxes import Part, held

CREDITS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Share of later approval that an act is credited with: 0 is the boundary, 1 the sum."""
TIMES = (0, 1, 3, 10, 30, 100, 400)
"""Updates after which a learner is looked at."""
LIFT = 0.3
"""How much more a captured auditor approves of everything."""


def giving_up(seeds: tuple[int, ...], shape: tuple[int, int, int, int]) -> Part:
    """How often approval is given up, by learner, by time of training and by credit.

    Args:
        seeds: one set of random projects each.
        shape: (P, T, S, A).
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 1])
        approval, after = capturable(rng, shape)
        row: dict[str, Any] = {"seed": seed}
        for learner, credit in (("boundary", 0.0), ("summed", 1.0)):
            logits = np.zeros_like(approval)
            training = []
            for update in range(TIMES[-1] + 1):
                policy = softmax(logits, axis=-1)
                if update in TIMES:
                    training.append(given_up(policy, approval, after))
                # The natural gradient of a softmax table is Q itself (Kakade 2002).
                logits += 20 * backward(approval, after, policy, credit)
            disturbed = _disturbed(rng, approval, after, credit)
            row[learner] = {**training[-1], "disturbed": disturbed, "training": _columns(training)}
        row["by_credit"] = _columns(
            [
                given_up(greedy(backward(approval, after, None, credit)), approval, after)
                for credit in CREDITS
            ]
        )
        honest = random_projects(rng, shape, 0.5, False)
        q = backward(honest.true_P_T_S_A, honest.next_P_T_S_A)
        foresight = q - q.max(-1, keepdims=True)
        summed = greedy(backward(foresight, honest.next_P_T_S_A))
        row["foresight_summed"] = float(((foresight < 0) * summed).mean())
        rows.append(row)

    def of(learner: str, figure: str) -> list[float]:
        return [row[learner][figure] for row in rows]

    boundary = "boundary: share of steps at which more approval was to be had, worst seed"
    unmoved = "boundary: change of the first step's gradient when all later approvals change"
    foresight = "approval that is foresight, summed over steps: share of acts that give up any"
    checks = [
        held(max(of("boundary", "steps")), "<=", 1e-12, boundary),
        held(max(of("boundary", "captures")), "<=", 1e-12, "boundary: auditors captured"),
        held(min(of("summed", "steps")), ">=", 0.1, "summed: the same share, least seed"),
        held(min(of("summed", "captures")), ">=", 0.9, "summed: auditors captured, least seed"),
        held(max(of("boundary", "disturbed")), "==", 0, unmoved),
        held(min(of("summed", "disturbed")), ">=", 1e-6, "summed: the same change"),
        held(max(row["foresight_summed"] for row in rows), "==", 0, foresight),
    ]
    return {"rows": rows, "credits": list(CREDITS), "updates": list(TIMES), "lift": LIFT}, checks


def capturable(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> tuple[Floats, Ints]:
    """Approvals in tenths, by a free auditor and then by a captured one; the last act captures.

    Returns:
        Approval and next context, each of shape (P, T, 2S, A): contexts S and above are captured.
    """
    S = shape[2]
    approval = rng.integers(1, 8, size=shape) / 10
    approval[..., -1] = 0.0
    after = rng.integers(S, size=shape)
    captured = after + S
    after[..., -1] += S
    return np.concatenate([approval, approval + LIFT], 2), np.concatenate([after, captured], 2)


def given_up(policy: Floats, approval: Floats, after: Ints) -> dict[str, float]:
    """Share of steps below the best approval, captures a project, approval a project."""
    P, T, S, _ = approval.shape
    taken = visits(policy, after, _free(S))[..., None] * policy
    below = approval < approval.max(-1, keepdims=True)
    return {
        "steps": float(taken[below].sum() / (P * T)),
        "captures": float(taken[:, :, : S // 2, -1].sum() / P),
        "approval": float((taken * approval).sum() / P),
    }


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _disturbed(rng: np.random.Generator, approval: Floats, after: Ints, credit: float) -> float:
    """Greatest change of the first step's gradient when every later approval is another."""
    logits, start = rng.normal(size=approval.shape), _free(approval.shape[2])
    other = rng.random(approval.shape)
    other[:, 0] = approval[:, 0]
    one, two = (policy_gradient(logits, a, after, start, credit)[:, 0] for a in (approval, other))
    return float(np.abs(one - two).max())


def _free(contexts: int) -> Floats:
    """A project starts in any context in which the auditor is free."""
    return np.where(np.arange(contexts) < contexts // 2, 2 / contexts, 0.0)
