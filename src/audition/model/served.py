"""A model behind any OpenAI-compatible server, asked through the `openai` client.

The client speaks the protocol; the bytes of the wire are read here, bounded and as they are, so
that what is recorded is what was said.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import anyio
import orjson
from anyio.lowlevel import RunVar
from pydantic import Field, field_validator

from audition.canonical import digest_value
from audition.failing import told
from audition.model.chat import Asked, ModelError, Reply, same_model, sendable
from audition.model.completion import Completion, Unread, complaint, streamed, whole
from audition.model.patience import Patience, Trouble, patiently
from audition.plain import shown
from audition.step import Digest, Exchange, Frozen, JsonObject, Name, Usage
from audition.unfinished import Unfinished, leave

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import AsyncOpenAI

REPLY_MAX = 8 << 20
"""Bytes of one reply; a longer one is no answer."""

COMPLAINT_MAX = 1 << 16
"""Bytes that are read of a reply that says what is wrong."""

KEY_MIN = 8
"""Characters of a key: a shorter one could not be told from any word of a reply."""

OURS = frozenset({"model", "messages", "tools", "response_format", "stream", "stream_options"})
"""Fields of a request that are set here."""


class Server(Frozen):
    """Where a model is served, and how it is asked."""

    base_url: str
    """Address of the server up to its version, as in `http://127.0.0.1:8000/v1`."""
    model: Name
    """The model, as the server knows it."""
    key: str | None = None
    """Name of the environment variable that holds the key; None: the server needs none."""
    asked: Asked = Asked()
    """Sampling, length and prices."""
    stream: bool = True
    """Whether replies are streamed: then a stall shows after `patience.silence`."""
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the most tokens of an answer."""
    also: JsonObject = Field(default={})
    """Further fields of each request, such as `top_p`, for servers that know them."""
    answers: Name | None = None
    """What the server must call the model that answers; None: whatever its first reply says."""
    patience: Patience = Patience()
    """How long and how often."""

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an address without user, password, query or fragment; see `key`")
        return address.rstrip("/")

    @field_validator("also")
    @classmethod
    def _not_ours(cls, also: JsonObject) -> JsonObject:
        if taken := OURS & set(also):
            raise ValueError(f"{sorted(taken)[0]!r} is set from elsewhere; leave it out")
        return also


class Served:
    """A model that a server answers for.

    A run must not change its thinker unnoticed. The configuration pins the address, the name asked
    for and the settings; within one process, the name that the first reply gave holds for all that
    follow. A run taken up in another process is held to that name only if `Server.answers` gives
    it; otherwise the recorded exchanges tell which model answered when.

    Args:
        server: where and how.

    Raises:
        ValueError: the environment holds no such key, or none that could be one.
    """

    def __init__(self, server: Server) -> None:
        self.name = f"{server.model} at {server.base_url}"
        self._server = server
        self._key = _key(server.key) if server.key is not None else None
        self._answers = server.answers
        self._lent: RunVar[tuple[AsyncIterator[AsyncOpenAI], AsyncOpenAI] | None] = RunVar(
            "client", None
        )

    def configuration(self) -> Digest:
        """Digest of address, model and settings; neither key nor patience is part of it."""
        decides = set(Server.model_fields) - {"key", "patience"}
        return digest_value(self._server.model_dump(include=decides, exclude_none=True))

    async def reply(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] = (),
        schema: JsonObject | None = None,
        tokens: int | None = None,
    ) -> Reply:
        """Ask once; see `Chat.reply`. A redirect is not followed.

        Raises:
            ModelAway: no connection, silence, a status of 408, 409, 425, 429 or 5xx, or a reply
                that broke off, at every attempt.
            ModelError: any other status, a reply that is no chat completion at every attempt,
                another model than before, or the key in what is said or answered.
        """
        body = self._body(messages, tools, schema, tokens)
        try:
            written = orjson.dumps(body)
        except TypeError:  # text that UTF-8 cannot carry
            body = sendable(body)
            written = orjson.dumps(body)
        if self._key is not None and self._key.encode() in written:
            raise ModelError(f"{self.name}: the key stands in the messages; nothing was sent")
        begun = time.monotonic()
        exchange, said = await patiently(lambda: self._once(body), self._server.patience, self.name)
        reply = Reply(
            text=said.text,
            reasoning=said.reasoning,
            calls=said.calls,
            finish=said.finish,
            model=said.model,
            usage=self._cost(exchange, said, time.monotonic() - begun),
            exchange=exchange,
        )
        self._answers = same_model(self.name, self._answers, reply)
        return reply

    def _body(
        self,
        messages: Sequence[JsonObject],
        tools: Sequence[JsonObject],
        schema: JsonObject | None,
        tokens: int | None,
    ) -> dict[str, Any]:
        asked = self._server.asked
        most = asked.tokens if tokens is None else max(1, min(tokens, asked.tokens))
        body: dict[str, Any] = {"messages": list(messages), self._server.limit: most}
        if tools:
            body["tools"] = list(tools)
        if schema is not None:
            answer = {"name": "answer", "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": answer}
        if asked.temperature is not None:
            body["temperature"] = asked.temperature
        if asked.seed is not None:
            body["seed"] = asked.seed
        if self._server.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body | self._server.also

    async def _once(self, body: dict[str, Any]) -> tuple[Exchange, Completion]:
        import httpx2
        import openai

        client = await self._client()
        unsaid = {"Authorization": openai.Omit()} if self._key is None else None
        broken = (httpx2.HTTPError, OSError, anyio.EndOfStream, anyio.BrokenResourceError)
        try:
            # Given as further fields, the body is sent as it is, not walked through field by field.
            async with client.chat.completions.with_streaming_response.create(
                model=self._server.model, messages=[], extra_body=body, extra_headers=unsaid
            ) as response:
                request = response.http_response.request.content
                kind = response.headers.get("content-type", "")
                data = await _read(response.http_response, REPLY_MAX)
        except openai.APITimeoutError as error:
            raise Trouble(_late(error, self._server.patience)) from None
        except openai.APIConnectionError as error:
            raise Trouble(f"no connection: {shown(told(error.__cause__ or error, 200))}") from None
        except httpx2.TimeoutException:
            silence = self._server.patience.silence
            raise Trouble(f"it stalled for {silence:g} s in the middle of a reply") from None
        except broken as error:
            raise Trouble(f"the reply broke off: {shown(told(error, 200))}") from None
        if data is None:
            raise Trouble(f"a reply of more than {REPLY_MAX} bytes", away=False)
        self._without_key(data.decode(errors="replace"))
        try:
            is_stream = kind.lower().startswith("text/event-stream")
            said = streamed(data) if is_stream else whole(data)
        except Unread as error:
            why = f"{error}: {self._safe(error.says)}" if error.says else str(error)
            trouble = Trouble(why, away=error.away)
            if self._key is None:  # nobody can tell where a key stands in what cannot be read
                leave(trouble, Unfinished(exchanges=(Exchange(request=request, reply=data),)))
            raise trouble from None
        self._without_key(said.text, said.reasoning, *(call.arguments for call in said.calls))
        return Exchange(request=request, reply=data), said

    async def _client(self) -> AsyncOpenAI:
        """The client of this event loop, whose end closes its connections."""
        held = self._lent.get()
        if held is None:
            lender = self._lend()
            held = lender, await anext(lender)
            self._lent.set(held)
        return held[1]

    async def _lend(self) -> AsyncIterator[AsyncOpenAI]:
        import openai

        patience = self._server.patience
        waits = openai.Timeout(patience.silence, connect=patience.connect)
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False, timeout=waits, event_hooks={"response": [self._look]}
        )
        unsaid = openai.Omit()  # nothing goes along that the environment holds for other servers
        headers: dict[str, Any] = {
            "Accept-Encoding": "identity",
            "OpenAI-Organization": unsaid,
            "OpenAI-Project": unsaid,
        }
        client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self._server.base_url,
            max_retries=0,
            timeout=waits,
            http_client=http,
            default_headers=headers,
        )
        try:
            yield client
        finally:
            self._lent.set(None)
            await client.close()

    async def _look(self, response: Response) -> None:
        """Stop at any status but 200, before the client reads on without a bound."""
        status = response.status_code
        if status == 200:
            return
        if 300 <= status < 400:
            where = self._safe(response.headers.get("location", ""))
            raise ModelError(
                f"{self.name}: it sends elsewhere ({status}, {where!r}), where nobody goes; if that"
                " is right, write it as base_url"
            )
        data = await _read(response, COMPLAINT_MAX)
        says = self._safe(complaint(data)) if data else ""
        why = f"status {status}{f': {says}' if says else ''}"
        if status in (408, 409, 425, 429) or status >= 500:
            raise Trouble(why, after=_after(response.headers.get("retry-after", "")))
        raise ModelError(f"{self.name}: {why}")

    def _safe(self, text: str) -> str:
        """What a server says, for an error: in one line, without the key."""
        return shown(text.replace(self._key, "[key]") if self._key is not None else text, 300)

    def _without_key(self, *texts: str) -> None:
        """A reply that repeats the key is not recorded, and so not used.

        Raises:
            ModelError: it does.
        """
        if self._key is not None and any(self._key in text for text in texts):
            raise ModelError(f"{self.name}: the reply repeats the key; it was not kept")

    def _cost(self, exchange: Exchange, said: Completion, seconds: float) -> Usage:
        read = len(exchange.request) if said.tokens_in is None else said.tokens_in
        wrote = len(exchange.reply) if said.tokens_out is None else said.tokens_out
        usd = self._server.asked.usd(read, wrote)
        return Usage(seconds=seconds, tokens_in=read, tokens_out=wrote, usd=usd)


async def _read(response: Response, most: int) -> bytes | None:
    """The body as it comes over the wire; None if it is longer than that."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > most:
            return None
    return bytes(data)


def _late(error: Exception, patience: Patience) -> str:
    import httpx2

    if isinstance(error.__cause__, httpx2.ConnectTimeout):
        return f"no connection within {patience.connect:g} s"
    return f"no reply within {patience.silence:g} s"


def _key(name: str) -> str:
    key = os.environ.get(name, "")
    if not key:
        raise ValueError(f"key: the environment has no {name}; set it, or leave `key` out")
    if len(key) < KEY_MIN or not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"key: what {name} holds is no key: {KEY_MIN} or more printable characters; leave "
            "`key` out where the server needs none"
        )
    return key


def _after(header: str) -> float:
    """Seconds that a `Retry-After` asks for; 0 if it does not say."""
    if header.isascii() and header.isdigit():
        return float(min(int(header[:10]), 1 << 31))
    try:
        return max(0.0, min(parsedate_to_datetime(header).timestamp() - time.time(), 1 << 31))
    except (ValueError, OverflowError):
        return 0.0
