"""The rules of a run that chooses which sibling of a plan goes on: committed to, then drawn."""

from __future__ import annotations

from audition.canonical import digest_bytes
from audition.learn.selection import SelectionError, check_rule, goes_on
from audition.ledger.events import RestrictionDeclared, RunClosed, ThinkerChosen
from audition.step import Digest, Event
from audition.verify.case import Case, Disorder
from audition.verify.simulated import Course


class Choice:
    """Follows one run of a selection, whose goal is the plan.

    Args:
        case: the run.
        courses: the runs of training met so far; it grows as the ledger is read.
    """

    def __init__(self, case: Case, courses: list[Course]) -> None:
        self._case, self._courses = case, courses
        self._begun = False
        self._made: ThinkerChosen | None = None
        self._complete = False
        self.run = case.run
        """The run."""
        self.plan: Digest = case.opened.goal
        """The plan."""
        if case.opened.secret is None:
            case.found(4, "no secret was committed for the lottery")
        try:
            check_rule(case.opened.thinker)
        except SelectionError as error:
            case.found(6, str(error))
        if self._siblings():
            case.found(6, "a rule of selection is committed to after the first sibling has begun")

    @property
    def complete(self) -> bool:
        """Whether the choice was made, and its secret shown."""
        return self._complete

    @property
    def chosen(self) -> Digest | None:
        """The weights that go on, once it is said."""
        return self._made.chosen if self._made is not None else None

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
            self._begun = True
        match body:
            case ThinkerChosen() if self._made is None:
                self._choose(body)
            case RunClosed():
                self._close(body)
            case _:
                raise Disorder(6, f"{body.kind} has no place in a run that chooses")

    def _siblings(self) -> list[Course]:
        return [
            one
            for one in self._courses
            if one.opened.training is not None and one.opened.training.plan == self.plan
        ]

    def _choose(self, body: ThinkerChosen) -> None:
        self._made = body
        if body.by != self._case.opened.thinker:
            self._case.found(6, f"chosen by {body.by}; the rule committed to is another")
        ended = {
            one.opened.training.seed: one.last
            for one in self._siblings()
            if one.opened.training is not None and one.closed == "trained"
        }
        plan = next((one.plan for one in self._siblings() if one.plan is not None), None)
        due = tuple(ended.get(seed, "") for seed in plan.seeds) if plan is not None else ()
        if body.among != due:
            self._case.found(6, "what was chosen among are not all the declared siblings")

    def _close(self, body: RunClosed) -> None:
        case = self._case
        if case.opened.secret is None or self._made is None:
            return
        if body.secret is None or digest_bytes(body.secret) != case.opened.secret:
            case.found(4, "the secret that was committed for the lottery is not shown")
            return
        if self._made.by not in ("declared", "lottery"):
            return
        self._complete = True
        number = goes_on(self._made.by, self._made.among, body.secret, case.run)
        if self._made.among[number] != self._made.chosen:
            case.found(6, f"the choice by {self._made.by} falls on another sibling")
