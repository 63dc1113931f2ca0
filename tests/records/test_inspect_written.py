"""Runs as a log of Inspect: Inspect opens it, and the same moments come in again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from drawn import RECORDS
from hypothesis import given, settings
from typer.testing import CliRunner

import handmade
from audition.audit import Rule, Rules
from audition.console.app import app
from audition.console.recording import record as export
from audition.console.speaking import Stop
from audition.ledger import Journal, SqlLedger, read_checkpoint
from audition.ledger.events import (
    AuditRecorded,
    MomentSealed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
)
from audition.ledger.evidence import Evidence
from audition.records import (
    REDACTED,
    Record,
    RecordError,
    inspect_written,
    read,
    record_of,
    write_log,
)
from audition.records.format import Origin
from audition.records.inspect_log import INSPECT
from audition.records.inspect_message import inspect_messages
from audition.records.judged import judged
from audition.review import review
from audition.step import Finish, Usage, Verdict, digest_of
from handmade import LIVE, RECORD


@pytest.fixture
def log(ledger_path: Path, tmp_path: Path) -> Any:
    """The live run and the reviewed record, as Inspect opens them."""
    pytest.importorskip("inspect_ai")
    from inspect_ai.log import read_eval_log

    with SqlLedger.open(ledger_path, create=False) as ledger:
        write_log(ledger, ledger_path, [LIVE, RECORD], tmp_path / "out.eval")
    return read_eval_log(str(tmp_path / "out.eval"))


@settings(deadline=None)  # the machine may be busy
@given(RECORDS)
def test_messages_in_inspects_words_read_back_to_the_same_record(record: Record) -> None:
    whose = {"task": record.task, "thinker": record.thinker, "labels": record.labels}
    line = {
        "eval": {"task": "several", "model": "several"},
        "sample": {
            "messages": list(inspect_messages(record)),
            "metadata": {"audition": whose},
        },
    }
    line = json.loads(json.dumps(line))
    (again,) = INSPECT.records(line, Origin("here", "here", 0, "chat"))
    assert digest_of(again) == digest_of(record.model_copy(update={"source": again.source}))
    assert INSPECT.steps(line) == len(record.steps())


@settings(deadline=None, max_examples=20)  # each writes a file, and the machine may be busy
@given(RECORDS)
def test_a_run_that_went_through_inspect_is_the_same_moments(
    tmp_path_factory: pytest.TempPathFactory, record: Record
) -> None:
    pytest.importorskip("inspect_ai")
    folder = tmp_path_factory.mktemp("log")
    rules = [Rules([Rule(name="x")])]
    with SqlLedger.open(folder / "one.db") as ledger:
        (run,), _ = anyio.run(review, [record], ledger, rules)
        write_log(ledger, folder / "one.db", [run], folder / "out.eval")
        (again,) = read(folder / "out.eval")
        same = again.model_copy(update={"source": record.source})
        assert anyio.run(review, [same], ledger, rules)[0] == [run]


def test_a_run_that_failed_or_is_open_is_no_success(tmp_path: Path) -> None:
    inspect_log = pytest.importorskip("inspect_ai.log")
    failed, still_open = handmade.failed_run(), handmade.live_run()
    del still_open.events[-1]
    for pens, status in (((failed, still_open), "error"), ((still_open,), "started")):
        path = handmade.write(tmp_path / f"{status}.db", *pens)
        runs = [pen.run for pen in pens]
        with SqlLedger.open(path, create=False) as ledger:
            write_log(ledger, path, runs, tmp_path / f"{status}.eval")
        log = inspect_log.read_eval_log(str(tmp_path / f"{status}.eval"))
        assert log.status == status
        assert {one.id for one in log.samples if one.error} == {failed.run} & set(runs)


def test_inspect_opens_a_run_with_its_messages_and_calls(log: Any) -> None:
    live, recorded = log.samples
    assert (log.status, log.eval.task, live.id, recorded.id) == (
        "success",
        "handmade",
        LIVE,
        RECORD,
    )
    calls = [call for one in live.messages for call in getattr(one, "tool_calls", None) or ()]
    assert calls[0].arguments == {"command": "ls"} and len({call.id for call in calls}) == len(
        calls
    )
    results = {one.tool_call_id: one for one in live.messages if one.role == "tool"}
    assert results[calls[0].id].text == "42" and results[calls[0].id].function == "shell"
    assert results[calls[1].id].error.type == "approval"
    assert live.output.completion == "7"


def test_every_verdict_is_in_a_score_and_every_decision_in_an_event(
    log: Any, ledger_path: Path
) -> None:
    with SqlLedger.open(ledger_path, create=False) as ledger:
        events = list(ledger.read(LIVE))
    answers = [one.body.answer for one in events if isinstance(one.body, AuditRecorded)]
    live = log.samples[0]
    for name in {one.auditor for one in answers}:
        given = [(one.moment, one.suspicion) for one in answers if one.auditor == name]
        score = live.scores[name]
        assert [(one["moment"], one["suspicion"]) for one in score.metadata["steps"]] == given
        assert score.value == max(suspicion for _, suspicion in given)
    assert "step 7: crashed" in live.scores["critic"].explanation
    decided = [one.body for one in events if isinstance(one.body, StepDecided)]
    assert [one.metadata["moment"] for one in live.events] == [one.moment for one in decided]
    found = [(one.event, getattr(one, "decision", None)) for one in live.events]
    assert found[:3] == [("approval", "approve"), ("approval", "reject"), ("approval", "escalate")]
    assert ("info", None) in found


def test_an_auditors_words_that_were_redacted_are_said_to_be(
    ledger_path: Path, tmp_path: Path
) -> None:
    with SqlLedger.open(ledger_path, create=False) as ledger:
        for event in list(ledger.read(LIVE)):
            match event.body:
                case AuditRecorded(verdict=Verdict(said=str() as said)):
                    anyio.run(ledger.redact, said)
                case MomentSealed(moment=moment):
                    anyio.run(ledger.redact, moment.proposal)
                case _:
                    pass
        found = judged(ledger, LIVE)
    told = [one["says"] for said in found.verdicts.values() for one in said]
    assert set(told) == {REDACTED, ""}, "a failure has no words"
    assert all(one.proposal is None for one in found.decisions)


def test_the_metadata_names_the_place_in_the_ledger(log: Any, ledger_path: Path) -> None:
    with Evidence(ledger_path) as evidence:
        rows = [(index, run.hex()) for index, run, *_ in evidence.rows()]
        origin = evidence.origin
    with SqlLedger.open(ledger_path, create=False) as ledger:
        note = ledger.checkpoint()
    assert note is not None
    for sample in log.samples:
        own = sample.metadata["audition"]
        places = [index for index, run in rows if run == sample.id]
        assert (own["first"], own["last"], own["size"]) == (min(places), max(places), len(rows))
        assert own["ledger"] == origin and own["root"] == _root(note)


def test_what_models_cost_is_inspects_usage(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from inspect_ai.log import read_eval_log

    path = tmp_path / "runs.db"
    with SqlLedger.open(path) as ledger:
        journal = Journal(ledger, "3" * 32)
        opened = {"auditors": (), "gate": {}, "restrictions": "0" * 64, "thinker": "m"}
        journal.log(RunOpened(mode="live", project="p", goal=journal.put("g"), **opened))
        for turn in (1, 2):
            cost = Usage(tokens_in=10, tokens_out=turn, usd=0.5)
            journal.log(StepThought(turn=turn, content=journal.put("hm"), usage=cost))
            finish = journal.put(Finish(answer="a"))
            journal.log(StepProposed(turn=turn, proposal=finish, what="finish"))
        anyio.run(journal.commit)
        write_log(ledger, path, ["3" * 32], tmp_path / "out.eval")
    log = read_eval_log(str(tmp_path / "out.eval"))
    for usage in (log.samples[0].model_usage["m"], log.stats.model_usage["m"]):  # type: ignore[index]
        assert (usage.input_tokens, usage.output_tokens, usage.total_cost) == (20, 3, 1.0)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (
            {"role": "assistant", "content": "I do", "metadata": {"audition": {"steps": [
                {"proposal": {"kind": "think", "prompt": "I do not"}}]}}},
            "says something else",
        ),
        (
            {"role": "assistant", "content": "", "metadata": {"audition": {"role": "critic"}}},
            "another's than an assistant's",
        ),
        (
            {"role": "user", "content": "x", "metadata": {"audition": {"role": "assistant"}}},
            "stands in the message itself",
        ),
        (
            {"role": "tool", "content": "x", "error": {"type": "approval", "message": "no"},
             "metadata": {"audition": {"outcome": {"status": "done"}}}},
            "something else than the error",
        ),
        ({"role": "user", "metadata": {"audition": {"more": 1}}}, "audition.more"),
        ({"role": "user", "metadata": {"audition": None}}, "metadata.audition"),
    ],
)  # fmt: skip
def test_a_message_that_contradicts_itself_is_refused(
    tmp_path: Path, message: dict[str, Any], wrong: str
) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("samples/s_epoch_1.json", json.dumps({"messages": [message]}))
        file.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
    with pytest.raises(RecordError, match=wrong) as caught:
        list(read(path))
    assert str(caught.value).isprintable()


def test_a_log_that_tells_another_run_is_not_left_behind(
    ledger_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("inspect_ai")
    plain: Callable[..., Any] = inspect_written.inspect_messages

    def forgetful(record: Record) -> list[dict[str, Any]]:
        return list(plain(record))[:-1]

    monkeypatch.setattr(inspect_written, "inspect_messages", forgetful)
    with pytest.raises(RecordError, match=f"run {LIVE} would be read back as another"):
        export(ledger_path, tmp_path / "out.eval", [LIVE], inspect=True)
    assert not (tmp_path / "out.eval").exists()


def test_more_than_a_log_may_hold_is_one_line(
    ledger_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("inspect_ai")
    monkeypatch.setattr(inspect_written, "MAX_LOG", 1000)
    with pytest.raises(RecordError, match="name fewer runs with --run"):
        export(ledger_path, tmp_path / "out.eval", [], inspect=True)


def test_without_the_extra_it_is_said_what_to_install(
    ledger_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_written, "find_spec", lambda name: None)
    with pytest.raises(RecordError, match=r"pip install 'audition\[inspect\]'"):
        export(ledger_path, tmp_path / "out.eval", [], inspect=True)
    assert not (tmp_path / "out.eval").exists()


def test_the_command_writes_a_log_that_review_reads(ledger_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    out = tmp_path / "out.eval"
    done = CliRunner().invoke(app, ["export", str(ledger_path), str(out), "--as", "inspect"])
    assert done.exit_code == 0 and "2 runs" in done.stdout, done.output
    with SqlLedger.open(ledger_path, create=False) as ledger:
        expected = [record_of(ledger, run)[0].entries for run in (LIVE, RECORD)]
    assert [one.entries for one in read(out)] == expected
    named = CliRunner().invoke(app, ["export", str(ledger_path), "out.log", "--as", "inspect"])
    assert isinstance(named.exception, Stop) and named.exception.code == 2
    assert "end it in .eval" in named.exception.line


def _root(note: str) -> str:
    head, _ = read_checkpoint(note, ())
    return head.root.hex()
