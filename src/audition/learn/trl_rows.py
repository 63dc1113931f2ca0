"""Lessons as data sets in the columns that TRL's trainers read.

    prompt-completion  `prompt`, `completion`           demonstrations
    preference         `prompt`, `chosen`, `rejected`   rankings, and approvals of each candidate
    stepwise           `prompt`, `completions`, `labels`  approvals, of each candidate that has one

The first two are conversational: the prompt is what the thinker's model was sent, with its `tools`,
or would have been; the other columns are the message that answers it, and that alone. A prompt is
never itself learned: there is no row of language modelling, which would teach the outcomes in it.
Two candidates make a pair only as answers to the same prompt.

`ledger` says where a row comes from, `weight` the inverse probability of its having been drawn. No
trainer of TRL's reads either. A row is made of what stood before its step, its candidates and the
teacher's word on them: no byte of it depends on what came after.

Source: https://huggingface.co/docs/trl/dataset_formats
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audition.learn.drawn import Answered, Drawing, Drawn, Omitted
from audition.learn.in_words import history_in_words, step_in_words
from audition.learn.lessons import Lessons
from audition.learn.preferring import compared
from audition.ledger import LedgerError
from audition.step import JsonObject

Form = Literal["prompt-completion", "preference", "stepwise"]
"""The columns of a data set."""

APPROVED = 0.5
"""Least approval of a step whose label is true."""

LONGEST = 8 << 20
"""Most characters of one row: `datasets` reads blocks of 10 MiB."""


@dataclass(frozen=True)
class DataSet:
    """Rows of one form; they are read from the ledger as they are looked at."""

    form: Form
    """Their columns."""
    lessons: Lessons
    """What they are made of."""
    make: Callable[[Drawing, Lessons], Iterator[JsonObject]]
    """Makes them."""

    def rows(self, drawing: Drawing) -> Iterator[JsonObject]:
        """The rows, in the order of the lessons."""
        for row in self.make(drawing, self.lessons):
            if len(line(row)) > LONGEST:
                drawing.omit("too long")
            else:
                yield row


def data_sets(lessons: Lessons) -> list[DataSet]:
    """The data sets that lessons give."""
    forms: list[Form] = []
    if lessons.signal == "demonstration":
        forms.append("prompt-completion")
    if lessons.ranking_LK is not None or lessons.approvals_LK is not None:
        forms.append("preference")
    if lessons.signal == "approval":
        forms.append("stepwise")
    return [DataSet(form, lessons, _MAKES[form]) for form in forms]


def line(row: JsonObject) -> str:
    """A row as a line of JSON."""
    return json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def _prompt_completion(drawing: Drawing, lessons: Lessons) -> Iterator[JsonObject]:
    for drawn in drawing.each(lessons):
        try:
            (proposal, _), *_ = drawn.candidates
            shown = drawing.shown(drawn, proposal)
        except Omitted as error:
            drawing.omit(error.why)
            continue
        yield {**_head(drawn, shown), "completion": [shown.message], "ledger": drawn.ledger()}


def _preference(drawing: Drawing, lessons: Lessons) -> Iterator[JsonObject]:
    for drawn in drawing.each(lessons):
        candidates = drawn.candidates
        for pair in compared(lessons, drawn.number):
            try:
                if pair is None:
                    raise Omitted("a tie")
                chosen, rejected = pair
                if candidates[chosen][0] == candidates[rejected][0]:
                    raise Omitted("the same step twice")
                one, other = (drawing.answer(drawn, *candidates[number]) for number in pair)
                if one.asked != other.asked:
                    raise Omitted("asked in other words")
            except Omitted as error:
                drawing.omit(error.why)
                continue
            yield {
                **_head(drawn, one),
                "chosen": [one.message],
                "rejected": [other.message],
                "ledger": drawn.ledger(chosen=chosen, rejected=rejected),
            }


def _stepwise(drawing: Drawing, lessons: Lessons) -> Iterator[JsonObject]:
    for drawn in drawing.each(lessons):
        try:
            before = history_in_words(drawn.before.history)
        except LedgerError:
            drawing.omit("its content is not in the ledger")
            continue
        for number, approval in enumerate(approvals(drawn)):
            try:
                step = drawing.proposal(drawn.candidates[number][0])
            except Omitted as error:
                drawing.omit(error.why)
                continue
            yield {
                "prompt": before,
                "completions": [step_in_words(step)],
                "labels": [approval >= APPROVED],
                "approval": approval,
                "weight": drawn.weight,
                "ledger": drawn.ledger(candidate=number),
            }


def approvals(drawn: Drawn) -> list[float]:
    """The approval of each candidate of a lesson that has one."""
    lessons = drawn.lessons
    given = lessons.approval_L if lessons.approvals_LK is None else lessons.approvals_LK
    assert given is not None
    return np.atleast_1d(given[drawn.number]).tolist()


def _head(drawn: Drawn, answered: Answered) -> JsonObject:
    """What rows of conversations begin with; tools are text, as no two schemas are of one type."""
    asked = answered.asked
    tools = json.dumps(asked.tools, sort_keys=True, separators=(",", ":"))
    return {"prompt": list(asked.messages), "tools": tools, "weight": drawn.weight}


_MAKES: dict[Form, Callable[[Drawing, Lessons], Iterator[JsonObject]]] = {
    "prompt-completion": _prompt_completion,
    "preference": _preference,
    "stepwise": _stepwise,
}
