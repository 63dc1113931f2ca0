"""Guarantee 8 for what is written for other trainers: a guard's verdict is in none of it."""

from __future__ import annotations

from pathlib import Path

import handmade
from audition.gate import sequential, threshold
from audition.learn.live import lessons_of
from audition.ledger import SqlLedger
from chatted import chatted
from exported import exported

WORDS = ((0.9, 0.2, 0.4), (2, 0, 1))
BEHIND = sequential(threshold("rules", reject_at=1), threshold("judge", reject_at=1))


def test_a_guard_s_verdict_moves_no_row(tmp_path: Path) -> None:
    """It suspects nothing, or much: the rows are the same bytes, and none repeats its words."""
    calm = exported(handmade.write(tmp_path / "calm.db", chatted(*WORDS)))
    wary = exported(handmade.write(tmp_path / "wary.db", chatted(*WORDS, rules=0.9)))
    assert calm == wary and calm[0]
    assert not any("rules says so" in row or '"auditor":"rules"' in row for row in calm[0])


def test_what_a_guard_rejects_is_written_like_the_rest(tmp_path: Path) -> None:
    calm, _ = exported(handmade.write(tmp_path / "calm.db", chatted(WORDS[0])))
    stern, _ = exported(handmade.write(tmp_path / "stern.db", chatted(WORDS[0], rules=1.0)))
    assert calm == stern


def test_a_teacher_behind_a_guard_gives_no_row(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "l.db", chatted(*WORDS, gate=BEHIND))
    assert not exported(path)[0]
    with SqlLedger.open(path, create=False) as ledger:
        assert lessons_of(ledger).refused["a guard stood before it"] == 2
