"""What a run is opened with: the terms that hold for it from its first event to its last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from audition.audit import Form, card
from audition.canonical import canonical, digest_bytes, digest_value
from audition.gate import planted, rate, run_secret, sequential, spec, threshold
from audition.history import Progress
from audition.ledger.events import PlantOpened, PlantSealed, RunOpened
from audition.project import Project
from audition.step import (
    Act,
    Ask,
    Auditor,
    AuditorCard,
    Digest,
    Executor,
    Gate,
    Proposal,
    RunId,
    ToolSchema,
    digest_of,
)
from audition.think import Plant, Sealed, sealed


class Said(NamedTuple):
    """What a project's own objects say of themselves; they are the caller's, and may change."""

    thinker: str
    thinking: Digest | None
    auditors: tuple[AuditorCard, ...]
    tools: tuple[ToolSchema, ...]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What holds for every run of a project."""

    said: Said
    """What its objects said when this was made of it."""
    auditors: dict[str, Auditor]
    """Who may judge, the guard of form among them."""
    gate: Gate
    """What may pass: the project's gate behind the guard of form."""
    opened: RunOpened
    """A run's first event, but for the hash of its secret and its confinement."""
    contents: tuple[bytes, ...]
    """What a run's first events name."""
    reviewers: Digest
    """Digest of the gate and of the auditors, which every moment carries."""
    people: frozenset[str]
    """The auditors who are people."""
    tools: dict[str, Digest]
    """Digests of the tools' schemas, by the names of their executors."""
    rate: float
    """The lottery's declared rate."""


@dataclass(frozen=True, kw_only=True)
class Terms(Declared):
    """What holds for one run of a project."""

    project: Project
    """The project."""
    secret: bytes
    """The lottery's secret."""
    committed: Digest
    """The hash of the secret."""
    plants: Sealed | None = None
    """The steps that are planted, in their order, if any are."""
    seal: PlantSealed | None = None
    """What the ledger says of them before they are opened."""

    def first(
        self,
        confinement: Digest | None = None,
        start: Digest | None = None,
        state: Digest | None = None,
    ) -> RunOpened:
        """The run's first event."""
        own = {
            "secret": self.committed,
            "confinement": confinement,
            "start": start,
            "state": state,
        }
        return self.opened.model_copy(update=own)

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


def identity(project: Project) -> Digest:
    """What tells a project from every other: a run of it can be taken up where this is the same."""
    of_none = terms(project, "0" * 32)
    parts = [of_none.first(), of_none.seal] if of_none.seal else [of_none.first()]
    return digest_value([digest_of(one) for one in parts])


def terms(project: Project, run: RunId) -> Terms:
    """The terms of a run."""
    of: dict[str, Any] = vars(declared(project))
    secret = run_secret(project.secret, run)
    plants, seal = None, None
    if project.plants is not None:
        plants = sealed(project.plants, project.secret, run)
        leaves = canonical(plants.leaves)
        seal = PlantSealed(count=len(plants.plants), rate=plants.rate, leaves=digest_bytes(leaves))
        of = of | {"contents": (*of["contents"], leaves)}
    return Terms(
        **of,
        project=project,
        secret=secret,
        committed=digest_bytes(secret),
        plants=plants,
        seal=seal,
    )


def declared(project: Project) -> Declared:
    """What a project declares; made again only when its objects say something else."""
    said = _said(project)
    made = _MADE.get(project)
    if made is None or made.said != said:
        made = _MADE[project] = _declared(project, said)
    return made


_MADE: WeakKeyDictionary[Project, Declared] = WeakKeyDictionary()


def _said(project: Project) -> Said:
    configuration = getattr(project.thinker, "configuration", None)
    return Said(
        thinker=project.thinker.name,
        thinking=configuration() if configuration else None,
        auditors=tuple(map(card, project.auditors.values())),
        tools=tuple([one.schema for one in project.executors.values()]),
    )


def _declared(project: Project, said: Said) -> Declared:
    form = Form(project.executors)
    auditors: dict[str, Auditor] = {form.name: form, **project.auditors}
    gate = sequential(threshold(form.name, reject_at=1), project.gate)
    goal = project.goal.encode()
    box = canonical(project.box.model_dump(mode="json", exclude_none=True))
    schemas = [schema.canonical() for schema in said.tools]
    tools = dict(zip(project.executors, map(digest_bytes, schemas), strict=True))
    restrictions = [one.model_dump(exclude_none=True) for one in project.restrictions]
    opened = RunOpened(
        mode="live",
        project=project.name,
        goal=digest_bytes(goal),
        thinker=said.thinker,
        thinking=said.thinking,
        auditors=(card(form), *said.auditors),
        gate=spec(gate),
        tools=tuple(tools.values()),
        box=digest_bytes(box),
        budget=project.budget.model_dump(mode="json", exclude_none=True),
        restrictions=digest_value(restrictions),
        candidates=project.candidates if project.candidates > 1 else None,
    )
    cards = [one.model_dump(exclude_none=True) for one in opened.auditors]
    return Declared(
        said=said,
        auditors=auditors,
        gate=gate,
        opened=opened,
        contents=(goal, *schemas, box),
        reviewers=digest_value({"gate": opened.gate, "auditors": cards}),
        people=frozenset(one.name for one in opened.auditors if one.person),
        tools=tools,
        rate=rate(gate),
    )
