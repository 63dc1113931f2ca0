"""Groups for policy optimisation, from a ledger's lessons: one moment's candidates, to the token.

A teacher's word on each candidate of a moment makes a group. So do approvals of the first steps of
runs that were told the same: they stand at one moment, each in a run of its own. Whatever cannot be
learned from to the token is left out and counted by its reason; nothing is chosen by what came of
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from audition.learn.lessons import Lessons
from audition.learn.step_grpo import Group
from audition.learn.tokens import NotExact, Sampled, sampled
from audition.ledger import LedgerError, SqlLedger
from audition.step import Digest

OTHERS = "its candidates were not told the same"
ALONE = "there is nothing to compare it with"
GONE = "its exchanges are gone"
OTHER_WEIGHTS = "sampled by other weights than are to learn"
OTHER_TEMPERATURE = "sampled at another temperature"


@dataclass
class Grouped:
    """What lessons give to learn from."""

    groups: list[Group] = field(default_factory=list[Group])
    """A moment each."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """Lessons that are in none, counted by reason."""


def grouped(
    ledger: SqlLedger,
    lessons: Sequence[Lessons],
    *,
    weights: Digest | None = None,
    temperature: float = 1.0,
) -> Grouped:
    """The groups of lessons by approval or comparison.

    Args:
        ledger: which they were drawn from.
        lessons: one teacher's, by one signal; each struct those of as many candidates.
        weights: of the model that is to learn; None: whichever sampled.
        temperature: at which it is to learn.
    """
    found = Grouped()
    alone: dict[tuple[int, ...], list[tuple[Sampled, float, float]]] = {}

    def read(name: Digest) -> Sampled | None:
        try:
            one = sampled(ledger.get(name)) if name else None
        except LedgerError:
            found.refused[GONE] += 1
            return None
        except NotExact as error:
            found.refused[error.why] += 1
            return None
        if one is None:
            found.refused["no exchange with a model"] += 1
        elif weights is not None and one.weights != weights:
            found.refused[OTHER_WEIGHTS] += 1
        elif one.temperature != temperature:
            found.refused[OTHER_TEMPERATURE] += 1
        else:
            return one
        return None

    for some in lessons:
        for number in range(len(some)):
            weight = float(some.weight_L[number])
            if not some.candidates:
                one = read(str(some.span["exchanges"][number]))
                if one is not None and some.approval_L is not None:
                    told = one, float(some.approval_L[number]), weight
                    alone.setdefault(one.prompt, []).append(told)
                continue
            thoughts: list[Sampled] = []
            for name in some.candidates["exchanges"][number]:
                one = read(str(name))
                if one is None:
                    break
                thoughts.append(one)
            if len(thoughts) < len(some.candidates["exchanges"][number]):
                continue
            if len({one.prompt for one in thoughts}) > 1:
                found.refused[OTHERS] += 1
                continue
            approvals = some.approvals_LK
            ranking = some.ranking_LK
            found.groups.append(
                _group(
                    thoughts,
                    weight,
                    approval=None if approvals is None else tuple(approvals[number].tolist()),
                    ranking=None if ranking is None else tuple(ranking[number].tolist()),
                )
            )
    for same in alone.values():
        if len(same) < 2:
            found.refused[ALONE] += 1
            continue
        weight = sum(one for *_, one in same)  # each was a moment of the lottery's
        approval = tuple(one for _, one, _ in same)
        found.groups.append(_group([one for one, *_ in same], weight, approval=approval))
    return found


def _group(
    thoughts: Sequence[Sampled],
    weight: float,
    *,
    approval: tuple[float, ...] | None = None,
    ranking: tuple[int, ...] | None = None,
) -> Group:
    every = all(all(one.own) for one in thoughts)
    return Group(
        history=torch.tensor(thoughts[0].prompt),
        candidates=tuple(torch.tensor(one.ids) for one in thoughts),
        sampled=tuple(torch.tensor(one.logps, dtype=torch.float32) for one in thoughts),
        approval=approval,
        ranking=ranking,
        own=None if every else tuple(torch.tensor(one.own) for one in thoughts),
        weight=weight,
    )
