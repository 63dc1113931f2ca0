"""Reading a chat completion, whole or streamed, from bytes that may be anything.

Source: https://platform.openai.com/docs/api-reference/chat, and for the stream
https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audition.model.chat import ToolCall
from audition.plain import shown
from audition.step import MOST, Frozen, Name

CALLS_MAX = 128
"""Tools that one reply may call."""

KEPT = 300
"""Bytes that are told of what is no JSON."""


class Unread(ValueError):
    """The bytes are no chat completion; says what is wrong with them.

    Args:
        why: in one line.
        away: whether the server broke off or failed, so that it may do better later.
        says: what the server itself says of it, as it came.
    """

    def __init__(self, why: str, *, away: bool = False, says: str = "") -> None:
        super().__init__(why)
        self.away = away
        self.says = says


class Completion(Frozen):
    """What a server answered."""

    text: str
    """What the model says."""
    reasoning: str
    """What it thought before, where the server shows it."""
    calls: tuple[ToolCall, ...]
    """The tools that it wants called."""
    finish: str
    """Why it stopped."""
    model: Name
    """What the server calls the model."""
    tokens_in: int | None
    """Tokens read, if the server counts them."""
    tokens_out: int | None
    """Tokens written, if the server counts them."""


def whole(data: bytes) -> Completion:
    """The completion that a JSON body holds.

    Raises:
        Unread: it holds none.
    """
    try:
        reply = _Whole.model_validate_json(data)
    except ValidationError as error:
        raise _unread(data, error) from None
    choice = reply.choices[0]
    said = choice.message
    return Completion(
        text=said.content or said.refusal or "",
        reasoning=said.thought,
        calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in said.tool_calls or ()
        ),
        finish=choice.finish_reason or "",
        model=reply.model,
        tokens_in=reply.usage.prompt_tokens if reply.usage else None,
        tokens_out=reply.usage.completion_tokens if reply.usage else None,
    )


def streamed(data: bytes) -> Completion:
    """The completion that a stream of server-sent events holds.

    Some servers (`transformers serve`) end a stream without saying so; one whose choice has come to
    its end and whose tokens were counted is whole.

    Raises:
        Unread: it holds none, or ends before its end.
    """
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *events, rest = lines.split(b"\n\n")
    heard = _Heard()
    for event in events:
        if (content := _content(event)) == b"[DONE]":
            return heard.completion()
        if content:
            heard.hear(content)
    if _content(rest) == b"[DONE]" or (not rest and heard.finish and heard.usage):
        return heard.completion()
    raise Unread("the stream broke off before its end", away=True)


def complaint(data: bytes) -> str:
    """What a server says is wrong, as it came; empty if it does not say."""
    try:
        error = _Failed.model_validate_json(data).error
    except ValidationError:
        return data.decode(errors="replace").strip()
    said = error.get("message") if isinstance(error, dict) else error
    return said if isinstance(said, str) else str(error)


class _Heard:
    """A streamed reply as far as it has come."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, tuple[list[str], list[str], list[str]]] = {}
        self.finish = self.model = ""
        self.usage: _Counted | None = None

    def hear(self, content: bytes) -> None:
        """Take in one event."""
        try:
            chunk = _Chunk.model_validate_json(content)
        except ValidationError as error:
            raise _unread(content, error) from None
        if chunk.model and self.model and chunk.model != self.model:
            raise Unread(f"one reply of two models, {self.model!r} and {chunk.model!r}")
        self.model = self.model or chunk.model or ""
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            if choice.index == 0:
                self._take(choice)

    def _take(self, choice: _ChunkChoice) -> None:
        delta = choice.delta
        self.text.append(delta.content or delta.refusal or "")
        self.reasoning.append(delta.thought)
        for piece in delta.tool_calls or ():
            name, called, arguments = self.calls.setdefault(piece.index, ([], [], []))
            name.append(piece.id or "")
            if piece.function is not None:
                called.append(piece.function.name or "")
                arguments.append(piece.function.arguments or "")
        self.finish = choice.finish_reason or self.finish

    def completion(self) -> Completion:
        """The reply, once it is whole."""
        if not self.model:
            raise Unread("the stream names no model")
        if not self.finish:
            raise Unread("the stream ends without a choice that has come to its end")
        return Completion(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            calls=tuple(
                ToolCall(id="".join(name), name="".join(called), arguments="".join(arguments))
                for _, (name, called, arguments) in sorted(self.calls.items())
            ),
            finish=self.finish,
            model=self.model,
            tokens_in=self.usage.prompt_tokens if self.usage else None,
            tokens_out=self.usage.completion_tokens if self.usage else None,
        )


def _content(event: bytes) -> bytes:
    """The data of one server-sent event."""
    found = (line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(line.removeprefix(b" ") for line in found).strip()


def _unread(data: bytes, error: ValidationError) -> Unread:
    """Why the bytes are no completion: the server's own complaint, or where they differ."""
    try:
        if _Failed.model_validate_json(data).error:
            return Unread("the server failed", away=True, says=complaint(data))
    except ValidationError:
        pass
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return Unread("no JSON", says=data[:KEPT].decode(errors="replace"))
    place = shown(".".join(map(str, first["loc"])), 100)
    return Unread(f"no chat completion: {place or 'it'}: {shown(first['msg'], 200)}")


# ------------------------------------------------------------------------ the wire's own shapes


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Speech(_Wire):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None

    @property
    def thought(self) -> str:
        """Servers differ in what they call it, and some send another thing under the name."""
        given = self.reasoning_content or self.reasoning
        return given if isinstance(given, str) else ""


class _Function(_Wire):
    name: str
    arguments: str


class _Call(_Wire):
    id: str
    function: _Function


class _Message(_Speech):
    tool_calls: Annotated[list[_Call], Field(max_length=CALLS_MAX)] | None = None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None


class _Counted(_Wire):
    prompt_tokens: int = Field(ge=0, le=MOST)
    completion_tokens: int = Field(ge=0, le=MOST)


class _Whole(_Wire):
    model: Name
    choices: list[_Choice] = Field(min_length=1)
    usage: _Counted | None = None


class _PieceFunction(_Wire):
    name: str | None = None
    arguments: str | None = None


class _Piece(_Wire):
    index: int = Field(ge=0, lt=CALLS_MAX)
    id: str | None = None
    function: _PieceFunction | None = None


class _Delta(_Speech):
    tool_calls: list[_Piece] | None = None


class _ChunkChoice(_Wire):
    index: int = 0
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(_Wire):
    model: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None
    choices: list[_ChunkChoice]
    usage: _Counted | None = None


class _Failed(_Wire):
    error: Any
