"""`audition show --exchanges`: what was said to models about a step, and about no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from audition.canonical import digest_value
from audition.console.app import app
from audition.console.exchanging import exchanges, tell_exchanges
from audition.ledger import Journal, LedgerError, SqlLedger
from audition.ledger.events import (
    AuditRecorded,
    Candidate,
    CandidatesSealed,
    StepProposed,
    StepThought,
)
from audition.step import Exchange, Role, Usage, Verdict, Words, digest_of

RUN = "e" * 32
MOMENT = digest_value("a moment")


def said(journal: Journal, *names: str) -> str:
    """Exchanges as the loop keeps them."""
    made = [
        Exchange(request=f"ask {one}".encode(), reply=f"{one}\x1b[2J".encode()) for one in names
    ]
    return journal.put([one.model_dump(exclude_none=True) for one in made])


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger in which two steps were thought and judged by models."""
    path = tmp_path / "runs.db"
    with SqlLedger.open(path) as opened:
        journal = Journal(opened, RUN)
        for turn in (1, 2):
            act = journal.put({"kind": "act", "tool": "t"})
            journal.log(StepThought(turn=turn, exchanges=said(journal, f"a{turn}", f"b{turn}")))
            journal.log(StepProposed(turn=turn, proposal=act, what="act"))
            other = Candidate(
                proposal=act, box=MOMENT, usage=Usage(), exchanges=said(journal, f"c{turn}")
            )
            journal.log(CandidatesSealed(moment=MOMENT, candidates=(other,)))
            exchange = Exchange(request=b"judge", reply=f"d{turn}".encode())
            words = Words(exchanges=(exchange,))
            journal.put(words)
            verdict = Verdict(
                auditor="critic",
                role=Role.GUARD,
                moment=MOMENT,
                score=0.0,
                said=digest_of(words),
            )
            journal.log(AuditRecorded(verdict=verdict))
        anyio.run(journal.commit)
    return path


def test_each_exchange_of_a_step_is_told_with_who_held_it(ledger: Path) -> None:
    with SqlLedger.open(ledger, create=False) as opened:
        found = [(who, one.reply[:2].decode()) for who, one in exchanges(opened, RUN, 2)]
        assert list(exchanges(opened, RUN, 3)) == []
    expected = [("thinker", "a2"), ("thinker", "b2"), ("candidate 1", "c2"), ("critic", "d2")]
    assert found == expected
    done = CliRunner().invoke(app, ["show", str(ledger), RUN, "--exchanges", "1"])
    assert done.exit_code == 0
    assert "thinker, request:\n  | ask a1\nthinker, reply:\n  | a1⟨U+001B⟩[2J\n" in done.stdout
    assert "\x1b" not in done.stdout and "a2" not in done.stdout
    done = CliRunner().invoke(app, ["show", str(ledger), RUN, "--exchanges", "1", "--json"])
    last = json.loads(done.stdout)["exchanges"][-1]
    assert last == {"by": "critic", "request": "judge", "reply": "d1"}


CHUNKS = [
    {"reasoning_content": "hm\x1b", "content": "I lo"},
    {"content": "ok."},
    {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "search", "arguments": '{"q"'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
]
COUNTED = {"prompt_tokens": 12, "completion_tokens": 3}


def stream(*deltas: dict[str, Any], done: bool = True) -> bytes:
    """A streamed reply, and whether it came to its end."""
    events = [{"model": "small", "choices": [{"delta": one}]} for one in deltas]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": COUNTED}
    lines = [f"data: {json.dumps(one)}\n\n" for one in (*events, *([end] if done else []))]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def test_a_streamed_reply_is_told_as_the_message_that_it_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_exchanges([("thinker", Exchange(request=b"{}", reply=stream(*CHUNKS)))])
    assert capsys.readouterr().out == (
        "thinker, request:\n  | {}\nthinker, reply:\n  assistant, small, ended by stop\n"
        "  thought:\n  | hm⟨U+001B⟩\n  text:\n  | I look.\n"
        '  call of search:\n  | {"q": 1}\n  12 tokens read, 3 written\n'
    )


def test_a_reply_that_broke_off_is_told_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    broken = stream(*CHUNKS, done=False)
    tell_exchanges([("thinker", Exchange(request=b"{}", reply=broken))])
    assert '"content": "I lo"' in capsys.readouterr().out


def test_what_is_no_exchange_is_one_line(ledger: Path) -> None:
    with SqlLedger.open(ledger, create=False) as opened:
        journal = Journal(opened, "f" * 32)
        journal.log(StepThought(turn=1, exchanges=journal.put({"not": "a list"})))
        anyio.run(journal.commit)
        with pytest.raises(LedgerError, match="no list of exchanges"):
            list(exchanges(opened, "f" * 32, 1))
