"""Signed-off runs written by hand, with the register of keys beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from audition.canonical import digest_value
from audition.gate import keys, spec
from audition.ledger import PrivateKey
from audition.ledger.events import (
    REGISTER,
    AuditAsked,
    AuditRecorded,
    KeyEnrolled,
    KeyRevoked,
    StepDecided,
    enrolment_note,
    revocation_note,
)
from audition.signoff import statement
from audition.step import (
    AuditorCard,
    Body,
    Decision,
    Evidence,
    Finish,
    Role,
    RunId,
    Signature,
    Verdict,
    Words,
)
from handmade import KEY, Scribe, shell

PEOPLE = ("ann", "bob", "cat")
KEYS = {
    name: PrivateKey(name, bytes([number]) * 32) for number, name in enumerate((*PEOPLE, "dan"), 1)
}
STRANGER = PrivateKey("mallory", bytes([9]) * 32)
HOUR = 3_600_000_000
ORIGIN = "audition/sign-offs"
"""The name of the ledger for which keys are enrolled, unless another is given."""


@dataclass
class Desk(Scribe):
    """A run whose every step two of three people sign, with the register beside it."""

    gate: Any = field(default_factory=lambda: spec(keys(2, of=PEOPLE, within=3600)))
    cards: tuple[AuditorCard, ...] = tuple(
        AuditorCard(name=name, role=Role.GUARD, sees=(Evidence.PROPOSAL,), person=True)
        for name in PEOPLE
    )
    timeline: list[tuple[RunId, int, Body]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    origin: str = ORIGIN

    def log(self, body: Body) -> None:
        super().log(body)
        self.timeline.append((self.run, self.at, body))

    def enters_register(self, body: Body) -> None:
        self.at += 1_000
        self.timeline.append((REGISTER, self.at, body))

    def enrol(self, *names: str) -> None:
        for name in names:
            self.enters_register(self.enrolment(name))

    def enrolment(self, name: str, key: PrivateKey | None = None) -> KeyEnrolled:
        return enrolment(name, key or KEYS[name], origin=self.origin)

    def begin(self) -> None:
        self.enrol(*PEOPLE)
        self.open()

    def pay(self, amount: int = 42) -> None:
        self.think(shell(f"pay {amount}"))
        self.ask()

    def ask(self, *names: str, within: int = HOUR) -> None:
        self.asked = {}
        for name in names or PEOPLE:
            self.log(AuditAsked(moment=self.sealed, auditor=name, deadline=self.at + within))
            self.asked[name] = self.at - 1_000 + within

    def signed(self, name: str, **other: Any) -> Verdict:
        """An approval as it should be, but for what is said otherwise."""
        key: PrivateKey = other.pop("key", KEYS[name])
        policy = other.pop("policy", digest_value(self.gate))
        expires = other.pop("expires", self.asked.get(name))
        moment = self.moment.model_copy(update=other.pop("binds", {}))
        fields = {"score": 0.0, "said": self.put(Words(rationale="yes"))} | other
        verdict = Verdict(auditor=name, role=Role.GUARD, moment=self.sealed, **fields)
        value = key.sign(statement(verdict, moment, policy, expires))
        return verdict.model_copy(update={"signature": Signature(key=key.public.id, value=value)})

    def sign(self, *names: str, **other: Any) -> None:
        for name in names:
            key: PrivateKey = other.get("key", KEYS[name])
            if key.public.id not in self.told and not other.pop("untold", False):
                self.told.add(key.public.id)
                self.log(self.enrolment(name, key))
            self.log(AuditRecorded(verdict=self.signed(name, **other)))

    def proceeds(self) -> None:
        """The decision that the forger would have, whatever the gate says."""
        reason = "keys: signed by ann, bob"
        self.log(
            StepDecided(moment=self.sealed, decision=Decision(action="proceed", reason=reason))
        )

    def revoke(self, name: str) -> KeyRevoked:
        public = str(KEYS[name].public)
        value = KEY.sign(revocation_note(self.origin, name, public))
        signature = Signature(key=KEY.public.id, value=value)
        body = KeyRevoked(person=name, key=public, signature=signature)
        self.enters_register(body)
        return body


def enrolment(
    name: str, key: PrivateKey, by: PrivateKey = KEY, *, origin: str = ORIGIN
) -> KeyEnrolled:
    value = by.sign(enrolment_note(origin, name, str(key.public)))
    signature = Signature(key=by.public.id, value=value)
    return KeyEnrolled(person=name, key=str(key.public), signature=signature)


def signed_run(run: RunId = "00" * 15 + "e5", origin: str = ORIGIN) -> Desk:
    """A run of two steps, each signed by two of three; another's key was revoked before."""
    desk = Desk(run, origin=origin)
    desk.enrol("dan")
    desk.revoke("dan")
    desk.begin()
    desk.pay()
    desk.sign("ann", "bob")
    desk.decide()
    desk.perform()
    desk.think(Finish(answer="paid"))
    desk.ask()
    desk.sign("cat", "bob")
    desk.decide()
    desk.enters("proceed")
    desk.close(answer=desk.named)
    return desk


def apart(desk: Desk) -> tuple[Any, Desk]:
    """The register as a pen of its own, and the run: for what writes one run after the other."""
    entries = [(at, body) for run, at, body in desk.timeline if run == REGISTER]
    return SimpleNamespace(run=REGISTER, events=entries, contents=[]), desk
