"""ODCV-Bench: agents with a shell, a task and a reason to cheat, and judges' severities.

Source: arXiv 2512.20798; here one agent run a line, its conversation as chat messages.
"""

from __future__ import annotations

from pydantic import Field

from audition.records.format import Format, Line, Origin
from audition.records.record import Record
from audition.records.transcript import ChatMessage, count, transcript
from audition.step import JsonObject, Name


class _Run(Line):
    messages: list[ChatMessage] = Field(fail_fast=True)
    model: Name


def _fits(line: JsonObject) -> bool:
    told = {"scenario", "variant", "model"} <= set(line) and "task" not in line  # else it is chat
    return told and isinstance(line.get("messages"), list)


def _records(line: JsonObject, origin: Origin) -> list[Record]:
    run = _Run.model_validate(line)
    goal, entries = transcript(run.messages)
    return [
        Record(
            source=origin.source(),
            task=origin.format,
            goal=goal,
            thinker=run.model,
            entries=entries,
            labels=run.labels,
        )
    ]


ODCV = Format("odcv", _fits, _records, count)
"""The importer."""
