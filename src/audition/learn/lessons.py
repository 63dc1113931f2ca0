"""Lessons: what may be learned from, as a struct of arrays; and what may not, with the reason.

A lesson is one step: its fixed context, its own span, and an approval, a comparison or a
demonstration. There is no field for a reward, a return or a later step, and no way to keep some
lessons by what came of them: all that are admissible are taken, or the recorded lottery's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audition.canonical import canonical
from audition.learn.batch import Batch, Columns
from audition.step import Digest, Name, Signal


class LessonError(ValueError):
    """Arrays that are no lessons, or that nothing may learn from; the message says why."""


class NoLessons(LessonError):
    """There is nothing to learn from."""


Reason = Literal[
    "after the act",
    "by a guard",
    "a guard stood before it",
    "a guard prompted it",
    "trained on what this ledger does not hold",
    "saw what no teacher may see",
    "of another moment",
    "of a replacement",
    "its candidates were not sealed before it",
    "it compares nothing",
    "out of turn",
    "not declared",
    "forbidden by a restriction",
    "the teacher abstained",
    "the infrastructure failed",
    "redacted",
    "planted",
    "may be planted",
]
"""Why something is no lesson."""


@dataclass(frozen=True)
class Lessons:
    """L lessons of one kind.

    Raises:
        NoLessons: none at all.
        LessonError: arrays of different lengths; an approval that is NaN or outside [0, 1]; a
            ranking that does not name each candidate once; a weight that is not positive; a signal
            without its array, or with another's.
    """

    signal: Signal
    """What they consist of."""
    auditor: Name
    """Whose word they are."""
    context: Columns
    """What is fixed: arrays of shape (L, ...), exogenous, never reached by a gradient."""
    span: Columns
    """The step's own, shape (L, ...): action, log-probability when it was sampled, tokens …"""
    weight_L: NDArray[np.float64]
    """Inverse probability of having been drawn."""
    moment_L: NDArray[Any]
    """Which moment each is of: a row of the batch, or the moment's digest."""
    population: int
    """Moments that the lottery drew from."""
    approval_L: NDArray[np.float64] | None = None
    """A teacher's approval, in [0, 1]."""
    approvals_LK: NDArray[np.float64] | None = None
    """Its approval of each candidate, where it gave them; the first is that of the step itself."""
    candidates: Columns = field(default_factory=dict[str, Any])
    """Alternatives to the span, arrays of shape (L, K, ...); candidate 0 is the proposal itself."""
    ranking_LK: NDArray[np.int64] | None = None
    """Candidates from best to worst, by number."""
    batch: Digest | None = None
    """Root of the batch they are from."""

    def __post_init__(self) -> None:
        count = len(self.moment_L)
        if not count:
            raise NoLessons("no lessons: nothing was drawn, or nothing drawn may be learned from")
        if self.population < count:
            raise LessonError(f"{count} lessons of {self.population} moments")
        for name, array in self.arrays().items():
            if len(array) != count:
                raise LessonError(f"{name}: {len(array)} rows for {count} lessons")
            if array.ndim != 1 and name in ("weight", "moment", "approval"):
                raise LessonError(f"{name}: one number for each lesson, not {array.shape[1:]}")
        if not (np.isfinite(self.weight_L).all() and (self.weight_L > 0).all()):
            raise LessonError("weight: an inverse probability is finite and positive")
        answers = (self.approval_L, self.approvals_LK, self.ranking_LK)
        for other, array in zip(("approval", "approval", "comparison"), answers, strict=True):
            if array is not None and other != self.signal:
                raise LessonError(f"lessons by {self.signal} hold no {other}")
        match self.signal:
            case "approval":
                _check_approval(self.approval_L)
                _check_approvals(self.approvals_LK, self.approval_L, self.candidates)
            case "comparison":
                _check_ranking(self.ranking_LK, self.candidates, count)
            case "demonstration":
                if not self.span:
                    raise LessonError("a demonstration without a span shows nothing")
            case _:
                raise LessonError(f"{self.signal!r} is no signal that lessons carry")

    def __len__(self) -> int:
        return len(self.moment_L)

    def digest(self) -> Digest:
        """SHA-256 over all arrays, their names, types and shapes."""
        hasher = hashlib.sha256()
        head: dict[str, Any] = {
            "auditor": self.auditor,
            "batch": self.batch,
            "population": self.population,
            "signal": self.signal,
        }
        arrays = [(name, np.ascontiguousarray(array)) for name, array in self.arrays().items()]
        head["arrays"] = [[name, array.dtype.str, list(array.shape)] for name, array in arrays]
        hasher.update(canonical(head))
        for _, array in arrays:
            hasher.update(array.tobytes())
        return hasher.hexdigest()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that they hold, by name: `weight`, `moment`, `approval`, `context.room` …"""
        found: list[tuple[str, NDArray[Any] | None]] = [
            ("weight", self.weight_L),
            ("moment", self.moment_L),
            ("approval", self.approval_L),
            ("approvals", self.approvals_LK),
            ("ranking", self.ranking_LK),
        ]
        for part in ("context", "span", "candidates"):
            columns: Mapping[str, NDArray[Any]] = getattr(self, part)
            found += [(f"{part}.{name}", columns[name]) for name in sorted(columns)]
        return {name: array for name, array in found if array is not None}


def of_batch(
    batch: Batch,
    root: Digest,
    *,
    signal: Signal,
    auditor: Name,
    rate_R: NDArray[np.float64],
    drawn_R: NDArray[np.bool_],
    approval_R: NDArray[Any] | None = None,
    ranking_RK: NDArray[Any] | None = None,
) -> Lessons:
    """The lessons of a sealed batch: one for each row that the lottery drew.

    Args:
        batch: the rows.
        root: the batch's name.
        signal: what to learn from.
        auditor: whose word it is.
        rate_R: with which probability each row was drawn.
        drawn_R: whether it was.
        approval_R: answers from outside the batch, where it has none of its own; NaN if undrawn.
        ranking_RK: likewise.

    Raises:
        NoLessons: no row was drawn.
        LessonError: an answer is missing, NaN or out of range.
    """
    rows_L = np.flatnonzero(drawn_R)
    approval = approval_R if approval_R is not None else batch.column("approval")
    ranking = ranking_RK if ranking_RK is not None else batch.column("ranking")
    if signal == "approval" and approval is None:
        raise LessonError("the batch holds no approvals")
    if signal == "comparison" and ranking is None:
        raise LessonError("the batch holds no rankings")
    return Lessons(
        signal=signal,
        auditor=auditor,
        context={
            name: array[rows_L] for name, array in batch.columns("context", "carried").items()
        },
        span={name: array[rows_L] for name, array in batch.columns("span").items()},
        candidates={name: array[rows_L] for name, array in batch.columns("candidates").items()},
        weight_L=1.0 / np.asarray(rate_R, float)[rows_L],
        moment_L=rows_L,
        population=batch.rows,
        approval_L=np.asarray(approval, float)[rows_L]
        if signal == "approval" and approval is not None
        else None,
        ranking_LK=np.asarray(ranking)[rows_L].astype(np.int64)
        if signal == "comparison" and ranking is not None
        else None,
        batch=root,
    )


def _check_approval(approval_L: NDArray[np.float64] | None) -> None:
    if approval_L is None:
        raise LessonError("lessons by approval without approvals")
    wrong = ~((approval_L >= 0) & (approval_L <= 1))  # NaN is neither
    if wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        raise LessonError(f"lesson {number}: an approval of {approval_L[number]} is not in [0, 1]")


def _check_approvals(
    approvals_LK: NDArray[np.float64] | None, approval_L: Any, candidates: Columns
) -> None:
    if approvals_LK is None:
        return
    if not candidates or approvals_LK.ndim != 2 or approvals_LK.shape[1] < 2:
        raise LessonError("approvals of each candidate need two candidates or more")
    _check_approval(approvals_LK.ravel())
    if not np.array_equal(approvals_LK[:, 0], approval_L):
        raise LessonError("approvals: the first is that of the step itself")
    _check_candidates(candidates, approvals_LK, "approvals")


def _check_ranking(ranking_LK: NDArray[np.int64] | None, candidates: Columns, count: int) -> None:
    if ranking_LK is None or ranking_LK.ndim != 2 or ranking_LK.shape[1] < 2:
        raise LessonError("lessons by comparison need rankings of two candidates or more")
    if not candidates:
        raise LessonError("lessons by comparison without the candidates")
    _check_candidates(candidates, ranking_LK, "rankings")
    every_K = np.arange(ranking_LK.shape[1])
    if not (np.sort(ranking_LK, axis=1) == every_K).all():
        raise LessonError("a ranking names every candidate of its moment once, from 0")


def _check_candidates(candidates: Columns, said_LK: NDArray[Any], what: str) -> None:
    for name, array in candidates.items():
        if array.shape[:2] != said_LK.shape:
            raise LessonError(
                f"candidates.{name} has shape {array.shape[:2]}, the {what} {said_LK.shape}: "
                "the candidates of one lesson are alternatives at one moment"
            )
