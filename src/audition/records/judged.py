"""What a ledger knows of a run beside its steps: who judged them, what was decided, what it cost.

It is told with a run that goes to another program; nothing here is checked (`audition verify`).
What was planted is no step of the run, and what is not decided yet may be planted: neither is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from audition.ledger import LedgerError, Redacted, SqlLedger
from audition.ledger.events import (
    AuditRecorded,
    CandidatesSealed,
    MomentSealed,
    PlantOpened,
    PlantSealed,
    RunClosed,
    StepDecided,
    StepThought,
)
from audition.records.from_ledger import REDACTED
from audition.step import (
    Digest,
    Failure,
    JsonObject,
    Micros,
    Moment,
    Proposal,
    RunId,
    Usage,
    Verdict,
    Words,
    digest_of,
    parse_proposal,
)

LONGEST = 2000
"""Characters of an auditor's words that are told."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What a gate decided about a proposal."""

    step: int
    at: Micros
    action: str
    reason: str
    proposal: Proposal | None
    """What it was about; None: it was redacted."""
    moment: Digest


@dataclass
class Judged:
    """What happened to a run's steps."""

    run: RunId
    began: Micros = 0
    ended: Micros = 0
    last: int = -1
    """Number of the last event that was read."""
    status: str = "open"
    reason: str = ""
    """Why it ended, where that was said."""
    verdicts: dict[str, list[JsonObject]] = field(default_factory=dict[str, "list[JsonObject]"])
    """Of each auditor what it said, moment by moment."""
    decisions: list[Decided] = field(default_factory=list["Decided"])
    thinking: Usage = field(default_factory=Usage)
    """What the thinker cost, its further candidates included."""
    judging: dict[str, Usage] = field(default_factory=dict[str, Usage])
    """What each auditor cost that said so."""


def judged(ledger: SqlLedger, run: RunId) -> Judged:
    """Read it from the run's events.

    Raises:
        LedgerError: the run or its content cannot be read.
    """
    found = Judged(run)
    moments: dict[Digest, Moment] = {}
    plants, planted = False, set[Digest]()
    for event in ledger.read(run):
        found.began = found.began or event.at
        found.ended, found.last = event.at, event.seq
        match event.body:
            case StepThought(usage=Usage() as usage):
                found.thinking = Usage.total((found.thinking, usage))
            case CandidatesSealed() as body:
                more = [one.usage for one in (*body.candidates, *body.missing)]
                found.thinking = Usage.total((found.thinking, *more))
            case PlantSealed():
                plants = True
            case PlantOpened(moment=named):
                planted.add(named)
            case MomentSealed(moment=moment):
                own = moment.model_copy(update={"turn": moment.turn - len(planted)})
                moments[digest_of(moment)] = own
            case AuditRecorded(answer=answer) if answer.moment in moments:
                told = _told(ledger, answer, moments[answer.moment])
                found.verdicts.setdefault(answer.auditor, []).append(told)
                if isinstance(answer, Verdict) and answer.usage is not None:
                    before = found.judging.get(answer.auditor, Usage())
                    found.judging[answer.auditor] = Usage.total((before, answer.usage))
            case StepDecided() as body if body.moment in moments:
                moment = moments[body.moment]
                found.decisions.append(
                    Decided(
                        step=moment.turn,
                        at=event.at,
                        action=body.decision.action,
                        reason=body.decision.reason,
                        proposal=_proposal(ledger, moment.proposal),
                        moment=body.moment,
                    )
                )
            case RunClosed(status=status, reason=reason):
                found.status, found.reason = status, reason
            case _:
                pass
    if plants:
        _leave_out(found, planted)
    return found


def _leave_out(found: Judged, planted: set[Digest]) -> None:
    """Leave out what was planted, and what may have been."""
    found.decisions = [one for one in found.decisions if one.moment not in planted]
    decided = {one.moment for one in found.decisions if one.action != "escalate"}
    found.decisions = [one for one in found.decisions if one.moment in decided]
    every = found.verdicts.items()
    own = {name: [one for one in said if one["moment"] in decided] for name, said in every}
    found.verdicts = {name: said for name, said in own.items() if said}


def _told(ledger: SqlLedger, answer: Verdict | Failure, moment: Moment) -> JsonObject:
    told: JsonObject = {
        "step": moment.turn,
        "attempt": moment.attempt,
        "moment": answer.moment,
        "suspicion": answer.suspicion,
        "says": _says(ledger, answer)[:LONGEST],
    }
    if isinstance(answer, Failure):
        return told | {"failed": answer.kind}
    named = answer.model_dump(include={"role", "score", "ranking", "abstains"}, exclude_none=True)
    return told | named


def _says(ledger: SqlLedger, answer: Verdict | Failure) -> str:
    if isinstance(answer, Failure):
        return answer.detail
    if answer.said is None:
        return ""
    try:
        return Words.parse(ledger.get(answer.said)).rationale
    except Redacted:
        return REDACTED
    except ValueError as error:
        raise LedgerError(f"content {answer.said[:12]}…: {error}") from None


def _proposal(ledger: SqlLedger, name: Digest) -> Proposal | None:
    try:
        return parse_proposal(ledger.get(name))
    except Redacted:
        return None
    except ValueError as error:
        raise LedgerError(f"content {name[:12]}…: {error}") from None
