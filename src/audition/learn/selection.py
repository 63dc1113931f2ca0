"""Selection: which of a plan's siblings goes on. To choose by results is to train by results.

A seed, a checkpoint or a hyper-parameter that survives because of how its runs ended carries the
gradient of that ending, whatever the boundary cut inside the run; a sum of approvals over many
steps is such an ending too. So one of the siblings goes on because it was *declared* (the plan's
first seed) or by *lottery* (all alike), and which of the two, with the lottery's secret, is
committed before the first sibling begins. Of one run only its end can go on: the weights of the
plan's last update.

What was trained in no ledger, or in one that nobody is shown, is chosen without a trace; nothing
here can tell.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self, cast

import numpy as np

from audition.canonical import digest_bytes, digest_value
from audition.gate import draw_rows, new_secret
from audition.learn.plan import Plan
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import RunClosed, RunOpened, ThinkerChosen, ThinkerUpdated
from audition.step import Digest, RunId, digest_of

Rule = Literal["declared", "lottery"]
"""By what a sibling may be chosen: the plan's first seed, or the lot."""

_WHY = (
    "choosing by {by} trains by {by}: over siblings, seeds and checkpoints it credits all steps of "
    'a run with what came of them; choose by="declared" or by="lottery"'
)


class SelectionError(ValueError):
    """No sibling can be chosen like this; the message says why and what can be done."""


class ChosenByResult(SelectionError):
    """A choice by outcome or by approval, which no rule allows."""


class MissingSibling(SelectionError):
    """A declared seed was not trained to its end, or more than once."""


@dataclass(frozen=True)
class Sibling:
    """One run of a plan."""

    run: RunId
    """The run."""
    seed: int
    """Which of the plan's seeds."""
    thinker: Digest
    """Its weights after the last update that the ledger holds."""
    trained: bool
    """Whether it was carried out to its end."""


def siblings(ledger: SqlLedger, plan: Plan) -> list[Sibling]:
    """Every run of a plan that a ledger holds, oldest first."""
    name, found = digest_of(plan), list[Sibling]()
    for run in ledger.runs():
        events = ledger.read(run)
        opened = next(events, None)
        body = opened.body if opened is not None else None
        if not isinstance(body, RunOpened) or body.training is None or body.training.plan != name:
            continue
        thinker, trained = body.thinking or "", False
        for event in events:
            match event.body:
                case ThinkerUpdated(after=after):
                    thinker = after
                case RunClosed(status=status):
                    trained = status == "trained"
                case _:
                    pass
        found.append(Sibling(run, body.training.seed, thinker, trained))
    return found


def missing(plan: Plan, runs: Iterable[Sibling]) -> tuple[int, ...]:
    """Declared seeds without a run that was carried out; one is enough to fail certification."""
    there = {one.seed for one in runs if one.trained}
    return tuple(seed for seed in plan.seeds if seed not in there)


def repeated(plan: Plan, runs: Iterable[Sibling]) -> tuple[int, ...]:
    """Declared seeds that were begun more than once: whoever shows one run of several has chosen.

    A run that was broken off counts. Whether it broke by itself or was stopped for what it
    promised, its ledger does not say.
    """
    count = Counter(one.seed for one in runs)
    return tuple(seed for seed in plan.seeds if count[seed] > 1)


def check_rule(by: str) -> Rule:
    """The rule of that name.

    Raises:
        ChosenByResult: it is a choice by results.
        SelectionError: there is no such rule.
    """
    if by in ("outcome", "approval"):
        raise ChosenByResult(_WHY.format(by=by))
    if by not in ("declared", "lottery"):
        raise SelectionError(f"{by[:60]!r} is no rule of selection; there are declared, lottery")
    return cast(Rule, by)


def goes_on(by: Rule, among: Sequence[Digest], secret: bytes, run: RunId) -> int:
    """Which of the siblings goes on, by number; whoever verifies a choice computes it again.

    By lottery the i-th of n is drawn at the rate 1/(n − i), i from 0, until one is: each with
    probability 1/n.

    Args:
        by: the rule.
        among: their weights, in the order of the plan's seeds.
        secret: the secret that the run of the selection was opened with.
        run: that run.

    Raises:
        SelectionError: nothing to choose from.
    """
    if not among:
        raise SelectionError("no siblings to choose from")
    if by == "declared":
        return 0
    return int(draw_rows(secret, run, 0, 1 / np.arange(len(among), 0, -1)).argmax())


class Selection:
    """A choice among the siblings of a plan, in a run of its own: made by `open`, then `choose`."""

    def __init__(self, plan: Plan, journal: Journal, by: Rule, secret: bytes) -> None:
        self.plan, self.run = plan, journal.run
        self.by: Rule = by
        self._journal, self._secret, self._made = journal, secret, False

    @classmethod
    async def open(cls, ledger: SqlLedger, plan: Plan, by: str) -> Self:
        """Commit to a rule, and to the lottery's secret, before any sibling is trained.

        The secret is in this process's memory until the choice: if the process ends first, the lot
        can no longer be drawn, and the plan is to be declared anew under another name.

        Args:
            ledger: where the siblings will be trained.
            plan: whose siblings they are.
            by: `declared` or `lottery`.

        Raises:
            ChosenByResult: `outcome` or `approval`.
            SelectionError: no such rule, or siblings have begun.
        """
        rule = check_rule(by)
        if begun := siblings(ledger, plan):
            raise SelectionError(
                f"{plan.name}: seed {begun[0].seed} has begun; commit to a rule before the first "
                "sibling is trained"
            )
        secret, journal = new_secret(), Journal(ledger, secrets.token_hex(16))
        journal.log(
            RunOpened(
                mode="simulated",
                project=plan.name,
                goal=journal.put(plan),
                thinker=rule,
                auditors=(),
                gate={},
                restrictions=digest_value([]),
                secret=digest_bytes(secret),
            )
        )
        await journal.commit()
        return cls(plan, journal, rule, secret)

    async def choose(self) -> Sibling:
        """Choose among all declared siblings, record it, and show the lottery's secret.

        Raises:
            MissingSibling: a declared seed is missing, unfinished, or was begun twice.
            SelectionError: the choice was made already.
        """
        if self._made:
            raise SelectionError(f"{self.plan.name}: the choice is made; a lot is drawn once")
        found = siblings(self._journal.ledger, self.plan)
        if gone := missing(self.plan, found):
            raise MissingSibling(
                f"{self.plan.name}: seed {gone[0]} was declared and not trained to its end; train "
                f"all {len(self.plan.seeds)} siblings"
            )
        if twice := repeated(self.plan, found):
            raise MissingSibling(
                f"{self.plan.name}: seed {twice[0]} was begun more than once, so that one of its "
                "runs could be picked; declare the plan anew"
            )
        by_seed = {one.seed: one for one in found}
        among = [by_seed[seed] for seed in self.plan.seeds]
        weights = tuple(one.thinker for one in among)
        chosen = among[goes_on(self.by, weights, self._secret, self.run)]
        self._made = True
        self._journal.log(ThinkerChosen(among=weights, chosen=chosen.thinker, by=self.by))
        self._journal.log(RunClosed(status="finished", secret=self._secret))
        await self._journal.commit()
        return chosen
