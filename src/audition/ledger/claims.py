"""Which run is carried by which worker: runs are put in a queue, claimed, leased and put down.

The table says who should carry a run, never who may write to it: that is decided by the numbering
of its events alone. So a lease that is wrong, by whatever clock, costs time and nothing else. On
PostgreSQL all times are the server's; on SQLite they are this machine's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from audition.ledger.database import (
    REVISION,
    Database,
    events_table,
    runs_table,
    work_table,
)
from audition.step import Digest, RunId

LEASE = 30.0
"""Seconds for which a claim holds unless it is renewed."""

LONGEST = 300.0
"""The most seconds until a run whose worker failed is tried again; each time they double."""

_NEVER = 2**62
"""A number that no run's events come to: nothing that is written wakes the run."""

State = Literal["ready", "held", "waiting", "ended"]


@dataclass(frozen=True, slots=True)
class Work:
    """A run that is to be carried."""

    run: RunId
    project: str
    """Name of its project."""
    state: State
    """`held` by a worker, `waiting` for somebody else, `ready` for any worker, or `ended`."""
    worker: str | None
    """Who holds it, or held it last."""
    left: float | None
    """Seconds until its lease ends, or it is looked at again; less than 0: it may be taken."""
    attempts: int
    """How often in a row its worker failed or died."""
    note: str | None
    """How it was put down."""

    @property
    def leased(self) -> bool:
        """Whether a worker holds it, and has not let its lease run out."""
        return self.state == "held" and self.left is not None and self.left >= 0


@dataclass(frozen=True, slots=True)
class Held:
    """A run in this worker's hands."""

    run: RunId
    terms: Digest
    generation: int
    """Which claim of the run this is: an older one can change nothing."""
    attempts: int


def submit(database: Database, runs: Iterable[RunId], project: str, terms: Digest) -> None:
    """Put runs in the queue; they are opened when they are first carried.

    Args:
        database: where.
        runs: their names, new ones.
        project: the project's name, for people.
        terms: what tells projects apart; workers claim the runs of theirs.

    Raises:
        LedgerError: the database refuses, or is of an earlier version.
    """
    database.check_writable()
    rows: list[dict[str, Any]] = [
        {
            "run": bytes.fromhex(run),
            "project": project,
            "terms": bytes.fromhex(terms),
            "state": "ready",
            "generation": 0,
            "attempts": 0,
            "seen": 0,
        }
        for run in runs
    ]
    with database.plainly(), database.writer() as connection, connection.begin():
        for row in rows:
            connection.execute(sa.insert(work_table).values(**row, since=database.clock()))


def queue(database: Database, run: RunId | None = None) -> list[Work]:
    """Every run that is to be carried, those that ended left out, longest in its state first.

    Args:
        database: where.
        run: only this one.
    """
    if database.revision != REVISION:
        return []
    work = work_table.c
    until = sa.func.coalesce(work.until, work.wake) - database.clock()
    columns = (work.run, work.project, work.state, work.worker, until, work.attempts, work.note)
    query = sa.select(*columns).where(work.state != "ended").order_by(work.since)
    if run is not None:
        query = query.where(work.run == bytes.fromhex(run))
    with database.plainly(), database.glances.connect() as connection:
        return [
            Work(run.hex(), project, state, worker, None if left is None else left / 1e6, *more)
            for run, project, state, worker, left, *more in connection.execute(query)
        ]


class Claims:
    """One worker's claims.

    Args:
        database: where the queue is.
        worker: the worker's name, its own in all the world.
        lease: seconds for which a claim holds.
    """

    def __init__(self, database: Database, worker: str, lease: float = LEASE) -> None:
        database.check_writable()
        self.worker = worker
        self.lease = lease
        self._database = database

    def claim(
        self, terms: Collection[Digest], most: int, besides: Collection[RunId] = ()
    ) -> list[Held]:
        """Take runs that nobody holds and that can go on.

        Those are the runs that are ready; that wait, and were written to since they were put down,
        or have come to their time; and whose worker let its lease run out.

        Args:
            terms: the projects that are known here.
            most: how many at most.
            besides: runs that are still carried here, whoever may claim them.
        """
        work, clock = work_table.c, self._database.clock()
        written = (
            sa.select(events_table.c.index)
            .join(runs_table, runs_table.c.id == events_table.c.run)
            .where(runs_table.c.name == work.run, events_table.c.seq >= work.seen)
            .correlate(work_table)
            .exists()
        )
        due = sa.or_(
            work.state == "ready",
            sa.and_(work.state == "held", work.until < clock),
            sa.and_(work.state == "waiting", sa.or_(work.wake <= clock, written)),
        )
        ours = work.terms.in_([bytes.fromhex(one) for one in terms])
        other = work.run.not_in([bytes.fromhex(one) for one in besides])
        first = sa.select(work.run).where(ours, other, due).order_by(work.since).limit(most)
        taking = (
            sa.update(work_table)
            .values(
                state="held",
                worker=self.worker,
                since=clock,
                until=clock + int(self.lease * 1e6),
                wake=None,
                generation=work.generation + 1,
                attempts=work.attempts + sa.case((work.state == "held", 1), else_=0),
            )
            .returning(work.run, work.terms, work.generation, work.attempts)
        )
        with self._database.plainly(), self._database.writer() as connection, connection.begin():
            free = connection.execute(first.with_for_update(skip_locked=True)).scalars().all()
            if not free:
                return []
            taken = connection.execute(taking.where(work.run.in_(free))).all()
        return [Held(run.hex(), of.hex(), number, times) for run, of, number, times in taken]

    def renew(self) -> dict[RunId, int]:
        """Hold on to all that this worker holds; the generation of each run that it still does."""
        work = work_table.c
        longer = (
            sa.update(work_table)
            .where(work.worker == self.worker, work.state == "held")
            .values(until=self._database.clock() + int(self.lease * 1e6))
            .returning(work.run, work.generation)
        )
        with self._database.plainly(), self._database.writer() as connection, connection.begin():
            return {run.hex(): generation for run, generation in connection.execute(longer)}

    def put_down(
        self,
        held: Held,
        state: State,
        *,
        seen: int = 0,
        after: float | None = None,
        note: str | None = None,
        failed: bool = False,
    ) -> bool:
        """Let go of a run; False if another worker has claimed it, and nothing was changed.

        Args:
            held: the claim.
            state: how it is left.
            seen: how many of its events whoever put it down knew; any other wakes it.
            after: seconds after which it is looked at again, whatever happens.
            note: why it is left so.
            failed: the worker could not carry it; it is tried again ever later.
        """
        work, clock = work_table.c, self._database.clock()
        attempts = held.attempts + 1 if failed else 0
        if failed:
            after, seen = min(2.0**attempts, LONGEST), _NEVER
        put: dict[str, Any] = {
            "state": state,
            "since": clock,
            "until": None,
            "wake": None if after is None else clock + int(after * 1e6),
            "attempts": attempts,
            "seen": seen,
            "note": note,
        }
        this = (work.run == bytes.fromhex(held.run), work.worker == self.worker)
        still = (work.state == "held", work.generation == held.generation)
        letting = sa.update(work_table).where(*this, *still).values(**put)
        with self._database.plainly(), self._database.writer() as connection, connection.begin():
            return connection.execute(letting).rowcount > 0
