"""A thought's tokens as the ledger holds them, and nothing where they are not exact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audition.canonical import canonical
from audition.learn.step_grpo import Group, Objective, accumulate
from audition.learn.tokens import NotExact, sampled
from audition.model.sharing import sharing
from audition.step import Exchange
from models import _one_thread, ids, made

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)


def reply(prompt: Sequence[int], written: Sequence[int], **changes: Any) -> dict[str, Any]:
    """A reply as vLLM gives it with `return_token_ids` and `logprobs`."""
    told: dict[str, Any] = {
        "model": "m",
        "prompt_token_ids": list(prompt),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "…"},
                "token_ids": list(written),
                "logprobs": {"content": [{"token": "x", "logprob": -one / 8} for one in written]},
                "finish_reason": "stop",
            }
        ],
    }
    return told | changes


def held(*replies: dict[str, Any] | bytes, temperature: Any = 1.0) -> bytes:
    """Exchanges as the ledger holds them."""
    request = json.dumps({"messages": [], "temperature": temperature}).encode()
    listed = [
        Exchange(
            request=request, reply=one if isinstance(one, bytes) else json.dumps(one).encode()
        ).model_dump(exclude_none=True)
        for one in replies
    ]
    return canonical(listed)


def streamed(told: dict[str, Any], cut: int) -> bytes:
    """The same reply as a stream, as vLLM sends it: the prompt's ids first, then pieces."""
    choice = told["choices"][0]
    pieces: list[dict[str, Any]] = [
        {"model": "m", "prompt_token_ids": told["prompt_token_ids"], "choices": []}
    ]
    for part in (slice(0, cut), slice(cut, None)):
        logprobs = {"content": choice["logprobs"]["content"][part]}
        delta = {"index": 0, "delta": {}, "token_ids": choice["token_ids"][part]}
        pieces.append({"model": "m", "choices": [delta | {"logprobs": logprobs}]})
    lines = [f"data: {json.dumps(one)}\n\n" for one in pieces]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


TOKENS = st.lists(st.integers(0, 50_000), min_size=1, max_size=6)


@given(TOKENS, st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4), st.integers(0, 6))
def test_replies_that_go_on_from_one_another_are_one_text(
    prompt: list[int], rounds: list[tuple[list[int], list[int]]], cut: int
) -> None:
    text, replies, own = list(prompt), list[Any](), list[bool]()
    for number, (told, written) in enumerate(rounds):
        if number:
            text += told
            own += [False] * len(told)
        one = reply(text, written)
        replies.append(streamed(one, min(cut, len(written))) if cut else one)
        text += written
        own += [True] * len(written)
    found = sampled(held(*replies))
    assert found.prompt == tuple(prompt) and found.own == tuple(own)
    assert list(found.prompt + found.ids) == text
    logps = [-token / 8 if mine else 0.0 for token, mine in zip(found.ids, own, strict=True)]
    assert list(found.logps) == logps


NONE, APART = "no token ids were recorded", "its replies do not go on from one another"


@pytest.mark.parametrize(
    ("exchanges", "why"),
    [
        (held(), "no exchange with a model"),
        (b"{}", "no exchange with a model"),
        (b"\xff", "no exchange with a model"),
        (held(b"no JSON"), NONE),
        (held(reply([1], [2], prompt_token_ids=None)), NONE),
        (held(reply([], [2])), NONE),
        (held(reply([1], [])), NONE),
        (held(reply([1], [-2])), NONE),
        (held(reply([1], [2.0])), NONE),  # type: ignore[list-item]
        (held(reply([1], [2], choices=[])), NONE),
        (held(reply([1], [2], choices=[{"token_ids": [2], "logprobs": None}])), NONE),
        (held(b'{"prompt_token_ids": [1], "choices": [{"token_ids": [2], "logprobs": '
              b'{"content": [{"logprob": NaN}]}}]}'), NONE),
        (held(reply([1, 2], [3]), reply([1, 2], [4])), APART),
        (held(reply([1, 2], [3]), reply([1, 2, 9, 5], [4])), APART),
        (held(reply([1], [3], weights="a"), reply([1, 3, 4], [4], weights="b")), APART),
        (held(reply([1], [2]), temperature=0), "sampled at no temperature"),
        (held(reply([1], [2]), temperature="1"), NONE),
    ],
)  # fmt: skip
def test_what_is_not_exact_is_not_guessed(exchanges: bytes, why: str) -> None:
    with pytest.raises(NotExact) as caught:
        sampled(exchanges)
    assert caught.value.why == why


def test_what_was_told_in_between_takes_no_credit() -> None:
    """The same loss and gradient whatever log-probabilities stand where nothing was sampled; and
    that of TRL's mask: each own token counts, and no other."""
    history, one, other = ids(5, 9, 6, 4)
    own = (torch.tensor([True, True, False, False, True, True]), torch.ones(4, dtype=torch.bool))

    def learned(spoiled: float) -> tuple[float, list[torch.Tensor]]:
        first = torch.full((6,), -0.5).masked_fill(~own[0], spoiled)
        group = Group(history, (one, other), (first, torch.full((4,), -0.5)), (1.0, 0.0), own=own)
        model = sharing(made())
        step = accumulate(model, [group], Objective(normaliser="grpo"))
        return step.loss, [p.grad for p in model.parameters() if p.grad is not None]

    loss, gradient = learned(0.0)
    again, spoiled = learned(-3.0)
    assert loss == again
    assert all(torch.equal(a, b) for a, b in zip(gradient, spoiled, strict=True))
    model = sharing(made())
    expected = torch.zeros(())
    for text, mine, advantage in ((one, own[0], 1), (other, own[1], -1)):
        logits = model(torch.cat((history, text))[None]).logits[0, len(history) - 1 : -1]
        logp = logits.log_softmax(-1).gather(1, text[:, None])[:, 0][mine]
        ratio = (logp + 0.5).exp()
        each = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        expected = expected - each.mean() / 2
    scale = 0.5 / (0.5**0.5 + 1e-4)  # approvals 1 and 0: their deviation is √½
    assert loss == pytest.approx(expected.item() * scale, rel=1e-4)
