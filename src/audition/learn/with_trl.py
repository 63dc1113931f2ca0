"""Fitting a model to a ledger's lessons with TRL's trainers: a run of training like any other.

What is learned from is declared and durable before the first step; then the weights are saved, and
the ledger names them. TRL's trainers read no weights of rows: lessons of a lottery whose rates
differ would count as if all had been drawn alike, so that they are refused unless that is wanted.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.canonical import digest_bytes, digest_value
from audition.gate import new_secret
from audition.learn.drawn import Drawing
from audition.learn.lessons import LessonError, Lessons, NoLessons
from audition.learn.plan import Plan
from audition.learn.restrictions import PROCESS, check_horizon, check_signal, held_to, stopped
from audition.learn.trl_rows import data_sets
from audition.learn.trl_trainer import FORMS, Settings, quiet, trainer
from audition.learn.weights import weights_of
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    LessonTaken,
    RestrictionDeclared,
    RunClosed,
    RunOpened,
    ThinkerUpdated,
    Training,
)
from audition.step import (
    AuditorCard,
    Digest,
    Evidence,
    JsonObject,
    Limits,
    Name,
    Restriction,
    Role,
    RunId,
)

LIBRARIES = ("torch", "transformers", "trl")
"""Whose versions decide what comes out."""

Progress = Callable[[int, int, float], None]
"""Told the steps made, of how many, and the loss."""


@dataclass(frozen=True)
class Fitted:
    """What became of fitting a model."""

    run: RunId
    """The run of training."""
    before: Digest
    """The weights that it began from."""
    after: Digest
    """The weights that it ended with."""
    rows: int
    """Rows that were fitted."""
    omitted: dict[str, int]
    """Those that could not be written, by reason."""
    losses: tuple[float, ...]
    """The loss of each step, before that step."""


async def fit(
    ledger: SqlLedger,
    lessons: Sequence[Lessons],
    model: Path,
    out: Path,
    settings: Settings,
    *,
    name: Name,
    seed: int = 0,
    restrictions: Iterable[Restriction] = (PROCESS,),
    unweighted: bool = False,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a model to lessons of live moments, and record it.

    Args:
        ledger: which they were drawn from, and where it is written.
        lessons: all of one auditor's, by one signal (`audition.learn.live.lessons_of`).
        model: folder of a causal language model and its tokenizer; nothing is fetched.
        out: a new folder for what comes out: a language model, or by `reward` a classifier of one
            number.
        settings: the trainer, and how.
        name: who learns, as the ledger calls it.
        seed: of everything that is drawn.
        restrictions: declared and hashed into the run.
        unweighted: fit lessons of unequal weights all the same, each as if it weighed alike.
        progress: told after each step.

    Raises:
        Forbidden: a restriction forbids to learn from these.
        NoLessons: nothing can be fitted.
        LessonError: lessons of several auditors or signals, of a guard, or of unequal weights; a
            folder that is no model's; a row that it cannot read whole; a loss that is no number;
            `out` is there already.
    """
    if not lessons:
        raise NoLessons("no lessons: nothing can be fitted")
    restrictions = tuple(restrictions)
    limits = held_to(restrictions)
    signal, card = lessons[0].signal, _card(ledger, lessons)
    _check(limits, card, lessons)
    _check_new(out)
    drawing, before = Drawing(ledger), weights_of(model)
    rows = _rows(drawing, lessons, settings)
    if not unweighted:
        _check_weights(rows, settings)
    losses: list[float] = []

    def heard(step: int, steps: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise LessonError(
                f"step {step} of {steps}: a loss of {loss}; nothing was saved: lower the rate, or "
                "look at the base model's weights"
            )
        losses.append(loss)
        if progress is not None:
            progress(step, steps, loss)

    with tempfile.TemporaryDirectory() as scratch, quiet():
        ready = trainer(rows, model, settings, seed, Path(scratch), heard)
        secret, journal = new_secret(), Journal(ledger, secrets.token_hex(16))
        taken = _taken(name, lessons, drawing.omitted)
        _open(journal, settings, seed, card, before, restrictions, secret, taken)
        journal.log(taken)
        await journal.commit()
        ready.train()
        _save(ready, out)
    after = weights_of(out)
    journal.log(
        ThinkerUpdated(
            of=name,
            number=0,
            before=before,
            after=after,
            lessons=taken.lessons,
            signal=signal,
            horizon=1,
            measures={"rows": float(len(rows)), "loss_first": losses[0], "loss_last": losses[-1]},
        )
    )
    journal.log(RunClosed(status="trained", secret=secret))
    await journal.commit()
    omitted = {str(why): count for why, count in drawing.omitted.items()}
    return Fitted(journal.run, before, after, len(rows), omitted, tuple(losses))


def lessons_digest(lessons: Sequence[Lessons]) -> Digest:
    """The name of lessons that are taken together: their own, or that of the list of theirs."""
    names = [one.digest() for one in lessons]
    return names[0] if len(names) == 1 else digest_value(names)


def _rows(drawing: Drawing, lessons: Sequence[Lessons], settings: Settings) -> list[JsonObject]:
    form = FORMS[settings.by]
    made = [one for some in lessons for one in data_sets(some) if one.form == form]
    if not made:
        raise LessonError(
            f"lessons by {lessons[0].signal} give no rows of the form {form}, which {settings.by} "
            "needs"
        )
    return [row for one in made for row in one.rows(drawing)]


def _check(limits: Limits, card: AuditorCard, lessons: Sequence[Lessons]) -> None:
    """Hold lessons to the restrictions.

    Raises:
        Forbidden: the signal may not be learned from.
        LessonError: who gave them may not teach, or they are too many.
    """
    if len({(one.signal, one.auditor) for one in lessons}) > 1:
        raise LessonError("lessons of several auditors or signals; fit each by itself")
    check_signal(limits, lessons[0].signal)
    check_horizon(limits, 1)
    if limits.roles is not None and card.role not in limits.roles:
        raise LessonError(f"{card.name} is a {card.role}: {Role.TEACHER} verdicts teach")
    if limits.unseen is not None and (seen := set(card.sees) & set(limits.unseen)):
        raise LessonError(f"{card.name} sees {min(seen)}, which no teacher may")
    count = sum(map(len, lessons))
    if (end := stopped(limits, 0, 0)) or (limits.lessons is not None and count > limits.lessons):
        raise LessonError(f"{count} lessons, and a restriction allows {end or limits.lessons}")


def _check_new(out: Path) -> None:
    if out.exists():
        raise LessonError(f"{out}: it is there already; name a new folder")


def _check_weights(rows: Sequence[JsonObject], settings: Settings) -> None:
    weights = {str(row["weight"]) for row in rows}
    if len(weights) > 1:
        raise LessonError(
            f"{len(weights)} different weights, and TRL's trainer for {settings.by} reads none: "
            "what was seldom drawn would count too little; draw at one rate, train by "
            "audition.learn.step_grpo, or say unweighted"
        )


def _card(ledger: SqlLedger, lessons: Sequence[Lessons]) -> AuditorCard:
    """What was declared of whose word the lessons are; a person who thinks is declared as such."""
    name, found = lessons[0].auditor, set[AuditorCard]()
    for run in dict.fromkeys(run for one in lessons for run in one.context["run"].tolist()):
        opened = ledger.first(run).body
        assert isinstance(opened, RunOpened)
        known = {card.name: card for card in opened.auditors}
        if opened.thinker == name and lessons[0].signal == "demonstration":
            own = AuditorCard(name=name, role=Role.TEACHER, sees=(Evidence.HISTORY,), person=True)
            known.setdefault(name, own)
        if name not in known:
            raise LessonError(f"{name} was not declared in run {run[:8]}; nobody answers for it")
        found.add(known[name])
    if len(found) > 1:
        raise LessonError(f"{name} is not the same in all runs; fit those of each by themselves")
    return found.pop()


def _open(
    journal: Journal,
    settings: Settings,
    seed: int,
    card: AuditorCard,
    before: Digest,
    restrictions: tuple[Restriction, ...],
    secret: bytes,
    taken: LessonTaken,
) -> None:
    plan = Plan(
        name=taken.of,
        says=f"Fitted to the lessons of {card.name} by TRL's trainer for {settings.by}.",
        study="trl",
        world={"lessons": taken.lessons},
        learner=settings.model_dump(),
        signal=taken.signal,
        batches=1,
        leaf=1,
        seeds=(seed,),
        base=before,
        libraries={one: importlib.metadata.version(one) for one in LIBRARIES},
    )
    listed = [one.model_dump(exclude_none=True) for one in restrictions]
    journal.log(
        RunOpened(
            mode="simulated",
            project=taken.of,
            goal=journal.put(plan.says),
            thinker=taken.of,
            thinking=before,
            auditors=(card,),
            gate={},
            restrictions=digest_value(listed),
            secret=digest_bytes(secret),
            training=Training(plan=journal.put(plan), seed=seed),
        )
    )
    for restriction in restrictions:
        journal.log(RestrictionDeclared(restriction=restriction))


def _taken(name: Name, lessons: Sequence[Lessons], omitted: Mapping[Any, int]) -> LessonTaken:
    """All lessons are taken; of those that hold nothing that can be fitted, it is said why."""
    count = sum(map(len, lessons))
    return LessonTaken(
        of=name,
        signal=lessons[0].signal,
        auditor=lessons[0].auditor,
        population=max(one.population for one in lessons),
        admissible=count,
        taken=count,
        refused=dict(omitted),
        lessons=lessons_digest(lessons),
    )


def _save(ready: Any, out: Path) -> None:
    """Save model and tokenizer, all or nothing."""
    part = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        ready.model.save_pretrained(part)
        ready.processing_class.save_pretrained(part)
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
