"""Sign-off: what a person's signature under an answer says, whether it holds, and when it falls.

It is made over a statement that whoever reads it puts together anew from the run's own events, so
nothing that it binds is taken on the word of the answer itself. What lets a step pass falls with
its key, or with its time, until the act has begun; a no stands whatever becomes of its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from audition.audit import without_words
from audition.canonical import canonical, digest_value
from audition.gate import approves, signers
from audition.ledger import (
    NoteError,
    PrivateKey,
    PublicKey,
    RegisterError,
    SqlLedger,
    read_register,
)
from audition.ledger.events import REGISTER, AuditRecorded, KeyEnrolled, KeyRevoked
from audition.step import (
    Digest,
    Event,
    Failure,
    JsonObject,
    Micros,
    Moment,
    RunId,
    Signature,
    Verdict,
    digest_of,
    now,
)

Answers = Sequence[Verdict | Failure]
"""What was recorded about a moment, in order."""

Asked = Mapping[str, Micros | None]
"""Who was asked, each with a deadline."""


def statement(verdict: Verdict, moment: Moment, policy: Digest, expires: Micros) -> bytes:
    """What a reviewer signs.

    Args:
        verdict: the answer.
        moment: what it is about: proposal, arguments, tool, box, restrictions, run, attempt.
        policy: digest of the specification of the run's gate.
        expires: the reviewer's deadline, after which the answer may not be used.
    """
    bare = without_words(verdict).model_copy(update={"signature": None})
    return canonical(
        {
            "expires": expires,
            "moment": digest_of(moment),
            "policy": policy,
            "reviewers": moment.reviewers,
            "run": moment.run,
            "signs": "audition/sign-off/1",
            "verdict": digest_of(bare),
        }
    )


@dataclass
class SignOffs:
    """Who signs off in one run, and with which keys, as far as its events tell."""

    gate: JsonObject = field(default_factory=dict[str, JsonValue])
    """The specification of the run's gate."""
    keys: dict[str, KeyEnrolled] = field(default_factory=dict[str, KeyEnrolled])
    """Keys that the run was told of and that were not revoked, by id."""

    @cached_property
    def people(self) -> frozenset[str]:
        """Everybody whose answers need a signature."""
        return signers(self.gate)

    @cached_property
    def policy(self) -> Digest:
        """Digest of the gate's specification."""
        return digest_value(self.gate)

    def take(self, body: KeyEnrolled | KeyRevoked) -> None:
        """Take what the run is told of a key into account; a malformed key is none."""
        try:
            key = PublicKey.parse(body.key).id
        except NoteError:
            return
        if isinstance(body, KeyEnrolled):
            self.keys.setdefault(key, body)
        else:
            self.keys.pop(key, None)

    def signed(self, verdict: Verdict, moment: Moment, expires: Micros, key: PrivateKey) -> Verdict:
        """The verdict, signed off."""
        value = key.sign(statement(verdict, moment, self.policy, expires))
        return verdict.model_copy(update={"signature": Signature(key=key.public.id, value=value)})

    def amiss(self, verdict: Verdict, moment: Moment, expires: Micros | None) -> str:
        """Why this answer does not count, in one line; empty if it does.

        Args:
            verdict: the answer of one of `people`.
            moment: what it is about.
            expires: the deadline that the reviewer was given.
        """
        name = verdict.auditor
        if verdict.signature is None:
            return f"{name} answers without a signature"
        enrolled = self.keys.get(verdict.signature.key)
        if enrolled is None or enrolled.person != name:
            return f"{name} signs with {verdict.signature.key}, which is no enrolled key of {name}"
        if moment.by == name:
            return f"{name} signs off what {name} proposed"
        if expires is None:
            return f"{name} signs what would never expire"
        said = statement(verdict, moment, self.policy, expires)
        if not PublicKey.parse(enrolled.key).verifies(said, verdict.signature.value):
            return f"the signature of {name} is not under this moment, policy and expiry"
        return ""

    def fallen(self, event: Event, answers: Answers, asked: Asked) -> list[Verdict]:
        """Answers that this event of the run takes away."""
        match event.body:
            case KeyRevoked() as body:
                return [one for one in self._falling(answers) if _signed_with(one, body)]
            case AuditRecorded(failure=Failure(kind="late", auditor=name)):
                expires = asked.get(name)
                lapsed = expires is not None and event.at > expires
                return [one for one in self._falling(answers) if one.auditor == name and lapsed]
            case _:
                return []

    def withdrawn(
        self, ledger: SqlLedger, run: RunId, answers: Answers, asked: Asked
    ) -> KeyRevoked | AuditRecorded | None:
        """What the run must be told before anything rests on these answers; None if nothing.

        What is staged next is written only if the register is then as it is now.

        Raises:
            RegisterError: the register is not that of whoever signs the ledger here.
        """
        if not self.people:
            return None
        if ledger.signer is None:
            raise RegisterError(f"run {run}: sign-off needs a ledger that is signed")
        register = read_register(ledger, ledger.signer)
        ledger.fence(run, REGISTER, register.length)
        for one in self._falling(answers):
            assert one.signature is not None
            if (revoked := register.revoked.get(one.signature.key)) is not None:
                return revoked
            held = register.active.get(one.auditor)
            if held != self.keys.get(one.signature.key):
                raise RegisterError(
                    f"run {run}: the key of {one.auditor} is not the one that was enrolled; see "
                    "`audition verify`"
                )
            expires = asked.get(one.auditor)
            if expires is None or now() > expires:
                late = Failure(
                    auditor=one.auditor,
                    moment=one.moment,
                    kind="late",
                    cause="infrastructure",
                    detail="the approval expired before it was used",
                )
                return AuditRecorded(failure=late)
        return None

    def _falling(self, answers: Answers) -> list[Verdict]:
        """Answers of which something but a no would come."""
        return [
            one
            for one in answers
            if isinstance(one, Verdict)
            and one.auditor in self.people
            and (approves(one) or one.replacement is not None)
        ]


def enrolled_key(
    ledger: SqlLedger, signoffs: SignOffs, run: RunId, person: str, key: PrivateKey | None
) -> KeyEnrolled | None:
    """What a run must be told of the key with which a person is about to sign; None if it knows.

    What is staged next is written only if the register is then as it is now.

    Raises:
        RegisterError: the person may not sign with this key.
    """
    if key is None:
        raise RegisterError(
            f"{person} signs off, and no key of that name signs here; name it with --key"
        )
    register = read_register(ledger)
    ledger.fence(run, REGISTER, register.length)
    if key.public.id in register.revoked:
        raise RegisterError(f"{key.public.id} was revoked; the step still waits for {person}")
    held = register.active.get(person)
    if held is None or held.key != str(key.public):
        raise RegisterError(
            f"{key.public.id} is not enrolled for {person}; the step still waits for {person}"
        )
    return None if key.public.id in signoffs.keys else held


def _signed_with(verdict: Verdict, body: KeyRevoked) -> bool:
    try:
        key = PublicKey.parse(body.key).id
    except NoteError:
        return False
    return verdict.signature is not None and verdict.signature.key == key
