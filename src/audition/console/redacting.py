"""`audition redact`: content deleted for good, and said so, without breaking the chain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from audition.console.runs import Ledger
from audition.console.speaking import Stop, plainly, some, tell, wait_for
from audition.plain import shown


@plainly
def redact(
    ledger: Ledger,
    contents: Annotated[
        list[str],
        typer.Argument(
            help="The contents' names, 64 digits each; `audition show --json` tells them.",
            metavar="DIGEST...",
            show_default=False,
        ),
    ],
    reason: Annotated[
        str, typer.Option(help="Why; everybody can read it.", metavar="TEXT", show_default=False)
    ],
    archive: Annotated[
        Path | None,
        typer.Option(help="Also from this archive of the ledger.", metavar="FOLDER"),
    ] = None,
) -> None:
    """Delete contents for good: an event says so first, and the ledger still verifies."""
    from audition.console.keys import signer
    from audition.ledger.archive import archive as extend
    from audition.ledger.redacting import archived, redact_archive
    from audition.ledger.redacting import redact as delete

    named = list(dict.fromkeys(contents))
    for one in named:
        if not re.fullmatch(r"[0-9a-f]{64}", one):
            raise Stop(f"{shown(one, 80)}: a content's name is 64 hexadecimal digits", code=2)
    there = archived(archive, named) if archive is not None else ()
    gone = wait_for(lambda: delete(ledger, named, reason, signer(), there))
    tell(f"redacted: {some(gone, 'content')} of {len(named)}, the others were gone before")
    if archive is not None:
        extend(ledger, archive)
        changed = redact_archive(archive, named)
        tell(f"{some(changed, 'bundle')} of {shown(str(archive), 300)} written anew")
