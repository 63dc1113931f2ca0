"""A run told line by line, as its events come."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from audition.audit import written
from audition.canonical import parse
from audition.console.speaking import margined, say
from audition.ledger import LedgerError, SqlLedger, text
from audition.ledger.events import (
    ActFinished,
    ActInDoubt,
    ActRecorded,
    ActSettled,
    AuditAsked,
    AuditRecorded,
    PlantOpened,
    RunClosed,
    RunOpened,
    RunResumed,
    StepDecided,
    StepProposed,
    StepThought,
    ThoughtFailed,
)
from audition.plain import shown
from audition.step import (
    Completed,
    Digest,
    Event,
    Failure,
    Outcome,
    Verdict,
    Words,
    parse_proposal,
)

WIDTH = 160
"""Characters of a proposal or an answer that a line shows."""


class Telling:
    """Says what happens in a run.

    Args:
        ledger: where the content is.
        say: takes a line.
        thoughts: whether thoughts and calls in the box are told too, in full.
    """

    def __init__(
        self, ledger: SqlLedger, *, say: Callable[[str], None] = say, thoughts: bool = False
    ) -> None:
        self._ledger = ledger
        self._say = say
        self._thoughts = thoughts
        self._people: set[str] = set()
        self.acts = 0
        """Acts that were performed."""

    def __call__(self, event: Event) -> None:
        """Say what this event means, if it means something to a person."""
        for line in self.lines(event):
            self._say(line)

    def lines(self, event: Event) -> Iterator[str]:
        """What there is to say of this event."""
        match event.body:
            case RunOpened(auditors=auditors):
                self._people = {one.name for one in auditors if one.person}
            case (StepThought() | ThoughtFailed()) as body if self._thoughts:
                yield from self._thought(body)
            case StepProposed() as body:
                again = f" (attempt {body.attempt})" if body.attempt else ""
                yield f"step {body.turn}{again}: {proposed(self._ledger, body.proposal)}"
            case AuditAsked(auditor=auditor):
                yield f"  asked: {shown(auditor, 100)}"
            case AuditRecorded(answer=answer):
                yield from self._answered(answer)
            case PlantOpened(harmful=harmful, label=label):
                kind = f" ({shown(label, 60)})" if label else ""
                due = "stopped" if harmful else "let pass"
                yield f"  planted{kind}, to be {due}; nothing is done, whatever is decided"
            case StepDecided(decision=decision):
                yield f"  {decision.action}" + _because(decision.action, decision.reason)
            case ActFinished(outcome=outcome):
                self.acts += 1
                yield "  " + came_back(self._ledger, outcome)
            case ActRecorded(outcome=str() as outcome):
                yield "  " + came_back(self._ledger, outcome)
            case ActInDoubt(outcome=outcome):
                yield "  nobody knows whether the act happened: it is in doubt"
                if outcome is not None:
                    yield "  " + came_back(self._ledger, outcome)
            case ActSettled() as body:
                word = "happened" if body.happened else "did not happen"
                yield f"  {shown(body.by, 100)}: it {word}"
            case RunResumed():
                yield "taken up again"
            case RunClosed(status=status, reason=reason):
                yield f"{status}. {shown(reason, len(reason))}".strip()  # its end is the way out
            case _:
                pass

    def _thought(self, thought: StepThought | ThoughtFailed) -> Iterator[str]:
        if thought.content is not None:
            yield f"thought before step {thought.turn}:"
            yield from margined(text(self._ledger.get(thought.content)))
        if thought.calls is not None:
            for call in map(Completed.model_validate, parse(self._ledger.get(thought.calls))):
                yield f"  in the box: {shown(shlex.join(call.argv), 1000)}"
                yield from margined((call.stdout + call.stderr).decode(errors="replace"))
                if call.stopped or call.returncode:
                    yield f"  {call.stopped or f'exit {call.returncode}'}"

    def _answered(self, answer: Verdict | Failure) -> Iterator[str]:
        name = shown(answer.auditor, 100)
        why = _flat(self._why(answer))
        if isinstance(answer, Verdict) and answer.auditor in self._people:
            yield f"  {name}: {_word(answer)}. {why}".rstrip()
        elif answer.suspicion > 0:
            yield f"  {name}: suspicion {answer.suspicion:.2g}. {why}".rstrip()

    def _why(self, answer: Verdict | Failure) -> str:
        if isinstance(answer, Failure):
            return f"{answer.kind}: {answer.detail}" if answer.detail else answer.kind
        if answer.said is None:
            return answer.abstains or ""
        try:
            return Words.parse(self._ledger.get(answer.said)).rationale
        except (LedgerError, ValueError):
            return ""


def proposed(ledger: SqlLedger, name: Digest) -> str:
    """What is put forward, on one line; why it cannot be told, where it was redacted."""
    try:
        return _cut(written(parse_proposal(ledger.get(name))))
    except (LedgerError, ValueError) as error:
        return f"({shown(str(error), WIDTH)})"


def came_back(ledger: SqlLedger, name: Digest) -> str:
    """What the world answered, likewise."""
    try:
        outcome = Outcome.parse(ledger.get(name))
    except (LedgerError, ValueError) as error:
        return f"({shown(str(error), WIDTH)})"
    code = outcome.data.get("returncode")
    told = outcome.output
    if not told.strip() and outcome.status == "failed":
        told = str(outcome.data.get("stderr") or "")
        told = f"exit {code}. {told}".rstrip(" .") if code is not None else told
    return f"{outcome.status}: {_flat(told)}".rstrip(": ")


def _word(verdict: Verdict) -> str:
    """What a person said, and how sure; the score alone would hide it."""
    if verdict.score is None:
        return "abstain"
    against = verdict.suspicion
    if verdict.replacement is not None:
        return f"modify, {against:.0%} sure".replace("%", " %")
    word = "torn" if against == 0.5 else "reject" if against > 0.5 else "approve"
    return f"{word}, {100 * max(against, 1 - against):.0f} % sure"


def _because(action: str, reason: str) -> str:
    return "" if action == "proceed" else f": {shown(reason, WIDTH)}"


def _flat(text: str, limit: int = WIDTH) -> str:
    return shown(" ".join(text.split()), limit)


def _cut(plain: str) -> str:
    """The beginning, on one line, of what was made plain already."""
    line = " ".join(plain.split())
    return line if len(line) <= WIDTH else f"{line[:WIDTH]} … ({len(line) - WIDTH} more characters)"
