"""Export and import: the same ledger, or nothing at all."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import handmade
from audition.canonical import canonical, digest_bytes
from audition.ledger import LedgerError, SqlLedger, export, import_
from audition.ledger.evidence import Evidence
from audition.verify import verify

TRUSTED = [handmade.KEY.public]


@pytest.fixture
def exported(ledger_path: Path, tmp_path: Path) -> Path:
    pen = handmade.live_run()
    private = "a person's name"
    extra = handmade.Scribe("dd" * 16)
    extra.open()
    extra.contents.append((private.encode(), True))
    handmade.write(ledger_path, extra)
    name = digest_bytes(handmade.shell("ls").canonical())
    handmade.redact(ledger_path, name, pen.run, len(pen.events))
    export(ledger_path, tmp_path / "runs.jsonl")
    return tmp_path / "runs.jsonl"


def everything(path: str | Path) -> tuple[Any, ...]:
    with Evidence(path) as evidence:
        return (
            evidence.origin,
            evidence.size,
            evidence.peaks,
            list(evidence.rows()),
            list(evidence.contents()),
            list(evidence.checkpoints()),
        )


def test_a_round_trip_changes_nothing(
    ledger_path: Path, exported: Path, tmp_path: Path, where: str
) -> None:
    again = where
    assert import_(exported, again) == everything(ledger_path)[1]
    assert everything(again) == everything(ledger_path)
    assert verify(again, TRUSTED).ok
    export(again, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == exported.read_bytes()


def test_an_imported_ledger_can_be_carried_on(exported: Path, where: str) -> None:
    again = where
    import_(exported, again)
    handmade.write(again, handmade.live_run("ee" * 16))
    assert verify(again, TRUSTED).ok


def test_salted_and_redacted_contents_stay_so(exported: Path) -> None:
    lines = [orjson.loads(line) for line in exported.read_bytes().splitlines()]
    salted = [line for line in lines if "salt" in line]
    gone = [line for line in lines if line.get("redacted")]
    assert len(salted) == len(gone) == 1
    assert base64.b64decode(salted[0]["data"]) == b"a person's name"
    assert set(gone[0]) == {"content", "redacted"}


def test_events_stand_as_their_exact_bytes(ledger_path: Path, exported: Path) -> None:
    lines = exported.read_bytes().splitlines()
    with Evidence(ledger_path) as evidence:
        for _, _, _, _, data in evidence.rows():
            assert data in lines


def test_an_empty_ledger_travels(tmp_path: Path) -> None:
    SqlLedger.open(tmp_path / "empty.db").close()
    assert export(tmp_path / "empty.db", tmp_path / "empty.jsonl") == 1
    assert import_(tmp_path / "empty.jsonl", tmp_path / "again.db") == 0
    assert everything(tmp_path / "again.db") == everything(tmp_path / "empty.db")


Edit = Callable[[list[bytes]], list[bytes]]


def line(number: int, **fields: Any) -> Edit:
    def edit(lines: list[bytes]) -> list[bytes]:
        value = {**orjson.loads(lines[number]), **fields}
        lines[number] = canonical({key: item for key, item in value.items() if item != "drop"})
        return lines

    return edit


def of(lines: list[bytes], start: bytes, nth: int = 0) -> int:
    return [i for i, each in enumerate(lines) if each.startswith(start)][nth]


def on(start: bytes, change: Callable[[bytes], bytes]) -> Edit:
    def edit(lines: list[bytes]) -> list[bytes]:
        spot = of(lines, start)
        lines[spot] = change(lines[spot])
        return lines

    return edit


def without(start: bytes) -> Edit:
    def edit(lines: list[bytes]) -> list[bytes]:
        del lines[of(lines, start)]
        return lines

    return edit


def swap(lines: list[bytes]) -> list[bytes]:
    lines[1], lines[2] = lines[2], lines[1]
    return lines


def respelled(each: bytes) -> bytes:
    """Content in base64 with a bit set that no byte holds."""
    if not each.startswith(b'{"content"') or b'"salt"' in each or not each.endswith(b'="}'):
        return each
    bare = each.removesuffix(b'"}').rstrip(b"=")
    return each.replace(bare, bare[:-1] + bytes([bare[-1] + 1]))


BAD: dict[str, tuple[Edit, str]] = {
    "empty": (lambda _: [], "line 1: line: the first line was due"),
    "another file": (lambda _: [b'{"a":1}'], "line 1: audition: missing"),
    "no json": (lambda _: [b"hello"], "line 1: line: not JSON"),
    "a list": (lambda _: [b"[]"], "line 1: line: not a JSON object"),
    "another kind": (line(0, audition="diary"), "line 1: audition:"),
    "a newer version": (line(0, format=2), "line 1: format: 2; this version reads 1"),
    "an unknown field": (line(0, more=1), "line 1: 'more': unknown"),
    "a count that is none": (line(0, events="many"), "line 1: events: not a count"),
    "a negative count": (line(0, contents=-1), "line 1: contents: not a count"),
    "a true count": (line(0, contents=True), "line 1: contents: not a count"),
    "an endless name": (line(0, origin="x" * 201), "line 1: origin: not a short text"),
    "another name": (line(0, origin="elsewhere"), "checkpoint: not of the tree"),
    "another root": (line(0, root="0" * 64), "root: the events are not those"),
    "spaces": (on(b'{"at"', lambda x: b" " + x), "line 2: event: "),
    "an altered event": (on(b'{"at"', lambda x: x.replace(b'"at":17', b'"at":16')), "checkpoint"),
    "a dropped event": (without(b'{"at"'), "line 2: seq: 1 where the run's event 0 was due"),
    "events in another order": (swap, "line 2: seq: "),
    "a dropped checkpoint": (without(b'{"checkpoint"'), "line "),
    "a forged checkpoint": (
        on(b'{"checkpoint"', lambda x: x.replace(b"\\n7\\n", b"\\n8\\n")),
        "checkpoint: not of the tree",
    ),
    "a checkpoint that is none": (
        on(b'{"checkpoint"', lambda _: b'{"checkpoint":7}'),
        "checkpoint: not a text",
    ),
    "a malformed checkpoint": (
        on(b'{"checkpoint"', lambda _: b'{"checkpoint":"x"}'),
        "checkpoint: not a signed note",
    ),
    "altered content": (
        on(b'{"content"', lambda x: x.replace(b'"data":"', b'"data":"AAAA')),
        "data: altered",
    ),
    "content that is no base64": (
        on(b'{"content"', lambda x: x.replace(b'"data":"', b'"data":"*')),
        "data: not base64",
    ),
    "content in another spelling": (
        lambda lines: [respelled(each) for each in lines],
        "data: not base64 in its one form",
    ),
    "a salt where there was none": (
        on(b'{"content"', lambda x: canonical({**orjson.loads(x), "salt": "AAAA"})),
        "data: altered",
    ),
    "content under no name": (
        on(b'{"content"', lambda x: b'{"content":"zz"' + x[x.index(b',"') :]),
        "content: not a digest",
    ),
    "content without data": (
        on(b'{"content"', lambda x: x[: x.index(b',"')] + b"}"),
        "redacted: either",
    ),
    "content both": (
        on(b'{"content"', lambda x: canonical({**orjson.loads(x), "redacted": True})),
        "redacted: either",
    ),
    "content twice": (
        lambda lines: [*lines[: of(lines, b'{"content"') + 1], *lines[of(lines, b'{"content"') :]],
        "content: out of order, or twice",
    ),
    "one line more": (lambda lines: [*lines, lines[-1]], "line: nothing more was due"),
    "cut after a line": (lambda lines: lines[:-1], "it was cut"),
    "deep nesting": (on(b'{"at"', lambda _: b"[" * 1000), "event: nested deeper"),
    "an endless event": (
        on(b'{"at"', lambda _: b'{"at":"' + b"x" * (1 << 20) + b'"}'),
        "event: 1048585 bytes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_and_nothing_is_left_behind(
    exported: Path, tmp_path: Path, name: str
) -> None:
    edit, says = BAD[name]
    lines = edit(exported.read_bytes().splitlines())
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"".join(each + b"\n" for each in lines))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LedgerError) as caught:
        import_(bad, tmp_path / "new.db")
    assert says in str(caught.value)
    assert str(caught.value).startswith("bad.jsonl: line ") and "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_cut_anywhere_is_refused(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    for size in range(0, len(whole) - 1, len(whole) // 60):
        bad = tmp_path / "bad.jsonl"
        bad.write_bytes(whole[:size])
        with pytest.raises(LedgerError, match="it was cut"):
            import_(bad, tmp_path / "new.db")


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    with bad.open("wb") as file:
        file.seek(200 << 20)
        file.write(b"x")
    with pytest.raises(LedgerError, match="line 1: line: longer than"):
        import_(bad, tmp_path / "new.db")


def test_nothing_is_overwritten(ledger_path: Path, exported: Path, tmp_path: Path) -> None:
    before = ledger_path.read_bytes()
    with pytest.raises(LedgerError, match="exists already"):
        import_(exported, ledger_path)
    with pytest.raises(LedgerError, match="exists already"):
        export(ledger_path, exported)
    assert ledger_path.read_bytes() == before


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"none\.jsonl"):
        import_(tmp_path / "none.jsonl", tmp_path / "new.db")
    with pytest.raises(LedgerError, match=r"none\.db"):
        export(tmp_path / "none.db", tmp_path / "new.jsonl")
    with pytest.raises(LedgerError, match="no archive there"):
        import_(tmp_path, tmp_path / "new.db")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_ledger_is_not_exported(ledger_path: Path, tmp_path: Path) -> None:
    database = sqlite3.connect(ledger_path)
    database.execute("UPDATE events SET data = 'text' WHERE seq = 3")
    database.commit()
    database.close()
    with pytest.raises(LedgerError, match="damaged"):
        export(ledger_path, tmp_path / "runs.jsonl")
    assert not (tmp_path / "runs.jsonl").exists()
