"""What only whoever holds the signing key could write of a sign-off: each is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import (
    ActStarted,
    AuditRecorded,
    KeyEnrolled,
    StepDecided,
)
from audition.signoff import SignOffs
from audition.step import (
    Body,
    Decision,
    Event,
    Failure,
    RunId,
    Words,
    digest_of,
)
from audition.verify import Verification, verify
from handmade import KEY, shell
from signed import HOUR, KEYS, ORIGIN, STRANGER, Desk, enrolment, signed_run


def examined(path: Path, desk: Desk, *, trusted: PrivateKey = KEY) -> Verification:
    """What verification finds in a ledger that holds the timeline, signed all over."""

    async def commit() -> None:
        seen: dict[RunId, int] = {}
        with SqlLedger.open(path, signer=KEY) as ledger:
            for data, private in desk.contents:
                ledger.put(data, private=private)
            for run, at, body in desk.timeline:
                ledger.stage(Event(run=run, seq=seen.get(run, 0), at=at, body=body))
                seen[run] = seen.get(run, 0) + 1
                await ledger.commit()

    anyio.run(commit)
    return verify(path, [trusted.public])


@pytest.fixture(autouse=True)
def _origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda length: ORIGIN.removeprefix("audition/"))


def test_a_run_that_two_of_three_signed_verifies(tmp_path: Path) -> None:
    found = examined(tmp_path / "runs.db", signed_run())
    assert found.ok, found.first_bad
    assert found.runs == 1 and found.not_checked == ()
    assert found.signatures - found.checkpoints == 4


def test_without_the_operators_key_the_register_is_only_compared(tmp_path: Path) -> None:
    found = examined(tmp_path / "runs.db", signed_run(), trusted=STRANGER)
    assert any("5 entries of the register" in line for line in found.not_checked)


# ------------------------------------------------------------------------ approvals


def approved(**other: Any) -> Callable[[Desk], None]:
    """Bob's approval has something else under its signature."""

    def forge(desk: Desk) -> None:
        desk.pay()
        desk.sign("ann")
        desk.sign("bob", **other)
        desk.proceeds()
        desk.perform()

    return forge


def carried_over(desk: Desk) -> None:
    """What was approved once is tried again, and the approvals are copied to it."""
    desk.pay()
    desk.sign("ann", "bob")
    old = [body.verdict for _, _, body in desk.timeline[-2:] if isinstance(body, AuditRecorded)]
    desk.decide()
    desk.perform()
    desk.pay()
    for verdict in old:
        copied = verdict.model_copy(update={"moment": desk.sealed})
        desk.log(AuditRecorded(verdict=copied))
    desk.proceeds()
    desk.perform()


def own_replacement(desk: Desk) -> None:
    desk.pay()
    better = shell("pay 1")
    words = Words(rationale="less", replacement=better)
    desk.put(better)
    desk.sign("ann", score=1.0, said=desk.put(words), replacement=digest_of(better))
    desk.decide()
    desk.attempt = 1
    desk.propose(better, by="ann")
    desk.ask()
    desk.sign("ann", "bob")
    desk.proceeds()
    desk.perform()


def own_replacement_hidden(desk: Desk) -> None:
    """The same, and the moment does not say whose it is."""
    own = desk.seal

    def seal() -> None:
        desk.by = None
        own()

    desk.seal = seal  # type: ignore[method-assign]
    own_replacement(desk)


def nobody_asked(desk: Desk) -> None:
    desk.think(shell("pay 42"))
    desk.ask("ann")
    desk.asked["bob"] = desk.asked["ann"]
    desk.sign("ann", "bob")
    desk.proceeds()


def no_one_has_signed(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann")
    desk.proceeds()
    desk.perform()


def a_no_passed_over(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann", "bob")
    desk.sign("cat", score=1.0)
    desk.proceeds()
    desk.perform()


def silence_taken_for_yes(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann")
    desk.at += 2 * HOUR
    late = Failure(auditor="bob", moment=desk.sealed, kind="late", cause="infrastructure")
    desk.log(AuditRecorded(failure=late))
    desk.proceeds()
    desk.perform()


def used_after_it_expired(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann", "bob")
    desk.at += 2 * HOUR
    desk.decide()
    desk.perform()


def used_twice(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann", "bob")
    desk.decide()
    desk.perform()
    [ticket] = [body.ticket for _, _, body in desk.timeline if isinstance(body, ActStarted)]
    desk.log(ActStarted(ticket=ticket))


def a_longer_deadline(desk: Desk) -> None:
    """The question is given a deadline beyond the one that was signed."""
    desk.pay()
    desk.sign("ann", expires=desk.asked["ann"] - 1)
    desk.sign("bob")
    desk.proceeds()


# ------------------------------------------------------------------------ keys


def one_key_for_two(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann")
    desk.sign("bob", key=KEYS["ann"])
    desk.proceeds()


def key_of_nobody(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann")
    desk.sign("bob", key=STRANGER)
    desk.proceeds()


def not_told(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann")
    desk.sign("bob", untold=True)
    desk.proceeds()


def revoked_before_it_was_used(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann", "bob")
    desk.revoke("bob")
    desk.decide()
    desk.perform()


def revoked_before_the_act(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann", "bob")
    desk.decide()
    desk.revoke("bob")
    desk.perform()


def signed_with_a_revoked_key(desk: Desk) -> None:
    desk.revoke("bob")
    desk.pay()
    desk.sign("ann", "bob")
    desk.decide()
    desk.perform()


def revoked_and_used_all_the_same(desk: Desk) -> None:
    desk.pay()
    desk.sign("ann", "bob")
    desk.log(desk.revoke("bob"))
    desk.proceeds()


def revoked_here_alone(desk: Desk) -> None:
    """A run is told of a revocation that never was: that would take an approval away."""
    desk.pay()
    desk.sign("ann", "bob")
    body = desk.revoke("bob")
    desk.timeline.pop()
    desk.log(body)


FORGED: dict[str, tuple[Callable[[Desk], None], int, str, str]] = {
    "other arguments": (approved(binds={"proposal": "e" * 64}), 2, "audit.recorded", "not under"),
    "another policy": (approved(policy="e" * 64), 2, "audit.recorded", "not under this moment"),
    "other reviewers": (approved(binds={"reviewers": "e" * 64}), 2, "audit.recorded", "not under"),
    "another run": (approved(binds={"run": "e" * 32}), 2, "audit.recorded", "not under"),
    "another expiry": (approved(expires=1), 2, "audit.recorded", "not under this moment"),
    "another attempt": (approved(binds={"attempt": 3}), 2, "audit.recorded", "not under"),
    "another tool": (approved(binds={"tool": "e" * 64}), 2, "audit.recorded", "not under"),
    "a longer deadline": (a_longer_deadline, 2, "audit.recorded", "not under this moment"),
    "carried over to a retry": (carried_over, 2, "audit.recorded", "not under this moment"),
    "one's own replacement": (own_replacement, 4, "audit.asked", "the gate does not name here"),
    "one's own, hidden": (own_replacement_hidden, 2, "moment.sealed", "the moment's by"),
    "never asked": (nobody_asked, 2, "audit.recorded", "would never expire"),
    "too few": (no_one_has_signed, 5, "step.decided", "before bob, cat had answered"),
    "a no passed over": (a_no_passed_over, 5, "step.decided", "the gate says reject"),
    "silence taken for yes": (silence_taken_for_yes, 5, "step.decided", "the gate says reject"),
    "used after it expired": (used_after_it_expired, 5, "step.decided", "had expired"),
    "used twice": (used_twice, 9, "act.started", "a second time"),
    "one key for two people": (one_key_for_two, 2, "audit.recorded", "no enrolled key of bob"),
    "a key of nobody": (key_of_nobody, 10, "key.enrolled", "not what the register says"),
    "a key that the run was not told of": (not_told, 2, "audit.recorded", "no enrolled key"),
    "revoked before it was used": (revoked_before_it_was_used, 5, "step.decided", "was revoked"),
    "revoked before the act": (revoked_before_the_act, 5, "act.started", "was revoked"),
    "a revoked key": (signed_with_a_revoked_key, 10, "key.enrolled", "not what the register says"),
    "revoked and used": (revoked_and_used_all_the_same, 5, "step.decided", "before bob, cat had"),
    "revoked here alone": (revoked_here_alone, 10, "key.revoked", "not what the register says"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_sign_off_is_found(tmp_path: Path, name: str) -> None:
    forge, guarantee, kind, says = FORGED[name]
    desk = Desk()
    desk.begin()
    forge(desk)
    first = examined(tmp_path / "runs.db", desk).first_bad
    assert first is not None, "nothing was found"
    assert (first.guarantee, first.kind) == (guarantee, kind), str(first)
    assert says in first.says, str(first)


def test_whoever_thinks_signs_nothing(tmp_path: Path) -> None:
    desk = signed_run()
    run, at, body = desk.timeline[5]
    desk.timeline[5] = (run, at, body.model_copy(update={"thinker": "ann"}))
    first = examined(tmp_path / "runs.db", desk).first_bad
    assert first is not None and "ann thinks and signs off" in first.says


# ------------------------------------------------------------------------ the register


def entry(name: str, held: PrivateKey, by: PrivateKey = KEY, **other: Any) -> KeyEnrolled:
    return enrolment(name, held, by).model_copy(update=other)


FALSE_ENTRIES: dict[str, tuple[list[Body], str]] = {
    "a key for two people": ([entry("ann", KEYS["ann"]), entry("bob", KEYS["ann"])], "before"),
    "two keys for one": ([entry("ann", KEYS["ann"]), entry("ann", KEYS["bob"])], "revoke it first"),
    "by a stranger": (
        [entry("ann", KEYS["ann"]), entry("bob", KEYS["bob"], by=STRANGER)],
        "keys are enrolled by",
    ),
    "the operator's own": ([entry("ann", KEY)], "signs off nothing"),
    "for another person than was signed": (
        [entry("ann", KEYS["ann"], person="bob")],
        "does not verify",
    ),
    "no key at all": ([entry("ann", KEYS["ann"], key="ann+00+AA")], "key.enrolled of ann"),
    "something else": ([ActStarted(ticket="e" * 64)], "stands in the register"),
}


@pytest.mark.parametrize("name", FALSE_ENTRIES)
def test_a_false_entry_of_the_register_is_found(tmp_path: Path, name: str) -> None:
    bodies, says = FALSE_ENTRIES[name]
    desk = Desk()
    for body in bodies:
        desk.enters_register(body)
    found = examined(tmp_path / "runs.db", desk)
    assert found.found == 1 and found.first_bad is not None
    assert (found.first_bad.guarantee, found.first_bad.index) == (10, len(bodies) - 1)
    assert says in found.first_bad.says


def test_an_approval_falls_with_its_key_and_a_new_key_signs_anew(tmp_path: Path) -> None:
    """As the loop would write it: nothing is found."""
    desk = Desk()
    desk.begin()
    desk.pay()
    desk.sign("ann", "bob")
    desk.decide()
    desk.log(desk.revoke("bob"))  # between decision and ticket: it is undecided again
    other = PrivateKey("bob-2", bytes([7]) * 32)
    desk.enters_register(enrolment("bob", other))
    desk.sign("bob", key=other)
    reason = "keys: signed by ann, bob"
    desk.log(StepDecided(moment=desk.sealed, decision=Decision(action="proceed", reason=reason)))
    desk.perform()
    found = examined(tmp_path / "runs.db", desk)
    assert found.ok, found.first_bad


def test_an_approval_falls_with_its_time_and_lateness_denies(tmp_path: Path) -> None:
    desk = Desk()
    desk.begin()
    desk.pay()
    desk.sign("ann", "bob")
    desk.decide()
    desk.at += 2 * HOUR
    late = Failure(auditor="ann", moment=desk.sealed, kind="late", cause="infrastructure")
    desk.log(AuditRecorded(failure=late))
    reason = "keys: ann late (failure is suspicion)"
    desk.log(StepDecided(moment=desk.sealed, decision=Decision(action="reject", reason=reason)))
    desk.enters("reject")
    found = examined(tmp_path / "runs.db", desk)
    assert found.ok, found.first_bad


def test_an_answer_without_its_signature_is_not_heard() -> None:
    desk = Desk()
    desk.begin()
    desk.pay()
    verdict = desk.signed("ann")
    signoffs = SignOffs(desk.gate)
    signoffs.take(enrolment("ann", KEYS["ann"]))
    assert signoffs.amiss(verdict, desk.moment, desk.asked["ann"]) == ""
    bare = verdict.model_copy(update={"signature": None})
    assert "without a signature" in signoffs.amiss(bare, desk.moment, desk.asked["ann"])
    assert "never expire" in signoffs.amiss(verdict, desk.moment, None)
    own = desk.moment.model_copy(update={"by": "ann"})
    signed = desk.signed("ann", binds={"by": "ann"})
    assert "what ann proposed" in signoffs.amiss(signed, own, desk.asked["ann"])
