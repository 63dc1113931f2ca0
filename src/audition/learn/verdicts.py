"""What auditors of a ledger said of steps, as a world to learn from: rows that name it, and texts.

A teacher's verdicts
are its lessons (`audition.learn.live`), every one of them. A guard's are no lessons of anybody's:
they are read here, and all that is made of them is another guard. As an approval, a guard's
suspicion counts for the rest to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audition.audit import Labels, Shown
from audition.audit.trained import text_of
from audition.canonical import digest_value
from audition.history import LedgerHistory, Progress, sealed_proposal
from audition.learn.batch import Columns
from audition.learn.lessons import LessonError
from audition.learn.live import lessons_of
from audition.learn.order import order
from audition.learn.plan import Learner
from audition.learn.rows import Row, columns_of, place, places, rows_in, rows_of, single
from audition.learn.sealing import SHOWN
from audition.ledger import LetGo, Redacted, SqlLedger, text
from audition.ledger.events import (
    AuditDrawn,
    AuditRecorded,
    Column,
    MomentSealed,
    PlantOpened,
    PlantSealed,
    RunOpened,
    StepDecided,
)
from audition.step import AuditorCard, Digest, Name, Role, RunId, Verdict, digest_of


@dataclass
class Verdicts:
    """A world whose steps are recorded verdicts: a batch for each number of steps judged at once.

    Raises:
        LessonError: there are none.
    """

    labels: Labels
    """Whose they are."""
    rows: list[Row]
    """All of them."""
    texts: dict[tuple[Digest, Digest], str | None]
    """What is read of a step, by moment and proposal; None where it does not fit."""
    redacted: int = 0
    """Verdicts that are left out because their content is gone."""
    layout: tuple[Column, ...] = field(init=False)
    """What the columns of the next batch to be sealed are."""
    _batches: Iterator[list[Row]] = field(init=False)

    def __post_init__(self) -> None:
        if not self.rows:
            says = f"{self.redacted} were redacted" if self.redacted else "there are none"
            raise LessonError(
                f"no verdicts of {self.labels.auditor} to learn from: {says}; "
                "`audition lessons` says why"
            )
        batches = self.batches()
        self.layout, self._batches = columns_of(batches[0])[1], iter(batches)

    def batches(self) -> list[list[Row]]:
        """The rows by the number of candidates that they are about, in order."""
        counts = sorted({len(row.proposals) for row in self.rows})
        return [[row for row in self.rows if len(row.proposals) == count] for count in counts]

    def rollout(self, learner: Learner, rng: np.random.Generator) -> Columns:
        """The next batch: all verdicts of one kind, whoever learns."""
        columns, self.layout = columns_of(next(self._batches))
        return columns

    def strange(self, leaf: Columns) -> Iterator[str]:
        """What in a leaf is no verdict that this ledger has to teach."""
        known = set(self.rows)
        for row in rows_in(leaf):
            if row not in known:
                yield f"event {row.seq} of run {row.run[:8]} is no such verdict of this ledger"


class Recorded:
    """The teacher of such a world: says what was recorded, and nothing else.

    Args:
        verdicts: what was.
    """

    person = False
    """Whoever answered then, a record answers now."""

    def __init__(self, verdicts: Verdicts) -> None:
        labels = self._labels = verdicts.labels
        self.name, self.role = labels.auditor, labels.role
        self.sees = frozenset(labels.saw) & set(SHOWN)
        self.trained_from = labels.trained_from
        self._said = {place(row): row for row in verdicts.rows}

    def configuration(self) -> Digest:
        """Digest of whose verdicts these are."""
        return digest_value({"recorded": self._labels.model_dump(exclude_none=True)})

    def judge(self, shown: Columns) -> NDArray[Any]:
        """Approvals or rankings, as they were recorded."""
        rows = [self._said[one] for one in places(shown)]
        if self._labels.signal == "comparison":
            return np.array([row.ranking for row in rows], np.int64)
        return np.array([row.approval for row in rows], np.float64)

    def restore(self, weights: bytes) -> None:
        """Nothing to do: what it was trained to say stands in the record."""


def verdicts_of(
    ledger: SqlLedger,
    auditor: Name,
    shown: Shown,
    signal: Literal["approval", "comparison"] | None = None,
) -> Verdicts:
    """All that an auditor of this ledger said and that a model may be trained from.

    A teacher's approvals of several candidates are approvals of each: one row each, and of every
    moment as many as it has candidates.

    Args:
        ledger: the ledger.
        auditor: whose word.
        shown: how much of a view a text holds.
        signal: approvals or rankings; None: whichever it gave.

    Raises:
        LessonError: there are none, or the auditor was not one and the same.
    """
    cards = list(_cards(ledger, auditor))
    labels = _labels(auditor, cards)
    if labels.role is Role.GUARD:
        if signal == "comparison":
            raise LessonError(f"{auditor} is a guard, and ranks nothing")
        rows = list(_suspicions(ledger, auditor))
    else:
        found = [one for one in lessons_of(ledger).lessons if one.auditor == auditor]
        kinds = {one.signal for one in found} - {"demonstration"}
        if signal is None and len(kinds) > 1:
            raise LessonError(f"{auditor} gave approvals and rankings; say which of the two")
        signal = signal or ("comparison" if kinds == {"comparison"} else "approval")
        rows = [row for one in found if one.signal == signal for row in rows_of(one)]
        labels = labels.model_copy(update={"signal": signal})
    texts = texts_of(ledger, rows, shown)
    readable = [row for row in rows if all((row.moment, one) in texts for one in row.proposals)]
    return Verdicts(labels, readable, texts, redacted=len(rows) - len(readable))


def texts_of(
    ledger: SqlLedger, rows: Sequence[Row], shown: Shown
) -> dict[tuple[Digest, Digest], str | None]:
    """What is read of the steps that rows name, by moment and proposal.

    Returns:
        None where a step does not fit; nothing where its content was redacted.
    """
    wanted: dict[RunId, dict[Digest, set[Digest]]] = {}
    for row in rows:
        wanted.setdefault(row.run, {}).setdefault(row.moment, set()).update(row.proposals)
    found: dict[tuple[Digest, Digest], str | None] = {}
    for run, moments in wanted.items():
        progress = Progress(run)
        for event in ledger.read(run):
            progress.apply(event)
            if not isinstance(event.body, MomentSealed):
                continue
            moment, sealed = event.body.moment, digest_of(event.body.moment)
            for proposal in moments.get(sealed, ()):
                with suppress(Redacted):
                    history = LedgerHistory(ledger, progress)
                    step = sealed_proposal(ledger, proposal)
                    goal = text(ledger.get(moment.goal))
                    found[sealed, proposal] = text_of(moment, goal, history, step, shown)
    return found


def _cards(ledger: SqlLedger, auditor: Name) -> Iterator[AuditorCard]:
    """What the live runs and records of a ledger declare of an auditor."""
    for run in _runs(ledger):
        opened = ledger.first(run).body
        assert isinstance(opened, RunOpened)
        yield from (card for card in opened.auditors if card.name == auditor)


def _labels(auditor: Name, cards: Sequence[AuditorCard]) -> Labels:
    roles, sources = {card.role for card in cards}, {card.trained_from for card in cards}
    if not cards:
        raise LessonError(f"no live run or record of this ledger has an auditor {auditor!r}")
    if len(roles) > 1 or len(sources) > 1:
        what = "both teacher and guard" if len(roles) > 1 else "trained anew between runs"
        raise LessonError(f"{auditor} was {what}: a model learns from one auditor")
    return Labels(
        auditor=auditor,
        role=roles.pop(),
        saw=tuple(sorted({one for card in cards for one in card.sees})),
        signal="approval",
        trained_from=sources.pop(),
    )


def _runs(ledger: SqlLedger) -> Iterator[RunId]:
    """The live runs and the records that are here."""
    for run in ledger.runs():
        with suppress(LetGo):
            opened = ledger.first(run).body
            if isinstance(opened, RunOpened) and opened.mode in ("live", "record"):
                yield run


def _suspicions(ledger: SqlLedger, auditor: Name) -> Iterator[Row]:
    """What a guard said of steps that were not planted, weighed like a teacher's word."""
    for run in _runs(ledger):
        found: list[Row] = []
        steps, weights = dict[Digest, Digest](), dict[Digest, float]()
        planted, decided = set[Digest](), set[Digest]()
        sampled = plants = False
        for event in ledger.read(run):
            match event.body:
                case RunOpened() as body:
                    cards = {card.name: card for card in body.auditors}
                    sampled = order(body, cards).get(auditor, (False, False))[0]
                case PlantSealed():
                    plants = True
                case PlantOpened() as body:
                    planted.add(body.moment)
                case MomentSealed(moment=moment):
                    steps[digest_of(moment)] = moment.proposal
                case AuditDrawn() as body:
                    weights[body.moment] = 1 / body.rate if sampled and body.rate else 1.0
                case StepDecided() as body:
                    decided.add(body.moment)
                case AuditRecorded(verdict=Verdict() as said) if said.moment in steps:
                    if said.auditor == auditor and said.score is not None:
                        weight, step = weights.get(said.moment, 1.0), (steps[said.moment],)
                        where = run, event.seq, said.moment, weight, step
                        found.append(Row(*where, approval=single(1 - said.score)))
                case _:
                    pass
        for row in found:
            if row.moment not in planted and (row.moment in decided or not plants):
                yield row
