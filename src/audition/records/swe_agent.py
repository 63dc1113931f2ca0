"""SWE-agent's trajectories: one agent at a shell, one `.traj` file an attempt at a task.

Source: Yang et al. 2024, arXiv 2405.15793; `sweagent/types.py` for the fields. Each item is a
thought, one line for the shell and what it printed. An item without an action (the model wrote
none, or the agent was stopped) is a message.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from audition.records.format import Format, Line, Origin
from audition.records.record import Group, Record, RecordedStep, Said
from audition.step import Act, Ask, Finish, JsonObject, Message, Name, Outcome, Proposal

TOOL = "bash"
"""What the shell is called in an `Act`."""

MAX_ATTEMPTS = 64
"""Most attempts in one file; each becomes a record."""


class _Item(BaseModel):
    model_config = ConfigDict(strict=True)
    thought: str = ""
    action: str
    observation: str | None = None
    response: str = ""


class _Text(BaseModel):
    model_config = ConfigDict(strict=True)
    text: str = ""


class _Said(BaseModel):
    model_config = ConfigDict(strict=True)
    role: Name
    content: str | list[_Text] | None = None
    is_demo: bool = False

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class _Attempt(Line):
    trajectory: list[_Item] = Field(fail_fast=True)
    history: list[_Said] = Field(default=[], fail_fast=True)


class _Attempts(Line):
    attempts: list[_Attempt] = Field(min_length=1, max_length=MAX_ATTEMPTS, fail_fast=True)
    trajectory: Any = None
    """The best attempt once more."""
    history: Any = None


def _fits(line: JsonObject) -> bool:
    return (
        isinstance(line.get("trajectory") or line.get("attempts"), list) and "messages" not in line
    )


def _records(line: JsonObject, origin: Origin) -> list[Record]:
    if "attempts" not in line:
        return [_record(_Attempt.model_validate(line), origin, 0, {})]
    several = _Attempts.model_validate(line)
    return [
        _record(attempt, origin, number, several.labels | {"attempt": number})
        for number, attempt in enumerate(several.attempts)
    ]


def _record(attempt: _Attempt, origin: Origin, number: int, labels: JsonObject) -> Record:
    goal, before = _told(attempt.history)
    last = len(attempt.trajectory) - 1
    steps = (
        RecordedStep(
            proposal=_proposal(item, last=at == last),
            thought=item.thought or None,
            outcome=_outcome(item),
        )
        for at, item in enumerate(attempt.trajectory)
    )
    return Record(
        source=origin.source(number),
        task=origin.format,
        goal=goal,
        thinker="swe-agent",
        entries=(*before, *(Group(steps=(step,)) for step in steps)),
        labels=labels | attempt.labels,
    )


def _told(history: list[_Said]) -> tuple[str, list[Said]]:
    """The task, and what else the agent was told before it began."""
    goal: str | None = None
    before: list[Said] = []
    for message in history:
        if message.role == "assistant" and not message.is_demo:
            break
        if goal is None and message.role == "user" and not message.is_demo:
            goal = message.text
        else:
            before.append(Said(message=Message(role=message.role, content=message.text)))
    return goal or "", before


def _proposal(item: _Item, *, last: bool) -> Proposal:
    if item.action.strip():
        return Act(tool=TOOL, arguments={"command": item.action})
    return Finish(answer=item.response) if last else Ask(question=item.response)


def _outcome(item: _Item) -> Outcome | None:
    return None if item.observation is None else Outcome(status="done", output=item.observation)


def _steps(line: JsonObject) -> int:
    attempts: Any = line.get("attempts") or [line]
    return sum(len(attempt["trajectory"]) for attempt in attempts)


SWE_AGENT = Format("swe-agent", _fits, _records, _steps)
"""The importer."""
