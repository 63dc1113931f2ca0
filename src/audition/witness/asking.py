"""The ledger's side: its newest checkpoint goes to a witness, whose co-signature comes back to it.

A witness that is away stops nothing: it is counted, and asked again. One that refuses says that the
ledger, or the witness, is not what it was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from audition.failing import told as plainly
from audition.ledger import Checkpoint, LedgerError, NoteError, SqlLedger, read_checkpoint
from audition.ledger.cosignature import WitnessKey, cosigners, mark
from audition.ledger.note import LONGEST, signature_line, taken_apart
from audition.ledger.tree import Frontier, growth_proof
from audition.plain import shown
from audition.witness.serving import SIZE
from audition.witness.submission import Submission

PATIENCE = 10.0
"""Seconds in which a witness must answer."""

TRIES = 4
"""Times that a checkpoint is sent anew because the witness knew another size."""


class Away(Exception):
    """The witness cannot be reached, or has no answer now."""


class Refused(Exception):
    """The witness does not co-sign; one line says why."""


@dataclass(slots=True)
class Asked:
    """What came of asking a witness, again and again."""

    cosigned: int = 0
    """Checkpoints that it co-signed."""
    size: int = 0
    """Events under the last of them."""
    away: int = 0
    """Times that it could not be reached."""
    refused: int = 0
    """Times that it refused, or that the ledger could not be read."""
    says: str = ""
    """Why there was no co-signature the last time; empty if there was one."""


class Witness:
    """A witness, as one ledger knows it.

    Args:
        url: where it listens.
        key: under which its co-signatures must verify.
    """

    def __init__(self, url: str, key: WitnessKey) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._edge = Frontier()  # of the tree that it is believed to know
        self._most: int | None = None  # the largest that it ever co-signed; None: not looked up

    async def cosign(self, ledger: SqlLedger) -> int | None:
        """Have the newest checkpoint co-signed, and keep the line with it.

        Returns:
            The events under it; None if this witness co-signed it before.

        Raises:
            Away: it cannot be reached.
            Refused: it does not co-sign, or what it answers is no co-signature.
            LedgerError: the ledger cannot be read or written.
        """
        for _ in range(TRIES):
            note, head = await anyio.to_thread.run_sync(self._newest, ledger)
            if self._most is not None and head.size <= self._most:
                return None
            proof = await anyio.to_thread.run_sync(self._proof, ledger, head.size)
            body = Submission(self._edge.size, proof, note, head).body()
            status, kind, answer = await _send(f"{self._url}/add-checkpoint", body)
            if status == 200:
                line = self._line(note, answer)
                await anyio.to_thread.run_sync(ledger.countersign, head.size, line)
                await anyio.to_thread.run_sync(self._grow, ledger, head.size)
                self._most = head.size
                return head.size
            if status != 409 or kind != SIZE:
                raise Refused(f"{self._url}: {status}: {shown(answer.strip(), 200)}")
            await anyio.to_thread.run_sync(self._correct, ledger, answer, head.size)
        raise Refused(f"{self._url}: it knows another size each time it is asked")

    def _newest(self, ledger: SqlLedger) -> tuple[str, Checkpoint]:
        """The newest checkpoint; on the first call also what this witness co-signed before."""
        note = ledger.checkpoint()
        if note is None:
            raise Refused("the ledger is not signed; there is no checkpoint to co-sign")
        if self._most is None:
            before = ledger.checkpoint(mark(self._key))
            known = before is not None and self._key in cosigners(before, (self._key,))
            self._most = read_checkpoint(before, ())[0].size if before and known else 0
            self._grow(ledger, self._most)
        return note, read_checkpoint(note, ())[0]

    def _proof(self, ledger: SqlLedger, size: int) -> tuple[bytes, ...]:
        if not 0 < self._edge.size < size:
            return ()
        return tuple(growth_proof(self._edge, ledger.leaves, size))

    def _grow(self, ledger: SqlLedger, size: int) -> None:
        """Move the edge to that of the tree of so many events."""
        if size < self._edge.size:
            self._edge = Frontier()
        for leaf in ledger.leaves(self._edge.size, size):
            self._edge.append(leaf)

    def _correct(self, ledger: SqlLedger, answer: str, newest: int) -> None:
        """Believe the size that the witness says it knows, if it can be true."""
        text = answer.removesuffix("\n")
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise Refused(f"{self._url}: it says no size: {shown(text, 60)}")
        size = int(text)
        if size < (self._most or 0):
            raise Refused(
                f"{self._url}: it co-signed {self._most} events and now knows {size}: its memory "
                "was set back; trust its key no longer"
            )
        if size == self._edge.size and size == newest:
            raise Refused(f"{self._url}: another tree of {size} events was co-signed there")
        if size > newest and size > ledger.size:
            raise Refused(
                f"{self._url}: {size} events were co-signed there, this ledger has {ledger.size}: "
                "it was truncated, or an older copy of it is in use"
            )
        self._grow(ledger, size)

    def _line(self, note: str, answer: str) -> str:
        """This witness's line in an answer, if it co-signs this note."""
        try:
            if self._key not in cosigners(note + answer, (self._key,)):
                raise NoteError("no co-signature by its key")
            lines = taken_apart(note + answer)[1][len(taken_apart(note)[1]) :]
        except NoteError as error:
            raise Refused(f"{self._url}: {error}") from None
        own = (self._key.name, self._key.hash)
        return next(signature_line(*one) for one in lines if (one[0], one[1][:4]) == own)


@asynccontextmanager
async def cosigning(
    ledger: SqlLedger,
    witness: Witness,
    *,
    every: float = 1.0,
    told: Callable[[str], None] = lambda line: None,
) -> AsyncGenerator[Asked]:
    """Have a ledger co-signed beside the runs that write it, and once more when they are through.

    Args:
        ledger: the ledger.
        witness: whom to ask.
        every: seconds between two checkpoints.
        told: called with a line when the witness goes away, refuses, or is there again.
    """
    asked = Asked()
    async with anyio.create_task_group() as beside:
        beside.start_soon(keep_cosigned, ledger, witness, asked, every, told)
        try:
            yield asked
        finally:
            beside.cancel_scope.cancel()
    await ask(ledger, witness, asked, told)


async def keep_cosigned(
    ledger: SqlLedger,
    witness: Witness,
    asked: Asked,
    every: float = 1.0,
    told: Callable[[str], None] = lambda line: None,
) -> None:
    """Ask a witness for ever; whatever goes wrong is counted and said, and asked again."""
    while True:
        await ask(ledger, witness, asked, told)
        await anyio.sleep(every)


async def ask(
    ledger: SqlLedger, witness: Witness, asked: Asked, told: Callable[[str], None]
) -> None:
    """Ask a witness once, and note what came of it."""
    says = ""
    try:
        if (size := await witness.cosign(ledger)) is not None:
            asked.cosigned, asked.size = asked.cosigned + 1, size
    except Away as error:
        asked.away += 1
        says = str(error)
    except (Refused, LedgerError, NoteError) as error:
        asked.refused += 1
        says = str(error)
    if says != asked.says:
        told(says or "the witness is there again")
    asked.says = says


def latest(url: str, origin: str) -> str:
    """The latest checkpoint of a ledger that a witness knows.

    Raises:
        Away: it cannot be reached.
        Refused: it knows no such ledger.
    """
    where = f"{url.rstrip('/')}/checkpoint"
    status, _, answer = anyio.run(_send, where, None, {"origin": origin})
    if status != 200:
        raise Refused(f"{where}: {status}: {shown(answer.strip(), 200)}")
    return answer


async def _send(
    url: str, body: bytes | None, query: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Status, kind and text of an answer, of which no more is taken than a note may have."""
    import httpx

    method = "GET" if body is None else "POST"
    kept = bytearray()
    try:
        with anyio.fail_after(PATIENCE):
            async with (
                httpx.AsyncClient(trust_env=False, timeout=None) as client,
                client.stream(method, url, content=body, params=query) as answer,
            ):
                async for part in answer.aiter_raw():
                    kept += part
                    if len(kept) > LONGEST:
                        raise Refused(f"{url}: an answer of more than {LONGEST} bytes")
        if answer.status_code >= 500:
            raise Away(f"{url}: {answer.status_code}")
        return answer.status_code, answer.headers.get("content-type", ""), kept.decode()
    except TimeoutError:
        raise Away(f"{url}: no answer within {PATIENCE:.0f} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Away(f"{url}: {plainly(error)}") from None
    except UnicodeDecodeError:
        raise Refused(f"{url}: an answer that is no text") from None
