"""The claims on one page that opens anywhere: nothing is fetched, nothing runs."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from audition.lab.catalogue import find
from audition.lab.claim import Claim, ClaimError, Figures
from audition.lab.result import Result
from audition.plain import shown

if TYPE_CHECKING:
    from jinja2 import Template

LONGEST = 4000
"""Characters of one text that the page shows."""

LISTED = 1000
"""Figures of a claim that the page lists; the JSON holds all."""

LARGEST = 1_000_000
"""Bytes of a picture as vectors; a larger one is written as dots."""


def pictures(claim: Claim, figures: Figures) -> dict[str, str]:
    """The claim's pictures as data URIs by caption; the same figures give the same bytes."""
    return {caption: _uri(drawn) for caption, drawn in claim.plots(figures).items()}


def drawn(result: Result) -> dict[str, str]:
    """The pictures of a kept result, by its claim as it is installed now.

    Raises:
        ClaimError: the claim is not here, or no longer draws such figures.
    """
    claim = find(result.claim)
    try:
        return pictures(claim, result.found)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ClaimError(
            f"{result.claim} does not draw these figures ({error!r}); run it again"
        ) from error


def page(
    results: Sequence[Result],
    absent: Sequence[str] = (),
    draw: Callable[[Result], dict[str, str]] = drawn,
) -> str:
    """The report as one HTML file; every text in it escaped and made visible.

    Args:
        results: one for each claim, in the order of the page.
        absent: names of claims that were never run.
        draw: gives the pictures of a result; the page says why where it raises `ClaimError`.
    """
    template, policy, style = _template()
    return template.render(
        sections=[_section(result, draw) for result in results],
        absent=absent,
        policy=policy,
        style=style,
    )


def leaves(value: JsonValue, name: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Every single figure by its path, as `exact.4x4.9.hack`; a list of scalars is one figure."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{name}[{place}]")
    else:
        yield name, value


def figure(value: JsonValue) -> str:
    """A figure for people: six digits of a real number, thousands apart."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if abs(value) < 2**53 else "beyond 2^53"
        case float():
            return f"{value:.6g}"
        case str():
            return value
        case list():
            return ", ".join(map(figure, value)) or "none"
        case _:
            return json.dumps(value)


def _section(result: Result, draw: Callable[[Result], dict[str, str]]) -> dict[str, Any]:
    from markupsafe import Markup

    try:
        drawings, undrawn = draw(result), ""
    except ClaimError as error:
        drawings, undrawn = {}, str(error)
    measured = dict(leaves(result.found.figures))
    published = [(name, due, measured.get(name)) for name, due in leaves(result.published)]
    beside = {name for name, _, _ in published}
    rest = [(name, got) for name, got in measured.items() if name not in beside]
    return {
        "result": result,
        "published": published,
        "figures": list(islice(rest, LISTED)),
        "omitted": max(0, len(rest) - LISTED),
        "pictures": {caption: Markup(uri) for caption, uri in drawings.items()},
        "undrawn": undrawn,
    }


@functools.cache
def _template() -> tuple[Template, str, Any]:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("audition.lab") / "templates"
    style = (folder / "report.css").read_text("utf-8")
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters["figure"] = figure
    template = environment.from_string((folder / "report.html").read_text("utf-8"))
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return template, policy, Markup(style)


def _visible(value: Any) -> Any:
    """What the template is about to write, made inert; only `Markup` made here passes as it is."""
    from markupsafe import Markup

    return value if isinstance(value, Markup) else shown(str(value), LONGEST, lines=True)


def _uri(drawn: Any) -> str:
    """A matplotlib figure as a data URI: text as paths, and nothing in it of when or where."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "audition", "svg.fonttype": "path"}):
        drawn.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        kind = "svg+xml"
        if len(buffer.getvalue()) > LARGEST:
            buffer = io.BytesIO()
            drawn.savefig(buffer, format="png", bbox_inches="tight", dpi=150)
            kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
