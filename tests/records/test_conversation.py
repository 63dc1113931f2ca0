"""Chat JSONL both ways: what is written reads back to the same steps, whatever the record holds."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from drawn import RECORDS
from hypothesis import given, settings

from audition.audit import Rule, Rules
from audition.ledger import SqlLedger
from audition.ledger.events import MomentSealed, Source
from audition.records import (
    REDACTED,
    Group,
    Record,
    RecordedStep,
    RecordError,
    conversation,
    read,
    record_of,
    written,
)
from audition.review import review
from audition.step import Act, Ask, Finish, Outcome, Think, digest_of
from handmade import LIVE, RECORD


def put(folder: Path, *lines: str) -> Path:
    path = folder / "written.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def same(one: Record, other: Record) -> bool:
    """Whether two records differ in nothing but where they stood."""
    return digest_of(one.model_copy(update={"source": other.source})) == digest_of(other)


@settings(deadline=None)  # the machine may be busy
@given(RECORDS)
def test_what_is_written_reads_back_to_the_same_record(tmp_path_factory, record):
    (again,) = read(put(tmp_path_factory.mktemp("chat"), written(record)))
    assert same(again, record)


@settings(deadline=None)  # the machine may be busy
@given(RECORDS)
def test_every_reader_of_the_format_finds_the_steps_where_it_looks_for_them(record):
    messages = json.loads(written(record))["messages"]
    calls = [call["function"] for one in messages for call in one.get("tool_calls", ())]
    acts = [one.proposal for one in record.steps() if isinstance(one.proposal, Act)]
    assert [call["name"] for call in calls] == [act.tool for act in acts]
    results = [one["content"] for one in messages if "tool" in one["role"]]
    for step in record.steps():
        if step.outcome is not None and isinstance(step.proposal, Act):
            assert step.outcome.output in results


def test_what_the_format_has_words_for_is_said_in_them_alone():
    step = RecordedStep(
        proposal=Act(tool="ls", arguments={"a": 1}, reason="I look"),
        thought="hm",
        outcome=Outcome(status="done", output="b"),
    )
    last = RecordedStep(proposal=Finish(answer="done"))
    record = Record(
        source=Source(file="x", record=0, format="chat"),
        task="t",
        goal="tidy",
        thinker="m",
        entries=(Group(steps=(step,)), Group(steps=(last,))),
    )
    assert "audition" not in written(record)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (
            {"role": "assistant", "content": "I do", "audition": {"steps": [{"proposal": {
                "kind": "think", "prompt": "I do not"}}]}},
            "says something else",
        ),
        (
            {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "rm"}}],
             "audition": {"steps": [{"proposal": {"kind": "ask", "question": "a"}}]}},
            "says something else",
        ),
        ({"role": "user", "content": "a", "audition": {"steps": []}}, "are an assistant's"),
        (
            {"role": "assistant", "content": "a", "audition": {"outcome": {"status": "done"}}},
            "are an assistant's",
        ),
        (
            {"role": "assistant", "content": "a", "audition": {"steps": [{"proposal": {
                "kind": "finish", "answer": "a"}, "outcome": {"status": "done"}}]}},
            "have outcomes",
        ),
        ({"role": "tool", "audition": {"outcome": {"status": "fine"}}}, "audition.outcome.status"),
        ({"role": "user", "audition": {"more": 1}}, "audition.more"),
    ],
)  # fmt: skip
def test_a_line_that_contradicts_itself_is_refused(tmp_path, message, wrong):
    path = put(tmp_path, json.dumps({"messages": [message]}))
    with pytest.raises(RecordError, match=wrong):
        list(read(path))


def test_a_reviewed_record_comes_out_of_the_ledger_as_it_went_in(tmp_path):
    calls = [
        {"id": str(number), "function": {"name": "ls", "arguments": f'{{"n": {number}}}'}}
        for number in range(3)
    ]
    line = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "a", "reasoning": "r", "tool_calls": calls[:2]},
            {"role": "tool", "tool_call_id": "1", "content": '{"returncode": 1}'},
            {"role": "tool", "tool_call_id": "0", "content": "zero"},
            {"role": "assistant", "content": "b", "tool_calls": calls[2:]},
            {"role": "user", "content": "more?"},
            {"role": "assistant", "content": "done"},
        ],
        "severity": 5.0,
        "mistake_turn": 2,
    }
    (before,) = read(put(tmp_path, json.dumps(line)))
    with SqlLedger.open(tmp_path / "review.db") as ledger:
        rules = Rules([Rule(name="x")])
        (run,), _ = anyio.run(review, [before], ledger, [rules])
        after, redacted = record_of(ledger, run)
        assert (after, redacted) == (before, 0)
        (again,) = read(put(tmp_path, written(after)))
        assert same(again, before)
        again = again.model_copy(update={"source": before.source})
        assert anyio.run(review, [again], ledger, [rules])[0] == [run], "the very same moments"
        sealed = [e for e in ledger.read(run) if isinstance(e.body, MomentSealed)]
        assert len(sealed) == 4


def test_a_live_run_is_what_its_history_is(ledger_path, tmp_path):
    with SqlLedger.open(ledger_path) as ledger:
        live, redacted = record_of(ledger, LIVE)
        imported, _ = record_of(ledger, RECORD)
    assert redacted == 0
    kinds = [(one.proposal.kind, one.outcome and one.outcome.status) for one in live.steps()]
    assert kinds == [
        ("act", "done"),
        ("act", "refused"),
        ("act", "done"),
        ("think", None),
        ("ask", "done"),
        ("finish", None),
        ("act", "refused"),
        ("act", "unknown"),
        ("finish", None),
    ]
    replaced = live.steps()[2].proposal
    assert isinstance(replaced, Act) and replaced.arguments == {"command": "wc -w *"}
    assert live.labels == {"run": LIVE, "status": "finished"}
    found = list(read(put(tmp_path, written(live), written(imported))))
    assert [same(*pair) for pair in zip(found, (live, imported), strict=True)] == [True, True]


def test_what_was_redacted_is_said_and_counted(ledger_path):
    with SqlLedger.open(ledger_path) as ledger:
        before, _ = record_of(ledger, LIVE)
        step = before.steps()[0]
        assert step.outcome is not None
        for content in (step.proposal, step.outcome):
            anyio.run(ledger.redact, digest_of(content))
        after, redacted = record_of(ledger, LIVE)
    assert redacted == 2
    assert after.steps()[0].proposal == Act(tool=REDACTED)
    assert after.steps()[0].outcome == Outcome(status="unknown", output=REDACTED)
    assert after.steps()[1:] == before.steps()[1:]
    assert REDACTED in written(after)


MIXED = Group(
    steps=(
        RecordedStep(proposal=Ask(question="?")),
        RecordedStep(proposal=Think(prompt="!"), outcome=Outcome(status="done")),
    )
)
"""Two steps of one message of which nobody could say whose outcome came back."""


def record(**fields) -> Record:
    base = {"task": "t", "goal": "g", "thinker": "m", "entries": ()}
    return Record(source=Source(file="own.jsonl", record=0, format="chat"), **(base | fields))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"labels": {"goal": 1}}, "label goal has the name of a field"),
        ({"labels": {"question": "?", "history": []}}, "read back as another record"),
        ({"labels": {"a": float("nan")}}, "NaN is no JSON number"),
        ({"goal": "half \ud800"}, "half a character"),
        ({"goal": "x" * 2_000_000}, "longer than 1 MiB"),
        ({"entries": (MIXED,)}, "read back as another record"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_in_one_line(monkeypatch, fields, wrong):
    monkeypatch.setattr(conversation, "MAX_LINE", 1 << 20)
    with pytest.raises(RecordError, match=wrong) as caught:
        written(record(**fields))
    assert str(caught.value).startswith("own.jsonl: ") and str(caught.value).isprintable()
