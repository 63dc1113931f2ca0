"""A record's conversation in the words of Inspect's log.

The messages are those of chat JSONL (`audition.records.conversation`). Where Inspect has no word
(another role, a speaker's name, a step that is a thought, an outcome with data), a message says it
in its metadata under `audition`, beside the words that everyone can read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from audition.records.conversation import messages
from audition.records.inspect_log import ROLES
from audition.records.record import Record
from audition.step import Act

_ERRORS = {"refused": "approval", "failed": "unknown"}
"""Inspect's kind of error for the outcome of a call."""


def inspect_messages(record: Record) -> Iterator[dict[str, Any]]:
    """The messages, as Inspect's JSON has them; the ids of calls are distinct in all of it."""
    acts = (step.proposal for step in record.steps() if isinstance(step.proposal, Act))
    asked: dict[str, dict[str, Any]] = {}
    for number, message in enumerate(messages(record), 1):
        calls: list[dict[str, Any]] = []
        if message["role"] == "assistant":
            made = [call["id"] for call in message.get("tool_calls", ())]
            calls = [inspect_call(f"{number}.{name}", next(acts)) for name in made]
            asked = dict(zip(made, calls, strict=True))
        yield _message(message, calls, asked.get(message.get("tool_call_id", "")))


def inspect_call(name: str, act: Act) -> dict[str, Any]:
    """A call of a tool; of broken arguments Inspect keeps the text, under the tool's name."""
    broken = act.malformed
    return {
        "id": name,
        "function": act.tool,
        "arguments": act.arguments if broken is None else {act.tool: broken},
        "parse_error": None if broken is None else "no JSON object",
    }


def _message(
    message: Mapping[str, Any], calls: list[dict[str, Any]], answers: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A message of chat JSONL.

    Args:
        message: the message.
        calls: the calls that it makes.
        answers: the call that it is the outcome of.
    """
    role, text = message["role"], message["content"]
    beside = dict(message.get("audition", {}))
    if "name" in message:
        beside["name"] = message["name"]
    if role not in ROLES:
        beside["role"] = role
    told: dict[str, Any] = {"role": role, "content": text}
    if beside:
        told["metadata"] = {"audition": beside}
    if role == "assistant":
        if "reasoning" in message:
            thought = {"type": "reasoning", "reasoning": message["reasoning"]}
            told["content"] = [thought, {"type": "text", "text": text}]
        return told | ({"tool_calls": calls} if calls else {})
    if "tool_call_id" not in message:
        return told | {"role": role if role in ROLES else "user"}
    told |= {"role": "tool", "tool_call_id": answers["id"] if answers else message["tool_call_id"]}
    if answers is not None:
        told["function"] = answers["function"]
    if (kind := _ERRORS.get(beside.get("outcome", {}).get("status"))) is not None:
        told["error"] = {"type": kind, "message": text}
    return told
