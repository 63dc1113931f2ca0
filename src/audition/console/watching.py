"""`audition watch` and `follow`: a run, or a whole ledger, followed from another terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.runs import Json, Ledger, Newest, find, newest, told_event
from audition.console.speaking import Stop, answer, plainly, say, tell

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.step import Event, RunId

POLL = 0.3
"""Seconds between looks at the ledger while nothing happens."""

AT_ONCE = 2000
"""Events that are taken into account between two pictures."""


@plainly
def watch(
    ledger: Ledger,
    run: Newest = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="With --json: one line an event, until the run ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Watch a run as it goes on, until it ends or Ctrl-C."""
    from audition.console.standing import Standing
    from audition.ledger import SqlLedger

    if follow and not as_json:
        raise Stop("--follow needs --json; without it, watch follows as it is", code=2)
    with SqlLedger.open(ledger, create=False) as opened:
        this = find(opened, ledger, run) if run else newest(opened, ledger)
        try:
            if as_json and not follow:
                standing = Standing(opened, this)
                standing.take()  # all of it
                answer(standing.as_json())
                return
            with _between_events() as pause:
                if as_json:
                    for event in _events(opened, this, pause):
                        answer(told_event(opened, event, thoughts=False))
                elif _can_draw():
                    _screen(opened, this, pause)
                else:
                    _lines(opened, this, pause)
        except KeyboardInterrupt:
            raise Stop("stopped watching; the run is as it was", 130) from None


@plainly
def follow(
    ledger: Ledger,
    after: Annotated[
        int, typer.Option(help="Begin behind the event with this index.", metavar="N", min=-1)
    ] = -1,
    once: Annotated[
        bool, typer.Option("--once", help="End with the last event instead of waiting for more.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Tell the events of all runs in the order of the ledger, and each new one as it comes."""
    from audition.ledger import SqlLedger

    gone: set[RunId] = set()
    with SqlLedger.open(ledger, create=False) as opened:
        try:
            with _between_events() as pause:
                while True:
                    for after, event in opened.follow(after):  # noqa: B020  where to go on
                        _tell(opened, after, event, gone, as_json=as_json)
                        pause(0)
                    if once:
                        return
                    pause(POLL)
        except KeyboardInterrupt:
            raise Stop(f"stopped after event {after}", 130) from None


def _tell(
    ledger: SqlLedger, index: int, event: Event | RunId, gone: set[RunId], *, as_json: bool
) -> None:
    """One line for an event, or for the first one that was let go of a run."""
    if isinstance(event, str):
        if event not in gone and as_json:
            answer({"index": index, "run": event, "let_go": True})
        elif event not in gone:
            say(f"{index:>9}  run {event} was let go; its archive has it")
        gone.add(event)
    elif as_json:
        answer({"index": index, "run": event.run, **told_event(ledger, event, thoughts=False)})
    else:
        tell(f"{index:>9}  {_clock(event)}  {event.run[:8]}  {event.body.kind}")


@contextmanager
def _between_events() -> Generator[Callable[[float], None]]:
    """While it lasts, Ctrl-C is heard where the caller pauses, and never within a look.

    What is interrupted while a library tidies up may swallow it, or say so with a traceback.
    """
    heard: list[int] = []

    def pause(seconds: float) -> None:
        if seconds:
            time.sleep(seconds)
        if heard:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield pause
    finally:
        signal.signal(signal.SIGINT, before)


def _can_draw() -> bool:
    from rich.console import Console

    return sys.stdout.isatty() and not Console().is_dumb_terminal


def _events(ledger: SqlLedger, run: RunId, pause: Callable[[float], None]) -> Iterator[Event]:
    """Every event of a run, and each new one as it comes, until the run ends."""
    from audition.ledger.events import RunClosed

    after = -1
    while True:
        for event in ledger.read(run, after):
            after = event.seq
            yield event
            if isinstance(event.body, RunClosed):
                return
            pause(0)
        pause(POLL)


def _lines(ledger: SqlLedger, run: RunId, pause: Callable[[float], None]) -> None:
    """One line an event."""
    from audition.console.telling import Telling

    telling = Telling(ledger)
    for event in _events(ledger, run, pause):
        what = "; ".join(line.strip() for line in telling.lines(event))
        tell(f"{event.seq:>6}  {_clock(event)}  {event.body.kind}{': ' if what else ''}{what}")


def _clock(event: Event) -> str:
    return datetime.fromtimestamp(event.at / 1e6, UTC).strftime("%H:%M:%SZ")


def _screen(ledger: SqlLedger, run: RunId, pause: Callable[[float], None]) -> None:
    """A picture that is drawn anew as the run goes on; the last one stays."""
    from rich.console import Console
    from rich.live import Live

    from audition.console.picture import picture
    from audition.console.standing import Standing

    standing = Standing(ledger, run)
    console = Console()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                news = standing.take(AT_ONCE)
                live.update(picture(standing, console.size), refresh=True)
                if standing.ended:
                    break
                pause(0 if news else POLL)
    finally:
        console.print(picture(standing, console.size))
