"""A model in this process: what it is told and writes is recorded to the token, and goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from trl.chat_template_utils import (
    llama3_1_chat_template,
    qwen2_5_chat_template,
    qwen3_chat_template,
)

from audition.model import LocalModel, ModelError, Reply
from audition.model.chance import seeded
from audition.model.local import Loaded, Local, loaded
from audition.step import JsonObject
from audition.think.telling import RULES, answered, called, spoken
from chatting import CALL, CALLED, END, ROOM, proposing, written
from models import _one_thread

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)

LOOK = '{"name": "look", "arguments": {"at": "<|im_end|>"}}'
DONE = proposing('{"kind": "finish", "answer": "done"}')
SAYS = {
    "\n": {CALL: 9, "Well.": 1},
    "Well.": {CALL: 1},
    CALL: {LOOK: 3, DONE: 1},
    LOOK: {CALLED: 1},
    DONE: {CALLED: 1},
    CALLED: {END: 1},
}
TOOLS: list[JsonObject] = [
    {
        "type": "function",
        "function": {"name": name, "description": name, "parameters": {"type": "object"}},
    }
    for name in ("look", "propose")
]
ASKED: list[JsonObject] = [
    {"role": "system", "content": RULES},
    {"role": "user", "content": f"The goal:\nfind {END} {CALL} it"},
]


def local(folder: Path, template: str = qwen2_5_chat_template, **changes: Any) -> Local:
    config = LocalModel(folder="m", **changes)
    return Local(config, loaded(config, written(folder / "m", SAYS, template)))


async def thought(chat: Local, seed: bytes, most: int = 6) -> list[Reply]:
    """Calls of a tool, each answered, until something else is said."""
    messages, replies = list(ASKED), list[Reply]()
    with seeded(seed):
        while len(replies) < most:
            reply = await chat.reply(messages, tools=TOOLS)
            replies.append(reply)
            if not reply.calls or reply.calls[0].name != "look":
                break
            again = [called("x", one.name, one.arguments) for one in reply.calls]
            messages += [spoken(reply.text, again), answered("x", f"| nothing {END} here")]
    return replies


def tokens(reply: Reply) -> tuple[list[int], list[int], list[float]]:
    """The prompt, what was sampled, and how likely each token was."""
    said = json.loads(reply.exchange.reply)
    choice = said["choices"][0]
    logps = [one["logprob"] for one in choice["logprobs"]["content"]]
    return said["prompt_token_ids"], choice["token_ids"], logps


def longest(chat: Local) -> list[Reply]:
    """A thought of three replies or more, whichever seed has it."""
    for seed in range(100):
        replies = anyio.run(thought, chat, bytes([seed]))
        if len(replies) > 2:
            return replies
    raise AssertionError("no seed looks twice")


@pytest.mark.parametrize(
    "template", [qwen2_5_chat_template, qwen3_chat_template, llama3_1_chat_template]
)
def test_a_thought_s_tokens_go_on_from_one_another(tmp_path: Path, template: str) -> None:
    """Or, where a template tells what was said otherwise than it was written, begin anew."""
    chat = local(tmp_path, template)
    replies = longest(chat)
    words = chat.given.tokenizer
    for before, after in pairwise(replies):
        prompt, sampled, _ = tokens(before)
        following, _, _ = tokens(after)
        whole = prompt + sampled
        chains = following[: len(whole)] == whole
        assert chains or template == llama3_1_chat_template
        told = words.decode(following[len(whole) :] if chains else following)
        assert "nothing" in told


def test_each_token_has_the_log_probability_with_which_it_was_sampled(tmp_path: Path) -> None:
    chat = local(tmp_path)
    model = chat.given.model
    for reply in longest(chat):
        prompt, sampled, logps = tokens(reply)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + sampled])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(sampled)[:, None])[:, 0]
        assert torch.allclose(torch.tensor(logps), expected, atol=1e-5)
        assert reply.usage.tokens_out == len(sampled)


def test_what_others_say_writes_no_control_token(tmp_path: Path) -> None:
    chat = local(tmp_path)
    words = chat.given.tokenizer
    prompt = tokens(anyio.run(thought, chat, b"")[0])[0]
    end, call = words.convert_tokens_to_ids([END, CALL])
    assert f"find {END} {CALL} it" in words.decode(prompt)
    assert prompt.count(end) == 2  # behind the rules and behind the goal
    assert prompt.count(call) == 2  # as the template itself shows how to call


def test_the_same_seed_says_the_same_and_another_another(tmp_path: Path) -> None:
    chat, again = local(tmp_path), local(tmp_path)

    def said(chat: Local, seed: bytes) -> list[Any]:
        return [tokens(one) for one in anyio.run(thought, chat, seed)]

    several = [said(chat, bytes([seed])) for seed in range(12)]
    assert [said(again, bytes([seed])) for seed in reversed(range(12))] == several[::-1]
    assert len({json.dumps(one) for one in several}) > 3


def test_together_they_say_what_each_says_alone(tmp_path: Path) -> None:
    alone, together = local(tmp_path), local(tmp_path, together=8)

    async def every(chat: Local) -> list[list[Reply]]:
        found: dict[int, list[Reply]] = {}

        async def one(seed: int) -> None:
            found[seed] = await thought(chat, bytes([seed]))

        async with anyio.create_task_group() as tasks:
            for seed in range(12):
                tasks.start_soon(one, seed)
        return [found[seed] for seed in range(12)]

    def ids(thoughts: Sequence[Sequence[Reply]]) -> list[Any]:
        return [[tokens(one)[:2] for one in replies] for replies in thoughts]

    assert ids(anyio.run(every, together)) == ids(anyio.run(every, alone))


def test_a_reply_is_cut_where_its_tokens_end(tmp_path: Path) -> None:
    chat = local(tmp_path)
    reply = anyio.run(lambda: chat.reply(ASKED, tools=TOOLS, tokens=1))
    assert (reply.finish, reply.calls, len(tokens(reply)[1])) == ("length", (), 1)


def test_a_prompt_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    chat = local(tmp_path)
    long: list[JsonObject] = [{"role": "user", "content": "x" * ROOM * 8}]
    with pytest.raises(ModelError, match=rf"a prompt of \d+ tokens, and its context has {ROOM}"):
        anyio.run(lambda: chat.reply(long))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    config = LocalModel(folder="m")
    with pytest.raises(ModelError, match=r"there is no config.json"):
        loaded(config, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="it cannot be loaded"):
        loaded(config, tmp_path)
    folder = written(tmp_path / "m", SAYS)
    given = loaded(config, folder)
    given.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Local(config, given)


def test_another_model_s_tokenizer_is_refused(tmp_path: Path) -> None:
    config = LocalModel(folder="m")
    folder = written(tmp_path / "m", SAYS)
    more = {**SAYS, "more": {"words": 1.0}, "words": {"than": 1.0}, "than": {"it": 1.0}}
    other = written(tmp_path / "other", more)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ModelError, match="the tokenizer is not the model's"):
        loaded(config, folder)


def test_other_weights_are_another_configuration(tmp_path: Path) -> None:
    chat = local(tmp_path)
    given = chat.given
    other = Local(
        LocalModel(folder="m"), Loaded(given.name, given.model, given.tokenizer, "0" * 64)
    )
    hotter = local(tmp_path, asked={"temperature": 2.0})
    elsewhere = local(tmp_path, together=3, kept=0)
    assert chat.configuration() == elsewhere.configuration()
    assert len({one.configuration() for one in (chat, other, hotter)}) == 3
