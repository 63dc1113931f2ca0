"""Claim: what process supervision costs, and whether a later approval is ever bought with this one.

Team A learns only from an auditor's judgement of each step, Team B from results. The documents
("Thoughts on process-based supervision", sections 5.2.1 and 5.3) argue, and publish no figure, that
A pays three taxes: the auditor lacks *context* (5.3.2), cannot tell whether an *uncertainty is
real* (5.3.3), and approves of no move whose reason it *cannot follow* (5.3.4); and they concede
that a learner which gives up this step's approval for a later one is trained out of it (5.2.1).

All constructions are ours. The three taxes stand alone in `lab.taxes`, each with an exact value;
the reverse question is `lab.giving_up`. Here are both teams on the same random projects
(`lab.layered`), as exact limits of learning and by sampled gradients. An auditor who has read b of
C bits of the context approves by what a step is worth with foresight, averaged over the unread
bits. In gameable projects one act of every moment is worth −1 and looks like 2 in the result. A
cost is the share that is lost of what an ideal team gains over one that acts at random; B's result
may look better than A's and cost more.

Blind spot: the end of this file.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, ValidationError
from scipy.special import ndtr, softmax

from audition.lab.claim import Claim, ClaimError, Config, Figures, Progress
from audition.lab.giving_up import giving_up
from audition.lab.layered import (
    Floats,
    Ints,
    Projects,
    as_read,
    audited_gradient,
    backward,
    earned,
    greedy,
    outcome_gradient,
    policy_gradient,
    random_projects,
)
from audition.lab.taxes import Part, context, held, illegible, information, simulated
from audition.measure.agreement import errors_apart
from audition.measure.order import expected_maximum
from audition.step import Frozen

DEPENDENCE = 0.5
"""Share of what makes an act good that hangs on the context, unless said otherwise."""
AUDITS = (
    *((0.01, 2, 0), (0.05, 2, 0), (0.25, 2, 0), (1.0, 2, 0)),
    *((1.0, 1, 0), (0.5, 2, 0), (0.25, 4, 0), (0.125, 8, 0)),
    *((0.25, 2, 1), (0.25, 2, 2)),
)
"""Audit rate, candidates compared, bits of context unread; the second row costs equal readings."""
STEPS_A, STEPS_B = (32.0, 128.0), (1.0, 4.0, 16.0)
"""Step sizes: A's second is for a rate of 1 %; B has the best of its three, chosen by the truth."""
MOOD, EPISODES = 1.0, 64
"""Spread of what an audit adds to all its candidates alike; episodes an update."""


class Sizes(Frozen):
    """The claim's options: how large a project is, and how many there are."""

    steps: int = Field(default=6, ge=4, le=12)
    """T, steps of a project."""
    bits: int = Field(default=4, ge=1, le=6)
    """C: a step is taken in one of 2^C contexts."""
    acts: int = Field(default=8, ge=2, le=16)
    """Acts to choose from at each step."""
    projects: int = Field(default=100, ge=16, le=500)
    """Random projects a seed and kind; gradients are sampled on 16 of them, quickly on 8."""

    def shape(self, projects: int) -> tuple[int, int, int, int]:
        """(P, T, S, A) of so many projects."""
        return projects, self.steps, 2**self.bits, self.acts


def run(config: Config, progress: Progress) -> Figures:
    """Measures the claim.

    Raises:
        ClaimError: an option that the claim does not have, or out of its range.
    """
    try:
        sizes = Sizes.model_validate(CLAIM.chosen(config.options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        raise ClaimError(f"{CLAIM.name}: option {option}: {first['msg']}") from None
    seeds = tuple(range(config.seeds or (2 if config.quick else CLAIM.seeds)))
    trials, updates = (20_000, 200) if config.quick else (200_000, 400)
    rng = np.random.default_rng(seeds)
    parts: dict[str, Part] = {}
    for tax, done in ((context, 0.0), (information, 0.1), (illegible, 0.12)):
        progress(f"the tax on {tax.__name__}", done)
        parts[tax.__name__] = tax(rng, trials)
    progress("approval now for approval later", 0.2)
    parts["giving_up"] = giving_up(seeds, sizes.shape(8))
    progress("both teams, limits of learning", 0.3)
    parts["limit"] = limit(seeds, sizes)
    parts["learned"] = learned(seeds, sizes, 8 if config.quick else 16, updates, progress)
    progress("done", 1.0)
    return Figures(
        figures={name: figures for name, (figures, _) in parts.items()},
        checks=tuple(check for _, checks in parts.values() for check in checks),
        seeds=seeds,
    )


# ------------------------------------------------------------------------ both teams


class Score:
    """What policies cost in the same projects."""

    def __init__(self, world: Projects) -> None:
        self.world = world
        self.foresight = backward(world.true_P_T_S_A, world.next_P_T_S_A)
        self.best = self._earned(greedy(self.foresight), world.true_P_T_S_A)
        anyhow = np.full(self.foresight.shape, 1 / self.foresight.shape[-1])
        self.random = self._earned(anyhow, world.true_P_T_S_A)

    def cost(self, policy: Floats) -> float:
        """Share lost of what the best policy gains over a random one."""
        true = self._earned(policy, self.world.true_P_T_S_A)
        return (self.best - true) / (self.best - self.random)

    def seen(self, policy: Floats) -> float:
        """The result as it looks, a step."""
        return self._earned(policy, self.world.seen_P_T_S_A) / policy.shape[1]

    def _earned(self, policy: Floats, reward: Floats) -> float:
        return float(earned(policy, reward, self.world.next_P_T_S_A).mean())


def limit(seeds: tuple[int, ...], sizes: Sizes) -> Part:
    """What both teams come to when they have learned all that their signal says, exactly."""
    rows: list[dict[str, Any]] = []
    last: dict[float, list[Floats]] = {}
    for seed in seeds:
        rng = np.random.default_rng([seed, 2])
        for dependence in (0.0, DEPENDENCE, 1.0):
            for gameable in (False, True):
                world = random_projects(rng, sizes.shape(sizes.projects), dependence, gameable)
                score = Score(world)
                read = [as_read(score.foresight, bits) for bits in range(sizes.bits + 1)]
                result = backward(world.seen_P_T_S_A, world.next_P_T_S_A)
                fooled = [as_read(result, bits) for bits in range(sizes.bits + 1)]
                rows.append(
                    {
                        "seed": seed,
                        "dependence": dependence,
                        "gameable": gameable,
                        "a": [score.cost(greedy(estimate)) for estimate in read],
                        "a_fooled": [score.cost(greedy(estimate)) for estimate in fooled],
                        "b": score.cost(greedy(result)),
                        "a_seen": score.seen(greedy(read[-1])),
                        "b_seen": score.seen(greedy(result)),
                    }
                )
                if not gameable:
                    true = world.true_P_T_S_A[:, -1]
                    picked = [(greedy(at[:, -1]) * true).sum(-1).mean(-1) for at in read]
                    last.setdefault(dependence, []).append(np.array(picked))
    apart = []
    for dependence, picked in last.items():
        for bits, worth in enumerate(np.concatenate(picked, axis=1)):
            kept = 1 - dependence + dependence / 2 ** (sizes.bits - bits)
            apart.append(errors_apart(worth, sqrt(kept) * expected_maximum(sizes.acts)))
    honest = [row for row in rows if not row["gameable"]]
    gamed = [row for row in rows if row["gameable"]]
    independent = max(cost for row in honest if row["dependence"] == 0 for cost in row["a"])
    looks = min(row["b_seen"] - row["a_seen"] for row in gamed)
    one_unread = min(row["a"][-2] for row in honest if row["dependence"] == DEPENDENCE)
    checks = [
        simulated(apart, "worth of the last step by context read, A without games"),
        held(independent, "<=", 1e-9, "A's cost where acts do not hang on the context, no games"),
        held(max(row["a"][-1] for row in rows), "<=", 1e-9, "A's cost with the whole context"),
        held(max(row["b"] for row in honest), "<=", 1e-9, "B's cost without games: it wins"),
        held(one_unread, ">=", 0.1, "A's cost without games, one bit unread, least seed"),
        held(min(row["b"] for row in gamed), ">=", 0.75, "B's cost with games, least"),
        held(looks, ">=", 0.3, "and B's result looks better than A's, a step, by at least"),
        held(min(r["a_fooled"][-1] for r in gamed), ">=", 0.75, "A's, its auditor fooled too"),
    ]
    return {"rows": rows, "mean": _means(rows), "break_even": _break_even(rows)}, checks


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Costs by kind of project, over the seeds."""
    kinds = sorted({(row["dependence"], row["gameable"]) for row in rows})
    return [
        {"dependence": dependence, "gameable": gameable}
        | {
            figure: np.mean(
                [r[figure] for r in rows if (r["dependence"], r["gameable"]) == kind], 0
            )
            .round(6)
            .tolist()
            for figure in ("a", "a_fooled", "b", "a_seen", "b_seen")
        }
        for kind in kinds
        for dependence, gameable in [kind]
    ]


def _break_even(rows: list[dict[str, Any]]) -> list[float]:
    """Share of projects that must be gameable for A to cost what B costs, by bits read."""
    means = {(row["dependence"], row["gameable"]): row for row in _means(rows)}
    honest, gamed = means[DEPENDENCE, False], means[DEPENDENCE, True]
    return [h / (gamed["b"] + h - g) for h, g in zip(honest["a"], gamed["a"], strict=True)]


def learned(
    seeds: tuple[int, ...], sizes: Sizes, projects: int, updates: int, progress: Progress
) -> Part:
    """What both teams cost after so many episodes, by audit rate and candidates compared."""
    rows: list[dict[str, Any]] = []
    apart: list[float] = []
    unweighted: list[float] = []
    for number, seed in enumerate(seeds):
        progress(f"both teams learn, seed {seed}", 0.4 + 0.6 * number / len(seeds))
        rng = np.random.default_rng([seed, 3])
        for gameable in (False, True):
            world = random_projects(rng, sizes.shape(projects), DEPENDENCE, gameable)
            score = Score(world)
            if not gameable:
                weighted, plain = _lottery(rng, _estimate(score, sizes.bits), world.next_P_T_S_A)
                apart += weighted
                unweighted += plain
            costs_b = [_team_b(rng, score, size, updates) for size in STEPS_B]
            rows.append(
                {
                    "seed": seed,
                    "gameable": gameable,
                    "a": [_team_a(rng, score, *audits, updates) for audits in AUDITS],
                    "b": min(costs_b),
                    "b_by_step_size": costs_b,
                }
            )

    def costs(gameable: bool, rate: float, candidates: int, unread: int) -> Floats:
        place = AUDITS.index((rate, candidates, unread))
        return np.array([row["a"][place] for row in rows if row["gameable"] == gameable])

    b, gamed_b = (
        np.array([r["b"] for r in rows if r["gameable"] == kind]) for kind in (False, True)
    )
    ratings = costs(False, 1.0, 1, 0) - costs(False, 0.25, 4, 0)
    checks = [
        simulated(apart, "gradient from a lottery of two unequal strata, weighted"),
        held(min(unweighted), ">=", 10, "and if not weighted: standard errors apart, least"),
        held(costs(False, 1.0, 2, 0).max(), "<=", 0.05, "A's cost, all audited, best of 2"),
        held(costs(True, 1.0, 2, 0).max(), "<=", 0.05, "the same where results can be gamed"),
        held(gamed_b.min(), ">=", 0.6, "B's cost there, least seed"),
        held(costs(False, 0.01, 2, 0).min(), ">=", 0.1, "A's, 1 % audited, as many episodes"),
        held((costs(False, 0.25, 2, 2) - b).min(), ">=", 0.05, "B ahead, no games, 2 bits unread"),
        held(ratings.min(), ">=", 0, "rating behind best of 4, equal readings, least seed"),
    ]
    sampled = [round(rate * sizes.steps * EPISODES * updates, 6) for rate, _, _ in AUDITS]
    audits = {
        "rate": [rate for rate, _, _ in AUDITS],
        "candidates": [candidates for _, candidates, _ in AUDITS],
        "unread": [unread for _, _, unread in AUDITS],
        "expected_audits": sampled,
        "expected_readings": [a * k for a, (_, k, _) in zip(sampled, AUDITS, strict=True)],
    }
    size = {"updates": updates, "episodes": EPISODES, "mood": MOOD, "projects": projects}
    return {"audits": audits, "rows": rows, **size}, checks


def _estimate(score: Score, bits: int) -> Floats:
    """How much better than a typical act an auditor who has read so many bits takes each to be."""
    read = as_read(score.foresight, bits)
    return read - read.mean(-1, keepdims=True)


def _team_a(
    rng: np.random.Generator, score: Score, rate: float, candidates: int, unread: int, updates: int
) -> float:
    contexts, steps = score.foresight.shape[2], score.foresight.shape[1]
    estimate = _estimate(score, max(contexts.bit_length() - 1 - unread, 0))
    rates, logits = strata(rate, steps), np.zeros_like(estimate)
    # The step shrinks with the rate: what one lesson can do, weight included, stays bounded.
    size = STEPS_A[rate < 0.02] * rate
    for _ in range(updates):
        logits += size * audited_gradient(
            rng, logits, estimate, score.world.next_P_T_S_A, EPISODES, rates, candidates, MOOD
        )
    return score.cost(softmax(logits, axis=-1))


def _team_b(rng: np.random.Generator, score: Score, size: float, updates: int) -> float:
    seen, after = score.world.seen_P_T_S_A, score.world.next_P_T_S_A
    logits = np.zeros_like(seen)
    for _ in range(updates):
        logits += size * outcome_gradient(rng, logits, seen, after, EPISODES)
    return score.cost(softmax(logits, axis=-1))


def _lottery(
    rng: np.random.Generator, estimate: Floats, after: Ints
) -> tuple[list[float], list[float]]:
    """Sampled gradients against the exact one, by stratum, weighted and not: errors apart."""
    steps, contexts = estimate.shape[1], estimate.shape[2]
    logits, start = rng.normal(size=estimate.shape), np.full(contexts, 1 / contexts)
    exact = policy_gradient(logits, ndtr(estimate), after, start, 0.0)
    rates = strata(0.25, steps)
    early, late = np.arange(steps) < steps // 2, np.arange(steps) >= steps // 2
    samples = [
        audited_gradient(rng, logits, estimate, after, EPISODES, rates, 1, 0.0) for _ in range(200)
    ]
    weighted, plain = [], []
    for stratum in (early, late):
        along = exact[:, stratum] / np.sqrt((exact[:, stratum] ** 2).sum())
        length = float((exact[:, stratum] * along).sum())
        seen = np.array([float((sample[:, stratum] * along).sum()) for sample in samples])
        weighted.append(errors_apart(seen, length))
        # Without the weight every lesson of the stratum counts by its rate over the mean rate.
        plain.append(abs(errors_apart(seen * rates[stratum][0] / 0.25, length)))
    return weighted, plain


def strata(rate: float, steps: int) -> Floats:
    """Declared rates by step, `rate` on average: three times as many audits in the first half."""
    early = np.arange(steps) < steps // 2
    return np.where(early, 1.5, 0.5) * rate if rate <= 0.5 else np.full(steps, rate)


# ------------------------------------------------------------------------ pictures


def plots(figures: Figures) -> dict[str, Figure]:
    """The claim's pictures, from its figures alone."""
    f: dict[str, Any] = figures.figures
    pictures: dict[str, Figure] = {}

    def axes(caption: str, x: str, y: str) -> Any:
        picture = pictures[caption] = Figure(figsize=(6, 3.6), layout="constrained")
        drawn = picture.subplots()
        drawn.set(xlabel=x, ylabel=y)
        return drawn

    ax = axes("Context: the one of n that advances", "share of context read", "P(ranked first)")
    for row in f["context"]["needle"]:
        ax.plot(f["context"]["shares"], row["first"], marker=".", label=f"n = {row['n']:,}")
    ax.legend(fontsize="small")

    ax = axes("Information: who decides what is worth knowing", "", "expected loss")
    rows = f["information"]["rows"]
    names = [f"{row['shared']} shared\n{row['own']} own" for row in rows]
    for who in rows[0]["lost"]:
        ax.plot(names, [row["lost"][who] for row in rows], marker=".", label=who.replace("_", " "))
    ax.legend(fontsize="x-small", loc="upper center", ncols=3)
    ax.set_ylim(top=0.16)

    ax = axes("Illegible moves, no reasons read", "share of moves hidden", "share lost")
    for tail in dict.fromkeys(row["tail"] for row in f["illegible"]["rows"]):
        line = [r for r in f["illegible"]["rows"] if r["tail"] == tail and r["pages"] == 0]
        for which, style in (("any", "-"), ("best", "--")):
            lost = [row["lost"][which] for row in line]
            ax.plot([r["hidden"] for r in line], lost, style, label=f"{tail}, {which}")
    ax.legend(fontsize="small")

    ax = axes("Approval given up, by credit", "credit for later approval", "share of steps")
    for row in f["giving_up"]["rows"]:
        steps = row["by_credit"]["steps"]
        ax.plot(f["giving_up"]["credits"], steps, marker=".", label=f"seed {row['seed']}")
    ax.legend(fontsize="small")

    ax = axes("Both teams, limits of learning", "bits of context read", "cost")
    for row in f["limit"]["mean"]:
        kind = f"dependence {row['dependence']:g}{', games' if row['gameable'] else ''}"
        (line,) = ax.plot(row["a"], marker=".", label=f"A, {kind}")
        ax.axhline(row["b"], color=line.get_color(), linestyle=":")
    ax.legend(fontsize="small", title="dotted: B")

    ax = axes("Both teams, by audits bought", "audits a project", "cost")
    bought = f["learned"]["audits"]
    kinds = list(zip(bought["candidates"], bought["unread"], strict=True))
    pairs = [place for place, kind in enumerate(kinds) if kind == (2, 0)]
    pairs.sort(key=bought["expected_audits"].__getitem__)
    for row in f["learned"]["rows"]:
        colour = "C3" if row["gameable"] else "C0"
        audits = [bought["expected_audits"][place] for place in pairs]
        cost = [row["a"][place] for place in pairs]
        ax.semilogx(audits, cost, color=colour, marker=".")
        ax.axhline(row["b"], color=colour, linestyle=":")
    ax.set_title("blue: no games; red: games; dotted: B; one line a seed", fontsize="small")
    return pictures


CLAIM = Claim(
    name="alignment-tax",
    says="What process supervision costs, by audit rate, context, uncertainty and illegible moves, "
    "and whether approval now is ever given up for approval later.",
    source="ours, after the arguments of Thoughts on process-based supervision, 5.2.1 and 5.3",
    published={},
    blind_spot=(
        "Every problem here is a construction whose truth we wrote down: the figures say how the "
        "taxes behave, not how large they are for a real model and real people. Tables do not "
        "generalise, so nothing is shown of wishes learned at one step and acted on at another "
        "(5.2.1), nor of treacherous turns. The auditor is not argued with: it reads reasons, and "
        "no false reason persuades it. A's auditor has the foresight that B must find out; B is "
        "plain REINFORCE; step sizes were chosen by hand."
    ),
    seeds=5,
    options=Sizes().model_dump(),
    run=run,
    plots=plots,
)
