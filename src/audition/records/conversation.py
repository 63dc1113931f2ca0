"""A record written as one line of chat JSONL, which reads back to the same steps.

The line is what any reader of OpenAI's chat format expects. Where the format has no word for a
step or an outcome (a `Think`, a reason beside an answer, data beside a text), the message says it
exactly in a field of its own, `audition`, beside the words that everyone can read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from pydantic import ValidationError

from audition.records.chat import CHAT
from audition.records.format import Origin
from audition.records.lines import MAX_LINE, parse
from audition.records.reader import format_of
from audition.records.record import Group, Record, RecordedStep, RecordError, Said
from audition.records.refusal import refusal
from audition.records.transcript import ChatMessage, Worded, outcome, transcript
from audition.step import Act, JsonObject, Outcome, digest_of

_NOBODY = "-"
"""The id of no call: a tool's message under it answers none."""

_FIELDS = frozenset({"messages", "goal", "model", "task"})


def written(record: Record) -> str:
    """The line, without its end.

    Raises:
        RecordError: the chat format cannot hold the record: it would be too long, a label has the
            name of one of the format's own fields, or a text is one that no JSON Lines carry.
    """
    if names := sorted(_FIELDS & set(record.labels)):
        raise RecordError(
            f"{record.source.file}: the label {names[0]} has the name of a field of chat JSONL; "
            "rename it in the record"
        )
    line = json.dumps(
        {
            "model": record.thinker,
            "task": record.task,
            "messages": list(messages(record)),
            **record.labels,
        }
    )
    if len(line) > MAX_LINE:
        raise RecordError(
            f"{record.source.file}: longer than {MAX_LINE >> 20} MiB as one line of chat JSONL; "
            "`audition export` writes a ledger of any size"
        )
    try:
        read = parse(line)
    except ValueError as error:
        raise _cannot(record, str(error)) from None
    try:
        (again,) = CHAT.records(read, Origin("", "", 0, CHAT.name))
    except ValidationError as error:
        raise _cannot(record, refusal(error, read)) from None
    again = again.model_copy(update={"source": record.source})
    if format_of(read) is not CHAT or digest_of(again) != digest_of(record):
        raise _cannot(record, "it would be read back as another record")
    return line


def messages(record: Record) -> Iterator[dict[str, Any]]:
    """A record as messages; the goal is the first of the user's, as it is when they are read."""
    before = list(takewhile(_system, record.entries))
    for entry in before:
        yield _said(entry)
    yield {"role": "user", "content": record.goal}
    rest = record.entries[len(before) :]
    for number, entry in enumerate(rest, 1):
        if isinstance(entry, Said):
            yield _said(entry)
        else:
            yield from _group(entry.steps, last=number == len(rest))


def _cannot(record: Record, why: str) -> RecordError:
    return RecordError(f"{record.source.file}: chat JSONL cannot hold it: {why}")


def _system(entry: Said | Group) -> bool:
    return isinstance(entry, Said) and entry.message.role not in ("user", "assistant")


def _said(entry: Said | Group) -> dict[str, Any]:
    assert isinstance(entry, Said)
    message: dict[str, Any] = {"role": entry.message.role, "content": entry.message.content}
    if entry.message.name is not None:
        message["name"] = entry.message.name
    if entry.message.role in ("tool", "function"):
        message["tool_call_id"] = _NOBODY
    if entry.message.role == "assistant":
        message["audition"] = {"steps": []}
    return message


def _group(steps: Sequence[RecordedStep], *, last: bool) -> Iterator[dict[str, Any]]:
    """The message of a group and those with its outcomes; in plain words if these say it all."""
    outcomes = list(_outcomes(steps))
    message = _plain(steps)
    bare = [step.model_copy(update={"outcome": None}) for step in steps]
    if not _reads_as(bare, message, last=last and not outcomes):
        message["audition"] = {"steps": [one.model_dump(exclude_none=True) for one in bare]}
    yield message
    yield from outcomes


def _plain(steps: Sequence[RecordedStep]) -> dict[str, Any]:
    words = Worded.of(steps)
    message: dict[str, Any] = {"role": "assistant", "content": words.content}
    if words.name is not None:
        message["name"] = words.name
    if words.reasoning is not None:
        message["reasoning"] = words.reasoning
    if words.calls:
        message["tool_calls"] = [
            {"id": str(number), "type": "function", "function": {"name": tool, "arguments": text}}
            for number, (tool, text) in enumerate(words.calls, 1)
        ]
    return message


def _outcomes(steps: Sequence[RecordedStep]) -> Iterator[dict[str, Any]]:
    calls = 0
    for step in steps:
        act = isinstance(step.proposal, Act)
        calls += act
        if step.outcome is not None:
            message: dict[str, Any] = {"role": "tool" if act else "user"}
            if act:
                message["tool_call_id"] = str(calls)
            message["content"] = step.outcome.output
            if not act or not _said_so(step.outcome):
                came = {"status": step.outcome.status, "data": step.outcome.data}
                message["audition"] = {"outcome": came}
            yield message


def _reads_as(steps: Sequence[RecordedStep], message: JsonObject, *, last: bool) -> bool:
    after = [] if last else [ChatMessage(role="user")]
    _, entries = transcript([ChatMessage.model_validate(message), *after], "")
    return entries[0] == Group(steps=tuple(steps))


def _said_so(came: Outcome) -> bool:
    return outcome(ChatMessage(role="tool", content=came.output)) == came
