"""`audition lessons`: what a ledger's audits have to teach, and why the rest may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, plainly, some, tell
from audition.console.writing import write_lines
from audition.plain import shown

if TYPE_CHECKING:
    from audition.learn import Lessons
    from audition.learn.live import Harvest
    from audition.ledger import SqlLedger


class Written(StrEnum):
    """How lessons are written down."""

    AUDITION = "audition"
    TRL = "trl"
    PRM800K = "prm800k"


@plainly
def lessons(
    ledger: Ledger,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new folder for the lessons as JSON lines, one file for each auditor and "
            "signal.",
            metavar="FOLDER",
        ),
    ] = None,
    format: Annotated[
        Written,
        typer.Option(
            help="How they are written: as digests that are read back to the bit, as data sets in "
            "TRL's columns, or in PRM800K's step format."
        ),
    ] = Written.AUDITION,
    as_json: Json = False,
) -> None:
    """Draw the lessons of live runs and reviewed records; count what is refused, by reason."""
    from audition.learn.live import lessons_of
    from audition.ledger import SqlLedger

    files: dict[str, str] = {}
    omitted: Counter[str] = Counter()
    with SqlLedger.open(ledger, create=False) as opened:
        found = lessons_of(opened)
        if out is not None and found.lessons:
            try:
                out.mkdir(parents=True)
            except FileExistsError:
                raise Stop(f"{out}: it is there already; name a new folder") from None
            for what, name, lines in _files(format, opened, found, omitted):
                write_lines(out / name, lines)
                files[what] = name
    if as_json:
        answer(
            {
                "runs": found.runs,
                "let_go": found.let_go,
                "moments": found.moments,
                "lessons": [_described(one) for one in found.lessons],
                "refused": dict(found.refused),
                "omitted": dict(omitted),
                "files": files,
            }
        )
        return
    if found.let_go:
        tell(f"left out: {some(found.let_go, 'run')} let go, which only an archive has")
    tell(f"{some(found.moments, 'moment')} in {some(found.runs, 'run')}")
    for one in found.lessons:
        fields = _described(one)
        tell(
            f"  {some(len(one), 'lesson')} by {one.signal} from {shown(one.auditor, 80)}, of "
            f"{one.population:,} moments (worth {fields['effective']:,.1f} unweighted)"
        )
    if not found.lessons:
        tell("  no lessons")
    for reason, count in found.refused.most_common():
        tell(f"  refused {count:,}: {reason}")
    for reason, count in omitted.most_common():
        tell(f"  not written {count:,}: {reason}")
    for name in files.values():
        tell(f"wrote {shown(str(out), 300)}/{name}")


def _files(
    format: Written, ledger: SqlLedger, found: Harvest, omitted: Counter[str]
) -> Iterator[tuple[str, str, Iterable[str]]]:
    """What each file holds, its name and its lines; a file without lines is none."""
    from audition.learn.drawn import Drawing

    if format is Written.AUDITION:
        for number, one in enumerate(found.lessons, 1):
            name = f"{number:02}-{one.signal}.jsonl"
            yield f"{one.signal} {one.auditor}", name, _digests(one, name)
        return
    drawing = Drawing(ledger)
    number = 0
    for form, auditor, lines in _forms(format, drawing, found):
        if (first := next(lines, None)) is not None:
            number += 1
            yield f"{form} {auditor}", f"{number:02}-{form}.jsonl", chain([first], lines)
    omitted.update(drawing.omitted)


def _digests(one: Lessons, name: str) -> Iterator[str]:
    from audition.learn.export import ExportError, to_rows

    try:
        for row in to_rows(one, None):
            yield row.decode()
    except ExportError as error:
        raise Stop(f"{name}: {error}") from None


def _forms(
    format: Written, drawing: Any, found: Harvest
) -> Iterator[tuple[str, str, Iterator[str]]]:
    """Each auditor's rows of one form, whatever the number of candidates compared."""
    from audition.learn.prm800k_lines import prm800k_rows
    from audition.learn.trl_rows import data_sets, line

    together: dict[tuple[str, str], list[Iterator[Any]]] = {}
    for one in found.lessons:
        if format is Written.TRL:
            for made in data_sets(one):
                together.setdefault((made.form, one.auditor), []).append(made.rows(drawing))
        elif one.signal == "approval":
            together.setdefault(("prm800k", one.auditor), []).append(prm800k_rows(drawing, one))
    for (form, auditor), rows in together.items():
        yield form, auditor, map(line, chain.from_iterable(rows))


def _described(one: Lessons) -> dict[str, Any]:
    weight_L = one.weight_L
    return {
        "auditor": one.auditor,
        "signal": one.signal,
        "count": len(one),
        "population": one.population,
        "effective": float(weight_L.sum() ** 2 / (weight_L**2).sum()),
        "mean_approval": None if one.approval_L is None else float(one.approval_L.mean()),
        "digest": one.digest(),
    }
