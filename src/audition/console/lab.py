"""`audition lab`: published and provable results measured again, kept, and put on one page."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer

from audition.console.speaking import Stop, answer, plainly, say, some, tell
from audition.console.writing import write_whole
from audition.extra import installing
from audition.plain import shown

if TYPE_CHECKING:
    from audition.lab import Claim, Progress, Result
    from audition.step import JsonObject

LARGEST = 64 * 2**20
"""Bytes of a kept result that are read."""

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Published results, measured again."
)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Miss(StrEnum):
    """Findings that make the exit code 1."""

    MISS = "miss"


def claimed(carry: Callable[_P, _R]) -> Callable[_P, _R]:
    """As `plainly`, and a claim that cannot be run as asked is one line too."""

    @functools.wraps(carry)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        from audition.lab import ClaimError

        try:
            return carry(*args, **kwargs)
        except ClaimError as error:
            raise Stop(" ".join(str(error).split())) from None

    return plainly(wrapped)


@app.command("list")
@claimed
def listed(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the claims."""
    from audition.lab import listed, missing

    claims, absent = listed(), missing()
    if as_json:
        found = [{"name": one.name, "says": one.says, "package": one.package} for one in claims]
        answer({"claims": found, "missing": list(absent)})
        return
    for one in claims:
        tell(shown(one.name, 120))
        tell(f"    {shown(one.says, 600)}")
        if one.package != "audition":
            tell(f"    of the package {shown(one.package, 120)}")
    if absent:
        say(f"the lab's own need {installing('learn')} ({', '.join(absent)} not there)")


@app.command("run")
@claimed
def run(
    name: Annotated[str, typer.Argument(help="The claim.", metavar="CLAIM", show_default=False)],
    quick: Annotated[
        bool, typer.Option("--quick", help="The small version, under a minute on two cores.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How many seeds; by default as many as the claim says.",
            metavar="N",
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(help="Keep batches, audits and updates in this ledger.", metavar="LEDGER"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the claim's own; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write this run as one HTML file.", metavar="FILE")
    ] = None,
    fail_on: Annotated[
        list[Miss] | None,
        typer.Option(help="Exit with code 1 if the claim does not hold: miss.", metavar="FINDING"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a claim and keep the result for `audition lab report`.

    That a claim does not hold is a result too: the exit code is 0 unless --fail-on asks for it.
    """
    from audition.lab import Config, find, measure, page

    if seeds is not None and not 1 <= seeds <= 1000:
        raise Stop(f"--seeds {seeds}: give a number from 1 to 1,000", 2)
    claim = find(name)
    config = Config(quick=quick, seeds=seeds, ledger=ledger, options=_options(claim, option or []))
    for folder in (_home(), report.parent if report else Path()):
        folder.mkdir(parents=True, exist_ok=True)  # a long run must not end at a missing folder
    try:
        with _watched(claim.name) as progress:
            result = measure(claim, config, progress)
    except KeyboardInterrupt:
        raise Stop("interrupted; nothing was kept", 130) from None
    kept = _keep(result)
    if report is not None:
        write_whole(report, page([result]))
        say(f"wrote {shown(str(report), 300)}")
    if as_json:
        answer(result.answer())
    else:
        _screen(result)
        say(f"kept in {shown(str(kept), 300)}")
    missed = [check for check in result.found.checks if not check.holds]
    if fail_on and not result.found.holds:
        of = some(len(result.found.checks), "check")
        raise Stop(f"{claim.name} does not hold: {len(missed)} of {of} missed")


@app.command("report")
@claimed
def report(
    out: Annotated[Path, typer.Option(help="The HTML file.", metavar="FILE")] = Path(
        "audition-lab.html"
    ),
) -> None:
    """Write one HTML file of the latest run of every claim; it opens offline."""
    from audition.lab import CLAIMS, page

    kept = _latest()
    if not kept:
        raise Stop(f"nothing was run yet: {_home()} is empty; `audition lab run CLAIM` fills it")
    places = {name: place for place, name in enumerate(CLAIMS)}
    results = sorted(kept, key=lambda one: (places.get(one.claim, len(places)), one.claim))
    absent = [name for name in CLAIMS if name not in {one.claim for one in results}]
    write_whole(out, page(results, absent))
    tell(f"wrote {shown(str(out), 300)}: {some(len(results), 'claim')}, {len(absent)} not run here")


def _options(claim: Claim, given: list[str]) -> JsonObject:
    found: JsonObject = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals:
            raise Stop(f"--option {shown(one, 120)}: write it as NAME=VALUE", code=2)
        if name in found:
            raise Stop(f"--option {shown(name, 120)} is given twice", code=2)
        found[name] = claim.option(name, text)
    return found


@contextmanager
def _watched(name: str) -> Iterator[Progress]:
    """A bar on the terminal; nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield lambda doing, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=1.0)

        def told(doing: str, done: float) -> None:
            bars.update(task, description=shown(doing, 60), completed=min(max(done, 0.0), 1.0))

        yield told


def _screen(result: Result) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from audition.lab.report import figure

    console = Console(highlight=False)

    def line(text: str, style: str = "") -> None:
        console.print(Text(shown(text, len(text), lines=True), style=style), soft_wrap=True)

    line(result.says, "bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="dim")
    table.add_column("check")
    table.add_column("got", justify="right")
    table.add_column("due")
    table.add_column("")
    for check in result.found.checks:
        cells = (check.says, figure(check.got), check.due, "holds" if check.holds else "MISSES")
        style = "" if check.holds else "bold red"
        table.add_row(*(Text(shown(cell, 300), style=style) for cell in cells))
    console.print(table)
    verdict = "holds" if result.found.holds else "DOES NOT HOLD"
    line(f"{result.claim} {verdict}; {result.seconds:.1f} s", "bold")
    line(f"source: {result.source}")
    line(f"seeds: {figure(list(result.found.seeds))}")
    line("\nBlind spot", "bold")
    line(result.blind_spot)


def _keep(result: Result) -> Path:
    folder = _home() / result.claim
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.at:%Y%m%dT%H%M%S%f}.json"
    write_whole(path, result.text())
    return path


def _latest() -> list[Result]:
    """The newest result of every claim."""
    from audition.lab import Result

    found: list[Result] = []
    for folder in sorted(_home().glob("*/")):
        newest = max(folder.glob("*.json"), default=None)
        if newest is None:
            continue
        if newest.stat().st_size > LARGEST:
            raise Stop(f"{newest}: larger than any result; remove it, or run {folder.name} again")
        try:
            result = Result.read(newest.read_text("utf-8"))
        except ValueError:
            result = None
        if result is None or result.claim != folder.name:
            raise Stop(
                f"{newest}: not a result of {folder.name}; remove it, or run {folder.name} again"
            )
        found.append(result)
    return found


def _home() -> Path:
    """Where results are kept: `$AUDITION_HOME/lab`, or the user's data folder."""
    if home := os.environ.get("AUDITION_HOME"):
        return Path(home) / "lab"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "audition" / "lab"
