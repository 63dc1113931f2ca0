"""Lessons one by one, with what stood before each: what every written form of them begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, cast

from audition.history import sealed_proposal
from audition.learn.asked import Asked, Unreadable, asked, exchanges, proposes, said, told
from audition.learn.before import Before, before
from audition.learn.lessons import LessonError, Lessons
from audition.ledger import LedgerError, Redacted, SqlLedger
from audition.model.chat import sendable
from audition.step import (
    Digest,
    Exchange,
    History,
    JsonObject,
    Name,
    Proposal,
    RunId,
    ToolSchema,
)
from audition.think import ThoughtBudget
from audition.think.proposing import Propose
from audition.think.telling import Rendering, conversation

Omission = Literal[
    "redacted",
    "its content is not in the ledger",
    "its exchange cannot be read",
    "its exchange ends in another step",
    "a tie",
    "the same step twice",
    "asked in other words",
    "no chain of reasoning",
    "too long",
]
"""Why nothing is written of a lesson, or of a pair."""


class Omitted(ValueError):
    """Nothing is written of this; says why."""

    def __init__(self, why: Omission) -> None:
        super().__init__(why)
        self.why: Omission = why


@dataclass(frozen=True)
class Drawn:
    """One lesson."""

    lessons: Lessons
    """Those that it is one of."""
    number: int
    """Which of them."""
    seq: int
    """Place of the teacher's word in its run."""
    before: Before
    """What stood before its step."""

    @property
    def weight(self) -> float:
        """Inverse probability of having been drawn."""
        return float(self.lessons.weight_L[self.number])

    @property
    def candidates(self) -> list[tuple[Digest, Digest]]:
        """Each candidate's proposal and exchanges; of a step that has no others, its own."""
        of = self.lessons.candidates or {
            name: self.lessons.span[name][:, None] for name in ("proposal", "exchanges")
        }
        names = zip(of["proposal"][self.number], of["exchanges"][self.number], strict=True)
        return [(str(proposal), str(one)) for proposal, one in names]

    def ledger(self, **more: int) -> JsonObject:
        """Where in the ledger it comes from."""
        auditor: Name = self.lessons.auditor
        moment = str(self.lessons.moment_L[self.number])
        run: RunId = str(self.lessons.context["run"][self.number])
        return {"auditor": auditor, "moment": moment, "run": run, "seq": self.seq, **more}


@dataclass(frozen=True)
class Answered:
    """A step as a model would be trained to put it forward."""

    asked: Asked
    """What it is the answer to."""
    message: JsonObject
    """The answer."""


class Drawing:
    """Takes lessons out of a ledger one by one, and counts those of which nothing is written.

    Args:
        ledger: which the lessons were drawn from.
    """

    def __init__(self, ledger: SqlLedger) -> None:
        self.omitted: Counter[Omission] = Counter()
        self._ledger = ledger
        budget = ThoughtBudget()
        self._rendering = Rendering(budget.history, budget.longest)
        self._proposes: dict[tuple[Digest, ...], Propose] = {}

    def each(self, lessons: Lessons) -> Iterator[Drawn]:
        """The lessons in their order, without those of which anything was redacted.

        Raises:
            LessonError: they are of no live run or record, or their run's events are in disorder.
        """
        if lessons.batch is not None:
            raise LessonError("lessons of a batch are numbers, and are no step in words")
        run_L, seq_L = lessons.context["run"].tolist(), lessons.context["seq"].tolist()
        moment_L = lessons.moment_L.tolist()
        for run, some in groupby(range(len(lessons)), lambda number: run_L[number]):
            numbers = list(some)
            found = before(self._ledger, run, {moment_L[number] for number in numbers})
            for number in numbers:
                known = found.get(moment_L[number])
                if known is None:
                    raise LessonError(f"run {run[:8]}: a lesson of a moment that it does not have")
                if known.redacted:
                    self.omitted["redacted"] += 1
                else:
                    yield Drawn(lessons, number, int(seq_L[number]), known)

    def proposal(self, name: Digest) -> Proposal:
        """A step by its name.

        Raises:
            Omitted: it is not there.
        """
        try:
            return sealed_proposal(self._ledger, name)
        except Redacted:
            raise Omitted("redacted") from None
        except (LedgerError, ValueError):
            raise Omitted("its content is not in the ledger") from None

    def answer(self, drawn: Drawn, proposal: Digest, exchanged: Digest) -> Answered:
        """A step and what it is the answer to, as they were exchanged with a model if they were.

        Raises:
            Omitted: they cannot be told.
        """
        step, had = self.proposal(proposal), self._exchanges(exchanged)
        if not had:
            return Answered(self._told(drawn.before), told(step))
        message = said(had[-1])
        if message is not None and proposes(message, self._propose(drawn.before)) != proposal:
            raise Omitted("its exchange ends in another step")
        return Answered(self._asked(had[-1]), message or told(step))

    def shown(self, drawn: Drawn, proposal: Digest) -> Answered:
        """A step that somebody else put forward, as the answer to what the thinker was first asked.

        Raises:
            Omitted: it cannot be told.
        """
        step, had = self.proposal(proposal), self._exchanges(drawn.before.exchanges)
        return Answered(self._asked(had[0]) if had else self._told(drawn.before), told(step))

    def omit(self, why: Omission) -> None:
        """Count one of which nothing is written."""
        self.omitted[why] += 1

    def _exchanges(self, name: Digest) -> list[Exchange]:
        try:
            return exchanges(self._ledger, name)
        except Redacted:
            raise Omitted("redacted") from None
        except LedgerError:
            raise Omitted("its content is not in the ledger") from None
        except Unreadable:
            raise Omitted("its exchange cannot be read") from None

    def _asked(self, exchange: Exchange) -> Asked:
        try:
            return asked(exchange)
        except Unreadable:
            raise Omitted("its exchange cannot be read") from None

    def _told(self, known: Before) -> Asked:
        """What a model would have been told of the history."""
        try:
            messages = conversation(cast("History", known.history), self._rendering)
        except LedgerError:
            raise Omitted("its content is not in the ledger") from None
        return Asked(sendable(messages), sendable([self._propose(known).function]))

    def _propose(self, known: Before) -> Propose:
        """The tool that ended the thoughts of a run."""
        if (made := self._proposes.get(known.tools)) is None:
            try:
                schemas = [ToolSchema.parse(self._ledger.get(name)) for name in known.tools]
                made = self._proposes[known.tools] = Propose(schemas)
            except (LedgerError, ValueError):
                raise Omitted("its content is not in the ledger") from None
        return made
