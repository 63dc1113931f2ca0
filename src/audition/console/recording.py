"""`audition export --as chat|inspect`: runs as records that others, and `review`, can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from audition.console.speaking import Stop, command, progress_bar, say, some, tell
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.step import RunId


def record(ledger: str, file: Path, named: list[str], *, inspect: bool = False) -> None:
    """Write runs as chat JSONL, one a line, or as a log of Inspect, one a sample.

    Args:
        ledger: where the runs are.
        file: a new file.
        named: the runs, or how their ids begin; none: every run of single steps.
        inspect: whether it is to be a log of Inspect.

    Raises:
        Stop: there is no such run, or none to write, or the file's name is no log's.
        RecordError: a run cannot be written so; nothing is left of the file.
    """
    from audition.ledger import SqlLedger
    from audition.records import write_log

    if inspect and file.suffix != ".eval":
        raise Stop(f"{file}: Inspect knows a log by its name; end it in .eval", code=2)
    with ExitStack() as stack:
        opened = stack.enter_context(SqlLedger.open(ledger, create=False))
        runs = list(_runs(opened, ledger, named))
        if not runs:
            raise Stop(f"{ledger}: no run of single steps; nothing was written")
        bar = stack.enter_context(progress_bar("writing", len(runs)))
        with file.open("x", encoding="utf-8") as out:
            try:
                if inspect:
                    redacted = write_log(opened, ledger, runs, file, bar)
                else:
                    redacted = _lines(opened, runs, out, bar)
            except BaseException:
                file.unlink(missing_ok=True)
                raise
    tell(f"{some(len(runs), 'run')} in {shown(str(file), 300)}")
    if redacted:
        say(f"{some(redacted, 'content')} redacted: [redacted] stands in place")
    say(f"judge them: {command('review', file, '--auditor', 'rules')}")


def _lines(
    ledger: SqlLedger, runs: list[RunId], out: TextIO, progress: Callable[[int], None]
) -> int:
    """Write each run as a line; returns how many contents were redacted."""
    from audition.records import record_of, written

    redacted = 0
    for number, run in enumerate(runs, 1):
        made, gone = record_of(ledger, run)
        out.write(written(made) + "\n")
        redacted += gone
        progress(number)
    return redacted


def _runs(ledger: SqlLedger, where: str, named: list[str]) -> Iterator[RunId]:
    from audition.console.runs import find
    from audition.ledger.events import RunOpened

    if named:
        yield from dict.fromkeys(find(ledger, where, one) for one in named)
        return
    for run in ledger.runs():
        first = next(ledger.read(run), None)
        if first and isinstance(first.body, RunOpened) and first.body.mode != "simulated":
            yield run
