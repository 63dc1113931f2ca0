"""A model of an auditor: a language model with a head of one number, trained from its verdicts.

From ratings, the number z is the log-odds of approval: the loss is the cross-entropy of σ(z) and
the rating, soft as it is. A rating of each of several candidates is a rating of each: the
difference of two of their numbers is then the log-odds of Bradley and Terry, and the numbers keep
their scale. From rankings, the numbers are the scores of Plackett and Luce, and only their
differences mean anything. Sources: Papke & Wooldridge 1996, eq. 5; Plackett 1975; Bradley & Terry
1952; as a model of preference, Christiano et al. 2017 (arXiv 1706.03741), section 2.2.3.

Runs, not verdicts, are divided, by a hash of their names: a few measure, as many calibrate, and the
others train. So no run is in two parts, and the figures are of runs that neither the weights nor
the calibration have seen.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from audition.audit import Judgement, Shown
from audition.audit.judgement import CARD, digests
from audition.audit.trained import DEVICE, Reader
from audition.canonical import canonical
from audition.learn.boundary import Boundary
from audition.learn.held_out import Told, divided, figures
from audition.learn.lessons import LessonError, Lessons
from audition.learn.objectives import cross_entropy, plackett_luce
from audition.learn.outcome import Outcomes
from audition.learn.rows import digests_in
from audition.learn.verdicts import Verdicts
from audition.measure import Platt, platt
from audition.step import Digest, Frozen, RunId


class Fitting(Frozen):
    """Hyper-parameters: a plan's `learner`."""

    rate: float = Field(default=2e-5, gt=0, le=1)
    """AdamW's first step size; it falls to 0."""
    decay: float = Field(default=0.01, ge=0, le=1)
    """Its weight decay."""
    epochs: int = Field(default=3, ge=1, le=10_000)
    """Times that every lesson is seen."""
    sample: int = Field(default=8, ge=1, le=100_000)
    """Lessons of one step."""
    held_out: float = Field(default=0.2, gt=0, le=0.4)
    """Share of the runs that measure, and of those that calibrate; one at the least."""
    window: int = Field(default=4096, ge=1, le=1 << 24)
    """Most tokens of a text, where the model has no fewer positions."""
    device: str = Field(default="cpu", pattern=DEVICE)
    """Where it is fitted; only on a processor is it the same to the bit each time."""
    shown: Shown = Shown(characters=4000, entry=1000)
    """How much of a view a text holds."""


Progress = Callable[[int, int], None]
"""Told how many lessons were seen, of how many."""


@dataclass(frozen=True)
class _Example:
    """One lesson as it is read."""

    run: RunId
    weight: float
    ids: tuple[list[int], ...]
    """Of the step; of a ranking, of all candidates."""
    approval: float
    ranking: tuple[int, ...]


class ApprovalModel:
    """Learns to judge as an auditor did.

    It is fitted afresh to all lessons of its run in every update. What it calls its weights is the
    card of the folder that it writes, which names the weights and all that goes with them.

    Args:
        base: the folder of a causal language model.
        digest: of that language model.
        folder: where the trained one is written; it need not be there.
        verdicts: whose, and the texts that they are about.
        fitting: hyper-parameters.
        boundary: where credit stops.
        seed: of the head, the division of the runs and the order.
        progress: told as the fitting goes on.

    Raises:
        TrainedError: the base holds no language model that can be read.
        LessonError: verdicts that can be read whole are of fewer than three runs.
    """

    def __init__(
        self,
        base: Path,
        digest: Digest,
        folder: Path,
        verdicts: Verdicts,
        fitting: Fitting,
        boundary: Boundary,
        *,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        self.name = verdicts.labels.auditor
        self.boundary = boundary
        self._base, self._folder, self._seed = base, folder, seed
        self._labels, self._fitting = verdicts.labels, fitting
        self._digest = digest
        self._reader: Reader | None = self._fresh()
        read, texts = self._reader.ids, verdicts.texts.items()
        self._ids = {of: None if text is None else read(text) for of, text in texts}
        whole = [r for r in verdicts.rows if all(self._ids[r.moment, one] for one in r.proposals)]
        self._parts = divided({row.run for row in whole}, fitting.held_out, seed)
        self._progress = progress or (lambda done, of: None)
        self._kept: list[_Example] = []
        self._lessons: list[Digest] = []
        self._population = self._unread = 0
        begin = {"base": self._digest, "seed": seed, "labels": self._labels.auditor}
        self._card = canonical(begin)

    def weights(self) -> bytes:
        """The card of what was written; before, what it begins from."""
        return self._card

    def restore(self, weights: bytes) -> None:
        """Refuse: a card is no weights.

        Raises:
            LessonError: always.
        """
        raise LessonError(f"{self.name} begins from a language model's folder, and from no card")

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """Fit the model to all lessons so far, calibrate it, measure it and write it down.

        Where one of the three parts has no lessons yet, nothing is learned.

        Raises:
            LessonError: outcomes or demonstrations, or a loss that is not finite.
        """
        if isinstance(lessons, Outcomes) or lessons.signal != self._labels.signal:
            raise LessonError(f"the model of {self.name} learns by {self._labels.signal} alone")
        self._take(lessons)
        parts = [[one for one in self._kept if one.run in runs] for runs in self._parts]
        if not all(parts):
            return {"kept": float(len(self._kept))}
        measuring, calibrating, training = parts
        reader, self._reader = self._reader or self._fresh(), None
        loss = self._fit(reader, training, rng)
        by_rating = self._labels.signal == "approval"
        held, kept = self._told(reader, measuring), self._told(reader, calibrating)
        scaling = platt(kept.logit_N, kept.target_N, kept.weight_N, offset=by_rating)
        mean = float(np.average(kept.target_N, weights=kept.weight_N))
        found = figures(held, scaling, mean) | {
            "measured_on": float(len(measuring)),
            "calibrated_on": float(len(calibrating)),
            "trained_on": float(len(training)),
            "not_shown": float(self._unread),
        }
        self._write(reader, scaling, found)
        return {"loss": loss} | found

    def losses(self, reader: Reader, examples: Sequence[_Example]) -> Tensor:
        """Each lesson's own loss, shape (L,); each of its texts is a pass of its own."""
        found: list[Tensor] = []
        for one in examples:
            number_K = torch.stack([reader.read(ids) for ids in one.ids])
            if one.ranking:
                ranking = torch.tensor([one.ranking], device=number_K.device)
                found.append(plackett_luce(number_K[None], ranking)[0])
            else:
                found.append(cross_entropy(number_K[0], number_K.new_tensor(one.approval)))
        return torch.stack(found)

    def _fresh(self) -> Reader:
        """The base, with a head that has learned nothing."""
        fitting = self._fitting
        return Reader(self._base, fitting.window, seed=self._seed, device=fitting.device)

    def _take(self, lessons: Lessons) -> None:
        """Keep lessons whose texts can be read whole; the others are counted."""
        self._lessons.append(lessons.digest())
        self._population += lessons.population
        runs, moments = (digests_in(lessons.context[name]) for name in ("run", "moment"))
        alone = [[one] for one in digests_in(lessons.span["proposal"])]
        each = lessons.candidates.get("each")
        several = alone if each is None else [digests_in(row) for row in each]
        for number, proposals in enumerate(several):
            ids = [self._ids[moments[number], one] for one in proposals]
            whole = tuple(one for one in ids if one is not None)
            if len(whole) < len(ids):
                self._unread += 1
                continue
            rating, ranking = lessons.approval_L, lessons.ranking_LK
            self._kept.append(
                _Example(
                    run=runs[number],
                    weight=float(lessons.weight_L[number] * lessons.context["weight"][number]),
                    ids=whole,
                    approval=0.0 if rating is None else float(rating[number]),
                    ranking=() if ranking is None else tuple(ranking[number].tolist()),
                )
            )

    def _fit(self, reader: Reader, examples: Sequence[_Example], rng: np.random.Generator) -> float:
        """Fit the model to lessons; the mean loss of the last time through."""
        fitting, count = self._fitting, len(examples)
        optimiser = torch.optim.AdamW(
            reader.model.parameters(), fitting.rate, weight_decay=fitting.decay
        )
        last = 0.0
        for epoch in range(fitting.epochs):
            drawn, last = rng.permutation(count), 0.0
            for start in range(0, count, fitting.sample):
                part = [examples[number] for number in drawn[start : start + fitting.sample]]
                done = epoch * count + start
                for group in optimiser.param_groups:
                    group["lr"] = fitting.rate * (1 - done / (fitting.epochs * count))
                optimiser.zero_grad()
                share = self._population * len(part) / len(self._kept)
                for one in part:
                    weight = torch.tensor([one.weight], device=reader.model.device)
                    loss = self.boundary.total(self.losses(reader, [one]), weight, share)
                    loss.backward()
                    last += loss.item() * share / count
                if not math.isfinite(last):
                    raise LessonError(f"a loss of {last} after {done} lessons; lower the rate")
                optimiser.step()
                self._progress(done + len(part), fitting.epochs * count)
        return last

    def _told(self, reader: Reader, examples: Sequence[_Example]) -> Told:
        """What the model says: of each step, or of each pair of candidates."""
        rows: list[tuple[float, float, float, RunId]] = []
        for one in examples:
            numbers = [reader.number(ids) for ids in one.ids]
            if not one.ranking:
                rows.append((numbers[0], one.approval, one.weight, one.run))
                continue
            pairs = list(combinations(range(len(numbers)), 2))
            for first, second in pairs:
                before = one.ranking.index(first) < one.ranking.index(second)
                apart = numbers[first] - numbers[second]
                rows.append((apart, float(before), one.weight / len(pairs), one.run))
        logit, target, weight, run = zip(*rows, strict=True)
        return Told(np.array(logit), np.array(target), np.array(weight), np.array(run))

    def _write(self, reader: Reader, scaling: Platt, found: Mapping[str, float]) -> None:
        """Write the folder, its card last."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        reader.save(self._folder)
        judgement = Judgement(
            role=self._labels.role,
            labels=self._labels,
            lessons=tuple(self._lessons),
            base=self._digest,
            files=dict(digests(self._folder)),
            shown=self._fitting.shown,
            window=reader.window,
            slope=scaling.slope,
            offset=scaling.offset,
            figures=dict(found),
        )
        self._card = judgement.canonical()
        (self._folder / CARD).write_bytes(self._card)
