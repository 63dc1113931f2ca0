"""`audition migrate`: a ledger of an earlier version, taken to the tables of this one."""

from __future__ import annotations

from audition.console.runs import Ledger
from audition.console.speaking import plainly, tell
from audition.plain import shown


@plainly
def migrate(ledger: Ledger) -> None:
    """Take a ledger of an earlier version to the tables of this one: wholly, or not at all."""
    from audition.ledger import migrate as carry
    from audition.ledger.database import REVISION

    before = carry(ledger)
    if before == REVISION:
        tell(f"{shown(ledger, 300)}: at revision {REVISION} already")
    else:
        tell(f"{shown(ledger, 300)}: from revision {before} to {REVISION}; no event was touched")
