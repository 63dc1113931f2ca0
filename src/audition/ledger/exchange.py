"""A whole ledger as JSON lines, and back: exact, checked in full, all or nothing.

The first line says what follows. Then every event stands on a line of its own as the exact bytes of
its leaf, every checkpoint on the line after the event that it covers last, and the contents come at
the end, in order of name.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import sqlalchemy as sa

from audition.canonical import CanonicalError, canonical, parse
from audition.ledger.database import (
    MAX_CONTENT,
    Database,
    LedgerError,
    checkpoints_table,
    connect,
    contents_table,
    events_table,
    ledger_table,
    on_server,
    runs_table,
)
from audition.ledger.events import FORMAT, EventError, parse_event
from audition.ledger.evidence import Evidence
from audition.ledger.note import NoteError, read_checkpoint
from audition.ledger.store import MAX_EVENT, LetGo, content_name, make
from audition.ledger.tree import Frontier, leaf_hash
from audition.ledger.unpacking import unpack

MAX_LINE = MAX_CONTENT // 3 * 4 + 1000
"""Longest line, in bytes: the largest content in base64."""

_HEADER = {"audition", "checkpoints", "contents", "events", "format", "origin", "root"}
_BATCH = 8 << 20


def export(ledger: str | Path, file: str | Path) -> int:
    """Write a ledger as it stands at one instant into a new file; returns the number of lines.

    Raises:
        LedgerError: the ledger cannot be read, a row holds no event, or the file exists.
        LetGo: an event lies in an archive.
    """
    target = Path(file)
    with Evidence(ledger) as evidence:
        return _write_new(target, lambda path: _export(evidence, path))


def import_(file: str | Path, ledger: str | Path) -> int:
    """Make a new ledger from an export or an archive; returns the number of events.

    Every leaf, the root, every checkpoint's root and every content's name is checked first; the
    signatures are left to verification, which is told whom to trust.

    Raises:
        LedgerError: the ledger exists, or the first thing that is wrong, by line and field.
    """
    source = Path(file)

    def fill(database: Database) -> int:
        try:
            with source.open("rb") as lines:
                return _Import(source.name, lines).into(database)
        except OSError as error:
            raise LedgerError(f"{source}: {error.strerror}") from None
        finally:
            database.engine.dispose()

    if on_server(ledger) and not source.is_dir():
        return fill(connect(ledger))
    if on_server(ledger):
        raise LedgerError(f"{source}: an archive is imported into a file, and copied from there")
    target = Path(str(ledger).removeprefix("sqlite:///"))
    if source.is_dir():
        return _write_new(target, lambda path: unpack(source, path))
    return _write_new(target, lambda path: fill(connect(path, create=True)))


def _write_new(target: Path, fill: Callable[[Path], int]) -> int:
    """Fill a temporary file beside the target, then give it the target's name."""
    if target.exists():
        raise LedgerError(f"{target}: exists already; choose another name")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        count = fill(temporary)
        os.rename(temporary, target)
    except OSError as error:
        raise LedgerError(f"{target}: {error.strerror}") from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    return count


def _export(evidence: Evidence, path: Path) -> int:
    rows = sum(1 for _ in evidence.rows())
    tree = Frontier()
    for _, _, _, leaf, _ in evidence.rows():
        tree.append(_bytes(leaf, "a leaf"))
    header = {
        "audition": "ledger",
        "checkpoints": sum(1 for _ in evidence.checkpoints()),
        "contents": sum(1 for _ in evidence.contents()),
        "events": rows,
        "format": FORMAT,
        "origin": evidence.origin,
        "root": tree.root().hex(),
    }
    count = 0
    with path.open("xb") as out:
        for line in _lines(evidence, header):
            out.write(line + b"\n")
            count += 1
        out.flush()
        os.fsync(out.fileno())
    return count


def _lines(evidence: Evidence, header: dict[str, Any]) -> Iterator[bytes]:
    yield canonical(header)
    checkpoints = evidence.checkpoints()
    checkpoint = next(checkpoints, None)
    for size, (_, _, _, leaf, data) in enumerate(evidence.rows(), 1):
        if data is None and isinstance(leaf, bytes):
            raise LetGo(f"event {size - 1}")
        event = _bytes(data, f"event {size - 1}")
        if b"\n" in event:
            raise LedgerError(f"event {size - 1} is damaged; `audition verify` says more")
        yield event
        while checkpoint is not None and checkpoint[0] == size:
            yield canonical({"checkpoint": checkpoint[1]})
            checkpoint = next(checkpoints, None)
    if checkpoint is not None:
        raise LedgerError(f"the checkpoint at size {checkpoint[0]!r} is of no tree that is here")
    for name, salt, data in evidence.contents():
        line: dict[str, Any] = {"content": _bytes(name, "a content's name").hex()}
        if data is None:
            line["redacted"] = True
        else:
            line["data"] = base64.b64encode(_bytes(data, "a content")).decode()
            if salt is not None:
                line["salt"] = base64.b64encode(_bytes(salt, "a salt")).decode()
        yield canonical(line)


def _bytes(value: Any, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise LedgerError(f"{what} is damaged; `audition verify` says more")
    return value


class _Import:
    """One import: reads line by line, checks, and inserts in batches."""

    def __init__(self, name: str, lines: BinaryIO) -> None:
        self._name = name
        self._lines = lines
        self._number = 0
        self._tree = Frontier()
        self._runs: dict[str, list[int]] = {}
        self._batch: list[tuple[sa.Table, dict[str, Any]]] = []
        self._weight = 0

    def into(self, database: Database) -> int:
        """Fill an empty database, in one transaction; returns the number of events."""
        head = self._header()
        if database.holds_ledger():
            raise LedgerError(f"{database.name}: holds a ledger already; choose another")
        database.prepare()
        with database.plainly(), database.writer() as connection, connection.begin():
            make(database, connection)
            self._body(head, connection)
        return self._tree.size

    def _body(self, head: dict[str, Any], connection: sa.Connection) -> None:
        for _ in range(head["events"] + head["checkpoints"]):
            data = self._line("an event or a checkpoint")
            if data.startswith(b'{"checkpoint":'):
                self._checkpoint(self._object(data, {"checkpoint"}), head["origin"])
            else:
                self._event(data)
            self._flush(connection)
        if self._tree.size != head["events"]:
            raise self._wrong("events", f"{self._tree.size} came, the first line says otherwise")
        if self._tree.root().hex() != head["root"]:
            raise self._wrong("root", "the events are not those of the root in the first line")
        last = ""
        for _ in range(head["contents"]):
            last = self._content(self._line("a content"), last)
            self._flush(connection)
        if self._lines.read(1):
            self._number += 1
            raise self._wrong("line", "nothing more was due; the first line counts fewer")
        self._flush(connection, last=True)
        connection.execute(
            sa.update(ledger_table).values(
                origin=head["origin"], size=self._tree.size, peaks=b"".join(self._tree.peaks)
            )
        )

    # ---------------------------------------------------------------- lines

    def _header(self) -> dict[str, Any]:
        head = self._object(self._line("the first line"), _HEADER)
        if head["audition"] != "ledger":
            raise self._wrong("audition", 'not the export of a ledger (expected "ledger")')
        if head["format"] != FORMAT:
            raise self._wrong("format", f"{head['format']!r}; this version reads {FORMAT}")
        for field in ("events", "checkpoints", "contents"):
            if type(head[field]) is not int or not 0 <= head[field] <= 2**53:
                raise self._wrong(field, "not a count")
        for field in ("origin", "root"):
            if not isinstance(head[field], str) or not 0 < len(head[field]) <= 200:
                raise self._wrong(field, "not a short text")
        return head

    def _event(self, data: bytes) -> None:
        if len(data) > MAX_EVENT:
            raise self._wrong("event", f"{len(data)} bytes; at most {MAX_EVENT}")
        try:
            event = parse_event(data)
        except EventError as error:
            raise self._wrong("event", str(error)) from None
        if event.run not in self._runs:
            self._runs[event.run] = [len(self._runs) + 1, 0]
            row = {"id": len(self._runs), "name": bytes.fromhex(event.run)}
            self._add(runs_table, row, 100)
        run = self._runs[event.run]
        if event.seq != run[1]:
            raise self._wrong("seq", f"{event.seq} where the run's event {run[1]} was due")
        run[1] += 1
        leaf = leaf_hash(data)
        row = {
            "index": self._tree.size,
            "run": run[0],
            "seq": event.seq,
            "leaf": leaf,
            "data": data,
        }
        self._add(events_table, row, len(data) + 300)
        self._tree.append(leaf)

    def _checkpoint(self, line: dict[str, Any], origin: str) -> None:
        note = line["checkpoint"]
        try:
            if not isinstance(note, str):
                raise NoteError("not a text")
            head, _ = read_checkpoint(note, ())
        except NoteError as error:
            raise self._wrong("checkpoint", str(error)) from None
        if (head.origin, head.size, head.root) != (origin, self._tree.size, self._tree.root()):
            raise self._wrong("checkpoint", "not of the tree of the events before it")
        self._add(checkpoints_table, {"size": head.size, "note": note}, 600)

    def _content(self, data: bytes, last: str) -> str:
        line = self._object(data, {"content"}, {"data", "salt", "redacted"})
        name = line["content"]
        if not isinstance(name, str) or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise self._wrong("content", "not a digest")
        if name <= last:
            raise self._wrong("content", "out of order, or twice")
        if ("redacted" in line) == ("data" in line) or line.get("redacted", True) is not True:
            raise self._wrong("redacted", "either redacted or with its data")
        row: dict[str, Any] = {"digest": bytes.fromhex(name), "salt": None, "data": None}
        if "data" in line:
            row["data"] = self._decoded(line, "data")
            row["salt"] = self._decoded(line, "salt") if "salt" in line else None
            if len(row["data"]) > MAX_CONTENT:
                raise self._wrong("data", f"more than {MAX_CONTENT} bytes")
            if content_name(row["data"], row["salt"]) != name:
                raise self._wrong("data", "altered: it is not what its name says")
        elif "salt" in line:
            raise self._wrong("salt", "a redacted content keeps no salt")
        self._add(contents_table, row, len(row["data"] or b"") + 300)
        return name

    def _decoded(self, line: dict[str, Any], field: str) -> bytes:
        try:
            data = base64.b64decode(line[field], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise self._wrong(field, "not base64") from None
        if base64.b64encode(data).decode() != line[field]:
            raise self._wrong(field, "not base64 in its one form")
        return data

    def _line(self, due: str) -> bytes:
        self._number += 1
        data = self._lines.readline(MAX_LINE + 1)
        if len(data) > MAX_LINE:
            raise self._wrong("line", f"longer than {MAX_LINE} bytes")
        if not data.endswith(b"\n"):
            raise self._wrong("line", f"{due} was due; the file ends here, it was cut")
        return data[:-1]

    def _object(
        self, data: bytes, required: set[str], allowed: set[str] | None = None
    ) -> dict[str, Any]:
        try:
            value = parse(data)
        except CanonicalError as error:
            raise self._wrong("line", str(error)) from None
        if not isinstance(value, dict):
            raise self._wrong("line", "not a JSON object")
        line = cast("dict[str, Any]", value)
        for field in sorted(required - line.keys()):
            raise self._wrong(field, "missing")
        for field in sorted(line.keys() - required - (allowed or set())):
            raise self._wrong(repr(field[:60]), "unknown here")
        return line

    def _wrong(self, field: str, what: str) -> LedgerError:
        return LedgerError(f"{self._name}: line {self._number}: {field}: {what}")

    # ---------------------------------------------------------------- rows

    def _add(self, table: sa.Table, row: dict[str, Any], weight: int) -> None:
        self._batch.append((table, row))
        self._weight += weight

    def _flush(self, connection: sa.Connection, *, last: bool = False) -> None:
        if not last and self._weight < _BATCH:
            return
        for table in (runs_table, events_table, checkpoints_table, contents_table):
            rows = [row for of, row in self._batch if of is table]
            if rows:
                connection.execute(sa.insert(table), rows)
        self._batch, self._weight = [], 0
