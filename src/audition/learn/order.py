"""In which order a gate asks: who hears only what the lottery or a guard let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from audition.gate import GateError, build, named
from audition.ledger.events import RunOpened
from audition.step import AuditorCard, Gate, Role

FORM = "form"
"""The guard in front of every gate: it stops what no executor could do, and nothing else."""


def order(opened: RunOpened, cards: Mapping[str, AuditorCard]) -> dict[str, tuple[bool, bool]]:
    """For each auditor of a gate: whether the lottery stands before it, and whether a guard does.

    An auditor that is asked in several places is taken by the worst of them.
    """
    if not opened.gate:
        return {}
    try:
        gate = build(opened.gate)
    except (GateError, ValueError):
        return dict.fromkeys(cards, (True, True))  # an unknown gate may do anything
    guards = {name for name, card in cards.items() if card.role is Role.GUARD} - {FORM}
    people = {name for name, card in cards.items() if card.person}
    found: dict[str, tuple[bool, bool]] = {}
    for name, sampled, guarded in _walk(gate, guards, people, False, False):
        before = found.get(name, (False, False))
        found[name] = before[0] or sampled, before[1] or guarded
    return found


def _walk(
    gate: Gate, guards: set[str], people: set[str], sampled: bool, guarded: bool
) -> Iterator[tuple[str, bool, bool]]:
    """Auditors of a gate, each with whether the lottery and whether a guard stands before it."""
    kind = getattr(gate, "kind", None)
    inner: tuple[Gate, ...] | None = getattr(gate, "of", None)
    if inner is None:
        auditor, to = getattr(gate, "auditor", None), getattr(gate, "to", None)
        if auditor is not None:
            yield auditor, sampled, guarded
        if to is not None:  # asked when the auditor suspects
            yield to, sampled, guarded or auditor in guards
        return
    for number, part in enumerate(inner):
        others = inner[:number] + inner[number + 1 :] if kind == "strictest" else inner[:number]
        before = any(named(other) & guards for other in others)
        at_once = _asked_first(part) - people if kind == "strictest" else set[str]()
        for name, drawn, behind in _walk(part, guards, people, sampled, guarded):
            yield name, drawn or kind == "sampled", behind or (before and name not in at_once)


def _asked_first(gate: Gate) -> set[str]:
    """Auditors that a gate asks before it knows any answer."""
    inner: tuple[Gate, ...] | None = getattr(gate, "of", None)
    if inner is None:
        return {getattr(gate, "auditor", "")}
    asked = inner if getattr(gate, "kind", None) == "strictest" else inner[:1]
    return {name for part in asked for name in _asked_first(part)}
