"""A model behind a server: what is sent, what is recorded, and every way that it can go wrong."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import socket
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from audition.model import Asked, ModelAway, ModelError, Patience, Reply, Served, Server
from audition.model import completion as reading
from audition.model.completion import Unread
from audition.model.served import COMPLAINT_MAX, REPLY_MAX
from servers.chat import ChatServer, chat_server

HASTY = Patience(attempts=3, pause=0)
ASK = ({"role": "user", "content": "What colour is the sky?"},)
BLUE = {"text": "Blue."}
EVENTS = {"content-type": "text/event-stream"}
KEY = "sk-0123456789abcdef"


def served(server: ChatServer, **fields: Any) -> Served:
    given = {"base_url": server.base_url, "model": "small", "patience": HASTY}
    return Served(Server(**{**given, **fields}))


def replies(chat: Served, *asked: Any, **options: Any) -> list[Reply]:
    """The answers to these messages, in an event loop of their own."""

    async def body() -> list[Reply]:
        return [await chat.reply(messages, **options) for messages in asked or (ASK,)]

    return anyio.run(body)


def troubles(kind: type[Exception], *turns: Any, times: int, **fields: Any) -> list[str]:
    """What is said of a server that answers each of these so many times, in one line each."""
    told: list[str] = []

    async def body(server: ChatServer) -> None:
        chat = served(server, **fields)
        for number in range(1, len(turns) + 1):
            with pytest.raises(kind) as error:
                await chat.reply(ASK)
            assert server.counted(number * times) == number * times
            told.append(str(error.value))
            assert told[-1].startswith(f"small at {server.base_url}: ")
            assert "\n" not in told[-1] and len(told[-1]) < 600

    with chat_server(*(turn for turn in turns for _ in range(times))) as server:
        anyio.run(body, server)
    return told


def trouble(kind: type[Exception], turn: Any, **options: Any) -> str:
    """The same for one answer."""
    return troubles(kind, turn, **options)[0]


# ------------------------------------------------------------------------ what is said


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_recorded_is_what_the_wire_carried(stream: bool) -> None:
    turn = {
        "text": "Blue, mostly: é中😀.",
        "reasoning": "Rayleigh",
        "calls": [{"name": "look", "arguments": {"at": "the sky"}}, {"name": "b", "arguments": ""}],
    }
    with chat_server(turn) as server:
        (reply,) = replies(served(server, stream=stream))
        (seen,) = server.seen
    assert (reply.text, reply.reasoning) == (turn["text"], "Rayleigh")
    assert [(one.name, one.arguments) for one in reply.calls] == [
        ("look", '{"at": "the sky"}'),
        ("b", ""),
    ]
    assert (reply.finish, reply.model) == ("tool_calls", "small")
    assert (reply.exchange.request, reply.exchange.reply) == (seen.body, seen.sent)
    assert seen.path == "/v1/chat/completions"
    assert ("stream" in seen.asked) == stream


def test_what_is_asked_for_is_sent() -> None:
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    schema: Any = {"type": "object", "properties": {"score": {"type": "number"}}}
    asked = Asked(temperature=0.5, seed=7, tokens=100)
    with chat_server(BLUE) as server:
        chat = served(server, asked=asked, limit="max_completion_tokens", also={"top_p": 0.9})
        replies(chat, tools=[tool], schema=schema, tokens=30)
        replies(chat, tokens=3000)
        first, second = (seen.asked for seen in server.seen)
    assert first == {
        "messages": list(ASK),
        "model": "small",
        "max_completion_tokens": 30,
        "tools": [tool],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema},
        },
        "temperature": 0.5,
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
        "top_p": 0.9,
    }
    assert second["max_completion_tokens"] == 100


def test_the_same_messages_make_the_same_bytes() -> None:
    with chat_server(BLUE) as server:
        replies(served(server), ASK, ASK)
        replies(served(server))
        assert len({seen.body for seen in server.seen}) == 1 < len(server.seen)


def test_tokens_and_money_are_counted_and_what_is_not_counted_is_taken_at_its_most() -> None:
    asked = Asked(usd_in=2, usd_out=10)
    with chat_server({**BLUE, "usage": [1000, 500]}, {**BLUE, "usage": None}) as server:
        counted, uncounted = replies(served(server, asked=asked), ASK, ASK)
        seen = server.seen[1]
    assert (counted.usage.tokens_in, counted.usage.tokens_out) == (1000, 500)
    assert counted.usage.usd == pytest.approx(0.007)
    assert uncounted.usage.tokens_in == len(seen.body)
    assert uncounted.usage.tokens_out == len(seen.sent)


def test_what_utf_8_cannot_carry_is_replaced() -> None:
    with chat_server(BLUE) as server:
        replies(served(server), [{"role": "user", "content": "a\ud800b"}])
        assert server.seen[0].asked["messages"] == [{"role": "user", "content": "a?b"}]


def test_two_servers_are_not_taken_for_one_another() -> None:
    async def body(*chats: Served) -> list[str]:
        return [(await chat.reply(ASK)).text for chat in chats]

    with chat_server(BLUE) as one, chat_server({"text": "Red."}) as other:
        assert anyio.run(body, served(one), served(other)) == ["Blue.", "Red."]


def test_one_object_serves_several_event_loops_and_leaves_no_connection_open() -> None:
    with chat_server(BLUE) as server:
        chat = served(server)
        for _ in range(3):
            assert replies(chat, ASK, ASK)[1].text == "Blue."
        gc.collect()  # what was left open complains when it is cleared away
        assert len(server.seen) == 6


# ------------------------------------------------------------------------ what goes wrong


def test_a_server_that_cannot_now_is_asked_again_and_then_away() -> None:
    body = '{"error": {"message": "too\\nbusy \\u001b[2J"}}'
    statuses = (408, 409, 425, 429, 500, 502, 503, 529)
    turns = [{"status": status, "body": body} for status in statuses]
    for status, told in zip(statuses, troubles(ModelAway, *turns, times=3), strict=True):
        assert f"status {status}: too⟨U+000A⟩busy ⟨U+001B⟩[2J (asked 3 times)" in told


def test_a_request_that_is_refused_is_not_made_again() -> None:
    body = '{"error": {"message": "no such model"}}'
    statuses = (400, 401, 403, 404, 413, 422)
    turns = [{"status": status, "body": body} for status in statuses]
    for status, told in zip(statuses, troubles(ModelError, *turns, times=1), strict=True):
        assert told.endswith(f"status {status}: no such model")


def test_success_of_another_kind_is_no_answer() -> None:
    turns = [{"status": status, "body": "{}"} for status in (201, 202, 206)]
    troubles(ModelError, *turns, times=1)


def test_a_redirect_is_not_followed() -> None:
    with chat_server(BLUE) as elsewhere:
        headers = {"location": f"{elsewhere.base_url}/chat/completions"}
        turns = [{"status": status, "headers": headers} for status in (301, 302, 303, 307, 308)]
        for told in troubles(ModelError, *turns, times=1):
            assert f"127.0.0.1:{elsewhere.port}" in told and "base_url" in told
        assert elsewhere.seen == []


def test_a_server_that_recovers_is_heard() -> None:
    script = [{"status": 500}, {"drop": True}, BLUE]
    with chat_server(*script) as server:
        assert replies(served(server))[0].text == "Blue."
        assert len(server.seen) == 3
        assert len({seen.body for seen in server.seen}) == 1


def test_nobody_there_is_away() -> None:
    with socket.socket() as nobody:  # who holds the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        away = ChatServer(nobody.getsockname()[1], Path("unused"))
        with pytest.raises(ModelAway, match=r"no connection: .* \(asked 3 times\)"):
            replies(served(away))


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_stalls_is_away(stream: bool) -> None:
    patience = Patience(silence=0.1, attempts=2, pause=0)
    turns = [{**BLUE, "stall": 30}, {**BLUE, "stall": 0}, {"mute": True}]
    for told in troubles(ModelAway, *turns, times=2, stream=stream, patience=patience):
        assert re.search(r"(it stalled for|no reply within) 0\.1 s", told)


def test_a_reply_that_comes_too_slowly_is_not_waited_for() -> None:
    patience = Patience(silence=60, whole=0.2, attempts=2, pause=0)
    with (
        chat_server({**BLUE, "stall": 30}) as server,
        pytest.raises(ModelAway, match=r"no whole reply within 0\.2 s \(asked 2 times"),
    ):
        replies(served(server, patience=patience))


@pytest.mark.parametrize("stream", [True, False])
def test_a_reply_that_breaks_off_is_away(stream: bool) -> None:
    with chat_server(BLUE) as server:
        whole = len(replies(served(server, stream=stream))[0].exchange.reply)
    turns = [{**BLUE, "cut": cut} for cut in (0, 1, 60, whole - 3)]
    for told in troubles(ModelAway, *turns, times=3, stream=stream):
        assert "the reply broke off" in told


def test_a_stream_that_ends_without_its_end_is_away() -> None:
    with chat_server(BLUE) as server:
        stream = replies(served(server))[0].exchange.reply.decode()
    undone = stream.replace("data: [DONE]\n\n", "")
    *events, counted = undone.split("\n\n")[:-1]
    assert "completion_tokens" in counted
    uncounted = "".join(f"{event}\n\n" for event in events)
    shorter = (stream[:-20], undone[:-2], uncounted, stream[:50], "")
    with chat_server({"raw": undone, "headers": EVENTS}) as server:
        assert replies(served(server))[0].text == BLUE["text"]
    turns = [{"raw": short, "headers": EVENTS} for short in shorter]
    for told in troubles(ModelAway, *turns, times=3):
        assert "the stream broke off before its end" in told


GARBAGE = {
    "<html>captive \x1b[31m</html>": "no JSON: <html>captive ⟨U+001B⟩[31m</html>",
    "{": "no JSON",
    "\xff\xfe": "no JSON",
    "[" * 100_000: "no JSON",
    "null": "no chat completion",
    '{"choices": []}': "no chat completion: model: Field required",
    '{"model": "small", "choices": []}': "choices",
    '{"model": "", "choices": [{}]}': "model",
    '{"model": "small", "choices": [{"message": null}]}': "message",
    '{"model": "small", "choices": [{"message": {"content": 5}}]}': "content",
}


@pytest.mark.parametrize("stream", [True, False])
def test_garbage_is_no_answer_to_the_last(stream: bool) -> None:
    turns = [{"raw": body} for body in GARBAGE]
    told = troubles(ModelError, *turns, times=3, stream=stream)
    for line, why in zip(told, GARBAGE.values(), strict=True):
        assert why in line


def test_a_stream_of_garbage_is_no_answer_to_the_last() -> None:
    streams = [
        "data: {\n\n",
        "data: 5\n\n",
        "data: {}\n\n",
        'data: {"choices": [{"delta": 5}]}\n\n',
        'data: {"choices": [{"delta": {"tool_calls": [{"index": 1e9}]}}]}\n\n',
        'data: {"model": "small", "choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n',
        'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
        'data: {"model": "a", "choices": []}\n\ndata: {"model": "b", "choices": []}\n\n',
        "data: [DONE]\n\n",
    ]
    turns = [{"raw": stream, "headers": EVENTS} for stream in streams]
    troubles(ModelError, *turns, times=3)


def test_a_failure_told_in_the_middle_of_a_reply_is_away() -> None:
    failed = '{"error": {"message": "out of memory", "code": 500}}'
    stream = {"raw": f"data: {failed}\n\n", "headers": EVENTS}
    for told in troubles(ModelAway, stream, {"raw": failed}, times=3):
        assert "the server failed: out of memory" in told


def test_an_endless_reply_is_cut() -> None:
    told = trouble(ModelError, {"raw": " " * (REPLY_MAX + 1)}, times=3)
    assert f"more than {REPLY_MAX} bytes" in told
    turn = {"status": 400, "body": "a" * (COMPLAINT_MAX + 1)}
    assert trouble(ModelError, turn, times=1).endswith("status 400")


def test_what_is_no_http_is_away() -> None:
    wires = ("nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nA: " + "b" * 200_000, "\0")
    troubles(ModelAway, {"drop": True}, *({"wire": wire} for wire in wires), times=3)


# ------------------------------------------------------------------------ when it asks again


def test_a_pause_that_the_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("audition.model.patience.anyio.sleep", sleep)
    patience = Patience(attempts=4, pause=1, longest=100)
    script = [{"status": 429, "headers": {"retry-after": "30"}}, {"status": 503}, BLUE]
    with chat_server(*script) as server:
        replies(served(server, patience=patience))
    assert slept[0] == 30
    assert 1 <= slept[1] <= 2

    slept.clear()
    patience = Patience(attempts=8, pause=1, longest=10)
    trouble(ModelAway, {"status": 503}, times=8, patience=patience)
    for pause, most in zip(slept, [1, 2, 4, 8, 10, 10, 10], strict=True):
        assert most / 2 <= pause <= most


def test_a_server_that_asks_for_a_longer_pause_is_asked_no_more() -> None:
    pauses = ("3600", formatdate(32_503_680_000, usegmt=True), "9" * 400)
    turns = [{"status": 429, "headers": {"retry-after": pause}} for pause in pauses]
    for told in troubles(ModelAway, *turns, times=1):
        assert "it asks to be left alone" in told


def test_a_pause_that_says_nothing_is_passed_over() -> None:
    pauses = ("soon", "-5", "", "Thu, 01 Jan 1970 00:00:00 GMT", "\xd9\xa3", "1e9")
    turns = [{"status": 429, "headers": {"retry-after": pause}} for pause in pauses]
    for told in troubles(ModelAway, *turns, times=3):
        assert "left alone" not in told


# ------------------------------------------------------------------------ who answers


def test_another_model_than_before_is_refused() -> None:
    script = [{**BLUE, "model": "small-1"}, {**BLUE, "model": "small-1"}, {**BLUE, "model": "big"}]
    with chat_server(*script) as server:
        chat = served(server)
        replies(chat, ASK, ASK)
        with pytest.raises(ModelError, match="'big' answers now, 'small-1' did before"):
            replies(chat)


def test_the_model_that_must_answer_can_be_declared() -> None:
    with chat_server({**BLUE, "model": "big"}) as server:
        replies(served(server, answers="big"))
        with pytest.raises(ModelError, match="'big' answers now, 'small-1' did before"):
            replies(served(server, answers="small-1"))


def test_the_configuration_pins_what_decides_an_answer() -> None:
    def digest(**fields: Any) -> str:
        return Served(Server(**{"base_url": "http://x/v1", "model": "m", **fields})).configuration()

    same = [{}, {"patience": Patience(attempts=9)}, {"base_url": "http://x/v1/"}]
    assert len({digest(**fields) for fields in same}) == 1
    other = [
        {"base_url": "http://y/v1"},
        {"model": "n"},
        {"asked": Asked(temperature=0)},
        {"stream": False},
        {"also": {"top_p": 0.5}},
        {"answers": "m-1"},
        {"limit": "max_completion_tokens"},
    ]
    assert len({digest(**fields) for fields in [{}, *other]}) == len(other) + 1


@pytest.mark.parametrize(
    "address",
    ["", "x", "ftp://x/v1", "http://", "http://u:p@x/v1", "http://x/v1?key=1", "http://x/v1#a"],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        Server(base_url=address, model="m")


def test_a_field_that_is_set_from_elsewhere_is_refused() -> None:
    with pytest.raises(ValidationError, match="'messages' is set from elsewhere"):
        Server(base_url="http://x/v1", model="m", also={"messages": []})


# ------------------------------------------------------------------------ the key


def test_the_key_goes_into_a_header_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with chat_server(BLUE) as server:
        chat = served(server, key="MY_KEY")
        (reply,) = replies(chat)
        (seen,) = server.seen
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["accept-encoding"] == "identity"  # what is recorded can be read
    assert KEY not in f"{reply!r} {chat!r} {vars(chat)['_server']!r} {reply.exchange.request!r}"


def test_no_key_of_the_environment_goes_to_a_server_that_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, KEY)
    with chat_server(BLUE) as server:
        replies(served(server))
        (seen,) = server.seen
    assert KEY not in json.dumps(dict(seen.headers))
    assert "authorization" not in seen.headers


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_repeats_the_key_is_not_recorded(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    once: Any = {"stream": stream, "key": "MY_KEY", "times": 1}
    turns: list[Any] = [
        {"text": f"It is {KEY}."},
        {"calls": [{"name": "look", "arguments": {"at": KEY}}]},
        {"text": "a", "reasoning": KEY},
        {"raw": json.dumps({"model": "small", "choices": [{"message": {}}], "x": KEY})},
        {"status": 401, "body": json.dumps({"error": {"message": f"bad key: {KEY}"}})},
        {"status": 302, "headers": {"location": f"http://127.0.0.1/?{KEY}"}},
    ]
    told = troubles(ModelError, *turns, **once)
    often = once | {"times": 3}
    hidden = "".join(f"\\u{ord(character):04x}" for character in KEY)
    failed = [
        {"status": 500, "body": "a" * 295 + KEY},
        {"raw": json.dumps({"error": "a" * 295}).replace("a", hidden)},
    ]
    told += troubles(ModelAway, *failed, **often)
    told += troubles(ModelError, {"raw": f"<{KEY}>"}, **once)
    assert KEY[:4] not in "".join(told)


def test_messages_that_repeat_the_key_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with chat_server(BLUE) as server:
        with pytest.raises(ModelError, match="nothing was sent") as error:
            replies(served(server, key="MY_KEY"), [{"role": "user", "content": f"a {KEY} b"}])
        assert server.seen == []
    assert KEY not in str(error.value)


@pytest.mark.parametrize("key", [None, "", "short", "with\nbreaks in it"])
def test_a_key_that_is_none_is_refused_at_once(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ValueError, match="MY_KEY") as error:
        Served(Server(base_url="http://x/v1", model="m", key="MY_KEY"))
    assert not key or key not in str(error.value)


# ------------------------------------------------------------------------ whatever comes


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_are_read_as_anything_but_a_completion_or_an_error(data: bytes) -> None:
    for read in (reading.whole, reading.streamed):
        for bytes_ in (data, b"data: " + data + b"\n\ndata: [DONE]\n\n"):
            try:
                said = str(read(bytes_).model)
            except Unread as error:
                said = str(error)
            assert "\n" not in said
    assert isinstance(reading.complaint(data), str)


_CHUNK: Any = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["small", "", "a\n", None, 5]),
        "usage": st.none() | st.dictionaries(st.sampled_from(["prompt_tokens"]), st.integers()),
        "error": st.none() | st.text(max_size=5),
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(-1, 2),
                    "finish_reason": st.sampled_from(["stop", "", None]),
                    "delta": st.dictionaries(
                        st.sampled_from(["content", "reasoning", "tool_calls", "refusal"]),
                        st.none()
                        | st.text(max_size=5)
                        | st.lists(st.dictionaries(st.just("index"), st.integers())),
                    ),
                },
            ),
            max_size=2,
        ),
    },
)


@given(st.lists(_CHUNK, max_size=4), st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n"]))
def test_no_events_are_read_as_anything_but_a_completion_or_an_error(
    chunks: list[Any], end: str
) -> None:
    stream = "".join(f"data: {json.dumps(chunk)}{end}" for chunk in chunks) + f"data: [DONE]{end}"
    with contextlib.suppress(Unread):
        reading.streamed(stream.encode())


HEADS = (
    b"",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
    b"HTTP/1.1 302 OK\r\nlocation: \xff\r\n\r\n",
    b"HTTP/1.1 429 OK\r\nretry-after: \xff\r\n\r\n",
    b"HTTP/1.1 100 OK\r\n\r\n",
)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(HEADS), st.binary(max_size=100))
def test_no_bytes_on_the_wire_raise_anything_else(head: bytes, rest: bytes) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(head + rest)

    async def body() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        server = Server(base_url=f"http://127.0.0.1:{port}/v1", model="small", patience=HASTY)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, answer)
            with pytest.raises((ModelAway, ModelError)):
                await Served(server).reply(ASK)
            tasks.cancel_scope.cancel()

    anyio.run(body)
