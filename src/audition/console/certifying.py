"""`audition verify --certificate`: how a thinker was trained, and how far that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audition.console.speaking import Stop, answer, progress_bar, some, tell
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import PublicKey
    from audition.verify import Certificate

LISTED = 20
"""Objections that are told; the JSON has more."""


def certify(
    ledger: str,
    thinker: str,
    trusted: Sequence[PublicKey],
    checkpoint: Path | None,
    leaves: int,
    replay: bool,
    as_json: bool,
) -> None:
    """Print a certificate; exit code 1 where a level that was asked for does not hold."""
    from audition.verify import certify as examine

    with progress_bar("certifying", 1000) as bar:
        found = examine(
            ledger,
            thinker,
            trusted=trusted,
            checkpoint=checkpoint,
            leaves=leaves,
            again=replay,
            progress=lambda _, part: bar(round(part * 1000)),
        )
    if as_json:
        answer(found.model_dump(mode="json"))
    else:
        _tell(found)
    due = "replayed" if replay else "opened" if leaves else "recorded"
    if found.level != due:
        against = [
            line
            for level in (found.recorded, found.opened, found.replayed)
            if level is not None
            for line in level.against
        ]
        raise Stop(f"not {due}: {against[0] if against else found.level}")


def _tell(found: Certificate) -> None:
    short = found.thinker[:12]
    if found.level == "none":
        tell(f"NOT CERTIFIED  thinker {short}…")
    else:
        tell(f"CERTIFIED, {found.level}  thinker {short}…")
    tell(
        f"{shown(found.project, 80)}, seed {found.seed}, run {found.run[:8]}: "
        f"{some(found.updates, 'update')} from {some(found.lessons, 'lesson')}; "
        f"{some(len(found.siblings), 'sibling')} of its plan in this ledger"
    )
    if found.chosen:
        tell("  chosen among its siblings by a rule that was committed to before they were trained")
    for one in found.taught:
        whence = f", itself trained from {one.trained_from[:12]}…" if one.trained_from else ""
        tell(f"  taught by {shown(one.auditor, 80)} ({one.role}), {one.moments:,} moments{whence}")
    known = "trained in this ledger" if found.base_known else "what made them is not shown here"
    tell(f"  began from weights {found.base[:12]}…, {known}")
    for one in found.restrictions:
        tell(f"  {'LIFTED' if one.lifted else 'held'}  {shown(one.name, 80)}: {shown(one.says)}")
    for name, level in (
        ("recorded", found.recorded),
        ("opened", found.opened),
        ("replayed", found.replayed),
    ):
        if level is None:
            tell(f"{name}: not looked at")
            continue
        tell(f"{name}: {'holds' if level.holds else 'DOES NOT HOLD'}")
        for line in level.against[:LISTED]:
            tell(f"  {shown(line, 300)}")
        if len(level.against) > LISTED:
            tell(f"  and {len(level.against) - LISTED:,} more")
    if found.opened is not None and found.opened.holds:
        tell(
            f"  {found.opened.leaves:,} leaves with {found.opened.rows:,} steps were opened: "
            f"at most {found.opened.violating_at_most:.1%} of all are inadmissible (95 %)"
        )
    tell("Not shown:")
    for line in found.not_seen:
        tell(f"  {line}")
