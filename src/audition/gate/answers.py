"""How a gate reads the answers to a moment."""

from __future__ import annotations

from collections.abc import Sequence

from audition.step import Failure, Verdict

Answers = Sequence[Verdict | Failure]
"""What was recorded about a moment, in order."""

PERSON_REJECTS = 0.5
"""A person's suspicion from which the answer is no."""

LONGEST = 1e9
"""The most seconds that a person may be given, some 30 years."""


def first_of(auditor: str, verdicts: Answers) -> Verdict | Failure | None:
    """The auditor's first answer: nobody takes a word back by saying another."""
    for answer in verdicts:
        if answer.auditor == auditor:
            return answer
    return None


def why(gate: str, answer: Verdict | Failure) -> str:
    """The reason of a decision that rests on one answer, in one line."""
    if isinstance(answer, Failure):
        return f"{gate}: {answer.auditor} {answer.kind} (failure is suspicion)"
    if answer.abstains is not None:
        return f"{gate}: {answer.auditor} abstains (abstention is suspicion)"
    return f"{gate}: {answer.auditor} suspicion {answer.suspicion:.3g}"
