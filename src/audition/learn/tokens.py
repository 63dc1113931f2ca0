"""The tokens of a thought exactly as they were sampled, from the exchanges that the ledger holds.

A local model and a server that returns token ids (vLLM, with `return_token_ids` and `logprobs`)
tell of each reply the ids of the prompt and of what was sampled. A thought of several replies is
one text where each prompt goes on from the one before and its reply: what stands between was told
to the model, and is not its own. Nothing is ever tokenised again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from audition.canonical import loads
from audition.learn.lessons import LessonError
from audition.step import Digest, Exchange

LONGEST = 1 << 20
"""Most tokens of one thought, its prompt included."""

Untrainable = Literal[
    "no exchange with a model",
    "no token ids were recorded",
    "its replies do not go on from one another",
    "sampled at no temperature",
]
"""Why a thought's tokens cannot be learned from."""


class NotExact(LessonError):
    """The tokens of a thought are not to be had; says why."""

    def __init__(self, why: Untrainable) -> None:
        super().__init__(why)
        self.why: Untrainable = why


@dataclass(frozen=True)
class Sampled:
    """A thought as tokens."""

    prompt: tuple[int, ...]
    """What led up to it."""
    ids: tuple[int, ...]
    """What followed."""
    own: tuple[bool, ...]
    """Of each of these, whether the model sampled it; the others were told to it."""
    logps: tuple[float, ...]
    """Log-probability of each that it sampled, when it was; 0 of the others."""
    temperature: float
    """At which it sampled."""
    weights: Digest | None
    """Digest of the weights that sampled, where a model in this process did."""


def sampled(exchanges: bytes) -> Sampled:
    """The tokens of a thought.

    Args:
        exchanges: what a model was asked and answered, as the ledger holds it.

    Raises:
        NotExact: they are not recorded, or not of one text.
    """
    replies = list(_replies(exchanges))
    if not replies:
        raise NotExact("no exchange with a model")
    first = replies[0]
    ids, own, logps = list(first.ids), [True] * len(first.ids), list(first.logps)
    for reply in replies[1:]:
        before = (*first.prompt, *ids)
        if reply.prompt[: len(before)] != before or reply.weights != first.weights:
            raise NotExact("its replies do not go on from one another")
        told = reply.prompt[len(before) :]
        ids += [*told, *reply.ids]
        own += [False] * len(told) + [True] * len(reply.ids)
        logps += [0.0] * len(told) + list(reply.logps)
    temperatures = {reply.temperature for reply in replies}
    if len(temperatures) > 1 or not min(temperatures) > 0:
        raise NotExact("sampled at no temperature")
    return Sampled(
        first.prompt, tuple(ids), tuple(own), tuple(logps), temperatures.pop(), first.weights
    )


@dataclass(frozen=True)
class _Reply:
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    logps: tuple[float, ...]
    temperature: float
    weights: Digest | None


def _replies(exchanges: bytes) -> Iterator[_Reply]:
    try:
        listed = _Exchanges.validate_python(loads(exchanges))
    except ValueError:
        raise NotExact("no exchange with a model") from None
    for one in listed:
        try:
            asked = _Request.model_validate_json(one.request)
            parts = [_Part.model_validate_json(line) for line in _lines(one.reply)]
        except ValidationError:
            raise NotExact("no token ids were recorded") from None
        choices = [choice for part in parts for choice in part.choices if choice.index == 0]
        prompts = [part.prompt_token_ids for part in parts if part.prompt_token_ids is not None]
        ids = [token for choice in choices for token in choice.token_ids or ()]
        told = [choice.logprobs.content for choice in choices if choice.logprobs is not None]
        logps = [min(0.0, token.logprob) for content in told for token in content or ()]
        if len(prompts) != 1 or not prompts[0] or not ids or len(ids) != len(logps):
            raise NotExact("no token ids were recorded")
        weights = {part.weights for part in parts}
        yield _Reply(
            prompt=tuple(prompts[0]),
            ids=tuple(ids),
            logps=tuple(logps),
            temperature=1.0 if asked.temperature is None else asked.temperature,
            weights=weights.pop() if len(weights) == 1 else None,
        )


def _lines(reply: bytes) -> Iterator[bytes]:
    """The JSON of a reply, whole or streamed."""
    if not reply.lstrip().startswith(b"data:"):
        yield reply
        return
    for line in reply.splitlines():
        content = line.removeprefix(b"data:").strip()
        if line.startswith(b"data:") and content not in (b"", b"[DONE]"):
            yield content


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


_Token = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Tokens = Annotated[list[_Token], Field(max_length=LONGEST)]


class _Likely(_Wire):
    logprob: float = Field(allow_inf_nan=False)


class _Logprobs(_Wire):
    content: Annotated[list[_Likely], Field(max_length=LONGEST)] | None = None


class _Choice(_Wire):
    index: int = 0
    token_ids: _Tokens | None = None
    logprobs: _Logprobs | None = None


class _Part(_Wire):
    prompt_token_ids: _Tokens | None = None
    choices: list[_Choice]
    weights: str | None = None


class _Request(_Wire):
    temperature: float | None = Field(default=None, ge=0, le=10)


_Exchanges: TypeAdapter[list[Exchange]] = TypeAdapter(list[Exchange])
