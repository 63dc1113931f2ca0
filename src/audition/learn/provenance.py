"""Which trained teachers a ledger vouches for: those whose training it holds, from lessons alone.

A training run names, in the batch that it sealed, every verdict that it learned from. A teacher is
vouched for if each of them is a lesson of this ledger, word for word; if its run declared that it
trains a teacher, kept all its restrictions and ended with this very card; and if the same is true
of whoever taught it. Whether a verdict was left out is not seen here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass

from audition.learn.batch import Batch, BatchError
from audition.learn.plan import Plan
from audition.learn.restrictions import Forbidden, check_horizon, check_signal, held_to, stopped
from audition.learn.rows import Row, names_verdicts, rows_in
from audition.ledger import LedgerError, SqlLedger
from audition.ledger.events import (
    BatchSealed,
    LessonTaken,
    RestrictionDeclared,
    RunClosed,
    RunOpened,
    ThinkerUpdated,
)
from audition.step import AuditorCard, Digest, Event, Name, Restriction, Role


@dataclass(frozen=True)
class Taught:
    """A teacher that a run of this ledger trained."""

    made: Digest
    """The card with which the run ended."""
    by: AuditorCard
    """Who taught it."""
    rows: tuple[Row, ...]
    """What it learned from."""

    def rests_on(self, lessons: Set[tuple[Name, Row]], teachers: Set[Digest]) -> bool:
        """Whether each of its rows is one of these lessons, once, and its teacher one of these."""
        if self.by.trained_from is not None and self.by.trained_from not in teachers:
            return False
        once = len(set(self.rows)) == len(self.rows)
        return once and all((self.by.name, row) in lessons for row in self.rows)


def taught(ledger: SqlLedger) -> list[Taught]:
    """The teachers that runs of a ledger trained, as far as a run shows of itself."""
    found: list[Taught] = []
    for run in ledger.runs():
        with suppress(LedgerError, BatchError, Forbidden, ValueError):
            opened = ledger.first(run).body
            if isinstance(opened, RunOpened) and opened.training is not None:
                plan = Plan.parse(ledger.get(opened.training.plan))
                if plan.becomes is Role.TEACHER:
                    found += _taught(opened, ledger.read(run), ledger.get)
    return found


def _taught(
    opened: RunOpened, events: Iterator[Event], get: Callable[[Digest], bytes]
) -> Iterator[Taught]:
    """The teacher of one run; nothing if anything in it is not as it must be.

    Raises:
        Forbidden: a restriction was not held to.
        BatchError, LedgerError, ValueError: a batch that cannot be read.
    """
    (card,) = opened.auditors
    restrictions: list[Restriction] = []
    rows: list[Row] = []
    sealed: BatchSealed | None = None
    taken: LessonTaken | None = None
    updates = 0
    last = opened.thinking
    for event in events:
        limits = held_to(restrictions)
        match event.body:
            case RunOpened():
                pass
            case RestrictionDeclared(restriction=restriction):
                restrictions.append(restriction)
            case BatchSealed() as sealed:
                taken = None
            case LessonTaken() as taken if sealed is not None and _whole(taken, sealed, card):
                check_signal(limits, taken.signal)
                rows += _read(sealed, get)
                sealed = None
                if stopped(limits, updates, len(rows) - 1):
                    return
            case ThinkerUpdated() as body if taken is not None and body.lessons == taken.lessons:
                check_horizon(limits, body.horizon)
                last, updates, taken = body.after, updates + 1, None
            case RunClosed(status="trained", answer=str() as answer) if updates and answer == last:
                unseen, roles = set(limits.unseen or ()), limits.roles or ()
                if card.role in roles and not unseen & set(card.sees):
                    yield Taught(answer, card, tuple(rows))
            case _:  # keys that lift a restriction, a choice, an outcome, lessons that were picked
                return


def _whole(taken: LessonTaken, sealed: BatchSealed, card: AuditorCard) -> bool:
    """Whether these are all the lessons of a batch, by the one who was declared."""
    of = taken.batch == sealed.root and taken.auditor == card.name
    return of and taken.taken == taken.admissible == sealed.rows and not taken.refused


def _read(sealed: BatchSealed, get: Callable[[Digest], bytes]) -> Iterator[Row]:
    """What a batch says that was said, and where."""
    if not names_verdicts(sealed.columns):
        raise BatchError("its columns name no verdicts")
    batch = Batch.read(sealed, get(sealed.data))
    if batch.root() != sealed.root:
        raise BatchError("its leaves do not make its root")
    return rows_in(batch.columns())
