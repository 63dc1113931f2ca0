"""The rules of candidates: after the draw and before any answer, of this moment, as many as said.

Whether each was thought by the call that candidate 0 came from, no ledger can show.
"""

from __future__ import annotations

from audition.ledger.events import CandidatesSealed
from audition.step import Digest, Draw, Evidence, Failure, Verdict
from audition.verify.case import Case, Disorder, Step


def demanded(case: Case, step: Step, lot: Draw) -> bool:
    """Whether candidates must be sealed before this step is judged; no other step has any."""
    return case.opened.candidates is not None and lot.drawn and step.attempt == 0


def sealed(case: Case, step: Step, body: CandidatesSealed, before: Digest | None) -> None:
    """Candidates are sealed.

    Args:
        case: the run.
        step: the step under judgement.
        body: what was sealed.
        before: the box's state before the step's thought, as far as the ledger says it.

    Raises:
        Disorder: they are another moment's.
    """
    if body.moment != step.sealed:
        raise Disorder(4, "candidates of another moment than the one under judgement")
    declared, count = case.opened.candidates or 1, 1 + len(body.candidates)
    if count + len(body.missing) != declared:
        said = f"{count} candidates and {len(body.missing)} missing, declared are {declared}"
        case.found(4, said)
    if body.before is None and body.candidates:
        case.found(4, "candidates from a state that nobody names")
    elif body.before is not None and before is not None and body.before != before:
        case.found(4, "candidates from another state than the thought began in")
    for number, one in enumerate(body.candidates, 1):
        _check_proposal(case, number, one.proposal)
    step.candidates = count


def ranked(case: Case, step: Step, answer: Verdict | Failure) -> None:
    """What is said of each candidate is said of all that were sealed, by one who saw them."""
    each = (answer.ranking or answer.approvals) if isinstance(answer, Verdict) else None
    if each is None:
        return
    card = case.cards.get(answer.auditor)
    if card is not None and Evidence.CANDIDATES not in card.sees:
        case.found(5, f"{answer.auditor} judges candidates that it was not shown")
    if len(each) != step.candidates:
        said = f"{answer.auditor} judges {len(each)} candidates, sealed are"
        case.found(5, f"{said} {step.candidates}")


def _check_proposal(case: Case, number: int, name: Digest) -> None:
    try:
        found = case.contents.proposal(name)
    except ValueError:
        case.found(2, f"candidate {number} is no proposal")
        return
    case.tally.proposals_unread += found is None
