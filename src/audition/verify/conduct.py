"""Whether the runs in a ledger were conducted as the guarantees demand.

Nothing of the loop is used here: events are held against the rules, decisions re-run from what was
recorded, draws recomputed from the secret, histories chained anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from audition.ledger import PublicKey
from audition.ledger.events import REGISTER, ContentRedacted, RunClosed, RunOpened
from audition.step import Event
from audition.verify.case import Case, Disorder, Tally
from audition.verify.choice import Choice
from audition.verify.contents import Contents
from audition.verify.finding import Findings, Read, place_of
from audition.verify.live import Live
from audition.verify.recorded import Recorded
from audition.verify.signoff import Enrolled
from audition.verify.simulated import Course, Simulated

_OF_THE_LEDGER = frozenset({ContentRedacted, RunClosed, RunOpened})
"""What is more than a step of its run."""


@dataclass(slots=True)
class Conducted:
    """What was seen of runs."""

    runs: int = 0
    """Runs."""
    open: int = 0
    """Runs that have not ended."""
    beyond: int = 0
    """Events of runs that could not be followed to their end."""
    courses: list[Course] = field(default_factory=list[Course])
    """Runs that train, in the order of their opening."""
    choices: list[Choice] = field(default_factory=list[Choice])
    """Runs that choose among siblings."""
    tally: Tally = field(default_factory=Tally)
    """What was examined."""
    redeemed: set[bytes] = field(default_factory=set[bytes])
    """Tickets that were redeemed, shortened."""

    def add(self, other: Conducted) -> None:
        """Count other runs too, none of which trains."""
        self.runs += other.runs
        self.open += other.open
        self.beyond += other.beyond
        self.tally.add(other.tally)
        self.redeemed |= other.redeemed


class Conduct:
    """Follows every run of a ledger; runs may interleave.

    Args:
        contents: what the ledger holds beside the events.
        trusted: whose signatures under verdicts count.
        findings: where to report.
        origin: the ledger's name, for which its keys are enrolled.
    """

    def __init__(
        self, contents: Contents, trusted: Iterable[PublicKey], findings: Findings, origin: str
    ) -> None:
        self._contents = contents
        self._keys = {key.id: key for key in trusted}
        self._findings = findings
        self._runs: dict[str, Choice | Live | Recorded | Simulated] = {}
        self._ended: set[bytes] = set()
        self._lost: set[bytes] = set()
        self._redeemed: set[bytes] = set()
        self._seen = Conducted()
        self._enrolled = Enrolled(origin, self._keys, findings, self._seen.tally)

    def take(self, read: Read) -> None:
        """Examine the next event of the ledger."""
        self._findings.here = read
        event = read[1]
        rules = self._runs.get(event.run)
        if rules is not None and type(event.body) not in _OF_THE_LEDGER:
            try:
                rules.take(event)
            except Disorder as disorder:
                self._lose(event.run, disorder)
            return
        if isinstance(event.body, ContentRedacted):
            self._contents.redacted.setdefault(bytes.fromhex(event.body.content), place_of(read))
            return
        if event.run == REGISTER:
            self._enrolled.take(event.body)
            return
        name = bytes.fromhex(event.run)
        if name in self._lost:
            self._seen.beyond += 1
            return
        try:
            self._follow(name, event)
        except Disorder as disorder:
            self._lose(event.run, disorder)

    @property
    def trains(self) -> bool:
        """Whether any run seen so far trains, or chooses among those that do."""
        return bool(self._seen.courses or self._seen.choices)

    def conclude(self) -> Conducted:
        """What was seen, with what open runs leave unchecked."""
        for rules in self._runs.values():
            if isinstance(rules, Live):
                rules.unchecked()
        self._seen.open = len(self._runs)
        self._seen.runs = len(self._runs) + len(self._ended) + len(self._lost)
        self._seen.redeemed = self._redeemed
        return self._seen

    def _follow(self, name: bytes, event: Event) -> None:
        rules, body = self._runs.get(event.run), event.body
        if name in self._ended:
            raise Disorder(4, f"{body.kind} after the run was closed")
        if rules is None:
            if not isinstance(body, RunOpened):
                raise Disorder(4, f"a run begins with {body.kind}")
            self._runs[event.run] = self._open(event.run, body)
        elif isinstance(body, RunOpened):
            raise Disorder(4, "a run is opened twice")
        else:
            rules.take(event)
            if isinstance(body, RunClosed):
                del self._runs[event.run]
                self._ended.add(name)

    def _lose(self, run: str, disorder: Disorder) -> None:
        self._findings.add(disorder.guarantee, f"{disorder}; followed no further")
        self._runs.pop(run, None)
        self._ended.discard(bytes.fromhex(run))
        self._lost.add(bytes.fromhex(run))

    def _open(self, run: str, body: RunOpened) -> Choice | Live | Recorded | Simulated:
        case = Case(run, body, self._findings, self._contents, self._keys, self._seen.tally)
        match body.mode:
            case "live":
                return Live(case, self._redeemed, self._enrolled)
            case "record":
                return Recorded(case)
            case "simulated" if body.training is None:
                choice = Choice(case, self._seen.courses)
                self._seen.choices.append(choice)
                return choice
            case "simulated":
                rules = Simulated(case)
                self._seen.courses.append(rules.course)
                return rules
