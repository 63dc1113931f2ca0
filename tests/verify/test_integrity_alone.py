"""Integrity alone: whether what is there is what was written, and nothing about what it says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from test_forgery import EDITS, Forge, forge, recompute, saved_checkpoint

import handmade
from audition.ledger.evidence import Evidence, read_ahead
from audition.verify import rows, verify

TRUSTED = [handmade.KEY.public]


def test_an_untouched_ledger_is_unaltered_and_none_of_its_events_is_read(ledger_path: Path) -> None:
    whole = verify(ledger_path, TRUSTED)
    with mock.patch.object(rows, "parse_event", side_effect=AssertionError("read")):
        found = verify(ledger_path, TRUSTED, integrity=True)
    assert found.ok and not found.conduct and whole.conduct
    assert (found.events, found.root, found.runs) == (whole.events, whole.root, whole.runs)
    assert (found.contents, found.checkpoints) == (whole.contents, whole.checkpoints)
    assert found.signatures == found.checkpoints and found.decisions == 0
    assert "integrity alone" in found.not_checked[0]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edited_row_is_named(ledger_path: Path, edit: Forge) -> None:
    index = forge(ledger_path, edit)
    found = verify(ledger_path, TRUSTED, integrity=True)
    assert not found.ok and found.first_bad is not None and found.first_bad.index == index


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_recomputed_hashes_do_not_fit_the_checkpoints(
    ledger_path: Path, tmp_path: Path, edit: Forge
) -> None:
    earlier = saved_checkpoint(ledger_path, tmp_path / "earlier.txt")
    forge(ledger_path, edit)
    recompute(ledger_path, key=handmade.KEY)
    assert not verify(ledger_path, TRUSTED, checkpoint=earlier, integrity=True).ok


@pytest.mark.parametrize("column", ["run", "seq"])
def test_a_row_that_files_an_event_elsewhere_is_found(ledger_path: Path, column: str) -> None:
    """The columns beside an event are under no hash: they are held against its own words."""
    last = "SELECT max(seq) FROM events WHERE run = 1"
    to = {"run": "2", "seq": f"({last}) + 1"}[column]
    forge(ledger_path, lambda db: db.execute("DELETE FROM events WHERE run = 2"))
    forge(
        ledger_path,
        lambda db: db.execute(
            f"UPDATE events SET {column} = {to} WHERE run = 1 AND seq = ({last})"
        ),
    )
    recompute(ledger_path, key=handmade.KEY)
    says = [one.says for one in verify(ledger_path, TRUSTED, integrity=True).findings]
    assert any("the row" in one for one in says), says


def test_altered_content_is_found(ledger_path: Path) -> None:
    forge(ledger_path, lambda db: db.execute("UPDATE contents SET data = x'00' WHERE rowid = 1"))
    found = verify(ledger_path, TRUSTED, integrity=True)
    assert [one.says.endswith("… was altered") for one in found.findings] == [True]


def test_conduct_is_not_judged(ledger_path: Path) -> None:
    """Whoever holds the key can sign anything; whether it was right is not asked here."""

    def work(database: sqlite3.Connection) -> None:
        database.execute(
            "UPDATE events SET data = CAST(replace(data, 'action\":\"reject', 'action\":\"proceed')"
            " AS BLOB) WHERE instr(data, 'step.decided')"
        )

    forge(ledger_path, work)
    recompute(ledger_path, key=handmade.KEY)
    assert verify(ledger_path, TRUSTED, integrity=True).ok
    assert not verify(ledger_path, TRUSTED).ok


def test_what_is_damaged_is_not_read_to_an_end_that_may_not_come(ledger_path: Path) -> None:
    def endless(_: Evidence) -> Iterator[list[Any]]:
        for _ in range(1_000_000):
            yield []
        raise AssertionError("read on")

    with (
        mock.patch.object(Evidence, "damage", return_value="a page is its own child"),
        mock.patch.object(Evidence, "pages", endless),
    ):
        found = verify(ledger_path, TRUSTED, integrity=True)
    says = [one.says for one in found.findings]
    assert says == ["the database is damaged: a page is its own child"]


def test_no_more_is_read_ahead_than_there_is_room_for() -> None:
    rows, piece = iter([(number, bytes(1001)) for number in range(100)]), list[Any]()
    assert read_ahead(rows, piece, 50, 10_000) < 0 and len(piece) == 10
    assert read_ahead(rows, piece, 5, 10_000) > 0 and len(piece) == 15
    assert next(rows)[0] == 15
