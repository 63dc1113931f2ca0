"""`audition archive`: a ledger's events and contents in a folder, and out of the database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, plainly, progress_bar, some, tell
from audition.plain import shown

Folder = Annotated[Path, typer.Argument(help="The archive.", metavar="FOLDER", show_default=False)]


@plainly
def archive(
    ledger: Ledger,
    folder: Folder,
    let_go: Annotated[
        bool,
        typer.Option(
            "--let-go",
            help="Then verify the archive, and delete from the ledger the runs that have ended and "
            "are wholly in it.",
        ),
    ] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="With --let-go: a public key to trust, instead of the keyring's; may be repeated.",
            metavar="KEY",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write what is new in a ledger into an archive that verifies apart from it."""
    from audition.ledger.archive import archive as write

    with progress_bar("archiving", 1000) as bar:
        events, new = write(ledger, folder, lambda now, total: bar(now * 1000 // max(1, total)))
    gone = _let_go(ledger, folder, key) if let_go else None
    if as_json:
        let = {} if gone is None else {"runs_let_go": gone[0], "events_let_go": gone[1]}
        answer({"events": events, "new": new, **let})
        return
    tell(f"{some(events, 'event')} in {shown(str(folder), 300)}, {new:,} of them new")
    if gone is not None:
        tell(f"let go: {some(gone[0], 'run')}, {some(gone[1], 'event')}")


@contextmanager
def standing_in(ledger: str, folder: Path | None) -> Generator[str | Path]:
    """The ledger to verify: as it is, made of an archive, or completed from one."""
    from audition.ledger.unpacking import completed, unpacked

    if Path(ledger).is_dir():
        if folder is not None:
            raise Stop(f"{ledger}: an archive; --archive is for a ledger", code=2)
        with unpacked(ledger) as made:
            yield made
    elif folder is not None:
        with completed(ledger, folder) as made:
            yield made
    else:
        yield ledger


def _let_go(ledger: str, folder: Path, named: list[str] | None) -> tuple[int, int]:
    from audition.console.keys import trusted
    from audition.ledger.letting_go import let_go
    from audition.ledger.unpacking import unpacked
    from audition.verify import verify

    keys = trusted(named)
    with unpacked(folder) as made:
        found = verify(made, trusted=keys)
    if not found.ok:
        raise Stop(f"{folder}: {found.first_bad}; nothing was let go")
    if not found.signed_by:
        raise Stop(f"{folder}: signed by no key that is trusted here; nothing was let go")
    return let_go(ledger, folder)
