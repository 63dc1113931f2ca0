"""Rows that name verdicts: what a batch says of them is bound to what the ledger holds.

A row names one verdict by its place in the ledger, the step that it is about, what the lottery
weighs it by, and what it says. In a batch its answer stands in single precision, so it does here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.learn.batch import Columns
from audition.learn.lessons import Lessons
from audition.learn.sealing import APPROVAL, DRAWN
from audition.ledger.events import Column
from audition.step import Digest, RunId

Place = tuple[RunId, int, int]
"""A run, a place in it, and the number of a candidate that is judged there."""

_BYTES = 32
_LAYOUT = (
    Column(name="run", dtype="u1", shape=(16,), part="context"),
    Column(name="seq", dtype="i8", part="context"),
    Column(name="moment", dtype="u1", shape=(_BYTES,), part="context"),
    Column(name="weight", dtype="f8", part="context"),
    Column(name="candidate", dtype="u1", part="context"),
    Column(name="proposal", dtype="u1", shape=(_BYTES,), part="span"),
)


@dataclass(frozen=True)
class Row:
    """What an auditor said of one step, or in which order of several."""

    run: RunId
    """Its run."""
    seq: int
    """The place of the verdict in it."""
    moment: Digest
    """The moment that was judged."""
    weight: float
    """Inverse probability of having been drawn."""
    proposals: tuple[Digest, ...]
    """The step; of a ranking, all candidates."""
    candidate: int = 0
    """The number of the step among its moment's candidates."""
    approval: float | None = None
    """In [0, 1], single precision."""
    ranking: tuple[int, ...] = ()
    """Candidates from best to worst, by number."""


def single(approval: float) -> float:
    """An approval as a batch holds it."""
    return float(np.float32(approval))


def rows_of(lessons: Lessons) -> Iterator[Row]:
    """The rows of a teacher's lessons; one for each candidate that it approves of."""
    runs, seqs = lessons.context["run"].tolist(), lessons.context["seq"].tolist()
    alone, several = lessons.span["proposal"].tolist(), lessons.candidates.get("proposal")
    for number, moment in enumerate(lessons.moment_L.tolist()):
        where = runs[number], seqs[number], moment, float(lessons.weight_L[number])
        if lessons.ranking_LK is not None and several is not None:
            ranking = tuple(lessons.ranking_LK[number].tolist())
            yield Row(*where, tuple(several[number].tolist()), ranking=ranking)
        elif lessons.approvals_LK is not None and several is not None:
            pairs = zip(several[number].tolist(), lessons.approvals_LK[number], strict=True)
            for candidate, (one, approval) in enumerate(pairs):
                yield Row(*where, (one,), candidate, single(approval))
        elif lessons.approval_L is not None:
            yield Row(*where, (alone[number],), approval=single(lessons.approval_L[number]))


def columns_of(rows: Sequence[Row]) -> tuple[Columns, tuple[Column, ...]]:
    """Rows about equally many candidates as columns, without their answers, and the layout."""
    columns: dict[str, NDArray[Any]] = {
        "run": _bytes(row.run for row in rows),
        "seq": np.array([row.seq for row in rows], np.int64),
        "moment": _bytes(row.moment for row in rows),
        "weight": np.array([row.weight for row in rows], np.float64),
        "candidate": np.array([row.candidate for row in rows], np.uint8),
        "proposal": _bytes(row.proposals[0] for row in rows),
    }
    if not rows[0].ranking:
        return columns, _LAYOUT
    columns["each"] = np.stack([_bytes(row.proposals) for row in rows])
    return columns, (*_LAYOUT, _each(len(rows[0].proposals)))


def names_verdicts(layout: Sequence[Column]) -> bool:
    """Whether a sealed batch's columns are just those of rows and their answers."""
    ranked = [one.shape for one in layout if one.part == "ranking" and len(one.shape) == 1]
    due = [*_LAYOUT, DRAWN, APPROVAL]
    if ranked:
        ranking = Column(name="ranking", dtype="i1", shape=ranked[0], part="ranking")
        due[-1:] = _each(ranked[0][0]), ranking
    return len(layout) == len(due) and all(one in layout for one in due)


def rows_in(columns: Columns) -> Iterator[Row]:
    """The rows that a sealed batch's columns hold, answers included.

    Args:
        columns: of a batch that `names_verdicts`.
    """
    weights = columns["weight"].tolist()
    moments, alone = digests_in(columns["moment"]), digests_in(columns["proposal"])
    for number, (run, seq, candidate) in enumerate(places(columns)):
        where = run, seq, moments[number], weights[number]
        if "ranking" in columns:
            several = tuple(digests_in(columns["each"][number]))
            ranking = tuple(columns["ranking"][number].tolist())
            yield Row(*where, several, candidate, ranking=ranking)
        else:
            yield Row(*where, (alone[number],), candidate, float(columns["approval"][number]))


def place(row: Row) -> Place:
    """Where a row's verdict stands."""
    return row.run, row.seq, row.candidate


def places(columns: Columns) -> list[Place]:
    """Where the verdicts of a batch's rows stand."""
    runs = digests_in(columns["run"])
    rest = columns["seq"].tolist(), columns["candidate"].tolist()
    return list(zip(runs, *rest, strict=True))


def digests_in(bytes_LW: NDArray[Any]) -> list[str]:
    """Digests, or names of runs, of which a column holds the bytes."""
    return [bytes(row).hex() for row in bytes_LW]


def _each(count: int) -> Column:
    """The column of candidates that are ranked."""
    return Column(name="each", dtype="u1", shape=(count, _BYTES), part="candidates")


def _bytes(names: Iterable[str]) -> NDArray[np.uint8]:
    return np.array([list(bytes.fromhex(one)) for one in names], np.uint8)
