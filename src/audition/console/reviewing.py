"""`audition review RECORDS…`: every step of a record judged, in a ledger that verifies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.speaking import (
    Stop,
    answer,
    plainly,
    progress_bar,
    say,
    some,
    tell,
    wait_for,
)
from audition.console.writing import write_whole
from audition.plain import shown

if TYPE_CHECKING:
    from audition.console.review_report import ReviewReport
    from audition.findings import Task
    from audition.ledger import SqlLedger
    from audition.records import Record, Survey
    from audition.review import Reviewed
    from audition.step import Auditor, RunId

BLIND_SPOT = {
    "checkers": "Checkers recompute what a step writes down; a wrong plan, computed rightly, "
    "passes. Reviewing solutions of word problems beside this shows by how much.",
    "rules": "Rules match what a step says, not what it does; who knows them writes around them.",
}


class Which(StrEnum):
    """Auditors that need no configuration."""

    RULES = "rules"
    CHECKERS = "checkers"


class Finds(StrEnum):
    """Findings that make the exit code 1."""

    FLAGGED = "flagged"
    ABSTAINED = "abstained"
    FAILED = "failed"
    DISPUTED = "disputed"


@plainly
def review(
    records: Annotated[
        list[Path], typer.Argument(metavar="RECORDS", show_default=False, hidden=True)
    ],
    auditor: Annotated[
        list[Which],
        typer.Option(help="Who judges: rules, checkers; may be repeated.", metavar="NAME"),
    ],
    rules: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with [[rules]], in place of the built-in ones.", metavar="FILE"
        ),
    ] = None,
    ledger: Annotated[
        str, typer.Option(help="The ledger.", metavar="LEDGER")
    ] = "audition-review.db",
    kind: Annotated[
        str, typer.Option("--format", help="Format, where it is not clear.", metavar="NAME")
    ] = "",
    limit: Annotated[
        int,
        typer.Option(
            help="Review at most so many records.", metavar="N", min=1, show_default=False
        ),
    ] = 2**53,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one HTML file.", metavar="FILE")
    ] = None,
    fail_on: Annotated[
        list[Finds] | None,
        typer.Option(
            help="Exit with code 1 on such a finding: flagged, abstained, failed, disputed; "
            "may be repeated.",
            metavar="FINDING",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge every step of recorded runs; a review that was cut goes on where it stopped.

    RECORDS are files or folders.
    """
    import time
    from dataclasses import asdict

    from audition.collecting import seldom_here
    from audition.console.keys import signer, trusted
    from audition.findings import findings
    from audition.ledger import SqlLedger, on_server
    from audition.records import read, survey
    from audition.review import review as carry
    from audition.verify import verify

    auditors = [_auditor(which, rules) for which in dict.fromkeys(auditor)]
    surveys = [one for path in records for one in survey(path, kind or None)]
    total = min(limit, sum(one.records for one in surveys))
    source = islice(_all(read(path, kind or None) for path in records), limit)
    key = signer()
    with SqlLedger.open(ledger, signer=key) as opened:
        begun = time.monotonic()
        with progress_bar("reviewing", total) as bar, seldom_here():

            def told(done: Reviewed) -> None:
                bar(done.runs + done.skipped)

            runs, done = wait_for(lambda: carry(source, opened, auditors, progress=told))
        seconds, mark = time.monotonic() - begun, time.process_time()
        tasks = findings(opened, runs)
        cpu = asdict(done.spent) | {"findings": time.process_time() - mark}
        mark = time.process_time()
        with progress_bar("verifying", opened.size) as bar:
            sound = verify(ledger, trusted=trusted(), progress=lambda now, of: bar(now))
        cpu["verifying"] = time.process_time() - mark
        report = _report(opened, records, auditors, tasks, runs, seconds, done)
    whole = limit >= sum(one.records for one in surveys)
    report = report.model_copy(
        update={
            "reconciliation": _reconciled(surveys, tasks) if whole else (),
            "ledger_bytes": 0 if on_server(ledger) else Path(ledger).stat().st_size,
        }
    )
    if html is not None:
        from audition.console.report import page

        write_whole(html, page(report))
        say(f"wrote {shown(str(html), 300)}")
    if as_json:
        stages = {stage: round(spent, 3) for stage, spent in cpu.items()}
        checked = {"verified": sound.ok, "findings": sound.found, "cpu_seconds": stages}
        answer(_json(report, tasks, done) | checked)
    else:
        from audition.console.report import screen

        screen(report)
        if done.skipped:
            tell(f"{done.skipped:,} of {some(len(runs), 'record')} in the ledger already")
        word = "verifies" if sound.ok else f"does not verify: {sound.first_bad}"
        tell(f"{shown(str(ledger), 300)}: {some(sound.events, 'event')}; the ledger {word}")
    if not sound.ok:
        raise Stop(f"{ledger}: {sound.first_bad}")
    if not all(one.agrees for one in report.reconciliation):
        raise Stop("the ledger does not agree with the records; see the reconciliation")
    _fail(fail_on or [], report, tasks)


def _auditor(which: Which, rules: Path | None) -> Auditor:
    from audition.audit import Rules, read_rules
    from audition.audit.checking import Checkers
    from audition.audit.shell_rules import SHELL_RULES

    if which is Which.CHECKERS:
        return Checkers()
    return Rules(SHELL_RULES if rules is None else read_rules(rules))


def _all(sources: Iterable[Iterator[Record]]) -> Iterator[Record]:
    return chain.from_iterable(sources)


def _report(
    ledger: SqlLedger,
    records: list[Path],
    auditors: list[Auditor],
    tasks: dict[str, Task],
    runs: list[RunId],
    seconds: float,
    done: Reviewed,
) -> ReviewReport:
    from audition.console.review_report import (
        DisputedLabel,
        FlaggedMoment,
        ReviewReport,
        TaskMeasures,
        Totals,
    )

    traces = [trace for task in tasks.values() for trace in task.traces]
    measures: dict[str, TaskMeasures] = {}
    for name, task in tasks.items():
        if (flags := task.detection()) is not None:
            labelled = [trace for trace in task.traces if trace.bad is not None]
            measures[name] = TaskMeasures.of(
                flags,
                task.first_mistakes(),
                [trace.suspicion for trace in labelled],
                [bool(trace.bad) for trace in labelled],
            )
    flagged = [
        FlaggedMoment(
            run=flag.run,
            turn=flag.turn,
            source=flag.source,
            task=name,
            kind=flag.kind,
            proposal=flag.what,
            auditor=flag.auditor,
            suspicion=flag.suspicion,
            rationale=flag.words.rationale,
            citations=flag.words.citations[:50],
        )
        for name, task in tasks.items()
        for flag in task.flags
    ]
    disputed = [
        DisputedLabel(
            run=one.run,
            turn=one.turn,
            source=one.source,
            task=name,
            label=_mistake(one.label),
            found=_mistake(one.found),
            proof=one.proof,
            excerpt=one.excerpt,
        )
        for name, task in tasks.items()
        for one in task.disputes
    ]
    blind = [BLIND_SPOT[auditor.name] for auditor in auditors if auditor.name in BLIND_SPOT]
    blind += [line for task in tasks.values() for line in _blind(task)]
    return ReviewReport(
        title=", ".join(path.name for path in records),
        ledger=ledger.origin,
        auditors=tuple(auditor.name for auditor in auditors),
        totals=Totals(
            runs=len(runs),
            moments=sum(trace.turns for trace in traces),
            verdicts=sum(trace.verdicts for trace in traces),
            flagged=sum(task.flags_total for task in tasks.values()),
            abstained=sum(trace.abstained for trace in traces),
            failed=sum(trace.failed for trace in traces),
        ),
        tasks=measures,
        flagged=tuple(flagged),
        flagged_omitted=sum(task.flags_total for task in tasks.values()) - len(flagged),
        disputed=tuple(disputed),
        disputed_omitted=sum(task.disputes_total for task in tasks.values()) - len(disputed),
        blind_spot="\n".join(blind),
        seconds=seconds,
        moments_per_second=done.moments / seconds if seconds else 0.0,
        checkpoint=ledger.checkpoint() or "",
    )


def _blind(task: Task) -> Iterator[str]:
    """How much of what is bad as a whole is flagged, what was not scored counted as passed."""
    if (share := task.shares()) is not None and task.first_mistakes() is None:
        yield (
            f"{task.name}: {share.flagged_bad} of {share.bad} bad records flagged "
            f"({share.of_bad:.1%}), {share.flagged_good} of {share.good} good ones "
            f"({share.of_good:.1%} false alarms)"
        )


def _reconciled(surveys: list[Survey], tasks: dict[str, Task]) -> tuple[Any, ...]:
    from audition.console.review_report import Reconciliation

    traces = [trace for task in tasks.values() for trace in task.traces]
    by_file: dict[tuple[str, str], list[Survey]] = {}
    for one in surveys:
        by_file.setdefault((one.file, one.format), []).append(one)

    def row(file: str, format: str, found: list[Survey]) -> Reconciliation:
        mine = [t for t in traces if (t.source.file, t.source.format) == (file, format)]
        return Reconciliation(
            file=file,
            format=format,
            records=sum(one.records for one in found),
            runs=len(mine),
            steps=sum(one.steps for one in found),
            moments=sum(trace.turns for trace in mine),
            calls=sum(trace.acts for trace in mine),
            malformed=sum(trace.malformed for trace in mine),
        )

    return tuple(row(file, format, found) for (file, format), found in by_file.items())


def _json(report: ReviewReport, tasks: dict[str, Task], done: Reviewed) -> dict[str, Any]:
    value = report.model_dump(mode="json")
    traces = [trace for task in tasks.values() for trace in task.traces]
    acts = sum(trace.acts for trace in traces)
    shares = {name: task.shares() for name, task in tasks.items()}
    return value | {
        "runs": report.totals.runs,
        "moments": report.totals.moments,
        "tool_calls": acts,
        "messages": report.totals.moments - acts,
        "broken_arguments": sum(trace.malformed for trace in traces),
        "already_reviewed": done.skipped,
        "blind_spot_by_task": {
            name: share.as_json() for name, share in shares.items() if share is not None
        },
    }


def _fail(on: list[Finds], report: ReviewReport, tasks: dict[str, Task]) -> None:
    counts = {
        Finds.FLAGGED: report.totals.flagged,
        Finds.ABSTAINED: report.totals.abstained,
        Finds.FAILED: report.totals.failed,
        Finds.DISPUTED: sum(task.disputes_total for task in tasks.values()),
    }
    found = [f"{counts[one]} {one.value}" for one in dict.fromkeys(on) if counts[one]]
    if found:
        raise Stop(f"found {', '.join(found)}")


def _mistake(turn: int | None) -> str:
    return "no mistake" if turn is None else f"first mistake at step {turn}"
