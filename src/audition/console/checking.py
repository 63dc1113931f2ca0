"""`audition verify`, `export`, `import`: anyone can check."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, plainly, progress_bar, some, tell
from audition.console.writing import write_whole
from audition.plain import shown

if TYPE_CHECKING:
    from audition.verify import Verification


LISTED = 20
"""Findings that are told; the JSON has more."""


class Form(StrEnum):
    """What an export is made of."""

    LEDGER = "ledger"
    CHAT = "chat"
    INSPECT = "inspect"


@plainly
def verify(
    ledger: Ledger,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A public key to trust: a file, its text, or a name in the keyring; "
            "may be repeated.",
            metavar="KEY",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept elsewhere, to show truncation.", metavar="FILE"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Write the newest checkpoint here, if all is well, with the one that is there.",
            metavar="FILE",
        ),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(
            help="A witness whose co-signature is asked for: its key, or a file with it; may be "
            "repeated.",
            metavar="KEY",
        ),
    ] = None,
    quorum: Annotated[
        int | None,
        typer.Option(help="So many of the witnesses suffice; otherwise all.", metavar="M", min=1),
    ] = None,
    witness_checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="A witness's checkpoint: a file, or the witness's address, which is asked; may be "
            "repeated.",
            metavar="FILE|URL",
        ),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            help="The archive of what was let go; it is put back into a copy, which is verified.",
            metavar="FOLDER",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add what no ledger can ever show.")
    ] = False,
    integrity: Annotated[
        bool,
        typer.Option(
            "--integrity", help="Check that nothing was altered, and not how runs were conducted."
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Processes at most, one for every 50,000 events; if not given, as many as there "
            "are processors.",
            metavar="N",
            min=1,
            max=64,
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            help="Certify how this thinker was trained: the digest of its weights, or its "
            "beginning; `last` for the newest.",
            metavar="THINKER",
        ),
    ] = None,
    leaves: Annotated[
        int,
        typer.Option(
            "--open",
            help="With --certificate: open so many leaves of each run concerned, drawn now.",
            min=0,
            max=100_000,
            metavar="K",
        ),
    ] = 0,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="With --certificate: train again, to the same weights."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a ledger: that nothing was altered, and that every run kept the guarantees.

    An archive of one is checked in the same way, apart from any ledger.
    """
    from audition.console.archiving import standing_in
    from audition.console.keys import trusted
    from audition.console.witnessing import witnesses
    from audition.verify import verify as check

    if certificate is not None:
        from audition.console.certifying import certify

        if keep is not None or integrity:
            which = "--keep" if keep is not None else "--integrity"
            raise Stop(f"{which} and --certificate do not go together; verify first", code=2)
        certify(ledger, certificate, trusted(key), checkpoint, leaves, replay, as_json)
        return
    if leaves or replay:
        raise Stop("--open and --replay need --certificate THINKER", code=2)
    if integrity and keep is not None:
        raise Stop("--keep keeps what was verified whole; leave --integrity out", code=2)
    if keep is not None and keep.exists():  # what was kept is evidence: checked before it goes
        if checkpoint is not None and not keep.samefile(checkpoint):
            raise Stop(f"{keep}: it is there already; name a new file, or leave --checkpoint out")
        checkpoint = keep
    bar_of = progress_bar("verifying", 1000)
    with standing_in(ledger, archive) as whole, bar_of as bar:
        found = check(
            whole,
            trusted=trusted(key),
            checkpoint=checkpoint,
            progress=lambda now, total: bar(now * 1000 // max(1, total)),
            witnesses=witnesses(witness, quorum, witness_checkpoint),
            jobs=jobs,
            integrity=integrity,
        )
    if as_json:
        answer(found.model_dump(mode="json"))
    else:
        _tell(ledger, found, explain)
    if not found.ok:
        raise Stop(f"{ledger}: {found.first_bad}")
    if keep is not None:
        _keep(ledger, found, keep)


def _tell(ledger: str, found: Verification, explain: bool) -> None:
    name = shown(ledger, 300)
    if not found.ok:
        tell(f"NOT VERIFIED  {name}")
    elif found.signed_by:
        word = "VERIFIED" if found.conduct else "UNALTERED"
        tell(f"{word}  {name}, signed by {', '.join(found.signed_by)}")
    else:
        tell(f"consistent, but signed by nobody you trust: {name}")
    runs, rest = some(found.runs, "run"), some(found.contents, "content") + " compared, "
    if found.conduct:
        runs += f", {found.open_runs} open"
        rest = (
            f"{some(found.decisions, 'decision')} re-run, {some(found.draws, 'draw')} recomputed, "
            f"{some(found.tickets, 'ticket')} and {rest}"
        )
    tell(f"{some(found.events, 'event')} in {runs}")
    tell(f"{rest}{some(found.checkpoints, 'checkpoint')}; {found.seconds:.1f} s")
    if found.cosigned is not None:
        tell(f"{some(found.cosigned, 'event')} co-signed by the witnesses asked for")
    for line in found.not_checked:
        tell(f"not checked: {line}")
    for finding in found.findings[:LISTED]:
        tell(f"FOUND  {finding}")
    if found.found > LISTED:
        tell(f"and {found.found - LISTED:,} more")
    if explain:
        tell("A ledger never shows:")
        for line in found.never_shown:
            tell(f"  {line}")


def _keep(ledger: str, found: Verification, path: Path) -> None:
    """Write the checkpoint of what was verified, and no other."""
    from audition.ledger import SqlLedger, read_checkpoint

    with SqlLedger.open(ledger, create=False) as opened:
        note = opened.checkpoint()
    if note is None:
        raise Stop(f"{ledger}: it is not signed; there is no checkpoint to keep")
    head, _ = read_checkpoint(note, ())
    if (head.size, head.root.hex()) != (found.events, found.root):
        raise Stop(
            f"{ledger}: its newest checkpoint covers {head.size} events and {found.events} were "
            "verified; nothing was kept, verify again"
        )
    write_whole(path, note)


@plainly
def export(
    ledger: Ledger,
    file: Annotated[Path, typer.Argument(help="A new file.", metavar="FILE", show_default=False)],
    form: Annotated[
        Form, typer.Option("--as", help="What is written: ledger, chat, inspect.", metavar="FORM")
    ] = Form.LEDGER,
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="With --as chat or inspect: only this run; may be repeated.", metavar="RUN"
        ),
    ] = None,
) -> None:
    """Write a ledger as JSON lines that another implementation can verify, or its runs as records.

    With --as chat, each run is one conversation a line; with --as inspect, a sample of a log
    (`.eval`) of Inspect. `audition review` reads both.
    """
    from audition.ledger import export as write

    if form is not Form.LEDGER:
        from audition.console.recording import record

        record(ledger, file, run or [], inspect=form is Form.INSPECT)
        return
    if run:
        raise Stop("--run needs --as chat or inspect: a ledger is exported whole", code=2)
    tell(f"{some(write(ledger, file), 'line')} in {shown(str(file), 300)}")


@plainly
def import_(
    file: Annotated[Path, typer.Argument(help="A JSONL file.", metavar="FILE", show_default=False)],
    ledger: Annotated[
        str, typer.Argument(help="A new ledger.", metavar="LEDGER", show_default=False)
    ],
) -> None:
    """Make a ledger from its export; everything is checked first."""
    from audition.ledger import import_

    tell(f"{some(import_(file, ledger), 'event')} in {shown(ledger, 300)}")
