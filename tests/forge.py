"""Training runs kept in memory, so that a cheat can be worked into them before they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

import bandit
import handmade
from audition.canonical import digest_bytes
from audition.learn import PROCESS, Plan, Study, follow
from audition.learn.plan import ready
from audition.ledger.events import RestrictionLifted
from audition.ledger.journal import encoded
from audition.step import Body, Digest, Restriction

SECRET = b"another lottery's secret, 32 byt"


@dataclass
class Memory:
    """A pen that writes into memory."""

    run: str
    events: list[tuple[int, Body]] = field(default_factory=list[Any])
    contents: list[tuple[bytes, bool]] = field(default_factory=list[Any])
    thinker: Digest = ""

    def put(self, content: Any) -> Digest:
        self.contents.append((encoded(content), False))
        return digest_bytes(encoded(content))

    def log(self, body: Body) -> None:
        self.events.append((1_700_000_000_000_000 + 1000 * len(self.events), body))

    async def commit(self) -> None:
        return None

    def alter(self, kind: str, nth: int = 0, **fields: Any) -> None:
        """Put other fields into the nth event of a kind."""
        at, body = self.events[self.where(kind, nth)]
        self.events[self.where(kind, nth)] = at, body.model_copy(update=fields)

    def where(self, kind: str, nth: int = 0) -> int:
        """Where the nth event of a kind stands."""
        return [i for i, (_, body) in enumerate(self.events) if body.kind == kind][nth]

    def body(self, kind: str, nth: int = 0) -> Any:
        """The nth event of a kind."""
        return self.events[self.where(kind, nth)][1]


def run(number: int) -> str:
    """Name of a run."""
    return f"{number:032x}"


def trained(
    plan: Plan,
    seed: int = 0,
    number: int = 1,
    *,
    study: Study | None = None,
    restrictions: Iterable[Restriction] = (PROCESS,),
    lifted: Iterable[RestrictionLifted] = (),
    held: Iterable[Memory] = (),
) -> Memory:
    """Train, with the study given or the honest one."""
    pen = Memory(run(number))
    kept = {digest_bytes(data): data for other in held for data, _ in other.contents}
    made = ready(study or bandit.study(plan, seed), plan, seed, kept.__getitem__)

    async def work() -> None:
        done = await follow(plan, pen, made, seed, tuple(restrictions), SECRET, tuple(lifted))
        pen.thinker = done.thinker

    anyio.run(work)
    return pen


def write(path: Path, *pens: Memory) -> Path:
    """Write runs into a ledger, one after the other."""
    return handmade.write(path, *pens, group=1_000_000)  # type: ignore[arg-type]


def find(plan: Plan, seed: int, get: Callable[[Digest], bytes]) -> Study:
    """The honest study, as an installed package would make it."""
    return ready(bandit.study(plan, seed), plan, seed, get)
