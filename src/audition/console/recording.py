"""`audition export --as chat`: runs written as records that others, and `review`, can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from audition.console.speaking import Stop, command, progress_bar, say, some, tell
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.step import RunId


def record(ledger: Path, file: Path, named: list[str]) -> None:
    """Write runs as chat JSONL, one a line.

    Args:
        ledger: where the runs are.
        file: a new file.
        named: the runs, or how their ids begin; none: every run of single steps.

    Raises:
        Stop: there is no such run, or none to write.
        RecordError: a run cannot be written so; nothing is left of the file.
    """
    from audition.ledger import SqlLedger
    from audition.records import record_of, written

    with ExitStack() as stack:
        opened = stack.enter_context(SqlLedger.open(ledger, create=False))
        runs = list(_runs(opened, ledger, named))
        if not runs:
            raise Stop(f"{ledger}: no run of single steps; nothing was written")
        bar = stack.enter_context(progress_bar("writing", len(runs)))
        lines = redacted = 0
        try:
            with file.open("x", encoding="utf-8") as out:
                for lines, run in enumerate(runs, 1):
                    made, gone = record_of(opened, run)
                    out.write(written(made) + "\n")
                    redacted += gone
                    bar(lines)
        except FileExistsError:
            raise
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    tell(f"{some(lines, 'run')} in {shown(str(file), 300)}")
    if redacted:
        say(f"{some(redacted, 'content')} redacted: [redacted] stands in place")
    say(f"judge them: {command('review', file, '--auditor', 'rules')}")


def _runs(ledger: SqlLedger, where: Path, named: list[str]) -> Iterator[RunId]:
    from audition.console.runs import find
    from audition.ledger.events import RunOpened

    if named:
        yield from dict.fromkeys(find(ledger, where, one) for one in named)
        return
    for run in ledger.runs():
        first = next(ledger.read(run), None)
        if first and isinstance(first.body, RunOpened) and first.body.mode != "simulated":
            yield run
