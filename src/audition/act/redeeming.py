"""Whether a ticket was redeemed, as the ledger itself says: hashed anew, and signed for by a key.

For an executor in a process of its own, which takes nobody's word. It follows the ledger as it
grows, row by row into the tree of RFC 6962, and believes what lies under a root that a trusted key
signed. It writes nothing there: `act.started` is the run's to write, and nobody performs twice what
was started once, because a ticket is taken from the ledger only where all of this holds:

- its issue follows a decision to proceed with the sealed moment, and permits exactly that;
- the start of the act directly follows its issue and is the last event of the run;
- the start was written after this process had begun to follow: what was started before, a process
  that is gone may have performed;
- it was not taken before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from audition.act.performing import Refused, check
from audition.ledger import LedgerError, NoteError, PublicKey, parse_event, read_checkpoint
from audition.ledger.database import (
    checkpoints_table,
    connect,
    events_table,
    on_server,
    runs_table,
)
from audition.ledger.events import (
    ActStarted,
    MomentSealed,
    PlantOpened,
    RunClosed,
    StepDecided,
    TicketIssued,
)
from audition.ledger.tree import Frontier, leaf_hash
from audition.step import Digest, Event, Executor, Moment, RunId, Ticket, digest_of

LOOKED_AT = 1000
"""Checkpoints, newest first, among which one by a trusted key is looked for."""

_TOLD = tuple(
    f'"kind":"{body.kind}"'.encode()
    for body in (MomentSealed, PlantOpened, StepDecided, TicketIssued, ActStarted, RunClosed)
)


class InDoubt(Exception):
    """The act may have been performed already; nothing was done now."""


@dataclass(slots=True)
class _Standing:
    """How far an open run has come towards an act."""

    moment: Moment | None = None
    approved: Digest | None = None
    issued: TicketIssued | None = None
    issue: int = -1
    """Place of the issue in the run."""
    started: int | None = None
    """Place of the start in the ledger, where it directly follows the issue."""
    taken: bool = False


class Redemptions:
    """A ledger, followed from its beginning.

    Args:
        where: the ledger, which is read and never written; it may be begun later.
        trusted: the keys of those who may carry runs in it.

    Raises:
        LedgerError: it is no ledger, or is not what was signed.
    """

    def __init__(self, where: str | Path, trusted: Iterable[PublicKey]) -> None:
        self._where = where
        self._trusted = tuple(trusted)
        self._origin: str | None = None
        self._tree = Frontier()
        self._runs: dict[RunId, _Standing] = {}
        self._pen = threading.Lock()
        self._began = 0
        if _there(where):
            self._follow(None)

    def take(self, ticket: Ticket, executor: Executor) -> None:
        """Take a ticket that its run has redeemed; it is good for this once.

        Raises:
            Refused: the ledger does not say that this ticket was redeemed for this executor.
            InDoubt: it was, and the act may have been performed before.
            LedgerError: the ledger cannot be read, or is not what was signed.
        """
        with self._pen:
            last = self._follow(ticket.run)
            standing = self._runs.get(ticket.run)
            if standing is None or standing.issued is None or standing.moment is None:
                raise Refused("no such ticket was issued in this ledger")
            if standing.issued.ticket != digest_of(ticket):
                raise Refused("the ticket is not the one that was issued last")
            if standing.started is None or standing.approved != ticket.moment:
                raise Refused("the ticket is not redeemed in the ledger by a key trusted here")
            if last != standing.issue + 1:
                raise Refused("the run has gone on without the act")
            if standing.taken or standing.started < self._began:
                raise InDoubt("the act was started before; somebody may have performed it")
            check(ticket, standing.issued, executor, standing.moment)
            standing.taken = True

    def _follow(self, run: RunId | None) -> int:
        """Read what was signed since; returns the place of the run's last event, signed or not.

        Args:
            run: the run; None: what stands there now was there before this process.
        """
        database = connect(self._where, readonly=True)
        path = database.name
        try:
            origin = database.origin()
            if self._origin not in (None, origin):
                raise LedgerError(f"{path}: another ledger stands there now")
            self._origin = origin
            with database.plainly(), database.engine.connect() as connection:
                head = self._signed(connection, path)
                if head is not None:
                    self._read(connection, path, *head)
                if run is not None:
                    return _last(connection, run)
                rows = sa.select(sa.func.count()).select_from(events_table)
                self._began = connection.execute(rows).scalar_one()
                return -1
        finally:
            database.engine.dispose()

    def _signed(self, connection: sa.Connection, path: str) -> tuple[int, bytes] | None:
        """The largest tree that a trusted key signed, if it is larger than what was read."""
        columns = (checkpoints_table.c.size, checkpoints_table.c.note)
        newest = sa.select(*columns).where(checkpoints_table.c.size > self._tree.size)
        for size, note in connection.execute(
            newest.order_by(checkpoints_table.c.size.desc()).limit(LOOKED_AT)
        ):
            try:
                head, keys = read_checkpoint(str(note), self._trusted)
            except NoteError as error:
                raise LedgerError(f"{path}: the checkpoint at size {size}: {error}") from None
            if (head.size, head.origin) != (size, self._origin):
                raise LedgerError(f"{path}: the checkpoint at size {size} is of another ledger")
            if keys:
                return head.size, head.root
        return None

    def _read(self, connection: sa.Connection, path: str, size: int, root: bytes) -> None:
        """The rows up to a signed tree; believed together, or not at all."""
        tree = self._tree.copy()
        events: list[tuple[int, Event]] = []
        query = (
            sa.select(events_table.c.index, events_table.c.data)
            .where(events_table.c.index >= tree.size, events_table.c.index < size)
            .order_by(events_table.c.index)
        )
        with connection.execution_options(yield_per=500).execute(query) as rows:
            for index, data in rows:
                if not isinstance(data, bytes):
                    raise LedgerError(f"{path}: a row holds no event; `audition verify` says more")
                tree.append(leaf_hash(data))
                if any(kind in data for kind in _TOLD):
                    events.append((index, parse_event(data)))
        if (tree.size, tree.root()) != (size, root):
            raise LedgerError(f"{path}: it is not what was signed; `audition verify` says more")
        self._tree = tree
        for index, event in events:
            self._take_in(index, event)

    def _take_in(self, index: int, event: Event) -> None:
        standing = self._runs.setdefault(event.run, _Standing())
        match event.body:
            case MomentSealed(moment=moment):
                self._runs[event.run] = _Standing(moment=moment)
            case PlantOpened():  # nothing is approved that could be performed
                standing.moment = None
            case StepDecided(moment=moment, decision=decision):
                ours = standing.moment is not None and digest_of(standing.moment) == moment
                standing.approved = moment if ours and decision.action == "proceed" else None
            case TicketIssued() as issued:
                standing.issued, standing.issue = issued, event.seq
                standing.started, standing.taken = None, False
            case ActStarted(ticket=ticket) if standing.issued is not None:
                follows = (ticket, event.seq) == (standing.issued.ticket, standing.issue + 1)
                standing.started = index if follows else None
            case RunClosed():
                del self._runs[event.run]
            case _:
                pass


def _there(where: str | Path) -> bool:
    """Whether a ledger was begun at this address, or something else is there."""
    if on_server(where):
        database = connect(where, readonly=True)
        try:
            return database.holds_ledger()
        finally:
            database.engine.dispose()
    return Path(str(where).removeprefix("sqlite:///")).exists()


def _last(connection: sa.Connection, run: RunId) -> int:
    """Place of the run's last event in it; -1 if there is none."""
    query = (
        sa.select(sa.func.max(events_table.c.seq))
        .join(runs_table, runs_table.c.id == events_table.c.run)
        .where(runs_table.c.name == bytes.fromhex(run))
    )
    last = connection.execute(query).scalar()
    return -1 if last is None else int(last)
