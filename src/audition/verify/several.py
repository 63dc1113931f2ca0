"""A ledger examined by several processes at once, each some of its runs: whether anything is amiss.

Runs are examined apart, but for what they share: the register of keys, which every process reads;
tickets, contents and their redaction, which are put together in the end; and runs that train, which
stand against each other and are for one process alone. The tree is made here, of the leaf hashes as
they stand; each process says the digest of those that it found to be of events, so that none is
lost where the work is cut, and none exchanged meanwhile.

Here nobody says what is wrong with a run or with content. If anything is, one process reads all of
it from the start, and says so in order: what it finds is found however many were at it before.
"""

from __future__ import annotations

import multiprocessing
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

from audition.collecting import seldom
from audition.ledger import PublicKey
from audition.ledger.events import REGISTER
from audition.ledger.evidence import Evidence, Part
from audition.verify.conduct import Conduct, Conducted
from audition.verify.contents import NAMED, Contents
from audition.verify.finding import Findings, Place
from audition.verify.integrity import Integrity
from audition.verify.rows import Rows, hashed

PARTS = 8
"""Parts for each process, so that none waits long for the last."""


@dataclass
class Share:
    """What one process found in its part."""

    leaves: bytes = b""
    """Digest of the leaf hashes of its events, in order; nothing if anything is amiss."""
    conducted: Conducted = field(default_factory=Conducted)
    absent: frozenset[bytes] = frozenset()
    redacted: dict[bytes, Place] = field(default_factory=dict[bytes, Place])


def processes(more: int) -> Executor:
    """So many fresh processes, of which none has what this one has."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(more, mp_context=spawn, initializer=seldom)


def nothing_amiss(
    evidence: Evidence,
    trusted: tuple[PublicKey, ...],
    integrity: Integrity,
    contents: Contents,
    jobs: int,
    progress: Callable[[int], None],
) -> Conducted | None:
    """What was seen of all runs, if nothing is amiss with them and with what they name; else None.

    What is wrong with the tree and its checkpoints is reported, as it is for one process.

    Args:
        evidence: the rows.
        trusted: whose signatures under verdicts count.
        integrity: makes the tree of them.
        contents: what the ledger holds beside them.
        jobs: processes, this one among them.
        progress: called with events read, now and then.
    """
    try:
        with processes(jobs - 1) as pool:
            pool.submit(Share)  # what is needed for one is loaded while damage is looked for
            if evidence.damage(indices=False) is not None:  # there may be no end to what is damaged
                return None
            if (parts := _parts(evidence, jobs)) is None:
                return None
            ask = partial(examined, evidence.where, evidence.origin, trusted)
            shares = {pool.submit(ask, part): part for part in parts}
            try:
                if evidence.damage() is not None:
                    return None
                return _together(shares, ask, integrity, contents, progress)
            finally:
                for share in shares:
                    share.cancel()
    except Exception:  # noqa: BLE001  whatever it was, one process says what it is
        return None


def examined(where: str | Path, origin: str, trusted: tuple[PublicKey, ...], part: Part) -> Share:
    """Examine one part of a ledger."""
    findings, leaves = Findings(), sha256()
    register, counted = bytes.fromhex(REGISTER), False
    with Evidence(where) as evidence:
        contents = Contents(evidence, findings, hashed=False)
        rows, conduct = Rows(findings), Conduct(contents, trusted, findings, origin)
        if evidence.origin != origin:
            return Share()
        if part.also is not None:
            counted = part.first <= part.also <= part.last
        for piece in evidence.pages(part):
            mine = [row[3] for row in piece if counted or row[1] != register]
            page = rows.read(piece, agreed=hashed(piece))
            contents.look_up(page)
            for read in page:
                conduct.take(read)
            sound = not rows.elsewhere and {*map(type, mine)} <= {bytes}
            if findings.total or conduct.trains or not sound:
                return Share()
            leaves.update(b"".join(mine))
        conducted = conduct.conclude()
        if not counted:
            conducted.tally.register_unchecked = 0  # as it is where they are counted
    if findings.total:
        return Share()
    return Share(leaves.digest(), conducted, contents.absent, contents.redacted)


def _parts(evidence: Evidence, jobs: int) -> list[Part] | None:
    """The runs in order of their numbers, cut into parts of about as many events."""
    size = evidence.size
    if not isinstance(size, int) or size <= 0:
        return None
    register = evidence.number(REGISTER)
    most, parts, count = size // (jobs * PARTS), list[Part](), size
    for number, events, start, last in evidence.runs():
        if type(number) is not int:
            return None
        if count >= most:
            parts.append(Part(number, number, start, last + 1, register))
            count = 0
        before, count = parts[-1], count + events
        start, end = min(start, before.start), max(last + 1, before.end)
        parts[-1] = Part(before.first, number, start, end, register)
    return parts


def _together(
    shares: dict[Future[Share], Part],
    ask: Callable[[Part], Share],
    integrity: Integrity,
    contents: Contents,
    progress: Callable[[int], None],
) -> Conducted | None:
    contents.hash_all()
    if contents.amiss:
        return None
    leaves = dict(zip(shares, _leaves(integrity, list(shares.values())), strict=True))
    seen, redeemed, absent = Conducted(), 0, 0
    for done, (future, share) in enumerate(_taken(shares, ask), 1):
        if share.leaves != leaves[future]:
            return None
        seen.add(share.conducted)
        contents.add(share.absent, share.redacted)
        redeemed += len(share.conducted.redeemed)
        absent += len(share.absent)
        progress(integrity.events * done // len(shares))
    if redeemed != len(seen.redeemed) or absent >= NAMED:
        return None
    contents.conclude()
    return None if contents.amiss else seen


def _taken(
    shares: dict[Future[Share], Part], ask: Callable[[Part], Share]
) -> Iterator[tuple[Future[Share], Share]]:
    """What every process found, this one too: from the end on it takes what none has begun."""
    others: list[Future[Share]] = []
    for future, part in reversed(shares.items()):
        if future.cancel():
            yield future, ask(part)
        else:
            others.append(future)
    for future in as_completed(others):
        yield future, future.result()


def _leaves(integrity: Integrity, parts: list[Part]) -> list[bytes]:
    """Digests of the leaf hashes of each part, as the tree has them."""
    firsts = [part.first for part in parts]
    digests = [sha256() for _ in parts]
    for rows in integrity.leaves():
        of_each: dict[int, list[bytes]] = {}
        for _, run, _, leaf in rows:
            of_each.setdefault(bisect_right(firsts, run), []).append(leaf)
        for number, some in of_each.items():
            digests[number - 1].update(b"".join(some))
    return [digest.digest() for digest in digests]
