"""What a claim is: a published or provable result that a command measures again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue, model_validator

from audition.plain import shown
from audition.step import MOST, Frozen, JsonObject, Name

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ClaimError(ValueError):
    """A claim cannot be run as it was asked for; the message names what, and the way out."""


class Config(Frozen):
    """How a claim is to be run."""

    quick: bool = False
    """The small version: under 50 seconds on two cores, with bars of its own."""
    seeds: int | None = Field(default=None, ge=1, le=1000)
    """How many seeds; None: the claim's own number."""
    ledger: str | Path | None = None
    """Where sealed batches, audits and updates are kept; None: a temporary file."""
    options: JsonObject = Field(default={})
    """The claim's own options, by name."""


class Check(Frozen):
    """One figure held against what it must reach."""

    says: str
    """What is measured: `intended, process-supervised, worst of 5 seeds`."""
    got: float | int | str
    """The figure just computed."""
    due: str
    """What it must reach: `>= 0.995`."""
    holds: bool
    """Whether it does."""

    @model_validator(mode="after")
    def _no_figure_does_not_hold(self) -> Self:
        if self.holds and isinstance(self.got, float) and math.isnan(self.got):
            raise ValueError(f"{self.says}: a figure that is not a number holds nothing")
        return self


class Figures(Frozen):
    """What a run of a claim computed."""

    figures: JsonObject
    """Everything measured, by name; what was published under the same name stands beside it."""
    checks: tuple[Check, ...]
    """The figures that must reach something."""
    seeds: tuple[int, ...] = ()
    """The seeds that were run."""

    @property
    def holds(self) -> bool:
        """Whether every check does, and there is one."""
        return bool(self.checks) and all(check.holds for check in self.checks)


Progress = Callable[[str, float], None]
"""Told what is being done and how far it is, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One module of the lab."""

    name: Name
    """As `audition lab run` takes it: small letters, digits and single hyphens."""
    says: str
    """The claim, in one sentence."""
    source: str
    """Paper and place; `ours` where the construction is this project's."""
    published: JsonObject
    """The figures that the source gives, by name."""
    blind_spot: str
    """What a run of it does not show."""
    seeds: int
    """How many seeds it takes unless told otherwise."""
    options: JsonObject
    """Its options and their defaults."""
    run: Callable[[Config, Progress], Figures]
    """Measures it."""
    plots: Callable[[Figures], dict[str, Any]]
    """Its pictures: matplotlib figures by caption, drawn from figures alone."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ClaimError(
                f"{self.name[:120]!r} is no name for a claim; use small letters, digits and hyphens"
            )

    def option(self, name: str, text: str) -> JsonValue:
        """An option as a command line gives it: text where text is due, JSON elsewhere.

        What is not JSON is text, which an option whose default is null takes too.

        Raises:
            ClaimError: the claim has no such option, or it takes something else.
        """
        if isinstance(self.options.get(name), str):
            return text
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            value = text
        return self.chosen({name: value})[name]

    def chosen(self, options: JsonObject) -> JsonObject:
        """All options of the claim: those given, and the defaults of the others.

        Raises:
            ClaimError: one that the claim does not have, or of another kind than its default.
        """
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(sorted(self.options)) or "none"
                raise ClaimError(f"{self.name} has no option {_brief(name)}; its options: {known}")
            if not _fits(value, self.options[name]):
                raise ClaimError(
                    f"{self.name}: option {name} is {_brief(value)}; "
                    f"it takes {_kind(self.options[name])}"
                )
        return self.options | options


def _fits(value: JsonValue, default: JsonValue) -> bool:
    if isinstance(value, int | float) and not abs(value) <= MOST:
        return False
    if isinstance(default, float) and type(value) is int:
        return True
    return default is None or type(value) is type(default)


def _kind(default: JsonValue) -> str:
    match default:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list, in JSON"
        case dict():
            return "an object, in JSON"
        case _:
            return "anything"


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _brief(value: JsonValue) -> str:
    return shown(repr(value), 120)
