"""`audition show --exchanges STEP`: what was said to models about one step, and their answers."""

from __future__ import annotations

from collections.abc import Iterator

from audition.canonical import parse
from audition.console.speaking import margined, tell
from audition.ledger import LedgerError, SqlLedger
from audition.ledger.events import (
    AuditRecorded,
    CandidatesSealed,
    StepProposed,
    StepThought,
    ThoughtFailed,
)
from audition.plain import shown
from audition.step import Digest, Exchange, RunId, Words


def exchanges(ledger: SqlLedger, run: RunId, turn: int) -> Iterator[tuple[str, Exchange]]:
    """Each exchange of a step, in order, and who held it: the thinker, a candidate, an auditor.

    Raises:
        LedgerError: what the events name is missing, redacted or no exchange.
    """
    now = 0
    for event in ledger.read(run):
        match event.body:
            case StepThought() | ThoughtFailed() as body:
                now = body.turn
                if now == turn:
                    yield from (("thinker", one) for one in _listed(ledger, body.exchanges))
            case StepProposed(turn=number):
                now = number
            case CandidatesSealed() as body if now == turn:
                for number, one in enumerate(body.candidates, 1):
                    for exchange in _listed(ledger, one.exchanges):
                        yield f"candidate {number}", exchange
                for one in body.missing:
                    for exchange in _listed(ledger, one.exchanges):
                        yield "a candidate that failed", exchange
            case AuditRecorded(answer=answer) if now == turn and answer.said is not None:
                words = Words.parse(ledger.get(answer.said))
                yield from ((answer.auditor, one) for one in words.exchanges or ())
            case _:
                pass
        if now > turn:
            return


def tell_exchanges(found: list[tuple[str, Exchange]]) -> None:
    """Say them in full, each request and each reply behind a margin."""
    for who, exchange in found:
        for what, body in (("request", exchange.request), ("reply", exchange.reply)):
            tell(f"{shown(who, 100)}, {what}:")
            for line in margined(body.decode(errors="replace")):
                tell(line)
    if not found:
        tell("no exchange with a model")


def _listed(ledger: SqlLedger, named: Digest | None) -> list[Exchange]:
    if named is None:
        return []
    try:
        return [Exchange.model_validate(one) for one in parse(ledger.get(named))]
    except (ValueError, TypeError) as error:
        raise LedgerError(f"content {named[:12]}…: no list of exchanges ({error})") from None
