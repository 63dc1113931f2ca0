"""The one way from a decision to an effect: a ticket, redeemed in the ledger, then the executor.

`act.started` is durable before the executor sees the ticket, and the ledger refuses a second one,
so an act happens at most once; if the process dies before `act.finished` is durable, or the
executor cannot tell, nobody knows whether it happened: it is in doubt until a person settles it.
"""

from __future__ import annotations

from audition.failing import told
from audition.ledger import Journal
from audition.ledger.events import ActFinished, ActInDoubt, ActStarted, TicketIssued
from audition.ledger.store import MAX_CONTENT
from audition.step import (
    Act,
    Ask,
    Digest,
    Event,
    Executor,
    Moment,
    Outcome,
    Ticket,
    digest_of,
    now,
    parse_proposal,
)

KEPT = 1 << 20
"""Characters that are kept of an outcome too long for the ledger."""

VALID = 600
"""Seconds for which a ticket may be redeemed."""


class Refused(Exception):
    """The ticket does not permit what it is presented for; nothing was done."""


def issue(moment: Moment, sealed: Digest, journal: Journal, *, valid: float = VALID) -> Ticket:
    """The ticket for a moment that may proceed; the act is read back from the ledger's content.

    Raises:
        Refused: the content is not the sealed proposal, or no tool was judged with it.
    """
    content = journal.ledger.get(moment.proposal)
    proposal = parse_proposal(content)
    if not isinstance(proposal, (Act, Ask)) or moment.tool is None:
        raise Refused(f"a {proposal.kind} needs no ticket")
    return Ticket(
        run=moment.run,
        moment=sealed,
        proposal=moment.proposal,
        tool=moment.tool,
        expires=now() + int(valid * 1e6),
        act=proposal,
    )


def issued(ticket: Ticket) -> TicketIssued:
    """The event that records a ticket."""
    return TicketIssued(
        moment=ticket.moment,
        ticket=digest_of(ticket),
        proposal=ticket.proposal,
        tool=ticket.tool,
        expires=ticket.expires,
    )


def check(ticket: Ticket, record: TicketIssued, executor: Executor, moment: Moment) -> None:
    """Whether this executor may redeem this ticket, for exactly what was judged.

    Raises:
        Refused: the first thing that does not agree.
    """
    agree: tuple[tuple[object, object, str], ...] = (
        (digest_of(ticket), record.ticket, "the ticket is not the one that was issued"),
        (digest_of(moment), ticket.moment, "the ticket is for another moment"),
        (digest_of(ticket.act), ticket.proposal, "the act is not the one that the ticket names"),
        (ticket.proposal, moment.proposal, "the ticket names another act than was judged"),
        (ticket.tool, moment.tool, "the ticket names another tool than was judged"),
        (digest_of(executor.schema), ticket.tool, "the tool has changed since it was judged"),
    )
    for one, other, why in agree:
        if one != other:
            raise Refused(why)
    if now() > ticket.expires:
        raise Refused("the ticket has expired")


async def perform(
    ticket: Ticket, issue: Event, executor: Executor, moment: Moment, journal: Journal
) -> Outcome:
    """Redeem a ticket and do what it permits, once.

    A ticket is redeemed by the event that follows its issue, or never: the ledger gives each place
    in a run once, so two hands cannot redeem one ticket, nor one hand twice.

    Args:
        ticket: the permission.
        issue: the event that issued it.
        executor: who performs.
        moment: what was judged.
        journal: the run's pen.

    Returns:
        What the world answered; record it with `finished`.

    Raises:
        Refused: the ticket does not permit this; nothing was done and nothing recorded.
        Conflict: another process redeemed it; nothing was done.
    """
    assert isinstance(issue.body, TicketIssued)
    check(ticket, issue.body, executor, moment)
    if (journal.run, journal.seq) != (issue.run, issue.seq + 1):
        raise Refused("the ticket was used, or the run has gone on without it")
    journal.log(ActStarted(ticket=issue.body.ticket))
    await journal.commit()
    try:
        return kept(await executor.act(ticket))
    except Exception as error:  # noqa: BLE001  the world answered in its own way
        return Outcome(status="failed", output=told(error, 2000))


def finished(ticket: Digest, outcome: Outcome, journal: Journal) -> ActFinished | ActInDoubt:
    """The event that records what the world answered; where nobody knows, the act is in doubt."""
    if outcome.status == "unknown":
        return ActInDoubt(ticket=ticket, outcome=journal.put(outcome))
    return ActFinished(ticket=ticket, status=outcome.status, outcome=journal.put(outcome))


def kept(outcome: Outcome, most: int = MAX_CONTENT) -> Outcome:
    """The outcome as the ledger can hold it: what was done is not forgotten for its length."""
    data = outcome.canonical()
    if len(data) <= most:
        return Outcome.parse(data)
    cut = f"{outcome.output[:KEPT]} … (cut: the outcome was {len(data)} bytes)"
    return Outcome(status=outcome.status, output=cut)
