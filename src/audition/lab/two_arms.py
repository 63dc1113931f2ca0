"""Two arms from one base: the same model, world and hyper-parameters, and different credit.

A base model learns from demonstrations for a short while. From its weights each arm goes on with
every seed, in one ledger: a run of training an arm and seed, batches sealed, lessons and updates
recorded. What an arm is worth is measured on the side, with randomness of its own, and nothing of
it reaches a learner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import anyio
from matplotlib.figure import Figure

from audition.lab.claim import Check, Config, Figures, Progress
from audition.lab.training import training
from audition.learn import Boundary, Plan, Study, Teacher, Trained, World, train
from audition.learn.token_policy import Settings, TokenPolicy
from audition.ledger import SqlLedger

LIBRARIES = {name: version(name) for name in ("numpy", "torch", "transformers")}
"""On what weights that are the same to the bit rest, for a plan's `libraries`; and on one number of
threads."""

COLOURS = {"outcome": "#b2402e", "process": "#2a6f97"}

Measure = Callable[[Any], dict[str, float]]
"""What a learner is worth now: `observed`, `true` and whatever else, by name."""


def compare(
    base: Plan,
    arms: Mapping[str, Plan],
    make: Callable[[Plan, int], Study],
    measure: Measure,
    config: Config,
    progress: Progress,
) -> dict[str, Any]:
    """Train the base, then every arm with every seed, and measure all of them.

    Args:
        base: by demonstration, of one seed.
        arms: plans by name; each goes on from the base's weights.
        make: makes a study of a plan and a seed.
        measure: measures a learner.
        config: of the claim; says where the ledger is to be.
        progress: told what is being done.

    Returns:
        `base`: its measures. `arms`: by arm and seed, the measures after each stretch of updates
        (`curve`, the base's first), the last of them (`end`), and what was audited and learned.
    """
    runs = [(name, plan, seed) for name, plan in arms.items() for seed in plan.seeds]
    points = 3 if config.quick else 6
    with training(config) as ledger:
        progress("the base learns from demonstrations", 0.0)
        begun = _trained(ledger, base, base.seeds[0], make)
        start = measure(begun.study.learner)
        found: dict[str, Any] = {name: {} for name in arms}
        for number, (name, plan, seed) in enumerate(runs, start=1):
            progress(f"{name}, seed {seed}", number / (len(runs) + 1))
            curve = [{"update": 0, **start}]
            going_on = plan.model_copy(update={"base": begun.thinker})
            trained = _trained(ledger, going_on, seed, make, measure, curve, points)
            end = {key: value for key, value in curve[-1].items() if key != "update"}
            counts = {"audits": trained.audits, "lessons": trained.lessons}
            found[name][str(seed)] = {"end": end, "curve": curve, **counts}
    progress("done", 1.0)
    return {"base": start, "arms": found}


def arm(plan: Plan, seed: int, world: World, words: int, window: int, teacher: Teacher) -> Study:
    """The study of one plan, base or arm: a token policy in a world.

    Args:
        plan: `learner` as `Settings` has it; where its signal is `outcome` nobody teaches.
        seed: of the first weights.
        world: what it learns in.
        words: of the vocabulary.
        window: tokens of the longest prompt and its step.
        teacher: who judges, or demonstrates.
    """
    outcome = plan.signal == "outcome"
    boundary = Boundary(None if outcome else plan.horizon)
    learner = TokenPolicy(words, window, Settings.of(plan), boundary, seed=seed)
    return Study(world, learner, None if outcome else teacher)


def ends(found: Mapping[str, Any], arm: str, key: str, *, gained: bool = False) -> list[float]:
    """A measure at the end of an arm, seed by seed; if `gained`, less what it was of the base."""
    start = found["base"][key] if gained else 0.0
    return [seed["end"][key] - start for seed in found["arms"][arm].values()]


def reaches(
    says: str, seeds: Sequence[float], bar: Literal["<=", ">="], due: float, *, mean: bool = False
) -> Check:
    """A figure of every seed, held against a bar by the worst of them, or by their mean."""
    got = sum(seeds) / len(seeds) if mean else min(seeds) if bar == ">=" else max(seeds)
    of = f"{'mean' if mean else 'worst'} of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    holds = got >= due if bar == ">=" else got <= due
    return Check(says=f"{says}, {of}", got=round(got, 4), due=f"{bar} {due:g}", holds=holds)


def curves(figures: Figures, wanted: Mapping[str, str]) -> Figure:
    """Measures over the updates, one panel a measure, one line a seed, one colour an arm.

    Args:
        figures: of a claim that holds `compare`'s answer under `arms`.
        wanted: titles by measure.
    """
    drawn = Figure(figsize=(4.2 * len(wanted), 3.4), layout="constrained")
    arms: Any = figures.figures["arms"]
    panels = drawn.subplots(1, len(wanted), squeeze=False)[0]
    for axes, (key, title) in zip(panels, wanted.items(), strict=True):
        for arm, seeds in arms.items():
            for number, seed in enumerate(seeds.values()):
                axes.plot(
                    [point["update"] for point in seed["curve"]],
                    [point[key] for point in seed["curve"]],
                    color=COLOURS.get(arm, "#6b6b6b"),
                    alpha=0.8,
                    label=None if number else arm,
                )
        axes.set(title=title, xlabel="updates", ylim=(-0.03, 1.03))
        axes.legend(frameon=False, fontsize=8)
    return drawn


def _trained(
    ledger: SqlLedger,
    plan: Plan,
    seed: int,
    make: Callable[[Plan, int], Study],
    measure: Measure | None = None,
    curve: list[dict[str, Any]] | None = None,
    points: int = 6,
) -> Trained:
    study = make(plan, seed)
    stretch = max(1, plan.batches // points)

    def note(done: int, of: int, _: Mapping[str, float]) -> None:
        if measure is not None and curve is not None and (done % stretch == 0 or done == of):
            curve.append({"update": done, **measure(study.learner)})

    async def carry_out() -> Trained:
        return await train(plan, ledger, seed, study=study, progress=note)

    return anyio.run(carry_out)
