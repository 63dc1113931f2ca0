"""Verification from end to end: one ledger in, one answer out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from audition.ledger import LedgerError, NoteError, PublicKey, read_checkpoint
from audition.ledger.cosignature import cosigners
from audition.ledger.evidence import Evidence
from audition.step import Event, Frozen
from audition.verify.choice import Choice
from audition.verify.conduct import Conduct
from audition.verify.contents import Contents
from audition.verify.cosigned import Cosigned, Witnesses
from audition.verify.finding import Finding, Findings, Place
from audition.verify.integrity import Integrity, Witnessed
from audition.verify.simulated import Course

PAGE = 256
"""Events examined between two looks at the contents."""

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
) -> Verification:
    """Verify a ledger: its integrity, and the conduct of every run in it.

    Args:
        where: the ledger; it is read, never written.
        trusted: keys whose signatures count.
        checkpoint: file with a checkpoint from outside the ledger: a witness's, or one kept from an
            earlier look.
        progress: called with events read and events stated, now and then.
        witnesses: whose co-signatures are asked for.

    Raises:
        LedgerError: there is no ledger that could be read.
        NoteError: a checkpoint from outside is malformed, or its signature is wrong.
    """
    return examine(where, trusted, checkpoint, progress, witnesses).verification


def examine(
    where: str | Path,
    trusted: Iterable[PublicKey] = (),
    checkpoint: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    witnesses: Witnesses | None = None,
) -> Examined:
    """Verify a ledger, as `verify` does, and keep what a certificate rests on."""
    begun = time.monotonic()
    keys = tuple(trusted)
    asked_for = witnesses or Witnesses()
    witnessed = [_witnessed(Path(checkpoint), keys)] if checkpoint is not None else []
    witnessed += [_cosigned(name, note, asked_for) for name, note in asked_for.kept]
    findings = Findings()
    cosigned = Cosigned(asked_for, findings)
    with Evidence(where) as evidence:
        said = [(name, ask(evidence.origin)) for name, ask in asked_for.asked]  # not before it
        witnessed += [_cosigned(name, note, asked_for) for name, note in said]
        size = evidence.size if isinstance(evidence.size, int) else 0
        contents = Contents(evidence, findings)
        integrity = Integrity(evidence, keys, witnessed, cosigned, findings)
        conduct = Conduct(contents, keys, findings, evidence.origin)
        damage = evidence.damage()
        if damage is not None:  # what it then says may be anything
            findings.add(10, f"the database is damaged: {damage}")
        else:
            contents.hash_all()
            try:
                for page in _pages(integrity.rows()):
                    contents.look_up(page)
                    for place, event in page:
                        conduct.take(place, event)
                    if progress is not None:
                        progress(integrity.events, size)
                contents.conclude()
            except LedgerError as error:
                findings.add(10, f"contents cannot be read: {error}")
            conduct.conclude()
            cosigned.conclude()
            for name, note in said:
                cosigned.compare(name, note)
        origin = evidence.origin
    tally = conduct.tally
    verification = Verification(
        ok=findings.total == 0,
        origin=origin,
        events=integrity.events,
        elsewhere=integrity.elsewhere,
        root=integrity.root.hex(),
        runs=conduct.runs,
        open_runs=conduct.open,
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
        cosigned=cosigned.events if asked_for.keys else None,
        unknown_signers=tuple(sorted(integrity.unknown)),
        first_bad=findings.first,
        findings=tuple(findings.kept),
        found=findings.total,
        not_checked=(
            *_unchecked(integrity, conduct, keys, witnessed, damage),
            *_uncosigned(integrity, cosigned, asked_for),
        ),
        seconds=time.monotonic() - begun,
    )
    return Examined(verification, tuple(conduct.courses), tuple(conduct.choices), findings.of_run)


def _pages(events: Iterator[tuple[Place, Event]]) -> Iterator[list[tuple[Place, Event]]]:
    page: list[tuple[Place, Event]] = []
    for event in events:
        page.append(event)
        if len(page) == PAGE:
            yield page
            page = []
    yield page


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


def _uncosigned(integrity: Integrity, cosigned: Cosigned, witnesses: Witnesses) -> Iterator[str]:
    if witnesses.keys and (beyond := integrity.events - cosigned.events):
        yield f"{beyond} events beyond the last checkpoint that {witnesses.quorum} co-signed"


def _unchecked(
    integrity: Integrity,
    conduct: Conduct,
    trusted: tuple[PublicKey, ...],
    witnessed: Iterable[Witnessed],
    damage: str | None,
) -> Iterator[str]:
    if damage is not None:
        yield "everything: a damaged database is not read"
        return
    tally = conduct.tally
    if not trusted:
        yield (
            f"signatures: no key was trusted, {integrity.checkpoints} checkpoints were compared "
            "with the tree only; whoever can write the file can have written all of it"
        )
    if integrity.elsewhere:
        yield f"{integrity.elsewhere} events: they lie in an archive; name it with --archive"
    for one in witnessed:
        if not one.signed:
            yield f"{one.name}: no key that is trusted signed it; its root was compared"
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
        (conduct.beyond, "events after a run was out of order"),
    ):
        if count:
            yield f"{count} {what}"
