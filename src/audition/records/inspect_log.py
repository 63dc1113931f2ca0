"""Inspect's `.eval` logs: one record a sample, read from the file itself.

The format is a zip of JSON: `samples/ID_epoch_N.json` for each sample, and `header.json` (of a log
that is not finished: `_journal/start.json`) for the task and the model. Inspect's own reader is not
used: it takes whatever a file holds into memory without a bound, runs migrations written for its
own files, and would make reading a log need all of Inspect.

Calls that ran on the model provider's side stand inside a message's content, each with its result;
they become calls of their own, before the rest of the message.

What `audition.records.inspect_written` wrote says in the metadata, under `audition`, what Inspect
has no word for: of a sample whose record it is, of a message what it stands for exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from audition.records.format import Format, Origin
from audition.records.lines import MAX_LINE, called, printable
from audition.records.record import Record, RecordError
from audition.records.transcript import MAX_CALLS, Came, ChatMessage, Exactly, transcript
from audition.records.zipped import Zipped
from audition.step import JsonObject, JsonValue, Name

LABELS = (
    "id", "epoch", "input", "choices", "target", "scores", "metadata", "error", "limit",
    "invalidation", "setup", "files",
)  # fmt: skip
"""What of a sample is kept as a label; events and what they repeat are left out."""

ROLES = ("system", "user", "assistant", "tool")
"""The roles that Inspect has."""

_ATTACHED = "attachment://"


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)
    type: Name
    text: str = ""
    reasoning: str = ""
    summary: str | None = None
    redacted: bool = False
    id: str | None = None
    name: str = ""
    arguments: str = ""
    result: str = ""
    error: str | None = None


class _Call(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str | None = None
    function: str
    arguments: JsonObject
    parse_error: str | None = None


class _Error(BaseModel):
    model_config = ConfigDict(strict=True)
    type: str
    message: str

    @property
    def status(self) -> Literal["refused", "failed"]:
        return "refused" if self.type == "approval" else "failed"


class _Beside(Exactly):
    """What a message says under `audition` in its metadata."""

    role: Name | None = None
    name: Name | None = None

    @field_validator("role")
    @classmethod
    def _not_inspects(cls, role: str | None) -> str | None:
        if role in ROLES:
            raise ValueError("a role that Inspect has stands in the message itself")
        return role


class _MessageMetadata(BaseModel):
    model_config = ConfigDict(strict=True)
    audition: _Beside = _Beside()


class InspectMessage(BaseModel):
    """One message, as Inspect logs it; what is not read here may be anything."""

    model_config = ConfigDict(strict=True)
    role: Name
    """`system`, `user`, `assistant` or `tool`."""
    content: str | list[_Part] = ""
    """What is said, thought, and done on the provider's side."""
    tool_calls: list[_Call] | None = Field(default=None, max_length=MAX_CALLS, fail_fast=True)
    """The tools called."""
    tool_call_id: Any = None
    """Whose result this is."""
    error: _Error | None = None
    """How the call failed."""
    metadata: _MessageMetadata | None = None
    """What else is said of it."""

    @model_validator(mode="after")
    def _of_one_meaning(self) -> Self:
        came = self.beside.outcome
        if came is not None and self.error is not None and came.status != self.error.status:
            raise ValueError("metadata.audition.outcome says something else than the error")
        if self.role == "assistant" and self.beside.role is not None:
            raise ValueError("metadata.audition.role is another's than an assistant's")
        return self

    @property
    def beside(self) -> _Beside:
        """What the message stands for, where it was written from a record."""
        return (self.metadata or _MessageMetadata()).audition

    @property
    def calls(self) -> list[_Call]:
        """The tools called."""
        return self.tool_calls or []

    @property
    def parts(self) -> list[_Part]:
        """The content, as parts."""
        if isinstance(self.content, str):
            return [_Part(type="text", text=self.content)]
        return self.content


class _Run(BaseModel):
    """Which record a sample was written from."""

    model_config = ConfigDict(strict=True)
    task: Name
    thinker: Name
    labels: JsonObject


class _SampleMetadata(BaseModel):
    model_config = ConfigDict(strict=True)
    audition: _Run | None = None


class _Sample(BaseModel):
    model_config = ConfigDict(strict=True)
    messages: list[InspectMessage] = Field(fail_fast=True)
    attachments: dict[str, str] = {}
    metadata: _SampleMetadata | None = None


class _Eval(BaseModel):
    model_config = ConfigDict(strict=True)
    task: Name
    model: Name


class _Line(BaseModel):
    eval: _Eval
    sample: _Sample


def samples(path: Path) -> Iterator[tuple[str, JsonObject]]:
    """Every sample with what the log says of its task, and where it stands.

    Raises:
        RecordError: the file is no such log, or a part of it is damaged or too long.
    """
    with Zipped(path) as log:
        found = [name for name in log.names if name.startswith("samples/") and name[-5:] == ".json"]
        head = next((one for one in ("header.json", "_journal/start.json") if one in log.names), "")
        if not head or not found:
            raise RecordError(
                f"{called(path)}: no log of Inspect with a sample in it; fetch it again"
            )
        told = log.object(head).get("eval")
        for name in found:
            yield f"{called(path)}, {printable(name)}", {"eval": told, "sample": log.object(name)}


def _fits(line: JsonObject) -> bool:
    return isinstance(line.get("eval"), dict) and isinstance(line.get("sample"), dict)


def _records(line: JsonObject, origin: Origin) -> list[Record]:
    read = _Line.model_validate(line)
    sample = line["sample"]
    assert isinstance(sample, dict)
    attached = _Attached(read.sample.attachments, origin.file)
    goal, entries = transcript(list(conversation(read.sample.messages, attached)))
    if not entries and isinstance(sample.get("input"), str):
        goal = goal or str(sample["input"])
    run = read.sample.metadata.audition if read.sample.metadata else None
    if run is None:
        labels = {name: sample[name] for name in LABELS if sample.get(name) is not None}
        run = _Run(task=read.eval.task, thinker=read.eval.model, labels=labels)
    return [
        Record(
            source=origin.source(),
            task=run.task,
            goal=goal,
            thinker=run.thinker,
            entries=entries,
            labels=run.labels,
        )
    ]


def conversation(
    messages: Iterable[InspectMessage], attached: Callable[[str], str] = str
) -> Iterator[ChatMessage]:
    """Inspect's messages as those of the chat format.

    Args:
        messages: the conversation, in order.
        attached: gives the text that a reference stands for, and any other text as it is.
    """
    for message in messages:
        if message.role == "assistant":
            yield from _assistants(message, attached)
            continue
        text = "\n".join(_text(part, attached) for part in message.parts)
        whose = message.tool_call_id if isinstance(message.tool_call_id, str) else None
        error = message.error if message.role == "tool" else None
        yield _result(message.role, text, whose, error, message.beside)


def _assistants(message: InspectMessage, attached: Callable[[str], str]) -> Iterator[ChatMessage]:
    text: list[str] = []
    thought: list[str] = []

    def said(
        calls: Sequence[tuple[str | None, str, str]], exactly: Exactly | None = None
    ) -> ChatMessage:
        written = [
            {"id": name, "function": {"name": function, "arguments": arguments}}
            for name, function, arguments in calls
        ]
        return ChatMessage.model_validate(
            {
                "role": "assistant",
                "name": message.beside.name,
                "content": "\n".join(text),
                "reasoning": "\n".join(thought) if thought else None,
                "tool_calls": written or None,
                "audition": exactly,
            }
        )

    for part in message.parts:
        if part.type == "tool_use":
            yield said([(part.id, part.name, attached(part.arguments))])
            error = None if part.error is None else _Error(type="unknown", message=part.error)
            yield _result("tool", attached(part.result), part.id, error, _Beside())
            text, thought = [], []
        elif part.type == "reasoning":
            thought.append(attached((part.summary or "") if part.redacted else part.reasoning))
        else:
            text.append(_text(part, attached))
    calls = [(call.id, call.function, _arguments(call, attached)) for call in message.calls]
    if calls or not _ends_in_use(part.type for part in message.parts):
        yield said(calls, message.beside)


def _result(
    role: str, text: str, whose: str | None, error: _Error | None, beside: _Beside
) -> ChatMessage:
    """What a tool answered, or another's message."""
    came = beside.outcome
    if came is None and error is not None:
        came = Came(status=error.status, data={"error": error.model_dump()})
        text = text or error.message
    return ChatMessage(
        role=beside.role or role,
        name=beside.name,
        content=text,
        tool_call_id=whose,
        audition=Exactly(outcome=came, steps=beside.steps),
    )


def _text(part: _Part, attached: Callable[[str], str]) -> str:
    return attached(part.text) if part.type == "text" else f"[{part.type}]"


def _arguments(call: _Call, attached: Callable[[str], str]) -> str:
    """A call's arguments as the model wrote them; of broken ones Inspect keeps the text."""
    values = list(call.arguments.values())
    if call.parse_error is not None and len(values) == 1 and isinstance(values[0], str):
        return attached(values[0])
    return json.dumps(_throughout(call.arguments, attached))


def _throughout(value: JsonValue, attached: Callable[[str], str]) -> JsonValue:
    match value:
        case str():
            return attached(value)
        case list():
            return [_throughout(item, attached) for item in value]
        case dict():
            return {name: _throughout(item, attached) for name, item in value.items()}
        case _:
            return value


class _Attached:
    """The texts that a sample's messages refer to; no more in all than a line may hold."""

    def __init__(self, texts: Mapping[str, str], file: str) -> None:
        self._texts = texts
        self._file = file
        self._left = MAX_LINE

    def __call__(self, text: str) -> str:
        name = text.removeprefix(_ATTACHED)
        if name == text or name not in self._texts:
            return text
        self._left -= len(self._texts[name])
        if self._left < 0:
            raise RecordError(
                f"{self._file}: a sample's attachments come to more than {MAX_LINE >> 20} MiB; "
                "leave the sample out"
            )
        return self._texts[name]


def _steps(line: JsonObject) -> int:
    sample: Any = line["sample"]
    return sum(_count(one) for one in sample["messages"] if one["role"] == "assistant")


def _count(message: Any) -> int:
    content = message.get("content")
    kinds = [part["type"] for part in content] if isinstance(content, list) else []
    calls = len(message.get("tool_calls") or ())
    own = (message.get("metadata") or {}).get("audition", {}).get("steps")
    calls = calls if own is None else len(own)
    rest = calls or (own is None and not _ends_in_use(kinds))
    return kinds.count("tool_use") + rest


def _ends_in_use(kinds: Iterable[str]) -> bool:
    """Whether the last part of a message is a call on the provider's side."""
    *_, last = ("", *kinds)
    return last == "tool_use"


INSPECT = Format("inspect", _fits, _records, _steps)
"""The importer."""
