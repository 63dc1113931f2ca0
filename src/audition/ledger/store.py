"""The ledger in a database: staged in order, committed in groups, read back by run.

Two rules carry everything else. A run's events are numbered without gaps, and the database refuses
a number twice: whoever writes to a run must have seen all of it, so two processes can never both
redeem a ticket or both decide. And the tree, the checkpoint and the events of a group change in one
transaction: a kill leaves all of them or none.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from audition.canonical import digest_bytes
from audition.ledger.database import (
    MAX_CONTENT,
    REVISION,
    Database,
    LedgerError,
    checkpoints_table,
    connect,
    contents_table,
    events_table,
    ledger_table,
    metadata,
    runs_table,
    version_table,
)
from audition.ledger.events import FORMAT, REGISTER, EventError, parse_event
from audition.ledger.note import Checkpoint, PrivateKey, PublicKey
from audition.ledger.recent import Recent
from audition.ledger.tree import Frontier, consistency_proof, inclusion_proof, leaf_hash
from audition.ledger.writing import Row, Writing
from audition.step import MOST, Digest, Event, Receipt, RunId

MAX_EVENT = 1 << 20
"""Largest event, in bytes; anything long is content."""

KNOWN = 1 << 14
"""Runs whose next place is remembered; when there are more, all are looked up again."""

PATIENCE = 30.0
"""Seconds in which a database that gave no answer to a commit is asked what became of it."""

_READ = """
SELECT data FROM events WHERE run = (SELECT id FROM runs WHERE name = ?) AND seq > ?
ORDER BY seq LIMIT 500
"""
_LATEST = """
SELECT seq, data FROM events WHERE run = (SELECT id FROM runs WHERE name = ?) AND seq < ?
ORDER BY seq DESC LIMIT ?
"""
_FETCH = "SELECT salt, data FROM contents WHERE digest = ?"


class Conflict(LedgerError):
    """Another process wrote to this run; read it again before going on."""


class Redacted(LedgerError):
    """The content was deleted on purpose."""


class LetGo(LedgerError):
    """The run has ended and lies in an archive; its bytes are here no more."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was let go; to read it: audition import ARCHIVE NEW.db")


@dataclass(slots=True)
class _Group:
    """What one transaction writes, and what became of it."""

    events: list[tuple[RunId, int, bytes, bytes]] = field(default_factory=list[Any])
    contents: dict[bytes, tuple[bytes | None, bytes]] = field(default_factory=dict[Any, Any])
    mark: int = 0
    """How much had been staged when it was closed."""
    tried: bool = False
    """Whether it was written, or given up for good."""
    rests_on: sa.Connection | None = None
    """The connection during which contents were seen that it names and does not bring."""
    fences: dict[RunId, tuple[RunId, int]] = field(default_factory=dict[Any, Any])
    """Runs of which nothing may be written if another run has gone on."""
    refused: dict[RunId, LedgerError] = field(default_factory=dict[Any, Any])
    """Runs of which nothing was written."""
    failure: LedgerError | None = None
    """Why nothing of the whole group was written."""


@dataclass(slots=True)
class _Written:
    """What a transaction did, and what holds once it is committed."""

    rows: Sequence[Row]
    new: int
    """Contents that were not there."""
    frontier: Frontier
    known: dict[RunId, tuple[int | None, int]]


class SqlLedger:
    """A ledger on SQLite or PostgreSQL; the events of all runs of a process share its commits.

    One event loop at a time may stage and commit; any number of processes may hold the ledger. A
    group is written to its end whoever is cancelled meanwhile, and its own thread notes what came
    of it: a committer that goes away leaves the group to the next one, which waits for that note.
    """

    def __init__(self, database: Database, origin: str, signer: PrivateKey | None) -> None:
        self.database = database
        """Where it is."""
        self._engine = database.engine
        self._glances = database.glances
        self._fetch, self._read, self._latest = map(database.sql, (_FETCH, _READ, _LATEST))
        self._signer = signer
        self._group = _Group()
        self._writing: _Group | None = None
        self._staged = 0
        self._settled = 0
        self._news: anyio.Event | None = None  # among tasks: set when one that writes is done
        self._pen = threading.Lock()  # among threads: held until the group is written
        self._frontier = Frontier()
        self._receipt: Receipt | None = None  # of that frontier, for all who waited for it
        self._recent = Recent()
        self._known: dict[RunId, tuple[int | None, int]] = {}
        self._lost: dict[RunId, LedgerError] = {}
        self._unheard: dict[RunId, LedgerError] = {}
        self._connection: sa.Connection | None = None
        self.database.check_stands()
        self.origin = origin
        """Name of this ledger in its checkpoints."""

    @classmethod
    def open(
        cls, where: str | Path, *, signer: PrivateKey | None = None, create: bool = True
    ) -> Self:
        """Open a ledger, or begin one.

        Args:
            where: a path, `sqlite:///path` or `postgresql://user@host:port/name`.
            signer: signs a checkpoint with every commit; None leaves the ledger unsigned.
            create: begin a ledger where there is none.

        Raises:
            LedgerError: no such file, no ledger, or a ledger of another version.
        """
        database = connect(where, create=create)
        with database.or_let_go():
            with database.plainly():
                _begin(database, create)
            if found := database.strange():
                raise LedgerError(f"{database.name}: {found}; export it and import that")
            return cls(database, database.origin(), signer)

    def close(self) -> None:
        """Let go of the database; what was staged and never committed is dropped."""
        with self._pen:  # a group that is being written comes to its end first
            if self._writing is not None and not self._writing.tried:
                self._writing.failure = LedgerError("not written: the ledger was closed")
                self._writing.tried = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- writing

    def put(self, data: bytes, *, private: bool = False) -> Digest:
        """Stage content and name it.

        Args:
            data: the content.
            private: name it under a fresh salt that is deleted with it, so that the name does
                not give away what was deleted.

        Raises:
            LedgerError: more than `MAX_CONTENT` bytes.
        """
        if len(data) > MAX_CONTENT:
            raise LedgerError(f"content of {len(data)} bytes; at most {MAX_CONTENT}")
        salt = secrets.token_bytes(32) if private else None
        name = content_name(data, salt)
        key = bytes.fromhex(name)
        if self._connection is None or self._recent.get(key) is None:
            self._group.contents[key] = (salt, data)
            self._staged += 1
        else:  # what is held is in the database, as long as nobody can have it to himself
            self._group.rests_on = self._connection
        return name

    def stage(self, event: Event) -> Digest:
        """Queue an event, in order.

        Returns:
            The hash of its leaf.

        Raises:
            LedgerError: the event is larger than `MAX_EVENT`.
        """
        data = event.canonical()
        if len(data) > MAX_EVENT:
            raise LedgerError(f"an event of {len(data)} bytes; long texts belong in content")
        leaf = leaf_hash(data)
        self._group.events.append((event.run, event.seq, leaf, data))
        self._staged += 1
        return leaf.hex()

    def fence(self, run: RunId, other: RunId, following: int) -> None:
        """Write what is staged of `run` until the next commit only if `other` has not gone on.

        Args:
            run: the run whose events rest on what was read of the other.
            other: the run that was read.
            following: number of the event that comes next there, as it was read; if another does,
                the commit raises `Conflict`. The first word until a commit holds for all of it.
        """
        self._group.fences.setdefault(run, (other, following))

    async def commit(self, run: RunId | None = None) -> Receipt:
        """Make everything staged so far durable; whoever waits meanwhile joins the next group.

        A committer that is cancelled does not know; what it staged may be written all the same.

        Args:
            run: raise if events of this run could not be written. None: of any run, once for each
                that has not raised it itself; that run will raise it all the same.

        Raises:
            Conflict: another process wrote to this run; nothing of this run was written.
            LedgerError: the database refused; nothing of the group was written.
        """
        mark = self._staged
        while self._settled < mark:
            if self._news is not None:  # one is at it; all that wait for it wake at once
                await self._news.wait()
                continue
            self._news = news = anyio.Event()
            try:
                await anyio.lowlevel.checkpoint()  # all that are awake stage what they have first
                group = self._writing or self._close_group()
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._write_once, group)
                self._settle(group)
            finally:  # a task that is cancelled here leaves the group to the next one
                self._news = None
                news.set()
            if group.failure is not None and group.mark >= mark:
                self._hear(run)
                raise group.failure
        if (error := self._hear(run)) is not None:
            raise error
        if self._receipt is None:
            edge = self._frontier
            self._receipt = Receipt(size=edge.size, root=edge.root().hex())
        return self._receipt

    def _close_group(self) -> _Group:
        """What was staged so far becomes the group that is written now."""
        self._writing, self._group = self._group, _Group()
        self._writing.mark = self._staged
        return self._writing

    def _write_once(self, group: _Group) -> None:
        """Write a group, or wait until the thread that is at it has done so; in a thread."""
        with self._pen:
            if group.tried:
                return
            try:
                self._write(group)
            except BaseException as error:  # noqa: BLE001  whatever it was, nothing was written
                known = isinstance(error, LedgerError)
                group.failure = error if known else LedgerError(f"not written: {error!r}")
                group.refused = dict.fromkeys((event[0] for event in group.events), group.failure)
                self._known.clear()
            group.tried = True

    def _settle(self, group: _Group) -> None:
        """Take note of what became of a group; contents that were not written wait for the next."""
        self._settled, self._writing, self._receipt = group.mark, None, None
        self._lost |= group.refused
        self._unheard |= group.refused
        if group.failure is not None and group.contents:
            self._group.contents = group.contents | self._group.contents
            self._staged += 1

    def _hear(self, run: RunId | None) -> LedgerError | None:
        """What this run, or whoever asks for all, has not been told yet."""
        if run is not None:
            self._unheard.pop(run, None)
            return self._lost.pop(run, None)
        error = next(iter(self._unheard.values()), None)
        self._unheard.clear()
        return error

    def _write(self, group: _Group) -> None:
        with self.database.plainly():
            self.database.check_writable()
            if self._connection is None:
                self._recent = Recent()
                self._connection = self.database.writer()
            connection = self._connection
            if group.rests_on not in (None, connection):
                raise LedgerError(
                    f"{self.database.short}: the connection was lost, and what was seen in the "
                    "database before may be there no more; resume"
                )
            contents = [  # in order, so that no two writers wait in a circle
                (name, *group.contents[name]) for name in sorted(group.contents)
            ]
            runs = {run for run, *_ in group.events}
            runs.update(other for other, _ in group.fences.values())
            names = [bytes.fromhex(run) for run in runs]
            written = None
            try:
                with self.database.writing(connection, contents, names) as writing:
                    written, note = self._fill(writing, group)
                    if written.rows:
                        tree = written.frontier
                        writing.end(tree.size, b"".join(tree.peaks), note)
            except DBAPIError:
                if connection.invalidated:  # the next group connects anew
                    self._connection = None
                    connection.close()
                if written is None or not written.rows or not self._stands(written.rows):
                    raise
            self.database.check_stands()
            self._frontier = written.frontier
            self._known = written.known if len(written.known) <= KNOWN else {}
            if written.new == len(group.contents):  # of one that was there it may be redacted
                for name, (_, data) in group.contents.items():
                    self._recent.add(name, data)

    def _fill(self, writing: Writing, group: _Group) -> tuple[_Written, str | None]:
        """Do all but the end of a group's transaction; also returns the checkpoint for that."""
        size, peaks = writing.size, writing.peaks
        if size < self._frontier.size:
            raise LedgerError(
                f"{self.database.short}: {size} events, where there were {self._frontier.size}; "
                "put back the newer copy"
            )
        if not size or (size, peaks) != (self._frontier.size, b"".join(self._frontier.peaks)):
            self._known.clear()
            self._frontier = Frontier(size, _cut(peaks))
        frontier = self._frontier.copy()
        known = dict(self._known)
        rows = self._rows(writing, group, known)
        note = None
        if rows:
            writing.append(rows)
            for row in rows:
                frontier.append(row[3])
            if self._signer is not None:
                head = Checkpoint(self.origin, frontier.size, frontier.root())
                note = head.signed(self._signer)
        return _Written(rows, writing.new, frontier, known), note

    def _stands(self, rows: Sequence[Row]) -> bool:
        """Whether the rows of a group whose commit gave no answer were written all the same.

        Raises:
            LedgerError: nobody answers that either.
        """
        first, end = rows[0][0], rows[-1][0] + 1
        query = (
            sa.select(events_table.c.leaf)
            .where(events_table.c.index >= first, events_table.c.index < end)
            .order_by(events_table.c.index)
        )
        until, pause = time.monotonic() + PATIENCE, 0.05
        while True:
            try:
                with self.database.writer() as connection, connection.begin():
                    connection.exec_driver_sql(self.database.edge)  # whoever commits ends first
                    there = connection.execute(query).scalars().all()
                return [bytes(leaf) for leaf in there] == [row[3] for row in rows]
            except DBAPIError:
                if time.monotonic() + pause > until:
                    raise LedgerError(
                        f"{self.database.short}: the connection was lost during a commit and "
                        "nobody answers: whether it was written is not known; resume when the "
                        "database is back"
                    ) from None
                time.sleep(pause)
                pause = min(2 * pause, 2.0)

    def _rows(
        self, writing: Writing, group: _Group, known: dict[RunId, tuple[int | None, int]]
    ) -> list[Row]:
        """The rows of a group's events; a run with one event out of turn is refused whole."""
        others = {other for other, _ in group.fences.values()}
        unknown = {run for run, *_ in group.events if run not in known}
        places = self._places(writing, others | unknown)
        for run, (other, following) in group.fences.items():
            if places[other][1] != following:
                group.refused[run] = Conflict(
                    f"run {run}: what it rests on was changed meanwhile; nothing more was written"
                )
        for run, seq, _, _ in group.events:
            if run in group.refused:
                continue
            number, following = known.get(run) or places[run]
            known[run] = (number, seq + 1)
            if seq != following:
                group.refused[run] = Conflict(
                    f"run {run}: event {seq} was to be written, but {following} comes next; "
                    "another process carries this run"
                )
        new = [run for run in known if known[run][0] is None and run not in group.refused]
        numbers = self._number(writing.connection, new)
        rows: list[Row] = []
        for run, seq, leaf, data in group.events:
            if run in group.refused:
                known.pop(run, None)
                continue
            number, following = known[run]
            if number is None:
                number = numbers[run]
                known[run] = (number, following)
            rows.append((writing.size + len(rows), number, seq, leaf, data))
        return rows

    def _places(
        self, writing: Writing, runs: Iterable[RunId]
    ) -> dict[RunId, tuple[int | None, int]]:
        """Each run's number in this database, if it has one, and that of its next event."""
        names = {run: bytes.fromhex(run) for run in runs}
        found = writing.places(names.values()) if names else {}
        places: dict[RunId, tuple[int | None, int]] = {}
        for run, name in names.items():
            number, last = found.get(name, (None, None))
            places[run] = (number, 0 if last is None else last + 1)
        return places

    def _number(self, connection: sa.Connection, runs: Sequence[RunId]) -> dict[RunId, int]:
        """Number runs that are new here; nobody else writes meanwhile."""
        if not runs:
            return {}
        last = connection.execute(sa.select(sa.func.max(runs_table.c.id))).scalar() or 0
        numbers = {run: last + number for number, run in enumerate(runs, 1)}
        rows = [{"id": number, "name": bytes.fromhex(run)} for run, number in numbers.items()]
        connection.execute(sa.insert(runs_table), rows)
        return numbers

    async def redact(self, content: Digest) -> bool:
        """Delete content (and its salt) for good; its name stays. True if it was there.

        The caller stages a `content.redacted` event beside it; `verify` asks for one.
        """

        def delete() -> bool:
            self.database.check_writable()
            writing, database = self.database.writer(), self.database.plainly()
            with self._pen, database, writing as connection, connection.begin():
                gone = connection.execute(
                    sa.update(contents_table)
                    .where(contents_table.c.digest == bytes.fromhex(content))
                    .where(contents_table.c.data.is_not(None))
                    .values(data=None, salt=None)
                )
                found = gone.rowcount > 0
            self.database.purge()
            return found

        try:
            return await anyio.to_thread.run_sync(delete)
        finally:
            self._recent.drop(bytes.fromhex(content))

    # ---------------------------------------------------------------- reading

    def get(self, content: Digest) -> bytes:
        """The content of this name; what another process deletes may be told a while longer.

        Raises:
            Redacted: it was deleted.
            LedgerError: it was never here, or what is here is something else.
        """
        name = bytes.fromhex(content)
        if (held := self._recent.get(name)) is not None:
            return held
        for group in (self._group, self._writing):
            if group is not None and name in group.contents:
                return group.contents[name][1]
        rows = self.database.glance(self._fetch, (name,))
        if not rows:
            raise LedgerError(f"content {content[:12]}… is missing from the ledger")
        salt, data = rows[0]
        if data is None:
            raise Redacted(f"content {content[:12]}… was redacted")
        sound = isinstance(data, bytes) and isinstance(salt, bytes | None)
        if not sound or content_name(data, salt) != content:
            raise LedgerError(
                f"content {content[:12]}… was altered in the database; `audition verify` says more"
            )
        self._recent.add(name, data)
        return data

    def read(self, run: RunId, after: int = -1) -> Iterator[Event]:
        """The committed events of a run with `seq > after`, in order, a page at a time."""
        while True:
            page = self.database.glance(self._read, (bytes.fromhex(run), after))
            for (data,) in page:
                event = _parsed(run, after + 1, data)
                after = event.seq
                yield event
            if len(page) < 500:
                return

    def latest(self, run: RunId) -> Iterator[Event]:
        """The committed events of a run, the newest first, a page at a time."""
        before, most = MOST, 16
        while True:
            page = self.database.glance(self._latest, (bytes.fromhex(run), before, most))
            for seq, data in page:
                event = _parsed(run, seq if before == MOST else before - 1, data)
                before = event.seq
                yield event
            if len(page) < most or not before:
                return
            most = 500

    def first(self, run: RunId) -> Event:
        """The first event of a run.

        Raises:
            LedgerError: there is none, or it cannot be read.
        """
        for _, data in self.database.glance(self._latest, (bytes.fromhex(run), 1, 1)):
            return _parsed(run, 0, data)
        raise LedgerError(f"run {run}: it has no first event")

    def follow(self, after: int = -1) -> Iterator[tuple[int, Event | RunId]]:
        """The committed events of all runs with a larger index, in order, a page at a time.

        It ends with the last one; whoever goes on from its index misses none. Of an event that was
        let go only the run is told.

        Raises:
            LedgerError: an event cannot be read.
        """
        index, data = events_table.c.index, events_table.c.data
        named = sa.outerjoin(events_table, runs_table, runs_table.c.id == events_table.c.run)
        query = sa.select(index, runs_table.c.name, data).select_from(named)
        query = query.order_by(index).limit(500)
        while True:
            with self.database.plainly(), self._glances.connect() as connection:
                page = connection.execute(query.where(index > after)).all()
            for after, name, data in page:
                if data is None and name is not None:
                    yield after, name.hex()
                    continue
                try:
                    yield after, parse_event(data or b"", strict=False)
                except EventError as error:
                    raise LedgerError(f"event {after}: {error}") from None
            if len(page) < 500:
                return

    def runs(self) -> list[RunId]:
        """Every run, oldest first; the register of keys is none."""
        with self.database.plainly(), self._glances.connect() as connection:
            found = connection.execute(sa.select(runs_table.c.name).order_by(runs_table.c.id))
            return [name.hex() for (name,) in found if name.hex() != REGISTER]

    @property
    def signer(self) -> PublicKey | None:
        """The key that signs what is written here; None if none does."""
        return None if self._signer is None else self._signer.public

    @property
    def size(self) -> int:
        """Number of committed events."""
        with self.database.plainly(), self._glances.connect() as connection:
            return connection.execute(sa.select(ledger_table.c.size)).scalar_one()

    def checkpoint(self, line: str = "") -> str | None:
        """The newest checkpoint (with a line that begins so), as a signed note; None if none."""
        query = sa.select(checkpoints_table.c.note).order_by(checkpoints_table.c.size.desc())
        if line:
            query = query.where(checkpoints_table.c.note.contains(f"\n{line}", autoescape=True))
        with self.database.plainly(), self._glances.connect() as connection:
            return connection.execute(query.limit(1)).scalar()

    def countersign(self, size: int, line: str) -> None:
        """Add a witness's line to the checkpoint of that size."""
        self.database.check_writable()
        database, writer = self.database.plainly(), self.database.writer()
        with database, writer as connection, connection.begin():
            connection.execute(
                sa.update(checkpoints_table)
                .where(checkpoints_table.c.size == size)
                .values(note=checkpoints_table.c.note + line)
            )

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        """The leaf hashes of the events with index start ≤ i < end, in order."""
        query = (
            sa.select(events_table.c.leaf)
            .where(events_table.c.index >= start, events_table.c.index < end)
            .order_by(events_table.c.index)
        )
        return (leaf for (leaf,) in self._stream(query))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that event `index` is in the tree of `size` events."""
        return inclusion_proof(self.leaves, index, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of `old` events is a prefix of the tree of `new` events."""
        return consistency_proof(self.leaves, old, new)

    def _stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        paged = query.execution_options(yield_per=500)
        database = self.database.plainly()
        with database, self._engine.connect() as connection, connection.execute(paged) as rows:
            yield from rows


def _parsed(run: RunId, seq: int, data: bytes | None) -> Event:
    if data is None:
        raise LetGo(f"run {run}, event {seq},")
    try:
        event = parse_event(data, strict=False)
    except EventError as error:
        raise LedgerError(f"run {run}, event {seq}: {error}") from None
    if (event.run, event.seq) != (run, seq):
        raise LedgerError(f"run {run}: another event stands where event {seq} was; see verify")
    return event


def content_name(data: bytes, salt: bytes | None) -> Digest:
    """How content is named: SHA-256, or the first half of HMAC-SHA-512 under its salt.

    Another hash for salted content: the last step of HMAC-SHA-256 is the SHA-256 of 96 bytes, which
    could be content themselves. A salt is 32 bytes; under any other the name is empty, no digest.
    """
    if salt is None:
        return digest_bytes(data)
    return hmac.digest(salt, data, "sha512")[:32].hex() if len(salt) == 32 else ""


def make(database: Database, connection: sa.Connection) -> None:
    """Make an empty ledger in a transaction that is under way, unless one was made meanwhile."""
    database.alone(connection)
    metadata.create_all(connection)
    if connection.execute(sa.select(ledger_table.c.one)).first() is not None:
        return
    origin = f"audition/{secrets.token_hex(8)}"
    first = {"one": 1, "format": FORMAT, "origin": origin, "size": 0, "peaks": b""}
    connection.execute(sa.insert(ledger_table), first)
    connection.execute(sa.insert(version_table), {"version_num": REVISION})


def _begin(database: Database, create: bool) -> None:
    """Make a ledger of a database that holds none yet."""
    if database.holds_ledger():
        return
    if not create:
        raise LedgerError(f"{database.name}: no ledger there")
    database.prepare()
    with database.writer() as connection, connection.begin():
        make(database, connection)


def _cut(peaks: bytes) -> list[bytes]:
    return [peaks[start : start + 32] for start in range(0, len(peaks), 32)]
