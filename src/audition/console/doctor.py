"""`audition doctor`: what this machine can do, what it lacks, and the command that mends it.

With `--box`, what a box here keeps in: each way out that was tried, and what no box covers.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Annotated

import typer

from audition.console.speaking import Stop, answer, plainly, tell, wait_for
from audition.extra import installing
from audition.plain import shown


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    well: bool
    found: str
    mend: str = ""
    needed_for: str = ""


@plainly
def doctor(
    box: Annotated[bool, typer.Option("--box", help="Try every way out of a box.")] = False,
    sandbox: Annotated[
        str | None,
        typer.Option("--sandbox", help="Of a box in this sandbox of Inspect's, such as docker."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what works here, what is missing and how to mend it."""
    if box or sandbox:
        return _try_box(sandbox, as_json)
    checks = list(_checks())
    ill = [check for check in checks if not check.well]
    if as_json:
        answer({"well": not ill, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            tell(f"{'ok     ' if check.well else 'MISSING'}  {check.name}: {check.found}")
            if not check.well:
                tell(f"         needed for {check.needed_for}")
                tell(f"         mend it: {check.mend}")
    if ill:
        raise Stop
    return None


def _try_box(sandbox: str | None, as_json: bool) -> None:
    from audition.box import BoxConfig, try_ways_out

    trial = wait_for(lambda: try_ways_out(BoxConfig(sandbox=sandbox)))
    ways = trial.ways
    well = bool(trial.limits) and all(way.outcome != "open" for way in ways)
    if as_json:
        answer({"well": well, **trial.model_dump(mode="json")})
    else:
        for way in ways:
            why = f" ({shown(way.why, 300)})" if way.why else ""
            outcome = way.outcome.upper() if way.outcome == "open" else way.outcome
            tell(f"{outcome:13} {way.name}: {way.about}{why}")
        for held in trial.limits:
            value = "" if held.value is None else f" {held.value:,}"
            tell(f"{'limit':13} {held.limit}{value}: {held.means}")
        for text in trial.uncovered:
            tell(f"{'not covered':13} {text}")
    if not well:
        raise Stop


def _checks() -> Iterator[Check]:
    from audition import __version__

    yield Check("audition", True, f"{__version__} on Python {platform.python_version()}")
    fts = bool(
        sqlite3.connect(":memory:")
        .execute("SELECT 1 FROM pragma_compile_options WHERE compile_options = 'ENABLE_FTS5'")
        .fetchone()
    )
    yield Check(
        "sqlite",
        fts,
        f"{sqlite3.sqlite_version}, {'with' if fts else 'without'} full-text search",
        "use a Python whose SQLite was built with FTS5 (python.org's and Debian's are)",
        "searching a library in the box; `run`, `review` and `verify` work without",
    )
    yield _box()
    yield _keys()
    re2 = find_spec("re2") is not None
    yield Check("re2", re2, "there" if re2 else "not there", "pip install google-re2", "rules")
    yield _learn()


def _box() -> Check:
    from audition.box import BoxRefused, BoxUnavailable, open_box

    async def opened() -> str:
        async with open_box() as box:
            report = box.report()
            held = {one.limit: one.means for one in report.limits}
            return (
                f"opens as uid {report.uid}; {len(report.probes)} probes tried to get out and "
                f"failed; memory: {held['memory']}"
            )

    needed = "`run` (`review`, `verify` and `keys` work without)"
    try:
        return Check("box", True, wait_for(opened))
    except BoxUnavailable as error:
        return Check("box", False, str(error), str(error).rpartition("; ")[2], needed)
    except BoxRefused as error:
        mend = "what got out is named above; close it, then look again"
        return Check("box", False, f"refused: {error}", mend, needed)


def _keys() -> Check:
    from audition.console.keys import keyring

    ring = keyring()
    names = [key.id for key in ring.list()]
    found = f"{len(names)} in {ring.folder}" if names else f"none yet in {ring.folder}"
    return Check("keys", True, found + ("" if names else "; the first run makes one"))


def _learn() -> Check:
    """The extra is optional: its absence is said, and is nothing to mend."""
    from audition.lab import missing

    absent = missing()
    found = f"learning and `lab run` need {installing('learn')} ({', '.join(absent)} not there)"
    return Check("extra learn", True, found if absent else "installed")
