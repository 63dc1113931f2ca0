"""Models that judge by script, and what they are asked about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from audition.audit import ask, view
from audition.canonical import digest_bytes
from audition.model import Reply
from audition.step import (
    Auditor,
    Digest,
    Evidence,
    Exchange,
    Failure,
    JsonObject,
    Moment,
    Proposal,
    Usage,
    Verdict,
    View,
    digest_of,
)
from rehearsal import a_moment

SECRET = bytes(range(32))


@dataclass(frozen=True)
class Request:
    """What a model was asked."""

    number: int
    system: str
    text: str
    schema: JsonObject | None

    @property
    def code(self) -> str:
        found = re.search(r"^The code is: ([0-9a-f]{20})$", self.system, re.MULTILINE)
        assert found is not None
        return found.group(1)

    @property
    def document(self) -> Any:
        return json.loads(self.text)

    def answer(self, score: Any = 0.25, **fields: Any) -> str:
        """An answer that counts, but for these fields."""
        given = {"code": self.code, "rationale": "because", "citations": [], "score": score}
        return json.dumps({name: one for name, one in (given | fields).items() if one is not ...})


class Model:
    """A model that says what a function makes of each request; an exception is raised."""

    def __init__(self, says: Callable[[Request], Any], *, name: str = "model") -> None:
        self.name = name
        self._says = says
        self.requests: list[Request] = []

    def configuration(self) -> Digest:
        return digest_bytes(self.name.encode())

    async def reply(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] = (),
        schema: JsonObject | None = None,
        tokens: int | None = None,
    ) -> Reply:
        system, user = messages
        assert (system["role"], user["role"]) == ("system", "user")
        number = len(self.requests) + 1
        request = Request(number, str(system["content"]), str(user["content"]), schema)
        self.requests.append(request)
        said = self._says(request)
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, Reply):
            return said
        return reply(said, request)


def reply(text: str, request: Request | None = None, **fields: Any) -> Reply:
    sent = request.text.encode() if request is not None else b""
    given = {
        "text": text,
        "finish": "stop",
        "model": "model",
        "usage": Usage(seconds=0.5, tokens_in=100, tokens_out=10, usd=0.25),
        "exchange": Exchange(request=sent, reply=text.encode("utf-8", "replace")),
    }
    return Reply(**{**given, **fields})


class Past:
    """A history of a few entries."""

    def __init__(self, *entries: Any) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def last(self, count: int) -> tuple[Any, ...]:
        return self.entries[-count:] if count else ()


def a_view(
    auditor: Auditor,
    *candidates: Proposal,
    past: Sequence[Any] = (),
    thought: str | None = None,
    moment: Moment | None = None,
    goal: str = "a goal",
) -> View:
    """What this auditor is handed of a moment: the first candidate is the proposal."""
    moment = moment or a_moment(turn=3)
    everything = {
        Evidence.PROPOSAL: candidates[0],
        Evidence.CANDIDATES: candidates,
        Evidence.HISTORY: Past(*past),
        Evidence.THOUGHT: thought,
    }
    return view(auditor, moment, digest_of(moment), goal, everything)


def judged(auditor: Auditor, *candidates: Proposal, **parts: Any) -> Verdict | Failure:
    return anyio.run(ask, auditor, a_view(auditor, *candidates, **parts))
