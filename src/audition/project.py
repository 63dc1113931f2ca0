"""A project: goal, thinker, box, auditors, gate, executors; one TOML file or one object.

Closed by default: a project file without a box, a gate or a budget is refused, and so is one that
names what it does not define.
"""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from audition.act import SetupError, Tools, made
from audition.audit import ComparisonAuditor, CriticAuditor, Form, Rule, Rules, TrainedAuditor
from audition.box import BoxConfig, Library, LibraryError
from audition.canonical import canonical
from audition.gate import GATES, build, named, new_secret, signers, spec
from audition.ledger import LedgerError, SqlLedger
from audition.ledger.events import MOST_CANDIDATES
from audition.misread import misread
from audition.step import (
    Auditor,
    Evidence,
    Executor,
    Frozen,
    Gate,
    JsonObject,
    Name,
    Restriction,
    Role,
    RunId,
    Thinker,
    ToolSchema,
    Usage,
)
from audition.think import (
    HuggingFaceThinker,
    HumanThinker,
    InspectThinker,
    Line,
    ModelThinker,
    PlantError,
    Plants,
    Replayed,
    Scripted,
    huggingface,
    language_model,
    read_plants,
)

MAX_FILE = 1 << 20
"""Largest project file, in bytes."""


class ProjectError(ValueError):
    """A project file is wrong; the message names file and field, and the way out."""


class Budget(Frozen):
    """Limits on a run; reaching one ends it."""

    steps: int = Field(default=100, ge=1)
    """Steps."""
    seconds: float = Field(default=3600, gt=0)
    """Seconds of thinking, all steps together."""
    step_seconds: float = Field(default=600, gt=0)
    """Seconds of thinking before one proposal."""
    audit_seconds: float = Field(default=600, gt=0)
    """Seconds that an auditor who is no person has for one moment."""

    def exceeded(self, steps: int, spent: Usage) -> str:
        """Which limit is reached, in one line; empty if none is."""
        if steps >= self.steps:
            return f"{self.steps} steps are used up"
        if spent.seconds >= self.seconds:
            return f"{self.seconds:g} seconds of thinking are used up"
        return ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """Everything that a run needs, as objects; it is no other, though all of its parts were equal.

    Raises:
        ProjectError: something without which nothing runs is missing, or names do not agree.
    """

    name: str
    """Its name."""
    goal: str
    """What a run of it is for."""
    thinker: Any
    """Who thinks (a `Thinker` with a name)."""
    box: BoxConfig
    """What confines the thinker."""
    auditors: Mapping[str, Auditor]
    """Who may judge, by name."""
    gate: Gate
    """What may pass."""
    budget: Budget
    """Limits on a run."""
    executors: Mapping[str, Executor] = field(default_factory=dict[str, Executor])
    """What performs, by the tool's name; `ask` puts an `Ask` to a person."""
    restrictions: tuple[Restriction, ...] = ()
    """Limits declared before the run and hashed into it."""
    candidates: int = 1
    """Candidates of each drawn step, for auditors that see them; number 0 is the one that may
    run."""
    plants: Plants | None = None
    """Steps with known answers that measure the auditors and never act."""
    secret: bytes = field(default_factory=new_secret, repr=False)
    """From which each run's lottery secret follows; keep it to resume runs in another process."""

    def __post_init__(self) -> None:
        needed = (("box", self.box, BoxConfig), ("budget", self.budget, Budget))
        for name, given, kind in needed:
            if not isinstance(given, kind):
                raise ProjectError(f"{name}: {given!r} is no {kind.__name__}; nothing runs without")
        for name, auditor in self.auditors.items():
            if name != auditor.name:
                raise ProjectError(f"auditors: {auditor.name!r} stands under the name {name!r}")
            if name == "form":
                raise ProjectError("auditors: the name 'form' is taken; change it")
        for tool, executor in self.executors.items():
            if tool != executor.schema.name:
                raise ProjectError(
                    f"executors: {executor.schema.name!r} stands under the name {tool!r}"
                )
        try:
            specified = spec(self.gate)
            canonical(specified)
        except (ValueError, RecursionError) as error:
            raise ProjectError(f"gate: {error}") from None
        if unknown := named(self.gate) - set(self.auditors):
            known = ", ".join(self.auditors)
            raise ProjectError(f"gate: no auditor is called {sorted(unknown)[0]!r}; known: {known}")
        for name in sorted(signers(specified)):
            if not getattr(self.auditors[name], "person", False):
                raise ProjectError(f"gate: {name!r} is no person and cannot sign; name one who is")
            if name == self.thinker.name:
                raise ProjectError(f"gate: {name!r} thinks here, and nobody signs their own step")
        if self.candidates != 1:
            self._check_candidates()
        form = Form(self.executors)
        for number, plant in enumerate(self.plants.steps if self.plants else (), 1):
            if wrong := form.amiss(plant.proposal):
                raise ProjectError(
                    f"plants: step {number}: {wrong}; the guard of form would stop it, so it would "
                    "measure nobody else"
                )

    def _check_candidates(self) -> None:
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise ProjectError(f"candidates: {self.candidates} is not from 1 to {MOST_CANDIDATES}")
        if not getattr(self.thinker, "stateless", False):
            raise ProjectError(
                f"candidates: {self.thinker.name} keeps a state that no snapshot has, so it would "
                "know a second call from the first; leave candidates out"
            )
        if not any(Evidence.CANDIDATES in self.auditors[name].sees for name in named(self.gate)):
            raise ProjectError(
                "candidates: no auditor in the gate sees CANDIDATES, so nobody would compare them; "
                "name one there or leave candidates out"
            )


class ScriptedThinker(Frozen):
    """`[thinker] kind = "scripted"`."""

    kind: Literal["scripted"]
    library: str | None = None
    """A folder of text that steps may search, relative to the project file."""
    steps: tuple[Line, ...] = Field(min_length=1)
    """The script's lines."""


class ReplayedThinker(Frozen):
    """`[thinker] kind = "replayed"`."""

    kind: Literal["replayed"]
    ledger: str
    """The ledger that holds the run, relative to the project file."""
    run: RunId
    """The run whose proposals are repeated."""


class RulesAuditor(Frozen):
    """`[[auditors]] kind = "rules"`."""

    kind: Literal["rules"]
    name: Name
    """Its name, for the gate."""
    rules: tuple[Rule, ...] = Field(min_length=1)
    """The rules."""
    role: Literal["teacher", "guard"] = "guard"
    """In which role; a teacher approves of each candidate by what suspicion leaves."""


class PersonAuditor(Frozen):
    """`[[auditors]] kind = "person"`."""

    kind: Literal["person"]
    name: Name
    """The person's name, for the gate."""
    role: Literal["teacher", "guard"] = "guard"
    """In which role."""
    ranks: bool = False
    """Whether a teacher ranks candidates, instead of rating the one that may run."""


FileThinker = Annotated[
    ScriptedThinker
    | ReplayedThinker
    | ModelThinker
    | InspectThinker
    | HuggingFaceThinker
    | HumanThinker,
    Field(discriminator="kind"),
]
"""`[thinker]`."""

FileAuditor = Annotated[
    RulesAuditor | PersonAuditor | CriticAuditor | ComparisonAuditor | TrainedAuditor,
    Field(discriminator="kind"),
]
"""`[[auditors]]`."""


class FilePlants(Frozen):
    """`[plants]`."""

    file: str
    """Planted steps, one JSON object a line; the path is relative to the project file."""
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of a run's steps that are planted while there are any left."""


class ProjectFile(Frozen):
    """A project as a TOML file has it."""

    name: Name
    """Its name."""
    goal: str = Field(min_length=1)
    """What a run of it is for."""
    thinker: FileThinker
    """Who thinks."""
    box: BoxConfig
    """What confines the thinker; an empty table takes the defaults."""
    auditors: tuple[FileAuditor, ...] = Field(min_length=1)
    """Who may judge."""
    gate: JsonObject
    """What may pass."""
    tools: Tools = Tools()
    """What performs."""
    budget: Budget
    """Limits on a run; an empty table takes the defaults."""
    restrictions: tuple[Restriction, ...] = ()
    """Limits declared before the run."""
    candidates: int = 1
    """Candidates of each drawn step, for auditors that see them."""
    plants: FilePlants | None = None
    """Steps with known answers that measure the auditors."""
    training: JsonObject | None = None
    """How the thinker learns; see `audition train`."""


def load(
    path: str | Path,
    *,
    secret: bytes | None = None,
    person: Callable[[PersonAuditor], Auditor],
    put: Callable[[str, str], Awaitable[str | None]],
    human: Callable[[HumanThinker, Sequence[ToolSchema]], Thinker] | None = None,
    deployed: bool = True,
) -> Project:
    """Read a project file.

    Args:
        path: the TOML file.
        secret: see `Project.secret`.
        person: makes an auditor of each person that the file names.
        put: asks a person a question, for `[tools.ask]`.
        human: makes the thinker of a person who thinks; None: nobody can think here.
        deployed: whether the thinker has the weights that were deployed; False: its folder's own.

    Raises:
        ProjectError: the file cannot be read, or something in it is wrong.
    """
    path = Path(path)
    data = _read(path)
    file = parse(data, path.name)
    here = path.resolve().parent
    try:
        auditors = [_auditor(one, here, person) for one in file.auditors]
    except ValueError as error:
        raise ProjectError(f"{path.name}: auditors: {error}") from None
    names = [auditor.name for auditor in auditors]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ProjectError(
            f"{path.name}: auditors: the name {sorted(twice)[0]!r} is taken; change it"
        )
    try:
        gate = build(file.gate)
    except ValidationError as error:
        wrong = misread(error, path.name, data.decode(), GATES, ("gate",))
        raise ProjectError(wrong) from None
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"{path.name}: {error}") from None
    try:
        executors = made(file.tools, here, protected=[path], put=put)
    except SetupError as error:
        raise ProjectError(f"{path.name}: {error}") from None
    for one in file.auditors:
        if isinstance(one, RulesAuditor) and (wrong := _no_tool(one, executors)):
            raise ProjectError(f"{path.name}: auditors: {wrong}")
    schemas = [one.schema for one in executors.values()]
    try:
        return Project(
            name=file.name,
            goal=file.goal,
            thinker=_thinker(file.thinker, here, schemas, human, deployed),
            box=_box(file.box, here),
            auditors={auditor.name: auditor for auditor in auditors},
            gate=gate,
            executors=executors,
            budget=file.budget,
            restrictions=file.restrictions,
            candidates=file.candidates,
            plants=_plants(file.plants, here),
            secret=secret or new_secret(),
        )
    except ProjectError as error:
        raise ProjectError(f"{path.name}: {error}") from None


def parse(data: bytes, name: str) -> ProjectFile:
    """The project that TOML text describes, before anything is made of it.

    Raises:
        ProjectError: with the file's name, the field and what is wrong.
    """
    try:
        text = data.decode()
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ProjectError(f"{name}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        raise ProjectError(f"{name}: not TOML: {error}") from None
    try:
        return ProjectFile.model_validate(tables)
    except ValidationError as error:
        raise ProjectError(misread(error, name, text, [ProjectFile])) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except IsADirectoryError:
        raise ProjectError(f"{path}: a folder; name the project file in it") from None
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}; `audition init` writes one") from None
    if len(data) > MAX_FILE:
        raise ProjectError(f"{path.name}: larger than {MAX_FILE} bytes; is it a project file?")
    return data


def _box(box: BoxConfig, here: Path) -> BoxConfig:
    """Its folders, which the file gives relative to itself.

    Raises:
        ProjectError: one of them is not there.
    """
    workspace = here / box.workspace if box.workspace is not None else None
    read = {name: here / path for name, path in box.read.items()}
    if workspace is not None and not workspace.is_dir():
        raise ProjectError(
            f"box.workspace: no such folder: {box.workspace}; make it or mend the path"
        )
    for name, folder in read.items():
        if not folder.exists():
            raise ProjectError(f"box.read.{name}: no such path: {box.read[name]}; mend it")
    return box.model_copy(update={"workspace": workspace, "read": read})


def _plants(file: FilePlants | None, here: Path) -> Plants | None:
    if file is None:
        return None
    try:
        return Plants(steps=read_plants(here / file.file), rate=file.rate)
    except PlantError as error:
        raise ProjectError(f"plants: {error}") from None


def _no_tool(auditor: RulesAuditor, executors: Mapping[str, Executor]) -> str:
    """Which rule looks at a tool that there is not, and so at nothing; empty if none does."""
    for rule in auditor.rules:
        for pattern in (*rule.tools, *rule.except_tools):
            if pattern != "*" and not any(fnmatchcase(tool, pattern) for tool in executors):
                known = ", ".join(executors) or "none"
                return f"rule {rule.name!r}: no tool is called {pattern!r}; known: {known}"
    return ""


def _auditor(one: FileAuditor, here: Path, person: Callable[[PersonAuditor], Auditor]) -> Auditor:
    match one:
        case RulesAuditor():
            return Rules(one.rules, name=one.name, role=Role(one.role))
        case PersonAuditor():
            return person(one)
        case TrainedAuditor():
            return one.auditor(here)
        case _:
            return one.auditor()


def _thinker(
    file: FileThinker,
    here: Path,
    tools: Sequence[ToolSchema],
    human: Callable[[HumanThinker, Sequence[ToolSchema]], Thinker] | None,
    deployed: bool,
) -> Thinker:
    try:
        match file:
            case ReplayedThinker():
                return Replayed(SqlLedger.open(here / file.ledger, create=False), file.run)
            case ScriptedThinker():
                return Scripted(file.steps, library=_library(file.library, here))
            case HumanThinker():
                if human is None:
                    raise ProjectError(f"thinker: {file.name} thinks, and nobody can here")
                return human(file, tools)
            case HuggingFaceThinker():
                own = file if deployed else file.model_copy(update={"deployed": None})
                return huggingface(own, here, tools, _library(file.library, here))
            case _:
                return language_model(file, tools, _library(file.library, here))
    except ProjectError:
        raise
    except (ValueError, LedgerError, LibraryError) as error:
        raise ProjectError(f"thinker: {error}") from None


def _library(path: str | None, here: Path) -> Library | None:
    return Library.open(here / path) if path is not None else None
