"""Sign-off as people do it: the criteria of an action-bound, fail-closed approval, by command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from test_commands import Shell, box, events, one_line, read_until, started  # noqa: F401

from audition.ledger import Keyring, SqlLedger, enrol, revoke
from audition.ledger.events import ActStarted, MomentSealed, StepDecided
from audition.step import Act, Body, digest_of
from audition.verify import verify
from audition.waiting import Waiting, answer, waiting
from rehearsal import Says, bodies

PEOPLE = ("ann", "bob", "cat")

PROJECT = """
name = "payment"
goal = "pay the bill"

[thinker]
kind = "scripted"

[[thinker.steps]]
propose = {{ kind = "act", tool = "write", arguments = {{ path = "paid", content = "42" }} }}

[[thinker.steps]]
propose = {{ kind = "act", tool = "write", arguments = {{ path = "paid", content = "42" }} }}

[box]

[[auditors]]
kind = "person"
name = "ann"

[[auditors]]
kind = "person"
name = "bob"

[[auditors]]
kind = "person"
name = "cat"

[gate]
kind = "keys"
needs = 2
of = ["ann", "bob", "cat"]
within = {within}

[tools.write]
folder = "world"

[budget]
steps = 2
"""


class Office(Shell):
    """A folder with a project, a ledger and the reviewers' keys, and a run that waits for them."""

    run_id = ""

    @property
    def carrying(self) -> tuple[str, ...]:
        words = ("run", "p.toml", "--ledger", "a.db")
        return (*words, "--resume", self.run_id) if self.run_id else words

    def carry(self, code: int = 3) -> dict[str, Any]:
        return self.json(*self.carrying, code=code)

    def says(self, word: str, name: str, *more: str, code: int = 0) -> str:
        """What `approve` or `reject` answers, about the moment that waits."""
        words = (word, "a.db", self.run_id, "--as", name, "--moment", self.moment, *more)
        done = self(*words, code=code)
        return one_line(done) if code else done.stdout

    def approved_by(self, *names: str) -> None:
        """The same as `approve`, in this process: where a test is about what comes of it."""
        ring = Keyring(self.folder / "home" / "keys")
        with SqlLedger.open(self.folder / "a.db", signer=ring.signer("ledger")) as ledger:
            for name in names:
                says = Says(0.0, name=name)
                anyio.run(partial(answer, ledger, self.run_id, says, key=ring.signer(name)))

    def written(self, kind: type[Body]) -> list[Any]:
        with SqlLedger.open(self.folder / "a.db", create=False) as ledger:
            return list(bodies(ledger, self.run_id, kind))

    @property
    def moment(self) -> str:
        return digest_of(self.written(MomentSealed)[-1].moment)

    @property
    def paid(self) -> bool:
        return (self.folder / "world" / "paid").exists()

    @property
    def waits_for(self) -> dict[str, Waiting]:
        with SqlLedger.open(self.folder / "a.db", create=False) as ledger:
            return {one.for_whom: one for one in waiting(ledger)}

    @property
    def found(self) -> list[str]:
        """What verification finds, which trusts the key that carries runs and no reviewer's."""
        operator = Keyring(self.folder / "home" / "keys").trusted("ledger")
        return [str(one) for one in verify(self.folder / "a.db", [operator]).findings]


def opened(folder: Path, within: float = 3600, enrolled: Sequence[str] = PEOPLE) -> Office:
    """An office in which nothing was begun."""
    office = Office(folder)
    (folder / "world").mkdir(parents=True)
    (folder / "p.toml").write_text(PROJECT.format(within=within))
    ring = Keyring(folder / "home" / "keys")
    operator = ring.made("ledger")
    with SqlLedger.open(folder / "a.db", signer=operator) as ledger:
        for name in enrolled:
            anyio.run(enrol, ledger, ring.new(name), name, operator)
    return office


@pytest.fixture(scope="module")
def asked(box: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Office, Path]:  # noqa: F811
    """A run that waits for two of three keys, whose process was killed, and a copy of all of it."""
    folder = tmp_path_factory.mktemp("office")
    office = opened(folder / "here")
    with started(office, *office.carrying, "--wait") as carrying:
        read_until(carrying.stderr, "run ")
        office.run_id = carrying.stderr.read(32)
        while len(office.waits_for) < len(PEOPLE):
            time.sleep(0.1)
        os.killpg(carrying.pid, signal.SIGKILL)
    shutil.copytree(office.folder, folder / "kept")
    return office, folder / "kept"


@pytest.fixture
def office(asked: tuple[Office, Path]) -> Office:
    """The same run, whatever an earlier test did to it."""
    office, kept = asked
    shutil.rmtree(office.folder)
    shutil.copytree(kept, office.folder)
    return office


def test_two_of_three_waits_for_two_distinct_keys(office: Office) -> None:
    office.says("approve", "ann")
    assert "is not enrolled for bob" in office.says("approve", "bob", "--key", "ann", code=1)
    [bob, cat] = office.json("pending", "a.db")["waiting"]
    assert (bob["for"], cat["for"], bob["moment"]) == ("bob", "cat", office.moment)
    asked = ["ann", "bob", "cat"]
    assert bob["signing"] == {"needs": 2, "asked": asked, "signed": ["ann"], "missing": 1}
    assert not office.paid
    office.says("approve", "bob")
    assert office.carry()["turns"] == 2 and office.paid
    assert office.found == []


def test_what_is_approved_is_what_runs_argument_for_argument(office: Office) -> None:
    office.approved_by("ann", "bob")
    act = Act(tool="write", arguments={"path": "paid", "content": "42"})
    other = Act(tool="write", arguments={"path": "paid", "content": "43"})
    with sqlite3.connect(office.folder / "a.db") as database:
        swap = "UPDATE contents SET data = ? WHERE digest = ?"
        done = database.execute(swap, (other.canonical(), bytes.fromhex(digest_of(act))))
        assert done.rowcount == 1
    database.close()
    assert "was altered" in office(*office.carrying, code=1).stderr
    assert not office.paid


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("gate", {"needs = 2": "needs = 1"}),
        ("auditors", {'name = "cat"': 'name = "dan"', '"bob", "cat"': '"bob", "dan"'}),
    ],
    ids=["policy", "reviewers"],
)
def test_an_approval_is_good_for_no_other_policy_or_reviewers(
    office: Office, part: str, changes: dict[str, str]
) -> None:
    office.approved_by("ann")
    project = office.folder / "p.toml"
    for old, new in changes.items():
        assert old in project.read_text()
        project.write_text(project.read_text().replace(old, new))
    refused = office(*office.carrying, code=1).stderr
    assert "it was opened under another project" in refused and part in refused
    assert not office.paid and len(office.waits_for) == 2


def test_after_the_deadline_nobody_approves_and_silence_is_a_no(
    box: None,  # noqa: F811
    tmp_path: Path,
) -> None:
    office = opened(tmp_path / "office", within=0.2)
    office.run_id = office.json(*office.carrying, "--wait", code=4)["run"]
    decided = [one.decision for one in office.written(StepDecided)]
    assert [one.action for one in decided] == ["reject", "reject"]
    assert "late (failure is suspicion)" in decided[0].reason
    assert "does not wait for ann" in office.says("approve", "ann", code=1)
    assert not office.paid and office.found == []


def test_an_approval_is_used_once_and_a_like_step_begins_anew(office: Office) -> None:
    office.approved_by("ann", "bob")
    office.carry()
    (office.folder / "world" / "paid").unlink()
    assert (len(office.written(ActStarted)), len(office.waits_for)) == (1, 3)
    assert office.carry()["turns"] == 2 and not office.paid
    assert len(office.written(ActStarted)) == 1 and office.found == []


def test_nobody_approves_what_they_put_in_its_place(office: Office) -> None:
    better = json.dumps({"kind": "act", "tool": "write", "arguments": {"path": "b", "content": ""}})
    typed = f"modify {office.moment[:4]}\n{better}\n90\nno payment\n"
    office("judge", "a.db", "--as", "ann", stdin=typed)
    office.carry()
    assert set(office.waits_for) == {"bob", "cat"}
    office.approved_by("bob", "cat")
    office.carry()
    assert (office.folder / "world" / "b").exists() and not office.paid
    assert office.found == []


def test_one_no_outweighs_two_approvals(office: Office) -> None:
    office.approved_by("ann", "bob")
    office.says("reject", "cat")
    office.carry()
    assert office.written(StepDecided)[0].decision.action == "reject"
    assert not office.paid and office.found == []


def test_killed_in_the_middle_of_an_approval_it_still_waits(office: Office) -> None:
    office.approved_by("ann")
    before = events(office.folder / "a.db")
    words = ("approve", "a.db", office.run_id, "--as", "bob")
    with started(office, *words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as approving:
        read_until(approving.stderr, "To approve this, type ")
        os.killpg(approving.pid, signal.SIGKILL)
    assert events(office.folder / "a.db") == before
    signing = office.waits_for["bob"].signing
    assert signing is not None and signing.signed == ("ann",)
    code = office.moment[:4]
    assert "nothing was recorded" in office(*words, stdin="no\n", code=1).stderr
    assert events(office.folder / "a.db") == before
    office(*words, stdin=f"{code}\n")
    office.carry()
    assert office.paid and office.found == []


def test_a_rejected_step_tried_again_begins_without_any_approval(office: Office) -> None:
    office.approved_by("ann")
    office.says("reject", "cat")
    first = office.moment
    office.carry()
    assert office.moment != first
    for name, waits in office.waits_for.items():
        assert waits.signing is not None and waits.signing.signed == (), name
    stale = office("approve", "a.db", office.run_id, "--as", "ann", "--moment", first, code=1)
    assert "another moment now" in one_line(stale)
    assert not office.paid


def test_the_trail_of_a_sign_off_is_whole_and_a_gap_in_it_is_found(office: Office) -> None:
    office.approved_by("ann")
    office.says("approve", "bob", "--because", "the bill is due")
    office.carry()
    told = office.json("show", "a.db", office.run_id)["events"]
    step = [e for e in told if e["seq"] < 20]
    asked = [e["body"]["auditor"] for e in step if e["kind"] == "audit.asked"]
    signed = [
        (e["body"]["verdict"]["auditor"], e["contents"].get("said", {}).get("rationale"))
        for e in step
        if e["kind"] == "audit.recorded" and "signature" in e["body"].get("verdict", {})
    ]
    assert asked[:3] == list(PEOPLE)
    assert signed == [("ann", None), ("bob", "the bill is due")]
    kinds = [e["kind"] for e in told if e["kind"].startswith("key.")]
    assert kinds == ["key.enrolled", "key.enrolled"]
    [decision] = [e["body"]["decision"] for e in told if e["kind"] == "step.decided"]
    assert decision["reason"] == "keys: signed by ann, bob"
    with sqlite3.connect(office.folder / "a.db") as database:
        gone = b'"kind":"key.enrolled","run":"' + office.run_id.encode()
        done = database.execute("DELETE FROM events WHERE instr(data, ?)", (gone,))
        assert done.rowcount == 2
    database.close()
    assert office.found


def test_a_revoked_key_is_one_line_and_the_run_waits(office: Office) -> None:
    office.approved_by("ann", "bob")
    assert "revoked ann, the key of ann" in office("keys", "revoke", "a.db", "ann").stdout
    assert office.carry()["status"] == "waiting" and not office.paid
    before = events(office.folder / "a.db")
    assert "was revoked; the step still waits for ann" in office.says("approve", "ann", code=1)
    assert events(office.folder / "a.db") == before
    public = Keyring(office.folder / "home" / "keys").new("ann2")
    office("keys", "enroll", "a.db", "ann2", str(public), "--person", "ann")
    office.says("approve", "ann", "--key", "ann2")
    office.carry()
    assert office.paid and office.found == []


def test_a_run_says_everybody_who_is_awaited_and_who_cannot_sign_yet(
    box: None,  # noqa: F811
    tmp_path: Path,
) -> None:
    office = opened(tmp_path, enrolled=["ann", "bob"])
    lines = office(*office.carrying, code=3).stdout.splitlines()
    enrol = "audition keys enroll a.db cat cat.pub --person cat"
    assert lines[0].endswith("waits for ann, bob and cat; see: audition pending a.db")
    assert lines[1] == "  2 of 3 asked must sign, 0 did, 2 more are needed"
    assert lines[2] == f"  cat has no enrolled key: audition keys new cat > cat.pub && {enrol}"
    assert enrol in office("pending", "a.db").stdout
    ring = Keyring(tmp_path / "home" / "keys")
    ring.new("cat")
    enrol = "cat has no enrolled key: audition keys enroll a.db cat cat --person cat"
    assert enrol in office("pending", "a.db").stdout.splitlines()
    found = office.json(*office.carrying, code=3)
    assert found["awaited"] == ["ann", "bob", "cat"]
    with SqlLedger.open(tmp_path / "a.db", signer=ring.signer("ledger")) as ledger:
        anyio.run(revoke, ledger, "bob", ring.signer("ledger"))
    enrol = "audition keys enroll a.db bob-2 bob-2.pub --person bob"
    assert f"audition keys new bob-2 > bob-2.pub && {enrol}" in office("pending", "a.db").stdout


def test_a_worker_says_everybody_whom_a_run_waits_for(
    box: None,  # noqa: F811
    tmp_path: Path,
) -> None:
    office = opened(tmp_path)
    queue = ("p.toml", "--ledger", "a.db")
    office("submit", *queue)
    said = office("worker", *queue, "--until-idle").stderr
    assert "waits for ann, bob and cat; see: audition pending a.db" in said
