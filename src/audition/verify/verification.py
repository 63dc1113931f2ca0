"""Verification from end to end: one ledger in, one answer out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from audition.collecting import seldom_here
from audition.ledger import LedgerError, NoteError, PublicKey, read_checkpoint
from audition.ledger.cosignature import cosigners
from audition.ledger.evidence import Evidence
from audition.step import Frozen
from audition.verify.choice import Choice
from audition.verify.conduct import Conduct, Conducted
from audition.verify.contents import Contents
from audition.verify.cosigned import Cosigned, Witnesses
from audition.verify.finding import Finding, Findings
from audition.verify.integrity import Integrity, Witnessed
from audition.verify.several import nothing_amiss
from audition.verify.simulated import Course

EACH = 50_000
"""Events that each process has at least: with fewer, its start takes longer than it saves."""

NEVER_SHOWN = (
    "whether thinking had no effects (guarantee 3): a ledger says what confined the thinker, "
    "not that it held",
    "whether an act did what its outcome says, or something was done without any event",
    "whether the writer's clock was right, so that expiry and deadlines are its word",
    "a ledger written anew by whoever holds the signing key: only a checkpoint kept elsewhere, "
    "or a witness's, shows that",
    "events dropped from the end, unless a later checkpoint is kept elsewhere",
    "whether a judgement was right (guarantee 11): that is measured, not proved",
)
"""What no ledger can show, whatever verification says."""


class Verification(Frozen):
    """What a ledger shows."""

    ok: bool
    """Whether nothing was found; an act whose decision cannot be re-run here is a finding."""
    origin: str
    """Name of the ledger in its checkpoints."""
    events: int
    """Events read."""
    elsewhere: int = 0
    """Events among them that only an archive has: their hashes were read, not what they say."""
    root: str
    """Root of the tree over them."""
    runs: int
    """Runs among them."""
    open_runs: int
    """Runs that have not ended."""
    decisions: int
    """Decisions re-run."""
    batches: int
    """Batches of simulated steps whose root and draws were recomputed."""
    lessons: int
    """Lessons drawn from them again."""
    draws: int
    """Draws recomputed."""
    tickets: int
    """Tickets whose digest was recomputed from what they permit."""
    contents: int
    """Pieces of content whose name was compared with what they are."""
    redacted: int
    """Contents that were deleted, with an event that says so."""
    checkpoints: int
    """Checkpoints in the ledger."""
    signatures: int
    """Signatures that verify: checkpoints by a trusted key, verdicts, and sign-offs by keys that
    the ledger's operator enrolled."""
    signed_by: tuple[str, ...]
    """Trusted keys that signed checkpoints."""
    cosigned: int | None = None
    """Events under a checkpoint that enough of the witnesses asked for co-signed."""
    unknown_signers: tuple[str, ...]
    """Keys that claim to have signed and that nobody trusts here."""
    first_bad: Finding | None
    """The finding about the earliest event."""
    findings: tuple[Finding, ...]
    """The findings, up to a bound."""
    found: int
    """How many there are in all."""
    conduct: bool = True
    """Whether the conduct of the runs was examined; else the ledger's integrity alone."""
    not_checked: tuple[str, ...]
    """What could not be checked here, and why."""
    never_shown: tuple[str, ...] = NEVER_SHOWN
    """What no ledger can show."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True)
class Examined:
    """A verification, and what it is the ground of."""

    verification: Verification
    """What the ledger shows."""
    courses: tuple[Course, ...]
    """The runs in it that train."""
    choices: tuple[Choice, ...]
    """The runs in it that choose among trained siblings."""
    findings: dict[str, list[Finding]]
    """The first findings about each run."""


def verify(
    where: str | Path,
    trusted: Iterable[PublicKey] = (),
    checkpoint: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    witnesses: Witnesses | None = None,
    *,
    jobs: int | None = 1,
    integrity: bool = False,
) -> Verification:
    """Verify a ledger: its integrity, and the conduct of every run in it.

    Args:
        where: the ledger; it is read, never written.
        trusted: keys whose signatures count.
        checkpoint: file with a checkpoint from outside the ledger: a witness's, or one kept from an
            earlier look.
        progress: called with events read and events stated, now and then.
        witnesses: whose co-signatures are asked for.
        jobs: processes that examine runs at most, this one among them, and no more than one for
            every `EACH` events; whoever asks for several keeps what starts the program behind
            `if __name__ == "__main__"`. None: one for each processor. The answer is the same.
        integrity: check no more than that nothing was altered: leaves, order, tree, checkpoints
            and contents, not how the runs were conducted.

    Raises:
        LedgerError: there is no ledger that could be read.
        NoteError: a checkpoint from outside is malformed, or its signature is wrong.
    """
    how = _alone if not integrity else _integrity
    return _examined(how, where, trusted, checkpoint, progress, jobs, witnesses).verification


def examine(
    where: str | Path,
    trusted: Iterable[PublicKey] = (),
    checkpoint: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Examined:
    """Verify a ledger, as `verify` does, and keep what a certificate rests on."""
    return _examined(_alone, where, trusted, checkpoint, progress, 1)


@dataclass
class _Look:
    """One look at a ledger: what is at hand for it, and what comes of it."""

    evidence: Evidence
    keys: tuple[PublicKey, ...]
    witnesses: Witnesses
    witnessed: list[Witnessed]
    progress: Callable[[int, int], None] | None
    jobs: int
    damage: str | None = None
    conducted: Conducted = field(default_factory=Conducted)

    def __post_init__(self) -> None:
        self.findings = Findings()
        self.contents = Contents(self.evidence, self.findings)
        self.cosigned = Cosigned(self.witnesses, self.findings)
        self.integrity = Integrity(
            self.evidence, self.keys, self.witnessed, self.cosigned, self.findings
        )

    def read(self, events: int) -> None:
        """Say how far it has come."""
        if self.progress is not None:
            size = self.evidence.size
            self.progress(events, size if isinstance(size, int) else 0)


def _examined(
    how: Callable[[_Look], None],
    where: str | Path,
    trusted: Iterable[PublicKey],
    checkpoint: str | Path | None,
    progress: Callable[[int, int], None] | None,
    jobs: int | None,
    witnesses: Witnesses | None = None,
) -> Examined:
    begun = time.monotonic()
    keys = tuple(trusted)
    asked_for = witnesses or Witnesses()
    witnessed = [_witnessed(Path(checkpoint), keys)] if checkpoint is not None else []
    witnessed += [_cosigned(name, note, asked_for) for name, note in asked_for.kept]
    with seldom_here(), Evidence(where, ordered=False) as evidence:
        said = [(name, ask(evidence.origin)) for name, ask in asked_for.asked]  # not before it
        witnessed += [_cosigned(name, note, asked_for) for name, note in said]
        at_hand = (evidence, keys, asked_for, witnessed, progress, _jobs(evidence, jobs))
        look = _Look(*at_hand)
        if how is not _alone or look.jobs == 1 or not _together(look):
            look = _Look(*at_hand)
            how(look)
        if look.damage is None:
            look.cosigned.conclude()
            for name, note in said:
                look.cosigned.compare(name, note)
        else:  # what it says otherwise may be anything
            look = _Look(*at_hand, damage=look.damage)
            look.findings.add(10, f"the database is damaged: {look.damage}")
    verification = _verification(look, how is _integrity, begun)
    seen = look.conducted
    return Examined(verification, tuple(seen.courses), tuple(seen.choices), look.findings.of_run)


def _alone(look: _Look) -> None:
    """All of it, in order."""
    look.damage = look.evidence.damage()
    if look.damage is not None:
        return
    findings, contents = look.findings, look.contents
    conduct = Conduct(contents, look.keys, findings, look.evidence.origin)
    contents.hash_all()
    try:
        for page in look.integrity.pages():
            contents.look_up(page)
            for read in page:
                conduct.take(read)
            look.read(look.integrity.events)
        contents.conclude()
    except LedgerError as error:
        findings.add(10, f"contents cannot be read: {error}")
    look.conducted = conduct.conclude()


def _together(look: _Look) -> bool:
    """All of it, by several processes; False if one of them must say what is amiss."""
    seen = nothing_amiss(
        look.evidence, look.keys, look.integrity, look.contents, look.jobs, look.read
    )
    look.conducted = seen or look.conducted
    return seen is not None


def _integrity(look: _Look) -> None:
    """What is written, and not what it says."""
    with ThreadPoolExecutor(1) as beside:  # the database looks for damage without any Python
        damage = beside.submit(look.evidence.damage, indices=False)
        for _ in look.integrity.pages(parsed=False):
            look.read(look.integrity.events)
            if damage.done() and damage.result() is not None:
                break  # there may be no end to what is damaged
        look.damage = damage.result()
    if look.damage is not None:
        return
    look.contents.hash_all()
    look.contents.conclude_alone()
    look.conducted.runs = look.integrity.runs


def _jobs(evidence: Evidence, jobs: int | None) -> int:
    if jobs is None:
        affinity = getattr(os, "sched_getaffinity", None)
        jobs = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    worth = evidence.size // EACH if isinstance(evidence.size, int) else 1
    return max(1, min(jobs, worth))


def _verification(look: _Look, alone: bool, begun: float) -> Verification:
    integrity, contents, findings = look.integrity, look.contents, look.findings
    tally = look.conducted.tally
    return Verification(
        ok=findings.total == 0,
        origin=look.evidence.origin,
        events=integrity.events,
        elsewhere=integrity.elsewhere,
        root=integrity.root.hex(),
        runs=look.conducted.runs,
        open_runs=look.conducted.open,
        decisions=tally.decisions,
        batches=tally.batches - tally.batches_unread,
        lessons=tally.lessons,
        draws=tally.draws,
        tickets=tally.tickets,
        contents=contents.count,
        redacted=len(contents.redacted),
        checkpoints=integrity.checkpoints,
        signatures=integrity.signatures + tally.verdict_signatures + tally.sign_offs,
        signed_by=tuple(sorted(integrity.signed_by)),
        cosigned=look.cosigned.events if look.witnesses.keys else None,
        unknown_signers=tuple(sorted(integrity.unknown)),
        first_bad=findings.first,
        findings=tuple(findings.kept),
        found=findings.total,
        conduct=not alone,
        not_checked=tuple(_unchecked(look, alone)),
        seconds=time.monotonic() - begun,
    )


def _witnessed(path: Path, trusted: tuple[PublicKey, ...]) -> Witnessed:
    try:
        with path.open("rb") as file:
            note = file.read(200_000).decode()
        head, signed = read_checkpoint(note, trusted)
    except OSError as error:
        raise NoteError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise NoteError(f"{path}: {error}") from None
    return Witnessed(f"the checkpoint in {path.name}", head, bool(signed))


def _cosigned(name: str, note: str, witnesses: Witnesses) -> Witnessed:
    """A checkpoint that comes from a witness."""
    try:
        head, _ = read_checkpoint(note, ())
        signed = len(cosigners(note, witnesses.keys))
    except NoteError as error:
        raise NoteError(f"{name}: {error}") from None
    return Witnessed(name, head, signed > 0, signed >= max(1, witnesses.quorum))


def _unchecked(look: _Look, alone: bool) -> Iterator[str]:
    if look.damage is not None:
        yield "everything: a damaged database is not read"
        return
    tally = look.conducted.tally
    if alone:
        yield (
            "how the runs were conducted, what events say, and whether content that is gone was "
            "redacted: integrity alone was asked for"
        )
    if not look.keys:
        yield (
            f"signatures: no key was trusted, {look.integrity.checkpoints} checkpoints were "
            "compared with the tree only; whoever can write the file can have written all of it"
        )
    if look.integrity.elsewhere:
        yield f"{look.integrity.elsewhere} events: they lie in an archive; name it with --archive"
    for one in look.witnessed:
        if not one.signed:
            yield f"{one.name}: no key that is trusted signed it; its root was compared"
    if look.witnesses.keys and (beyond := look.integrity.events - look.cosigned.events):
        yield f"{beyond} events beyond the last checkpoint that {look.witnesses.quorum} co-signed"
    for count, what in (
        (tally.decisions_unchecked, "decisions: their gates' kinds are not installed here"),
        (tally.draws_unchecked, "draws: the secret is not shown (open runs), or not usable"),
        (tally.tickets_unchecked, "tickets: what they permit was redacted"),
        (tally.proposals_unread, "proposals: they were redacted"),
        (tally.outcomes_unread, "outcomes of acts: they were redacted"),
        (tally.tools_unread, "schemas of tools: they were redacted"),
        (tally.batches_unread, "batches of simulated steps: they were redacted"),
        (tally.backwards, "events by a clock that had been set back; no deadline passed by it"),
        (tally.verdict_signatures_unchecked, "signatures under verdicts: keys not trusted here"),
        (tally.register_unchecked, "entries of the register: their operator's key is not trusted"),
        (look.conducted.beyond, "events after a run was out of order"),
    ):
        if count:
            yield f"{count} {what}"
