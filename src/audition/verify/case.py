"""One run under examination: what live and recorded runs have in common."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter

from audition.canonical import digest_value
from audition.gate import signers
from audition.ledger import PublicKey
from audition.ledger.events import (
    AuditAsked,
    AuditRecorded,
    MomentSealed,
    RunOpened,
    StepProposed,
    StepThought,
)
from audition.step import (
    AuditorCard,
    Digest,
    Evidence,
    Failure,
    Micros,
    Moment,
    Restriction,
    Role,
    RunId,
    Verdict,
    after,
    digest_of,
)
from audition.verify.contents import Contents
from audition.verify.finding import Findings

RESTRICTIONS = 10_000
"""Restrictions of one run that are held in memory; no honest run has so many."""

_BINDS = (
    *("run", "turn", "attempt", "place", "goal", "proposal"),
    *("thought", "box", "restrictions", "reviewers", "history", "by"),
)
_BOUND = attrgetter(*_BINDS)

_HIDDEN_FROM_TEACHERS = {Evidence.THOUGHT, Evidence.INTERNALS, Evidence.OUTCOME}


class Disorder(Exception):
    """An event stands where none of its kind may; the run cannot be followed further.

    Args:
        guarantee: number of the guarantee that it breaks.
        says: what is wrong, in one line.
    """

    def __init__(self, guarantee: int, says: str) -> None:
        super().__init__(says)
        self.guarantee = guarantee


@dataclass(slots=True)
class Tally:
    """What was examined, and what could not be."""

    decisions: int = 0
    decisions_unchecked: int = 0
    draws: int = 0
    draws_unchecked: int = 0
    tickets: int = 0
    tickets_unchecked: int = 0
    verdict_signatures: int = 0
    verdict_signatures_unchecked: int = 0
    sign_offs: int = 0
    register_unchecked: int = 0
    proposals_unread: int = 0
    outcomes_unread: int = 0
    tools_unread: int = 0
    backwards: int = 0
    batches: int = 0
    batches_unread: int = 0
    lessons: int = 0

    def add(self, other: Tally) -> None:
        """Count what was examined elsewhere too."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(slots=True)
class Step:
    """One attempt of one step, from its proposal on."""

    turn: int
    attempt: int
    what: str
    proposal: Digest
    thought: Digest | None
    box: Digest | None
    place: str
    tool: str | None
    moment: Moment | None = None
    sealed: Digest = ""
    by: str | None = None
    asked: dict[str, Micros | None] = field(default_factory=dict[str, "Micros | None"])
    answers: list[Verdict | Failure] = field(default_factory=list["Verdict | Failure"])
    overdue: set[str] = field(default_factory=set[str])
    candidates: int = 1
    planted: bool = False
    elsewhere: bool = False
    """Whether the run was taken up during it in the box that was there before its thought."""
    before: int = 0
    """Planted steps of the run before it."""

    def entry(self, action: str, outcome: Digest | None) -> dict[str, object]:
        """How this step enters the history."""
        said: dict[str, object] = {
            "number": self.turn - self.before,
            "attempt": self.attempt,
            "place": self.place,
            "proposal": self.proposal,
            "action": action,
        }
        if self.thought is not None:
            said["thought"] = self.thought
        if outcome is not None:
            said["outcome"] = outcome
        return {"turn": said}


class Case:
    """One run.

    Args:
        run: the run.
        opened: how it was opened.
        findings: where to report.
        contents: what the ledger holds beside the events.
        keys: whose signatures under verdicts count, by id.
        tally: what is counted over all runs.
    """

    def __init__(
        self,
        run: RunId,
        opened: RunOpened,
        findings: Findings,
        contents: Contents,
        keys: dict[str, PublicKey],
        tally: Tally,
    ) -> None:
        self.run = run
        self.opened = opened
        self.findings = findings
        self.contents = contents
        self.keys = keys
        self.tally = tally
        self.history = opened.goal
        self.before: Digest | None = None
        """The history without its newest entry."""
        self.length = 0
        """Entries of the history."""
        self.turn = 0
        self.restrictions: list[Restriction] = []
        self.cards = {card.name: card for card in opened.auditors}
        self.signers = signers(opened.gate)
        self._tools: dict[Digest, str | None] = {}
        self._last: Micros = 0
        self.reviewers = digest_value(
            {
                "gate": opened.gate,
                "auditors": [card.model_dump(exclude_none=True) for card in opened.auditors],
            }
        )
        self._check_cards(opened.auditors)

    def found(self, guarantee: int, says: str) -> None:
        """Report about the event under examination."""
        self.findings.add(guarantee, says)

    def declares(self, restriction: Restriction) -> None:
        """A restriction in force from the start."""
        self.restrictions.append(restriction)
        if len(self.restrictions) > RESTRICTIONS:
            raise Disorder(2, f"more than {RESTRICTIONS} restrictions")

    def declared(self) -> None:
        """Compare the restrictions declared with what the opening says of them."""
        listed = [one.model_dump(exclude_none=True) for one in self.restrictions]
        if digest_value(listed) != self.opened.restrictions:
            self.found(2, "the restrictions declared are not those that the run was opened with")

    def begun(self, turn: int) -> None:
        """A step begins; steps are numbered without gaps."""
        if turn != self.turn + 1:
            raise Disorder(4, f"step {turn} begins after step {self.turn}")
        self.turn = turn

    def clock(self, at: Micros) -> Micros:
        """How long after the event before it this one is; clocks that are set may go back."""
        since, self._last = at - self._last, at
        if since < 0:
            self.tally.backwards += 1
            return 0
        return since

    def proposed(self, body: StepProposed, thought: StepThought | None, place: str) -> Step:
        """A proposal, of the kind that it says it is."""
        kind = self.contents.kind(body.proposal)
        if kind is None:
            self.tally.proposals_unread += 1
        elif kind != body.what:
            says = f"proposed as {body.what}, but the content is {kind or 'no proposal'}"
            self.found(2, says)
        return Step(
            turn=body.turn,
            attempt=body.attempt,
            what=body.what,
            proposal=body.proposal,
            thought=thought.content if thought else None,
            box=thought.box if thought else None,
            place=place,
            tool=self.contents.tool(body.proposal),
            by=body.by if body.attempt and self.signers else None,
        )

    def sealed(self, step: Step, body: MomentSealed) -> None:
        """The moment binds exactly this run, this step and what it is judged under."""
        moment = body.moment
        step.moment, step.sealed = moment, digest_of(moment)
        due = (
            *(self.run, step.turn, step.attempt, step.place, self.opened.goal, step.proposal),
            *(step.thought, step.box, self.opened.restrictions, self.reviewers, self.history),
            step.by,
        )
        if (said := _BOUND(moment)) != due:
            for field_, one, other in zip(_BINDS, said, due, strict=True):
                if one != other:
                    self.found(2, f"the moment's {field_} is not that of the run at this step")
        if moment.tool is None:
            return
        if moment.tool not in self.opened.tools:
            self.found(2, "the moment's tool is none that the run was opened with")
        elif step.tool is not None:
            self._check_tool(step.tool, moment.tool)

    def asked(self, step: Step, body: AuditAsked) -> None:
        """A declared auditor is asked about the moment under judgement."""
        if body.moment != step.sealed:
            raise Disorder(4, "asked about another moment than the one under judgement")
        if body.auditor not in self.cards:
            self.found(5, f"auditor {body.auditor} was not declared")
        else:
            step.asked.setdefault(body.auditor, body.deadline)

    def answered(self, step: Step, body: AuditRecorded, at: Micros) -> None:
        """One answer of each declared auditor, in its role, from what it may see."""
        answer = body.answer
        name = answer.auditor
        if answer.moment != step.sealed:
            raise Disorder(4, "a verdict on another moment than the one under judgement")
        card = self.cards.get(name)
        if card is None:
            self.found(5, f"auditor {name} was not declared")
            return
        if isinstance(answer, Verdict):
            self.check_verdict(answer, card)
            deadline = step.asked.get(name)
            if deadline is not None and at > deadline:
                return  # what comes after its deadline is not heard
            if name in step.overdue:
                self.found(5, f"the clock went back: {name} answers after its deadline")
        if name in [other.auditor for other in step.answers]:
            self.found(5, f"auditor {name} answers twice about one moment")
        else:
            step.answers.append(answer)

    def enters(self, entry: dict[str, object]) -> None:
        """The history grows by one entry."""
        self.before, self.history = self.history, after(self.history, entry)
        self.length += 1

    def check_verdict(self, verdict: Verdict, card: AuditorCard) -> None:
        """A verdict in the role and from the evidence that were declared, and its signature."""
        if verdict.role is not card.role:
            self.found(5, f"auditor {card.name} was declared a {card.role}")
        if verdict.saw != card.sees and not set(verdict.saw) <= set(card.sees):
            self.found(5, f"auditor {card.name} was shown more than it declared")
        if verdict.trained_from != card.trained_from:
            self.found(8, f"auditor {card.name} judges by other weights than it declared")
        if verdict.signature is None or card.name in self.signers:
            return  # what is signed off is signed otherwise: `audition.verify.signoff`
        if verdict.signature.key.partition("+")[0] != verdict.auditor:
            says = f"the verdict of {card.name} is signed with the key {verdict.signature.key}"
            self.found(10, says)
            return
        key = self.keys.get(verdict.signature.key)
        if key is None:
            self.tally.verdict_signatures_unchecked += 1
            return
        signed = verdict.model_copy(update={"signature": None})
        self.tally.verdict_signatures += 1
        if not key.verifies(signed.canonical(), verdict.signature.value):
            self.found(10, f"the signature of {card.name} under its verdict does not verify")

    def _check_cards(self, cards: tuple[AuditorCard, ...]) -> None:
        if len(self.cards) != len(cards):
            self.found(5, "two auditors were declared under one name")
        for card in cards:
            if card.role is Role.TEACHER and _HIDDEN_FROM_TEACHERS & set(card.sees):
                self.found(8, f"teacher {card.name} is shown what no teacher may see")

    def _check_tool(self, due: str, schema: Digest) -> None:
        """The schema is that of the tool which the proposal names."""
        if schema not in self._tools:
            self._tools[schema] = self.contents.schema(schema)
        name = self._tools[schema]
        if name is None:
            self.tally.tools_unread += 1
        elif name != due:
            self.found(2, f"a step for the tool {due}, sealed with the schema of {name or 'none'}")
