"""The rules of tickets: each permits exactly what was judged, for a while, and is redeemed once."""

from __future__ import annotations

from audition.act.performing import VALID
from audition.canonical import digest_bytes
from audition.ledger.events import ActFinished, ActStarted, TicketIssued
from audition.step import MOST, Act, Ask, Digest, Micros, RunId, Ticket, digest_of
from audition.verify.case import Case, Disorder, Step

OTHER = "the ticket's digest is not that of what it permits"


class Tickets:
    """The ticket of one run's step under way.

    Args:
        case: the run.
        redeemed: tickets that were redeemed in any run of the ledger, shortened.
    """

    def __init__(self, case: Case, redeemed: set[bytes]) -> None:
        self._case = case
        self._redeemed = redeemed
        self._ticket: TicketIssued | None = None
        self.until: Micros = MOST
        """When the ticket expires, if there is one."""
        self.lapsed = False
        """Whether it has expired; it stays so, though the clock go back."""

    def end(self) -> None:
        """The step is over, or begins anew."""
        self._ticket, self.until = None, MOST

    def once(self, ticket: Digest) -> None:
        """A ticket is not redeemed twice.

        Raises:
            Disorder: it was redeemed before.
        """
        if _short(ticket) in self._redeemed:
            raise Disorder(9, f"ticket {ticket[:12]}… is redeemed a second time")

    def issued(self, step: Step, body: TicketIssued, at: Micros) -> None:
        """A ticket for a step, which was let pass."""
        assert step.moment is not None
        if (body.moment, body.proposal) != (step.sealed, step.proposal):
            self._case.found(2, "the ticket permits another act than the one that was judged")
        if body.tool != step.moment.tool:
            self._case.found(2, "the ticket names another tool than the one that was judged")
        self._check(body)
        if body.expires - at > VALID * 1_000_000:
            self._case.found(9, f"the ticket is valid for more than {VALID} seconds")
        self._ticket, self.until, self.lapsed = body, body.expires, False

    def started(self, body: ActStarted) -> None:
        """It is redeemed.

        Raises:
            Disorder: it was redeemed before, or is not the one that was issued last.
        """
        assert self._ticket is not None
        self.once(body.ticket)
        if body.ticket != self._ticket.ticket:
            raise Disorder(9, f"ticket {body.ticket[:12]}… was not issued for this act")
        if self.lapsed:
            self._case.found(9, "the ticket had expired when it was redeemed")
        self._redeemed.add(_short(body.ticket))

    def under_way(self, ticket: Digest) -> None:
        """What is said is said of the act under way.

        Raises:
            Disorder: it is said of another.
        """
        if self._ticket is None or ticket != self._ticket.ticket:
            raise Disorder(9, f"ticket {ticket[:12]}… is not that of the act under way")

    def finished(self, body: ActFinished) -> None:
        """An event says how it went as the outcome does; of what nobody knows, that it failed."""
        said = self._case.contents.status(body.outcome)
        if said is None:
            self._case.tally.outcomes_unread += 1
        elif body.status != ("failed" if said == "unknown" else said):
            says = f"finished as {body.status}, but the outcome says {said or 'nothing'}"
            self._case.found(9, says)

    def _check(self, body: TicketIssued) -> None:
        """A ticket's name is the digest of what it permits, read back from the content."""
        tally = self._case.tally
        if (written := self._case.contents.written(body.proposal)) is not None:
            tally.tickets += 1
            if _named(self._case.run, body, written) != body.ticket:
                self._case.found(2, OTHER)
            return
        try:
            act = self._case.contents.proposal(body.proposal)
        except ValueError:
            act = None
        if act is None:
            tally.tickets_unchecked += 1
            return
        tally.tickets += 1
        if not isinstance(act, (Act, Ask)) or (isinstance(act, Act) and act.malformed is not None):
            self._case.found(2, f"a ticket for what no executor can do ({act.kind})")
            return
        ticket = Ticket(
            run=self._case.run,
            moment=body.moment,
            proposal=body.proposal,
            tool=body.tool,
            expires=body.expires,
            act=act,
        )
        if digest_of(ticket) != body.ticket:
            self._case.found(2, OTHER)


def _named(run: RunId, body: TicketIssued, act: bytes) -> Digest:
    """The digest of a ticket, put together from the canonical form of what it permits."""
    written = b'{"act":%b,"expires":%d,"moment":"%b","proposal":"%b","run":"%b","tool":"%b"}'
    names = (body.moment, body.proposal, run, body.tool)
    return digest_bytes(written % (act, body.expires, *(name.encode() for name in names)))


def _short(ticket: Digest) -> bytes:
    return bytes.fromhex(ticket[:32])
