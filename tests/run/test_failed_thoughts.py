"""A thought that fails: what was said in it, what it did in the box and what it cost are kept."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import audition.unfinished
from audition.canonical import parse
from audition.console.app import app
from audition.console.standing import Standing
from audition.history import Progress
from audition.ledger import SqlLedger
from audition.ledger.events import CandidatesSealed, RunClosed, ThoughtFailed
from audition.model import Asked, Patience, Reply, Served, Server
from audition.project import Budget, Project
from audition.step import Completed, Evidence, Exchange, History, JsonObject, Thought, Usage
from audition.think import LanguageModel, PersonThinker, ThoughtBudget
from audition.unfinished import Unfinished, leave, left
from audition.verify import verify
from handmade import KEY
from rehearsal import Note, Plays, Says, bodies, carried, elsewhere, kinds, note, project
from servers.chat import ChatServer, calling, chat_server, proposing

LOOK = calling("run", {"command": "echo 3"}, text="Let me look.")
NONSENSE = {"text": "colourless green ideas"}
PRICED = Asked(usd_in=1e6, usd_out=1e6)
"""One for each token, as servers count them: 7 read and 5 written for each reply."""


def thinks(server: ChatServer, **budget: Any) -> LanguageModel:
    patience = Patience(attempts=1, pause=0)
    chat = Served(Server(base_url=server.base_url, model="m", asked=PRICED, patience=patience))
    return LanguageModel(chat, [Note(Path("unused")).schema], budget=ThoughtBudget(**budget))


def failed(ledger: SqlLedger, run: str) -> ThoughtFailed:
    (event,) = bodies(ledger, run, ThoughtFailed)
    return event


def said(ledger: SqlLedger, event: Any) -> list[Exchange]:
    listed = parse(ledger.get(event.exchanges)) if event.exchanges else []
    return [Exchange.model_validate(one) for one in listed]


def spends_all(server: ChatServer, folder: Path) -> Project:
    return project(folder, thinker=thinks(server, calls=2))


def test_a_model_that_talks_nonsense_leaves_all_that_was_said_and_what_it_cost(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    write = proposing({"kind": "act", "tool": "note", "arguments": {"text": "a"}})
    with chat_server(write, LOOK, NONSENSE) as server:
        result = carried(spends_all(server, tmp_path), ledger)
        seen = server.seen[1:]
    assert (result.status, result.turns) == ("failed", 1)
    assert kinds(ledger, result.run)[-2:] == ["thought.failed", "run.closed"]
    event = failed(ledger, result.run)
    assert result.reason == f"the thinker failed: {event.reason}"
    assert event.reason.startswith("Undecided: no proposal within 2 calls")
    exchanges = said(ledger, event)
    assert [(one.request, one.reply) for one in exchanges] == [(s.body, s.sent) for s in seen]
    assert len(exchanges) == 3
    assert event.content is not None and event.calls is not None and event.turn == 2
    assert ledger.get(event.content).startswith(b"Let me look.\n\ncolourless green ideas")
    (call,) = map(Completed.model_validate, parse(ledger.get(event.calls)))
    assert call.argv == ("/bin/sh", "-c", "echo 3")
    spent = event.usage
    assert (spent.calls, spent.tokens_in, spent.tokens_out, spent.usd) == (1, 21, 15, 36)
    assert spent.seconds > 0

    progress = Progress(result.run)
    for one in ledger.read(result.run):
        progress.apply(one)
    assert (progress.spent.tokens_in, progress.spent.usd) == (28, 48)
    standing = Standing(ledger, result.run)
    standing.take()
    assert standing.as_json()["cost"]["thinking"]["usd"] == 48
    shown = CliRunner().invoke(
        app, ["show", str(tmp_path / "ledger.db"), result.run, "--exchanges", "2", "--json"]
    )
    told = json.loads(shown.stdout)["exchanges"]
    assert [one["by"] for one in told] == ["thinker"] * 3
    full = (
        CliRunner()
        .invoke(app, ["show", str(tmp_path / "ledger.db"), result.run, "--thoughts"])
        .stdout
    )
    assert "thought before step 2:\n  | Let me look." in full and "in the box: /bin/sh" in full


def test_a_run_that_was_killed_after_it_ends_failed_and_thinks_no_more(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    with chat_server(LOOK, NONSENSE) as server:
        killed = elsewhere(
            """
            import os, signal, sys
            from audition.stages import Stages
            from test_failed_thoughts import KEY, ChatServer, spends_all

            async def die(self, *reasons):
                await self._standing.journal.commit()
                os.kill(os.getpid(), signal.SIGKILL)

            Stages.close = die
            folder, server = Path(sys.argv[1]), ChatServer(int(sys.argv[2]), Path(sys.argv[3]))
            with SqlLedger.open(folder / "other.db", signer=KEY) as ledger:
                carried(spends_all(server, folder), ledger, run_id="a" * 32)
            """,
            tmp_path,
            server.port,
            server.log,
        )
        _, errors = killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL, errors
        asked = len(server.seen)
        assert verify(tmp_path / "other.db", [KEY.public]).ok
        with SqlLedger.open(tmp_path / "other.db", signer=KEY) as other:
            assert kinds(other, "a" * 32) == ["run.opened", "thought.failed"]
            result = carried(spends_all(server, tmp_path), other, run_id="a" * 32)
            event = failed(other, "a" * 32)
            assert len(said(other, event)) == asked
            assert kinds(other, "a" * 32)[1:] == ["thought.failed", "run.resumed", "run.closed"]
        assert len(server.seen) == asked
    assert verify(tmp_path / "other.db", [KEY.public]).ok
    assert (result.status, result.reason) == ("failed", f"the thinker failed: {event.reason}")


class Chats:
    """A model that says what it is given, in order, and then nothing."""

    name = "chats"

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def configuration(self) -> str:
        return "0" * 64

    async def reply(self, messages: Sequence[JsonObject], **options: Any) -> Reply:
        if not self.replies:
            await anyio.sleep_forever()
        return self.replies.pop(0)


def test_what_was_had_when_time_ran_out_is_kept(tmp_path: Path, ledger: SqlLedger) -> None:
    """An interruption is told by another error than the one that ended the thinking."""
    exchange = Exchange(request=b"well?", reply=b"hm")
    reply = Reply(text="hm", model="m", usage=Usage(tokens_out=1, usd=3), exchange=exchange)
    thinker = LanguageModel(Chats(reply), [])
    slow = project(tmp_path, thinker=thinker, budget=Budget(step_seconds=1))
    event = failed(ledger, carried(slow, ledger).run)
    assert event.reason.startswith("TimeoutError")
    assert said(ledger, event) == [exchange]
    assert (event.usage.usd, event.usage.seconds >= 1) == (3, True)


@pytest.mark.parametrize("key", [None, "A_KEY"])
def test_the_reply_that_cannot_be_used_is_kept_too(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """Not where a key might stand in it in a form that nobody can read."""
    monkeypatch.setenv("A_KEY", "sk-0123456789")
    with chat_server(LOOK, {"raw": "what?"}) as server:
        patience = Patience(attempts=2, pause=0)
        chat = Served(Server(base_url=server.base_url, model="m", key=key, patience=patience))
        judged = project(tmp_path, thinker=LanguageModel(chat, []))
        event = failed(ledger, carried(judged, ledger).run)
        seen = server.seen
    assert event.reason.startswith("ModelError")
    kept = [(one.body, one.sent) for one in ([seen[0], seen[-1]] if key is None else seen[:1])]
    assert [(one.request, one.reply) for one in said(ledger, event)] == kept


def test_another_model_s_reply_and_its_cost_are_kept(tmp_path: Path, ledger: SqlLedger) -> None:
    with chat_server(LOOK, {**NONSENSE, "model": "another"}) as server:
        event = failed(ledger, carried(spends_all(server, tmp_path), ledger).run)
        seen = server.seen
    assert "'another' answers now" in event.reason
    assert [one.reply for one in said(ledger, event)] == [one.sent for one in seen]
    assert event.usage.usd == 24


def test_a_candidate_that_failed_leaves_as_much(tmp_path: Path, ledger: SqlLedger) -> None:
    finish = proposing({"kind": "finish", "answer": "done"})
    with chat_server(finish, LOOK, NONSENSE, NONSENSE) as server:
        judge = Says(0.0, sees=frozenset({Evidence.CANDIDATES, Evidence.PROPOSAL}))
        several = project(tmp_path, thinker=thinks(server, calls=2), auditors=[judge], candidates=2)
        result = carried(several, ledger)
        seen = server.seen[1:]
    assert result.status == "finished"
    (sealed,) = bodies(ledger, result.run, CandidatesSealed)
    (missing,) = sealed.missing
    assert [one.reply for one in said(ledger, missing)] == [one.sent for one in seen]
    assert (missing.usage.usd, missing.usage.calls) == (36, 1)
    shown = CliRunner().invoke(
        app, ["show", str(tmp_path / "ledger.db"), result.run, "--exchanges", "1", "--json"]
    )
    assert [one["by"] for one in json.loads(shown.stdout)["exchanges"]] == [
        "thinker",
        *["a candidate that failed"] * 3,
    ]


def test_what_a_person_ran_in_vain_is_kept(tmp_path: Path, ledger: SqlLedger) -> None:
    lines = iter(["$ echo 3"])

    async def hear(prompt: str) -> str:
        return next(lines, "no step")

    person = PersonThinker("ann", [], say=lambda line: None, hear=hear)
    event = failed(ledger, carried(project(tmp_path, thinker=person), ledger).run)
    assert event.calls is not None and b"echo 3" in ledger.get(event.calls)
    assert event.usage.calls == 1 and event.exchanges is None


class Refuses(Exception):
    """An error that lets nobody look into it."""

    @property
    def __dict__(self) -> Any:
        raise RuntimeError("nobody looks in here")


@pytest.mark.parametrize(
    "carries",
    [
        "nothing of the kind",
        Unfinished.model_construct(usage=Usage.model_construct(usd=float("nan"))),
        Unfinished.model_construct(exchanges=({"request": b""},)),
    ],
)
def test_what_an_error_carries_is_kept_only_if_a_ledger_can_hold_it(
    tmp_path: Path, ledger: SqlLedger, carries: Any
) -> None:
    class Fails(Plays):
        async def think(self, history: History, box: Any) -> Thought:
            error = RuntimeError("no")
            leave(error, carries)
            raise error

    event = failed(ledger, carried(project(tmp_path, thinker=Fails(note("a"))), ledger).run)
    assert (event.exchanges, event.usage.usd) == (None, 0)


def test_an_error_that_refuses_to_carry_anything_is_an_error_all_the_same() -> None:
    error = Refuses()
    leave(error, Unfinished(content="a"))
    assert left(error) == Unfinished()


def test_a_thought_that_is_none_closes_the_run_with_its_kind(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    class Fails(Plays):
        async def think(self, history: History, box: Any) -> Thought:
            return "no thought"  # type: ignore[return-value]

    result = carried(project(tmp_path, thinker=Fails()), ledger)
    assert failed(ledger, result.run).reason == "TypeError: a str is no thought"
    (closed,) = bodies(ledger, result.run, RunClosed)
    assert closed.reason == "the thinker failed: TypeError: a str is no thought"


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 600))
def test_of_what_is_too_long_the_newest_is_kept(replies: list[bytes], room: int) -> None:
    exchanges = tuple(Exchange(request=b"", reply=one) for one in replies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audition.unfinished, "LARGEST", room)
        kept = Unfinished.of(Unfinished(exchanges=exchanges)).exchanges
    assert kept == exchanges[len(exchanges) - len(kept) :]
    assert sum(len(one.canonical()) for one in kept) <= room
    dropped = exchanges[: len(exchanges) - len(kept)]
    if dropped:
        assert sum(len(one.canonical()) for one in (dropped[-1], *kept)) > room
