"""What a recorded exchange says: of real servers what was sent, of other bytes nothing."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.learn.asked import Unreadable, asked, proposes, said, told
from audition.model import Patience, Served, Server
from audition.step import Act, Exchange, Finish, Think, digest_of
from audition.think.proposing import Propose
from audition.think.telling import answered, called, spoken
from chatted import reply
from handmade import SHELL, shell
from servers.chat import chat_server, proposing

MESSAGES = (
    {"role": "system", "content": "Steer."},
    {"role": "user", "content": "Where to, „Fährmann“?"},
    spoken("", [called("c1", "run", '{"command": "ls"}')]),
    answered("c1", "| a \\ b"),
)
STEP = {"kind": "act", "tool": "shell", "arguments": {"command": "ls"}, "reason": "to see"}


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_sent_to_a_server_is_what_is_read(stream: bool) -> None:
    propose = Propose([SHELL])

    async def body() -> Exchange:
        server = Server(
            base_url=chat.base_url, model="small", stream=stream, patience=Patience(attempts=1)
        )
        return (await Served(server).reply(MESSAGES, tools=[propose.function])).exchange

    turn = proposing(STEP, text="There.", reasoning="Hm.")
    with chat_server(turn) as chat:
        exchange = anyio.run(body)
    found = asked(exchange)
    assert (found.messages, found.tools) == ([*MESSAGES], [propose.function])
    message = said(exchange)
    assert message is not None and (message["role"], message["content"]) == ("assistant", "There.")
    assert message["reasoning_content"] == "Hm."
    assert proposes(message, propose) == digest_of(shell("ls"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"messages": []}',
        b'{"messages": ["hi"]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}',
        b'{"messages": [{"role": "user", "content": "a", "reward": 1}]}',
        b'{"messages": [{"role": "user", "content": "a"}], "tools": ["propose"]}',
        b'{"messages": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    ],
)
def test_other_requests_are_none(body: bytes) -> None:
    with pytest.raises(Unreadable):
        asked(Exchange(request=body, reply=b""))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_the_bytes_they_are_read_or_refused(data: bytes) -> None:
    exchange = Exchange(request=data, reply=data)
    assert said(exchange) is None
    with pytest.raises(Unreadable):
        asked(exchange)


@given(
    st.sampled_from(
        [
            shell("ls"),
            Think(prompt="½\ud800"),
            Finish(answer="7", alternatives=(Think(prompt="Or?"),)),
            Act(tool="shell", arguments={}, reason="„so“"),
        ]
    )
)
def test_a_step_that_is_told_reads_back_as_itself(step: Any) -> None:
    message = told(step)
    json.dumps(message, ensure_ascii=False).encode()
    if "\ud800" not in getattr(step, "prompt", ""):
        assert proposes(message, Propose([SHELL])) == digest_of(step)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "no call", "tool_calls": None},
        {"tool_calls": [called("c", "run", "{}")]},
        {"tool_calls": [called("c", "propose", "{"), called("d", "propose", "{}")]},
        {"tool_calls": [called("c", "propose", '{"proposal": {"kind": "act", "tool": "x"}}')]},
    ],
)
def test_another_message_puts_no_step_forward(message: dict[str, Any]) -> None:
    exchange = Exchange(request=b"", reply=json.dumps(reply(shell("ls"), **message)).encode())
    found = said(exchange)
    assert found is not None and proposes(found, Propose([SHELL])) is None
