"""Executors in a process of their own, which dies, is started anew, or cannot read the ledger."""

from __future__ import annotations

import os
import select
import tomllib
from collections.abc import Callable

import anyio
import driver
from driver import OPERATOR, first_ticket
from fault import Fault
from world import Command, World

from audition.act import Remote, RemoteSetup

STARTED, FINISHED = "after act.started is durable", "stage act.finished"


class Hold:
    """A place in an act where it tells that it has come there, and waits to be let on."""

    def __init__(self, world: World, place: str) -> None:
        for script in ("before", "after"):
            (world.folder / script).write_text(":\n")
        (world.folder / place).write_text("echo > told; read line < go\n")
        self._told, self._go = (_fifo(world, name) for name in ("told", "go"))

    def come(self) -> None:
        """Wait until the act has come there."""
        assert select.select([self._told], [], [], driver.PATIENCE)[0], "no act came there"
        os.read(self._told, 100)

    def let_on(self) -> None:
        """Let it go on."""
        os.write(self._go, b"\n")

    def close(self) -> None:
        """Let go of it."""
        os.close(self._told)
        os.close(self._go)


def performs(world: World) -> Command:
    """Start the process; it performs for whoever carries runs from now on."""
    file, where = world.folder / "executors.toml", world.folder / "x.sock"
    file.write_text(f'callers = [{os.getuid()}]\n[tools.shell]\nfolder = "."\n')
    for script in ("before", "after"):
        if not (world.folder / script).exists():
            (world.folder / script).write_text(":\n")
    options = ("--socket", str(where), "--ledger", world.whole, "--trust", str(OPERATOR.public))
    command = Command(world, "executor", str(file), *options)
    world.commands.append(command)
    pins = tomllib.loads(command.read(lines=2))["tools"]["remote"]["tools"]
    world.remote = {"socket": str(where), "tools": pins, "seconds": 30}
    return command


def dies(place: str) -> Callable[[World], None]:
    """The process dies before or after the effect of an act that it performs."""

    def play(world: World) -> None:
        performer, hold = performs(world), Hold(world, place)
        process = world.start()
        hold.come()
        performer.kill()
        if place == "before":  # what it had started goes on without it
            (world.folder / "after").write_text("echo > told\n")
            hold.let_on()
            hold.come()
        (world.folder / "before").write_text(":\n")
        (world.folder / "after").write_text(":\n")
        hold.let_on()
        hold.close()
        assert process.ended() == "" and set(process.stands.values()) == {"settle"}
        performs(world)

    return play


def gone(world: World) -> None:
    """The process is dead when a ticket is to be handed to it: nothing is done, that is sure."""
    performer = performs(world)
    process = world.start(at=STARTED)
    performer.kill()
    process.on_to(FINISHED)
    performs(world)
    process.go()
    assert process.ended() == "" and set(process.stands.values()) == {"finished"}


def anew(world: World) -> None:
    """It is started anew between the start of an act and its presentation: nobody knows."""
    performer = performs(world)
    process = world.start(at=STARTED)
    performer.kill()
    performs(world)
    process.go()
    assert process.ended() == "" and set(process.stands.values()) == {"settle"}
    assert world.acts == []


def unread(world: World) -> None:
    """The ledger is out of its reach when a ticket is presented: nothing is done."""
    performs(world)
    process = world.start(at=STARTED)
    files = sorted(world.path.parent.glob("ledger.db*"))
    for file in files:
        file.rename(file.with_name(f"far-{file.name}"))
    process.on_to(FINISHED)
    for file in files:
        file.with_name(f"far-{file.name}").rename(file)
    assert world.acts == []
    process.go()
    assert process.ended() == ""


def again(world: World) -> None:
    """A ticket that was performed is presented again, by a process that may."""
    performs(world)
    process = world.start(at=FINISHED)
    with world.opened() as ledger:
        ticket = first_ticket(ledger, world.runs[0])[0]
    assert world.remote is not None
    remote = Remote(RemoteSetup.model_validate(world.remote), "shell")
    assert anyio.run(remote.act, ticket).status == "unknown"
    assert len(world.acts) == 1
    process.go()
    assert process.ended() == ""


def _fifo(world: World, name: str) -> int:
    os.mkfifo(world.folder / name)
    return os.open(world.folder / name, os.O_RDWR)


PERFORMERS = (
    Fault(
        "an executor dies during an act", dies("before"), ("an answer that is lost is a failure",)
    ),
    Fault("an executor dies after an act", dies("after"), ("an answer that is lost is a failure",)),
    Fault("an executor is dead", gone, ("whoever is not there may have performed",)),
    Fault(
        "an executor is started anew before a ticket comes",
        anew,
        ("what was started before is performed",),
    ),
    Fault(
        "the ledger is out of an executor's reach",
        unread,
        ("an executor asks no ledger",),
        ("sqlite",),
    ),
    Fault("a ticket is presented to an executor again", again, ("a ticket is taken twice",)),
)
