"""Processes that are killed (SIGKILL) at an instant of a run, wherever something could be lost."""

from __future__ import annotations

from collections.abc import Callable

from fault import Fault
from world import World

ATOMIC = "a transaction is none"
FIRST = "an act need not be durable before it is done"
ANEW = "a run is begun anew whoever takes it up"
OPENS = "a run that is not there is taken up"
ROLLED = "a candidate is thought anew from another state"
AGAIN = "an act that was begun is begun again"
DOUBT = "an act in doubt waits for nobody"


def killed(
    plan: str, at: str, *without: str, times: int = 1, quick: bool = True, do: str = "carry"
) -> Fault:
    """A process that carries, answers or settles is killed at an instant."""
    which = "" if times == 1 else f", the {times}nd time"
    what = {"carry": plan, "recover": f"{plan}, whose run is taken up"}.get(do, f"who is to {do}")
    return Fault(f"killed ({what}): {at}{which}", _kill(plan, at, times, do), without, quick=quick)


def _kill(plan: str, at: str, times: int, do: str) -> Callable[[World], None]:
    def play(world: World) -> None:
        if do == "answer":
            assert world.start(plan).ended() == ""
        elif do != "carry":
            world.start(plan, "acting").kill()
        world.start(plan, at, times, do=do).kill()

    return play


KILLS = (
    # the beginning
    killed("plain", "stage run.opened", OPENS),
    killed("plain", "before run.opened is durable", OPENS, quick=False),
    killed("plain", "while run.opened is written", ATOMIC),
    killed("plain", "while run.opened is committed", OPENS, quick=False),
    killed("plain", "after run.opened is durable", ANEW),
    # a step is thought and judged
    killed("plain", "thinking", ANEW),
    killed("plain", "thinking", ANEW, times=2, quick=False),
    killed("plain", "stage step.thought", ANEW, quick=False),
    killed("plain", "stage step.proposed", ANEW, quick=False),
    killed("plain", "stage moment.sealed", ANEW, quick=False),
    killed("plain", "stage audit.drawn", ANEW, quick=False),
    killed("plain", "judging", ANEW),
    killed("plain", "stage audit.recorded", ANEW, quick=False),
    killed("plain", "stage step.decided", ANEW, quick=False),
    # an act
    killed("plain", "stage ticket.issued", ANEW),
    killed("plain", "stage act.started", ANEW, quick=False),
    killed("plain", "before act.started is durable", ANEW),
    killed("plain", "while act.started is written", ATOMIC),
    killed("plain", "while act.started is committed", ANEW),
    killed("plain", "after act.started is durable", AGAIN, DOUBT),
    killed("plain", "acting", AGAIN, DOUBT),
    killed("plain", "acted", FIRST, AGAIN, DOUBT),
    killed("plain", "stage act.finished", FIRST, AGAIN, DOUBT),
    killed("plain", "before act.finished is durable", FIRST, AGAIN, DOUBT, quick=False),
    killed("plain", "while act.finished is written", ATOMIC),
    killed("plain", "while act.finished is committed", ANEW, quick=False),
    killed("plain", "after act.finished is durable", ANEW),
    # the end
    killed("plain", "stage run.closed", ANEW),
    killed("plain", "while run.closed is written", ATOMIC),
    killed("plain", "while run.closed is committed", ANEW, quick=False),
    killed("plain", "after run.closed is durable", ANEW),
    # a person
    killed("asked", "stage audit.asked", ANEW, quick=False),
    killed("asked", "before audit.asked is durable", ANEW),
    killed("asked", "after audit.asked is durable", "what a person is asked need not be durable"),
    killed("asked", "stage audit.recorded", ANEW, do="answer"),
    killed("asked", "while audit.recorded is written", ATOMIC, do="answer"),
    killed("asked", "after audit.recorded is durable", ANEW, do="answer"),
    killed("signed", "stage key.enrolled", ANEW, do="answer"),
    # other ways
    killed("replaced", "stage step.proposed", ANEW, times=2),
    killed("several", "thinking", ROLLED, times=2),
    killed("several", "stage candidates.sealed", ROLLED),
    killed("planted", "stage plant.sealed", OPENS, quick=False),
    killed("planted", "stage plant.opened", ANEW),
    # taken up
    killed("plain", "stage run.resumed", AGAIN, DOUBT, do="recover"),
    killed("plain", "stage act.in_doubt", AGAIN, DOUBT, do="recover", quick=False),
    killed("plain", "stage act.settled", AGAIN, DOUBT, do="settle"),
    killed("plain", "while act.settled is written", ATOMIC, do="settle"),
    killed("plain", "after act.settled is durable", ANEW, do="settle"),
)
