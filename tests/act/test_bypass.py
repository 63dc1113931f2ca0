"""Nothing that changes state in the world is reachable without a ticket: counted, not asserted.

Every public callable of `audition.act`, and every method of every object of ours that a project
leads to, is called without a ticket, with an act in a ticket's place, with nothing, and with what a
thinker could make up. An observer (an audit hook of the interpreter) counts what is written,
started or connected to; the servers' logs and the folder are looked at besides.

The limit is counted too: inside one process Python has no walls, and whoever holds an executor
there can hand it a ticket made by hand. What must not be so belongs into a process of its own.
"""

from __future__ import annotations

import gc
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import asyncssh
import pytest

import audition.act
from audition.act import (
    AskPerson,
    Deploy,
    Http,
    HttpSetup,
    Mail,
    MailSetup,
    Redemptions,
    Refused,
    Shell,
    Ssh,
    SshSetup,
    Withheld,
    WriteFile,
)
from audition.ledger import Journal, PrivateKey, SqlLedger
from audition.model.deployed import held
from audition.project import Project
from audition.step import Act, Ask, Event, Executor, Finish, Ticket, digest_of, now
from rehearsal import Note, Plays, a_moment, project
from servers.executors import Executors
from servers.process import Server

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EFFECTS = re.compile(
    r"os\.(chmod|chown|exec|fork|forkpty|kill|killpg|link|mkdir|posix_spawn|remove|rename|rmdir|spawn"
    r"|symlink|system|truncate)|socket\.(connect|sendto)|subprocess\.Popen"
)
OURS = ("audition.", "rehearsal", __name__)
KEY = PrivateKey.generate("run")


class Observer:
    """Counts what this process does to the world, while it looks."""

    def __init__(self) -> None:
        self.looking = False
        self.asks = ""
        """Where asking is no effect: the socket of an executor's process."""
        self.effects: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.looking:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            self.effects.append(f"open {arguments[0]}")
        elif event == "socket.connect" and arguments[1] == self.asks:
            pass
        elif EFFECTS.fullmatch(event):
            self.effects.append(f"{event} {arguments}")

    @contextmanager
    def looks(self) -> Iterator[list[str]]:
        self.effects, self.looking = [], True
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # of what is loaded late
        try:
            yield self.effects
        finally:
            self.looking, sys.dont_write_bytecode = False, before


OBSERVER = Observer()


class Reach:
    """A project with an executor of every kind, and the servers that they would reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = folder / "world"
        self.world.mkdir()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / "key")
        key.write_public_key(folder / "known")
        (folder / "key").chmod(0o600)
        self.web = Server("web", folder / "web")
        self.mail = Server("mail", folder / "mail")
        self.ssh = Server("ssh", folder / "ssh", folder / "key", folder / "known", self.world)
        self.ledger = SqlLedger.open(folder / "ledger.db", signer=KEY)
        self.process = Executors(folder, '[tools.shell]\nfolder = "world"\n', KEY)
        OBSERVER.asks = str(self.process.socket)
        self.heard: list[str] = []
        host_key = key.export_public_key().decode()
        origin = f"http://127.0.0.1:{self.web.port}"
        allowed = {"origin": origin, "methods": ["POST"], "paths": ["/"]}
        post = {"host": "127.0.0.1", "port": self.mail.port, "tls": "none"}
        post |= {"sender": "b@example.org", "recipients": ["@example.org"]}
        machine = {"host": "127.0.0.1", "port": self.ssh.port, "user": "u", "host_key": host_key}
        machine |= {"key": str(folder / "key"), "commands": [["touch", "x"]]}
        write = {"path": "written", "content": ""}
        deploy = self._deploying(folder)
        self.acts: dict[str, tuple[Executor, Act | Ask]] = {
            "shell": (Shell(self.world), _act("shell", command="touch ran")),
            "write": (WriteFile(self.world), _act("write", **write)),
            "http": (
                Http(HttpSetup.model_validate({"origins": [allowed]})),
                _act("http", method="POST", url=f"{origin}/x"),
            ),
            "mail": (
                Mail(MailSetup.model_validate(post)),
                _act("mail", to=["a@example.org"], subject="", text=""),
            ),
            "ssh": (Ssh(SshSetup.model_validate(machine)), _act("ssh", argv=["touch", "x"])),
            "ask": (AskPerson(self._put), Ask(question="?")),
            "deploy": (Deploy(folder / "model", self.pointer, [deploy]), deploy),
            "withheld": (Withheld(Shell(self.world)), _act("shell", command="touch withheld")),
            "remote": (self.process.remote(), _act("shell", command="touch ran-elsewhere")),
        }

    def _deploying(self, folder: Path) -> Act:
        """The act that would bring other weights into use."""
        self.pointer = folder / "checkpoints" / "deployed.json"
        for there, weights in (("model", b"old"), ("checkpoints/000001", b"new")):
            (folder / there).mkdir(parents=True)
            (folder / there / "model.safetensors").write_bytes(weights)
        old, new = (held(folder / "model", self.pointer, update) for update in (0, 1))
        measured = {"approval": 0.5, "low": 0.0, "high": 1.0, "runs": ["0" * 32]}
        measured |= {"unscored": 0, "ends": {}}
        measures = {"teacher": "t", "level": 0.95, "acts": "withheld"}
        measures |= {"new": measured, "old": measured}
        given: dict[str, Any] = {"new": new.model_dump(), "old": old.model_dump()}
        given |= {"training": "0" * 32, "attempt": 1, "measured": measures}
        return _act("deploy", **given)

    async def _put(self, question: str, to: str) -> str | None:
        self.heard.append(question)
        return None

    def project(self) -> Project:
        executors = {name: one for name, (one, _) in self.acts.items()}
        for name in ("remote", "withheld"):  # a shell too, under a name of its own here
            one = executors[name]
            one.schema = one.schema.model_copy(update={"name": name})
        return project(self.folder, Finish(answer=""), executors=list(executors.values()))

    def ticket(self, name: str, **changes: Any) -> Ticket:
        """A ticket made by hand, right in everything but that no ledger knows it."""
        executor, proposal = self.acts[name]
        tool, sealed = digest_of(executor.schema), digest_of(proposal)
        moment = a_moment(proposal=sealed, tool=tool)
        given: dict[str, Any] = {"run": moment.run, "moment": digest_of(moment), "tool": tool}
        given |= {"proposal": sealed, "expires": now() + 10**8, "act": proposal}
        return Ticket(**{**given, **changes})

    def changed(self) -> list[Any]:
        """What the world has of us, by its own word."""
        logs = [*self.web.log, *self.mail.log, *self.ssh.log]
        deployed = sorted(os.listdir(self.pointer.parent))
        return [*logs, *sorted(os.listdir(self.world)), *deployed, *self.heard]


def _act(tool: str, **arguments: Any) -> Act:
    return Act(tool=tool, arguments=arguments)


@pytest.fixture(scope="module")
def reach(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reach]:
    reach = Reach(tmp_path_factory.mktemp("reach"))
    with reach.web, reach.mail, reach.ssh, reach.process, reach.ledger:
        yield reach


def made_up(reach: Reach) -> list[Any]:
    """What somebody could put in a ticket's place."""
    act = reach.acts["shell"][1]
    ticket = reach.ticket("shell")
    return [
        None,
        act,
        act.model_dump(),
        "0" * 64,
        ticket.model_dump(),
        ticket.canonical(),
        object(),
    ]


def call(one: Callable[..., Any], *arguments: Any) -> Any:
    """Call it to its end; what it returned, or what it raised."""

    async def finish() -> Any:
        result = one(*arguments)
        with anyio.move_on_after(60):
            return await result if inspect.isawaitable(result) else result

    try:
        return anyio.run(finish)
    except BaseException as error:
        return error


def needs(one: Callable[..., Any]) -> int:
    """How many arguments it cannot do without."""
    try:
        parameters = inspect.signature(one).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is one.empty for one in parameters)


# ------------------------------------------------------------------------ what there is


SETS_UP = {"HttpSetup", "MailSetup", "SshSetup", "RemoteSetup", "Origin", "Tools", "made"}
SAYS = {"DeployArguments", "Measured", "Measures"}
FAILS = {"SetupError", "Refused", "InDoubt"}
JUDGES = {"check", "issue", "issued", "finished", "Redemptions", "alone"}
EXECUTES = {
    "AskPerson",
    "Deploy",
    "Http",
    "Mail",
    "Remote",
    "Shell",
    "Ssh",
    "Withheld",
    "WriteFile",
}
LEADS_TO_THEM = {"perform", "serve"}


def test_every_public_name_of_the_room_is_accounted_for() -> None:
    """A new one fails here until somebody has said what it may do, and this file tries it."""
    known = SETS_UP | SAYS | FAILS | JUDGES | EXECUTES | LEADS_TO_THEM
    assert set(audition.act.__all__) == known


@pytest.mark.parametrize("name", sorted(EXECUTES))
def test_an_executor_has_one_method_that_acts_and_it_takes_a_ticket(name: str) -> None:
    kind = getattr(audition.act, name)
    assert {one for one in vars(kind) if not one.startswith("_")} == {"act", "refuses"}
    assert list(inspect.signature(kind.act).parameters) == ["self", "ticket"]


# ------------------------------------------------------------------------ what bypasses


def test_no_executor_does_anything_without_a_ticket(reach: Reach) -> None:
    tried, before = 0, reach.changed()
    with OBSERVER.looks() as effects:
        for executor, proposal in reach.acts.values():
            for given in (*made_up(reach), proposal):
                outcome = call(executor.act, given)
                assert isinstance(outcome, Exception) or outcome.status in ("failed", "refused")
                call(executor.refuses, given)
                tried += 2
    assert tried == 144
    assert (effects, reach.changed()) == ([], before)


class Leaky(Note):
    """An executor with a second way to its effect, as none may have."""

    def write(self, text: object) -> None:
        super().write(str(text))


def test_a_second_way_to_an_effect_would_be_counted(reach: Reach, tmp_path: Path) -> None:
    leaky = Leaky(tmp_path / "log")
    ways = [one for one in _reachable(project(tmp_path, executors=[leaky])) if one == leaky.write]
    with OBSERVER.looks() as effects:
        for way in ways:
            call(way, None)
    assert effects == [f"open {tmp_path / 'log'}"]


def test_nothing_that_a_project_leads_to_changes_the_world_without_a_ticket(reach: Reach) -> None:
    """Every method of every object of ours that can be reached, with everything made up."""
    methods = list(_reachable(reach.project()))
    names = {one.__qualname__ for one in methods}
    assert {f"{name}.act" for name in EXECUTES} <= names
    before = reach.changed()
    with OBSERVER.looks() as effects:
        for method in methods:
            for given in made_up(reach):
                call(method, *[given] * needs(method))
    assert (effects, reach.changed()) == ([], before)


def _reachable(root: object) -> Iterator[Callable[..., Any]]:
    """The public methods of every object of ours that one leads to."""
    seen, open_ = {id(root)}, [root]
    while open_:
        one = open_.pop()
        kind = type(one)
        ours = kind.__module__.startswith(OURS)
        if ours:
            for name in dir(kind):
                method = inspect.getattr_static(kind, name)
                where = str(getattr(method, "__module__", ""))
                if name.startswith("_") or not where.startswith(OURS):
                    continue
                if inspect.isroutine(method := getattr(one, name)):
                    yield method
        if ours or isinstance(one, (dict, list, tuple, set, frozenset, types.MappingProxyType)):
            for other in gc.get_referents(one):
                wrong = (type, types.ModuleType, types.FunctionType, str, int, bytes, Reach)
                if id(other) not in seen and not isinstance(other, wrong):
                    seen.add(id(other))
                    open_.append(other)


@pytest.mark.parametrize(
    "name",
    ["shell", "write", "http", "mail", "ssh", "deploy", "withheld", "remote", "ask"],
)
def test_the_way_to_an_executor_needs_an_event_that_the_ledger_holds(
    reach: Reach, name: str
) -> None:
    """`perform` with a ticket right in itself, and every event but the one that issued it."""
    executor, proposal = reach.acts[name]
    journal = Journal(reach.ledger, "0" * 32)
    journal.put(proposal)
    moment = a_moment(proposal=digest_of(proposal), tool=digest_of(executor.schema))
    ticket = reach.ticket(name)
    event = Event(run=moment.run, seq=7, at=now(), body=audition.act.issued(ticket))
    before = reach.changed()
    first, other = event.model_copy(update={"seq": 0}), reach.ticket(name, expires=1)
    with OBSERVER.looks() as effects:
        for given in (
            (ticket, event, executor, moment, journal),
            (other, event, executor, moment, journal),
            (ticket, first, executor, moment, Journal(reach.ledger, "1" * 32)),
            *((one, event, executor, moment, journal) for one in made_up(reach)),
            *((ticket, one, executor, moment, journal) for one in made_up(reach)),
        ):
            assert isinstance(call(audition.act.perform, *given), Exception)
    assert (effects, reach.changed()) == ([], before)


def test_a_ticket_made_by_hand_is_the_limit_inside_a_process_and_none_beyond_it(
    reach: Reach,
) -> None:
    """The count that guarantees rest on: each executor in this process that does anything."""
    done = 0
    for name, (executor, _) in reach.acts.items():
        before = len(reach.changed())
        outcome = anyio.run(executor.act, reach.ticket(name))
        done += len(reach.changed()) > before
        assert (outcome.status == "refused") == (name in ("remote", "withheld"))
    assert done == len(reach.acts) - 2


def test_following_a_ledger_leaves_it_as_it_is(reach: Reach, tmp_path: Path) -> None:
    with OBSERVER.looks() as effects:
        follows = Redemptions(reach.folder / "ledger.db", [KEY.public])
        assert isinstance(call(follows.take, reach.ticket("shell"), Plays()), Refused)
    assert effects == []
