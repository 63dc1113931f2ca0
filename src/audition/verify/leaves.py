"""Opening leaves: some of a run's sealed steps, drawn by whoever looks, held against its world."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from audition.learn import Batch, BatchError, Plan, PlanError, Study
from audition.learn.sealing import shown_to
from audition.ledger import LedgerError
from audition.step import Digest
from audition.verify.simulated import Course

TOLERANCE = 1e-5
"""Difference of approvals that rounding explains: a teacher may be asked in other batches."""


@dataclass
class Opened:
    """What the opened leaves of one run show."""

    leaves: int = 0
    """Leaves opened."""
    rows: int = 0
    """Steps in them."""
    against: list[str] = field(default_factory=list[str])
    """What is wrong with them."""


def open_leaves(
    course: Course,
    count: int,
    get: Callable[[Digest], bytes],
    find: Callable[[Plan, int, Callable[[Digest], bytes]], Study],
) -> Opened:
    """Open leaves of a run, drawn uniformly with replacement.

    A leaf is inadmissible if it could not have happened in the plan's world, or if its machine
    teacher, asked again, says otherwise. A person is not asked again.

    Args:
        course: the run.
        count: how many leaves.
        get: reads the ledger's content.
        find: makes the study of a plan.
    """
    opened, name = Opened(), f"run {course.run[:8]}"
    if course.plan is None or course.opened.training is None or not course.batches:
        opened.against.append(f"{name}: its plan or its batches are not there")
        return opened
    try:
        study = find(course.plan, course.opened.training.seed, get)
    except (PlanError, LedgerError, ValueError) as error:
        opened.against.append(f"{name}: {error}")
        return opened
    sizes = np.array([body.rows // body.leaf for body in course.batches])
    ends = np.cumsum(sizes)
    drawn = sorted(secrets.randbelow(int(ends[-1])) for _ in range(count))
    for number in range(len(sizes)):
        mine = [one - int(ends[number] - sizes[number]) for one in drawn]
        mine = [one for one in mine if 0 <= one < sizes[number]]
        if mine:
            _open(course, number, mine, get, study, opened)
    return opened


def _open(
    course: Course,
    number: int,
    leaves: list[int],
    get: Callable[[Digest], bytes],
    study: Study,
    opened: Opened,
) -> None:
    body = course.batches[number]
    try:
        batch = Batch.read(body, get(body.data))
    except (BatchError, LedgerError) as error:
        opened.against.append(f"run {course.run[:8]}, batch {number}: {error}")
        return
    for leaf in leaves:
        opened.leaves += 1
        opened.rows += body.leaf
        rows = batch.only([leaf])
        for says in _wrong(rows, study, bought=body.auditor is None):
            opened.against.append(f"run {course.run[:8]}, batch {number}, leaf {leaf}: {says}")


def _wrong(leaf: Batch, study: Study, *, bought: bool) -> list[str]:
    columns = leaf.columns()
    try:
        found = list(study.world.strange(columns))
        teacher, given = study.teacher, leaf.column("approval")
        if given is None:
            given = leaf.column("ranking")
        if teacher is None or bought or given is None:
            return found
        drawn = columns["drawn"].astype(bool)
        if drawn.any():
            shown = {name: array[drawn] for name, array in columns.items()}
            due = np.asarray(teacher.judge(shown_to(teacher, shown, leaf.layout)), float)
            if due.shape != given[drawn].shape or not np.allclose(
                due, given[drawn], rtol=0, atol=TOLERANCE
            ):
                found.append(f"{teacher.name} says otherwise of it")
        if given.dtype.kind == "f" and not np.isnan(given[~drawn]).all():
            found.append("it holds an answer about a step that was not drawn")
    except Exception as error:  # noqa: BLE001 a study is foreign code, and the leaf is hostile
        return [f"it cannot be examined: {type(error).__name__}: {error}"]
    return found
