"""A run written by hand whose thinker is a chat model: each thought with what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import handmade
from audition.canonical import canonical
from audition.gate import sampled, spec, strictest, threshold
from audition.ledger.events import CandidatesSealed, RunOpened, StepThought
from audition.step import Digest, Exchange, Proposal
from audition.think import PersonThinker
from audition.think.proposing import NAME, fields
from handmade import JUDGES, PERSON, SHELL, Scribe, shell

AT_ONCE = strictest(threshold("rules", reject_at=1), threshold("judge", reject_at=1))
LOTTERY = strictest(
    threshold("rules", reject_at=1),
    sampled(0.8, threshold("judge", reject_at=1), undrawn="proceed"),
)
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": NAME, "description": "One step.", "parameters": {"type": "object"}},
}
CANDIDATES = tuple(map(shell, ("left", "right", "wait")))
"""What the thinker puts forward at each step, and what else it would have."""

Asks = Callable[[int, int], list[dict[str, Any]]]
"""The messages of a request: to which candidate of which step, both from 0."""


def question(step: int, candidate: int) -> list[dict[str, Any]]:
    """What every candidate of a step is asked alike."""
    return [{"role": "system", "content": "Steer."}, {"role": "user", "content": f"At {step}?"}]


def chatted(
    *words: Sequence[float],
    run: str = handmade.LIVE,
    gate: Any = AT_ONCE,
    asks: Asks = question,
    outcome: str = "42",
    rules: float = 0.0,
    **fields: Any,
) -> Scribe:
    """A live run, each step with the judge's word on its three candidates, and performed.

    Args:
        words: a ranking (whole numbers) or approvals of each step's candidates, or of itself.
        run: its name.
        gate: its gate.
        asks: what the candidates were asked.
        outcome: what came of each step.
        rules: the guard's suspicion.
        fields: more of the scribe's.
    """
    given = {"cards": JUDGES, "others": CANDIDATES[1:]} | fields
    pen = Scribe(run, gate=spec(gate), **given)
    pen.open()
    for number, said in enumerate(words):
        pen.think(CANDIDATES[0])
        _exchanged(pen, number, asks)
        pen.verdict("rules", rules)
        if pen.lot.drawn and all(isinstance(one, int) for one in said):
            pen.verdict("judge", None, ranking=tuple(int(one) for one in said))
        elif pen.lot.drawn:
            pen.verdict("judge", said[0], approvals=tuple(said) if len(said) > 1 else None)
        if pen.decide().action == "proceed":
            pen.perform(outcome)
        else:
            pen.enters("reject")
    return pen


def exchanges(pen: Scribe, *some: tuple[list[dict[str, Any]], Proposal]) -> Digest:
    """Put exchanges with a model into a run's contents: what was asked, and the step answered."""
    listed = [
        Exchange(
            request=json.dumps({"model": "m", "messages": asked, "tools": [TOOL]}).encode(),
            reply=json.dumps(reply(proposal)).encode(),
        ).model_dump()
        for asked, proposal in some
    ]
    return pen.put(canonical(listed).decode())


def reply(proposal: Proposal, **message: Any) -> dict[str, Any]:
    """A whole reply that puts a step forward."""
    written = json.dumps({"proposal": fields(proposal)})
    call = {"id": "c1", "type": "function", "function": {"name": NAME, "arguments": written}}
    said = {"content": "So.", "tool_calls": [call]} | message
    return {"model": "m", "choices": [{"message": said, "finish_reason": "tool_calls"}]}


def thought_by_a_person(**fields: Any) -> Scribe:
    """A run whose thinker sits at the keyboard; the rules reject its second step."""
    pen = chatted((0.5,), (0.5,), others=(), **fields)

    async def hear(_: str) -> str:
        raise AssertionError

    schemas = [SHELL, PERSON]
    thinker = PersonThinker("zoe", schemas, hear=hear)
    at, body = pen.events[0]
    assert isinstance(body, RunOpened)
    said = {"thinker": "zoe", "thinking": thinker.configuration()}
    pen.events[0] = (at, body.model_copy(update=said))
    pen.events = [(at, silent(body)) for at, body in pen.events]
    return pen


def silent(body: Any) -> Any:
    """An event without what was exchanged with a model."""
    if isinstance(body, StepThought):
        return body.model_copy(update={"exchanges": None})
    if isinstance(body, CandidatesSealed):
        some = [one.model_copy(update={"exchanges": None}) for one in body.candidates]
        return body.model_copy(update={"candidates": tuple(some)})
    return body


def _exchanged(pen: Scribe, step: int, asks: Asks) -> None:
    """Say of the newest thought, and of its candidates, what was exchanged with a model."""
    names = [exchanges(pen, (asks(step, number), one)) for number, one in enumerate(CANDIDATES)]
    since = next(
        at for at in reversed(range(len(pen.events))) if isinstance(pen.events[at][1], StepThought)
    )
    for spot in range(since, len(pen.events)):
        at, body = pen.events[spot]
        if isinstance(body, StepThought):
            pen.events[spot] = (at, body.model_copy(update={"exchanges": names[0]}))
        if isinstance(body, CandidatesSealed):
            others = tuple(
                one.model_copy(update={"exchanges": name})
                for one, name in zip(body.candidates, names[1:], strict=True)
            )
            pen.events[spot] = (at, body.model_copy(update={"candidates": others}))
