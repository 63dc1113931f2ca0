"""A run on one screen: what it came to, whom it waits for, and its last steps as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from audition.console.speaking import some
from audition.console.standing import SUSPICIOUS, Cost, Row, Standing
from audition.console.telling import came_back, proposed
from audition.ledger import LedgerError, text
from audition.plain import shown
from audition.step import Failure, Micros, Verdict, now

if TYPE_CHECKING:
    from rich.console import ConsoleDimensions

_COLOURS = {
    "proceed": "green",
    "reject": "red",
    "terminate": "bold red",
    "modify": "yellow",
    "escalate": "yellow",
}


def picture(standing: Standing, size: ConsoleDimensions) -> Group:
    """What is shown on a screen of this size: its lines are cut to the width, and none is more."""
    head = list(_head(standing))
    room = max(0, size.height - len(head) - 2)
    lines = [*head, Text(), *_tree(standing, room)][: max(0, size.height - 1)]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _head(standing: Standing) -> Iterator[Text]:
    tally, opened = standing.tally, standing.tally.progress.opened
    name = f"run {standing.run[:12]}…  "
    if opened is None:
        yield Text(f"{name}no event yet")
        return
    yield Text.assemble(
        (name, "bold"), f"{shown(opened.project, 60)}  {opened.mode}, {standing.status}"
    )
    yield Text(_goal(standing), style="dim")
    if (behind := standing.seen - standing.counted) > 0:
        yield Text(f"counting: {behind:,} events are still to be counted", style="yellow")
    kinds = dict(tally.kinds) if opened.mode == "simulated" else {}
    counts = [
        some(tally.steps, "step"),
        *([f"{tally.planted:,} planted"] if tally.planted else []),
        f"{some(tally.verdicts, 'verdict')}, {tally.suspicious:,} suspicious",
        *([some(tally.failures, "failed audit")] if tally.failures else []),
        *(f"{number:,} {what}" for what, number in sorted(tally.decisions.items())),
        *(f"{number:,} {what}" for what, number in sorted(tally.acts.items())),
        *(f"{number:,} {kind}" for kind, number in sorted(kinds.items())),
    ]
    yield Text(" · ".join(counts))
    yield Text(f"thinking {_cost(tally.thinking)} · judging {_cost(tally.judging)}")
    yield from _waits(standing)


def _goal(standing: Standing) -> str:
    opened = standing.tally.progress.opened
    assert opened is not None
    try:
        goal = text(standing.ledger.get(opened.goal))
    except LedgerError as error:
        goal = f"({error})"
    return shown(" ".join(goal.split()), 400)


def _waits(standing: Standing) -> Iterator[Text]:
    if closed := standing.recent.closed:
        yield Text(f"{closed.status}. {shown(closed.reason, 300)}".rstrip(), style="bold")
        return
    for name, until in standing.tally.waits():
        whom = "someone to say whether the act happened" if name == "settle" else shown(name, 100)
        yield Text(f"waits for {whom}{_until(until)}", style="bold yellow")
    ago = timedelta(seconds=max(0, (now() - standing.recent.last) // 1_000_000))
    yield Text(f"last event {ago} ago", style="dim")


def _until(deadline: Micros | None) -> str:
    if deadline is None:
        return ""
    left = (deadline - now()) // 1_000_000
    clock = datetime.fromtimestamp(deadline / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f" until {clock}" + (f" ({timedelta(seconds=left)} left)" if left > 0 else ", too late")


def _cost(cost: Cost) -> str:
    parts = [f"{cost.seconds:,.1f} s"]
    if cost.calls:
        parts.append(some(cost.calls, "call"))
    if cost.tokens_in or cost.tokens_out:
        parts.append(f"{cost.tokens_in:,} + {cost.tokens_out:,} tokens")
    if cost.usd:
        parts.append(f"${cost.usd:,.4f}")
    return ", ".join(parts)


def _tree(standing: Standing, room: int) -> Iterator[Text]:
    """The last steps, two lines each, indented by their place; the newest is the last."""
    every = list(standing.recent.rows)
    rows = _last(every, room // 2)
    if rows and rows[0].place not in ("", "1"):  # what opened its place is not there to be seen
        rows = _last(every, (room - 1) // 2)
        yield from (Text(f"… in {_place(row.place)}", style="dim") for row in rows[:1])
    for row in rows:
        margin = "│ " * row.place.count(".")
        yield _first(standing, row, margin)
        yield _second(standing, row, margin)


def _last(rows: list[Row], count: int) -> list[Row]:
    return rows[-count:] if count > 0 else []


def _first(standing: Standing, row: Row, margin: str) -> Text:
    again = f" (attempt {row.attempt})" if row.attempt else ""
    what = proposed(standing.ledger, row.proposal) if row.proposal else "thought; nothing proposed"
    return Text.assemble(
        (margin, "dim"), (f"{_place(row.place)} ", "dim"), (f"{row.turn}{again}  ", "bold"), what
    )


def _second(standing: Standing, row: Row, margin: str) -> Text:
    line = Text.assemble((margin, "dim"), "    ")
    for answer in row.verdicts:
        bad = answer.suspicion >= SUSPICIOUS
        line.append(f"{shown(answer.auditor, 40)} {_score(answer)}  ", "red" if bad else "")
    if row.more:
        line.append(f"and {row.more:,} more  ")
    for name in row.asked:
        line.append(f"{shown(name, 40)} is asked  ", "yellow")
    if row.planted:
        line.append("planted  ", "magenta")
    if row.decision:
        why = "" if row.decision == "proceed" else f" ({shown(row.reason, 120)})"
        line.append(f"→ {row.decision}{why}  ", _COLOURS.get(row.decision, ""))
    if row.outcome is not None:
        line.append(f"→ {came_back(standing.ledger, row.outcome)}")
    elif row.in_doubt and not row.ended:
        line.append("→ in doubt: nobody knows whether it happened", "bold red")
    elif row.started and not row.ended:
        line.append("→ is being performed", "yellow")
    return line


def _score(answer: Verdict | Failure) -> str:
    if isinstance(answer, Failure):
        return answer.kind
    return "abstains" if answer.score is None else f"{answer.suspicion:.2g}"


def _place(place: str) -> str:
    return shown(place if len(place) <= 40 else f"…{place[-39:]}", 60)
