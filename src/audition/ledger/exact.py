"""A reader of events that takes nothing but what this version would write.

The types read more than they write: `"1"` and `true` for a number, a null for nothing, no field for
one that has a default. Whoever asks for exactly what was written has to write it again, which takes
as long as reading it. Here the types' own schemas are drawn tighter instead: numbers and texts are
what they are, a field that would be written is there, one that would be left out is not. And of the
same schemas a pattern is made for how it would be written: which keys, in which order, with nothing
between. What both take, the types take too, and would write as it was; what they do not take is for
the types to judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import SchemaValidator

from audition.step import Body, Event

_SCALARS = frozenset({"bool", "float", "int", "str"})
_PLAIN = frozenset({"enum", "literal"})

_TEXT = '"(?!~)[^"]*"'
_TRUTH = "(?:true|false)"
_WHOLE = "(?:0|-?[1-9][0-9]{0,14}|-?[1-8][0-9]{15})"  # what every reader of JSON keeps exactly
_REAL = r"((?:0|[1-9][0-9]{0,14})(?:\.[0-9]{0,19}[1-9])?)"  # to be compared with the shortest


@dataclass(frozen=True, slots=True)
class Exact:
    """Reads the events of one kind."""

    written: re.Pattern[bytes]
    """How they are written, as far as nothing in a text is escaped; its groups are real numbers."""
    values: SchemaValidator
    """What they say."""

    def read(self, data: bytes) -> Event | None:
        """The event that these bytes are the canonical form of; None if one look is not enough."""
        found = self.written.fullmatch(data)
        if found is None or b"\\" in data:
            return None
        for real in found.groups(b"0"):
            if b"." in real and repr(float(real)).encode() != real:
                return None
        try:
            return self.values.validate_json(data)
        except ValueError:
            return None


def exactly(body: type[Body]) -> Exact | None:
    """A reader of events with such a body; None where one cannot be had."""
    try:
        inner: Any = _tighter(body.__pydantic_core_schema__)
        envelope: Any = _tighter(Event.__pydantic_core_schema__)
        form = '{"at":%s,"body":%s,"kind":"%s","run":%s,"seq":%s}'
        form %= (_WHOLE, _form(inner), re.escape(body.kind), _TEXT, _WHOLE)
    except _Unknown:
        return None
    envelope["schema"]["fields"]["body"]["schema"] = inner
    envelope["schema"]["extra_behavior"] = "ignore"  # its kind, which the pattern has
    try:  # else the types' own validators would stand in for what was drawn tighter
        values = SchemaValidator(envelope, None, _use_prebuilt=False)
    except TypeError:  # older libraries do not know the word
        return None
    return Exact(re.compile(form.replace("{", r"\{", 1).encode()), values)


class _Unknown(Exception):
    """A schema of a kind that nothing is known of here."""


class _Nowhere:
    """Nothing in JSON is one."""


def _tighter(schema: Any) -> Any:
    """The same schema, drawn tighter."""
    kind = schema["type"]
    if kind == "definitions":  # what they define is of a kind that nothing is known of
        return _tighter(schema["schema"])
    if kind in _SCALARS:
        return {**schema, "strict": True}
    if kind in _PLAIN:
        return {key: value for key, value in schema.items() if key != "ref"}
    if kind in ("model", "function-after"):
        kept = {key: value for key, value in schema.items() if key != "ref"}
        return {**kept, "schema": _tighter(schema["schema"])}
    if kind == "tuple":
        return {**schema, "items_schema": [_tighter(one) for one in schema["items_schema"]]}
    if kind == "model-fields":
        fields = {
            name: {**field, "schema": _field(field["schema"])}
            for name, field in schema["fields"].items()
        }
        return {**schema, "fields": fields}
    raise _Unknown(kind)


def _field(schema: Any) -> Any:
    """The schema of a field: there if it would be written, and never a null."""
    if schema["type"] != "default":
        return _tighter(schema)
    if schema.get("default", _Nowhere) is not None:
        return _tighter(schema["schema"])
    try:
        inner = _tighter(schema["schema"]["schema"])  # of a nullable
    except _Unknown:
        inner = {"type": "is-instance", "cls": _Nowhere}
    return {**schema, "schema": inner}


def _form(schema: Any) -> str:
    """How values of a schema that was drawn tighter are written."""
    match schema["type"]:
        case "str":
            return _TEXT
        case "bool":
            return _TRUTH
        case "int":
            return _WHOLE
        case "float":
            return _REAL
        case "enum" | "literal" if _texts(schema):
            return _TEXT
        case "model" | "function-after":
            return _form(schema["schema"])
        case "tuple" if _REAL not in (item := _form(schema["items_schema"][0])):
            return rf"\[(?:{item}(?:,{item})*)?\]"
        case "model-fields":
            fields = sorted(schema["fields"].items())
            return r"\{%s\}" % "".join(_pair(name, field["schema"]) for name, field in fields)
        case kind:
            raise _Unknown(kind)


def _pair(name: str, schema: Any) -> str:
    """How a field is written, after a comma unless it is the first of those that are there."""
    if schema["type"] != "default":
        return rf'(?:(?<=\{{)|,)"{name}":{_form(schema)}'
    try:
        return rf'(?:(?:(?<=\{{)|,)"{name}":{_form(schema["schema"])})?'
    except _Unknown:  # it is left out
        return ""


def _texts(schema: Any) -> bool:
    listed = schema["expected"] if schema["type"] == "literal" else schema["members"]
    return all(isinstance(one, str) for one in listed)
