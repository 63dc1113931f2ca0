"""Reviewing records: each step of a transcript becomes a moment, and auditors judge it.

The same path as a live run, without a gate and without effects: what came back stands in the record
and enters the ledger only after the step was judged. A run is written whole or not at all, and its
name follows from the record and the auditors, so a review that was cut goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import process_time

from audition.audit import ask, card, recorded, view
from audition.canonical import digest_value
from audition.history import LedgerHistory, Progress
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    ActRecorded,
    MomentSealed,
    RunClosed,
    RunOpened,
    StepProposed,
    StepThought,
    TranscriptRecorded,
)
from audition.records import Group, Record, RecordedStep, Said
from audition.step import Auditor, Body, Digest, Evidence, Moment, RunId, digest_of

GROUP = 4096
"""Events that are staged before a commit; a run is never split."""


@dataclass(slots=True)
class Spent:
    """Processor time of this process, in seconds, by what it went into."""

    reading: float = 0.0
    """Reading records, and understanding them."""
    recording: float = 0.0
    """Making events and content of them: digests, histories, the canonical form."""
    judging: float = 0.0
    """Asking the auditors."""
    committing: float = 0.0
    """Writing what was made into the database."""

    @contextmanager
    def on(self, stage: str) -> Generator[None]:
        """Count what is done in here into a stage, and into no other."""
        begun, before = process_time(), self.total
        try:
            yield
        finally:
            within = self.total - before
            setattr(self, stage, getattr(self, stage) + process_time() - begun - within)

    @property
    def total(self) -> float:
        """All of it."""
        return self.reading + self.recording + self.judging + self.committing


@dataclass(slots=True)
class Reviewed:
    """How far a review has come."""

    runs: int = 0
    """Records reviewed now."""
    skipped: int = 0
    """Records that the ledger already held under these auditors."""
    moments: int = 0
    """Steps judged now."""
    spent: Spent = field(default_factory=Spent)
    """What that took."""


async def review(
    records: Iterable[Record],
    ledger: SqlLedger,
    auditors: Sequence[Auditor],
    *,
    progress: Callable[[Reviewed], None] | None = None,
) -> tuple[list[RunId], Reviewed]:
    """Judge every step of every record, in a ledger.

    Args:
        records: what to review.
        ledger: where it is written.
        auditors: who judges each step.
        progress: called after each record.

    Returns:
        The runs of all the records, in their order, and what was done.
    """
    known = set(ledger.runs())
    done = Reviewed()
    runs: list[RunId] = []
    staged = 0
    source = iter(records)
    while True:
        with done.spent.on("reading"):
            record = next(source, None)
        if record is None:
            break
        with done.spent.on("recording"):
            run = run_id(record, auditors)
            runs.append(run)
            if run in known:
                done.skipped += 1
            else:
                known.add(run)
                path = _Path(Journal(ledger, run), record, auditors, done.spent)
                await path.walk()
                done.runs += 1
                done.moments += path.progress.turns
                staged += path.journal.seq
        if staged >= GROUP:
            with done.spent.on("committing"):
                await ledger.commit()
            staged = 0
        if progress is not None:
            progress(done)
    with done.spent.on("committing"):
        await ledger.commit()
    return runs, done


def run_id(record: Record, auditors: Sequence[Auditor]) -> RunId:
    """The name of a record's review: the same record under the same auditors, the same run."""
    cards = [card(auditor).model_dump(exclude_none=True) for auditor in auditors]
    return digest_value({"record": digest_of(record), "auditors": cards})[:32]


class _Path:
    """One record on its way into the ledger."""

    def __init__(
        self, journal: Journal, record: Record, auditors: Sequence[Auditor], spent: Spent
    ) -> None:
        self.spent = spent
        self.journal = journal
        self.progress = Progress(journal.run)
        self.record = record
        self.auditors = auditors
        cards = tuple(card(auditor) for auditor in auditors)
        self.cards = cards
        self.restrictions = digest_value([])
        shown = [one.model_dump(exclude_none=True) for one in cards]
        self.reviewers = digest_value({"gate": {}, "auditors": shown})
        self.goal = journal.put(record.goal)

    def log(self, body: Body) -> None:
        self.progress.apply(self.journal.log(body))

    async def walk(self) -> None:
        self.log(
            RunOpened(
                mode="record",
                project=self.record.task,
                goal=self.goal,
                thinker=self.record.thinker,
                auditors=self.cards,
                gate={},
                restrictions=self.restrictions,
                source=self.record.source,
            )
        )
        for entry in self.record.entries:
            match entry:
                case Said(message=message):
                    content = self.journal.put(message.content)
                    self.log(
                        TranscriptRecorded(role=message.role, name=message.name, content=content)
                    )
                case Group(steps=steps):
                    sealed = [await self.step(step) for step in steps]
                    for moment, step in zip(sealed, steps, strict=True):
                        outcome = self.journal.put(step.outcome) if step.outcome else None
                        self.log(ActRecorded(moment=moment, outcome=outcome))
        labels = self.journal.put(self.record.labels) if self.record.labels else None
        self.log(RunClosed(status="recorded", labels=labels))

    async def step(self, step: RecordedStep) -> Digest:
        turn = self.progress.turns + 1
        thought = None
        if step.thought is not None:
            thought = self.journal.put(step.thought)
            self.log(StepThought(turn=turn, content=thought))
        proposal = self.journal.put(step.proposal)
        self.log(StepProposed(turn=turn, proposal=proposal, what=step.proposal.kind, by=step.by))
        moment = Moment(
            run=self.journal.run,
            turn=turn,
            place="1",
            goal=self.goal,
            history=self.progress.history,
            proposal=proposal,
            thought=thought,
            restrictions=self.restrictions,
            reviewers=self.reviewers,
        )
        self.log(MomentSealed(moment=moment))
        sealed = digest_of(moment)
        for auditor in self.auditors:
            evidence = {
                Evidence.PROPOSAL: step.proposal,
                Evidence.THOUGHT: step.thought,
                Evidence.HISTORY: LedgerHistory(
                    self.journal.ledger,
                    self.progress,
                    thoughts=Evidence.THOUGHT in auditor.sees,
                ),
            }
            with self.spent.on("judging"):
                shown = view(auditor, moment, sealed, self.record.goal, evidence)
                answer = await ask(auditor, shown)
            self.log(recorded(answer, self.journal))
        return sealed
