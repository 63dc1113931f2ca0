"""Archives: what they hold verifies apart, grows by what is new, and lets the database go of it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import handmade
from audition.console.app import app
from audition.console.speaking import Stop
from audition.learn import LessonError
from audition.learn.live import lessons_of
from audition.ledger import LedgerError, LetGo, SqlLedger, export, import_, read_checkpoint
from audition.ledger.archive import archive
from audition.ledger.database import on_server
from audition.ledger.evidence import Evidence
from audition.ledger.letting_go import let_go
from audition.ledger.tiles import Tiles
from audition.ledger.tree import Frontier, leaf_hash, root_of
from audition.ledger.unpacking import completed, unpacked
from audition.step import Finish
from audition.verify import Verification, verify
from databases import ask, change
from handmade import W

TRUSTED = [handmade.KEY.public]


def run_id(number: int) -> str:
    return f"{number:032x}"


def own(run: str) -> handmade.Scribe:
    """A run whose thoughts and outcomes no other has."""
    pen = handmade.Scribe(run)
    pen.open()
    for number in range(2):
        pen.think(handmade.shell("ls"), f"thought {number} of {run}")
        pen.judged()
        pen.perform(f"outcome {number} of {run}")
    pen.think(Finish(answer=run))
    pen.judged()
    pen.enters("proceed")
    pen.close(answer=pen.named)
    return pen


def grown(path: W, first: int, count: int) -> W:
    """Some more runs, one after the other, each a commit with a checkpoint."""
    for number in range(first, first + count):
        handmade.write(path, own(run_id(number)), group=100)
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of a few bundles."""
    return grown(tmp_path_factory.mktemp("long") / "runs.db", 1, 20)


@pytest.fixture
def path(long: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(long, tmp_path / "runs.db"))


@pytest.fixture
def folder(path: Path, tmp_path: Path) -> Path:
    archive(path, tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def gaps(long: Path, where: str, tmp_path: Path) -> str:
    """The same ledger, on each kind of database."""
    if on_server(where):
        export(long, tmp_path / "long.jsonl")
        import_(tmp_path / "long.jsonl", where)
    else:
        shutil.copy(long, where)
    return where


def judged(folder: Path) -> Verification:
    with unpacked(folder) as made:
        return verify(made, TRUSTED)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(folder)): one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file() and one.name != ".lock"
    }


def events(path: Path) -> list[bytes]:
    with Evidence(path) as evidence:
        return [row[4] for row in evidence.rows()]


def test_the_tiles_are_those_of_the_specification(path: Path, folder: Path) -> None:
    """Each hash recomputed from the events by the words of C2SP tlog-tiles."""
    data = events(path)
    leaves = [leaf_hash(one) for one in data]
    assert len(data) > 512
    full = len(data) // 256
    expected = {f"tile/0/{n:03}": leaves[n * 256 : n * 256 + 256] for n in range(full)}
    expected[f"tile/0/{full:03}.p/{len(data) % 256}"] = leaves[full * 256 :]
    above = [root_of(leaves[n * 256 : n * 256 + 256]) for n in range(full)]
    expected[f"tile/1/000.p/{full}"] = above
    written = files(folder)
    for name, hashes in expected.items():
        assert written[name] == b"".join(hashes)
    hashed = {name for name in written if name.startswith(("tile/0", "tile/1", "tile/2"))}
    assert hashed == set(expected)
    bundle = written["tile/events/000"]
    assert bundle == b"".join(one + b"\n" for one in data[:256])
    head, signed = read_checkpoint(written["checkpoint"].decode(), TRUSTED)
    assert (head.size, head.root, signed) == (len(data), root_of(leaves), TRUSTED)


@pytest.mark.parametrize(
    ("number", "width", "name"),
    [
        (0, 256, "000"),
        (999, 256, "999"),
        (1000, 256, "x001/000"),
        (1234067, 256, "x001/x234/067"),
        (273, 112, "273.p/112"),
        (1234067, 3, "x001/x234/067.p/3"),
    ],
)
def test_tiles_are_named_as_the_specification_names_them(
    tmp_path: Path, number: int, width: int, name: str
) -> None:
    assert Tiles(tmp_path)._path("0", number, width) == tmp_path / "tile/0" / name


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 1200))
def test_the_edge_of_any_size_is_read_from_the_highest_tiles(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    from audition.ledger.archive import _Growing

    leaves = [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(size)]
    tiles = Tiles(tmp_path_factory.mktemp("tiles"))
    growing = _Growing(tiles, 0)
    for start in range(0, size, 256):
        growing.add(leaves[start : start + 256])
    growing.end()
    edge = Frontier()
    for leaf in leaves:
        edge.append(leaf)
    assert (tiles.edge(size).peaks, tiles.edge(size).root()) == (edge.peaks, root_of(leaves))
    tiles.check(size)


def test_an_archive_verifies_apart_from_the_ledger(path: Path, folder: Path) -> None:
    whole = verify(path, TRUSTED)
    path.unlink()
    found = judged(folder)
    assert found.ok and found.not_checked == ()
    same = ("events", "root", "runs", "decisions", "draws", "tickets", "contents")
    assert [getattr(found, one) for one in same] == [getattr(whole, one) for one in same]


def test_a_second_call_adds_only_what_is_new(path: Path, folder: Path) -> None:
    before = files(folder)
    assert archive(path, folder)[1] == 0
    assert files(folder) == before
    grown(path, 100, 10)
    events, new = archive(path, folder)
    after = files(folder)
    assert new == events - read_checkpoint(before["checkpoint"].decode(), ())[0].size > 256
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {name for name in before if ".p/" in name} | {"checkpoint"}
    assert judged(folder).ok
    assert [name for name in after if name.endswith(".part")] == []


def test_an_archive_made_at_once_and_one_that_grew_are_the_same(
    path: Path, folder: Path, tmp_path: Path
) -> None:
    for first in (100, 110, 120):
        grown(path, first, 3)
        archive(path, folder)
    archive(path, tmp_path / "again")
    assert files(tmp_path / "again") == files(folder)


KILLED = """
import os, signal, sys
from audition.ledger import tiles
from audition.ledger.archive import archive
left = int(sys.argv[3])
replace = os.replace
def dies(*given):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*given)
tiles.os.replace = dies
archive(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("left", [0, 2, 5, 7])
def test_an_archiver_that_is_killed_leaves_what_was_there_and_goes_on(
    path: Path, folder: Path, tmp_path: Path, left: int
) -> None:
    size = judged(folder).events
    grown(path, 100, 10)
    command = [sys.executable, "-c", KILLED, str(path), str(folder), str(left)]
    done = subprocess.run(command, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    found = judged(folder)
    assert found.ok and found.events == size
    archive(path, folder)
    archive(path, tmp_path / "again")
    assert judged(folder).events > size
    assert {name for name in files(folder) if not name.endswith(".part")} == set(
        files(tmp_path / "again")
    )


def test_the_first_archive_cut_off_before_its_checkpoint_is_begun_again(
    path: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "archive"), "4"]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    with pytest.raises(LedgerError, match="no archive"), unpacked(tmp_path / "archive"):
        pass
    archive(path, tmp_path / "archive")
    assert judged(tmp_path / "archive").ok


def test_a_long_archive_pauses_at_checkpoints(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["audition.ledger.archive"], "STRIDE", 100)
    seen: list[int] = []
    keep = Tiles.write_checkpoint

    def kept(self: Tiles, note: str) -> None:
        keep(self, note)
        seen.append(judged(self.folder).events)

    monkeypatch.setattr(Tiles, "write_checkpoint", kept)
    archive(path, tmp_path / "archive")
    assert len(seen) > 2 and seen == sorted(seen)
    monkeypatch.undo()
    archive(path, tmp_path / "again")
    assert files(tmp_path / "archive") == files(tmp_path / "again")


# ------------------------------------------------------------------------ what does not fit


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (path,) = folder.glob(name)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return change


def cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (path,) = folder.glob(name)
        path.write_bytes(path.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[0] + b"\n")

    return change


def reorder(folder: Path) -> None:
    path = folder / "tile/events/000"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


def add(folder: Path) -> None:
    path = folder / "tile/events/000"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])


def gone(folder: Path) -> None:
    (folder / "tile/events/001").unlink()


def another_content(folder: Path) -> None:
    path = folder / "tile/contents/000"
    lines = path.read_bytes().splitlines(keepends=True)
    data = base64.b64encode(b"another").decode()
    lines[0] = lines[0][:78] + b',"data":"' + data.encode() + b'"}\n'
    path.write_bytes(b"".join(lines))


def without_contents(folder: Path) -> None:
    (folder / "tile/contents/000").write_bytes(b"")


@pytest.mark.parametrize(
    "forge",
    [
        *map(flip, ("tile/0/000", "tile/0/*.p/*", "tile/1/*.p/*", "tile/events/000", "checkpoint")),
        *map(cut, ("tile/events/000", "tile/events/*.p/*")),
        reorder,
        add,
        gone,
        another_content,
        without_contents,
    ],
)
def test_an_archive_that_was_altered_does_not_verify(
    folder: Path, forge: Callable[[Path], None]
) -> None:
    forge(folder)
    try:
        sound = judged(folder).ok
    except LedgerError:
        sound = False
    assert not sound


def test_an_archive_goes_on_with_its_own_ledger_only(
    folder: Path, path: Path, tmp_path: Path
) -> None:
    before = files(folder)
    other = grown(tmp_path / "other.db", 1, 12)
    with pytest.raises(LedgerError, match="archive of another ledger"):
        archive(other, folder)
    forked = sqlite3.connect(path)
    forked.execute('DELETE FROM events WHERE "index" >= 500')
    forked.execute("DELETE FROM checkpoints WHERE size > 500")
    forked.execute("DELETE FROM runs WHERE id NOT IN (SELECT run FROM events)")
    tree = Frontier()
    for (leaf,) in forked.execute('SELECT leaf FROM events ORDER BY "index"').fetchall():
        tree.append(leaf)
    forked.execute("UPDATE ledger SET size = 500, peaks = ?", (b"".join(tree.peaks),))
    forked.commit()
    forked.close()
    grown(path, 200, 12)
    with pytest.raises(LedgerError, match="of another history"):
        archive(path, folder)
    assert judged(folder).ok
    assert files(folder)["checkpoint"] == before["checkpoint"]


def test_what_is_damaged_is_not_archived(path: Path, tmp_path: Path) -> None:
    damaged = sqlite3.connect(path)
    damaged.execute("UPDATE events SET data = x'00' WHERE \"index\" = 300")
    damaged.commit()
    damaged.close()
    with pytest.raises(LedgerError, match="event 300 is damaged"):
        archive(path, tmp_path / "archive")
    assert not (tmp_path / "archive" / "checkpoint").exists()


def test_what_is_no_archive_or_not_signed_is_one_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(LedgerError, match="no archive of a ledger"):
        archive(path, tmp_path / "other")
    SqlLedger.open(tmp_path / "unsigned.db").close()
    with pytest.raises(LedgerError, match="not signed"):
        archive(tmp_path / "unsigned.db", tmp_path / "new")


def test_one_process_at_a_time_writes_an_archive(path: Path, folder: Path) -> None:
    with Tiles(folder).alone(), pytest.raises(LedgerError, match="another process"):
        archive(path, folder)


def test_an_archive_is_imported_as_a_ledger_or_not_at_all(
    path: Path, folder: Path, tmp_path: Path
) -> None:
    assert import_(folder, tmp_path / "again.db") == judged(folder).events
    assert events(tmp_path / "again.db") == events(path)
    grown(tmp_path / "again.db", 300, 1)
    assert verify(tmp_path / "again.db", TRUSTED).ok
    flip("tile/events/001")(folder)
    with pytest.raises(LedgerError, match="altered, added or moved"):
        import_(folder, tmp_path / "third.db")
    assert not any("third" in one.name for one in tmp_path.iterdir())


# ------------------------------------------------------------------------ letting go


def test_runs_that_ended_and_are_archived_leave_the_ledger(gaps: str, tmp_path: Path) -> None:
    whole = verify(gaps, TRUSTED)
    archive(gaps, tmp_path / "archive")
    runs, left = let_go(gaps, tmp_path / "archive")
    assert 0 < runs < 20 and left < whole.events
    (held,) = ask(gaps, "SELECT count(*) FROM events WHERE data IS NOT NULL")[0]
    assert held == whole.events - left
    assert ask(gaps, "SELECT count(*) FROM contents")[0][0] < whole.contents
    alone = verify(gaps, TRUSTED)
    assert alone.ok and (alone.elsewhere, alone.root) == (left, whole.root)
    assert any(f"{left} events: they lie in an archive" in line for line in alone.not_checked)
    with completed(gaps, tmp_path / "archive") as made:
        found = verify(made, TRUSTED)
    assert found.ok and found.elsewhere == 0 and found.not_checked == ()
    same = ("events", "root", "runs", "decisions", "draws", "tickets", "contents", "signatures")
    assert [getattr(found, one) for one in same] == [getattr(whole, one) for one in same]
    assert let_go(gaps, tmp_path / "archive") == (0, 0)


def test_a_ledger_goes_on_after_it_let_go(gaps: str, tmp_path: Path) -> None:
    archive(gaps, tmp_path / "archive")
    let_go(gaps, tmp_path / "archive")
    grown(gaps, 100, 10)
    assert verify(gaps, TRUSTED).ok
    archive(gaps, tmp_path / "archive")
    assert judged(tmp_path / "archive").ok
    assert let_go(gaps, tmp_path / "archive")[0] > 0
    with completed(gaps, tmp_path / "archive") as made:
        assert verify(made, TRUSTED).ok
    with pytest.raises(LedgerError, match="event 0 was let go"):
        archive(gaps, tmp_path / "a second one")


def test_what_another_run_names_stays(gaps: str, tmp_path: Path) -> None:
    opened = handmade.Scribe(run_id(500))
    opened.open()  # it shares the goal, the tools and the confinement of all the others
    handmade.write(gaps, opened)
    archive(gaps, tmp_path / "archive")
    let_go(gaps, tmp_path / "archive")
    assert verify(gaps, TRUSTED).ok
    with SqlLedger.open(gaps, create=False) as ledger:
        first: Any = next(ledger.read(run_id(500))).body
        assert ledger.get(first.goal)


def test_a_run_with_a_redaction_and_one_that_goes_on_stay(gaps: str, tmp_path: Path) -> None:
    first = own(run_id(1))
    name = hashlib.sha256(first.contents[-1][0]).hexdigest()
    handmade.redact(gaps, name, first.run, len(first.events))
    archive(gaps, tmp_path / "archive")
    let_go(gaps, tmp_path / "archive")
    gone = "SELECT name FROM runs JOIN events ON run = id WHERE data IS NULL"
    assert bytes.fromhex(run_id(1)) not in {name for (name,) in ask(gaps, gone)} != set()
    found = verify(gaps, TRUSTED)
    assert found.ok and found.redacted == 1


def test_nothing_is_let_go_while_another_has_the_ledger_open(gaps: str, tmp_path: Path) -> None:
    """It may count on a content being there that it saw a moment ago."""
    archive(gaps, tmp_path / "archive")
    with SqlLedger.open(gaps, create=False) as ledger:
        assert ledger.size
        with pytest.raises(LedgerError, match="another process has the ledger open"):
            let_go(gaps, tmp_path / "archive")
    assert ask(gaps, "SELECT count(*) FROM events WHERE data IS NULL") == [(0,)]


def test_another_ledger_s_archive_lets_nothing_go(gaps: str, tmp_path: Path) -> None:
    other = grown(tmp_path / "other.db", 1, 12)
    archive(other, tmp_path / "archive")
    with pytest.raises(LedgerError, match="archive of another ledger"):
        let_go(gaps, tmp_path / "archive")
    with (
        pytest.raises(LedgerError, match="archive of another"),
        completed(gaps, tmp_path / "archive"),
    ):
        pass


def test_an_event_blanked_and_put_back_otherwise_is_found(gaps: str, tmp_path: Path) -> None:
    archive(gaps, tmp_path / "archive")
    let_go(gaps, tmp_path / "archive")
    change(
        gaps,
        'UPDATE events SET leaf = (SELECT leaf FROM events WHERE "index" = 4) WHERE "index" = 3',
    )
    assert not verify(gaps, TRUSTED).ok
    with completed(gaps, tmp_path / "archive") as made:
        found = verify(made, TRUSTED)
    assert found.first_bad is not None and found.first_bad.index == 3


def test_the_commands_archive_let_go_and_verify(gaps: str, tmp_path: Path) -> None:
    key = tmp_path / "ledger.pub"
    key.write_text(str(handmade.KEY.public))
    runner = CliRunner(env={"AUDITION_HOME": str(tmp_path / "home")})

    def said(*words: Any, code: int = 0) -> str:
        done = runner.invoke(app, [*map(str, words)])
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    folder = tmp_path / "archive"
    assert "of them new" in said("archive", gaps, folder)
    said("archive", gaps, folder, "--let-go", code=1)  # signed by nobody who is trusted
    assert "let go: " in said("archive", gaps, folder, "--let-go", "--key", key)
    assert "archived" in said("runs", gaps)
    assert "let go" not in runner.invoke(app, ["pending", str(gaps)]).output
    assert "lie in an archive" in said("verify", gaps, "--key", key)
    assert "lie in an archive" not in said("verify", gaps, "--key", key, "--archive", folder)
    assert "VERIFIED" in said("verify", folder, "--key", key)
    flip("tile/events/000")(folder)
    said("verify", folder, "--key", key, code=1)
    said("archive", gaps, folder, "--let-go", "--key", key, code=1)


def test_what_was_let_go_is_left_out_or_says_how_it_is_read(gaps: str, tmp_path: Path) -> None:
    archive(gaps, tmp_path / "archive")
    left, runner = let_go(gaps, tmp_path / "archive")[0], CliRunner()
    gone = run_id(1)
    way = "was let go; to read it: audition import ARCHIVE NEW.db"
    (listed,) = (one for one in said("runs", gaps) if one.startswith(gone))
    assert listed.split() == [gone, "-", "archived"]
    for words in (["show", gaps, gone], ["show", gaps, gone, "--json"], ["trust", gaps, gone]):
        refused = runner.invoke(app, words)
        assert isinstance(refused.exception, Stop) and refused.exception.line.endswith(way)
        assert refused.stdout == ""
    with pytest.raises(LetGo, match=f"event [0-9]+ {way}"):
        export(gaps, tmp_path / "no.jsonl")
    for command in ("trust", "lessons"):
        assert f"left out: {left} runs let go, which only an archive has" in said(command, gaps)
        assert json.loads(said(command, gaps, "--json")[0])["let_go"] == left
    with SqlLedger.open(gaps, create=False) as ledger, pytest.raises(LessonError, match="let go"):
        lessons_of(ledger, [run_id(20)])
    import_(tmp_path / "archive", tmp_path / "again.db")
    assert said("show", tmp_path / "again.db", gone)[0].startswith(f"run {gone}: ")


def test_whoever_follows_is_told_once_of_each_run_that_was_let_go(
    gaps: str, tmp_path: Path
) -> None:
    archive(gaps, tmp_path / "archive")
    left, events = let_go(gaps, tmp_path / "archive")
    told = [json.loads(one) for one in said("follow", gaps, "--once", "--json")]
    assert sum("let_go" in one for one in told) == left
    with SqlLedger.open(gaps, create=False) as ledger:
        assert len(told) == left + ledger.size - events
        assert told[-1]["index"] == ledger.size - 1
    done = CliRunner().invoke(app, ["follow", gaps, "--once"])
    assert done.stderr.count("was let go; its archive has it") == left


def said(*words: Any) -> list[str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout.splitlines()
