"""PRM800K: solutions of school problems; each completion of a step is rated −1, 0 or 1.

Of a step that has several completions the record takes the one that the solution goes on with: the
chosen one, else the person's own, else the first, which was rated and led nowhere.

Source: Lightman et al. 2023, arXiv 2305.20050.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from audition.records.format import Format, Line, Origin
from audition.records.reasoning import reasoning
from audition.records.record import MISTAKE, Record
from audition.step import JsonObject

MAX_COMPLETIONS = 256
"""Most completions of one step."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Completion(_Part):
    text: str
    rating: Literal[-1, 0, 1] | None = None


class _Step(_Part):
    completions: list[_Completion] | None = Field(default=None, max_length=MAX_COMPLETIONS)
    human_completion: _Completion | str | None = None
    chosen_completion: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _within(self) -> Self:
        count = len(self.completions or ())
        if self.chosen_completion is not None and self.chosen_completion >= count:
            raise ValueError(f"chosen_completion: {self.chosen_completion}, of {count} from 0")
        return self

    def taken(self) -> _Completion:
        """The completion that the solution goes on with, or ends with."""
        some = self.completions or []
        if self.chosen_completion is not None:
            return some[self.chosen_completion]
        match self.human_completion:
            case str() as text:
                return _Completion(text=text, rating=1)
            case _Completion() as own:
                return own if own.rating is not None else own.model_copy(update={"rating": 1})
            case None:
                return some[0] if some else _Completion(text="")


class _Question(_Part):
    problem: str


class _Label(_Part):
    steps: list[_Step] | None = None
    finish_reason: str | None = None


class _Solution(Line):
    question: _Question
    label: _Label


def _fits(line: JsonObject) -> bool:
    question, label = line.get("question"), line.get("label")
    return (
        isinstance(question, dict)
        and "problem" in question
        and isinstance(label, dict)
        and "steps" in label
    )


def _records(line: JsonObject, origin: Origin) -> list[Record]:
    solution = _Solution.model_validate(line)
    taken = [step.taken() for step in solution.label.steps or ()]
    if not taken:
        return []
    ratings = [one.rating for one in taken]
    labels = solution.labels | {
        "ratings": list(ratings),
        "finish_reason": solution.label.finish_reason,
    }
    before = ratings[: ratings.index(-1)] if -1 in ratings else ratings
    if None not in before:  # else nobody says which mistake is the first
        labels[MISTAKE] = len(before) + 1 if -1 in ratings else None
    return [
        Record(
            source=origin.source(),
            task=origin.stem,
            goal=solution.question.problem,
            thinker="reasoner",
            entries=reasoning([one.text for one in taken]),
            labels=labels,
        )
    ]


def _steps(line: JsonObject) -> int:
    label = line["label"]
    assert isinstance(label, dict)
    steps = label.get("steps")
    return len(steps) if isinstance(steps, list) else 0


PRM800K = Format("prm800k", _fits, _records, _steps)
"""The importer."""
