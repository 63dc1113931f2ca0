"""A model of any provider that inspect-ai knows, for those who have the extra `inspect`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from anyio.lowlevel import RunVar
from pydantic import Field, ValidationError

from audition.canonical import digest_value
from audition.extra import installing
from audition.failing import told
from audition.model.chat import Asked, ModelError, Reply, ToolCall, same_model, sendable
from audition.model.patience import Patience, Trouble, patiently
from audition.plain import shown
from audition.step import Digest, Exchange, Frozen, JsonObject, Name, Usage
from audition.unfinished import Unfinished, leave

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput
    from inspect_ai.tool import ToolInfo

REPLY_MAX = 8 << 20
"""Bytes of one reply as it is recorded; a longer one is no answer."""


class Provider(Frozen):
    """Which provider's model is asked, and how."""

    model: Name
    """Provider and model as inspect-ai names them, as in `openai-api/local/small`."""
    base_url: str | None = None
    """Address of the server, for providers that take one."""
    key: str | None = None
    """Name of the environment variable that holds the key; None: where the provider looks."""
    asked: Asked = Asked()
    """Sampling, length and prices."""
    arguments: JsonObject = Field(default={})
    """Further arguments of the provider, such as `stream`."""
    answers: Name | None = None
    """What the model that answers must be called; None: whatever the first reply says."""
    patience: Patience = Patience()
    """How long and how often; `connect` and `silence` are the provider's own."""


class Inspected:
    """A model asked through inspect-ai's model API.

    The exchange holds what was handed to inspect-ai and the output that it gave back, as JSON: the
    bytes on the wire are the provider's own. Keywords of a tool's schema that inspect-ai does not
    know are not sent. What `Served` says of a model that changes holds here too.

    Args:
        provider: which model, and how.

    Raises:
        ValueError: inspect-ai is not installed, or the environment holds no such key.
    """

    def __init__(self, provider: Provider) -> None:
        if find_spec("inspect_ai") is None:
            raise ValueError(f"{provider.model} needs {installing('inspect')}")
        self.name = provider.model + (f" at {provider.base_url}" if provider.base_url else "")
        self._provider = provider
        self._key = os.environ.get(provider.key, "") if provider.key is not None else None
        if self._key == "":
            raise ValueError(f"key: the environment has no {provider.key}; set it")
        self._answers = provider.answers
        self._lent: RunVar[tuple[AsyncIterator[Model], Model] | None] = RunVar("model", None)

    def configuration(self) -> Digest:
        """Digest of model, address and settings; neither key nor patience is part of it."""
        decides = set(Provider.model_fields) - {"key", "patience"}
        return digest_value(self._provider.model_dump(include=decides, exclude_none=True))

    async def reply(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] = (),
        schema: JsonObject | None = None,
        tokens: int | None = None,
    ) -> Reply:
        """Ask once; see `Chat.reply`.

        Raises:
            ModelAway: what the provider takes for a passing failure, at every attempt.
            ModelError: any other failure, no choice in the output, another model than before, or
                the key in what is said or answered.
        """
        asked = self._provider.asked
        most = asked.tokens if tokens is None else max(1, min(tokens, asked.tokens))
        said, known = sendable(messages), sendable(tools)
        request = orjson.dumps(
            {
                "model": self._provider.model,
                "messages": said,
                "tools": known,
                "schema": schema,
                "temperature": asked.temperature,
                "seed": asked.seed,
                "tokens": most,
            }
        )
        self._without_key(request, "the messages repeat the key; nothing was sent")
        begun = time.monotonic()
        output = await patiently(
            lambda: self._once(said, known, schema, most), self._provider.patience, self.name
        )
        reply = output.model_dump_json(exclude_none=True).encode()
        self._without_key(reply, "the reply repeats the key; it was not kept")
        if len(reply) > REPLY_MAX:
            raise ModelError(f"{self.name}: a reply of more than {REPLY_MAX} bytes")
        said_and_heard = Exchange(request=request, reply=reply)
        try:
            answer = _reply(output, said_and_heard, asked, begun, self.name)
        except ModelError as error:
            leave(error, Unfinished(exchanges=(said_and_heard,)))
            raise
        self._answers = same_model(self.name, self._answers, answer)
        return answer

    async def _once(
        self,
        messages: Sequence[JsonObject],
        tools: Sequence[JsonObject],
        schema: JsonObject | None,
        most: int,
    ) -> ModelOutput:
        model = await self._model()
        said = _messages(messages)
        known = _tools(tools)
        config = _config(self._provider.asked, schema, most)
        outcome: list[ModelOutput | Exception] = []

        async def generate() -> None:
            try:
                outcome.append(await model.generate(said, tools=known, config=config))
            except Exception as error:  # noqa: BLE001  providers raise what their clients raise
                outcome.append(error)

        # In a task of its own, so that the transcript that inspect-ai keeps of it goes with it.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(generate)
        (output,) = outcome
        if isinstance(output, Exception):
            raise self._failure(model, output)
        if output.error:
            raise ModelError(f"{self.name}: {self._safe(output.error)}")
        return output

    def _failure(self, model: Model, error: Exception) -> Exception:
        """What a provider's error means for whoever asked."""
        attempt = getattr(error, "last_attempt", None)  # its own retries are switched off
        cause = error if attempt is None else attempt.exception() or error
        why = self._safe(getattr(cause, "provider_message", None) or told(cause))
        passing = model.api.should_retry(cause)
        if passing or isinstance(cause, OSError):
            return Trouble(why, after=getattr(passing, "retry_after", None) or 0)
        return ModelError(f"{self.name}: {why}")

    async def _model(self) -> Model:
        """The model as this event loop holds it; its end closes the connections."""
        held = self._lent.get()
        if held is None:
            lender = self._lend()
            held = lender, await anext(lender)
            self._lent.set(held)
        return held[1]

    async def _lend(self) -> AsyncIterator[Model]:
        from inspect_ai.model import get_model

        arguments: dict[str, Any] = dict(self._provider.arguments)
        async with get_model(
            self._provider.model,
            base_url=self._provider.base_url,
            api_key=self._key,
            memoize=False,
            **arguments,
        ) as model:
            try:
                yield model
            finally:
                self._lent.set(None)

    def _safe(self, text: str) -> str:
        return shown(text.replace(self._key, "[key]") if self._key else text, 300)

    def _without_key(self, data: bytes, why: str) -> None:
        if self._key and self._key.encode() in data:
            raise ModelError(f"{self.name}: {why}")


def _config(asked: Asked, schema: JsonObject | None, most: int) -> GenerateConfig:
    from inspect_ai.model import GenerateConfig, ResponseSchema
    from inspect_ai.util import JSONSchema

    answer = None
    if schema is not None:
        shape = JSONSchema.model_validate(schema)
        answer = ResponseSchema(name="answer", json_schema=shape)
    return GenerateConfig(
        max_retries=0,
        max_tokens=most,
        temperature=asked.temperature,
        seed=asked.seed,
        response_schema=answer,
    )


def _tools(tools: Sequence[JsonObject]) -> list[ToolInfo]:
    from inspect_ai.tool import ToolInfo

    return [ToolInfo.model_validate(tool["function"]) for tool in tools]


def _messages(messages: Sequence[JsonObject]) -> list[ChatMessage]:
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageTool,
        ChatMessageUser,
    )
    from inspect_ai.tool import ToolCall as Called

    names: dict[str, str] = {}
    said: list[ChatMessage] = []
    for each in messages:
        message: dict[str, Any] = each
        content = message.get("content") or ""
        match message["role"]:
            case "system":
                said.append(ChatMessageSystem(content=content))
            case "assistant":
                calls = [(one["id"], one["function"]) for one in message.get("tool_calls") or ()]
                names |= {id: function["name"] for id, function in calls}
                called = [
                    Called(id, function["name"], json.loads(function["arguments"]))
                    for id, function in calls
                ]
                said.append(ChatMessageAssistant(content=content, tool_calls=called or None))
            case "tool":
                id = message["tool_call_id"]
                said.append(
                    ChatMessageTool(content=content, tool_call_id=id, function=names.get(id))
                )
            case _:
                said.append(ChatMessageUser(content=content))
    return said


def _reply(output: ModelOutput, exchange: Exchange, asked: Asked, begun: float, name: str) -> Reply:
    """The output as everyone here knows it.

    Raises:
        ModelError: it holds no choice, or what no reply can hold.
    """
    if not output.choices:
        raise ModelError(f"{name}: the output has no choices")
    message = output.choices[0].message
    parts = message.content if isinstance(message.content, list) else []
    read = wrote = None
    if (counted := output.usage) is not None:
        cached = (counted.input_tokens_cache_read or 0) + (counted.input_tokens_cache_write or 0)
        read, wrote = counted.input_tokens + cached, counted.output_tokens
    read = len(exchange.request) if read is None else read
    wrote = len(exchange.reply) if wrote is None else wrote
    try:
        return Reply(
            text=message.text,
            reasoning="".join(part.reasoning for part in parts if part.type == "reasoning"),
            calls=tuple(
                ToolCall(
                    id=call.id,
                    name=call.function,
                    arguments=call.parse_error or json.dumps(call.arguments),
                )
                for call in message.tool_calls or ()
            ),
            finish="length" if output.stop_reason == "max_tokens" else output.stop_reason,
            model=output.model,
            usage=Usage(
                seconds=time.monotonic() - begun,
                tokens_in=read,
                tokens_out=wrote,
                usd=asked.usd(read, wrote),
            ),
            exchange=exchange,
        )
    except ValidationError as error:
        raise ModelError(f"{name}: no reply: {told(error)}") from None
