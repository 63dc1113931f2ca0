"""A reader of events that takes nothing but what this version would write.

The types read more than they write: `"1"` and `true` for a number, a null for nothing, no field for
one that has a default. Whoever asks for exactly what was written has to write it again, which takes
as long as reading it. Here a pattern is made of the types' own schemas for how an event is written:
which keys, in which order, with nothing between, and each number and text as it is spelled. What
has this form is read by the types, which would write it as it was; what has not is for the types to
judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import SchemaValidator

from audition.step import Body, Event

_BACKSLASH = ord("\\")  # a number is found many times faster than a byte
_TEXT = '"(?!~)[^"]*"'
_TRUTH = "(?:true|false)"
_WHOLE = "(?:0|-?[1-9][0-9]{0,14}|-?[1-8][0-9]{15})"  # what every reader of JSON keeps exactly
_BYTES = (  # base64 without a bit to spare
    '"~b:(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"'
)
_REAL = (  # no number has two spellings of 15 digits; a longer one is compared with the shortest
    r"(?:0|[1-9][0-9]{0,14}|0\.0{0,5}[1-9](?:[0-9]{0,13}[1-9])?|[1-9][0-9]{0,5}\.[0-9]{0,8}[1-9]"
    r"|((?:0|[1-9][0-9]{0,14})\.[0-9]{0,19}[1-9]))"
)


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
        if found is None or _BACKSLASH in data:
            return None
        for real in filter(None, found.groups()):
            if b"." in real and repr(float(real)).encode() != real:
                return None
        try:
            return self.values.validate_json(data.replace(b'"~b:', b'"'))  # which no text begins
        except ValueError:
            return None


def exactly(body: type[Body]) -> Exact | None:
    """A reader of events with such a body; None where one cannot be had."""
    inner, envelope = body.__pydantic_core_schema__, Event.__pydantic_core_schema__
    try:
        form = rf'\{{"at":{_WHOLE},"body":{_form(inner)},"kind":"{re.escape(body.kind)}",'
    except _Unknown:
        return None
    written = re.compile(f'{form}"run":{_TEXT},"seq":{_WHOLE}}}'.encode())
    try:  # else an event's own validator, for which a body is any, would stand in for this one
        return Exact(written, SchemaValidator(_around(envelope, inner), None, _use_prebuilt=False))
    except TypeError:  # older libraries do not know the word
        return None


class _Unknown(Exception):
    """A schema of a kind that nothing is known of here."""


def _around(envelope: Any, body: Any) -> Any:
    """The schema of an event with such a body, and with its kind, which the pattern has."""
    if body["type"] == "definitions":
        return {**body, "schema": _around(envelope, body["schema"])}
    of_event = envelope["schema"]
    fields = of_event["fields"] | {"body": {**of_event["fields"]["body"], "schema": body}}
    return {**envelope, "schema": {**of_event, "fields": fields, "extra_behavior": "ignore"}}


def _form(schema: Any) -> str:
    """How the values of a type are written."""
    match schema["type"]:
        case "str":
            return _TEXT
        case "bytes":
            return _BYTES
        case "bool":
            return _TRUTH
        case "int":
            return _WHOLE
        case "float":
            return _REAL
        case "enum" | "literal" if _texts(schema):
            return _TEXT
        case "model" | "function-after" | "definitions":
            return _form(schema["schema"])
        case "tuple" if _REAL not in (item := _form(schema["items_schema"][0])):
            return rf"\[(?:{item}(?:,{item})*)?\]"
        case "model-fields":
            fields = sorted(schema["fields"].items())
            return r"\{" + "".join(_pair(name, one["schema"]) for name, one in fields) + r"\}"
        case kind:
            raise _Unknown(kind)


def _pair(name: str, schema: Any) -> str:
    """How a field is written, after a comma unless it is the first of those that are there."""
    pair = rf'(?:(?<=\{{)|,)"{name}":'
    if schema["type"] != "default":
        return pair + _form(schema)
    if schema.get("default", ...) is not None:  # it is written all the same
        return pair + _form(schema["schema"])
    try:
        return f"(?:{pair}{_form(schema['schema']['schema'])})?"  # never as a null
    except _Unknown:  # what has it is not read here
        return ""


def _texts(schema: Any) -> bool:
    listed = schema["expected"] if schema["type"] == "literal" else schema["members"]
    return all(isinstance(one, str) for one in listed)
