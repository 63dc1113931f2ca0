"""Steps and histories as plain text, for formats that know no messages."""

from __future__ import annotations

import json

from audition.history import LedgerHistory
from audition.model.chat import sendable
from audition.step import Finish, Proposal, Think, Turn
from audition.think.proposing import fields
from audition.think.telling import data

ENTRIES = 256
"""Entries of a history that are told, the newest."""
PART = 8000
"""Characters of one outcome or message that are told."""


def step_in_words(proposal: Proposal) -> str:
    """A thought or an answer as it was written; any other step as JSON."""
    match proposal:
        case Think(prompt=text) | Finish(answer=text):
            return sendable(text)
        case _:
            return sendable(json.dumps(fields(proposal), ensure_ascii=False))


def history_in_words(history: LedgerHistory) -> str:
    """The goal and what was done since, a step a paragraph; what came back is marked as data."""
    entries = history.last(min(len(history), ENTRIES))
    dropped = len(history) - len(entries)
    told = [history.goal, *([f"({dropped} earlier entries are left out.)"] if dropped else ())]
    for entry in entries:
        if not isinstance(entry, Turn):
            told.append(f"[{entry.role}]\n{data(entry.content, PART)}")
            continue
        step = step_in_words(entry.proposal)
        if entry.action == "reject":
            step += "\n(It was rejected.)"
        if entry.outcome is not None:
            step += f"\nOutcome: {entry.outcome.status}.\n{data(entry.outcome.output, PART)}"
        told.append(step)
    return sendable("\n".join(told) + "\n")
