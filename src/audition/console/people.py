"""What waits for a person: `audition pending`, `judge`, `approve`, `reject`, `settle`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import (
    Stop,
    answer,
    command,
    plainly,
    say,
    some,
    tell,
    wait_for,
)
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger.claims import Work
    from audition.waiting import Signing

SHORTEST = 8
"""Digits of a moment that may stand for the whole of it."""

Run = Annotated[str, typer.Argument(help="The run.", metavar="RUN", show_default=False)]
As = Annotated[str, typer.Option("--as", help="Your name, as the gate has it.", metavar="NAME")]
Key = Annotated[str, typer.Option(help="Which key of yours signs; without it, that of your name.")]
Meant = Annotated[
    str,
    typer.Option(
        help="The moment that you mean, as `pending` shows it; without it you are asked.",
        metavar="DIGITS",
    ),
]
Because = Annotated[str, typer.Option(help="Why; it is recorded.", metavar="TEXT")]

LINES = 12
"""Lines of a proposal that `pending` shows; `judge` shows all."""


@plainly
def pending(ledger: Ledger, as_json: Json = False) -> None:
    """List what waits for a person, and what is open and waits for nobody."""
    from audition.audit import written
    from audition.console.awaiting import how_far, keyless
    from audition.console.runs import left_open
    from audition.ledger import SqlLedger
    from audition.ledger.claims import queue
    from audition.step import now
    from audition.waiting import waiting

    with SqlLedger.open(ledger, create=False) as opened:
        found = list(waiting(opened, unreadable=_unreadable))
        idle = [one.run for one in left_open(opened, {one.run for one in found})]
        lacking = list(keyless(opened, ledger, found))
        work = queue(opened.database)
    if as_json:
        answer(
            {
                "waiting": [
                    {
                        "run": one.run,
                        "turn": one.turn,
                        "for": one.for_whom,
                        "deadline": one.deadline,
                        "ticket": one.ticket,
                        "moment": one.moment,
                        "signing": _counted(one.signing) if one.signing else None,
                        "told": one.told or None,
                        "in_doubt": one.in_doubt,
                        "proposal": one.proposal.model_dump(exclude_none=True),
                    }
                    for one in found
                ],
                "open": idle,
                "work": [asdict(one) for one in work],
            }
        )
        return
    carried = {one.run: shown(one.worker or "", 120) for one in work if one.leased}
    told: set[tuple[str, str | None]] = set()
    for one in found:
        left = ""
        if one.deadline is not None:
            seconds = (one.deadline - now()) / 1e6
            span = str(timedelta(seconds=round(seconds)))
            left = f", {span} left" if seconds > 0 else ", too late: the answer is no"
        if one.for_whom == "settle":
            way = command("settle", ledger, one.run) + " --happened|--did-not --by NAME"
            if one.run in carried:
                stands, way = f"is under way at {carried[one.run]}", ""
            elif one.in_doubt:
                stands = "is in doubt; did it happen?"
            else:
                stands = (
                    "has begun and has no outcome: it is under way, or in doubt; settle it only "
                    "once its process has ended"
                )
            tell(f"run {one.run} step {one.turn}: an act {stands}")
            if one.told:
                tell(f"  its executor says: {shown(one.told, 300)}")
        elif one.signing is not None and one.moment is not None:
            who = shown(one.for_whom, 100)
            tell(f"run {one.run} step {one.turn} waits for the key of {who}{left}")
            if (one.run, one.moment) not in told:
                tell(f"  {how_far(one.signing)}; the moment is {one.moment}")
            way = command("approve", ledger, one.run, "--as", one.for_whom)
        else:
            tell(f"run {one.run} step {one.turn} waits for {shown(one.for_whom, 100)}{left}")
            way = command("judge", ledger, "--as", one.for_whom)
        lines = [] if (one.run, one.moment) in told else written(one.proposal).split("\n")
        told.add((one.run, one.moment))
        for line in lines[:LINES]:
            tell(f"  | {line}")
        if len(lines) > LINES:
            tell(f"  … {some(len(lines) - LINES, 'more line')}; judging shows all")
        if way:
            tell(f"  {way}")
    for line in lacking:
        tell(line)
    for one in work:
        if one.state != "waiting" or one.attempts:
            tell(f"run {one.run} of {shown(one.project, 60)} {_queued(one)}")
    queued = {one.run for one in work}
    for run in (one for one in idle if one not in queued):
        way = command("run", "PROJECT", "--ledger", ledger, "--resume", run)
        tell(f"run {run} is open; go on with: {way}")
    if not found and not idle and not work:
        tell("nothing waits")


def _queued(one: Work) -> str:
    """How a run stands in the queue."""
    span = "" if one.left is None else str(timedelta(seconds=max(0, round(one.left))))
    if one.state == "ready":
        return "is in the queue"
    if one.state == "waiting":
        why = shown(one.note or "", 300)
        return f"could not be carried, tried again in {span}: {why}"
    if one.left is not None and one.left < 0:
        return f"is left by {shown(one.worker or '', 120)}, which let its lease run out"
    return f"is held by {shown(one.worker or '', 120)} for {span} unless it renews that"


@plainly
def judge(
    ledger: Ledger,
    name: As,
    run: Annotated[str, typer.Option(help="Only this run.", metavar="RUN")] = "",
) -> None:
    """Judge, at this terminal, every moment that waits for you."""
    from audition.audit import Left, Person
    from audition.console.hearing import hear
    from audition.console.keys import signer, signer_or_none
    from audition.console.runs import find
    from audition.ledger import SqlLedger
    from audition.step import Role
    from audition.waiting import answer as record
    from audition.waiting import declared, waiting

    with SqlLedger.open(ledger, create=False, signer=signer()) as opened:
        run = find(opened, ledger, run) if run else ""
        found = waiting(opened, unreadable=_unreadable)
        key = signer_or_none(name)
        mine = [one for one in found if one.for_whom == name and run in ("", one.run)]
        if not mine:
            raise Stop(f"nothing waits for {shown(name, 100)}; see: {command('pending', ledger)}")
        for one in mine:
            role = Role(declared(opened, one.run, name).role)
            person = Person(name, role=role, say=say, hear=hear, key=key)
            stands = f"nothing was recorded; step {one.turn} of run {one.run} still waits"
            try:
                wait_for(lambda run=one.run, person=person: record(opened, run, person, key=key))
            except Left:
                raise Stop(stands) from None
            except KeyboardInterrupt:
                raise Stop(stands, 130) from None
            say("recorded; whoever carries the run goes on from here")


@plainly
def approve(
    ledger: Ledger,
    run: Run,
    name: As,
    key: Key = "",
    moment: Meant = "",
    because: Because = "approved",
) -> None:
    """Sign, with your own key, that the step which waits may be taken exactly as it is shown."""
    _sign_off("approve", ledger, run, name, key, moment, because)


@plainly
def reject(
    ledger: Ledger,
    run: Run,
    name: As,
    key: Key = "",
    moment: Meant = "",
    because: Because = "rejected",
) -> None:
    """Sign, with your own key, that the step which waits must not be taken; one no is enough."""
    _sign_off("reject", ledger, run, name, key, moment, because)


@plainly
def settle(
    ledger: Ledger,
    run: Run,
    happened: Annotated[
        bool | None, typer.Option("--happened/--did-not", help="Whether the act took effect.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who says so.", metavar="NAME")] = "",
    told: Annotated[str, typer.Option(help="What the run is told came back.", metavar="TEXT")] = "",
) -> None:
    """Say whether an act in doubt happened, so that its run can go on."""
    from audition.console.keys import signer
    from audition.console.runs import find
    from audition.ledger import SqlLedger
    from audition.waiting import settle as record

    if happened is None or not by:
        raise Stop("settle needs --happened or --did-not, and --by NAME", 2)
    with SqlLedger.open(ledger, create=False, signer=signer()) as opened:
        run = find(opened, ledger, run)
        wait_for(lambda: record(opened, run, happened=happened, by=by, told=told))
    say("settled")


def _sign_off(
    word: str, ledger: str, run: str, name: str, key: str, meant: str, because: str
) -> None:
    """Show what waits, have the person confirm it unless they named it, and record the answer."""
    from audition.audit import Left, Person
    from audition.console.hearing import hear
    from audition.console.keys import keyring, signer
    from audition.console.runs import find
    from audition.ledger import SqlLedger
    from audition.step import Role
    from audition.waiting import answer as record
    from audition.waiting import asked, declared

    if meant and (len(meant) < SHORTEST or set(meant) - set("0123456789abcdef")):
        raise Stop(f"--moment: at least {SHORTEST} digits of what `audition pending` shows", 2)
    signs = keyring().signer(key or name)
    with SqlLedger.open(ledger, create=False, signer=signer()) as opened:
        run = find(opened, ledger, run)
        turn, moment = asked(opened, run, name)
        if not moment.startswith(meant):
            raise Stop(f"run {run} waits about another moment now: {moment}; look again")
        code = moment[:4]
        answers = [because, "100", f"{word} {code}"]

        async def says(question: str) -> str:
            """What the command line says already, once the person has seen what it is about."""
            confirmed = meant or len(answers) < 3
            if not confirmed and (await hear(f"To {word} this, type {code}: ")).strip() != code:
                raise Left
            if not answers:
                raise Left  # it was refused: what is not shown whole, for one, is not approved
            return answers.pop()

        role = Role(declared(opened, run, name).role)
        person = Person(name, role=role, say=say, hear=says)
        stands = f"nothing was recorded; step {turn} of run {run} still waits"
        try:
            wait_for(lambda: record(opened, run, person, key=signs, moment=moment))
        except Left:
            raise Stop(stands) from None
        except KeyboardInterrupt:
            raise Stop(stands, 130) from None
    tell(
        f"recorded: {word}, signed by {signs.public.id}; whoever carries the run goes on from here"
    )


def _counted(signing: Signing) -> dict[str, Any]:
    return {
        "needs": signing.needs,
        "asked": list(signing.asked),
        "signed": list(signing.signed),
        "missing": signing.missing,
    }


def _unreadable(run: str, why: str) -> None:
    say(f"run {run} cannot be read: {shown(why, 300)}")
