"""Lessons become groups of one moment's candidates, or are left out for a reason that is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from test_tokens import held, reply

from audition.canonical import digest_bytes
from audition.learn import Lessons
from audition.learn.grouping import ALONE, GONE, OTHER_TEMPERATURE, OTHER_WEIGHTS, OTHERS, grouped
from audition.ledger import LedgerError

A, B = "a" * 64, "b" * 64


class Contents:
    """What a ledger holds, by digest."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        name = digest_bytes(data)
        self.held[name] = data
        return name

    def get(self, name: str) -> bytes:
        if name not in self.held:
            raise LedgerError("gone")
        return self.held[name]


def said(prompt: Sequence[int], written: Sequence[int], weights: str = A, **more: Any) -> bytes:
    return held(reply(prompt, written, weights=weights), **more)


def lessons(
    names: Sequence[Sequence[str]], approvals: Any = None, ranking: Any = None, weight: float = 1.0
) -> Lessons:
    """Lessons of moments whose candidates have these exchanges."""
    count = len(names)
    alone = len(names[0]) == 1
    return Lessons(
        signal="comparison" if ranking is not None else "approval",
        auditor="judge",
        context={},
        span={"exchanges": np.array([each[0] for each in names], "<U64")},
        weight_L=np.full(count, weight),
        moment_L=np.arange(count),
        population=4 * count,
        approval_L=None if approvals is None else np.array(approvals, float)[:, 0],
        approvals_LK=None if approvals is None or alone else np.array(approvals, float),
        candidates={} if alone else {"exchanges": np.array(names, "<U64")},
        ranking_LK=None if ranking is None else np.array(ranking),
    )


def test_the_candidates_of_a_moment_are_a_group() -> None:
    ledger: Any = Contents()
    names = [ledger.put(said([1, 2], [one, 9])) for one in (3, 4, 5)]
    found = grouped(ledger, [lessons([names], [[0.2, 1.0, 0.4]], weight=2.0)], weights=A)
    (group,) = found.groups
    assert group.history.tolist() == [1, 2] and group.weight == 2.0
    assert [one.tolist() for one in group.candidates] == [[3, 9], [4, 9], [5, 9]]
    assert group.approval == (0.2, 1.0, 0.4) and group.ranking is None
    ranked = grouped(ledger, [lessons([names], ranking=[[2, 0, 1]])], weights=A)
    assert ranked.groups[0].ranking == (2, 0, 1) and ranked.groups[0].approval is None
    assert not found.refused and not ranked.refused


def test_steps_of_several_runs_at_one_moment_are_a_group() -> None:
    """Those that were told the same, to the token; each was a moment of the lottery's."""
    ledger: Any = Contents()
    one, other = ([1, 2], [1, 3])
    names = [
        [ledger.put(said(prompt, [number]))]
        for number, prompt in enumerate((one, other, one, one), 5)
    ]
    approvals = [[0.1], [0.5], [0.2], [0.3]]
    found = grouped(ledger, [lessons(names, approvals, weight=2.0)], weights=A)
    (group,) = found.groups
    assert [ids.tolist() for ids in group.candidates] == [[5], [7], [8]]
    assert group.approval == (0.1, 0.2, 0.3) and group.weight == 6.0
    assert found.refused == {ALONE: 1}


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (said([1, 2], [4], weights=B), OTHER_WEIGHTS),
        (said([1, 2], [4], temperature=0.5), OTHER_TEMPERATURE),
        (said([1, 3], [4]), OTHERS),
        (b"[]", "no exchange with a model"),
        (held(b"{}"), "no token ids were recorded"),
    ],
)
def test_what_cannot_be_learned_from_is_counted(second: bytes, why: str) -> None:
    """The whole group is left out: a group without one of its candidates is another group."""
    ledger: Any = Contents()
    names = [ledger.put(said([1, 2], [3])), ledger.put(second)]
    found = grouped(ledger, [lessons([names], [[1.0, 0.0]])], weights=A)
    assert not found.groups and found.refused == {why: 1}


def test_what_is_gone_or_was_never_there_is_counted() -> None:
    ledger: Any = Contents()
    name = ledger.put(said([1, 2], [3]))
    found = grouped(ledger, [lessons([[name, B], [name, ""]], [[1.0, 0.0], [1.0, 0.0]])], weights=A)
    assert not found.groups
    assert found.refused == {GONE: 1, "no exchange with a model": 1}
