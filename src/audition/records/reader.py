"""Files and folders as records: which importer reads what, and how much there is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from audition.records.big_bench_mistake import BIG_BENCH_MISTAKE
from audition.records.chat import CHAT
from audition.records.format import Format, Origin
from audition.records.gsm8k import GSM8K
from audition.records.inspect_log import INSPECT, samples
from audition.records.lines import called, objects, printable, whole
from audition.records.odcv import ODCV
from audition.records.prm800k import PRM800K
from audition.records.record import Record, RecordError
from audition.records.refusal import refusal
from audition.records.swe_agent import SWE_AGENT
from audition.records.who_and_when import WHO_AND_WHEN
from audition.step import Act, Frozen, JsonObject

_FORMATS = (INSPECT, SWE_AGENT, ODCV, WHO_AND_WHEN, BIG_BENCH_MISTAKE, GSM8K, PRM800K, CHAT)

FORMATS = tuple(each.name for each in _FORMATS)
"""The names of the formats; the first whose shape fits is taken."""

_SUFFIXES = (".gz", ".jsonl", ".ndjson", ".json", ".eval", ".traj")

_NAMED = (".jsonl", ".ndjson", ".eval", ".traj")
"""How a file ends that must be a record, wherever it lies."""


class Survey(Frozen):
    """What a file holds, for progress and for reconciliation with the ledger."""

    file: str
    """Name of the file, without its folder."""
    format: str
    """Which importer reads it."""
    records: int = 0
    """How many runs it holds."""
    steps: int = 0
    """How many steps, counted on the file itself and not on the records made from it."""
    calls: int = 0
    """How many of them are calls of tools, malformed ones included."""
    malformed: int = 0
    """How many calls have arguments that are no JSON object."""


def read(path: str | Path, format: str | None = None) -> Iterator[Record]:
    """The records of a file, or of every known file in a folder, in order of name.

    Args:
        path: the file, plain or gzip, or the folder; folders inside it are not entered.
        format: one of `FORMATS`; None tells the format from the shape of each file's first line.
            In a folder, files of another shape are passed over; a file that is named is read.

    Raises:
        RecordError: at once if nothing can be read there; while iterating, at the first line that
            is malformed. The message is one line: file, line, field, what is wrong, what to do.
    """
    return (record for _, records in _lines(_files(path, format)) for record in records)


def survey(path: str | Path, format: str | None = None) -> tuple[Survey, ...]:
    """Read all of it once and keep nothing but the counts, a file at a time.

    Whoever surveys before importing knows that no malformed line will stop the import half-way.

    Raises:
        RecordError: as `read`.
    """
    found: list[Survey] = []
    for file, chosen in _files(path, format):
        total = Survey(file=file.name, format=chosen.name)
        for line, records in _lines([(file, chosen)]):
            acts = [
                step.proposal
                for record in records
                for step in record.steps()
                if isinstance(step.proposal, Act)
            ]
            total = Survey(
                file=total.file,
                format=total.format,
                records=total.records + len(records),
                steps=total.steps + chosen.steps(line),
                calls=total.calls + len(acts),
                malformed=total.malformed + sum(act.malformed is not None for act in acts),
            )
        found.append(total)
    return tuple(found)


def format_of(line: JsonObject) -> Format | None:
    """The format that an object's shape fits."""
    return next((each for each in _FORMATS if each.fits(line)), None)


def _files(path: str | Path, name: str | None) -> list[tuple[Path, Format]]:
    path = Path(path)
    known = {each.name: each for each in _FORMATS}
    if name is not None and name not in known:
        raise RecordError(f"{printable(name)}: no such format; one of {', '.join(FORMATS)}")
    try:
        path.stat()
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordError(
            f"{printable(str(path))}: {reason.lower()}; check the path and its permissions"
        ) from None
    if files == [path]:
        _check(path)
        return [(path, known[name] if name else _format_of(path))]
    shapes = ((file, _known(file)) for file in files if os.path.isfile(file))
    found = [(file, shape) for file, shape in shapes if shape and name in (None, shape.name)]
    for file, _ in found:
        _check(file)
    if not found:
        raise RecordError(
            f"{called(path)}: no file in this folder is a record of {name or ', '.join(FORMATS)}; "
            "name the file itself and its --format"
        )
    return found


def _check(path: Path) -> None:
    if not os.path.isfile(path):
        raise RecordError(f"{called(path)}: neither a file nor a folder; name one of them")
    if not path.name.isprintable() or len(path.name) > 200:
        raise RecordError(
            f"{called(path)}: the ledger keeps names of up to 200 characters that print; "
            "rename the file"
        )


def _format_of(path: Path) -> Format:
    place, line = next(_objects(path))
    if (found := format_of(line)) is not None:
        return found
    fields = printable(", ".join(list(line)[:8])) or "none"
    raise RecordError(
        f"{place}: no known format has these fields ({fields}); "
        f"one of {', '.join(FORMATS)} is expected, and docs/records.md says how to map own logs"
    )


def _known(file: Path) -> Format | None:
    """The format of a file in a folder; a file named as records must at least be readable."""
    named = file.name.removesuffix(".gz").endswith(_NAMED)
    try:
        _, line = next(_objects(file))
    except RecordError:
        if named and not file.name.startswith("."):
            raise
        return None
    return format_of(line)


def _objects(file: Path) -> Iterator[tuple[str, JsonObject]]:
    """Every object of a file and where it stands, in a file of whichever make."""
    name = file.name.removesuffix(".gz")
    if name.endswith(".eval"):
        yield from samples(file)
    elif name.endswith(".traj"):
        yield called(file), whole(file)
    else:
        for number, line in objects(file):
            yield f"{called(file)}, line {number}", line


def _lines(files: list[tuple[Path, Format]]) -> Iterator[tuple[JsonObject, list[Record]]]:
    for file, chosen in files:
        origin = Origin(file.name, _stem(file.name), 0, chosen.name)
        for place, line in _objects(file):
            try:
                records = chosen.records(line, origin)
            except ValidationError as error:
                raise RecordError(
                    f"{place}: {refusal(error, line)}; correct or remove it (docs/records.md has "
                    "the format)"
                ) from None
            yield line, records
            origin = dataclasses.replace(origin, record=origin.record + len(records))


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix) or name
    return name
