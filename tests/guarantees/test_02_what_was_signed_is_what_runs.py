"""Guarantee 2, where people sign: nothing runs on a signature that was given for anything else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest

from audition.gate import keys
from audition.ledger import (
    Journal,
    PrivateKey,
    RegisterError,
    SqlLedger,
    enrol,
    read_register,
    revoke,
)
from audition.ledger.events import ActStarted, AuditAsked, AuditRecorded, MomentSealed, RunOpened
from audition.project import Budget, Project, ProjectError
from audition.signoff import SignOffs, statement
from audition.step import Moment, Role, Signature, Verdict, Words, digest_of
from audition.waiting import NotWaiting, answer, waiting
from rehearsal import Absent, Plays, Says, bodies, carried, decisions, kinds, note, project, written

PEOPLE = ("ann", "bob", "cat")
KEYS = {name: PrivateKey(name, bytes([number]) * 32) for number, name in enumerate(PEOPLE, 1)}
STRANGER = PrivateKey("mallory", bytes([9]) * 32)
RUN = "a" * 32


def signing(folder: Path, *proposals: Any, **changes: Any) -> Project:
    given = {"gate": keys(2, of=PEOPLE, within=3600), "budget": Budget(steps=1)} | changes
    people = [Absent(name=name) for name in PEOPLE]
    return project(folder, *(proposals or [note("A")]), auditors=people, **given)


def enrolled(ledger: SqlLedger, *names: str) -> None:
    operator = ledger._signer
    assert operator is not None
    for name in names or PEOPLE:
        anyio.run(enrol, ledger, KEYS[name].public, name, operator)


def signs(
    ledger: SqlLedger, *names: str, score: float = 0.0, key: PrivateKey | None = None
) -> None:
    for name in names:
        says = Says(score, name=name)
        anyio.run(partial(answer, ledger, RUN, says, key=key or KEYS[name]))


def goes_on(project: Project, ledger: SqlLedger) -> str:
    return carried(project, ledger, run_id=RUN).status


def test_two_people_sign_and_what_they_signed_runs(tmp_path: Path, ledger: SqlLedger) -> None:
    enrolled(ledger)
    judged = signing(tmp_path)
    assert goes_on(judged, ledger) == "waiting"
    signs(ledger, "cat")
    assert (goes_on(judged, ledger), written(tmp_path)) == ("waiting", [])
    signs(ledger, "ann")
    goes_on(judged, ledger)
    assert written(tmp_path) == ["A"]


# ------------------------------------------------------------------------ what counts

Forged = Callable[[Moment, str, int], Verdict]


def forged(
    key: PrivateKey = KEYS["bob"], *, until: int = 0, policy: str = "", **binds: Any
) -> Forged:
    """Bob's approval, under a signature that is for something else."""

    def make(moment: Moment, gate: str, expires: int) -> Verdict:
        sealed = digest_of(moment)
        plain = Verdict(auditor="bob", role=Role.GUARD, moment=sealed, score=0.0)
        other = moment.model_copy(update=binds)
        value = key.sign(statement(plain, other, policy or gate, expires + until))
        return plain.model_copy(update={"signature": Signature(key=key.public.id, value=value)})

    return make


def rescored(moment: Moment, gate: str, expires: int) -> Verdict:
    """Bob signed a no, and somebody makes a yes of it."""
    no = Verdict(auditor="bob", role=Role.GUARD, moment=digest_of(moment), score=1.0)
    value = KEYS["bob"].sign(statement(no, moment, gate, expires))
    signature = Signature(key=KEYS["bob"].public.id, value=value)
    return no.model_copy(update={"score": 0.0, "signature": signature})


def unsigned(moment: Moment, gate: str, expires: int) -> Verdict:
    return Verdict(auditor="bob", role=Role.GUARD, moment=digest_of(moment), score=0.0)


FORGED: dict[str, Forged] = {
    "other arguments": forged(proposal=digest_of(note("B"))),
    "another tool": forged(tool="1" * 64),
    "another box": forged(box="1" * 64),
    "another step": forged(turn=7),
    "another attempt": forged(attempt=7),
    "another run": forged(run="b" * 32),
    "other reviewers": forged(reviewers="1" * 64),
    "another policy": forged(policy="1" * 64),
    "another expiry": forged(until=1),
    "another word": rescored,
    "no signature": unsigned,
    "somebody else's key": forged(KEYS["cat"]),
    "a key of nobody": forged(STRANGER),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_signature_for_anything_else_is_not_heard(
    tmp_path: Path, unverified: SqlLedger, what: str
) -> None:
    enrolled(unverified)
    judged = signing(tmp_path)
    goes_on(judged, unverified)
    signs(unverified, "ann")
    [moment] = [one.moment for one in bodies(unverified, RUN, MomentSealed)]
    asked = {one.auditor: one.deadline for one in bodies(unverified, RUN, AuditAsked)}
    policy = SignOffs(judged_gate(unverified)).policy
    expires = asked["bob"]
    assert expires is not None
    slipped_in(unverified, read_register(unverified).active["bob"])
    slipped_in(unverified, read_register(unverified).active["cat"])
    slipped_in(unverified, AuditRecorded(verdict=FORGED[what](moment, policy, expires)))
    assert (goes_on(judged, unverified), written(tmp_path)) == ("waiting", [])
    signs(unverified, "bob")  # the true one still counts
    goes_on(judged, unverified)
    assert written(tmp_path) == ["A"]


def test_a_key_that_nobody_enrolled_lets_nothing_run(tmp_path: Path, unverified: SqlLedger) -> None:
    """Whoever writes the file can tell the run of a key, but not the register."""
    enrolled(unverified)
    judged = signing(tmp_path)
    goes_on(judged, unverified)
    signs(unverified, "ann")
    true = read_register(unverified).active["bob"]
    slipped_in(unverified, true.model_copy(update={"key": str(STRANGER.public)}))
    [moment] = [one.moment for one in bodies(unverified, RUN, MomentSealed)]
    expires = {one.auditor: one.deadline for one in bodies(unverified, RUN, AuditAsked)}["bob"]
    policy = SignOffs(judged_gate(unverified)).policy
    assert expires is not None
    slipped_in(unverified, AuditRecorded(verdict=forged(STRANGER)(moment, policy, expires)))
    with pytest.raises(RegisterError, match="the key of bob is not the one that was enrolled"):
        goes_on(judged, unverified)
    assert written(tmp_path) == []


def test_keys_that_another_operator_enrolled_let_nothing_run(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    for name in PEOPLE:
        anyio.run(enrol, unverified, KEYS[name].public, name, STRANGER)
    with pytest.raises(RegisterError, match="sign-off needs the key that enrolled"):
        goes_on(signing(tmp_path), unverified)
    assert written(tmp_path) == []


def slipped_in(ledger: SqlLedger, body: Any) -> None:
    """An event that somebody else writes into the run."""
    journal = Journal(ledger, RUN, len(kinds(ledger, RUN)))
    journal.log(body)
    anyio.run(journal.commit)


def judged_gate(ledger: SqlLedger) -> Any:
    return next(bodies(ledger, RUN, RunOpened)).gate


# ------------------------------------------------------------------------ who may sign


def test_one_key_signs_for_one_person(tmp_path: Path, ledger: SqlLedger) -> None:
    enrolled(ledger)
    judged = signing(tmp_path)
    goes_on(judged, ledger)
    signs(ledger, "ann")
    before = kinds(ledger, RUN)
    for key, why in (
        (KEYS["ann"], "is not enrolled for bob"),
        (STRANGER, "is not enrolled for bob"),
    ):
        with pytest.raises(RegisterError, match=why):
            signs(ledger, "bob", key=key)
    with pytest.raises(NotWaiting, match="does not wait for ann"):
        signs(ledger, "ann")
    assert kinds(ledger, RUN) == before


def test_an_enrolment_that_is_refused_revokes_nothing(ledger: SqlLedger) -> None:
    enrolled(ledger, "ann")
    with pytest.raises(RegisterError, match="this key was enrolled before"):
        enrolled(ledger, "ann")
    anyio.run(ledger.commit)
    assert read_register(ledger).active["ann"].key == str(KEYS["ann"].public)


def test_nobody_signs_what_they_put_there(tmp_path: Path, ledger: SqlLedger) -> None:
    enrolled(ledger)
    judged = signing(tmp_path)
    goes_on(judged, ledger)
    ann = Says(
        lambda view: ann.verdict(view, score=1.0, words=Words(replacement=note("B"))), name="ann"
    )
    anyio.run(partial(answer, ledger, RUN, ann, key=KEYS["ann"]))
    goes_on(judged, ledger)
    assert {one.for_whom for one in waiting(ledger)} == {"bob", "cat"}
    with pytest.raises(NotWaiting):
        signs(ledger, "ann")
    signs(ledger, "bob", "cat")
    goes_on(judged, ledger)
    assert written(tmp_path) == ["B"]


def test_whoever_thinks_and_whatever_is_no_person_cannot_be_a_reviewer(tmp_path: Path) -> None:
    class Ann(Plays):
        name = "ann"

    with pytest.raises(ProjectError, match="'ann' thinks here"):
        signing(tmp_path, thinker=Ann())
    machine = [Absent(name="ann"), Absent(name="bob"), Says(name="cat")]
    with pytest.raises(ProjectError, match="'cat' is no person"):
        project(tmp_path, auditors=machine, gate=keys(2, of=PEOPLE))


# ------------------------------------------------------------------------ when it falls


def test_a_like_step_begins_without_any_approval(tmp_path: Path, ledger: SqlLedger) -> None:
    enrolled(ledger)
    judged = signing(tmp_path, note("A"), note("A"), budget=Budget(steps=2))
    goes_on(judged, ledger)
    signs(ledger, "ann", "bob")
    goes_on(judged, ledger)
    for one in waiting(ledger):
        assert one.signing is not None and (one.turn, one.signing.signed) == (2, ())
    assert written(tmp_path) == ["A"]


def test_an_approval_falls_with_its_key(tmp_path: Path, ledger: SqlLedger) -> None:
    enrolled(ledger)
    judged = signing(tmp_path)
    goes_on(judged, ledger)
    signs(ledger, "ann", "bob")
    assert ledger._signer is not None
    anyio.run(revoke, ledger, "bob", ledger._signer)
    assert (goes_on(judged, ledger), written(tmp_path)) == ("waiting", [])
    with pytest.raises(RegisterError, match="was revoked; the step still waits for bob"):
        signs(ledger, "bob")
    signs(ledger, "cat")
    goes_on(judged, ledger)
    assert written(tmp_path) == ["A"]


def test_a_revocation_and_a_use_cannot_cross(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revoked at the instant after the register was read: what rests on that is not written."""
    enrolled(ledger)
    judged = signing(tmp_path)
    goes_on(judged, ledger)
    signs(ledger, "ann", "bob")
    operator, revoked = ledger._signer, ["bob"]
    assert operator is not None

    def read(where: SqlLedger, *known: Any) -> Any:
        register = read_register(where, *known)
        while revoked:
            in_a_thread(tmp_path / "ledger.db", revoked.pop(), operator)
        return register

    monkeypatch.setattr("audition.signoff.read_register", read)
    assert (goes_on(judged, ledger), written(tmp_path)) == ("waiting", [])
    assert list(bodies(ledger, RUN, ActStarted)) == []


def in_a_thread(path: Path, name: str, operator: PrivateKey) -> None:
    """Revoke a key through a ledger of its own, while an event loop runs here."""

    def work() -> None:
        with SqlLedger.open(path, signer=operator) as other:
            anyio.run(revoke, other, name, operator)

    worker = Thread(target=work)
    worker.start()
    worker.join()


def test_an_approval_that_was_not_used_in_time_is_a_no(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled(ledger)
    judged = signing(tmp_path, gate=keys(2, of=PEOPLE, within=1))
    clock = [1_800_000_000_000_000]

    def now() -> int:
        clock[0] += 1
        return clock[0]

    for place in ("signoff", "waiting", "judging", "ledger.journal"):
        monkeypatch.setattr(f"audition.{place}.now", now)
    goes_on(judged, ledger)
    signs(ledger, "ann", "bob")
    clock[0] += 2_000_000
    goes_on(judged, ledger)
    assert (decisions(ledger, RUN), written(tmp_path)) == (["reject"], [])
