"""`audition export --as chat`: runs written out, and judged again from the file."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from audition.console.app import app
from audition.console.recording import record
from audition.console.speaking import Stop
from audition.ledger import Journal, LedgerError, SqlLedger
from audition.ledger.events import MomentSealed, RunOpened, TranscriptRecorded
from audition.records import RecordError, read
from audition.step import digest_of
from handmade import LIVE, RECORD


def test_each_run_is_a_line_that_reads_back(ledger_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(app, ["export", str(ledger_path), str(out), "--as", "chat"])
    assert done.exit_code == 0, done.output
    assert "2 runs" in done.stdout
    with SqlLedger.open(ledger_path, create=False) as opened:
        sealed = {
            run: {e.body.moment.turn for e in opened.read(run) if isinstance(e.body, MomentSealed)}
            for run in (LIVE, RECORD)
        }
    assert [len(one.steps()) for one in read(out)] == [len(sealed[LIVE]), len(sealed[RECORD])]


def test_a_run_that_is_named_is_the_one_that_is_written(ledger_path: Path, tmp_path: Path) -> None:
    record(ledger_path, tmp_path / "out.jsonl", [RECORD])
    (one,) = read(tmp_path / "out.jsonl")
    assert [step.proposal.kind for step in one.steps()] == ["think", "act", "act"]


def test_a_file_that_is_there_is_left_as_it_is(ledger_path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        record(ledger_path, tmp_path / "mine", [])
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "runs.db") as ledger:
        journal = Journal(ledger, "1" * 32)
        opened = RunOpened(
            mode="record",
            project="p",
            goal=journal.put("g"),
            thinker="t",
            auditors=(),
            gate={},
            restrictions="0" * 64,
        )
        journal.log(opened)
        journal.log(TranscriptRecorded(role="user", content=journal.put("half \ud800")))
        anyio.run(journal.commit)
    with pytest.raises(RecordError, match="half a character"):
        record(tmp_path / "runs.db", tmp_path / "out.jsonl", [])
    assert not (tmp_path / "out.jsonl").exists()


def test_what_was_redacted_is_counted_aloud(
    ledger_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SqlLedger.open(ledger_path, create=False) as opened:
        found = next(e.body for e in opened.read(LIVE) if isinstance(e.body, MomentSealed))
        anyio.run(opened.redact, found.moment.proposal)
    record(ledger_path, tmp_path / "out.jsonl", [LIVE])
    assert "1 content redacted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--run", LIVE], 2, "--run needs --as chat"),
        (["--as", "chat", "--run", "beef"], 1, "there is no run beef; see: audition runs /"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    ledger_path: Path, tmp_path: Path, words: list[str], code: int, line: str
) -> None:
    out = str(tmp_path / "out.jsonl")
    stop = CliRunner().invoke(app, ["export", str(ledger_path), out, *words]).exception
    assert isinstance(stop, Stop) and stop.code == code and line in stop.line


def test_a_ledger_without_runs_of_steps_is_said(tmp_path: Path) -> None:
    SqlLedger.open(tmp_path / "runs.db").close()
    with pytest.raises(Stop, match="no run of single steps"):
        record(tmp_path / "runs.db", tmp_path / "out.jsonl", [])


def test_a_shown_run_is_one_object_however_it_is_written(ledger_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", str(ledger_path), LIVE, "--json"])
    found = json.loads(done.stdout)
    with SqlLedger.open(ledger_path, create=False) as opened:
        assert [one["seq"] for one in found["events"]] == [one.seq for one in opened.read(LIVE)]
    assert found["run"] == LIVE and done.stdout.count("\n") == 1


def test_content_that_is_missing_is_one_line(ledger_path: Path, tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "runs.db") as ledger:
        journal = Journal(ledger, "2" * 32)
        journal.log(
            RunOpened(
                mode="live",
                project="p",
                goal=digest_of(TranscriptRecorded(role="x", content="0" * 64)),
                thinker="t",
                auditors=(),
                gate={},
                restrictions="0" * 64,
            )
        )
        anyio.run(journal.commit)
    with pytest.raises(LedgerError, match="missing from the ledger"):
        record(tmp_path / "runs.db", tmp_path / "out.jsonl", [])
