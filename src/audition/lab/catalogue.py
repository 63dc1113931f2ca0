"""Which claims there are, told without importing any: a claim brings heavy modules along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import MappingProxyType

from audition.extra import installing
from audition.lab.claim import Claim, ClaimError
from audition.plain import shown

CLAIMS: Mapping[str, str] = MappingProxyType(
    {
        "camera-dropbox": (
            "A policy that learns only from approval of single steps never blocks the camera; "
            "one that learns from outcomes does."
        ),
        "boxed-thinking": (
            "With credit and gradient cut at the previous proposal a recurrent thinker learns to "
            "think within each step and prepares no hack; with either let through, it hacks."
        ),
        "selection-is-a-gradient": (
            "Myopic learners leave a hidden incentive alone, regain it when seeds, checkpoints or "
            "populations are selected by results, and do not when the choice is declared or by "
            "lot."
        ),
        "test-driven-development": (
            "Code judged by one's own tests makes the tests worse under outcome training, and "
            "not under process supervision."
        ),
        "loan-encoding": (
            "Outcome training hides a protected attribute in the wording of a summary; process "
            "supervision does not."
        ),
        "alignment-tax": (
            "What process supervision costs, by audit rate, context, uncertainty and illegible "
            "moves, and whether approval now is ever given up for approval later."
        ),
        "few-audits": (
            "Auditing a declared, weighted share of the moments teaches nearly as much as "
            "auditing all, without bias."
        ),
        "language-boundary": (
            "A language model that learns from audits of its steps, through box, gate and ledger, "
            "comes to answer rightly before a strict checker; by outcome it sets out a lenient one."
        ),
    }
)
"""The lab's own claims by name, each with what its module says of itself."""

GROUP = "audition.claims"
"""The entry point group by which other packages add claims: name = module:object."""

_NEEDED = ("gymnasium", "matplotlib", "numba", "safetensors", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Listed:
    """A claim that can be asked for."""

    name: str
    """As `audition lab run` takes it."""
    says: str
    """The claim in one sentence; of another package's, what that package says of itself."""
    package: str
    """The distribution that it comes from."""


def listed() -> list[Listed]:
    """Every claim: the lab's own in their order, then those of other packages by name."""
    own = [Listed(name, says, "audition") for name, says in CLAIMS.items()]
    return own + sorted(map(_elsewhere, entry_points(group=GROUP)), key=lambda one: one.name)


def missing() -> tuple[str, ...]:
    """The modules of the extra `learn` that are not installed; nothing is imported to tell."""
    return tuple(name for name in _NEEDED if find_spec(name) is None)


def find(name: str) -> Claim:
    """The claim of that name, its module imported.

    Raises:
        ClaimError: there is none, or several, or it cannot be imported.
    """
    entries = entry_points(group=GROUP, name=name)
    if len(entries) + (name in CLAIMS) > 1:
        packages = ", ".join(one.package for one in listed() if one.name == name)
        raise ClaimError(f"{name} is claimed by several packages: {packages}; keep one of them")
    if name in CLAIMS:
        if absent := missing():
            raise ClaimError(f"{name} needs {installing('learn')} ({', '.join(absent)} not there)")
        found = import_module(f"audition.lab.{name.replace('-', '_')}").CLAIM
    elif entries:
        found = _imported(next(iter(entries)))
    else:
        known = [one.name for one in listed()]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ClaimError(f"there is no claim {shown(repr(name), 120)}; {hint}")
    if not isinstance(found, Claim) or found.name != name:
        raise ClaimError(f"what {name} names is not a claim of that name")
    return found


def _elsewhere(entry: EntryPoint) -> Listed:
    if entry.dist is None:
        return Listed(entry.name, "", "")
    return Listed(entry.name, entry.dist.metadata["Summary"] or "", entry.dist.name)


def _imported(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = _elsewhere(entry).package
        raise ClaimError(f"{entry.name}, of {package}, cannot be imported: {error}") from None
