"""A view as one JSON document: what a model is shown, and nothing in it can pretend to be more.

Every text that someone else wrote is a JSON string inside it, so that no quotation mark, bracket or
line break of theirs ends a field. Characters that do not print are escaped, so that what a model
reads is what a person sees; so is what begins a control token of a chat template, which servers
that put the messages into one text may obey in the middle of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, JsonValue

from audition.step import Frozen, History, Message, Proposal, Turn, View

_CONTROL = re.compile(r"<(?=[^\s\d=])|\[(?=/?[A-Z_]+\])")
"""Where `<|im_end|>`, `</s>`, `<end_of_turn>`, `[INST]` … begin; never structure of the JSON."""


class Shown(Frozen):
    """How much of a view a model is shown."""

    characters: int = Field(default=60_000, ge=1000, le=10_000_000)
    """Most characters of what is judged, which is shown whole or not at all, and as many again of
    the history, so that neither pushes the other out."""
    entries: int = Field(default=40, ge=0, le=10_000)
    """Most entries of the history; the newest are kept."""
    entry: int = Field(default=6000, ge=100, le=1_000_000)
    """Characters of an entry from which only its two ends are shown."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a model is shown."""

    text: str
    """The JSON."""

    def holds(self, piece: str) -> bool:
        """Whether a citation is verbatim: it stands in the text as sent, or in one of its strings.

        Nothing is normalised: neither case nor blanks nor the form of a character.
        """
        return piece in self.text or any(piece in text for text in _strings(json.loads(self.text)))


def document(
    view: View, limits: Shown, candidates: Mapping[str, Proposal] | None = None
) -> Document | None:
    """The document of a view.

    Args:
        view: what the auditor is handed.
        limits: how much of it is shown.
        candidates: steps to compare, by the labels that they are shown under, in this order.

    Returns:
        None where what is judged does not fit: a part of it is not judged for the whole.

    Raises:
        ValueError: it holds a number that JSON cannot carry.
    """
    goal = {"goal": view.goal}
    judged: dict[str, Any] = {"step": {"number": view.moment.turn, "place": view.moment.place}}
    if view.thought is not None:
        judged["thought"] = view.thought
    if view.proposal is not None:
        judged["proposal"] = _plain(view.proposal)
    if candidates is not None:
        judged["candidates"] = {label: _alone(one) for label, one in candidates.items()}
    if len(_json(goal | judged)) > limits.characters:
        return None
    past = {"history": _past(view.history, limits)} if view.history is not None else {}
    return Document(_json(goal | past | judged))


def _past(history: History, limits: Shown) -> JsonValue:
    told: list[JsonValue] = []
    room = limits.characters
    for entry in reversed(history.last(limits.entries) if limits.entries else ()):
        one = _ends(_entry(entry), limits.entry)
        room -= len(_json(one))
        if room < 0:
            break
        told.append(one)
    return {"older_entries_not_shown": len(history) - len(told), "entries": told[::-1]}


def _entry(entry: Message | Turn) -> dict[str, JsonValue]:
    if isinstance(entry, Message):
        return entry.model_dump(mode="json", exclude_none=True)
    told: dict[str, JsonValue] = {
        "step": entry.number,
        "place": entry.place,
        "proposal": _plain(entry.proposal),
        "decided": entry.action,
    }
    if entry.outcome is not None:
        told["outcome"] = entry.outcome.model_dump(exclude_defaults=True)
    if entry.thought is not None:
        told["thought"] = entry.thought
    return told


def _ends(entry: dict[str, JsonValue], most: int) -> JsonValue:
    """The entry; of a long one the beginning and the end of its JSON, as text."""
    text = _json(entry)
    if len(text) <= most:
        return entry
    half = most // 2
    return {
        "begins": text[:half],
        "characters_not_shown": len(text) - 2 * half,
        "ends": text[-half:],
    }


def _plain(proposal: Proposal) -> dict[str, Any]:
    others = [_alone(one) for one in proposal.alternatives]
    return _alone(proposal) | ({"alternatives": others} if others else {})


def _alone(proposal: Proposal) -> dict[str, Any]:
    fields = proposal.model_dump(exclude={"alternatives"}, exclude_none=True)
    return {"kind": proposal.kind} | fields


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not text.isprintable():
        text = "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _strings(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _strings(item)
        case dict():
            for name, item in value.items():
                yield name
                yield from _strings(item)
        case _:
            pass
