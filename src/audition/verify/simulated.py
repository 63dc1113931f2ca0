"""The rules of a run that trains: sealed, then judged, then learned from, and nothing else learned.

What the events assert is held against the plan and the restrictions; batches are read back, their
roots and draws recomputed, and the lessons drawn from them again. Whether a row could have happened
and whether its teacher would say so again is for `opened`; whether the weights follow from the
lessons is for `replayed` (see `audition.verify.certificate`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.canonical import digest_bytes, digest_value
from audition.gate import draw_rows
from audition.learn import Batch, BatchError, Forbidden, LessonError, Plan, held_to, moment_of
from audition.learn.batch import check_layout
from audition.learn.lessons import of_batch
from audition.learn.restrictions import check_horizon, check_lifting, check_signal, stopped
from audition.learn.sealing import rates_of
from audition.ledger.events import (
    AuditRecorded,
    BatchSealed,
    LessonTaken,
    RestrictionDeclared,
    RestrictionLifted,
    RunClosed,
    RunOpened,
    ThinkerChosen,
    ThinkerUpdated,
)
from audition.step import Digest, Event, Restriction, Role, Verdict
from audition.verify.case import Case, Disorder

BATCHES = 1_000_000
"""Batches of one run, as a plan may have them."""

PLAN = 1 << 16
"""Largest plan, in bytes."""

BOUGHT = 200_000
"""Most moments of one batch that are judged one by one."""

_SHOWN = "candidates"


@dataclass
class Course:
    """What one run of training shows of itself."""

    run: str
    """The run."""
    opened: RunOpened
    """How it began."""
    plan: Plan | None
    """Its plan, if it is there."""
    restrictions: tuple[Restriction, ...] = ()
    """The restrictions declared."""
    lifted: list[str] = field(default_factory=list[str])
    """Those that keys lifted."""
    updates: list[Digest] = field(default_factory=list[str])
    """The weights after each update."""
    batches: list[BatchSealed] = field(default_factory=list[BatchSealed])
    """The batches, in order."""
    audits: dict[str, int] = field(default_factory=dict[str, int])
    """Moments judged, by auditor."""
    lessons: int = 0
    """Lessons taken."""
    live: int = 0
    """Those of them that are of live moments."""
    unread: int = 0
    """Batches whose rows are gone."""
    outcome: bool = False
    """Whether it learned from outcomes."""
    chosen: list[ThinkerChosen] = field(default_factory=list[ThinkerChosen])
    """Choices among trained thinkers that it records."""
    secret: bytes | None = None
    """The lottery's secret, once shown."""
    closed: str | None = None
    """How it ended."""
    began: int = 0
    """Index of its first event."""
    ended: int | None = None
    """Index of its last, once it is closed."""

    @property
    def first(self) -> Digest:
        """The weights that it began from."""
        return self.opened.thinking or ""

    @property
    def becomes(self) -> Role | None:
        """The role of the auditor that it trains; None for a thinker, or where its plan is gone."""
        return self.plan.becomes if self.plan is not None else None

    @property
    def last(self) -> Digest:
        """The weights that it ended with."""
        return self.updates[-1] if self.updates else self.first


@dataclass
class _Sealed:
    """The batch under judgement."""

    body: BatchSealed
    batch: Batch | None
    names: dict[Digest, int] = field(default_factory=dict[str, int])
    """Its drawn rows' moments, where a person is asked."""
    answers: dict[int, Verdict] = field(default_factory=dict[int, Verdict])
    taken: LessonTaken | None = None


class Simulated:
    """Follows one run of training through its events."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._begun = False
        self._sealed: _Sealed | None = None
        self._live: LessonTaken | None = None
        """Lessons of live moments that no update has learned from yet."""
        self.course = Course(case.run, case.opened, self._plan(), began=self._here())
        plan = self.course.plan
        self._environment = digest_value(plan.world) if plan is not None else ""
        self._checked = False
        self._roots: set[Digest] = set()
        self._check_opening()

    def take(self, event: Event) -> None:
        """Hold the run's next event against the rules.

        Raises:
            Disorder: it may not stand here.
        """
        case, body = self._case, event.body
        case.clock(event.at)
        if isinstance(body, RestrictionDeclared) and not self._begun:
            case.declares(body.restriction)
            return
        if not self._begun:
            case.declared()
            self._begun, self.course.restrictions = True, tuple(case.restrictions)
            self._limits = held_to(self.course.restrictions, becomes=self.course.becomes)
        match body:
            case RestrictionLifted():
                self._lift(body)
            case BatchSealed():
                self._seal(body)
            case AuditRecorded():
                self._hear(body)
            case LessonTaken():
                self._learn(body)
            case ThinkerUpdated():
                self._update(body)
            case ThinkerChosen():
                self._choose(body)
            case RunClosed():
                self._close(body)
            case _:
                raise Disorder(6, f"{body.kind} has no place in a run that trains")

    # ---------------------------------------------------------------- what was declared

    def _plan(self) -> Plan | None:
        training = self._case.opened.training
        if training is None:
            return None
        data = self._case.contents.data(training.plan)
        if data is None:
            return None
        if len(data) > PLAN:
            self._case.found(6, f"the plan is longer than {PLAN} bytes")
            return None
        try:
            plan = Plan.parse(data)
            if plan.canonical() == data:
                return plan
        except (ValueError, RecursionError):
            pass
        self._case.found(6, "the plan is none that this version writes")
        return None

    def _here(self) -> int:
        here = self._case.findings.here
        return here[0] if here is not None else 0

    def _check_opening(self) -> None:
        case, plan = self._case, self.course.plan
        if case.opened.secret is None:
            case.found(4, "no secret was committed for the lottery")
        if plan is None or case.opened.training is None:
            return
        if case.opened.training.seed not in plan.seeds:
            case.found(6, f"seed {case.opened.training.seed} is none that the plan declares")
        if plan.base is not None and case.opened.thinking != plan.base:
            case.found(6, "training begins from other weights than the plan's base")
        if plan.signal != "outcome" and len(case.opened.auditors) != 1:
            case.found(6, f"{len(case.opened.auditors)} auditors were declared; one teaches")

    def _limit(self) -> None:
        """What the restrictions that were not lifted say of the plan itself."""
        self._checked = True
        plan = self.course.plan
        if plan is None or plan.signal == "outcome":
            return
        try:
            check_signal(self._limits, plan.signal)
            check_horizon(self._limits, plan.horizon)
        except Forbidden as error:
            self._case.found(7 if "credit" in str(error) else 6, str(error))

    def _lift(self, body: RestrictionLifted) -> None:
        try:
            check_lifting(self.course.restrictions, self._case.run, body)
        except Forbidden as error:
            self._case.found(8, str(error))
        else:
            self.course.lifted.append(body.restriction)
            lifted = self.course.lifted
            self._limits = held_to(self.course.restrictions, lifted, self.course.becomes)

    # ---------------------------------------------------------------- sealed, then judged

    def _seal(self, body: BatchSealed) -> None:
        case, plan, course = self._case, self.course.plan, self.course
        if not self._checked:
            self._limit()
        if body.root in self._roots:
            case.found(6, "the same batch is sealed twice")
        self._roots.add(body.root)
        if self._sealed is not None:
            case.found(6, f"batch {self._sealed.body.number} was sealed and not learned from")
        if body.number != len(course.batches):
            raise Disorder(6, f"batch {body.number} after {len(course.batches)} batches")
        if len(course.batches) >= BATCHES:
            raise Disorder(6, f"more than {BATCHES} batches")
        if body.thinker != course.last:
            case.found(6, "the weights that acted are not those of the last update")
        if plan is not None:
            if body.environment != self._environment:
                case.found(6, "another environment than the plan's")
            if plan.signal != "outcome" and body.rates != plan.rates:
                case.found(6, "the lottery's rates are not the plan's")
            if body.leaf != plan.leaf:
                case.found(6, "leaves of another length than the plan's")
            asked = plan.signal in ("approval", "comparison")
            people = {card.person for card in case.opened.auditors} if asked else set[bool]()
            if people and (body.auditor is None) not in people:
                case.found(6, "a person answers by verdicts of their own, a machine in the batch")
        if body.auditor is not None:
            card = case.cards.get(body.auditor)
            if card is None:
                case.found(5, f"auditor {body.auditor} was not declared")
            elif card.rules != body.judge:
                case.found(5, f"auditor {body.auditor} is not what was declared: its rules differ")
        case.tally.batches += 1
        course.batches.append(body)
        again = body.root in (one.root for one in course.batches[-2:-1])
        self._sealed = _Sealed(body, None if again else self._read(body))

    def _read(self, body: BatchSealed) -> Batch | None:
        """The batch from its content, its root recomputed."""
        data = self._case.contents.data(body.data)
        if data is None:
            self._case.tally.batches_unread += 1
            self.course.unread += 1
            return None
        try:
            check_layout(body.columns)
            batch = Batch.read(body, data)
            root = batch.root()
        except (BatchError, ValueError, TypeError) as error:
            self._case.found(6, f"batch {body.number}: {error}")
            return None
        if root != body.root:
            self._case.found(6, f"batch {body.number}: its leaves do not make its root")
        return batch

    def _hear(self, body: AuditRecorded) -> None:
        """A person's answer about one row, after the batch was sealed and before it is learned."""
        case, sealed, answer = self._case, self._sealed, body.answer
        if sealed is None or sealed.taken is not None:
            case.found(4, f"a verdict of {answer.auditor} after its lesson was taken")
            return
        if sealed.body.auditor is not None:
            case.found(6, f"a verdict of {answer.auditor} on what a machine judged in the batch")
            return
        card = case.cards.get(answer.auditor)
        if card is None:
            case.found(5, f"auditor {answer.auditor} was not declared")
            return
        self.course.audits[card.name] = self.course.audits.get(card.name, 0) + 1
        if not isinstance(answer, Verdict):
            return
        case.check_verdict(answer, card)
        if sealed.batch is None:
            return
        if not sealed.names:
            drawn_R = sealed.batch.column("drawn")
            rows = np.flatnonzero(drawn_R).tolist() if drawn_R is not None else []
            if len(rows) > BOUGHT:
                raise Disorder(6, f"more than {BOUGHT} moments of one batch judged one by one")
            sealed.names = {moment_of(sealed.body.root, row): row for row in rows}
        row = sealed.names.get(answer.moment)
        if row is None:
            case.found(6, f"a verdict of {card.name} on a moment that this batch did not draw")
        elif row in sealed.answers:
            case.found(6, f"a second verdict of {card.name} on one moment")
        else:
            sealed.answers[row] = answer

    # ---------------------------------------------------------------- learned

    def _learn(self, body: LessonTaken) -> None:
        case, sealed, plan = self._case, self._sealed, self.course.plan
        if body.batch is None:
            self._learn_live(body)
        elif sealed is None:
            raise Disorder(6, "lessons without a batch")
        else:
            if body.batch != sealed.body.root:
                case.found(6, "lessons of a batch that this run did not seal just before")
            if sealed.taken is not None:
                case.found(6, "lessons are taken twice from one batch")
            sealed.taken = body
        case.tally.lessons += body.taken
        self.course.lessons += body.taken
        card = case.cards.get(body.auditor)
        if card is None:
            case.found(6, f"lessons of {body.auditor}, who was not declared")
        elif self._limits.roles is not None and card.role not in self._limits.roles:
            case.found(8, f"lessons of {card.name}, a {card.role}")
        elif self._limits.unseen is not None and set(card.sees) & set(self._limits.unseen):
            case.found(8, f"lessons of {card.name}, who is shown what no teacher may see")
        judge = sealed.body.auditor if sealed is not None else None
        if judge is not None and judge != body.auditor:
            case.found(6, f"the batch was judged by {judge}, not by {body.auditor}")
        if plan is not None and body.signal != plan.signal:
            case.found(6, f"lessons by {body.signal}; the plan declares {plan.signal}")
        if body.taken != body.admissible or (body.refused and body.batch is not None):
            says = f"{body.taken} of {body.admissible} admissible lessons were taken"
            case.found(6, f"{says}: chosen, not drawn")
        if sealed is not None and sealed.batch is not None:
            self._draw_again(body, sealed, sealed.batch)
        if (end := stopped(self._limits, len(self.course.updates), 0)) or (
            self._limits.lessons is not None and self.course.lessons > self._limits.lessons
        ):
            case.found(6, f"training goes on although {end or 'all its lessons are taken'}")

    def _learn_live(self, body: LessonTaken) -> None:
        """Lessons of moments that other runs of the ledger hold; they are not drawn again here."""
        if not self._checked:
            self._limit()
        if self._sealed is not None or self._live is not None:
            self._case.found(6, "lessons of live moments before those taken earlier were learned")
        self._live = body
        self.course.live += body.taken
        audits = self.course.audits
        audits[body.auditor] = audits.get(body.auditor, 0) + body.taken

    def _draw_again(self, body: LessonTaken, sealed: _Sealed, batch: Batch) -> None:
        """The lessons that follow from the batch and the verdicts are those that were taken."""
        case = self._case
        try:
            rows = batch.columns()
            drawn_R = rows["drawn"].astype(bool)
            lessons = of_batch(
                batch,
                sealed.body.root,
                signal=body.signal,
                auditor=body.auditor,
                rate_R=rates_of(rows, sealed.body.columns, sealed.body.rates),
                drawn_R=drawn_R,
                **self._answers(body, sealed, drawn_R),
            )
        except (LessonError, BatchError, KeyError, ValueError, IndexError) as error:
            case.found(6, f"batch {sealed.body.number} gives no such lessons: {error}")
            return
        if sealed.body.auditor is not None:
            audits = self.course.audits
            audits[body.auditor] = audits.get(body.auditor, 0) + len(lessons)
        if len(lessons) != body.admissible or lessons.population != body.population:
            case.found(6, f"the batch drew {len(lessons)} lessons, {body.admissible} are stated")
        if lessons.digest() != body.lessons:
            case.found(6, "the lessons are not those that the batch and its verdicts give")

    def _answers(
        self, body: LessonTaken, sealed: _Sealed, drawn_R: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Verdicts that came as events, by row."""
        if sealed.body.auditor is not None:
            return {}
        if others := {one.auditor for one in sealed.answers.values()} - {body.auditor}:
            raise LessonError(f"{min(others)} judged them, not {body.auditor}")
        missing = int(drawn_R.sum()) - len(sealed.answers)
        if missing:
            raise LessonError(f"{missing} drawn moments were not judged")
        some = next(iter(sealed.answers.values()), None)
        if some is None:
            return {}
        if some.ranking is not None:
            of_each = {column.shape[:1] for column in sealed.body.columns if column.part == _SHOWN}
            if of_each != {(len(some.ranking),)}:
                raise LessonError("a ranking of other candidates than the batch holds")
            ranking_RK = np.full((len(drawn_R), len(some.ranking)), -1)
            for row, answer in sealed.answers.items():
                ranking_RK[row] = answer.ranking or ()
            return {"ranking_RK": ranking_RK}
        approval_R = np.full(len(drawn_R), np.nan)
        for row, answer in sealed.answers.items():
            approval_R[row] = np.nan if answer.score is None else answer.score
        return {"approval_R": approval_R}

    def _update(self, body: ThinkerUpdated) -> None:
        case, course, plan, sealed = self._case, self.course, self.course.plan, self._sealed
        if body.number != len(course.updates):
            raise Disorder(6, f"update {body.number} after {len(course.updates)} updates")
        if body.before != course.last:
            case.found(6, "the update does not begin from the last weights")
        if body.weights is not None and body.weights != body.after:
            case.found(6, "the weights kept are not those of the update")
        if body.of != course.opened.thinker:
            case.found(6, f"{body.of} is not who the run was to train")
        if body.signal == "outcome":
            course.outcome = True
            if plan is None or plan.signal != "outcome":
                case.found(6, "learned from an outcome; the plan declares none")
        else:
            taken = sealed.taken if sealed is not None else self._live
            if taken is None:
                case.found(6, "an update without lessons")
            elif body.lessons != taken.lessons or body.signal != taken.signal:
                case.found(6, "the update learned from other lessons than were taken")
            if plan is not None and body.horizon != plan.horizon:
                case.found(7, "credit reached over another horizon than the plan's")
        course.updates.append(body.after)
        self._sealed = self._live = None

    def _choose(self, body: ThinkerChosen) -> None:
        self.course.chosen.append(body)
        if body.chosen not in body.among:
            self._case.found(6, "what was chosen is none of those to choose from")
        if body.by in ("outcome", "approval"):
            self._case.found(6, f"a thinker was chosen by {body.by}: selection is a gradient too")

    # ---------------------------------------------------------------- the end

    def _close(self, body: RunClosed) -> None:
        case, course, plan = self._case, self.course, self.course.plan
        course.closed, course.ended = body.status, self._here()
        kept = body.answer is not None or not course.live  # a model's folder is its own place
        if body.status == "trained" and kept and body.answer != course.last:
            case.found(6, "the weights at the end are not those of the last update")
        ended = bool(stopped(self._limits, len(course.updates), course.lessons))
        if course.live and self._limits.lessons is not None:
            ended = True  # that the next lessons would have been too many, `audition lessons` shows
        if self._sealed is not None:
            drawn_R = self._sealed.batch.column("drawn") if self._sealed.batch else None
            more = 0 if drawn_R is None else int(drawn_R.sum())
            most = self._limits.lessons
            if most is not None and course.lessons + more > most and self._sealed.taken is None:
                ended = True  # its lessons would have been too many
            else:
                says = f"batch {self._sealed.body.number} was sealed and not learned from"
                case.found(6, says)
        if self._live is not None:
            case.found(6, "lessons of live moments were taken and not learned from")
        short = plan is not None and len(course.updates) != plan.batches and not ended
        if body.status == "trained" and plan is not None and short:
            says = f"{len(course.updates)} updates of {plan.batches}, stopped by no restriction"
            case.found(6, says)
        if case.opened.secret is None:
            return
        if body.secret is None:
            case.found(4, "the lottery's secret is not shown, so no draw can be checked")
        elif digest_bytes(body.secret) != case.opened.secret:
            case.found(4, "the secret shown is not the one that the run was opened with")
        else:
            course.secret = body.secret
            self._check_draws(body.secret)

    def _check_draws(self, secret: bytes) -> None:
        case, plan = self._case, self.course.plan
        if plan is None or plan.signal == "outcome":
            return
        for body in self.course.batches:
            data = case.contents.data(body.data)
            if data is None:
                case.tally.draws_unchecked += body.rows
                continue
            try:
                rows = Batch.read(body, data).columns()
                rate_R = rates_of(rows, body.columns, body.rates)
                due_R = draw_rows(secret, case.run, body.number, rate_R)
                wrong = int((rows["drawn"].astype(bool) != due_R).sum())
            except (LessonError, BatchError, KeyError, ValueError) as error:
                case.found(4, f"batch {body.number}: no draw can be checked: {error}")
                continue
            case.tally.draws += body.rows
            if wrong:
                says = f"batch {body.number}: {wrong} draws are not those of the lottery"
                case.found(4, says)
