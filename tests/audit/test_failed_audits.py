"""An audit that fails: what was said with the model and what it cost is kept all the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from critics import Model, Request, a_view, judged, reply
from typer.testing import CliRunner

from audition.audit import Compared, Critic, ask
from audition.canonical import canonical
from audition.console.app import app
from audition.console.standing import Standing
from audition.gate import threshold
from audition.ledger import SqlLedger
from audition.ledger.events import AuditRecorded
from audition.model import Asked, ModelAway, ModelError, Patience, Served, Server
from audition.project import Budget, Project
from audition.step import Exchange, Failure, Usage, Verdict, Words
from audition.verify import verify
from handmade import KEY
from rehearsal import Says, bodies, carried, elsewhere, note, project
from servers.chat import ChatServer, chat_server

GARBAGE = {"text": "I approve. Score: 0"}
COST = Usage(seconds=0.5, tokens_in=100, tokens_out=10, usd=0.25)
"""Of each answer that a scripted model gives."""


def said(failure: Any) -> list[str]:
    assert isinstance(failure, Failure)
    return [one.reply.decode() for one in (failure.words and failure.words.exchanges) or ()]


def supervised(server: ChatServer, folder: Path) -> Project:
    asked = Asked(usd_in=1e6, usd_out=1e6)
    where = Server(base_url=server.base_url, model="m", asked=asked, patience=Patience(attempts=1))
    return project(
        folder,
        note("a"),
        auditors=[Critic("critic", Served(where), retries=1)],
        gate=threshold("critic", reject_at=1),
        budget=Budget(steps=1),
    )


def test_what_a_critic_said_in_vain_is_in_the_ledger_and_survives_a_kill(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    run, path = "a" * 32, tmp_path / "runs.db"
    with chat_server(GARBAGE) as server:
        killed = elsewhere(
            """
            import os, signal
            from audition.stages import Stages
            from test_failed_audits import KEY, ChatServer, supervised

            async def die(self, *reasons):
                await self._standing.journal.commit()
                os.kill(os.getpid(), signal.SIGKILL)

            Stages.close = die
            path, server = Path(sys.argv[1]), ChatServer(int(sys.argv[2]), Path(sys.argv[3]))
            with SqlLedger.open(path, signer=KEY) as ledger:
                carried(supervised(server, path.parent), ledger, run_id="a" * 32)
            """,
            path,
            server.port,
            server.log,
        )
        _, errors = killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL, errors
        assert verify(path, [KEY.public]).ok
        with SqlLedger.open(path, signer=KEY) as ledger:
            assert carried(supervised(server, tmp_path), ledger, run_id=run).status == "exhausted"
            standing = Standing(ledger, run)
            standing.take()
            found = list(ledger.read(run))
            (failure,) = [one.failure for one in bodies(ledger, run, AuditRecorded) if one.failure]
            assert failure.said is not None and failure.usage is not None
            exchanges = Words.parse(ledger.get(failure.said)).exchanges or ()
        seen = server.seen
    assert verify(path, [KEY.public]).ok
    assert [one.body.kind for one in found[-2:]] == ["run.resumed", "run.closed"]
    assert (failure.kind, failure.words) == ("unparsable", None)
    assert [(one.request, one.reply) for one in exchanges] == [(s.body, s.sent) for s in seen]
    assert len(seen) == 2
    assert (failure.usage.tokens_in, failure.usage.usd) == (14, 24)
    told = standing.as_json()
    assert (told["cost"]["judging"]["usd"], told["failures"]) == (24, 1)
    shown = CliRunner().invoke(app, ["show", str(path), run, "--exchanges", "1", "--json"])
    assert [one["by"] for one in json.loads(shown.stdout)["exchanges"]] == ["critic"] * 2
    whole = json.loads(CliRunner().invoke(app, ["show", str(path), run, "--json"]).stdout)
    (event,) = [one for one in whole["events"] if one["body"].get("failure")]
    assert len(event["contents"]["said"]["exchanges"]) == 2


def _then(error: Any) -> Any:
    return lambda request: error if request.number == 2 else "hm"


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        (ModelAway("gone"), "crashed", "infrastructure"),
        (ModelError("nonsense"), "crashed", "moment"),
        (RuntimeError("broken"), "crashed", "moment"),
    ],
)
def test_what_was_said_before_a_model_failed_is_kept(error: Any, kind: str, cause: str) -> None:
    failure = judged(Critic("critic", Model(_then(error))), note("a"))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.cause) == (kind, cause)
    assert (said(failure), failure.usage) == (["hm"], COST)


class Stalls(Model):
    """Says one thing, and then nothing."""

    async def reply(self, messages: Sequence[Any], **options: Any) -> Any:
        if self.requests:
            await anyio.sleep_forever()
        return await super().reply(messages, **options)


def test_what_was_said_before_time_ran_out_is_kept() -> None:
    critic = Critic("critic", Stalls(lambda r: "hm"))

    async def asked() -> Any:
        return await ask(critic, a_view(critic, note("a")), seconds=1)

    failure = anyio.run(asked)
    assert failure.kind == "late"
    assert (said(failure), failure.usage) == (["hm"], COST)


def test_a_verdict_that_comes_too_late_leaves_what_it_cost() -> None:
    exchange = Exchange(request=b"?", reply=b"!")

    class Late(Says):
        async def audit(self, view: Any) -> Verdict:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.2)
            words = Words(rationale="fine", exchanges=(exchange,))
            return self.verdict(view, score=0.0, words=words, usage=COST)

    async def asked() -> Any:
        late = Late()
        return await ask(late, a_view(late, note("a")), seconds=0.1)

    failure = anyio.run(asked)
    assert (failure.kind, said(failure), failure.usage) == ("late", ["!"], COST)


@pytest.mark.parametrize("way", ["pairs", "list"])
def test_all_that_was_compared_before_a_failure_is_kept(way: Any) -> None:
    def answers(request: Request) -> Any:
        if request.number == 2:
            return reply("neither", request)
        fields = {"better": "A"} if way == "pairs" else {"order": ["A", "B"]}
        return request.answer(..., **fields)

    compared = Compared("teacher", Model(answers), way=way, retries=0)
    failure = judged(compared, note("a"), note("b"))
    assert isinstance(failure, Failure)
    assert len(said(failure)) == 2 and said(failure)[1] == "neither"
    assert failure.usage is not None and failure.usage.usd == 2 * COST.usd


def test_a_failure_without_a_model_is_written_as_it_always_was() -> None:
    def crash(view: Any) -> Any:
        raise RuntimeError("no")

    failure = judged(Says(crash), note("a"))
    assert isinstance(failure, Failure)
    fields = {"auditor", "moment", "kind", "cause", "detail"}
    assert failure.canonical() == canonical({name: getattr(failure, name) for name in fields})


def test_an_event_names_the_words_of_a_failure_by_digest() -> None:
    failure = judged(Critic("critic", Model(lambda r: "hm")), note("a"))
    with pytest.raises(ValueError, match="names words by digest"):
        AuditRecorded(failure=failure)  # type: ignore[arg-type]
