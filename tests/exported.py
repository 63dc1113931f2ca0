"""Everything that is written of a ledger's lessons for other trainers, row by row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import handmade
from audition.gate import spec
from audition.learn.drawn import Drawing
from audition.learn.live import lessons_of
from audition.learn.prm800k_lines import prm800k_rows
from audition.learn.trl_rows import data_sets, line
from audition.ledger import SqlLedger
from audition.step import Finish, Proposal, Think
from chatted import AT_ONCE
from handmade import JUDGES, Scribe

AWRY = (Think(prompt="Backwards."), Finish(answer="Here."))
"""What every step of `thinking_run` would have been otherwise."""


def exported(path: Path) -> tuple[list[str], Counter[str]]:
    """Each row as it is written, in every form, and what was left out."""
    rows: list[str] = []
    with SqlLedger.open(path, create=False) as ledger:
        drawing = Drawing(ledger)
        for one in lessons_of(ledger).lessons:
            for made in data_sets(one):
                rows += map(line, made.rows(drawing))
            if one.signal == "approval":
                rows += map(line, prm800k_rows(drawing, one))
    return rows, Counter(map(str, drawing.omitted.elements()))


def by_event(rows: list[str]) -> dict[int, list[str]]:
    """Rows by the place of the word that they come from."""
    found: dict[int, list[str]] = {}
    for row in rows:
        place: dict[str, Any] = json.loads(row)["ledger"]
        found.setdefault(place["seq"], []).append(row)
    return found


def thinking_run(*steps: tuple[Proposal, tuple[float, ...]], run: str = handmade.LIVE) -> Scribe:
    """A live run of thoughts, the judge's approvals of whose candidates are given."""
    pen = Scribe(run, gate=spec(AT_ONCE), cards=JUDGES, others=AWRY)
    pen.open()
    for proposal, approvals in steps:
        pen.think(proposal)
        pen.verdict("rules", 0.0)
        pen.verdict("judge", approvals[0], approvals=approvals)
        action = pen.decide().action
        pen.enters(action)
        pen.place += ".1" * (action == "proceed")
    return pen
