"""`audition run PROJECT`."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.speaking import (
    Stop,
    answer,
    command,
    margined,
    plainly,
    say,
    some,
    tell,
    wait_for,
)
from audition.plain import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audition.loop import Result
    from audition.project import PersonAuditor
    from audition.step import Auditor, Thinker, ToolSchema
    from audition.think import HumanThinker

CODES = {"finished": 0, "failed": 1, "waiting": 3, "exhausted": 4, "terminated": 5}
"""Exit codes, by how a run stands."""

ENDS = "Exit codes: " + ", ".join(f"{code} {status}" for status, code in CODES.items()) + "."


@plainly
def run(
    project: Annotated[
        Path, typer.Argument(help="The project file.", metavar="PROJECT", show_default=False)
    ],
    ledger: Annotated[str, typer.Option(help="The ledger.", metavar="LEDGER")] = "audition.db",
    resume: Annotated[
        str, typer.Option(help="A run to take up again, or how its id begins.", metavar="RUN")
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay while a person elsewhere is awaited.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Carry a run of a project, every step judged before it happens."""
    from audition.audit import Left, Person
    from audition.console.awaiting import keyless, signings, whom
    from audition.console.hearing import hear
    from audition.console.keys import draw_secret, signer, signer_or_none
    from audition.console.runs import find
    from audition.console.telling import Telling
    from audition.ledger import SqlLedger
    from audition.loop import run as carry
    from audition.project import load
    from audition.step import Role
    from audition.think import PersonThinker
    from audition.waiting import awaited

    at_terminal = sys.stdin.isatty() and not as_json

    def person(one: PersonAuditor) -> Auditor:
        ears = hear if at_terminal else None
        return Person(
            one.name,
            role=Role(one.role),
            ranks=one.ranks,
            say=say,
            hear=ears,
            key=signer_or_none(one.name),
        )

    def human(one: HumanThinker, tools: Sequence[ToolSchema]) -> Thinker:
        if not at_terminal:
            raise Stop(f"{shown(one.name, 100)} thinks at a terminal; this is none")
        return PersonThinker(one.name, tools, say=say, hear=hear)

    async def put(question: str, to: str) -> str | None:
        if not at_terminal:
            return None
        say(f"The run asks {shown(to, 100)}:")
        for line in margined(question):
            say(line)
        try:
            return (await hear("Your answer: ")).strip()
        except Left:
            return None

    loaded = load(project, secret=draw_secret(), person=person, put=put, human=human)
    with SqlLedger.open(ledger, signer=signer()) as opened:
        this = find(opened, ledger, resume) if resume else uuid.uuid4().hex
        again = command("run", project, "--ledger", ledger, "--resume", this)
        say(f"run {this}")
        watch = None if as_json else Telling(opened)
        try:
            result = wait_for(lambda: carry(loaded, opened, run_id=this, wait=wait, watch=watch))
        except KeyboardInterrupt:
            way = f"go on with: {again}" if this in opened.runs() else "nothing was recorded"
            raise Stop(f"interrupted; {way}", 130) from None
        found = list(awaited(opened, this)) if result.status == "waiting" else []
        hints = [*signings(found), *keyless(opened, ledger, found)]
    if as_json:
        answer(
            {
                "run": result.run,
                "status": result.status,
                "turns": result.turns,
                "answer": result.answer,
                "reason": result.reason,
                "waits_for": result.waits_for,
                "awaited": list(dict.fromkeys(one.for_whom for one in found)),
            }
        )
    else:
        _tell(result, ledger, again, whom(found) if found else result.waits_for, hints)
    if code := CODES[result.status]:
        raise Stop(code=code)


def _tell(
    result: Result, ledger: str, again: str, awaited: str | None, hints: Sequence[str]
) -> None:
    if result.status == "waiting":
        if result.waits_for == "thinker":
            tell(f"run {result.run} waits for its thinker: {shown(result.reason, 300)}")
            tell(f"go on with: {again}")
            return
        tell(f"run {result.run} waits for {awaited}; see: {command('pending', ledger)}")
        for line in hints:
            tell(f"  {line}")
        tell(f"then: {again}")
        return
    tell(f"run {result.run}: {result.status} after {some(result.turns, 'step')}")
    if result.answer is not None:
        tell("answer:")
        for line in margined(result.answer):
            tell(line)
    tell(f"check it: {command('verify', ledger)}")
