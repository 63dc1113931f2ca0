"""Chat messages as what was said and what was done.

Each tool call is a step; the calls of one message are one group, since none saw another's result.
Each assistant message without a call is a step of its own: a message to the user, or the answer if
the record ends with it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from audition.records.lines import parse
from audition.records.record import Group, RecordedStep, Said
from audition.step import Act, Ask, Finish, JsonObject, Message, Name, Outcome, Proposal, Think

MAX_TOOL = 1000
"""Longest name of a tool; a longer one is kept with the arguments, as written."""

MAX_CALLS = 1000
"""Most calls of one message: each becomes a step that repeats the message's reasoning."""

PARTS = ("text", "refusal", "image_url", "input_audio", "file")
"""The kinds of part that a message may hold: what is said, and attachments that are only named."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)
    type: str
    text: str = ""
    refusal: str = ""

    @field_validator("type")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind == "tool_use":
            raise ValueError("a tool_use part is a call; put it into the message's tool_calls")
        if kind == "tool_result":
            raise ValueError("a tool_result part is an outcome; put it into a message of role tool")
        if kind in ("thinking", "reasoning"):
            raise ValueError("a part that is a thought; put its text into the message's reasoning")
        if kind not in PARTS:
            raise ValueError(f"must be one of {', '.join(PARTS)}")
        return kind

    def __str__(self) -> str:
        return self.text or self.refusal or ("" if self.type == "text" else f"[{self.type}]")


class _Function(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str
    arguments: str | JsonObject = ""


class _Call(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str | None = None
    function: _Function


class Came(BaseModel):
    """What came back, where a message's text does not say all of it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    status: Literal["done", "failed", "refused", "unknown"]
    """How it went."""
    data: JsonObject = {}
    """What it said, as data."""


class Exactly(BaseModel):
    """What a message stands for, where the chat format has no word for it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    steps: list[RecordedStep] | None = Field(default=None, max_length=MAX_CALLS, fail_fast=True)
    """The steps of an assistant's message, without their outcomes; none: it is no step."""
    outcome: Came | None = None
    """That the message is the outcome of a step before it, and which."""


class ChatMessage(BaseModel):
    """One message, as OpenAI's chat format writes it."""

    model_config = ConfigDict(strict=True)

    role: Name
    """`system`, `user`, `assistant`, `tool` …"""
    content: str | Annotated[list[_Part], Field(fail_fast=True)] | None = None
    """What is said: text, or parts of which the text is kept and the rest named."""
    name: Name | None = None
    """The speaker's own name."""
    reasoning: str | None = Field(
        default=None, validation_alias=AliasChoices("reasoning", "reasoning_content")
    )
    """What was thought before it."""
    tool_calls: list[_Call] | None = Field(default=None, max_length=MAX_CALLS, fail_fast=True)
    """The tools called."""
    function_call: _Function | None = None
    """The one tool called, as older logs write it."""
    tool_call_id: str | None = None
    """Whose result this is."""
    audition: Exactly | None = None
    """What the message stands for, where it was written from a record."""

    @model_validator(mode="after")
    def _of_one_meaning(self) -> Self:
        exactly = self.audition or Exactly()
        if (exactly.outcome if self.role == "assistant" else exactly.steps) is not None:
            raise ValueError("audition.steps are an assistant's, audition.outcome is another's")
        steps = exactly.steps or ()
        if any(step.outcome for step in steps):
            raise ValueError("audition.steps have outcomes; each is a message of its own")
        if steps and Worded.of(steps) != Worded.read(self):
            raise ValueError("audition.steps says something else than the message")
        return self

    @property
    def text(self) -> str:
        """The content as text."""
        if isinstance(self.content, list):
            return "\n".join(str(part) for part in self.content)
        return self.content or ""

    @property
    def calls(self) -> list[_Call]:
        """The tools called, in either way of writing it."""
        old = [_Call(function=self.function_call)] if self.function_call else []
        return (self.tool_calls or []) + old


@dataclass(frozen=True, slots=True)
class Worded:
    """Steps in the words of the chat format: what of them every reader of it can see."""

    content: str
    reasoning: str | None
    name: str | None
    calls: tuple[tuple[str, str], ...]
    """The tools and their arguments, as text."""

    @classmethod
    def of(cls, steps: Sequence[RecordedStep]) -> Self:
        """The words for the steps of one message; the first of them has the say."""
        first = steps[0]
        acts = [step.proposal for step in steps if isinstance(step.proposal, Act)]
        return cls(
            content=_words(first.proposal),
            reasoning=first.thought,
            name=first.by,
            calls=tuple((act.tool, _arguments(act)) for act in acts),
        )

    @classmethod
    def read(cls, message: ChatMessage) -> Self:
        """The words that a message has."""
        calls = (call.function for call in message.calls)
        return cls(
            content=message.text,
            reasoning=message.reasoning,
            name=message.name,
            calls=tuple((call.name, str(call.arguments)) for call in calls),
        )


def transcript(
    messages: Sequence[ChatMessage], goal: str | None = None
) -> tuple[str, tuple[Said | Group, ...]]:
    """The goal and the entries of a conversation.

    Args:
        messages: the conversation, in order.
        goal: what it is for, where the record says so apart. Otherwise it is the first user
            message, or for want of one the first message of any kind, that stands before every
            step: a later one would show a judge what its step could not know. That message is the
            goal and is not repeated among the entries. With none the goal is empty.
    """
    told = _goal(messages) if goal is None else None
    if told is not None:
        goal = messages[told].text
    entries: list[Said | _Steps] = []
    waiting: _Steps | None = None
    latest: _Steps | None = None
    for index, message in enumerate(messages):
        steps = _steps(message, last=index == len(messages) - 1)
        if steps:
            latest = _Steps(steps, [call.id for call in message.calls])
            waiting = latest if message.calls else waiting
            entries.append(latest)
        elif not _comes_back(message, waiting, latest) and index != told:
            said = Message(role=message.role, name=message.name, content=message.text)
            entries.append(Said(message=said))
    done = (entry.group() if isinstance(entry, _Steps) else entry for entry in entries)
    return goal or "", tuple(done)


def count(line: JsonObject) -> int:
    """How many steps a conversation holds."""
    messages: Any = line["messages"]
    return sum(_count(message) for message in messages if message["role"] == "assistant")


def _count(message: Any) -> int:
    exactly = (message.get("audition") or {}).get("steps")
    if exactly is not None:
        return len(exactly)
    return len(message.get("tool_calls") or ()) + bool(message.get("function_call")) or 1


def outcome(result: ChatMessage) -> Outcome:
    """What a message says came back; failed if it says so in so many words."""
    came = result.audition.outcome if result.audition else None
    if came is not None:
        return Outcome(status=came.status, output=result.text, data=came.data)
    return Outcome(status="failed" if _failed(result.text) else "done", output=result.text)


def _comes_back(message: ChatMessage, waiting: _Steps | None, latest: _Steps | None) -> bool:
    """Whether a message is the outcome of a step, which then has it."""
    if message.role in ("tool", "function"):
        return waiting is not None and waiting.answered(message)
    told = message.audition is not None and message.audition.outcome is not None
    return told and latest is not None and latest.heard(message)


class _Steps:
    """The steps of one message, while their outcomes come in."""

    def __init__(self, steps: Sequence[RecordedStep], ids: Sequence[str | None]) -> None:
        self.steps = steps
        self.outcomes: list[Outcome | None] = [None] * len(steps)
        calls = [at for at, step in enumerate(steps) if isinstance(step.proposal, Act)]
        self.by_id: dict[str | None, deque[int]] = {}
        for at, name in zip(calls, ids, strict=True):
            self.by_id.setdefault(name, deque()).append(at)
        self.in_order = deque(calls)
        self.others = deque(sorted(set(range(len(steps))) - set(calls)))

    def answered(self, result: ChatMessage) -> bool:
        """Give a result to the call that it names, or to the next one; False if there is none."""
        named = result.tool_call_id
        return self._given(self.in_order if named is None else self.by_id.get(named), result)

    def heard(self, result: ChatMessage) -> bool:
        """Give an outcome to the next step that is no call; False if there is none."""
        return self._given(self.others, result)

    def _given(self, waiting: deque[int] | None, result: ChatMessage) -> bool:
        while waiting:
            at = waiting.popleft()
            if self.outcomes[at] is None:
                self.outcomes[at] = outcome(result)
                return True
        return False

    def group(self) -> Group:
        pairs = zip(self.steps, self.outcomes, strict=True)
        return Group(steps=tuple(one.model_copy(update={"outcome": out}) for one, out in pairs))


def _goal(messages: Sequence[ChatMessage]) -> int | None:
    first: int | None = None
    for index, message in enumerate(messages):
        if message.role == "assistant":
            break
        if message.role == "user":
            return index
        first = index if first is None else first
    return first


def _steps(message: ChatMessage, *, last: bool) -> Sequence[RecordedStep]:
    """What a message puts forward; nothing if it is no step."""
    if message.role != "assistant":
        return ()
    if message.audition is not None and message.audition.steps is not None:
        return message.audition.steps
    proposals: list[Proposal] = [
        _act(call.function, message.text if at == 0 else "")
        for at, call in enumerate(message.calls)
    ]
    if not proposals:
        text = message.text
        proposals = [Finish(answer=text) if last else Ask(question=text)]
    return [
        RecordedStep(proposal=proposal, thought=message.reasoning, by=message.name)
        for proposal in proposals
    ]


def _words(proposal: Proposal) -> str:
    match proposal:
        case Act():
            return proposal.reason
        case Ask():
            return proposal.question
        case Think():
            return proposal.prompt
        case Finish():
            return proposal.answer


def _arguments(act: Act) -> str:
    return act.malformed if act.malformed is not None else json.dumps(act.arguments)


def _act(call: _Function, reason: str) -> Act:
    if len(call.name) > MAX_TOOL:
        written = json.dumps(call.model_dump(), ensure_ascii=False)
        return Act(tool=call.name[:MAX_TOOL], malformed=written, reason=reason)
    if isinstance(call.arguments, dict):
        return Act(tool=call.name, arguments=call.arguments, reason=reason)
    try:
        return Act(tool=call.name, arguments=parse(call.arguments), reason=reason)
    except ValueError:
        return Act(tool=call.name, malformed=call.arguments, reason=reason)


def _failed(text: str) -> bool:
    """Whether a result says in so many words that it failed."""
    if not text.startswith("{"):
        return False
    try:
        result = parse(text)
    except ValueError:
        return False
    return bool(result.get("error")) or result.get("returncode") not in (None, 0)
