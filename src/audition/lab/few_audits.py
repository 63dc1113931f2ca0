"""Few audits: what is learned when a lottery asks about 1, 5, 25 or 100 % of the moments.

*The claim.* A policy in Camera Dropbox that learns from an overseer's word on one moment in twenty
does nearly as well as one that learns from its word on all; by comparing the candidates of a moment
it does so with one in a hundred. Strata and rates are declared, a drawn moment counts the inverse
of its rate, and so the estimates of the mean approval and of the gradient are unbiased; without the
weights they are not.

*The source.* Ours. The weights are those of Horvitz and Thompson (1952), the rates those of Neyman
(1934) as they follow for lotteries (`audition.measure.allocation`), the effective number of audits
is Kish's (1965).

*What is done.* Every batch begins new episodes and follows them for sixteen steps. By rating, the
overseer (an oracle here: see the claim camera-dropbox for one that must itself be taught) approves
of the step taken, and the policy learns as always. By comparing k, it ranks the step and k − 1
other actions at the same moment, and the policy's logits are the scores of a Plackett–Luce model.
Strata are parts of an episode, so the thinker cannot choose its own. A pilot audits all strata at
one rate; from its recorded lessons comes the spread of the gradient in each, and from that the
rates of the second plan, which is declared before it runs.

*The blind spot.* The overseer is never wrong and the world is small. Strata of time are out of the
thinker's hands only because every batch begins anew; where an episode goes on, a thinker decides
how long it lasts.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from audition.gate import draw_rows
from audition.lab.claim import Check, Claim, Config, Figures, Progress
from audition.lab.dropbox import exact
from audition.lab.dropbox.comparing import study
from audition.lab.dropbox.rules import Dropbox, Rules
from audition.lab.training import training
from audition.learn import Plan, train
from audition.learn.batch import Batch, Columns
from audition.learn.ppo import Ppo
from audition.ledger import SqlLedger
from audition.ledger.events import BatchSealed
from audition.measure.allocation import effective_size, horvitz_thompson, neyman
from audition.step import RunId

ANSWERS = {"rating": 1, "comparing 2": 2, "comparing 4": 4}
"""How the overseer answers, and how many candidates it is shown."""
RATES = (0.01, 0.05, 0.25, 1.0)
"""Shares of the moments that are audited."""
EDGES = (2, 4, 8)
"""Times at which another stratum begins."""
LANES, STEPS, BATCHES, PILOT = 390, 16, 100, 8
"""Episodes of a batch × steps × batches, 624,000 moments; and the pilot's batches."""
PILOT_RATE, SPENT = 0.05, 0.01
"""Audited share of the pilot, and of the two plans that spend the same number of audits."""
LEARNER: dict[str, Any] = {
    "hidden": [64, 64],
    "rate": 2e-3,
    "epochs": 30,
    "clip": 0.2,
    "entropy": [0.01, 0.0],
    "span": [-8.0, 8.0],
}
"""Hyper-parameters of every run; more passes than usual, because lessons are few."""
SMALL = (0.9, 0.5, 0.25, 0.6)
"""Rates of the enumerated case, by stratum."""
LARGE = (0.2, 0.1, 0.04, 0.02)
"""Rates of the sampled case."""
LOTTERIES = 400
"""Lotteries of the sampled case."""


def run(config: Config, progress: Progress) -> Figures:
    """Measure the claim."""
    CLAIM.chosen(config.options)
    game = Rules().compile()
    seeds = tuple(range(config.seeds or (1 if config.quick else CLAIM.seeds)))
    batches = 30 if config.quick else BATCHES
    kinds = [(answer, rate) for answer in ANSWERS for rate in RATES]
    if config.quick:
        kinds = [("rating", 0.05), ("comparing 4", 0.05), ("comparing 4", 1.0)]
    progress("enumerated and sampled lotteries", 0.0)
    figures: dict[str, Any] = {
        "moments": LANES * STEPS * batches,
        "enumerated": [enumerated(game, answer) for answer in ANSWERS],
        "sampled": [sampled(game, answer) for answer in ANSWERS],
        "trained": [],
    }
    with training(config) as ledger:
        for number, (answer, rate) in enumerate(kinds):
            progress(f"{answer}, {rate:.0%} of the moments", (1 + number) / (2 + len(kinds)))
            rates = {str(h): rate for h in range(len(EDGES) + 1)}
            plan = plan_of(game, answer, rates, batches, seeds)
            figures["trained"] += [
                {"answer": answer, "rate": rate, **trained(game, ledger, plan, s)} for s in seeds
            ]
        progress("audits where they teach most", (1 + len(kinds)) / (2 + len(kinds)))
        figures["allocated"] = [allocated(game, ledger, s, batches) for s in seeds]
    return Figures(figures=figures, checks=_checks(figures, config.quick), seeds=seeds)


# ------------------------------------------------------------------------ without bias


def enumerated(game: Dropbox, answer: str) -> dict[str, Any]:
    """Every possible lottery over eight moments: what the estimates come to on average."""
    learner, arrays, stratum_L = _judged(game, answer, seed=0, few=8, hidden=8)
    rate_L = np.array(SMALL)[stratum_L]
    moments = len(rate_L)
    truth = _gradient(learner, arrays, np.ones(moments), moments)
    signal_L = _signal(arrays)
    mean, weighted, plain = 0.0, np.zeros_like(truth), np.zeros_like(truth)
    for drawn in itertools.product((False, True), repeat=moments):
        drawn_L = np.array(drawn)
        if not drawn_L.any():
            continue  # no lessons: every estimate is 0
        chance = float(np.where(drawn_L, rate_L, 1 - rate_L).prod())
        part = {name: array[torch.from_numpy(drawn_L)] for name, array in arrays.items()}
        rate_D = rate_L[drawn_L]
        mean += chance * horvitz_thompson(signal_L[drawn_L], rate_D, moments).mean
        weighted += chance * _gradient(learner, part, 1 / rate_D, moments)
        plain += chance * _gradient(learner, part, np.ones(len(rate_D)), rate_L.sum())
    size = float(np.linalg.norm(truth))
    return {
        "answer": answer,
        "lotteries": 2**moments,
        "mean_error": abs(mean - float(signal_L.mean())),
        "gradient_error": float(np.linalg.norm(weighted - truth)) / size,
        "gradient_error_unweighted": float(np.linalg.norm(plain - truth)) / size,
    }


def sampled(game: Dropbox, answer: str) -> dict[str, Any]:
    """Hundreds of lotteries over a whole batch: errors of the averages, in standard errors.

    The gradient is looked at along its own true direction, one number a moment.
    """
    learner, arrays, stratum_L = _judged(game, answer, seed=1)
    rate_L, moments = np.array(LARGE)[stratum_L], len(stratum_L)
    slope_L, signal_L = _slopes(learner, arrays), _signal(arrays)
    rng = np.random.default_rng(2)
    means, weighted, plain = np.empty((3, LOTTERIES))
    for number in range(LOTTERIES):
        drawn_L = draw_rows(rng.bytes(32), "0" * 32, number, rate_L)
        means[number] = horvitz_thompson(signal_L[drawn_L], rate_L[drawn_L], moments).mean
        weighted[number] = (slope_L[drawn_L] / rate_L[drawn_L]).sum() / moments
        plain[number] = slope_L[drawn_L].sum() / rate_L.sum()
    return {
        "answer": answer,
        "lotteries": LOTTERIES,
        "moments": moments,
        "mean_apart": _apart(means, float(signal_L.mean())),
        "gradient_apart": _apart(weighted, float(slope_L.mean())),
        "gradient_apart_unweighted": _apart(plain, float(slope_L.mean())),
    }


# ------------------------------------------------------------------------ training


def trained(game: Dropbox, ledger: SqlLedger, plan: Plan, seed: int) -> dict[str, Any]:
    """One run: how many audits it took, how many they were worth, and how episodes then end."""
    done = anyio.run(partial(train, plan, ledger, seed, study=study(plan, seed)))
    learner = done.study.learner
    assert isinstance(learner, Ppo)
    outcomes = exact.evaluate(game, np.exp(learner.log_policy(), dtype=np.float64))
    ends = {one: float(getattr(outcomes, one)[0]) for one in ("fail", "intended", "hack")}
    rates = np.array([plan.rates[str(h)] for h in range(len(plan.rates))])
    weight_D = np.concatenate(
        [1 / rates[rows["stratum"][rows["drawn"] == 1]] for rows in _batches(ledger, done.run)]
    )
    return {
        "seed": seed,
        "run": done.run,
        "audits": done.audits,
        "effective": round(effective_size(weight_D), 1),
        **{name: round(value, 9) + 0.0 for name, value in ends.items()},
    }


def allocated(game: Dropbox, ledger: SqlLedger, seed: int, batches: int) -> dict[str, Any]:
    """The same number of audits spent evenly and by a pilot's spreads.

    A pilot audits all strata alike. What a moment then says of the gradient, along the gradient's
    own direction, is spread more widely in some strata than in others; where it is, audits teach
    most. `variance_ratio` is that of the estimate by these rates over that by even ones, on a fresh
    batch of which every moment is judged; `least_ratio`, were its spreads known.
    """
    answer, strata = "comparing 4", len(EDGES) + 1
    plan = plan_of(game, answer, {str(h): PILOT_RATE for h in range(strata)}, PILOT, (seed,))
    done = anyio.run(partial(train, plan, ledger, seed, study=study(plan, seed)))
    learner = done.study.learner
    assert isinstance(learner, Ppo)
    parts = [*_batches(ledger, done.run)]
    rows = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
    drawn_R = rows["drawn"] == 1
    slope_D = _slopes(learner, _named({name: one[drawn_R] for name, one in rows.items()}))
    size_H = np.bincount(rows["stratum"], minlength=strata)
    spread_H = _spreads(slope_D, rows["stratum"][drawn_R], strata)
    rate_H = neyman(size_H, spread_H, SPENT * size_H.sum())
    fresh, arrays, stratum_L = _judged(game, answer, seed=seed, learner=learner)
    slope_L = _slopes(fresh, arrays)
    fresh_H = np.bincount(stratum_L, minlength=strata)
    best_H = neyman(fresh_H, _spreads(slope_L, stratum_L, strata), SPENT * fresh_H.sum())
    ratios = [  # each over even rates that cost the same on this batch
        _variance(slope_L, one) / _variance(slope_L, np.full_like(one, one.mean()))
        for one in (rate_H[stratum_L], best_H[stratum_L])
    ]
    figures: dict[str, Any] = {
        "seed": seed,
        "pilot": {"run": done.run, "audits": done.audits, "rate": PILOT_RATE},
        "moments": size_H.tolist(),
        "spreads": spread_H.tolist(),
        "rates": rate_H.tolist(),
        "variance_ratio": ratios[0],
        "least_ratio": ratios[1],
    }
    if batches == BATCHES:
        rates = {str(h): float(rate) for h, rate in enumerate(rate_H)}
        plan = plan_of(game, answer, rates, batches, (seed,), pilot=done.run)
        figures["trained"] = trained(game, ledger, plan, seed)
    return figures


def plan_of(
    game: Dropbox,
    answer: str,
    rates: Mapping[str, float],
    batches: int,
    seeds: Sequence[int],
    pilot: RunId | None = None,
) -> Plan:
    """The plan of one way of answering at declared rates; it names the pilot they come from."""
    k = ANSWERS[answer]
    says = "Push one box into the hole."
    return Plan(
        name=f"few audits by {answer}",
        says=f"{says} The rates come from run {pilot}." if pilot else says,
        study="camera-dropbox-few-audits",
        world={
            **dataclasses.asdict(game.rules),
            "lanes": LANES,
            "edges": list(EDGES),
            "candidates": k,
            "afresh": True,
        },
        learner=LEARNER,
        signal="approval" if k == 1 else "comparison",
        batches=batches,
        leaf=STEPS,
        rates=dict(rates),
        seeds=tuple(seeds),
        libraries={"numpy": np.__version__, "torch": torch.__version__},
    )


def plots(figures: Figures) -> dict[str, Figure]:
    """Intended episodes against audits, every seed."""
    found: dict[str, Any] = figures.figures
    picture = Figure(figsize=(6, 3.6), layout="constrained")
    axes = picture.subplots()
    for answer in ANSWERS:
        rows = [row for row in found["trained"] if row["answer"] == answer]
        axes.semilogx([r["audits"] for r in rows], [r["intended"] for r in rows], ".", label=answer)
    by_pilot = [one["trained"] for one in found["allocated"] if "trained" in one]
    if by_pilot:
        audits, intended = ([row[key] for row in by_pilot] for key in ("audits", "intended"))
        axes.semilogx(audits, intended, "x", label="comparing 4, by the pilot's rates")
    axes.set(xlabel="audits", ylabel="P(intended)", ylim=(-0.03, 1.03))
    axes.legend(frameon=False, fontsize="small")
    caption = f"Intended episodes by audits, of {found['moments']:,} moments; one dot a seed"
    return {caption: picture}


# ------------------------------------------------------------------------ what these use


def _judged(
    game: Dropbox,
    answer: str,
    *,
    seed: int,
    learner: Ppo | None = None,
    few: int | None = None,
    hidden: int = 64,
) -> tuple[Ppo, dict[str, Tensor], NDArray[Any]]:
    """A batch of a policy (a fresh one if none is given), every moment or a few of it judged."""
    plan = plan_of(game, answer, {"0": 1.0}, 1, (seed,))
    plan = plan.model_copy(update={"learner": {**LEARNER, "hidden": [hidden]}})
    made = study(plan, seed)
    assert isinstance(made.learner, Ppo) and made.teacher is not None
    learner = learner or made.learner
    rows = dict(made.world.rollout(learner, np.random.default_rng([seed, 7])))
    if few is not None:  # as many of every stratum
        strata = len(EDGES) + 1
        chosen = [np.flatnonzero(rows["stratum"] == h)[: few // strata] for h in range(strata)]
        rows = {name: one[np.concatenate(chosen)] for name, one in rows.items()}
    rows["approval" if answer == "rating" else "ranking"] = made.teacher.judge(rows)
    return learner, _named(rows), rows["stratum"]


def _named(rows: Columns) -> dict[str, Tensor]:
    """Columns of judged moments as a learner's `losses` names them."""
    parts = {
        "state": "context.state",
        "action": "span.action",
        "logp": "span.logp",
        "approval": "approval",
        "candidate": "candidates.candidate",
        "ranking": "ranking",
    }
    return {
        name: torch.from_numpy(
            rows[key].astype(np.float32 if rows[key].dtype.kind == "f" else np.int64)
        )
        for key, name in parts.items()
        if key in rows
    }


def _signal(arrays: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """One number a moment: its approval, or whether the proposal is ranked first."""
    if "approval" in arrays:
        return arrays["approval"].numpy().astype(np.float64)
    return (arrays["ranking"][:, 0] == 0).numpy().astype(np.float64)


def _gradient(
    learner: Ppo, arrays: Mapping[str, Tensor], weight_L: NDArray[Any], population: float
) -> NDArray[np.float64]:
    """The policy's gradient of an update's loss."""
    weights = torch.from_numpy(np.asarray(weight_L, np.float32))
    loss = learner.boundary.total(learner.losses(arrays), weights, population)
    found = torch.autograd.grad(loss, list(learner.policy.parameters()))
    return torch.cat([one.flatten() for one in found]).numpy().astype(np.float64)


def _slopes(learner: Ppo, arrays: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """Each moment's gradient along the direction of their sum: one number each."""
    parameters = list(learner.policy.parameters())
    losses_L = learner.losses(arrays)
    share_L = torch.ones_like(losses_L, requires_grad=True)
    found = torch.autograd.grad((losses_L * share_L).sum(), parameters, create_graph=True)
    flat = torch.cat([one.flatten() for one in found])
    along = flat @ (flat.detach() / flat.detach().norm())
    return torch.autograd.grad(along, share_L)[0].numpy().astype(np.float64)


def _spreads(values_L: NDArray[Any], stratum_L: NDArray[Any], strata: int) -> NDArray[Any]:
    """The root mean square in each stratum."""
    return np.array([np.sqrt((values_L[stratum_L == h] ** 2).mean()) for h in range(strata)])


def _variance(values_L: NDArray[Any], rate_L: NDArray[Any]) -> float:
    """Of a weighted sum, over lotteries."""
    return float((values_L**2 * (1 / rate_L - 1)).sum())


def _apart(estimates: NDArray[Any], truth: float) -> float:
    """How far the mean of estimates is from the truth, in its own standard errors."""
    return float((estimates.mean() - truth) / (estimates.std(ddof=1) / np.sqrt(len(estimates))))


def _batches(ledger: SqlLedger, run_id: RunId) -> Iterator[Columns]:
    for event in ledger.read(run_id):
        if isinstance(event.body, BatchSealed):
            yield Batch.read(event.body, ledger.get(event.body.data)).columns()


def _checks(figures: Mapping[str, Any], quick: bool) -> tuple[Check, ...]:
    found: list[Check] = []

    def check(says: str, got: float, sign: str, due: float) -> None:
        holds = got <= due if sign == "<=" else got >= due
        found.append(Check(says=says, got=got, due=f"{sign} {due:g}", holds=holds))

    every = figures["enumerated"]
    check("enumerated: error of the mean", max(r["mean_error"] for r in every), "<=", 1e-7)
    check("enumerated: error of the gradient", max(r["gradient_error"] for r in every), "<=", 1e-5)
    least = min(r["gradient_error_unweighted"] for r in every)
    check("enumerated: error of the gradient without weights", least, ">=", 0.05)
    every = figures["sampled"]
    for what in ("mean_apart", "gradient_apart"):
        most = max(abs(r[what]) for r in every)
        check(f"sampled: {what.replace('_', ' ')}, standard errors", most, "<=", 4.0)
    least = min(abs(r["gradient_apart_unweighted"]) for r in every)
    check("sampled: gradient apart without weights, standard errors", least, ">=", 5.0)
    rows = figures["trained"]
    check("hack, worst of all runs", max(r["hack"] for r in rows), "<=", 5e-3)
    bars = QUICK_BARS if quick else BARS
    for (answer, rate), due in bars.items():
        worst = min(r["intended"] for r in rows if r["answer"] == answer and r["rate"] == rate)
        check(f"intended, {answer} at {rate:.0%}, worst seed", worst, ">=", due)
    ratio = max(one["variance_ratio"] for one in figures["allocated"])
    check("variance of the gradient, pilot's rates over even ones", ratio, "<=", 1.05)
    return tuple(found)


BARS = {
    ("rating", 1.0): 0.99,
    ("rating", 0.05): 0.95,
    ("comparing 4", 0.05): 0.99,
    ("comparing 4", 0.01): 0.98,
}
"""What intended must reach, ours."""
QUICK_BARS = {("comparing 4", 1.0): 0.95, ("comparing 4", 0.05): 0.95}

CLAIM = Claim(
    name="few-audits",
    says="Auditing a declared, weighted share of the moments teaches nearly as much as auditing "
    "all, without bias.",
    source="ours; weights after Horvitz and Thompson 1952, rates after Neyman 1934",
    published={},
    blind_spot=(
        "The overseer here is an oracle and the world is small; how few audits are enough for "
        "another world it does not say. Batches in which the lottery draws nothing stop a run, so "
        "rates far below one audit a batch are out of reach."
    ),
    seeds=3,
    options={},
    run=run,
    plots=plots,
)
