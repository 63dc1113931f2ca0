"""`audition lessons`: what a ledger's audits have to teach, and why the rest may not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, plainly, some, tell
from audition.console.writing import write_whole
from audition.plain import shown

if TYPE_CHECKING:
    from audition.learn import Lessons


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
    as_json: Json = False,
) -> None:
    """Draw the lessons of live runs and reviewed records; count what is refused, by reason."""
    from audition.learn.export import ExportError, to_rows
    from audition.learn.live import lessons_of
    from audition.ledger import SqlLedger

    with SqlLedger.open(ledger, create=False) as opened:
        found = lessons_of(opened)
    files: dict[str, str] = {}
    if out is not None and found.lessons:
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            raise Stop(f"{out}: it is there already; name a new folder") from None
        for number, some_ in enumerate(found.lessons, 1):
            name = f"{number:02}-{some_.signal}.jsonl"
            try:
                write_whole(out / name, b"".join(to_rows(some_, None)).decode())
            except ExportError as error:
                raise Stop(f"{name}: {error}") from None
            files[f"{some_.signal} {some_.auditor}"] = name
    if as_json:
        answer(
            {
                "runs": found.runs,
                "let_go": found.let_go,
                "moments": found.moments,
                "lessons": [_described(one) for one in found.lessons],
                "refused": dict(found.refused),
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
    for name in files.values():
        tell(f"wrote {shown(str(out), 300)}/{name}")


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
