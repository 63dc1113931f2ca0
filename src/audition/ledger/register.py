"""The register of keys: who may sign off in a ledger, each entry under its operator's signature.

It is numbered like a run, so that whoever changes it has read all of it. A key is enrolled once,
for one person; a person holds one at a time; what is revoked never comes back.
"""

from __future__ import annotations

from audition.ledger.database import LedgerError
from audition.ledger.events import (
    REGISTER,
    KeyEnrolled,
    KeyRevoked,
    enrolment_note,
    revocation_note,
)
from audition.ledger.journal import Journal
from audition.ledger.note import NoteError, PrivateKey, PublicKey
from audition.ledger.store import SqlLedger
from audition.step import Body, Signature


class RegisterError(LedgerError):
    """What a register cannot say, or what it says and may not; one line names the key."""


class Register:
    """What the entries so far say.

    Args:
        origin: the ledger's name, which every entry is signed for.
        operator: whose signature counts; None compares no more than the names of the signers.
    """

    def __init__(self, origin: str, operator: PublicKey | None = None) -> None:
        self.origin = origin
        self.operator = operator
        self.signed_by: str | None = None
        """The key that signed the first entry, and must sign every other."""
        self.length = 0
        """How many entries there are."""
        self.active: dict[str, KeyEnrolled] = {}
        """The key that each person holds."""
        self.revoked: dict[str, KeyRevoked] = {}
        """Keys that are good for nothing more, by id."""
        self._known: dict[bytes, str] = {}
        self._ids: set[str] = set()

    def take(self, body: Body) -> None:
        """Take the next entry into account.

        Raises:
            RegisterError: it may not stand here; nothing was taken.
        """
        match body:
            case KeyEnrolled():
                self._enrol(body)
            case KeyRevoked():
                self._revoke(body)
            case _:
                raise RegisterError(f"{body.kind} stands in the register of keys")
        self.signed_by = body.signature.key
        self.length += 1

    def _enrol(self, body: KeyEnrolled) -> None:
        key = _parsed(body)
        note = enrolment_note(self.origin, body.person, body.key)
        self._check_signed(body, note)
        if key.raw in self._known:
            holder = self._known[key.raw]
            raise RegisterError(
                f"{key.id}: this key was enrolled before, for {holder}; make a new one"
            )
        if key.id in self._ids:
            raise RegisterError(f"{key.id}: another key of this name is enrolled; choose another")
        if self._operates(key, body.signature):
            raise RegisterError(f"{key.id}: the key that runs the ledger signs off nothing")
        if (held := self.active.get(body.person)) is not None:
            raise RegisterError(f"{body.person} holds {_parsed(held).id}; revoke it first")
        self.active[body.person] = body
        self._known[key.raw] = body.person
        self._ids.add(key.id)

    def _revoke(self, body: KeyRevoked) -> None:
        self._check_signed(body, revocation_note(self.origin, body.person, body.key))
        held = self.active.get(body.person)
        if held is None or held.key != body.key:
            raise RegisterError(f"{_parsed(body).id}: {body.person} holds no such key")
        del self.active[body.person]
        self.revoked[_parsed(body).id] = body

    def _check_signed(self, body: KeyEnrolled | KeyRevoked, note: bytes) -> None:
        by, entry = body.signature.key, f"{body.kind} of {body.person}"
        if self.signed_by not in (None, by):
            raise RegisterError(
                f"{entry}: signed by {by}, but this ledger's keys are enrolled by {self.signed_by}"
            )
        if self.operator is None:
            return
        if self.operator.id != by:
            raise RegisterError(
                f"{entry}: signed by {by}, and here {self.operator.id} signs; sign-off needs the "
                "key that enrolled the reviewers"
            )
        if not self.operator.verifies(note, body.signature.value):
            raise RegisterError(f"{entry}: the signature of {by} does not verify")

    def _operates(self, key: PublicKey, signature: Signature) -> bool:
        return key.id == signature.key or (
            self.operator is not None and key.raw == self.operator.raw
        )


def read_register(ledger: SqlLedger, operator: PublicKey | None = None) -> Register:
    """The register of a ledger as it stands.

    Raises:
        RegisterError: an entry may not stand there, or is not signed by the operator.
        LedgerError: the ledger cannot be read.
    """
    register = Register(ledger.origin, operator)
    for event in ledger.read(REGISTER):
        register.take(event.body)
    return register


async def enrol(
    ledger: SqlLedger, key: PublicKey, person: str, operator: PrivateKey
) -> PublicKey | None:
    """Enrol a person's key; one that the person held is revoked by it.

    Returns:
        The key that was revoked.

    Raises:
        RegisterError: the key is known, or another operator enrols here.
        Conflict: somebody else changed the register meanwhile.
        ValueError: the person's name is none.
    """
    register, journal = _to_change(ledger, operator)
    held = register.active.get(person)
    note = enrolment_note(ledger.origin, person, str(key))
    enrolment = KeyEnrolled(person=person, key=str(key), signature=_signed(note, operator))
    before = () if held is None else (_revocation(held, ledger.origin, operator),)
    _enter(register, journal, *before, enrolment)
    await journal.commit()
    return _parsed(held) if held is not None else None


async def revoke(ledger: SqlLedger, name: str, operator: PrivateKey) -> KeyRevoked:
    """Revoke the key of this name; what it signed and was not used yet counts no more.

    Raises:
        RegisterError: nobody holds such a key, or several people hold one.
        Conflict: somebody else changed the register meanwhile.
    """
    register, journal = _to_change(ledger, operator)
    held = [one for one in register.active.values() if name in (_parsed(one).name, _parsed(one).id)]
    if len(held) != 1:
        known = ", ".join(sorted(_parsed(one).id for one in register.active.values())) or "none"
        raise RegisterError(
            f"{name}: {len(held) or 'no'} enrolled key is called so; enrolled: {known}"
        )
    body = _revocation(held[0], ledger.origin, operator)
    _enter(register, journal, body)
    await journal.commit()
    return body


def _to_change(ledger: SqlLedger, operator: PrivateKey) -> tuple[Register, Journal]:
    register = read_register(ledger, operator.public)
    return register, Journal(ledger, REGISTER, register.length)


def _enter(register: Register, journal: Journal, *bodies: KeyEnrolled | KeyRevoked) -> None:
    for body in bodies:  # nothing is staged unless all of it may stand
        register.take(body)
    for body in bodies:
        journal.log(body)


def _revocation(held: KeyEnrolled, origin: str, operator: PrivateKey) -> KeyRevoked:
    note = revocation_note(origin, held.person, held.key)
    return KeyRevoked(person=held.person, key=held.key, signature=_signed(note, operator))


def _signed(note: bytes, operator: PrivateKey) -> Signature:
    return Signature(key=operator.public.id, value=operator.sign(note))


def _parsed(body: KeyEnrolled | KeyRevoked) -> PublicKey:
    try:
        return PublicKey.parse(body.key)
    except NoteError as error:
        raise RegisterError(f"{body.kind} of {body.person}: {error}") from None
