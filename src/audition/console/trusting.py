"""`audition trust`: what planted steps and the lottery say of each auditor; `audition plants`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.runs import Json, Ledger, Newest, find, newest
from audition.console.speaking import Stop, answer, plainly, some, tell
from audition.console.writing import write_whole
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.measure import Proportion
    from audition.step import RunId
    from audition.think import Plant
    from audition.trust import AuditorTrust, Trust


@plainly
def trust(
    ledger: Ledger,
    run: Annotated[
        str,
        typer.Argument(
            help="The run, or how its id begins; otherwise every live run.",
            metavar="[RUN]",
            show_default=False,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Say how far each auditor is to be trusted: what it missed, its false alarms, what ran unseen.

    Verify the ledger first: this reads what it says.
    """
    from audition import trust as reading
    from audition.ledger import SqlLedger

    with SqlLedger.open(ledger, create=False) as opened:
        found = reading.trust(opened, [find(opened, ledger, run)] if run else None)
    if as_json:
        answer(asdict(found))
        return
    for line in _told(found):
        tell(line)


@plainly
def plants(
    ledger: Ledger,
    out: Annotated[
        Path,
        typer.Argument(help="The new file.", metavar="FILE", show_default=False),
    ],
    run: Newest = "",
) -> None:
    """Write a run's own steps as planted steps to begin with: sort them, change some to harm.

    Every line says "harmful": false, which is yours to judge.
    """
    from audition.ledger import SqlLedger

    if out.exists():
        raise Stop(f"{out}: it is there already; name a new file")
    with SqlLedger.open(ledger, create=False) as opened:
        this = find(opened, ledger, run) if run else newest(opened, ledger)
        lines = [one.model_dump_json(exclude_none=True) for one in _own(opened, this)]
    if not lines:
        raise Stop(f"run {this}: no step of it was let pass")
    write_whole(out, "".join(f"{line}\n" for line in lines))
    tell(f"wrote {some(len(lines), 'step')} to {shown(str(out), 300)}")


def _own(ledger: SqlLedger, run: RunId) -> Iterator[Plant]:
    """The steps of a run that were not refused, each once."""
    from audition.records import record_of
    from audition.step import digest_of
    from audition.think import Plant

    seen: set[str] = set()
    for step in record_of(ledger, run)[0].steps():
        refused = step.outcome is not None and step.outcome.status == "refused"
        line = Plant(proposal=step.proposal, harmful=False, thought=step.thought)
        if not refused and (name := digest_of(line.proposal)) not in seen:
            seen.add(name)
            yield line


def _told(found: Trust) -> Iterator[str]:
    if found.open:
        yield f"left out: {some(found.open, 'run')} not ended yet, whose lottery nobody can check"
    if found.let_go:
        yield f"left out: {some(found.let_go, 'run')} let go, which only an archive has"
    yield (
        f"{some(found.runs, 'live run')}, {some(found.steps, 'step')}; "
        f"{found.planted:,} of {some(found.sealed, 'planted step')} shown to auditors"
    )
    if found.planted:
        yield f"  the gate let pass {_share(found.passed, 'harmful')}"
        yield f"  and stopped {_share(found.stopped, 'harmless')}"
    if found.apart is not None:
        low, high = found.apart.low, found.apart.high
        yield (
            "  planted steps told from the thinker's own by a classifier: AUROC "
            f"{found.apart.auroc:.3f} [{low:.3f}, {high:.3f}]; .5 is chance"
        )
    elif found.planted:
        yield "  whether planted steps can be told from the thinker's own: too few of either"
    if not found.sealed:
        yield "  `[plants]` in a project file plants steps with known answers: docs/plants.md"
    for name, one in found.auditors.items():
        if name == "form":  # what it would stop is not planted
            continue
        yield f"{shown(name, 80)}:"
        yield from (f"  {line}" for line in _of(one))
    yield "This says nothing of a single catastrophe, nor of steps unlike the planted ones."


def _of(one: AuditorTrust) -> Iterator[str]:
    if one.harmful.n:
        yield f"missed {_share(one.harmful, 'harmful')}"
    if one.harmless.n:
        yield f"stopped {_share(one.harmless, 'harmless')}"
    for label, wrong in one.by_label.items():
        yield f"  wrong about {_share(wrong, shown(label, 60))}"
    if one.auroc is not None:
        yield f"its suspicion ranks harmful over harmless: AUROC {one.auroc:.3f}"
    if one.failures:
        yield f"failed over {some(one.failures, 'planted step')}, which the gate then stopped"
    if not (one.harmful.n or one.harmless.n):
        yield "no planted step came before it: nothing is known of its misses"
    if one.unseen is not None:
        yield (
            f"asked about {one.drawn:,} of {some(one.reached, 'step')}, rejected {one.rejected:,}: "
            f"of those not asked about it would have rejected at most {one.unseen.unseen:,} "
            f"({100 * one.unseen.executed_rate:.1f} % of what then ran), at 95 %"
        )


def _share(of: Proportion, what: str) -> str:
    if of.value is None:
        return f"no {what} planted step: none was judged"
    interval = f"[{100 * of.low:.1f}, {100 * of.high:.1f}]"
    return f"{of.hits:,} of {of.n:,} {what} planted steps ({100 * of.value:.1f} % {interval})"
