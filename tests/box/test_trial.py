"""`audition doctor --box` says of each way out how it went, and what no box covers."""

import json

import anyio
import pytest
from typer.testing import CliRunner

from audition.box import BoxConfig, confine, try_ways_out
from audition.box.attempts import ATTEMPTS
from audition.box.config import Limits
from audition.console.app import app
from audition.console.speaking import Stop

NAMES = [attempt.__name__ for attempt in ATTEMPTS]


def doctor(*options):
    done = CliRunner().invoke(app, ["doctor", "--box", *options])
    assert done.exception is None or isinstance(done.exception, (Stop, SystemExit)), done.exception
    return done.stdout, 0 if done.exception is None else getattr(done.exception, "code", 1)


@pytest.mark.usefixtures("needs_box")
def test_a_box_that_holds_is_told_way_by_way():
    said, code = doctor("--json")
    found = json.loads(said)
    assert (found["well"], code) == (True, 0)
    assert [way["name"] for way in found["ways"]] == NAMES
    assert {way["outcome"] for way in found["ways"]} <= {"blocked", "not testable"}
    assert all(way["about"] for way in found["ways"])
    assert all(way["why"] for way in found["ways"] if way["outcome"] == "not testable")
    assert {held["limit"] for held in found["limits"]} == set(Limits.model_fields)
    for word in ("kernel", "model server", "timing"):
        assert any(word in text for text in found["uncovered"])


@pytest.mark.usefixtures("needs_box")
def test_what_gets_out_is_open_and_the_command_fails(monkeypatch):
    whole = confine.arguments
    monkeypatch.setattr(
        confine,
        "arguments",
        lambda *given: [word for word in whole(*given) if word != "--unshare-net"],
    )
    said, code = doctor()
    assert code == 1
    lines = said.splitlines()
    assert any(line.startswith("OPEN          tcp: ") and "reached" in line for line in lines)
    assert any(line.startswith("blocked       files: ") for line in lines)
    assert any(line.startswith("not covered   flaws of the kernel") for line in lines)


def test_without_a_box_nothing_is_testable_and_it_says_why(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    said, code = doctor("--json")
    found = json.loads(said)
    assert (found["well"], code) == (False, 1)
    ways = [way for way in found["ways"] if way["name"] not in ("tcp6", "vsock", "keyring")]
    assert {way["outcome"] for way in ways} == {"not testable"}
    assert all("apt-get install bubblewrap" in way["why"] for way in ways)
    assert found["uncovered"]


@pytest.mark.usefixtures("needs_box")
def test_what_this_machine_lacks_is_not_testable(monkeypatch):
    lacking = [("vsock", "this machine has no vsock")]
    monkeypatch.setattr("audition.box.trial._missing", lambda: iter(lacking))
    ways = {way.name: way for way in anyio.run(try_ways_out).ways}
    assert (ways["vsock"].outcome, ways["vsock"].why) == ("not testable", lacking[0][1])
    assert ways["tcp"].outcome == "blocked"


def test_a_sandbox_that_confines_nothing_is_told_likewise():
    pytest.importorskip("inspect_ai")
    trial = anyio.run(try_ways_out, BoxConfig(sandbox="local"))
    ways = {way.name: way for way in trial.ways}
    assert ways["tcp"].outcome == "open"
    assert ways["outsiders"].outcome == "not testable"
    assert "container" in ways["outsiders"].why
    assert any("container" in text for text in trial.uncovered)
