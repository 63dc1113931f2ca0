"""What is wrong in a TOML file, as whoever wrote it would say it: line, field, and way out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_WORDS = r"""(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')"""
_DOTTED = rf"{_WORDS}(?:[ \t]*\.[ \t]*{_WORDS})*"
_TABLE = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]")
_FIELD = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")


def misread(
    error: ValidationError,
    name: str,
    text: str,
    models: Iterable[type[BaseModel]],
    within: tuple[str, ...] = (),
) -> str:
    """The error to mend first, in one line: a misspelt field explains a missing one.

    Args:
        error: what reading the file came to.
        name: the file's name.
        text: the file; it is TOML.
        models: what was read: one of these.
        within: the table in which it was read; none: the whole file.
    """
    errors = error.errors(include_url=False, include_input=False)
    first = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    location = tuple(map(str, first["loc"]))
    place = _place((*within, *location), tomllib.loads(text), missing=first["type"] == "missing")
    line = _line(place, text)
    where = f"{name}, line {line}" if line else name
    field = ".".join(place) or "the file"
    match first["type"]:
        case "extra_forbidden":
            known = get_close_matches(location[-1], _fields(models, location[:-1]), 1)
            mend = f"did you mean {known[0]}?" if known else "check its spelling"
            if known == [location[-1]]:
                mend = " of ".join(("it belongs to another kind", *within))
            return f"{where}: {field} is no field here; {mend}"
        case "missing":
            return f"{where}: {field} is missing; nothing runs without it"
        case _:
            return f"{where}: {field}: {first['msg'].removeprefix('Value error, ')}"


def _place(location: tuple[str, ...], data: Any, *, missing: bool) -> tuple[str, ...]:
    """The field as it stands in the file, without the names that are the model's own."""
    place: list[str] = []
    tag = None
    for number, part in enumerate(location, 1):
        match data:
            case dict() if part == tag:  # says which model it is; a field may be called so too
                tag = None
                continue
            case dict() if part in data:
                data = data[part]
            case list() if part.isdecimal() and int(part) < len(data):
                data = data[int(part)]
            case _ if not (missing and number == len(location)):
                continue
            case _:
                pass
        tag = data.get("kind") if isinstance(data, dict) else None
        place.append(part)
    return tuple(place)


def _fields(models: Iterable[type[BaseModel]], location: tuple[str, ...]) -> list[str]:
    """The fields that there are where the location leads."""
    here = list(models)
    for part in location:
        fields = [model.model_fields[part] for model in here if part in model.model_fields]
        inner = [found for field in fields for found in _models(field.annotation)]
        here = inner or [one for one in here if _tagged(one, part)] or here
    return list(dict.fromkeys(name for model in here for name in model.model_fields))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _tagged(model: type[BaseModel], part: str) -> bool:
    """Whether a field of the model says that it is the one called so."""
    return any(part in get_args(field.annotation) for field in model.model_fields.values())


def _line(place: tuple[str, ...], text: str) -> int | None:
    """The one line on which the field or its table begins; None where it is not so plain."""
    numbers: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    found: list[int] = []
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if (head := _TABLE.match(line)) is not None:
            table = ()
            *outer, last = _names(head[2])
            for name in outer:
                table = _entry((*table, name), numbers)
            table = (*table, last)
            if head[1] == "[[":
                numbers[table] = numbers.get(table, -1) + 1
                table = _entry(table, numbers)
            here = table
        elif (field := _FIELD.match(line)) is not None:
            here = (*table, *_names(field[1]))
        else:
            continue
        if here == place:
            found.append(number)
    if len(found) != 1 or not _toml("\n".join(lines[: found[0]])):
        return None
    return found[0] + 1


def _entry(table: tuple[str, ...], numbers: dict[tuple[str, ...], int]) -> tuple[str, ...]:
    """A table, or the latest entry where it is a list of them."""
    return (*table, str(numbers[table])) if table in numbers else table


def _names(dotted: str) -> list[str]:
    return [word.strip("\"'") for word in re.findall(_WORDS, dotted)]


def _toml(text: str) -> bool:
    """Whether the text is whole: a line in the middle of a longer text is none of the file's."""
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True
