"""Sign-offs: each under an enrolled key, over this very moment, and used before it falls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audition.ledger import PublicKey, Register, RegisterError
from audition.ledger.events import KeyEnrolled, KeyRevoked
from audition.signoff import SignOffs
from audition.step import Body, Event, Failure, Verdict
from audition.verify.case import Case, Step, Tally
from audition.verify.finding import Findings


class Enrolled:
    """The register of keys, as far as the ledger has been read.

    Args:
        origin: the ledger's name.
        trusted: whose signatures count, by id.
        findings: where to report.
        tally: what is counted over all runs.
    """

    def __init__(
        self, origin: str, trusted: Mapping[str, PublicKey], findings: Findings, tally: Tally
    ) -> None:
        self._origin = origin
        self._trusted = trusted
        self._findings = findings
        self._tally = tally
        self._register = Register(origin)

    def take(self, body: Body) -> None:
        """Hold the register's next entry against its rules; one that breaks them enrols nobody."""
        if not self._register.length and isinstance(body, (KeyEnrolled, KeyRevoked)):
            operator = self._trusted.get(body.signature.key)
            self._register = Register(self._origin, operator)
        try:
            self._register.take(body)
        except RegisterError as error:
            self._findings.add(10, str(error))
        else:
            self._tally.register_unchecked += self._register.operator is None

    def says(self, body: KeyEnrolled | KeyRevoked) -> bool:
        """Whether the register says this now."""
        if isinstance(body, KeyEnrolled):
            return self._register.active.get(body.person) == body
        return body in self._register.revoked.values()

    def revoked(self, key: str) -> bool:
        """Whether the key of this id was revoked."""
        return key in self._register.revoked


class Signed:
    """Holds the sign-offs of one live run against the rules.

    Args:
        case: the run.
        enrolled: the register.
    """

    def __init__(self, case: Case, enrolled: Enrolled) -> None:
        self._case = case
        self._enrolled = enrolled
        self._signoffs = SignOffs(case.opened.gate)
        self.people = self._signoffs.people
        """Everybody whose answers need a signature."""
        if case.opened.thinker in self.people:
            case.found(5, f"{case.opened.thinker} thinks and signs off")
        for name in sorted(self.people & case.cards.keys()):
            if not case.cards[name].person:
                case.found(5, f"{name} signs off and was not declared a person")

    @property
    def keys(self) -> Iterable[KeyEnrolled]:
        """Keys that the run was told of and that were not revoked."""
        return self._signoffs.keys.values()

    def told(self, body: KeyEnrolled | KeyRevoked) -> None:
        """What the run is told of a key is what the register says of it at this moment."""
        if not self._enrolled.says(body):
            self._case.found(10, f"{body.kind} of {body.person} is not what the register says")
            return
        self._signoffs.take(body)

    def withdraws(self, step: Step | None, event: Event) -> bool:
        """Take back the answers that fall by this event; whether any did."""
        if step is None or not self.people:
            return False
        fallen = self._signoffs.fallen(event, step.answers, step.asked)
        step.answers = [answer for answer in step.answers if answer not in fallen]
        return bool(fallen)

    def heard(self, step: Step, answer: Verdict | Failure) -> bool:
        """Whether an answer counts; one whose signature does not hold is reported."""
        if isinstance(answer, Failure) or answer.auditor not in self.people:
            return True
        if step.moment is None or answer.moment != step.sealed:
            return True
        if amiss := self._signoffs.amiss(answer, step.moment, step.asked.get(answer.auditor)):
            self._case.found(2, amiss)
            return False
        self._case.tally.sign_offs += 1
        return True

    def used(self, step: Step) -> None:
        """Something rests on these answers now: none of them has fallen by key or by time."""
        for answer in step.answers if self.people else ():
            if not isinstance(answer, Verdict) or answer.auditor not in self.people:
                continue
            name, signature = answer.auditor, answer.signature
            if name in step.overdue:
                self._case.found(5, f"the approval of {name} had expired when it was used")
            if signature is not None and self._enrolled.revoked(signature.key):
                self._case.found(
                    5, f"{signature.key} was revoked before {name}'s approval was used"
                )
