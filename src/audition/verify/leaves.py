"""Opening leaves: some of a run's sealed steps, drawn by whoever looks, held against its world."""

from __future__ import annotations

import bisect
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from audition.learn import Batch, BatchError, Plan, PlanError, Study
from audition.learn.sealing import APPROVAL, DRAWN, shown_to
from audition.ledger import LedgerError
from audition.ledger.events import BatchSealed
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
    except Exception as error:  # noqa: BLE001 a study is foreign code
        opened.against.append(f"{name}: the study failed: {type(error).__name__}: {error}")
        return opened
    ends = list(itertools.accumulate(body.rows // body.leaf for body in course.batches))
    drawn: dict[int, list[int]] = {}
    for _ in range(count):
        leaf = secrets.randbelow(ends[-1])
        number = bisect.bisect_right(ends, leaf)
        drawn.setdefault(number, []).append(leaf - (ends[number - 1] if number else 0))
    for number, leaves in sorted(drawn.items()):
        _open(course, number, leaves, get, study, opened)
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
    assert course.plan is not None
    if wrong := _other_layout(course.plan, body, study):
        opened.against.append(f"run {course.run[:8]}, batch {number}: {wrong}")
        return
    for leaf in leaves:
        opened.leaves += 1
        opened.rows += body.leaf
        rows = batch.only([leaf])
        for says in _wrong(rows, study, course.plan.signal):
            opened.against.append(f"run {course.run[:8]}, batch {number}, leaf {leaf}: {says}")


def _other_layout(plan: Plan, body: BatchSealed, study: Study) -> str:
    """What of the columns is not as the study and sealing have them; empty if all is."""
    due = [(one.name, one.dtype, one.shape, one.part) for one in study.world.layout]
    if study.teacher is not None:
        due.append((DRAWN.name, DRAWN.dtype, DRAWN.shape, DRAWN.part))
        if plan.signal == "approval" and not study.teacher.person:
            due.append((APPROVAL.name, APPROVAL.dtype, APPROVAL.shape, APPROVAL.part))
    found = [(one.name, one.dtype, one.shape, one.part) for one in body.columns]
    if study.teacher is not None and plan.signal == "comparison" and not study.teacher.person:
        due.append(("ranking", "i1", found[-1][2], "ranking"))
    odd = [one for one in found if one not in due] or [one for one in due if one not in found]
    if found == due:
        return ""
    return f"column {odd[0][0] if odd else found[0][0]!r} is not as its study has it"


def _wrong(leaf: Batch, study: Study, signal: str) -> list[str]:
    columns = leaf.columns()
    try:
        found = list(study.world.strange(columns))
        teacher = study.teacher
        if teacher is None or teacher.person or signal not in ("approval", "comparison"):
            return found
        given = leaf.column("approval" if signal == "approval" else "ranking")
        if given is None:
            return [*found, f"{teacher.name}'s answers are not in it"]
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
