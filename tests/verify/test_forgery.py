"""Three forgers: one edits rows, one also recomputes hashes and tree, one holds the signing key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.canonical import digest_bytes
from audition.ledger import Checkpoint, LedgerError, PrivateKey, SqlLedger
from audition.ledger.evidence import Evidence
from audition.ledger.tree import Frontier, leaf_hash
from audition.verify import Verification, verify

TRUSTED = [handmade.KEY.public]
Forge = Callable[[sqlite3.Connection], Any]


def rows(database: sqlite3.Connection) -> list[tuple[int, bytes]]:
    return database.execute('SELECT "index", data FROM events ORDER BY "index"').fetchall()


def of_kind(database: sqlite3.Connection, kind: str, nth: int = 0) -> tuple[int, bytes]:
    sign = f'"kind":"{kind}"'.encode()
    return [row for row in rows(database) if sign in row[1]][nth]


def rejection(database: sqlite3.Connection) -> tuple[int, bytes]:
    """The verdict of the rules that a live step broke them."""
    signs = (b'"kind":"audit.recorded"', b'"auditor":"rules"', b'"score":1}')
    return next(row for row in rows(database) if all(sign in row[1] for sign in signs))


def put(database: sqlite3.Connection, index: int, data: bytes) -> None:
    database.execute('UPDATE events SET data = ? WHERE "index" = ?', (data, index))


def alter_a_byte(database: sqlite3.Connection) -> int:
    index, data = of_kind(database, "act.finished")
    put(database, index, data.replace(b'"done"', b'"dome"'))
    return index


def change_a_decision(database: sqlite3.Connection) -> int:
    index, data = of_kind(database, "step.decided", 1)
    assert b'"action":"reject"' in data
    put(database, index, data.replace(b'"action":"reject"', b'"action":"proceed"'))
    return index


def change_a_verdict(database: sqlite3.Connection) -> int:
    index, data = rejection(database)
    put(database, index, data.replace(b'"score":1', b'"score":0'))
    return index


def change_a_score_slightly(database: sqlite3.Connection) -> int:
    index, data = rejection(database)
    put(database, index, data.replace(b'"score":1', b'"score":0.999'))
    return index


def change_a_time(database: sqlite3.Connection) -> int:
    index, data = of_kind(database, "act.started")
    put(database, index, data.replace(b'"at":17', b'"at":16'))
    return index


def add_a_field(database: sqlite3.Connection) -> int:
    index, data = of_kind(database, "act.started")
    put(database, index, data.replace(b'{"at"', b'{"and":1,"at"'))
    return index


def add_a_space(database: sqlite3.Connection) -> int:
    index, data = of_kind(database, "act.started")
    put(database, index, data.replace(b'{"at"', b'{ "at"'))
    return index


def repeat_a_key(database: sqlite3.Connection) -> int:
    index, data = of_kind(database, "act.started")
    put(database, index, data.replace(b'{"at"', b'{"at":1,"at"'))
    return index


def drop_one(database: sqlite3.Connection) -> int:
    index, _ = of_kind(database, "step.decided", 1)
    database.execute('DELETE FROM events WHERE "index" = ?', (index,))
    return index


def drop_and_close_the_gap(database: sqlite3.Connection) -> int:
    index, _ = of_kind(database, "restriction.declared")
    run = database.execute('SELECT run FROM events WHERE "index" = ?', (index,)).fetchone()[0]
    database.execute('DELETE FROM events WHERE "index" = ?', (index,))
    move = 'UPDATE events SET "index" = -"index" WHERE "index" > ?'
    database.execute(move, (index,))
    database.execute('UPDATE events SET "index" = -"index" - 1 WHERE "index" < 0')
    database.execute("UPDATE events SET seq = -seq WHERE run = ? AND seq > 1", (run,))
    database.execute("UPDATE events SET seq = -seq - 1 WHERE run = ? AND seq < 0", (run,))
    return index


def swap_two(database: sqlite3.Connection) -> int:
    one, first = of_kind(database, "audit.recorded")
    other, second = of_kind(database, "step.decided")
    put(database, one, second)
    put(database, other, first)
    return one


def swap_two_whole_rows(database: sqlite3.Connection) -> int:
    one, _ = of_kind(database, "moment.sealed")
    other, _ = of_kind(database, "audit.drawn")
    move = 'UPDATE events SET "index" = ? WHERE "index" = ?'
    for new, old in ((-1, one), (one, other), (other, -1)):
        database.execute(move, (new, old))
    return one


def swap_runs(database: sqlite3.Connection) -> int:
    database.execute("UPDATE events SET run = -run")
    database.execute("UPDATE events SET run = 3 + run")
    return 0


def rename_a_run(database: sqlite3.Connection) -> int:
    database.execute("UPDATE runs SET name = ? WHERE id = 1", (b"\xcc" * 16,))
    return 0


def renumber(database: sqlite3.Connection) -> int:
    index, _ = of_kind(database, "run.closed")
    database.execute('UPDATE events SET seq = seq + 5 WHERE "index" = ?', (index,))
    return index


def put_in_text(database: sqlite3.Connection) -> int:
    database.execute("UPDATE events SET data = 'text' WHERE \"index\" = 12")
    return 12


def put_in_nothing(database: sqlite3.Connection) -> int:
    database.execute("UPDATE events SET data = x'', leaf = 7 WHERE \"index\" = 12")
    return 12


EDITS = [
    alter_a_byte,
    change_a_decision,
    change_a_verdict,
    change_a_score_slightly,
    change_a_time,
    add_a_field,
    add_a_space,
    repeat_a_key,
    drop_one,
    drop_and_close_the_gap,
    swap_two,
    swap_two_whole_rows,
    swap_runs,
    rename_a_run,
    renumber,
    put_in_text,
    put_in_nothing,
]


def forge(path: Path, edit: Forge) -> Any:
    database = sqlite3.connect(path)
    database.execute("PRAGMA foreign_keys = OFF")
    found = edit(database)
    database.commit()
    database.close()
    return found


def recompute(path: Path, *, key: PrivateKey | None = None, drop: bool = True) -> None:
    """Make leaves, tree and stored size fit whatever the rows now say; sign if there is a key."""

    def work(database: sqlite3.Connection) -> None:
        tree = Frontier()
        for index, data in rows(database):
            if isinstance(data, bytes):
                leaf = leaf_hash(data)
                set_leaf = 'UPDATE events SET leaf = ? WHERE "index" = ?'
                database.execute(set_leaf, (leaf, index))
                tree.append(leaf)
        database.execute("UPDATE ledger SET size = ?, peaks = ?", (tree.size, b"".join(tree.peaks)))
        if drop:
            database.execute("DELETE FROM checkpoints")
        if key is not None:
            origin = database.execute("SELECT origin FROM ledger").fetchone()[0]
            note = Checkpoint(origin, tree.size, tree.root()).signed(key)
            database.execute("INSERT INTO checkpoints VALUES (?, ?)", (tree.size, note))

    forge(path, work)


def saved_checkpoint(path: Path, into: Path) -> Path:
    database = sqlite3.connect(path)
    note = database.execute("SELECT note FROM checkpoints ORDER BY size DESC").fetchone()[0]
    database.close()
    into.write_text(note)
    return into


def assert_named(found: Verification, index: int, *, exact: bool = True) -> None:
    assert not found.ok
    assert found.first_bad is not None
    first = found.first_bad
    assert first.index is not None
    if exact:
        assert first.index == index, str(first)
    else:
        assert first.index <= index <= (first.until if first.until is not None else first.index)


def test_an_untouched_ledger_verifies(ledger_path: Path) -> None:
    found = verify(ledger_path, TRUSTED)
    assert found.ok and found.found == 0 and found.first_bad is None
    assert found.decisions > 8 and found.draws > 6 and found.tickets >= 4
    assert found.signatures == found.checkpoints > 10
    assert found.not_checked == ()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edited_row_is_named(ledger_path: Path, edit: Forge) -> None:
    index = forge(ledger_path, edit)
    found = verify(ledger_path, TRUSTED)
    assert_named(found, index)
    assert "\n" not in str(found.first_bad)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_recomputed_hashes_do_not_fit_the_signed_checkpoints(
    ledger_path: Path, edit: Forge
) -> None:
    index = forge(ledger_path, edit)
    recompute(ledger_path, drop=False)
    found = verify(ledger_path, TRUSTED)
    assert not found.ok
    assert any(
        finding.index is not None and finding.index <= index <= (finding.until or finding.index)
        for finding in found.findings
    )


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_recomputed_hashes_without_checkpoints_are_signed_by_nobody(
    ledger_path: Path, edit: Forge
) -> None:
    forge(ledger_path, edit)
    recompute(ledger_path)
    found = verify(ledger_path, TRUSTED)
    assert not found.ok


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_whoever_holds_the_key_is_found_by_an_earlier_checkpoint(
    ledger_path: Path, tmp_path: Path, edit: Forge
) -> None:
    earlier = saved_checkpoint(ledger_path, tmp_path / "earlier.txt")
    forge(ledger_path, edit)
    recompute(ledger_path, key=handmade.KEY)
    assert not verify(ledger_path, TRUSTED, checkpoint=earlier).ok


def test_an_altered_event_lies_between_two_checkpoints(ledger_path: Path) -> None:
    index = forge(ledger_path, change_a_time)
    recompute(ledger_path, drop=False)
    found = verify(ledger_path, TRUSTED)
    assert found.found == 1
    assert_named(found, index, exact=False)
    assert found.first_bad is not None and found.first_bad.until is not None
    assert found.first_bad.until - (found.first_bad.index or 0) < 7
    assert "agrees" in found.first_bad.says


@pytest.mark.parametrize("keep", [0, 1, 50, 97])
def test_truncation_shows_in_what_is_left(ledger_path: Path, keep: int) -> None:
    forge(ledger_path, lambda db: db.execute('DELETE FROM events WHERE "index" >= ?', (keep,)))
    found = verify(ledger_path, TRUSTED)
    assert not found.ok and found.first_bad is not None
    assert found.first_bad.index is not None and found.first_bad.index <= keep


def test_a_clean_truncation_shows_only_to_whoever_kept_a_checkpoint(
    ledger_path: Path, tmp_path: Path
) -> None:
    later = saved_checkpoint(ledger_path, tmp_path / "later.txt")

    def cut(database: sqlite3.Connection) -> None:
        sizes = [size for (size,) in database.execute("SELECT size FROM checkpoints ORDER BY size")]
        keep = sizes[len(sizes) // 2]
        database.execute('DELETE FROM events WHERE "index" >= ?', (keep,))
        database.execute("DELETE FROM checkpoints WHERE size > ?", (keep,))

    forge(ledger_path, cut)
    recompute(ledger_path, drop=False)
    alone = verify(ledger_path, TRUSTED)
    assert alone.ok and alone.open_runs == 1, "documented: nothing in the ledger shows this"
    assert any("dropped from the end" in line for line in alone.never_shown)
    found = verify(ledger_path, TRUSTED, checkpoint=later)
    assert not found.ok and found.first_bad is not None
    assert "truncated" in found.first_bad.says and found.first_bad.index == alone.events


def test_a_ledger_written_anew_with_the_key_shows_only_to_an_earlier_checkpoint(
    ledger_path: Path, tmp_path: Path
) -> None:
    earlier = saved_checkpoint(ledger_path, tmp_path / "earlier.txt")
    forge(ledger_path, change_a_time)
    recompute(ledger_path, key=handmade.KEY)
    alone = verify(ledger_path, TRUSTED)
    assert alone.ok, "documented: whoever holds the key and no witness can rewrite"
    assert any("signing key" in line for line in alone.never_shown)
    assert not verify(ledger_path, TRUSTED, checkpoint=earlier).ok


@pytest.mark.parametrize("edit", [add_a_field, add_a_space, repeat_a_key])
def test_no_key_makes_an_event_of_what_is_none(ledger_path: Path, edit: Forge) -> None:
    index = forge(ledger_path, edit)
    recompute(ledger_path, key=handmade.KEY)
    found = verify(ledger_path, TRUSTED)
    assert_named(found, index)
    assert "no event of this version" in str(found.first_bad)


def test_no_key_hides_a_gap_in_a_run(ledger_path: Path) -> None:
    """An event that changes nothing is taken out and every index moved up."""

    def cut(database: sqlite3.Connection) -> int:
        index, _ = of_kind(database, "run.resumed")
        database.execute('DELETE FROM events WHERE "index" = ?', (index,))
        database.execute('UPDATE events SET "index" = -"index" WHERE "index" > ?', (index,))
        database.execute('UPDATE events SET "index" = -"index" - 1 WHERE "index" < 0')
        own = b'"run":"%s"' % handmade.LIVE.encode()
        return next(number for number, row in rows(database)[index:] if own in row)

    index = forge(ledger_path, cut)
    recompute(ledger_path, key=handmade.KEY)
    found = verify(ledger_path, TRUSTED)
    assert_named(found, index)
    assert "was due: one is missing or moved" in str(found.first_bad)


@pytest.mark.parametrize("value", [b"note", 7])
def test_a_checkpoint_of_another_type_is_found(ledger_path: Path, value: object) -> None:
    change = "UPDATE checkpoints SET note = ? WHERE size = 7"
    forge(ledger_path, lambda database: database.execute(change, (value,)))
    assert_named(verify(ledger_path, TRUSTED), 6)


@pytest.mark.parametrize("what", ["pages", "checkpoints", "contents"])
def test_what_cannot_be_read_to_its_end_is_found(
    ledger_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    whole = getattr(Evidence, what)

    def broken(evidence: Evidence) -> Any:
        for one in islice(whole(evidence), 4):
            yield one[:4] if what == "pages" else one
        raise LedgerError("the disk failed")

    monkeypatch.setattr(Evidence, what, broken)
    found = verify(ledger_path)
    assert any("the disk failed" in finding.says for finding in found.findings)


def test_an_earlier_checkpoint_of_the_same_ledger_is_consistent(
    ledger_path: Path, tmp_path: Path
) -> None:
    earlier = saved_checkpoint(ledger_path, tmp_path / "earlier.txt")
    more = handmade.live_run("c3" * 16)
    handmade.write(ledger_path, more)
    assert verify(ledger_path, TRUSTED, checkpoint=earlier).ok


def test_a_checkpoint_of_another_ledger_is_no_witness(ledger_path: Path, tmp_path: Path) -> None:
    other = handmade.write(tmp_path / "other.db", handmade.recorded_run())
    earlier = saved_checkpoint(other, tmp_path / "other.txt")
    found = verify(ledger_path, TRUSTED, checkpoint=earlier)
    assert not found.ok and "another ledger" in found.findings[0].says


def test_a_forged_root_in_a_checkpoint_is_told_from_altered_events(ledger_path: Path) -> None:
    stranger = PrivateKey.generate("mallory")

    def work(database: sqlite3.Connection) -> int:
        size, _ = database.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()[3]
        origin = database.execute("SELECT origin FROM ledger").fetchone()[0]
        note = Checkpoint(origin, size, b"\7" * 32).signed(stranger)
        database.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note, size))
        return size

    size = forge(ledger_path, work)
    found = verify(ledger_path, TRUSTED)
    assert found.found == 1 and found.first_bad is not None
    assert found.first_bad.index == size - 1
    assert "forged" in found.first_bad.says
    assert found.unknown_signers == (stranger.public.id,)


@pytest.mark.parametrize("part", ["origin", "size", "root", "signature"])
def test_a_checkpoint_with_one_part_changed_is_found(ledger_path: Path, part: str) -> None:
    def work(database: sqlite3.Connection) -> int:
        size, note = database.execute("SELECT size, note FROM checkpoints").fetchall()[3]
        lines = note.split("\n")
        number = {"origin": 0, "size": 1, "root": 2, "signature": 4}[part]
        line = lines[number]
        spot = 3 if part == "root" else 30
        other = "A" if line[spot:][:1] != "A" else "B"
        shifted = line[:spot] + other + line[spot + 1 :]
        lines[number] = {"origin": "elsewhere", "size": line + "0"}.get(part, shifted)
        change = "UPDATE checkpoints SET note = ? WHERE size = ?"
        database.execute(change, ("\n".join(lines), size))
        return size

    size = forge(ledger_path, work)
    found = verify(ledger_path, TRUSTED)
    assert_named(found, size - 1)
    assert "checkpoint" in str(found.first_bad)


def test_an_old_checkpoint_replayed_at_a_later_size_is_found(ledger_path: Path) -> None:
    def work(database: sqlite3.Connection) -> int:
        notes = database.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
        last = notes[-1][0]
        change = "UPDATE checkpoints SET note = ? WHERE size = ?"
        database.execute(change, (notes[2][1], last))
        return last

    last = forge(ledger_path, work)
    assert_named(verify(ledger_path, TRUSTED), last - 1)


def test_a_stranger_s_signatures_are_reported_and_not_trusted(tmp_path: Path) -> None:
    mallory = PrivateKey.generate("mallory")
    path = handmade.write(tmp_path / "runs.db", handmade.live_run(), key=mallory)
    found = verify(path, TRUSTED)
    assert not found.ok and found.signatures == 0
    assert found.unknown_signers == (mallory.public.id,)
    assert verify(path, [mallory.public]).ok


def test_an_unsigned_ledger_says_so(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "runs.db", handmade.live_run(), key=None)
    alone = verify(path)
    assert alone.ok and any("no key was trusted" in line for line in alone.not_checked)
    assert not verify(path, TRUSTED).ok


@pytest.mark.parametrize("column", ["size", "peaks"])
def test_a_changed_edge_is_found(ledger_path: Path, column: str) -> None:
    value = {"size": 12, "peaks": b"\1" * 32}[column]
    forge(ledger_path, lambda db: db.execute(f"UPDATE ledger SET {column} = ?", (value,)))
    assert not verify(ledger_path, TRUSTED).ok


# -------------------------------------------------------------------------------- content


def proposal(pen: handmade.Scribe) -> str:
    return digest_bytes(handmade.shell("ls").canonical())


def test_altered_content_is_named_with_the_event_that_names_it(ledger_path: Path) -> None:
    name = proposal(handmade.live_run())

    def work(database: sqlite3.Connection) -> int:
        change = "UPDATE contents SET data = ? WHERE digest = ?"
        other = handmade.shell("rm -rf /").canonical()
        assert database.execute(change, (other, bytes.fromhex(name))).rowcount == 1
        return of_kind(database, "step.proposed")[0]

    index = forge(ledger_path, work)
    found = verify(ledger_path, TRUSTED)
    assert_named(found, index)
    assert "altered" in str(found.first_bad)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE contents SET data = NULL, salt = NULL WHERE digest = ?",
        "DELETE FROM contents WHERE digest = ?",
        "UPDATE contents SET salt = x'00' WHERE digest = ?",
        "UPDATE contents SET data = 'text' WHERE digest = ?",
        "UPDATE contents SET digest = x'00' WHERE digest = ?",
    ],
)
def test_content_that_is_gone_or_changed_without_a_word_is_found(
    ledger_path: Path, sql: str
) -> None:
    name = bytes.fromhex(proposal(handmade.live_run()))

    def work(database: sqlite3.Connection) -> int:
        assert database.execute(sql, (name,)).rowcount == 1
        return of_kind(database, "step.proposed")[0]

    index = forge(ledger_path, work)
    found = verify(ledger_path, TRUSTED)
    assert any(finding.index == index for finding in found.findings), found.findings


def test_redaction_with_an_event_verifies_and_is_counted(ledger_path: Path) -> None:
    pen = handmade.live_run()
    handmade.redact(ledger_path, proposal(pen), pen.run, len(pen.events))
    found = verify(ledger_path, TRUSTED)
    assert found.ok, found.first_bad
    assert found.redacted == 1
    assert any("tickets: what they permit was redacted" in line for line in found.not_checked)


def test_redaction_without_an_event_is_found(ledger_path: Path) -> None:
    pen = handmade.live_run()
    handmade.redact(ledger_path, proposal(pen), pen.run, len(pen.events), told=False)
    found = verify(ledger_path, TRUSTED)
    assert not found.ok
    assert "is gone" in str(found.first_bad) and found.first_bad.kind == "step.proposed"


def test_a_redaction_that_left_the_content_is_found(ledger_path: Path) -> None:
    pen = handmade.live_run()
    name = bytes.fromhex(proposal(pen))
    row = sqlite3.connect(ledger_path)
    data = row.execute("SELECT data FROM contents WHERE digest = ?", (name,)).fetchone()[0]
    row.close()
    handmade.redact(ledger_path, name.hex(), pen.run, len(pen.events))
    forge(
        ledger_path,
        lambda db: db.execute("UPDATE contents SET data = ? WHERE digest = ?", (data, name)),
    )
    found = verify(ledger_path, TRUSTED)
    assert not found.ok and "still there" in str(found.first_bad)


# -------------------------------------------------------------------------------- the database


def test_a_flipped_bit_anywhere_in_the_file_is_harmless_or_found(ledger_path: Path) -> None:
    """Every page takes a hit; what the ledger says is then unchanged, or the damage is found."""
    with SqlLedger.open(ledger_path) as ledger:
        truth = [event for run in ledger.runs() for event in ledger.read(run)]
    whole = ledger_path.read_bytes()
    for spot in range(100, len(whole), 4096 // 3):
        broken = ledger_path.with_name("broken.db")
        broken.write_bytes(whole[:spot] + bytes([whole[spot] ^ 0x10]) + whole[spot + 1 :])
        try:
            found = verify(broken, TRUSTED)
        except LedgerError:
            continue
        if found.ok:
            with SqlLedger.open(broken) as ledger:
                assert truth == [e for run in ledger.runs() for e in ledger.read(run)], spot
        for suffix in ("", "-wal", "-shm"):
            broken.with_name(broken.name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM events; END",
        "CREATE VIEW v AS SELECT 1",
    ],
)
def test_what_no_ledger_has_is_found(ledger_path: Path, sql: str) -> None:
    forge(ledger_path, lambda db: db.execute(sql))
    assert "which no ledger has" in str(verify(ledger_path, TRUSTED).first_bad)


def test_verification_changes_nothing(ledger_path: Path) -> None:
    before = ledger_path.read_bytes()
    verify(ledger_path, TRUSTED)
    assert ledger_path.read_bytes() == before


def test_findings_are_bounded_and_all_counted(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "runs.db", *(handmade.live_run(f"{n:032x}") for n in range(3)))
    forge(path, lambda db: db.execute("UPDATE events SET data = x'00'"))
    found = verify(path, TRUSTED)
    assert len(found.findings) == 100 and found.found > 200
    assert found.first_bad is not None and found.first_bad.index == 0


def test_a_damaged_database_is_not_read_any_further(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "runs.db", handmade.live_run())
    database = sqlite3.connect(path)
    database.execute("CREATE VIEW strange AS SELECT * FROM events")
    database.execute("UPDATE events SET data = x'00'")
    database.commit()
    database.close()
    found = verify(path, [handmade.KEY.public])
    assert found.found == 1 and "damaged" in str(found.first_bad)
    assert found.events == found.contents == 0
    assert found.not_checked == ("everything: a damaged database is not read",)
