"""What a type can hold, as far as the canonical form asks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Le
from pydantic import BaseModel


@functools.cache
def fixed(model: type[BaseModel]) -> bool:
    """Whether keys and depth of a model's values are the model's own, and their numbers finite.

    It is not where free JSON, a mapping, a float without an upper bound, or a value of its own
    kind may stand inside.
    """
    return _fixed(model, (), (), floats=True)


@functools.cache
def whole(model: type[BaseModel]) -> bool:
    """Whether a model is `fixed` and every number in its values is an integer."""
    return _fixed(model, (), (), floats=False)


def _fixed(
    kind: Any, bounds: Sequence[object], inside: tuple[object, ...], *, floats: bool
) -> bool:
    if kind is float:
        return floats and any(isinstance(bound, Le) for bound in bounds)
    parts = get_args(kind)
    match get_origin(kind):
        case None:
            pass
        case origin if origin is Annotated:
            said = [bound for part in parts[1:] for bound in getattr(part, "metadata", [part])]
            return _fixed(parts[0], said, inside, floats=floats)
        case origin if origin is Literal:
            return True
        case origin if origin in (Union, UnionType, tuple):
            return all(part is ... or _fixed(part, (), inside, floats=floats) for part in parts)
        case _:
            return False
    if not isinstance(kind, type) or kind in inside:
        return False
    if issubclass(kind, BaseModel):
        fields = kind.model_fields.values()
        inside = (*inside, kind)
        return all(_fixed(one.annotation, one.metadata, inside, floats=floats) for one in fields)
    return issubclass(kind, str | int | bytes | NoneType)
