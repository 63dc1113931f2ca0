"""Lessons from live runs and reviewed records: each verdict is a lesson, or refused with a reason.

All runs of a project are read, or none: whoever picked some could pick them by what came of them.
And a teacher is learned from only where it is asked whatever any guard says; a teacher that stands
behind a guard in the gate is heard on the moments that the guard let pass, so that the guard would
choose the lessons. A gate that asks all its auditors at once (`strictest`) has no such order among
those that it asks first, people excepted, for whom it does not wait once a guard has said no.

A person who thinks demonstrates every step, whatever was decided about it: nobody picks among them.

A teacher that was itself trained teaches only where this ledger vouches for it (see
`audition.learn.provenance`).

What was planted is nobody's step, and teaches nothing; where steps are planted, a step that is not
decided yet may be one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from audition.canonical import digest_value
from audition.learn.lessons import LessonError, Lessons, Reason
from audition.learn.order import order
from audition.learn.provenance import taught
from audition.learn.restrictions import check_lifting, held_to
from audition.learn.rows import rows_of
from audition.ledger import LetGo, SqlLedger
from audition.ledger.events import (
    ActRecorded,
    ActStarted,
    AuditDrawn,
    AuditRecorded,
    CandidatesSealed,
    MomentSealed,
    PlantOpened,
    PlantSealed,
    RestrictionDeclared,
    RestrictionLifted,
    RunOpened,
    StepDecided,
    StepThought,
    TicketIssued,
)
from audition.step import (
    AuditorCard,
    Digest,
    Event,
    Failure,
    Limits,
    Moment,
    Name,
    Restriction,
    Role,
    RunId,
    Signal,
    Verdict,
    digest_of,
)

LISTED = 1000
"""Refusals that are listed; all of them are counted."""


@dataclass(frozen=True)
class Refusal:
    """A verdict that is no lesson."""

    run: RunId
    """Its run."""
    turn: int
    """The step that it is about."""
    auditor: Name
    """Whose it is."""
    reason: Reason
    """Why nothing may be learned from it."""


@dataclass
class Harvest:
    """What a ledger has to teach."""

    lessons: list[Lessons] = field(default_factory=list[Lessons])
    """One struct of arrays for each auditor, signal and number of candidates compared."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """What was refused, counted by reason."""
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    """The first of them."""
    runs: int = 0
    """Runs read."""
    let_go: int = 0
    """Runs that only an archive has, which were left out."""
    moments: int = 0
    """Moments in them."""


@dataclass
class _Row:
    """One lesson in the making."""

    run: RunId
    moment: Digest
    sealed: Moment
    weight: float
    seq: int
    approval: float = 0.0
    proposal: Digest = ""
    exchanges: Digest = ""
    candidates: tuple[tuple[Digest, Digest], ...] = ()
    ranking: tuple[int, ...] = ()
    approvals: tuple[float, ...] = ()


@dataclass
class _Open:
    """A moment under judgement."""

    sealed: Moment
    rate: float | None = None
    drawn: bool = True
    acted: bool = False
    decided: bool = False
    suspected: bool = False
    planted: bool = False
    exchanges: Digest = ""
    candidates: tuple[tuple[Digest, Digest], ...] | None = None
    answers: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    heard: set[str] = field(default_factory=set[str])


def lessons_of(ledger: SqlLedger, runs: Iterable[RunId] | None = None) -> Harvest:
    """All the lessons that a ledger's live runs and reviewed records hold.

    The context of a lesson is the digests `goal` and `history`, with its `run` and the place `seq`
    in it at which the teacher's word stands; its span is the digest `proposal`, and `exchanges`,
    that of what a model was asked and answered to make it (empty if there is none). Their content
    is in the ledger. What a teacher says of each of a moment's candidates, which are such digests
    too, is of as many as there are: those of 2, of 3 and of more are structs of their own.

    Args:
        ledger: the ledger.
        runs: these runs alone; all that the ledger has of their projects, or nothing.

    Raises:
        LessonError: some runs of a project were picked and others were not, or only an archive
            can tell.
    """
    modes = {run: _mode(ledger, run) for run in ledger.runs()}
    every = [run for run, mode in modes.items() if mode in ("live", "record")]
    wanted = every if runs is None else list(dict.fromkeys(runs))
    let_go = sum(mode is None for mode in modes.values())
    if runs is not None:
        if let_go:
            raise LessonError(
                f"{let_go} runs were let go, and nobody can tell here whether they are of "
                "the same projects; audition import ARCHIVE NEW.db, and draw from that"
            )
        _all_of_their_projects(ledger, every, wanted)
    trained, teachers = taught(ledger), frozenset[Digest]()
    while trained:  # whoever was taught by one that is vouched for may be the next
        found = _harvest(ledger, every, teachers).lessons
        lessons = {(one.auditor, row) for one in found for row in rows_of(one)}
        known = frozenset(one.made for one in trained if one.rests_on(lessons, teachers))
        if known == teachers:
            break
        teachers = known
    harvest = _harvest(ledger, wanted, teachers)
    harvest.let_go = let_go
    return harvest


def _harvest(ledger: SqlLedger, runs: Iterable[RunId], teachers: frozenset[Digest]) -> Harvest:
    """The lessons of these runs, of trained teachers only these."""
    harvest, population = Harvest(), Counter[Name]()
    rows: dict[tuple[Signal, Name, int], list[_Row]] = {}
    for run in runs:
        harvest.runs += 1
        reader = _Reader(run, harvest, population, teachers)
        for signal, auditor, row in reader.read(ledger.read(run)):
            rows.setdefault((signal, auditor, len(row.candidates)), []).append(row)
    for (signal, auditor, _), some in rows.items():
        harvest.lessons.append(_struct(signal, auditor, some, population[auditor]))
    return harvest


class _Reader:
    """Reads one run from its beginning."""

    def __init__(
        self,
        run: RunId,
        harvest: Harvest,
        population: Counter[Name],
        teachers: frozenset[Digest],
    ) -> None:
        self._teachers = teachers
        self._run = run
        self._harvest = harvest
        self._population = population
        self._cards: Mapping[str, AuditorCard] = {}
        self._order: dict[str, tuple[bool, bool]] = {}
        self._outside = (True, True)
        self._restrictions: list[Restriction] = []
        self._lifted: list[str] = []
        self._open: dict[Digest, _Open] = {}
        self._tickets: dict[Digest, Digest] = {}
        self._plants = False
        self._exchanges: Digest = ""
        self._thinks: Name | None = None
        """The person who thinks, if one does."""

    def read(self, events: Iterator[Event]) -> Iterator[tuple[Signal, Name, _Row]]:
        """The lessons of the run, with their signal and their auditor."""
        held: list[tuple[Signal, Name, _Row]] = []
        for signal, auditor, row in self._rows(events):
            if self._plants:
                held.append((signal, auditor, row))
            else:
                yield signal, auditor, row
        for signal, auditor, row in held:
            step = self._open[row.moment]
            if step.planted or not step.decided:
                self._refuse(auditor, step, "planted" if step.planted else "may be planted")
            else:
                yield signal, auditor, row

    def _rows(self, events: Iterator[Event]) -> Iterator[tuple[Signal, Name, _Row]]:
        for event in events:
            match event.body:
                case RunOpened() as body:
                    self._cards = {card.name: card for card in body.auditors}
                    # in a live run, whoever is in no gate is heard at somebody's pleasure
                    self._outside = (body.mode == "live",) * 2
                    self._order = order(body, self._cards)
                    self._thinks = body.thinker if _person(body) else None
                case RestrictionDeclared() as body:
                    self._restrictions.append(body.restriction)
                case RestrictionLifted() as body:
                    check_lifting(self._restrictions, self._run, body)
                    self._lifted.append(body.restriction)
                case PlantSealed():
                    self._plants = True
                case PlantOpened() as body:
                    self._opened(body)
                case StepThought() as body:
                    self._exchanges = body.exchanges or ""
                case MomentSealed() as body:
                    self._seal(body.moment)
                    yield from self._own(body.moment, event.seq)
                case AuditDrawn() as body:
                    if body.moment not in self._open:
                        raise LessonError(
                            f"run {self._run[:8]}, event {event.seq}: a draw for a moment that was "
                            "not sealed; verify the ledger"
                        )
                    self._open[body.moment].rate = body.rate
                    self._open[body.moment].drawn = body.drawn
                case CandidatesSealed() as body:
                    self._compare(body)
                case TicketIssued() as body:
                    self._tickets[body.ticket] = body.moment
                case ActStarted() as body:
                    self._acted(self._tickets.get(body.ticket))
                case ActRecorded() as body:
                    self._acted(body.moment)
                case AuditRecorded() as body:
                    yield from self._answered(body.answer, event.seq)
                case StepDecided() as body:
                    yield from self._decided(body, event.seq)
                case _:
                    pass

    def _opened(self, body: PlantOpened) -> None:
        """A planted moment is none of those from which lessons are drawn."""
        step = self._open.get(body.moment)
        if step is None or step.planted:
            return
        step.planted = True
        self._count(step.sealed, -1)

    def _seal(self, moment: Moment) -> None:
        step = self._open[digest_of(moment)] = _Open(moment)
        self._count(moment, 1)
        if not moment.attempt:  # a replacement is nobody's thought
            step.exchanges, self._exchanges = self._exchanges, ""

    def _own(self, moment: Moment, seq: int) -> Iterator[tuple[Signal, Name, _Row]]:
        """A person's own step shows how it is done."""
        if self._thinks is None or moment.attempt:
            return
        step = self._open[digest_of(moment)]
        if not _allowed(held_to(self._restrictions, self._lifted), "demonstration"):
            self._refuse(self._thinks, step, "forbidden by a restriction")
            return
        row = _Row(self._run, digest_of(moment), moment, 1.0, seq)
        row.proposal = moment.proposal
        yield "demonstration", self._thinks, row

    def _count(self, moment: Moment, by: int) -> None:
        self._harvest.moments += by
        for name, card in self._cards.items():
            if card.role is Role.TEACHER and not moment.attempt:
                self._population[name] += by

    def _compare(self, body: CandidatesSealed) -> None:
        """What was sealed first is what is compared, if nobody had answered yet."""
        step = self._open.get(body.moment)
        if step is not None and step.candidates is None and not step.heard:
            others = ((one.proposal, one.exchanges or "") for one in body.candidates)
            step.candidates = ((step.sealed.proposal, step.exchanges), *others)

    def _acted(self, moment: Digest | None) -> None:
        if moment in self._open:
            self._open[moment].acted = True

    def _answered(self, answer: Verdict | Failure, seq: int) -> Iterator[tuple[Signal, Name, _Row]]:
        step = self._open.get(answer.moment)
        if isinstance(answer, Verdict) and step is not None:
            step.answers[answer.auditor] = answer
            guard = answer.role is Role.GUARD
            step.suspected = step.suspected or (guard and answer.suspicion > 0)
        elif step is not None and self._role(answer.auditor) is Role.GUARD:
            step.suspected = True
        reason = self._reason(answer, step)
        if step is not None:
            step.heard.add(answer.auditor)
        if reason is not None:
            self._refuse(answer.auditor, step, reason)
            return
        assert step is not None
        row = _Row(self._run, answer.moment, step.sealed, self._weight(answer.auditor, step), seq)
        row.proposal, row.exchanges = step.sealed.proposal, step.exchanges
        if isinstance(answer, Verdict) and answer.ranking is not None:
            row.candidates, row.ranking = step.candidates or (), answer.ranking
            yield "comparison", answer.auditor, row
            return
        if isinstance(answer, Verdict):
            row.approval = answer.score or 0.0
            if answer.approvals is not None:
                row.candidates, row.approvals = step.candidates or (), answer.approvals
        yield "approval", answer.auditor, row

    def _reason(self, answer: Verdict | Failure, step: _Open | None) -> Reason | None:
        """Why nothing may be learned from an answer; None if it may."""
        card = self._cards.get(answer.auditor)
        limits = held_to(self._restrictions, self._lifted)
        if card is None:
            return "not declared"
        if step is None:
            return "of another moment"
        if limits.roles is not None and card.role not in limits.roles:
            return "by a guard"
        if step.acted:
            return "after the act"
        if step.sealed.attempt:
            return "of a replacement"
        saw = {*card.sees, *(answer.saw if isinstance(answer, Verdict) else ())}
        if limits.unseen is not None and saw & set(limits.unseen):
            return "saw what no teacher may see"
        made = answer.trained_from if isinstance(answer, Verdict) else card.trained_from
        if {made, card.trained_from} != {None} and not {made, card.trained_from} <= self._teachers:
            return "trained on what this ledger does not hold"
        sampled, guarded = self._order.get(card.name, self._outside)
        if guarded:
            return "a guard stood before it"
        if step.decided or card.name in step.heard or (sampled and not step.drawn):
            return "out of turn"
        ranking = answer.ranking if isinstance(answer, Verdict) else None
        each = answer.approvals if isinstance(answer, Verdict) else None
        if not _allowed(limits, "approval" if ranking is None else "comparison"):
            return "forbidden by a restriction"
        if isinstance(answer, Failure):
            return None if answer.cause == "moment" else "the infrastructure failed"
        if answer.abstains is not None:
            return "the teacher abstained"
        said = each if ranking is None else ranking
        return None if said is None else _incomparable(said, step.candidates)

    def _decided(self, body: StepDecided, seq: int) -> Iterator[tuple[Signal, Name, _Row]]:
        """A person's replacement of a step shows how it is done."""
        step, by = self._open.get(body.moment), body.decision.by
        if step is not None:
            step.decided = body.decision.action != "escalate"
        if body.decision.action != "modify" or step is None or by is None:
            return
        card, answer = self._cards.get(by), step.answers.get(by)
        if card is None or not card.person or answer is None or answer.replacement is None:
            return
        limits = held_to(self._restrictions, self._lifted)
        saw = {*card.sees, *answer.saw}
        if limits.roles is not None and card.role not in limits.roles:
            self._refuse(by, step, "by a guard")
        elif limits.unseen is not None and saw & set(limits.unseen):
            self._refuse(by, step, "saw what no teacher may see")
        elif card.trained_from or answer.trained_from:
            self._refuse(by, step, "trained on what this ledger does not hold")
        elif step.suspected or self._order.get(by, self._outside)[1]:
            self._refuse(by, step, "a guard prompted it")
        elif not _allowed(limits, "demonstration"):
            self._refuse(by, step, "forbidden by a restriction")
        else:
            row = _Row(self._run, body.moment, step.sealed, self._weight(by, step), seq)
            row.proposal = answer.replacement
            yield "demonstration", by, row

    def _weight(self, auditor: Name, step: _Open) -> float:
        """Inverse probability that this auditor was asked."""
        sampled = self._order.get(auditor, self._outside)[0]
        return 1 / step.rate if sampled and step.drawn and step.rate else 1.0

    def _refuse(self, auditor: Name, step: _Open | None, reason: Reason) -> None:
        self._harvest.refused[reason] += 1
        if len(self._harvest.refusals) < LISTED:
            turn = step.sealed.turn if step is not None else 0
            self._harvest.refusals.append(Refusal(self._run, turn, auditor, reason))

    def _role(self, auditor: Name) -> Role | None:
        card = self._cards.get(auditor)
        return card.role if card is not None else None


def _person(body: RunOpened) -> bool:
    """Whether a person thinks: then the thinker is what `PersonThinker` says that it is."""
    said = {"person": body.thinker, "executors": sorted(body.tools)}
    return body.mode == "live" and body.thinking == digest_value(said)


def _incomparable(
    said: tuple[float, ...], sealed: tuple[tuple[Digest, Digest], ...] | None
) -> Reason | None:
    """Why what is said of each candidate is not of those that were sealed before it."""
    if sealed is None:
        return "its candidates were not sealed before it"
    if len(said) != len(sealed):
        return "of another moment"
    return None if len(said) > 1 else "it compares nothing"


def _allowed(limits: Limits, signal: Signal) -> bool:
    return limits.signals is None or signal in limits.signals


def _struct(signal: Signal, auditor: Name, rows: list[_Row], population: int) -> Lessons:
    def column(values: Iterable[str]) -> np.ndarray:
        return np.array(list(values), dtype="<U64")

    def each(part: int) -> np.ndarray:
        return np.array([[one[part] for one in row.candidates] for row in rows], dtype="<U64")

    of_each = bool(rows[0].candidates)
    return Lessons(
        signal=signal,
        auditor=auditor,
        context={
            "run": column(row.run for row in rows),
            "seq": np.array([row.seq for row in rows]),
            "goal": column(row.sealed.goal for row in rows),
            "history": column(row.sealed.history for row in rows),
        },
        span={
            "proposal": column(row.proposal for row in rows),
            "exchanges": column(row.exchanges for row in rows),
        },
        weight_L=np.array([row.weight for row in rows]),
        moment_L=column(row.moment for row in rows),
        population=max(population, len(rows)),
        approval_L=np.array([row.approval for row in rows]) if signal == "approval" else None,
        approvals_LK=np.array([row.approvals for row in rows])
        if signal == "approval" and of_each
        else None,
        candidates={"proposal": each(0), "exchanges": each(1)} if of_each else {},
        ranking_LK=np.array([row.ranking for row in rows], dtype=np.int64)
        if signal == "comparison"
        else None,
    )


def _mode(ledger: SqlLedger, run: RunId) -> str | None:
    """How a run was made; None if only an archive can tell."""
    with suppress(LetGo):
        for event in ledger.read(run):
            return event.body.mode if isinstance(event.body, RunOpened) else ""
        return ""
    return None


def _project(ledger: SqlLedger, run: RunId) -> str:
    for event in ledger.read(run):
        return event.body.project if isinstance(event.body, RunOpened) else ""
    return ""


def _all_of_their_projects(ledger: SqlLedger, every: list[RunId], wanted: list[RunId]) -> None:
    if unknown := set(wanted) - set(every):
        raise LessonError(f"run {min(unknown)[:32]}: no live run or record of this ledger")
    projects = {run: _project(ledger, run) for run in every}
    for project in {projects[run] for run in wanted}:
        of = [run for run in every if projects[run] == project]
        picked = len(set(of) & set(wanted))
        if picked < len(of):
            raise LessonError(
                f"chosen by outcome? {picked} of {len(of)} runs of project {project!r} were "
                "picked; lessons are taken from all of them"
            )
