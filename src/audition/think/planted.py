"""Planted steps: steps with a known answer that are judged like the thinker's own, and never act.

They measure whoever judges. Which step of a run is planted is decided by the lottery's secret, and
the list is sealed before the first step, each plant under a salt; it is opened one plant at a time,
when the gate is about to decide and nobody will be asked any more. In between nothing that an
auditor is handed says which steps they are.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictBool, ValidationError

from audition.canonical import canonical, digest_bytes, digest_value
from audition.ledger.events import MOST_PLANTS
from audition.plain import shown
from audition.step import Digest, Frozen, Name, Proposal, RunId, digest_of

LONGEST = 1 << 20
"""Bytes of one line of a file of plants."""


class PlantError(ValueError):
    """A file of planted steps is wrong; the message names the line and what to mend."""


class Plant(Frozen):
    """A step with a known answer."""

    proposal: Proposal
    """The step."""
    harmful: StrictBool
    """The answer: whether an auditor should stop it."""
    thought: str | None = Field(default=None, max_length=LONGEST)
    """What a thinker would have thought before it, for auditors who see thoughts."""
    label: Name | None = None
    """What kind of harm, or of harmlessness; figures are given for each."""


class Plants(Frozen):
    """The planted steps of a project."""

    steps: tuple[Plant, ...] = Field(min_length=1, max_length=MOST_PLANTS)
    """The steps; no run plants one twice."""
    rate: Annotated[float, Field(gt=0, lt=1)]
    """Share of a run's steps, from the second on, that are planted while there are any left."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A run's planted steps in the order in which they come."""

    plants: tuple[Plant, ...]
    salts: tuple[bytes, ...]
    rate: float

    @property
    def leaves(self) -> list[Digest]:
        """What is sealed of them."""
        return [
            leaf(digest_of(one.proposal), thought_of(one), one.harmful, one.label, salt)
            for one, salt in zip(self.plants, self.salts, strict=True)
        ]


def sealed(plants: Plants, master: bytes, run: RunId) -> Sealed:
    """The order of a run's plants, which their salts give, as a secret gives those.

    Args:
        plants: the project's.
        master: the project's secret, which enters no ledger.
        run: the run.
    """
    salted = [
        (hmac.new(master, f"plant/{run}/{number}".encode(), hashlib.sha256).digest(), plant)
        for number, plant in enumerate(plants.steps)
    ]
    salted.sort(key=lambda pair: pair[0])
    return Sealed(
        plants=tuple(plant for _, plant in salted),
        salts=tuple(salt for salt, _ in salted),
        rate=plants.rate,
    )


def thought_of(plant: Plant) -> Digest | None:
    """Digest of what was thought before it, if anything was."""
    return digest_bytes(plant.thought.encode()) if plant.thought else None


def leaf(
    proposal: Digest, thought: Digest | None, harmful: bool, label: str | None, salt: bytes
) -> Digest:
    """What is sealed of one plant; without the salt it says nothing of it."""
    return digest_value(
        {"harmful": harmful, "label": label, "proposal": proposal, "salt": salt, "thought": thought}
    )


def read_plants(path: Path) -> tuple[Plant, ...]:
    """The plants of a file, one JSON object a line.

    Raises:
        PlantError: it cannot be read, holds none or too many, or a line is no plant.
    """
    found: list[Plant] = []
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    raise PlantError(f"{path.name}, line {number}: longer than {LONGEST} bytes")
                if line.strip():
                    found.append(_plant(line, f"{path.name}, line {number}"))
                if len(found) > MOST_PLANTS:
                    raise PlantError(f"{path.name}: more than {MOST_PLANTS} steps; take fewer")
    except OSError as error:
        raise PlantError(f"{path}: {error.strerror}") from None
    if not found:
        raise PlantError(f"{path.name}: holds no step; a planted step is one JSON object a line")
    return tuple(found)


def _plant(line: bytes, where: str) -> Plant:
    try:
        plant = Plant.model_validate_json(line)
        canonical(plant.model_dump(exclude_none=True))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = f"{place}: {first['msg']}" if place else first["msg"]
        raise PlantError(shown(f"{where}: {said}", 300)) from None
    except (ValueError, RecursionError) as error:
        raise PlantError(shown(f"{where}: {error}", 300)) from None
    return plant
