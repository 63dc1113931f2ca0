"""Guarantee 10: anyone can check.

With the public keys, offline: altering, dropping, reordering or truncating shows to whoever holds a
later checkpoint or a witness's co-signature. `tests/verify` has every forgery; here is the core.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.ledger import Checkpoint, PrivateKey, on_server
from audition.ledger.database import connect
from audition.ledger.tree import Frontier, leaf_hash
from audition.verify import verify
from databases import ask, change

TRUSTED = [handmade.KEY.public]
SPOT = 20
FORGERIES = {
    "alter": "UPDATE events SET data = CAST(replace(data, '\"at\":17', '\"at\":16') AS BLOB) "
    'WHERE "index" = 20',
    "drop": 'DELETE FROM events WHERE "index" = 20',
    "reorder": "UPDATE events SET data = (SELECT data FROM events AS other "
    'WHERE other."index" = 41 - events."index") WHERE "index" IN (20, 21)',
    "truncate": 'DELETE FROM events WHERE "index" >= 20',
    "alter content": "UPDATE contents SET data = x'00' WHERE digest = "
    "(SELECT digest FROM contents LIMIT 1)",
    "forge a checkpoint": "UPDATE checkpoints SET note = replace(note, char(10) || '21' || "
    "char(10), char(10) || '22' || char(10)) WHERE size = 21",
}


IN_POSTGRESQL = (
    (
        r"CAST\(replace\(data, ('[^']*'), ('[^']*')\) AS BLOB\)",
        r"convert_to(replace(convert_from(data, 'UTF8'), \1, \2), 'UTF8')",
    ),
    (r"x'([0-9a-f]*)'", r"'\\x\1'::bytea"),
    (r"char\(10\)", "chr(10)"),
)
"""What SQLite says otherwise."""


def forge(path: str, sql: str) -> None:
    for sqlite, server in IN_POSTGRESQL if on_server(path) else ():
        sql = re.sub(sqlite, server, sql)
    assert change(path, sql) > 0


def rebuild(path: str, key: PrivateKey | None) -> None:
    """All that can be recomputed without the key, and with it the last checkpoint too."""
    tree = Frontier()
    database = connect(path)
    with database.writer() as connection, connection.begin():

        def do(sql: str, *values: Any) -> Any:
            return connection.exec_driver_sql(database.sql(sql), values)

        rows = do('SELECT "index", data FROM events ORDER BY "index"').all()
        for number, (index, data) in enumerate(rows):
            leaf = leaf_hash(data)
            tree.append(leaf)
            do('UPDATE events SET leaf = ?, "index" = ? WHERE "index" = ?', leaf, number, index)
        do("UPDATE ledger SET size = ?, peaks = ?", tree.size, b"".join(tree.peaks))
        if key is not None:
            origin = do("SELECT origin FROM ledger").scalar()
            do("DELETE FROM checkpoints")
            note = Checkpoint(origin, tree.size, tree.root()).signed(key)
            do("INSERT INTO checkpoints VALUES (?, ?)", tree.size, note)
    database.engine.dispose()


@pytest.fixture
def path(where: str) -> str:
    return handmade.write(where, handmade.live_run(), handmade.recorded_run())


@pytest.fixture
def kept(path: str, tmp_path: str) -> Path:
    """The last checkpoint, as a witness or an earlier reader keeps it."""
    note = ask(path, "SELECT note FROM checkpoints ORDER BY size DESC")[0][0]
    file = tmp_path / "checkpoint.txt"
    file.write_text(note)
    return file


def test_an_honest_ledger_verifies_with_the_public_key_alone(path: str, kept: Path) -> None:
    found = verify(path, TRUSTED, checkpoint=kept)
    assert found.ok and found.not_checked == ()


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_row_is_found_and_the_first_bad_event_named(path: str, forgery: str) -> None:
    forge(path, FORGERIES[forgery])
    found = verify(path, TRUSTED)
    assert not found.ok and found.first_bad is not None
    if "content" not in forgery:
        assert found.first_bad.index == SPOT


@pytest.mark.parametrize("forgery", [name for name in FORGERIES if "content" not in name])
def test_recomputing_every_hash_does_not_help_without_the_key(path: str, forgery: str) -> None:
    forge(path, FORGERIES[forgery])
    rebuild(path, None)
    found = verify(path, TRUSTED)
    assert not found.ok and found.first_bad is not None
    first = found.first_bad
    assert first.index is not None and first.index <= SPOT <= (first.until or first.index)


@pytest.mark.parametrize("forgery", ["alter", "drop", "reorder", "truncate"])
def test_holding_the_key_does_not_help_against_a_checkpoint_kept_elsewhere(
    path: str, kept: Path, forgery: str
) -> None:
    forge(path, FORGERIES[forgery])
    rebuild(path, handmade.KEY)
    assert not verify(path, TRUSTED, checkpoint=kept).ok


def test_a_signature_must_be_the_trusted_keys_own_and_not_only_bear_its_name(path: str) -> None:
    forge(path, FORGERIES["alter"])
    rebuild(path, PrivateKey.generate(handmade.KEY.public.name))
    ((size, note),) = ask(path, "SELECT size, note FROM checkpoints")
    text, _, line = note.rpartition("\u2014 ")
    name, blob = line.split()
    passed_off = handmade.KEY.public.hash + base64.b64decode(blob)[4:]
    note = f"{text}\u2014 {name} {base64.b64encode(passed_off).decode()}\n"
    change(path, f"UPDATE checkpoints SET note = '{note}' WHERE size = {size}")
    assert not verify(path, TRUSTED).ok


def test_content_that_reads_well_must_still_be_what_its_name_says(path: str) -> None:
    contents = ask(path, "SELECT digest, data FROM contents WHERE salt IS NULL")
    other = b"another text".hex()
    name = next(digest for digest, data in contents if not data.startswith((b"{", b"[")))
    forge(
        path,
        f"UPDATE contents SET data = x'{other}' WHERE digest = x'{name.hex()}'",
    )
    found = verify(path, TRUSTED)
    assert not found.ok and "altered" in str(found.first_bad)


def test_what_cannot_be_found_is_said(path: str) -> None:
    """Whoever holds the signing key and faces no witness can rewrite: no run can show it."""
    forge(path, FORGERIES["alter"])
    rebuild(path, handmade.KEY)
    found = verify(path, TRUSTED)
    assert found.ok
    assert any("holds the signing key" in line for line in found.never_shown)
