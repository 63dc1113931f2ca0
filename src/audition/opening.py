"""What a run is opened with: the terms that hold for it from its first event to its last."""

from __future__ import annotations

from dataclasses import dataclass

from audition.audit import Form, card
from audition.canonical import canonical, digest_bytes, digest_value
from audition.gate import planted, rate, run_secret, sequential, spec, threshold
from audition.history import Progress
from audition.ledger import SqlLedger
from audition.ledger.events import PlantOpened, PlantSealed, RunOpened
from audition.project import Project
from audition.step import Act, Ask, Auditor, Digest, Executor, Gate, Proposal, RunId, digest_of
from audition.think import Plant, Sealed, sealed


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one run of a project."""

    project: Project
    """The project."""
    secret: bytes
    """The lottery's secret."""
    auditors: dict[str, Auditor]
    """Who may judge, the guard of form among them."""
    gate: Gate
    """What may pass: the project's gate behind the guard of form."""
    opened: RunOpened
    """The run's first event, but for its confinement."""
    reviewers: Digest
    """Digest of the gate and of the auditors, which every moment carries."""
    people: frozenset[str]
    """The auditors who are people."""
    tools: dict[str, Digest]
    """Digests of the tools' schemas, by the names of their executors."""
    rate: float
    """The lottery's declared rate."""
    plants: Sealed | None = None
    """The steps that are planted, in their order, if any are."""
    seal: PlantSealed | None = None
    """What the ledger says of them before they are opened."""

    def plants_at(self, progress: Progress, turn: int) -> Plant | None:
        """The plant that takes a turn, if one does; the step under way may be that turn's."""
        if self.plants is None or progress.planted >= len(self.plants.plants):
            return None
        if not planted(self.secret, progress.run, turn, self.plants.rate):
            return None
        return self.plants.plants[progress.planted]

    def opens(self, progress: Progress, moment: Digest) -> PlantOpened:
        """The word that the moment under judgement is the next plant."""
        assert self.plants is not None
        number = progress.planted
        plant = self.plants.plants[number]
        return PlantOpened(
            moment=moment,
            number=number,
            harmful=plant.harmful,
            label=plant.label,
            salt=self.plants.salts[number],
        )

    def tool(self, proposal: Proposal) -> Digest | None:
        """Digest of the schema of the tool that would perform a proposal, as the run opened."""
        match proposal:
            case Act(tool=tool):
                return self.tools.get(tool)
            case Ask():
                return self.tools.get("ask")
            case _:
                return None

    def executor(self, proposal: Proposal) -> Executor | None:
        """What would perform a proposal, if anything does."""
        match proposal:
            case Act(tool=tool):
                return self.project.executors.get(tool)
            case Ask():
                return self.project.executors.get("ask")
            case _:
                return None


def identity(project: Project, ledger: SqlLedger) -> Digest:
    """What tells a project from every other: a run of it can be taken up where this is the same."""
    of_none = terms(project, ledger, "0" * 32)
    parts = [of_none.opened, of_none.seal] if of_none.seal else [of_none.opened]
    return digest_value([digest_of(one) for one in parts])


def terms(project: Project, ledger: SqlLedger, run: RunId) -> Terms:
    """The terms of a run; what they name goes into the ledger's content."""
    form = Form(project.executors)
    auditors: dict[str, Auditor] = {form.name: form, **project.auditors}
    gate = sequential(threshold(form.name, reject_at=1), project.gate)
    secret = run_secret(project.secret, run)
    restrictions = [one.model_dump(exclude_none=True) for one in project.restrictions]
    configuration = getattr(project.thinker, "configuration", None)
    tools = {name: ledger.put(one.schema.canonical()) for name, one in project.executors.items()}
    opened = RunOpened(
        mode="live",
        project=project.name,
        goal=ledger.put(project.goal.encode()),
        thinker=project.thinker.name,
        thinking=configuration() if configuration else None,
        auditors=tuple(card(auditor) for auditor in auditors.values()),
        gate=spec(gate),
        tools=tuple(tools.values()),
        box=ledger.put(canonical(project.box.model_dump(mode="json", exclude_none=True))),
        budget=project.budget.model_dump(mode="json", exclude_none=True),
        restrictions=digest_value(restrictions),
        secret=digest_bytes(secret),
        candidates=project.candidates if project.candidates > 1 else None,
    )
    cards = [one.model_dump(exclude_none=True) for one in opened.auditors]
    reviewers = digest_value({"gate": opened.gate, "auditors": cards})
    people = frozenset(one.name for one in opened.auditors if one.person)
    plants = sealed(project.plants, project.secret, run) if project.plants else None
    seal = plants and PlantSealed(
        count=len(plants.plants), rate=plants.rate, leaves=ledger.put(canonical(plants.leaves))
    )
    return Terms(
        project, secret, auditors, gate, opened, reviewers, people, tools, rate(gate), plants, seal
    )
