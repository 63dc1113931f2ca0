"""Approvals of reasoning in PRM800K's step format: a line for each judged step, nothing after it.

A line is the problem, the steps up to the judged one, unrated, and that one with its candidates
and their ratings. PRM800K itself has a line for each solution, in which what is said of an early
step stands beside all that came later; here each lesson is a line of its own. The rating of an
approval a is the one of −1, 0, 1 that is nearest to 2a − 1, 0 where two are. `audition.records`
reads the lines back.

Only chains of reasoning have this form: thoughts and answers, without acts, questions, outcomes and
messages of others. A rejected thought is no part of the solution that went on without it.

Source: https://github.com/openai/prm800k
"""

from __future__ import annotations

from collections.abc import Iterator

from audition.history import LedgerHistory
from audition.learn.drawn import Drawing, Drawn, Omitted
from audition.learn.in_words import step_in_words
from audition.learn.lessons import Lessons
from audition.learn.trl_rows import LONGEST, approvals, line
from audition.ledger import LedgerError
from audition.model.chat import sendable
from audition.step import Finish, JsonObject, Proposal, Think, Turn

STEPS = 1000
"""Most entries of a history that a line repeats."""


def prm800k_rows(drawing: Drawing, lessons: Lessons) -> Iterator[JsonObject]:
    """The lines that lessons by approval give, as JSON objects, in their order."""
    for drawn in drawing.each(lessons):
        try:
            row = _row(drawing, drawn)
            if len(line(row)) > LONGEST:
                raise Omitted("too long")
        except Omitted as error:
            drawing.omit(error.why)
            continue
        yield row


def rating(approval: float) -> int:
    """The rating that stands for an approval."""
    return (approval > 0.75) - (approval < 0.25)


def _row(drawing: Drawing, drawn: Drawn) -> JsonObject:
    judged = [
        _completion(_thought(drawing.proposal(name)), rating(approval))
        for (name, _), approval in zip(drawn.candidates, approvals(drawn), strict=False)
    ]
    earlier = [_step([_completion(text, None)], 0) for text in _chain(drawn.before.history)]
    return {
        "labeler": drawn.lessons.auditor,
        "timestamp": None,
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {
            "problem": sendable(drawn.before.history.goal),
            "ground_truth_solution": None,
            "ground_truth_answer": None,
        },
        "label": {
            "steps": [*earlier, _step(judged, None)],
            "total_time": None,
            "finish_reason": None,
        },
        "weight": drawn.weight,
        "ledger": drawn.ledger(),
    }


def _chain(history: LedgerHistory) -> list[str]:
    """The reasoning so far."""
    if len(history) > STEPS:
        raise Omitted("too long")
    try:
        entries = history.last(len(history))
    except LedgerError:
        raise Omitted("its content is not in the ledger") from None
    for entry in entries:
        if not isinstance(entry, Turn) or entry.outcome is not None:
            raise Omitted("no chain of reasoning")
    turns = [entry for entry in entries if isinstance(entry, Turn) and entry.action != "reject"]
    return [_thought(turn.proposal) for turn in turns]


def _thought(proposal: Proposal) -> str:
    if not isinstance(proposal, Think | Finish):
        raise Omitted("no chain of reasoning")
    return step_in_words(proposal)


def _completion(text: str, rating: int | None) -> JsonObject:
    return {"text": text, "rating": rating, "flagged": None}


def _step(completions: list[JsonObject], chosen: int | None) -> JsonObject:
    return {
        "completions": list(completions),
        "human_completion": None,
        "chosen_completion": chosen,
    }
