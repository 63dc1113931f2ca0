"""One run's pen: numbers its events, stages them, keeps its content beside them."""

from __future__ import annotations

from typing import Any

from audition.canonical import canonical
from audition.ledger.store import SqlLedger
from audition.step import Body, Digest, Event, Frozen, Receipt, RunId, now


class Journal:
    """Writes the events of one run, in order."""

    def __init__(self, ledger: SqlLedger, run: RunId, seq: int = 0) -> None:
        self.ledger = ledger
        self.run = run
        self.seq = seq
        """Number of the event that comes next."""
        self.durable = seq
        """Number of the first event that is not committed."""

    def put(self, content: str | bytes | Frozen | Any, *, private: bool = False) -> Digest:
        """Stage content: text as UTF-8, bytes as they are, values in canonical form."""
        return self.ledger.put(encoded(content), private=private)

    def log(self, body: Body) -> Event:
        """Stage the run's next event."""
        event = Event(run=self.run, seq=self.seq, at=now(), body=body)
        self.ledger.stage(event)
        self.seq += 1
        return event

    async def commit(self) -> Receipt:
        """Make everything logged so far durable.

        Raises:
            Conflict: another process wrote to this run.
            LedgerError: the database refused.
        """
        mark = self.seq
        receipt = await self.ledger.commit(self.run)
        self.durable = mark
        return receipt


def encoded(content: str | bytes | Frozen | Any) -> bytes:
    """The bytes that `Journal.put` stores."""
    match content:
        case bytes():
            return content
        case str():
            return content.encode("utf-8", "surrogatepass")
        case Frozen():
            return content.canonical()
        case _:
            return canonical(content)


def text(data: bytes) -> str:
    """The text that `Journal.put` stored."""
    return data.decode("utf-8", "surrogatepass")
