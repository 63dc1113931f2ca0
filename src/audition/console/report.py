"""A review's report: one page that opens anywhere, and the same on the screen."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from audition.console.review_report import Range, ReviewReport, TaskMeasures
from audition.console.speaking import some

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.console import Console
    from rich.table import Table

LISTED = 5
"""Flagged moments and disputed labels that the screen shows; the page shows all."""

WIDE = 140
"""Columns of a screen from which intervals stand beside the figures, not below, and AUROC too."""

_MEASURES = {
    "first mistake": ("first_mistake_accuracy", "first_mistake_interval"),
    "precision": ("precision", "precision_interval"),
    "recall": ("recall", "recall_interval"),
    "false alarms": ("false_alarms", "false_alarms_interval"),
}


def page(report: ReviewReport) -> str:
    """The report as one HTML file: no script, nothing fetched, every text escaped.

    Its content security policy forbids all but the one style sheet inside it, by hash.
    """
    template, policy, style = _template()
    return template.render(report=report, policy=policy, style=style)


def screen(report: ReviewReport, console: Console | None = None) -> None:
    """Show the report on the screen, by default on standard output."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)

    def say(text: str = "", style: str = "", indent: int = 0) -> None:
        console.print(Text(" " * indent + text, style=style), soft_wrap=True)

    totals = report.totals
    say(report.title, "bold")
    say(
        f"{some(totals.runs, 'run')}, {some(totals.moments, 'moment')}, "
        f"{some(totals.verdicts, 'verdict')} by {', '.join(report.auditors) or 'nobody'}"
    )
    speed = round(report.moments_per_second)
    say(
        f"{count(totals.flagged)} flagged, {count(totals.abstained)} abstained, "
        f"{count(totals.failed)} failed; {report.seconds:.1f} s"
        + (f", {count(speed)} moments/s" if speed else "")
    )
    if report.tasks:
        say()
        console.print(_table(report, console.width >= WIDE))
    if report.flagged:
        say(f"\nFlagged, {_listed(report.flagged, report.flagged_omitted)}", "bold")
    for flagged in report.flagged[:LISTED]:
        where = f"{flagged.source.file} #{flagged.source.record}, step {flagged.turn}"
        say(f"{where}: {_flat(flagged.proposal)}", indent=2)
        say(f"{flagged.auditor} {flagged.suspicion:.2f}: {_flat(flagged.rationale)}", "red", 4)
    if report.disputed:
        say(f"\nDisputed labels, {_listed(report.disputed, report.disputed_omitted)}", "bold")
    for disputed in report.disputed[:LISTED]:
        where = f"{disputed.source.file} #{disputed.source.record}, step {disputed.turn}"
        say(f"{where}: label {disputed.label}, found {disputed.found}", indent=2)
        for line in disputed.proof.splitlines():
            say(_flat(line), "yellow", 4)
    if report.blind_spot:
        say("\nBlind spot", "bold")
    for line in report.blind_spot.splitlines():
        say(line, indent=2)
    say("\nLedger", "bold")
    for one in report.reconciliation:
        say(
            f"{one.file}: {count(one.runs)} of {some(one.records, 'record')}, "
            f"{count(one.moments)} of {some(one.steps, 'step')}: "
            + ("complete" if one.agrees else "DOES NOT AGREE"),
            "" if one.agrees else "bold red",
            2,
        )
    say(report.ledger + (f", {size(report.ledger_bytes)}" if report.ledger_bytes else ""), "", 2)
    say(_gist(report.checkpoint), "dim", 2)


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"


def percent(share: float | None) -> str:
    """A share in percent; only none and all are written as 0% and 100%."""
    if share is None:
        return "–"
    if share in (0, 1):
        return f"{share:.0%}"
    if share < 0.0005:
        return "< 0.1%"
    return f"{share:.1%}" if share < 0.9995 else "> 99.9%"


def between(interval: Range | None) -> str:
    """An interval in percent."""
    return "" if interval is None else f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def size(number: int) -> str:
    """A size in bytes, for people."""
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number / 1e3:,.1f} kB"


def marked(text: str, pieces: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is one of the citations."""
    found = [piece for piece in pieces if piece and piece in text]
    while found:
        place = min(map(text.index, found))
        piece = max((piece for piece in found if text.startswith(piece, place)), key=len)
        yield text[:place], False
        yield piece, True
        text = text[place + len(piece) :]
        found = [piece for piece in found if piece in text]
    yield text, False


@functools.cache
def _template() -> tuple[Template, str, Any]:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("audition.console") / "templates"
    style = (folder / "review.css").read_text("utf-8")
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": count,
        "percent": percent,
        "between": between,
        "size": size,
        "marked": marked,
    }
    template = environment.from_string((folder / "review.html").read_text("utf-8"))
    policy = f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    return template, policy, Markup(style)


def _table(report: ReviewReport, wide: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="dim")
    table.add_column("task", no_wrap=True)
    for heading in ("n", "scored", *_MEASURES, *(["AUROC"] if wide else [])):
        table.add_column(heading, justify="right")
    for name, task in report.tasks.items():
        cells = [name, count(task.n), percent(task.coverage)]
        for value, interval in _MEASURES.values():
            cells.append(_measured(task, getattr(task, value), getattr(task, interval), wide))
        if wide:
            cells.append(_ranked(task))
        table.add_row(*map(Text, cells))
    return table


def _listed(some: Sequence[object], omitted: int) -> str:
    total = len(some) + omitted
    return f"{min(LISTED, len(some))} of {count(total)}"


def _measured(task: TaskMeasures, value: float | None, interval: Range | None, wide: bool) -> str:
    """A measure and its interval; of a task that was scored in part, the interval alone."""
    if interval is not None and task.scored < task.n:
        return f"{between(interval)}%"
    if value is None or interval is None:
        return percent(value)
    return f"{percent(value)}{' ' if wide else chr(10)}{between(interval)}"


def _ranked(task: TaskMeasures) -> str:
    if task.auroc_interval is not None and task.scored < task.n:
        return f"{task.auroc_interval.low:.3f}–{task.auroc_interval.high:.3f}"
    return "–" if task.auroc is None else f"{task.auroc:.3f}"


def _gist(checkpoint: str) -> str:
    """What a checkpoint is about; the note itself is in the ledger and on the page."""
    if not checkpoint:
        return "no checkpoint: the ledger is not signed"
    origin, _, rest = checkpoint.partition("\n")
    return f"checkpoint of {origin} at size {rest.partition(chr(10))[0]}"


def _flat(plain: str, limit: int = 160) -> str:
    """The beginning, on one line, of what was made plain already."""
    line = " ".join(plain.split())
    return line if len(line) <= limit else f"{line[:limit]} …"
