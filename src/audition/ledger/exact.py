"""A validator of events that takes nothing but what this version would write.

The types read more than they write: `"1"` and `true` for a number, a null for nothing, no field for
one that has a default. Whoever asks for exactly what was written has to write it again, which takes
as long as reading it. Here the types' own schemas are drawn tighter instead: numbers and texts are
what they are, a field that would be written is there, one that would be left out is not. What these
validators take, the types take too, and would write as it was; what they do not take is for the
types to judge.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import SchemaValidator

from audition.step import Body, Event

_SCALARS = frozenset({"bool", "float", "int", "str"})
_PLAIN = frozenset({"enum", "literal"})


def exactly(body: type[Body]) -> SchemaValidator | None:
    """A validator of events with such a body; None where one cannot be had.

    It takes the fields of an event without its kind, as they stand in canonical JSON that holds no
    tag: one that it takes is parsed from these bytes, and from no others.
    """
    try:
        inner: Any = _tighter(body.__pydantic_core_schema__)
        envelope: Any = _tighter(Event.__pydantic_core_schema__)
    except _Unknown:
        return None
    envelope["schema"]["fields"]["body"]["schema"] = inner
    try:  # else the types' own validators would stand in for what was drawn tighter
        return SchemaValidator(envelope, None, _use_prebuilt=False)
    except TypeError:  # older libraries do not know the word
        return None


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
