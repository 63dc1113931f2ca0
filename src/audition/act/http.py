"""Sends one HTTP request to an origin that the setup allows, and follows nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias
from urllib.parse import unquote

import anyio
from pydantic import Field, field_validator, model_validator

from audition.act.credential import Credential, held, tls
from audition.act.schema import misfit, schema_of
from audition.failing import told
from audition.plain import shown
from audition.step import Act, Frozen, JsonObject, Outcome, Ticket, digest_of

if TYPE_CHECKING:
    import httpx

Method: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""A method that may be allowed."""

ANSWERED = ("content-type", "etag", "last-modified", "location", "retry-after")
"""Headers of an answer that the outcome keeps; cookies are never among them."""

OWN = re.compile(
    "accept-encoding|connection|content-length|expect|host|idempotency-key|if-match|proxy-.*|te"
    "|trailer|transfer-encoding|upgrade|user-agent"
)
"""Headers that the executor sets itself, or that would change what a request is."""

BETWEEN = (502, 504)
"""Answers of a server in between, which does not know what came of the request either."""

_KEPT = re.compile(r"https://.*|http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?")
"""Origins to which credentials go unread by others: over TLS, or on this machine."""
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_TARGET = re.compile(r"(?P<path>/(?:[\w.~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)(?P<query>\?.*)?", re.A)
_QUERY = re.compile(r"(?:[\w.~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*", re.A)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x21-\x7e]?|[\x21-\x7e][\x20-\x7e]{0,3998}[\x21-\x7e]")


class Origin(Frozen):
    """`[[tools.http.origins]]`: one server, and what may be asked of it."""

    origin: str
    """`https://host` or `https://host:port`, in lower case; `http://` sends everything in clear."""
    methods: tuple[Method, ...] = Field(min_length=1)
    """Methods that may be used."""
    paths: tuple[str, ...] = Field(min_length=1, max_length=1000)
    """How a path may begin, up to a slash: `/v1` allows `/v1` and `/v1/…`, not `/v12`."""
    credentials: dict[str, str] = Field(default={}, max_length=20)
    """Headers that only this server is sent, each with the environment variable of its value."""

    @field_validator("origin")
    @classmethod
    def _plain(cls, origin: str) -> str:
        if (found := _ORIGIN.fullmatch(origin)) is None or int(found["port"] or 0) > 65535:
            raise ValueError("an origin is https://host or https://host:port, in lower case")
        return origin

    @field_validator("paths")
    @classmethod
    def _rooted(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [path for path in paths if _crooked(path) or "?" in path]:
            raise ValueError(f"{wrong[0]!r} is no plain path; it begins with a slash")
        return paths

    @field_validator("credentials")
    @classmethod
    def _headers(cls, credentials: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in credentials if not _free(name)]:
            raise ValueError(f"{wrong[0]!r} is no header that may carry a credential")
        return credentials

    @model_validator(mode="after")
    def _not_in_clear(self) -> Self:
        if self.credentials and not _KEPT.fullmatch(self.origin):
            raise ValueError("credentials are not sent in clear; make it https://")
        return self


class HttpSetup(Frozen):
    """`[tools.http]`."""

    origins: tuple[Origin, ...] = Field(min_length=1, max_length=1000)
    """Servers that may be reached, and no other."""
    headers: tuple[str, ...] = ("accept", "content-type")
    """Headers that a proposal may set, in lower case."""
    sent: int = Field(default=1 << 20, ge=0, le=1 << 24)
    """Most bytes of a request's body."""
    received: int = Field(default=1 << 20, ge=0, le=1 << 24)
    """Bytes of an answer's body that are kept."""
    seconds: float = Field(default=30, gt=0, le=3600)
    """Seconds for the whole exchange."""
    authority: str | None = None
    """File of certificates (PEM) that servers are verified by; None: the system's."""

    @field_validator("headers")
    @classmethod
    def _settable(cls, headers: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in headers if not _free(name) or name != name.lower()]:
            raise ValueError(f"{wrong[0]!r} is no header that a proposal may set, in lower case")
        return headers


class HttpArguments(Frozen):
    """What the tool takes."""

    method: Method
    """The request's method."""
    url: str = Field(max_length=8000)
    """Where to: origin, path and query, percent-encoded, without a fragment."""
    headers: dict[str, str] = Field(default={}, max_length=50)
    """Headers, of those that the setup lets a proposal set."""
    body: str = Field(default="", max_length=1 << 24)
    """The body, as text."""
    if_match: str | None = Field(default=None, min_length=1, max_length=1000)
    """The entity tag that the resource must still have; else the server changes nothing."""
    expect: list[Annotated[int, Field(ge=200, le=599)]] = Field(default=[], max_length=50)
    """Status codes that count as done; none: 200 to 299."""

    @field_validator("headers")
    @classmethod
    def _one_line(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError("a header is a name and one line of plain ASCII")
        if len({name.lower() for name in headers}) != len(headers):
            raise ValueError("a header is set once")
        return headers

    @field_validator("if_match")
    @classmethod
    def _tag(cls, tag: str | None) -> str | None:
        if tag is not None and not _VALUE.fullmatch(tag):
            raise ValueError("an entity tag is one line of plain ASCII")
        return tag

    @field_validator("body")
    @classmethod
    def _utf8(cls, body: str) -> str:
        try:
            body.encode()
        except UnicodeEncodeError:
            raise ValueError("text that UTF-8 can carry, without lone surrogates") from None
        return body


class Http:
    """Sends one request with an `Idempotency-Key` of its ticket's, and answers with what came back.

    Nothing is followed or tried again, no proxy and no cookie is used, and certificates are always
    verified. Where the connection breaks once the request was begun, nobody knows whether it took
    effect: the outcome is `unknown`, and the act in doubt.

    Args:
        setup: which servers, and what of them.
        name: the tool's name in proposals.

    Raises:
        SetupError: a credential or the authority is not there.
    """

    def __init__(self, setup: HttpSetup, *, name: str = "http") -> None:
        self._setup = setup
        self._tls = tls(setup.authority)
        self._allowed = [
            (one, {header: Credential(name) for header, name in one.credentials.items()})
            for one in setup.origins
        ]
        declared: JsonObject = {
            **setup.model_dump(mode="json"),
            "authority": held(setup.authority),
        }
        self.schema = schema_of(
            name, "Send an HTTP request to a server that is allowed", HttpArguments, declared
        )

    def refuses(self, act: Act) -> str:
        """Why the arguments do not fit, or the request is not allowed; empty if it is."""
        if why := misfit(HttpArguments, act):
            return why
        found = self._permitted(HttpArguments.model_validate(act.arguments))
        return f"{act.tool}.{found}" if isinstance(found, str) else ""

    async def act(self, ticket: Ticket) -> Outcome:
        """Send the request; whatever comes of it is an outcome, not an error."""
        import httpx

        assert isinstance(ticket.act, Act)
        arguments = HttpArguments.model_validate(ticket.act.arguments)
        credentials = self._permitted(arguments)
        if isinstance(credentials, str):
            return Outcome(status="refused", output=credentials)
        headers = {
            **arguments.headers,
            **({"If-Match": arguments.if_match} if arguments.if_match else {}),
            **{name: one.secret for name, one in credentials.items()},
            "Idempotency-Key": digest_of(ticket),
            "User-Agent": "audition",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        begun = False

        async def trace(event: str, _: object) -> None:
            nonlocal begun
            begun = begun or event == "http11.send_request_headers.started"

        request = httpx.Request(
            arguments.method,
            arguments.url,
            headers=headers,
            content=arguments.body.encode(),
            extensions={"trace": trace},
        )
        try:
            with anyio.fail_after(self._setup.seconds):
                outcome = await self._exchange(request, arguments)
        except Exception as error:  # noqa: BLE001  whatever broke: was the request begun?
            late = isinstance(error, TimeoutError)
            why = f"no answer within {self._setup.seconds:g} s" if late else told(error)
            outcome = (
                Outcome(status="unknown", output=f"broken off after the request was begun: {why}")
                if begun
                else Outcome(status="failed", output=f"no connection, nothing was sent: {why}")
            )
        return _without(list(credentials.values()), outcome)

    async def _exchange(self, request: httpx.Request, arguments: HttpArguments) -> Outcome:
        import httpx

        kept, cut = bytearray(), False
        async with httpx.AsyncClient(
            verify=self._tls, trust_env=False, follow_redirects=False, timeout=None
        ) as client:
            answer = await client.send(request, stream=True)
            try:
                async for chunk in answer.aiter_raw():
                    room = self._setup.received - len(kept)
                    kept += chunk[:room]
                    if cut := len(chunk) > room:
                        break
            finally:
                await answer.aclose()
        text = bytes(kept).decode("utf-8", "replace")
        status, where = answer.status_code, answer.headers.get("location")
        headers: JsonObject = {
            name: answer.headers[name][:2000] for name in ANSWERED if name in answer.headers
        }
        data: JsonObject = {"status": status, "headers": headers, "cut": cut}
        if status in BETWEEN and status not in arguments.expect:
            why = f"{status}: a server in between had no answer to the request"
            return Outcome(status="unknown", output=why, data=data)
        if 300 <= status < 400 and where is not None:
            why = f"the server redirects to {shown(where, 500)}; nothing was followed"
            return Outcome(status="failed", output=why, data=data)
        expected = status in arguments.expect if arguments.expect else 200 <= status < 300
        return Outcome(status="done" if expected else "failed", output=text, data=data)

    def _permitted(self, arguments: HttpArguments) -> dict[str, Credential] | str:
        """What to send with a request that is allowed, or why it is not."""
        found = _ORIGIN.match(arguments.url)
        target = arguments.url[found.end() :] if found else ""
        if found is None or _crooked(target):
            return "url: https://host/path, plain and percent-encoded, in lower case up to the path"
        ours = [one for one in self._allowed if _same(one[0].origin, found)]
        if not ours:
            return f"url: {found.group()} is not among the servers that may be reached"
        path = target.partition("?")[0]
        fits = [
            credentials
            for origin, credentials in ours
            if arguments.method in origin.methods and any(_under(path, p) for p in origin.paths)
        ]
        if not fits:
            return f"url: {arguments.method} {shown(path, 200)} is not allowed at {found.group()}"
        taken = {name.lower() for name in fits[0]}
        for name in map(str.lower, arguments.headers):
            if name not in self._setup.headers or name in taken:
                return f"headers: {name} is none that a proposal may set here"
        if len(arguments.body.encode()) > self._setup.sent:
            return f"body: more than {self._setup.sent} bytes"
        return fits[0]


def _same(origin: str, found: re.Match[str]) -> bool:
    """Whether scheme, host and port are those of an allowed origin."""
    allowed = _ORIGIN.fullmatch(origin)
    assert allowed is not None
    return all(allowed[part] == found[part] for part in ("scheme", "host")) and (
        _port(allowed) == _port(found)
    )


def _port(found: re.Match[str]) -> int:
    return int(found["port"]) if found["port"] else {"http": 80, "https": 443}[found["scheme"]]


def _crooked(target: str) -> bool:
    """Whether servers could disagree on what path this is."""
    found = _TARGET.fullmatch(target)
    if found is None or not _QUERY.fullmatch((found["query"] or "?")[1:]):
        return True
    *parts, last = [unquote(part, errors="replace") for part in found["path"][1:].split("/")]
    if "" in parts:
        return True
    return any(
        part.partition(";")[0] in (".", "..") or not part.isprintable() or set(part) & {"/", "\\"}
        for part in (*parts, last)
    )


def _under(path: str, beginning: str) -> bool:
    return path == beginning or path.startswith(f"{beginning.removesuffix('/')}/")


def _free(name: str) -> bool:
    return bool(_TOKEN.fullmatch(name)) and not OWN.fullmatch(name.lower())


def _without(credentials: list[Credential], outcome: Outcome) -> Outcome:
    """The outcome as it may be recorded: a server may say what it was told."""
    output, headers = outcome.output, outcome.data.get("headers")
    shown_headers = dict(headers) if isinstance(headers, dict) else {}
    for one in credentials:
        output = one.hidden(output)
        shown_headers = {name: one.hidden(str(value)) for name, value in shown_headers.items()}
    data = {**outcome.data, "headers": shown_headers} if headers is not None else outcome.data
    return outcome.model_copy(update={"output": output, "data": data})
