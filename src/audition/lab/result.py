"""One run of a claim: what came out, and with what it was measured."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Self

from pydantic import AwareDatetime, Field, JsonValue

from audition import __version__
from audition.lab.claim import Claim, Config, Figures, Progress
from audition.step import Frozen, JsonObject, Name

_MEASURED_WITH = ("numpy", "scipy", "numba", "torch", "transformers", "gymnasium")


class Result(Frozen):
    """What a run of a claim gave; enough to report it where the claim is not installed."""

    claim: Name
    """Its name."""
    says: str
    """The claim, in one sentence."""
    source: str
    """Paper and place, or `ours`."""
    published: JsonObject
    """What the source gives, by name."""
    found: Figures
    """What was measured."""
    blind_spot: str
    """What the run does not show."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    """Wall-clock time of the run."""
    command: str
    """The command that measures it again."""
    at: AwareDatetime
    """When it ended."""
    versions: dict[str, str]
    """Python, this package and those that compute, by name."""
    cores: int = Field(ge=1)
    """Processor cores of the machine."""

    def answer(self) -> JsonObject:
        """The object that `audition lab run --json` prints."""
        found = self.found.model_dump()
        return {
            "claim": self.claim,
            "figures": found["figures"],
            "published": self.published,
            "checks": found["checks"],
            "holds": self.found.holds,
            "blind_spot": self.blind_spot,
            "seeds": found["seeds"],
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """The result as text; unlike canonical bytes it keeps the order of every figure."""
        return json.dumps(self.model_dump() | {"at": self.at.isoformat()}) + "\n"

    @classmethod
    def read(cls, text: str) -> Self:
        """The result that a text stands for.

        Raises:
            ValueError: it is no result.
        """
        try:
            return cls.model_validate(json.loads(text))
        except RecursionError:
            raise ValueError("nested too deeply for a result") from None


def measure(claim: Claim, config: Config, progress: Progress | None = None) -> Result:
    """Run a claim.

    Raises:
        ClaimError: it cannot be run like this.
    """
    config = config.model_copy(update={"options": claim.chosen(config.options)})
    begun = time.monotonic()
    found = claim.run(config, progress or (lambda doing, done: None))
    return Result(
        claim=claim.name,
        says=claim.says,
        source=claim.source,
        published=claim.published,
        found=found,
        blind_spot=claim.blind_spot,
        seconds=round(time.monotonic() - begun, 3),
        command=_command(claim, config),
        at=datetime.now(UTC),
        versions={"python": platform.python_version(), "audition": __version__} | _versions(),
        cores=os.cpu_count() or 1,
    )


def _command(claim: Claim, config: Config) -> str:
    words = ["audition", "lab", "run", claim.name]
    if config.quick:
        words.append("--quick")
    if config.seeds is not None:
        words += ["--seeds", str(config.seeds)]
    for name, value in config.options.items():
        if value != claim.options[name]:
            words += ["--option", f"{name}={_written(value)}"]
    return shlex.join(words)


def _written(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _MEASURED_WITH:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
