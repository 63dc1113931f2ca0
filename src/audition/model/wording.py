"""Messages as the tokens of one model, by its own chat template, and its tokens as a reply.

Within a thought nothing is tokenised twice: what the model wrote stays as the ids that it sampled,
and what is told to it then is put behind them. Control tokens are written by the template alone; in
what others say they are letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from audition.failing import told
from audition.model.chat import ModelError, ToolCall
from audition.plain import shown
from audition.step import JsonObject

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
"""A call as many models write it, where the tokenizer does not say how its own does."""

_THOUGHT = re.compile(r"^\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)
"""What it thinks before it answers, likewise."""


@dataclass(frozen=True)
class Parsed:
    """What a model wrote."""

    text: str
    """What it says."""
    reasoning: str
    """What it thought before."""
    calls: tuple[ToolCall, ...]
    """What it wants called."""


@dataclass(frozen=True)
class Said:
    """A prompt and what was sampled behind it."""

    messages: Sequence[JsonObject]
    """The prompt's messages."""
    ids: tuple[int, ...]
    """Its tokens and those that were sampled."""


class Wording:
    """How one model reads messages and writes replies.

    Args:
        name: the model's, for errors.
        tokenizer: its tokenizer.
        ends: tokens with which it ends a reply.

    Raises:
        ModelError: the tokenizer has no chat template.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> None:
        if not tokenizer.chat_template:
            raise ModelError(f"{name}: its tokenizer has no chat template; give it one")
        self._name = name
        self._tokenizer = tokenizer
        self._ends = ends

    def prompt(
        self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], before: Said | None
    ) -> tuple[int, ...]:
        """The tokens that lead up to the model's next words.

        Args:
            messages: all that was said.
            tools: what it may call.
            before: an earlier prompt whose messages these begin with, then its reply.

        Raises:
            ModelError: the template does not take them.
        """
        every = self._ids(messages, tools, begins=True)
        if before is None:
            return every
        count = len(before.messages)
        opened = self._ids(messages[:count], tools, begins=False)
        closes = 1 + len(self._closings(opened))
        if (
            every[: len(opened)] != opened
            or len(self._closings(self._ids(messages[: count + 1], tools, begins=False))) != closes
        ):
            return every  # a template that does not tell where a reply ends
        own = before.ids[:-1] if before.ids[-1] in self._ends else before.ids
        return (*own, *every[self._closings(every)[closes - 1] :])

    def read(
        self, prompt: Sequence[int], written: Sequence[int], tools: Sequence[JsonObject]
    ) -> Parsed:
        """What sampled tokens say; what cannot be read as a call is text."""
        own = list(written[:-1] if written and written[-1] in self._ends else written)
        if getattr(self._tokenizer, "response_template", None) is not None:
            try:
                found = self._tokenizer.parse_response(
                    own, prefix=list(prompt), tools=list(tools) or None
                )
                return _message(found)
            except Exception:  # noqa: BLE001  a reply in no form is text like any other
                pass
        text = self._tokenizer.decode(own, skip_special_tokens=False)
        assert isinstance(text, str)
        return _tagged(text)

    def word(self, token: int) -> str:
        """One token, as text."""
        found = self._tokenizer.decode([token])
        assert isinstance(found, str)
        return found

    def _closings(self, ids: Sequence[int]) -> list[int]:
        """Where replies, and what is told like them, end; nobody but the template writes that."""
        return [at for at, token in enumerate(ids) if token in self._ends]

    def _ids(
        self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], *, begins: bool
    ) -> tuple[int, ...]:
        try:
            found: Any = self._tokenizer.apply_chat_template(
                [_with_objects(message) for message in messages],  # type: ignore[arg-type]
                tools=list(tools) or None,
                add_generation_prompt=begins,
                tokenize=True,
                return_dict=False,
                sanitize_control_tokens=True,
            )
        except Exception as error:  # noqa: BLE001  a template is a program from elsewhere
            raise ModelError(
                f"{self._name}: its chat template fails: {shown(told(error), 200)}"
            ) from None
        return tuple(int(one) for one in found)


def _with_objects(message: JsonObject) -> dict[str, Any]:
    """A message whose calls carry their arguments as objects, as templates take them."""
    told: dict[str, Any] = {**message, "content": message.get("content") or ""}
    calls: Any = told.get("tool_calls")
    if calls:
        told["tool_calls"] = [
            {**one, "function": {**one["function"], "arguments": _object(one["function"])}}
            for one in calls
        ]
    return told


def _object(function: dict[str, Any]) -> Any:
    try:
        return json.loads(function["arguments"])
    except ValueError:
        return function["arguments"]


def _message(found: Any) -> Parsed:
    """A message as the tokenizer's own template of replies reads it."""
    calls: list[ToolCall] = []
    for number, one in enumerate(found.get("tool_calls") or ()):
        function = one["function"]
        arguments = function.get("arguments", {})
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        calls.append(ToolCall(id=f"call{number}", name=str(function["name"]), arguments=written))
    reasoning = found.get("thinking") or found.get("reasoning_content") or ""
    return Parsed(str(found.get("content") or ""), str(reasoning), tuple(calls))


def _tagged(text: str) -> Parsed:
    """A message with calls between tags; one that is no JSON is part of the text."""
    thought = _THOUGHT.match(text)
    reasoning = thought[1].strip() if thought else ""
    rest = text[thought.end() :] if thought else text
    calls: list[ToolCall] = []

    def take(found: re.Match[str]) -> str:
        try:
            said = json.loads(found[1])
            name, arguments = said["name"], said.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return found[0]
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        calls.append(ToolCall(id=f"call{len(calls)}", name=str(name), arguments=written))
        return ""

    left = _CALL.sub(take, rest).strip()
    return Parsed(left, reasoning, tuple(calls))
