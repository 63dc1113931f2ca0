"""Taking a run up: where it stands, and whether it is still this project's and this process's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from audition.history import Progress, sealed_proposal, standing
from audition.ledger import Conflict, Journal, SqlLedger
from audition.ledger.events import (
    ActInDoubt,
    ActSettled,
    AuditRecorded,
    ContentRedacted,
    KeyEnrolled,
    RunOpened,
)
from audition.opening import Terms
from audition.step import (
    AuditorCard,
    Body,
    Digest,
    Event,
    Proposal,
    RunId,
    digest_of,
    now,
)

PARTS = {
    "mode": "mode (it is a record)",
    "project": "name",
    "goal": "goal",
    "thinker": "thinker",
    "thinking": "thinker",
    "auditors": "auditors",
    "gate": "gate",
    "tools": "tools",
    "box": "box",
    "budget": "budget",
    "candidates": "candidates",
    "restrictions": "restrictions",
    "secret": "secret",
    "format": "format",
    "source": "source",
}
"""What a project's parts are called, by the field of `run.opened` that fixes them."""


class OtherProject(ValueError):
    """The run was opened under another project, or is a record."""


class Carried(Conflict):
    """Another process carries the run; nothing more was done here."""


class Standing:
    """Where a run stands, as far as this process knows, and the pen for its next event.

    Raises:
        OtherProject: the run was opened under another project.
    """

    progress: Progress
    """Where it stands."""
    journal: Journal
    """The pen."""

    def __init__(
        self, terms: Terms, ledger: SqlLedger, run: RunId, watch: Callable[[Event], None] | None
    ) -> None:
        self.ledger = ledger
        self.run = run
        self._terms = terms
        self._watch = watch
        self._judged: tuple[Digest, Proposal] | None = None
        self.catch_up()

    def proposal(self, name: Digest) -> Proposal:
        """The proposal of this name: what it is called, whoever had it in hands meanwhile.

        Raises:
            LedgerError: the ledger does not hold what was sealed.
        """
        if self._judged is None or self._judged[0] != name or digest_of(self._judged[1]) != name:
            self.hold(name, sealed_proposal(self.ledger, name))
        assert self._judged is not None
        return self._judged[1]

    def hold(self, name: Digest, proposal: Proposal) -> None:
        """Keep a proposal at hand that was just written under this name."""
        self._judged = name, proposal

    def log(self, body: Body) -> Event:
        """Write an event and stand where it leads."""
        event = self.journal.log(body)
        self.progress.apply(event)
        if self._watch is not None:
            self._watch(event)
        return event

    def catch_up(self, *, afresh: bool = True) -> None:
        """Stand where the ledger stands, whatever this process believed.

        Raises:
            OtherProject: the run was opened under another project.
        """
        if afresh:
            self.progress, following = standing(self.ledger, self.run)
            self.journal = Journal(self.ledger, self.run, following)
        else:
            for event in self.ledger.read(self.run, after=self.journal.durable - 1):
                self.progress.apply(event)
                self.journal.seq = self.journal.durable = event.seq + 1
        opened = self.progress.opened
        parts = differing(opened, self._terms) if opened else []
        if opened and self.progress.seal != self._terms.seal:
            parts.append("planted steps")
        if parts:
            differ = "differs" if len(parts) == 1 else "differ"
            raise OtherProject(
                f"run {self.run}: it was opened under another project: its {', '.join(parts)} "
                f"{differ}; put back what it was, or begin another run"
            )

    def give_way(self, *, afresh: bool = True) -> None:
        """Stand where the ledger stands, unless another process has taken the run up.

        Raises:
            Carried: it has; whoever takes a run up last carries it.
        """
        seen = self.journal.durable
        self.catch_up(afresh=afresh)
        if self.progress.closed is None:
            only_people(self.ledger.read(self.run, after=seen - 1), self._terms.people)


def differing(opened: RunOpened, terms: Terms) -> list[str]:
    """The parts of a project that are not as they were when the run was opened."""
    was, would = vars(opened), {**vars(terms.opened), "secret": terms.committed}
    fields = [name for name in PARTS if was[name] != would[name]]
    if "tools" in fields and _projects_own(opened) == _projects_own(terms.opened):
        fields = [name for name in fields if name != "auditors"]  # the guard of form follows tools
    return list(dict.fromkeys(PARTS[name] for name in fields))


def only_people(written: Iterable[Event], people: Set[str]) -> None:
    """Nothing but what people write into a run that another process carries.

    Args:
        written: what was written to the run meanwhile.
        people: names of the auditors who are people.

    Raises:
        Carried: a process wrote, and so carries the run.
    """
    others = [event for event in written if not _a_persons(event, people)]
    if others:
        kind, ago = others[-1].body.kind, max(0.0, (now() - others[-1].at) / 1e6)
        raise Carried(
            f"another process carries this run (it wrote {kind} {ago:.0f} s ago); "
            "nothing more was done here"
        )


def _projects_own(opened: RunOpened) -> list[AuditorCard]:
    return [card for card in opened.auditors if card.name != "form"]


def _a_persons(event: Event, people: Set[str]) -> bool:
    match event.body:
        case AuditRecorded(answer=answer):
            return answer.auditor in people
        case ActSettled() | ActInDoubt() | ContentRedacted() | KeyEnrolled():
            return True
        case _:
            return False
