"""Content that is at hand: fetched once, written once, bounded, and gone when it is redacted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from audition.ledger import Redacted, SqlLedger
from audition.ledger.recent import LONGEST, ROOM, Recent

pytestmark = pytest.mark.anyio


def statements(ledger: SqlLedger, sign: str) -> list[Any]:
    """The parameters of each statement from now on in which this sign stands."""
    found: list[Any] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        if sign in statement:
            found.extend(parameters if many else [parameters])

    sa.event.listen(ledger._engine, "before_cursor_execute", note)
    return found


def fetches(ledger: SqlLedger) -> list[Any]:
    """What is fetched of the contents from now on."""
    found: list[Any] = []
    glance = ledger.database.glance

    def noted(query: str, parameters: Any) -> Any:
        if "SELECT salt" in query:
            found.append(parameters)
        return glance(query, parameters)

    ledger.database.glance = noted  # type: ignore[method-assign]
    return found


async def test_what_was_just_written_is_neither_fetched_nor_written_again(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        fetched, kept = fetches(ledger), statements(ledger, "INTO contents")
        name = ledger.put(b"once")
        await ledger.commit()
        assert ledger.get(name) == b"once"
        assert ledger.put(b"once") == name
        ledger.put(b"another")
        await ledger.commit()
        assert [data for _, _, data in kept] == [b"once", b"another"]
        assert not fetched


async def test_what_was_just_read_is_not_fetched_again(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        name = ledger.put(b"once", private=True)
        await ledger.commit()
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        fetched = fetches(ledger)
        assert ledger.get(name) == ledger.get(name) == b"once"
        assert len(fetched) == 1


@pytest.mark.parametrize("also", [True, False])
async def test_what_another_process_redacted_is_not_at_hand_for_being_put_again(
    tmp_path: Path, also: bool
) -> None:
    """The database keeps it redacted, whether or not another content was new beside it."""
    path = tmp_path / "l.db"
    with SqlLedger.open(path) as ledger, SqlLedger.open(path) as other:
        name = other.put(b"secret")
        await other.commit()
        await other.redact(name)
        ledger.put(b"secret")
        if also:
            ledger.put(b"new")
        await ledger.commit()
        with pytest.raises(Redacted):
            ledger.get(name)


async def test_what_is_redacted_here_is_at_hand_no_longer(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        name = ledger.put(b"secret")
        await ledger.commit()
        assert ledger.get(name) == b"secret"
        await ledger.redact(name)
        with pytest.raises(Redacted):
            ledger.get(name)


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(LONGEST - 9, LONGEST + 2))))
def test_little_is_held(uses: list[tuple[int, int]]) -> None:
    recent = Recent()
    for number, size in uses:
        name, data = b"%d" % number, bytes([number]) * size
        recent.drop(name)
        recent.add(name, data)
        assert recent.get(name) == (data if size <= LONGEST else None)
        assert sum(map(len, recent._held.values())) <= recent._size <= ROOM
    for name in list(recent._held):
        recent.drop(name)
    assert recent._size == 0


def test_what_was_not_used_for_longest_makes_room() -> None:
    recent = Recent()
    for number in range(2 * ROOM // LONGEST):
        recent.add(b"%d" % number, bytes(LONGEST))
        assert recent.get(b"0") is not None
    assert recent.get(b"1") is None
