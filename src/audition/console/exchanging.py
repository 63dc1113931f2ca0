"""`audition show --exchanges STEP`: what was said to models about one step, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from audition.canonical import parse
from audition.console.speaking import margined, some, tell
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

if TYPE_CHECKING:
    from audition.model.completion import Completion


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
    """Say them in full, each request and each reply behind a margin.

    A reply that is a chat completion, streamed or not, is told as the message that it holds.
    """
    for who, exchange in found:
        tell(f"{shown(who, 100)}, request:")
        _tell_text(exchange.request.decode(errors="replace"))
        tell(f"{shown(who, 100)}, reply:")
        if (said := _completion(exchange.reply)) is None:
            _tell_text(exchange.reply.decode(errors="replace"))
        else:
            _tell_message(said)
    if not found:
        tell("no exchange with a model")


def _completion(reply: bytes) -> Completion | None:
    """The message that a reply holds; None if it is no whole chat completion."""
    from audition.model.completion import Unread, streamed, whole

    for read in (whole, streamed):
        with suppress(Unread):
            return read(reply)
    return None


def _tell_message(said: Completion) -> None:
    """The parts of a message, and what it cost; what is not there is not told."""
    tell(f"  assistant, {shown(said.model, 200)}, ended by {shown(said.finish, 100) or 'nothing'}")
    for what, text in (("thought", said.reasoning), ("text", said.text)):
        if text:
            tell(f"  {what}:")
            _tell_text(text)
    for call in said.calls:
        tell(f"  call of {shown(call.name, 200)}:")
        _tell_text(call.arguments)
    if said.tokens_in is not None and said.tokens_out is not None:
        tell(f"  {some(said.tokens_in, 'token')} read, {said.tokens_out:,} written")


def _tell_text(text: str) -> None:
    for line in margined(text):
        tell(line)


def _listed(ledger: SqlLedger, named: Digest | None) -> list[Exchange]:
    if named is None:
        return []
    try:
        return [Exchange.model_validate(one) for one in parse(ledger.get(named))]
    except (ValueError, TypeError) as error:
        raise LedgerError(f"content {named[:12]}…: no list of exchanges ({error})") from None
