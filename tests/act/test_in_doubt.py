"""An act of which nobody knows whether it happened waits for a person, and is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import asyncssh
import pytest

import rehearsal
from audition.act import Http, HttpSetup, Mail, MailSetup, Ssh, SshSetup, finished
from audition.ledger import Journal, PrivateKey, SqlLedger
from audition.ledger.events import ActFinished, ActInDoubt, ActSettled, ActStarted
from audition.step import Act, Executor, Outcome, Ticket, digest_of
from audition.verify import verify
from audition.waiting import settle, waiting
from rehearsal import bodies, carried, elsewhere, note, project
from servers.executors import Executors
from servers.process import Server

KEY = PrivateKey.generate("run")


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[SqlLedger]:
    """A ledger signed with `KEY`; whatever a test leaves in it must verify."""
    if why := rehearsal.no_box():
        pytest.skip(why)
    with SqlLedger.open(tmp_path / "ledger.db", signer=KEY) as opened:
        yield opened
    findings = verify(tmp_path / "ledger.db", trusted=[KEY.public]).findings
    assert [str(finding) for finding in findings] == []


class Unsure(rehearsal.Note):
    """Has its effect, and cannot tell."""

    async def act(self, ticket: Ticket) -> Outcome:
        await super().act(ticket)
        return Outcome(status="unknown", output="the line went dead")


def test_what_nobody_knows_is_recorded_as_in_doubt(signed: SqlLedger) -> None:
    journal = Journal(signed, "0" * 32)
    said = Outcome(status="unknown", output="the line went dead")
    doubt = finished("1" * 64, said, journal)
    assert doubt == ActInDoubt(ticket="1" * 64, outcome=digest_of(said))
    assert signed.get(digest_of(said)) == said.canonical()
    assert isinstance(finished("1" * 64, Outcome(status="failed"), journal), ActFinished)


def test_an_act_whose_executor_cannot_tell_waits_until_a_person_settles_it(
    tmp_path: Path, signed: SqlLedger
) -> None:
    judged = project(tmp_path, note("a"), executors=[Unsure(tmp_path / "log")])
    first = carried(judged, signed)
    assert (first.status, first.waits_for) == ("waiting", "settle")
    for _ in range(2):  # however often it is taken up
        assert carried(judged, signed, run_id=first.run).waits_for == "settle"
    found = [(one.for_whom, one.told) for one in waiting(signed)]
    assert found == [("settle", "the line went dead")]
    assert rehearsal.written(tmp_path) == ["a"]
    anyio.run(lambda: settle(signed, first.run, happened=True, by="bob"))
    assert carried(judged, signed, run_id=first.run).status == "finished"
    assert rehearsal.written(tmp_path) == ["a"]
    once = (ActStarted, ActInDoubt, ActSettled)
    assert [len(list(bodies(signed, first.run, kind))) for kind in once] == [1, 1, 1]


# ------------------------------------------------------------------------ a server that breaks off


def web(folder: Path) -> tuple[Server, Executor, Act]:
    server = Server("web", folder / "log")
    origin = f"http://127.0.0.1:{server.port}"
    allowed = {"origin": origin, "methods": ["POST"], "paths": ["/"]}
    tool = Http(HttpSetup.model_validate({"origins": [allowed]}))
    return server, tool, Act(tool="http", arguments={"method": "POST", "url": f"{origin}/drop"})


def post(folder: Path) -> tuple[Server, Executor, Act]:
    server = Server("mail", folder / "log")
    said = {"host": "127.0.0.1", "port": server.port, "tls": "none", "sender": "bot@example.org"}
    tool = Mail(MailSetup.model_validate({**said, "recipients": ["@example.org"]}))
    arguments: Any = {"to": ["drop@example.org"], "subject": "", "text": "once"}
    return server, tool, Act(tool="mail", arguments=arguments)


def machine(folder: Path) -> tuple[Server, Executor, Act]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "key")
    key.write_public_key(folder / "known")
    (folder / "key").chmod(0o600)
    server = Server("ssh", folder / "log", folder / "key", folder / "known", folder)
    said = {"host": "127.0.0.1", "port": server.port, "user": "u", "key": str(folder / "key")}
    said |= {"host_key": key.export_public_key().decode(), "commands": [["hang-up"]]}
    return (
        server,
        Ssh(SshSetup.model_validate(said)),
        Act(tool="ssh", arguments={"argv": ["hang-up"]}),
    )


@pytest.mark.parametrize("begun", [web, post, machine])
def test_a_run_whose_server_takes_and_then_drops_waits_and_does_it_once(
    tmp_path: Path,
    signed: SqlLedger,
    begun: Callable[[Path], tuple[Server, Executor, Act]],
) -> None:
    server, tool, proposal = begun(tmp_path)
    with server:
        judged = project(tmp_path, proposal, executors=[tool])
        first = carried(judged, signed)
        assert (first.status, first.waits_for) == ("waiting", "settle")
        anyio.run(lambda: settle(signed, first.run, happened=True, by="ann"))
        assert carried(judged, signed, run_id=first.run).status == "finished"
        assert len(server.log) == 1


# ------------------------------------------------------------------------ processes that are killed


RUNS = """
    import os
    from audition.act import Remote, RemoteSetup
    from audition.ledger import PrivateKey
    folder, pins, url = Path(sys.argv[1]), eval(sys.argv[2]), sys.argv[3]
    setup = RemoteSetup(socket=str(folder / "executors.sock"), tools=pins)
    act = Act(tool="http", arguments={"method": "POST", "url": url})
    with SqlLedger.open(folder / "ledger.db", signer=PrivateKey.parse(input())) as ledger:
        carry_on = project(folder, act, executors=[Remote(setup, "http")])
        carried(carry_on, ledger, run_id="a" * 32)
"""


@pytest.mark.parametrize("killed", ["the run", "the executor"])
def test_an_act_in_another_process_happens_once_whichever_of_the_two_is_killed(
    tmp_path: Path, signed: SqlLedger, killed: str
) -> None:
    """Between `act.started` and `act.finished`: one request, in doubt, settled, never repeated."""
    with Server("web", tmp_path / "log") as server:
        origin = f"http://127.0.0.1:{server.port}"
        tools = (
            "[tools.http]\nseconds = 600\n"
            f'origins = [{{ origin = "{origin}", methods = ["POST"], paths = ["/"] }}]\n'
        )
        with Executors(tmp_path, tools, KEY) as executors:
            run = elsewhere(RUNS, tmp_path, executors.pins, f"{origin}/stall")
            assert run.stdin is not None
            run.stdin.write(KEY.text() + "\n")
            run.stdin.flush()
            server.stalls()
            (run if killed == "the run" else executors.process).kill()
            if killed == "the executor":
                executors.end()
            told = run.communicate()
            assert killed == "the run" or run.returncode == 0, told

            with Executors(tmp_path, tools, KEY) if killed != "the run" else executors as serving:
                proposal = Act(tool="http", arguments={"method": "POST", "url": f"{origin}/stall"})
                judged = project(tmp_path, proposal, executors=[serving.remote("http")])
                again = carried(judged, signed, run_id="a" * 32)
                assert (again.status, again.waits_for) == ("waiting", "settle")
                anyio.run(lambda: settle(signed, "a" * 32, happened=True, by="ann"))
                assert carried(judged, signed, run_id="a" * 32).status == "finished"
        assert [one["target"] for one in server.log] == ["/stall"]
