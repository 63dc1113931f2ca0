"""Redaction: what is to go is gone for good, says so, and breaks nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

import handmade
from audition.console.app import app
from audition.ledger import LedgerError, SqlLedger, content_name
from audition.ledger.archive import archive
from audition.ledger.database import on_server
from audition.ledger.redacting import archived, redact, redact_archive
from audition.ledger.unpacking import unpacked
from audition.step import Digest
from audition.verify import verify
from databases import ask

TRUSTED = [handmade.KEY.public]
CITIES = [f"city number {number}".encode() for number in range(1000)]
"""All that the secret can be: whoever knows a name can try each."""


def gone(path: str | Path, *contents: Digest, known: tuple[Digest, ...] = ()) -> int:
    return anyio.run(redact, path, contents, "asked for", handmade.KEY, known)


@pytest.fixture
def path(where: str) -> str:
    return handmade.write(where, handmade.live_run())


@pytest.fixture
def name(path: str) -> Digest:
    found = ask(path, "SELECT digest, data FROM contents")
    return next(digest.hex() for digest, data in found if b"7 words" in data)


def test_what_is_redacted_is_gone_and_the_ledger_verifies(path: str, name: Digest) -> None:
    assert gone(path, name) == 1
    found = verify(path, TRUSTED)
    assert found.ok and found.redacted == 1
    if not on_server(path):  # which sees to its own files
        files = Path(path).parent.glob("l.db*")
        assert not any(b"7 words" in one.read_bytes() for one in files)
    assert gone(path, name) == 0  # and no second event
    assert verify(path, TRUSTED).events == found.events


@pytest.mark.parametrize("private", [True, False])
def test_only_what_is_salted_cannot_be_guessed_afterwards(tmp_path: Path, private: bool) -> None:
    secret = CITIES[417]
    pen = handmade.recorded_run()
    pen.contents.append((secret, private))
    path = handmade.write(tmp_path / "runs.db", pen)
    database = sqlite3.connect(path)
    (name,) = database.execute("SELECT digest FROM contents WHERE data = ?", (secret,)).fetchone()
    (salt,) = database.execute("SELECT salt FROM contents WHERE data = ?", (secret,)).fetchone()
    database.close()
    before = [one for one in CITIES if content_name(one, salt) == name.hex()]
    assert before == [secret]
    gone(path, name.hex())
    kept = b"".join(one.read_bytes() for one in tmp_path.glob("runs.db*"))
    assert name in kept and secret not in kept and (salt is None or salt not in kept)
    guessed = [one for one in CITIES if content_name(one, None) == name.hex()]
    assert guessed == ([] if private else [secret])


def test_what_an_open_run_names_stays(tmp_path: Path) -> None:
    opened = handmade.compared_run()
    path = handmade.write(tmp_path / "runs.db", opened, handmade.live_run())
    shared = hashlib.sha256(handmade.SHELL.canonical()).hexdigest()
    before = verify(path, TRUSTED)
    with pytest.raises(LedgerError, match=f"run {opened.run} has not ended"):
        gone(path, shared)
    assert verify(path, TRUSTED).events == before.events


def test_what_is_not_there_is_told_and_nothing_of_the_rest_goes(path: str, name: Digest) -> None:
    before = verify(path, TRUSTED)
    with pytest.raises(LedgerError, match="none of that name"):
        gone(path, name, "ab" * 32)
    after = verify(path, TRUSTED)
    assert (after.events, after.redacted) == (before.events, 0)


KILLED = """
import anyio, os, signal, sys
import handmade
from audition.ledger.database import on_server
from audition.ledger.redacting import redact
from audition.ledger.store import SqlLedger
async def dies(self, content):
    os.kill(os.getpid(), signal.SIGKILL)
SqlLedger.redact = dies
anyio.run(redact, sys.argv[1], [sys.argv[2]], "asked for", handmade.KEY)
"""


def test_a_kill_after_the_announcement_is_found_and_the_same_call_goes_on(
    path: str, name: Digest
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), name], env=environment, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    found = verify(path, TRUSTED)
    assert [str(one).partition(": ")[2] for one in found.findings] == [
        f"content {name[:12]}… was to be deleted and is still there, or in the archive: redact "
        "it again, with --archive for an archive [guarantee 10]"
    ]
    assert gone(path, name) == 1
    assert verify(path, TRUSTED).ok


def test_an_archive_is_redacted_too(path: str, name: Digest, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    handmade.write(path, *(handmade.live_run(f"{number:032x}") for number in range(3)))
    archive(path, folder)
    assert archived(folder, [name, "ab" * 32]) == {name}
    with SqlLedger.open(path, create=False) as ledger:
        encoded = base64.b64encode(ledger.get(name))
    files = [one for one in folder.rglob("*") if one.is_file()]
    assert any(encoded in one.read_bytes() for one in files)
    gone(path, name)
    archive(path, folder)
    with unpacked(folder) as made:
        assert "still there" in str(verify(made, TRUSTED).findings)
    assert redact_archive(folder, [name]) == 1
    assert redact_archive(folder, [name]) == 0
    with unpacked(folder) as made:
        found = verify(made, TRUSTED)
    assert found.ok and found.redacted == 1
    files = [one for one in folder.rglob("*") if one.is_file()]
    assert not any(encoded in one.read_bytes() for one in files)


def test_the_command_redacts_ledger_and_archive(path: str, name: Digest, tmp_path: Path) -> None:
    runner = CliRunner(env={"AUDITION_HOME": str(tmp_path / "home")})
    handmade.write(path, *(handmade.live_run(f"{number:032x}") for number in range(3)))
    archive(path, tmp_path / "archive")
    words = ["redact", str(path), name, "--reason", "a name"]
    done = runner.invoke(app, [*words, "--archive", str(tmp_path / "archive")])
    assert done.exit_code == 0, done.output
    assert "1 content of 1" in done.stdout and "1 bundle of" in done.stdout
    wrong = runner.invoke(app, [*words[:2], "ab", "--reason", "x"])
    assert "64 hexadecimal digits" in str(wrong.exception)
    with unpacked(tmp_path / "archive") as made:
        assert verify(made, TRUSTED).redacted == 1


def test_every_event_of_all_runs_is_followed_from_any_place(path: str, tmp_path: Path) -> None:
    handmade.write(path, handmade.recorded_run())
    with SqlLedger.open(path, create=False) as ledger:
        whole = list(ledger.follow())
        assert [index for index, _ in whole] == list(range(ledger.size))
        assert list(ledger.follow(20)) == whole[21:]
        assert list(ledger.follow(ledger.size - 1)) == []
    runner = CliRunner(env={"AUDITION_HOME": str(tmp_path / "home")})
    done = runner.invoke(app, ["follow", str(path), "--after", "20", "--once", "--json"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["index"], one["run"], one["seq"]) for one in lines] == [
        (index, event.run, event.seq) for index, event in whole[21:]
    ]


def test_whoever_follows_is_told_what_comes_later(path: str) -> None:
    command = [sys.executable, "-m", "audition", "follow", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        with SqlLedger.open(path, create=False) as ledger:
            first = [follower.stdout.readline() for _ in range(ledger.size)]
        handmade.write(path, handmade.recorded_run())
        later = json.loads(follower.stdout.readline())
        with SqlLedger.open(path, create=False) as ledger:  # to the end, where it waits for more
            for _ in range(ledger.size - len(first) - 1):
                follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
    assert (len(first), later["run"], later["seq"]) == (later["index"], handmade.RECORD, 0)
    assert follower.returncode == 130
