"""Ledgers of honest runs, written straight away, event by event, as the loop would write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from audition.canonical import digest_bytes, digest_value
from audition.gate import build, draw, sequential, spec, threshold
from audition.ledger import Journal, PrivateKey, SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActStarted,
    AuditDrawn,
    AuditRecorded,
    MomentSealed,
    RunClosed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
    TicketIssued,
)
from audition.step import (
    Act,
    AuditorCard,
    Decision,
    Evidence,
    Moment,
    Outcome,
    Role,
    Ticket,
    ToolSchema,
    Usage,
    Verdict,
    after,
    digest_of,
    now,
)

AT_ONCE = 64
"""Runs that go on at the same time and share their commits."""

OF_AN_ACT = 10
"""Events of one act that two guards let pass."""

_SECRET = b"the lottery's secret, of 32 bytes"[:32]
_BOX = digest_bytes(b"what the box holds")
_CARDS = tuple(
    AuditorCard(name=name, role=Role.GUARD, sees=(Evidence.PROPOSAL,)) for name in ("form", "rules")
)
_GATE = sequential(threshold("form", reject_at=1), threshold("rules", reject_at=0.5))
_TOOL = ToolSchema(name="write", description="Write a file.", parameters={"type": "object"})


async def written(path: Path, events: int, acts: int, key: PrivateKey) -> None:
    """Write a signed ledger of about so many events, in runs of so many gated acts each."""
    runs = max(1, round(events / (acts * OF_AN_ACT)))
    with SqlLedger.open(path, signer=key) as ledger:
        for first in range(0, runs, AT_ONCE):
            names = [digest_bytes(str(number).encode())[:32] for number in range(runs)]
            under_way = [_run(Journal(ledger, run), acts) for run in names[first:][:AT_ONCE]]
            while under_way:
                under_way = [run for run in under_way if next(run, "ended") is None]
                await ledger.commit()


def _run(journal: Journal, acts: int) -> Iterator[None]:
    """One run, an act at a time."""
    put, log, run = journal.put, journal.log, journal.run
    goal, tool, limits = put(f"Write {acts} numbers."), put(_TOOL), digest_value([])
    gate, history = spec(_GATE), goal
    again = build(gate)
    cards = [card.model_dump(exclude_none=True) for card in _CARDS]
    reviewers = digest_value({"gate": gate, "auditors": cards})
    log(
        RunOpened(
            mode="live",
            project="measured",
            goal=goal,
            thinker="a script",
            auditors=_CARDS,
            gate=gate,
            tools=(tool,),
            box=put("a box"),
            confinement=put("what held"),
            budget={"steps": acts, "seconds": 1e6},
            restrictions=limits,
            secret=digest_bytes(_SECRET),
        )
    )
    for turn in range(1, acts + 1):
        act = Act(tool="write", arguments={"path": f"{run[:4]}/{turn}.txt", "content": str(turn)})
        thought, proposal = put(f"The number {turn} of {run[:4]} is due."), put(act)
        moment = Moment(
            run=run,
            turn=turn,
            place="1",
            goal=goal,
            history=history,
            proposal=proposal,
            thought=thought,
            box=_BOX,
            tool=tool,
            restrictions=limits,
            reviewers=reviewers,
        )
        sealed, lot = digest_of(moment), draw(_SECRET, run, turn, 1.0)
        answers = [
            Verdict(auditor=card.name, role=card.role, moment=sealed, score=0.0, saw=card.sees)
            for card in _CARDS
        ]
        decision = again.decide(moment, answers, lot)
        assert isinstance(decision, Decision)
        usage = Usage(seconds=0.25, tokens_in=900, tokens_out=80)
        log(StepThought(turn=turn, content=thought, box=_BOX, usage=usage))
        log(StepProposed(turn=turn, proposal=proposal, what="act"))
        log(MomentSealed(moment=moment))
        log(AuditDrawn(moment=sealed, **lot.model_dump()))
        for answer in answers:
            log(AuditRecorded(verdict=answer))
        log(StepDecided(moment=sealed, decision=decision))
        expires = now() + 600_000_000
        ticket = Ticket(
            run=run, moment=sealed, proposal=proposal, tool=tool, expires=expires, act=act
        )
        name = digest_of(ticket)
        log(TicketIssued(moment=sealed, ticket=name, proposal=proposal, tool=tool, expires=expires))
        log(ActStarted(ticket=name))
        outcome = put(Outcome(status="done", output=f"wrote {run[:4]}/{turn}.txt"))
        log(ActFinished(ticket=name, status="done", outcome=outcome))
        turned = {
            "number": turn,
            "attempt": 0,
            "place": "1",
            "thought": thought,
            "proposal": proposal,
            "action": "proceed",
            "outcome": outcome,
        }
        history = after(history, {"turn": turned})
        yield
    log(RunClosed(status="exhausted", secret=_SECRET))
