"""A model through inspect-ai: the same contract, a provider's own client underneath."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.act import Shell
from audition.ledger import SqlLedger
from audition.model import Asked, Inspected, ModelAway, ModelError, Patience, Provider, Reply
from audition.think import LanguageModel
from rehearsal import carried, decisions, project
from servers.chat import ChatServer, calling, chat_server, proposing

pytest.importorskip("inspect_ai")
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")

HASTY = Patience(attempts=2, pause=0)
KEY = "sk-0123456789abcdef"
ASK = ({"role": "user", "content": "What colour is the sky?"},)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", KEY)


def provided(server: ChatServer, **fields: Any) -> Inspected:
    given = {
        "model": "openai-api/local/small",
        "base_url": server.base_url,
        "key": "LOCAL_API_KEY",
        "arguments": {"max_retries": 0},
        "patience": HASTY,
    }
    return Inspected(Provider(**{**given, **fields}))


def replies(chat: Inspected, *asked: Any, **options: Any) -> list[Reply]:
    async def body() -> list[Reply]:
        return [await chat.reply(messages, **options) for messages in asked or (ASK,)]

    return anyio.run(body)


@pytest.mark.parametrize("stream", [True, False])
def test_messages_and_tools_go_both_ways(stream: bool) -> None:
    told: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What colour is the sky?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "call00000",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": "sky"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call00000", "content": "blue"},
    ]
    parameters = {
        "type": "object",
        "properties": {"at": {"type": "string"}},
        "required": ["at"],
        "additionalProperties": False,
    }
    look = {"name": "look", "description": "Look.", "parameters": parameters}
    turn = {"text": "Again.", "calls": [{"name": "look", "arguments": {"at": "sea"}}]}
    asked = Asked(temperature=0.5, seed=7, tokens=100, usd_in=1e6)
    with chat_server(turn) as server:
        chat = provided(server, asked=asked, arguments={"max_retries": 0, "stream": stream})
        (reply,) = replies(chat, told, tools=[{"type": "function", "function": look}])
        seen = server.seen[0].asked
    assert (reply.text, reply.finish, reply.model) == ("Again.", "tool_calls", "small")
    assert [(one.name, one.arguments) for one in reply.calls] == [("look", '{"at": "sea"}')]
    assert (reply.usage.tokens_in, reply.usage.tokens_out, reply.usage.usd) == (7, 5, 7)
    assert [one["role"] for one in seen["messages"]] == ["system", "user", "assistant", "tool"]
    (called,) = seen["messages"][2]["tool_calls"]
    assert called["function"]["arguments"] in ('{"at": "sky"}', '{"at":"sky"}')
    assert seen["messages"][3]["tool_call_id"] == called["id"] == "call00000"
    assert seen["tools"][0]["function"]["parameters"] == parameters
    assert (seen["temperature"], seen["seed"], seen["max_tokens"]) == (0.5, 7, 100)
    assert b"What colour" in reply.exchange.request and b"Again." in reply.exchange.reply
    assert KEY.encode() not in reply.exchange.request + reply.exchange.reply


def test_what_passes_is_away_and_what_does_not_is_an_error() -> None:
    away: list[Any] = [{"status": 429}, {"status": 500}, {"drop": True}, {"text": "a", "cut": 40}]
    wrong: list[Any] = [{"status": 401}, {"status": 404}, {"raw": "<html>"}, {"raw": "{}"}]

    async def body(server: ChatServer, kind: type[Exception], times: int) -> None:
        chat = provided(server)
        for number in range(1, 5):
            with pytest.raises(kind) as error:
                await chat.reply(ASK)
            assert len(server.seen) == number * times
            assert str(error.value).startswith(f"{chat.name}: ")
            assert "\n" not in str(error.value) and KEY not in str(error.value)

    for kind, turns, times in ((ModelAway, away, 2), (ModelError, wrong, 1)):
        with chat_server(*(turn for turn in turns for _ in range(times))) as server:
            anyio.run(body, server, kind, times)


def test_a_server_that_asks_for_a_longer_pause_is_asked_no_more() -> None:
    with chat_server({"status": 429, "headers": {"retry-after": "3600"}}) as server:
        with pytest.raises(ModelAway, match="left alone for 3600 s"):
            replies(provided(server))
        assert len(server.seen) == 1


def test_a_model_that_says_nothing_in_time_is_away() -> None:
    with chat_server({"mute": True}) as server, pytest.raises(ModelAway, match=r"within 0\.1 s"):
        replies(provided(server, patience=Patience(whole=0.1, attempts=2, pause=0)))


def test_another_model_than_before_is_refused() -> None:
    with chat_server({"text": "a", "model": "small-1"}, {"text": "a", "model": "big"}) as server:
        with pytest.raises(ModelError, match="'big' answers now, 'small-1' did before"):
            replies(provided(server), ASK, ASK)
        with pytest.raises(ModelError, match="'big' answers now, 'small' did before"):
            replies(provided(server, answers="small"))


def test_the_key_is_neither_sent_nor_kept_in_what_is_said() -> None:
    with chat_server({"text": f"It is {KEY}."}) as server:
        with pytest.raises(ModelError, match="it was not kept") as error:
            replies(provided(server))
        assert KEY not in str(error.value)
        with pytest.raises(ModelError, match="nothing was sent"):
            replies(provided(server), [{"role": "user", "content": KEY}])
        assert len(server.seen) == 1


def test_the_configuration_pins_what_decides_an_answer() -> None:
    def digest(**fields: Any) -> str:
        return Inspected(Provider(**{"model": "mockllm/model", **fields})).configuration()

    assert digest() == digest(patience=Patience(attempts=9), key="LOCAL_API_KEY")
    other = [
        {"model": "mockllm/other"},
        {"base_url": "http://x"},
        {"asked": Asked(seed=1)},
        {"arguments": {"stream": True}},
        {"answers": "a"},
    ]
    assert len({digest(**fields) for fields in [{}, *other]}) == len(other) + 1


def test_a_provider_without_a_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from inspect_ai.model._providers.mockllm import MockLLM

    async def uncounted(*_: Any) -> None:  # it would fetch a tokenizer from elsewhere
        pass

    monkeypatch.setattr(MockLLM, "_ensure_default_usage", uncounted)
    (reply,) = replies(Inspected(Provider(model="mockllm/model", patience=HASTY)))
    assert (reply.text, reply.finish) == ("Default output from mockllm/model", "stop")
    assert reply.usage.tokens_in == len(reply.exchange.request)
    assert reply.usage.tokens_out == len(reply.exchange.reply)


def test_a_run_with_a_provider_of_inspect(tmp_path: Path, ledger: SqlLedger) -> None:
    shell = Shell(tmp_path)
    act = {"kind": "act", "tool": "shell", "arguments": {"command": "echo 4 > n; cat n"}}
    script = [
        calling("run", {"command": "expr 2 + 2"}),
        proposing(act),
        proposing({"kind": "finish", "answer": "4"}),
    ]
    with chat_server(*script) as server:
        thinker = LanguageModel(provided(server), [shell.schema])
        result = carried(project(tmp_path, thinker=thinker, executors=[shell]), ledger)
        last = server.seen[-1].body
    assert (result.status, result.answer) == ("finished", "4")
    assert decisions(ledger, result.run) == ["proceed"] * 2
    assert (tmp_path / "n").read_text() == "4\n"
    assert b"Outcome: done." in last
