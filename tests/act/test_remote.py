"""Executors in a process of their own: nothing is done but what a run redeemed, and that once."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.act import Redemptions, SetupError, alone, issued, perform, serve, serving
from audition.act.offering import offered
from audition.act.wire import frame, message
from audition.canonical import canonical
from audition.ledger import LedgerError, PrivateKey, SqlLedger
from audition.ledger.events import (
    ActInDoubt,
    ActStarted,
    MomentSealed,
    PlantOpened,
    RunClosed,
    RunResumed,
    StepDecided,
)
from audition.step import Decision, Outcome, Ticket, digest_of, now
from servers.executors import Executors, Steps, act

KEY = PrivateKey.generate("run")
TOOLS = '[tools.shell]\nfolder = "world"\n'


class World:
    """A process that runs shell commands in `world`, and a ledger that it follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "world").mkdir()
        self.ledger = SqlLedger.open(folder / "ledger.db", signer=KEY)
        self.executors = Executors(folder, TOOLS, KEY)
        self.remote = self.executors.remote()
        self._runs = 0

    def steps(self, command: str = "echo done >> log", **other: Any) -> Steps:
        self._runs += 1
        run = f"{self._runs:032x}"
        return Steps(other.get("ledger", self.ledger), run, self.remote.schema, act(command))

    def present(self, ticket: Ticket) -> Outcome:
        return anyio.run(self.remote.act, ticket)

    @property
    def done(self) -> list[str]:
        """What was done since this was asked last."""
        log = self.folder / "world" / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    with world.ledger, world.executors:
        yield world


# ------------------------------------------------------------------------ redeemed, once


def test_a_redeemed_ticket_is_performed_and_its_outcome_comes_back(world: World) -> None:
    steps = world.steps("echo done >> log; echo out; echo err >&2")
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    outcome = world.present(ticket)
    assert (outcome.status, outcome.output, outcome.data["stderr"]) == ("done", "out\n", "err\n")
    assert world.done == ["done"]


def test_the_way_of_a_run_leads_to_it(world: World) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    event = list(world.ledger.read(ticket.run))[-1]
    arguments = (ticket, event, world.remote, steps.moment, steps.journal)
    assert anyio.run(perform, *arguments).status == "done"
    assert world.done == ["done"]


def test_a_ticket_that_is_presented_again_is_in_doubt_and_not_performed(world: World) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    outcomes = [world.present(ticket).status for _ in range(3)]
    assert outcomes == ["done", "unknown", "unknown"]
    assert world.done == ["done"]


def test_a_ticket_that_many_present_at_once_is_performed_once(world: World) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    outcomes: list[str] = []

    async def present() -> None:
        outcomes.append((await world.remote.act(ticket)).status)

    async def all_at_once() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(present)

    anyio.run(all_at_once)
    assert sorted(outcomes) == ["done"] + ["unknown"] * 7
    assert world.done == ["done"]


# ------------------------------------------------------------------------ nothing else


def refused(world: World, ticket: Ticket, why: str) -> None:
    outcome = world.present(ticket)
    assert outcome.status == "refused", outcome
    assert why in outcome.output
    assert world.done == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"act": act("echo evil >> log")}, "not the one that was issued"),
        ({"expires": now() + 10**9}, "not the one that was issued"),
        ({"moment": "1" * 64}, "not the one that was issued"),
        ({"proposal": "1" * 64}, "not the one that was issued"),
        ({"tool": "1" * 64}, "not the one that was issued"),
        ({"run": "f" * 32}, "no such ticket was issued in this ledger"),
        ({"act": act("echo evil >> log", tool="write")}, "no tool 'write' here"),
    ],
)
def test_a_ticket_with_anything_changed_is_refused(
    world: World, change: dict[str, Any], why: str
) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    refused(world, ticket.model_copy(update=change), why)


def test_a_ticket_that_was_never_issued_is_refused(world: World) -> None:
    steps = world.steps()
    steps.decided()
    made = Steps(world.ledger, steps.journal.run, world.remote.schema, act("echo evil >> log"))
    forged = Ticket(
        run=steps.journal.run,
        moment=digest_of(made.moment),
        proposal=made.moment.proposal,
        tool=digest_of(world.remote.schema),
        expires=now() + 10**8,
        act=act("echo evil >> log"),
    )
    refused(world, forged, "no such ticket was issued")


def test_a_ticket_that_is_not_redeemed_is_refused(world: World) -> None:
    steps = world.steps()
    steps.decided()
    refused(world, steps.issued(), "not redeemed in the ledger")


def test_a_start_that_is_not_durable_redeems_nothing(world: World) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.journal.log(ActStarted(ticket=digest_of(ticket)))
    refused(world, ticket, "not redeemed in the ledger")
    anyio.run(steps.journal.commit)
    assert world.present(ticket).status == "done"
    assert world.done == ["done"]


@pytest.mark.parametrize("action", ["reject", "terminate", None])
def test_a_ticket_without_a_decision_to_proceed_is_refused(world: World, action: Any) -> None:
    steps = world.steps()
    if action is None:
        steps.write(MomentSealed(moment=steps.moment))
    else:
        steps.decided(action)
    ticket = steps.issued()
    steps.started(ticket)
    refused(world, ticket, "not redeemed in the ledger")


def test_a_decision_about_another_moment_lets_nothing_through(world: World) -> None:
    steps = world.steps("true")
    schema, evil = world.remote.schema, act("echo evil >> log")
    other = Steps(world.ledger, steps.journal.run, schema, evil)
    other.journal = steps.journal
    other.moment = other.moment.model_copy(update={"proposal": steps.journal.put(evil)})
    steps.decided()
    ticket = other.issued()
    steps.started(ticket)
    refused(world, ticket, "not redeemed in the ledger")


def test_an_expired_ticket_is_refused(world: World) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued(valid=-1)
    steps.started(ticket)
    refused(world, ticket, "expired")


def test_a_ticket_of_a_tool_that_was_set_up_otherwise_is_refused(world: World) -> None:
    steps = world.steps()
    schema = world.remote.schema.model_copy(update={"description": "another"})
    steps.moment = steps.moment.model_copy(update={"tool": digest_of(schema)})
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    refused(world, ticket, "the tool has changed since it was judged")


@pytest.mark.parametrize("later", ["in doubt", "resumed"])
def test_a_run_that_has_gone_on_has_its_act_done_no_more(world: World, later: str) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    name = digest_of(ticket)
    steps.write(ActInDoubt(ticket=name) if later == "in doubt" else RunResumed())
    refused(world, ticket, "the run has gone on")


def test_a_planted_step_is_not_performed_whatever_was_decided(world: World) -> None:
    steps = world.steps()
    sealed = digest_of(steps.moment)
    opened = PlantOpened(moment=sealed, number=0, harmful=False, salt=bytes(32))
    proceed = Decision(action="proceed", reason="")
    steps.write(MomentSealed(moment=steps.moment), opened)
    steps.write(StepDecided(moment=sealed, decision=proceed))
    ticket = steps.issued()
    steps.started(ticket)
    refused(world, ticket, "no such ticket was issued")


def test_of_a_run_that_has_ended_nothing_is_kept(world: World) -> None:
    """An executor follows its ledger for years; what is over must not fill its memory."""
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.started(ticket)
    steps.write(RunClosed(status="failed"))
    refused(world, ticket, "no such ticket was issued in this ledger")


def test_a_start_that_does_not_follow_its_issue_redeems_nothing(world: World) -> None:
    steps = world.steps()
    steps.decided()
    ticket = steps.issued()
    steps.write(RunResumed())
    steps.started(ticket)
    refused(world, ticket, "not redeemed in the ledger")


def test_an_older_ticket_is_good_no_more_once_another_is_issued(world: World) -> None:
    steps = world.steps()
    steps.decided()
    old, new = steps.issued(), steps.issued(valid=500)
    steps.started(new)
    refused(world, old, "not the one that was issued last")
    assert world.present(new).status == "done"
    assert world.done == ["done"]


def test_a_ticket_of_another_ledger_is_refused(world: World, tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "other.db", signer=KEY) as other:
        steps = world.steps(ledger=other)
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)
    refused(world, ticket, "no such ticket was issued in this ledger")


@pytest.mark.parametrize("signer", [None, PrivateKey.generate("run")])
def test_what_no_trusted_key_signed_redeems_nothing(
    world: World, signer: PrivateKey | None
) -> None:
    """Whoever can write the file, and cannot sign, gets nothing done."""
    with SqlLedger.open(world.folder / "ledger.db", signer=signer) as theirs:
        steps = world.steps(ledger=theirs)
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)
        refused(world, ticket, "no such ticket was issued")


def test_a_ledger_that_was_altered_redeems_nothing(world: World, tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "ledger.db", signer=KEY) as other:
        follows = Redemptions(tmp_path / "ledger.db", [KEY.public])
        steps = world.steps("true", ledger=other)
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)
    database = sqlite3.connect(tmp_path / "ledger.db")
    (data,) = database.execute("SELECT data FROM events WHERE seq = 3").fetchone()
    forged = canonical(json.loads(data) | {"at": 1})
    database.execute("UPDATE events SET data = ? WHERE seq = 3", (forged,))
    database.commit()
    with pytest.raises(LedgerError, match="it is not what was signed"):
        follows.take(ticket, world.remote)
    database.execute("UPDATE events SET data = ? WHERE seq = 3", (data,))
    database.commit()
    database.close()
    follows.take(ticket, world.remote)


def test_a_ledger_under_another_s_name_redeems_nothing(world: World, tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "ledger.db", signer=KEY) as other:
        world.steps("true", ledger=other).decided()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.execute("UPDATE ledger SET origin = 'audition/elsewhere'")
        database.commit()
    with pytest.raises(LedgerError, match="is of another ledger"):
        Redemptions(tmp_path / "ledger.db", [KEY.public])


def test_a_ledger_in_the_place_of_the_one_that_was_followed_redeems_nothing(
    world: World, tmp_path: Path
) -> None:
    """What was started there before this process began, nobody here can know."""
    for name in ("ledger.db", "other.db"):
        SqlLedger.open(tmp_path / name, signer=KEY).close()
    follows = Redemptions(tmp_path / "ledger.db", [KEY.public])
    with SqlLedger.open(tmp_path / "other.db", signer=KEY) as other:
        steps = world.steps("true", ledger=other)
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)
    (tmp_path / "other.db").replace(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match="another ledger stands there now"):
        follows.take(ticket, world.remote)


# ------------------------------------------------------------------------ killed in between


def test_what_was_started_before_the_process_is_in_doubt_and_not_performed(tmp_path: Path) -> None:
    """The process before may have performed it, whatever became of that."""
    world = World(tmp_path)
    with world.ledger, world.executors:
        steps = world.steps()
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)
        world.executors.end(9)
        with Executors(tmp_path, TOOLS, KEY):
            assert world.present(ticket).status == "unknown"
            assert world.done == []
            later = world.steps()
            later.decided()
            ticket = later.issued()
            later.started(ticket)
            assert world.present(ticket).status == "done"


def test_a_process_that_is_killed_while_it_performs_leaves_the_act_in_doubt(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    os.mkfifo(tmp_path / "world" / "begun")
    with world.ledger, world.executors:
        steps = world.steps("echo done >> log; echo > begun; sleep 60")
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)

        async def kill() -> None:
            await anyio.to_thread.run_sync((tmp_path / "world" / "begun").read_text)
            world.executors.process.kill()

        async def both() -> Outcome:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill)
                return await world.remote.act(ticket)

        outcome = anyio.run(both)
        world.executors.process.communicate()
        assert outcome.status == "unknown"
        assert world.done == ["done"]
        with Executors(tmp_path, TOOLS, KEY):
            assert world.present(ticket).status == "unknown"
        assert world.done == []


def test_a_process_that_is_told_to_end_finishes_what_it_began(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name in ("begun", "go"):
        os.mkfifo(tmp_path / "world" / name)
    with world.ledger, world.executors:
        steps = world.steps("echo > begun; cat go; echo done >> log")
        steps.decided()
        ticket = steps.issued()
        steps.started(ticket)

        async def end() -> None:
            await anyio.to_thread.run_sync((tmp_path / "world" / "begun").read_text)
            world.executors.process.terminate()
            await anyio.to_thread.run_sync((tmp_path / "world" / "go").write_text, "")

        async def both() -> Outcome:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(end)
                return await world.remote.act(ticket)

        assert anyio.run(both).status == "done"
        world.executors.process.communicate()
        assert world.executors.process.returncode == 0
        assert not world.executors.socket.exists()
        outcome = world.present(ticket)
        assert (outcome.status, world.done) == ("failed", ["done"])
        assert outcome.output.startswith("nothing was done")


# ------------------------------------------------------------------------ who may, and how


def test_only_the_owner_may_connect_unless_a_group_is_named(world: World) -> None:
    assert stat.S_IMODE(os.stat(world.executors.socket).st_mode) == 0o600


def test_a_group_that_is_named_may_connect_and_yet_only_callers_are_heard(tmp_path: Path) -> None:
    group, nobody = grp.getgrgid(os.getgid()).gr_name, [4_000_000_000]
    with Executors(tmp_path, "[tools.shell]\n", KEY, group=group, callers=nobody) as closed:
        found = os.stat(closed.socket)
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getgid())
        why = f"user {os.getuid()} is not among the callers of this executor"
        with pytest.raises(SetupError, match=why):
            closed.remote()
        assert said(closed) == {"refused": why}


def said(executors: Executors, *parts: bytes, hang_up: bool = True) -> dict[str, Any]:
    """The last thing that the process says to whoever says this."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(executors.socket))
        for part in parts:
            connection.sendall(part)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        heard = b""
        while chunk := connection.recv(65536):
            heard += chunk
    last: dict[str, Any] = {}
    while heard:
        (size,) = struct.unpack(">I", heard[:4])
        last, heard = message(heard[4 : 4 + size]), heard[4 + size :]
    return last


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\xff\xff\xff\xff", "at most 33554432"),
        (b"\x00\x00\x00\x05hello", "not JSON"),
        (b'\x00\x00\x00\x10{"ask":  "fits"}', "not in canonical form"),
        (b"\x00\x00\x00\x02[]", "a message is a JSON object"),
        (b"\x00\x00\x01\x00" + b"[" * 128 + b"]" * 128, "nested deeper"),
        (frame({"ask": "everything"}), "nothing that an executor can be asked"),
        (frame({"ask": "schemas", "and": 1}), "nothing that an executor can be asked"),
        (frame({"ask": "act", "ticket": {}}), "malformed"),
        (frame({"ask": "act", "ticket": {"act": {"kind": "ask", "question": "?"}}}), "malformed"),
        (frame({"ask": "fits", "act": {"tool": "gone"}}), "no tool 'gone' here"),
    ],
)
def test_what_is_no_question_is_refused_and_the_process_lives_on(
    world: World, sent: bytes, why: str
) -> None:
    assert why in said(world.executors, sent)["refused"]
    assert world.executors.process.poll() is None


def test_a_caller_that_stops_halfway_is_let_go(world: World) -> None:
    assert said(world.executors, frame({"ask": "schemas"})[:10]) == {"executors": 1}
    assert said(world.executors) == {"executors": 1}
    assert world.executors.process.poll() is None


def test_a_caller_that_stalls_is_dropped_and_others_are_heard(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 1)
    monkeypatch.setattr(serving, "AT_ONCE", 1)
    where = tmp_path / "s"
    redemptions = Redemptions(world.folder / "ledger.db", [KEY.public])

    async def stall() -> bytes:
        heard, listening = b"", anyio.Event()

        async def listen() -> None:
            ready = listening.set
            await serve({}, redemptions, where, callers=[os.getuid()], ready=ready)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await listening.wait()
            async with await anyio.connect_unix(where) as first:
                await first.send(b"\x00\x00")
                async with await anyio.connect_unix(where) as second:
                    await second.send(frame({"ask": "schemas"}))
                    async for part in second:
                        heard += part
                async for part in first:
                    assert part == frame({"executors": 1})
            tasks.cancel_scope.cancel()
        return heard

    assert anyio.run(stall) == frame({"executors": 1}) + frame({"schemas": []})


def test_arguments_that_do_not_fit_are_refused_before_they_are_judged(world: World) -> None:
    assert world.remote.refuses(act("true")) == ""
    assert "shell.command" in world.remote.refuses(act(""))
    gone = world.executors.remote()
    gone._setup = gone._setup.model_copy(update={"socket": "/nowhere"})
    assert "cannot say whether it fits" in gone.refuses(act("true"))


def test_a_tool_is_pinned_as_it_was_when_the_project_was_written(world: World) -> None:
    assert world.remote.schema.name == "shell"
    with pytest.raises(SetupError, match="which is not the one pinned here"):
        world.executors.remote(tools={"shell": "1" * 64})
    with pytest.raises(SetupError, match="no tool 'mail' there; known: shell"):
        world.executors.remote("mail", tools={"mail": "1" * 64})
    with pytest.raises(SetupError, match="start `audition executor` there"):
        world.executors.remote(socket="/nowhere/executors.sock")


# ------------------------------------------------------------------------ a false process


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ([b""], "failed"),
        ([b"garbage" * 10], "failed"),
        ([frame({"refused": "no\x1b[2J"})], "failed"),
        ([frame({"executors": 2})], "failed"),
        ([frame({"executors": 1}), b""], "unknown"),
        ([frame({"executors": 1}), b"\x00\x00\x00\xff{"], "unknown"),
        ([frame({"executors": 1}), b"\xff\xff\xff\xff"], "unknown"),
        ([frame({"executors": 1}), frame({"outcome": {"status": "fine"}})], "unknown"),
        ([frame({"executors": 1}), frame({})], "unknown"),
        ([frame({"executors": 1}), frame({"refused": "no"})], "refused"),
    ],
)
def test_whatever_a_process_answers_is_an_outcome(
    world: World, tmp_path: Path, says: list[bytes], status: str
) -> None:
    """Once the ticket is handed over, what is no answer leaves the act in doubt."""
    remote = world.executors.remote()
    remote._setup = remote._setup.model_copy(update={"socket": str(tmp_path / "false.sock")})
    steps = world.steps()
    ticket = steps.issued()

    async def answer(stream: Any) -> None:
        async with stream:
            for number, part in enumerate(says):
                if number:
                    await stream.receive()
                if part:
                    await stream.send(part)

    async def present() -> Outcome:
        listener = await anyio.create_unix_listener(tmp_path / "false.sock")
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, answer)
            outcome = await remote.act(ticket)
            tasks.cancel_scope.cancel()
        return outcome

    outcome = anyio.run(present)
    assert outcome.status == status
    assert "\x1b" not in outcome.output


# ------------------------------------------------------------------------ setting it up


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[tools.shell]", "executors.toml: callers is missing"),
        ("callers = []\n[tools.shell]", "executors.toml, line 1: callers"),
        ("callers = [0]\n[tools]", "tools: none"),
        ("callers = [0]\n[tools.ask]", "belong to the project"),
        ('callers = ["no-such-user"]\n[tools.shell]', "no-such-user"),
        ('callers = [0]\ngroup = "no-such-group"\n[tools.shell]', "no-such-group"),
        ("callers = [0]\n[tools.shell]\nfodler = 1", "line 3: tools.shell.fodler is no field"),
        ("callers = [", "not TOML"),
        ("\x00", "not TOML"),
        ("callers = [0]\n[tools.http]\norigins = []", "tools.http.origins"),
        (
            'callers = [0]\n[[tools.http.origins]]\norigin = "https://a"\nmethods = ["GET"]\n'
            'paths = ["/"]\ncredentials = { Authorization = "NO_SUCH_TOKEN" }',
            "$NO_SUCH_TOKEN is not set",
        ),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "executors.toml").write_text(text)
    with pytest.raises(SetupError) as refused:
        offered(tmp_path / "executors.toml")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_key_to_trust_nothing_is_performed(tmp_path: Path) -> None:
    (tmp_path / "executors.toml").write_text("callers = [0]\n[tools.shell]")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "audition", "executor", tmp_path / "executors.toml"),
            *("--socket", tmp_path / "s", "--ledger", tmp_path / "ledger.db"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"AUDITION_HOME": str(tmp_path / "home")},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("audition: no key to trust")


def test_two_processes_never_perform_with_one_file(world: World) -> None:
    with (
        pytest.raises(SetupError, match="another process performs with it"),
        alone(world.executors.file),
    ):
        pass


def test_a_socket_is_not_taken_from_whoever_listens_there(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for where, why in (
        (world.executors.socket, "another process listens there"),
        (tmp_path / "file", "a file that is no socket"),
        (tmp_path / "gone" / "s", "No such file"),
    ):
        redemptions = Redemptions(world.folder / "ledger.db", [KEY.public])

        async def listen(where: Path = where, follows: Redemptions = redemptions) -> None:
            await serve({}, follows, where, callers=())

        with pytest.raises(SetupError, match=why):
            anyio.run(listen)
    assert world.executors.process.poll() is None


def test_issued_is_what_the_ledger_is_asked_for(world: World) -> None:
    """The tickets of these tests are those that a run would issue."""
    steps = world.steps()
    ticket = steps.issued()
    assert list(world.ledger.read(ticket.run))[-1].body == issued(ticket)
