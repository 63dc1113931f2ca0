"""Lessons for other trainers: rows of JSON, or arrays as safetensors, and strictly back.

Both begin with one head: the run, whose word the lessons are, the batch, the moments that the
lottery drew from, the arrays' types and shapes, and the digest of the whole. Whatever the future of
a step could move is in the head; a row says what one lesson holds and nothing else (its moment, its
weight, its context, its span, and the approval or ranking), so that no byte of it depends on what
came after its step.

Numbers come back to the bit: a float is written as the shortest decimal that reads back as itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from audition.learn.lessons import LessonError, Lessons
from audition.step import MOST, Digest, Frozen, Name, RunId, Signal

LINE = 1 << 24
"""Most bytes of one row, as it is written and of what it holds."""
WHOLE = 1 << 34
"""Most bytes that all the lessons of an export hold."""

HEAD = "audition.lessons"
"""Under which name the metadata of safetensors hold the head."""


class ExportError(ValueError):
    """What is read is no export, or what is to be written cannot be; the message says where."""


class Shape(Frozen):
    """One array of an export."""

    dtype: Annotated[str, Field(pattern=r"^(<[iuf][248]|\|[iu]1|\|b1|<U[1-9][0-9]{0,3})$")]
    """Its type, as NumPy writes it; in safetensors a text (`<U64`: a digest) is 32-bit numbers."""
    shape: tuple[Annotated[int, Field(ge=1, le=MOST)], ...] = Field(max_length=6)
    """Shape of one lesson's part of it."""

    @property
    def nbytes(self) -> int:
        """What one lesson's part of it holds."""
        return math.prod(self.shape, start=np.dtype(self.dtype).itemsize)


class Head(Frozen):
    """What is said once of all the lessons of an export."""

    format: Literal["audition.lessons/1"] = "audition.lessons/1"
    run: RunId | None = None
    """The run that took them; None: they come from several, and each names its own."""
    signal: Signal
    """What they consist of."""
    auditor: Name
    """Whose word they are, or who demonstrated."""
    batch: Digest | None
    """Root of the batch they are from; None: each lesson's `moment` is a digest."""
    population: int = Field(ge=1, le=MOST)
    """Moments that the lottery drew from."""
    count: int = Field(ge=1, le=MOST)
    """Lessons."""
    arrays: dict[str, Shape]
    """What each lesson holds."""
    lessons: Digest
    """`Lessons.digest()`, as the event `lesson.taken` has it."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        each = sum(array.nbytes for array in self.arrays.values())
        if each > LINE or each * self.count > WHOLE:
            raise ValueError(
                f"arrays: {each} bytes a lesson, {self.count} times; at most {LINE}, and {WHOLE}"
            )
        return self


def to_rows(lessons: Lessons, run: RunId | None) -> Iterator[bytes]:
    """The lines of an export: the head, then one row a lesson, in their order.

    Raises:
        ExportError: an array of a type that no export holds, or a number that JSON cannot carry.
    """
    yield _line(_head_of(lessons, run).model_dump())
    arrays = lessons.arrays()
    for number in range(len(lessons)):
        try:
            yield _row(arrays, number)
        except ValueError:
            raise ExportError(
                f"lesson {number}: JSON has no NaN and no infinity; export arrays instead"
            ) from None


def from_rows(lines: Iterable[bytes]) -> tuple[RunId | None, Lessons]:
    """The run and the lessons of an export by rows.

    Raises:
        ExportError: anything that `to_rows` would not have written; the message names the line.
    """
    head: Head | None = None
    held: dict[str, list[NDArray[Any]]] = {}
    for number, line in enumerate(lines, 1):
        if len(line) > LINE:
            raise ExportError(f"line {number}: longer than {LINE} bytes")
        if head is None:
            head = _read_head(line, "line 1")
            held = {name: [] for name in head.arrays}
            continue
        if number > head.count + 1:
            raise ExportError(f"line {number}: more than the {head.count} lessons of the head")
        for name, array in _read_row(head, line, f"line {number}").items():
            held[name].append(array)
    if head is None:
        raise ExportError("line 1: there is no head")
    arrays = {name: np.array(rows, head.arrays[name].dtype) for name, rows in held.items()}
    return head.run, _lessons(head, arrays)


def to_arrays(lessons: Lessons, run: RunId | None) -> bytes:
    """The export as safetensors.

    Raises:
        ExportError: an array of a type that no export holds.
    """
    from safetensors.numpy import save

    head = _line(_head_of(lessons, run).model_dump()).decode()
    tensors = {
        name: _characters(array) if array.dtype.kind == "U" else np.ascontiguousarray(array)
        for name, array in lessons.arrays().items()
    }
    return save(tensors, {HEAD: head})


def from_arrays(data: bytes) -> tuple[RunId | None, Lessons]:
    """The run and the lessons of an export as safetensors.

    Raises:
        ExportError: anything that `to_arrays` would not have written; the message names the array.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:
        raise ExportError(f"no safetensors: {error}") from None
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    head = _read_head(metadata.get(HEAD, "").encode(), f"metadata {HEAD}")
    if odd := tensors.keys() ^ head.arrays.keys():
        raise ExportError(f"{min(odd)}: arrays and head differ in it")
    arrays: dict[str, NDArray[Any]] = {}
    for name, said in head.arrays.items():
        array = tensors[name]
        if said.dtype.startswith("<U") and array.dtype == "<u4" and array.ndim > 1:
            array = _texts(array)
        if array.dtype.str != said.dtype or array.shape[1:] != said.shape:
            raise ExportError(
                f"{name}: {array.dtype.str} of shape {array.shape[1:]} a lesson, where the head "
                f"says {said.dtype} of shape {said.shape}"
            )
        arrays[name] = array
    return head.run, _lessons(head, arrays)


def _head_of(lessons: Lessons, run: RunId | None) -> Head:
    arrays = {
        name: {"dtype": array.dtype.str, "shape": array.shape[1:]}
        for name, array in lessons.arrays().items()
    }
    try:
        return Head.model_validate(
            {
                "run": run,
                "signal": lessons.signal,
                "auditor": lessons.auditor,
                "batch": lessons.batch,
                "population": lessons.population,
                "count": len(lessons),
                "arrays": arrays,
                "lessons": lessons.digest(),
            }
        )
    except ValidationError as error:
        raise ExportError(_first(error)) from None


def _read_head(line: bytes, where: str) -> Head:
    try:
        head = Head.model_validate_json(line)
    except ValidationError as error:
        raise ExportError(f"{where}: {_first(error)}") from None
    if _line(head.model_dump()) != line:
        raise ExportError(f"{where}: not the bytes that this version writes")
    return head


def _read_row(head: Head, line: bytes, where: str) -> dict[str, NDArray[Any]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ExportError(f"{where}: not JSON") from None
    if not isinstance(row, dict) or row.keys() != head.arrays.keys():
        raise ExportError(f"{where}: not the arrays of the head")
    found: dict[str, NDArray[Any]] = {}
    for name, said in head.arrays.items():
        try:
            with np.errstate(all="ignore"):
                found[name] = np.array(row[name], said.dtype)
        except (ValueError, TypeError, OverflowError):
            found[name] = np.empty(0)
        if found[name].shape != said.shape:
            raise ExportError(f"{where}: {name}: no {said.dtype} of shape {said.shape}")
    try:
        same = _row({name: array[None] for name, array in found.items()}, 0) == line
    except ValueError:
        same = False
    if not same:
        raise ExportError(f"{where}: not the bytes that this version writes")
    return found


def _lessons(head: Head, arrays: dict[str, NDArray[Any]]) -> Lessons:
    """The lessons that the head describes.

    Raises:
        ExportError: they are none, or not those of its digest.
    """
    parts: dict[str, dict[str, NDArray[Any]]] = {"context": {}, "span": {}, "candidates": {}}
    for name in [name for name in arrays if "." in name]:
        part, rest = name.split(".", 1)
        if part not in parts:
            raise ExportError(f"{name}: a lesson has no {part}")
        parts[part][rest] = arrays.pop(name)
    try:
        lessons = Lessons(
            signal=head.signal,
            auditor=head.auditor,
            **parts,
            weight_L=arrays.pop("weight"),
            moment_L=arrays.pop("moment"),
            population=head.population,
            approval_L=arrays.pop("approval", None),
            approvals_LK=arrays.pop("approvals", None),
            ranking_LK=arrays.pop("ranking", None),
            batch=head.batch,
        )
    except KeyError as error:
        raise ExportError(f"{error.args[0]}: a lesson needs it") from None
    except LessonError as error:
        raise ExportError(str(error)) from None
    if arrays:
        raise ExportError(f"{min(arrays)}: a lesson has no such array")
    if len(lessons) != head.count:
        raise ExportError(f"{len(lessons)} lessons, and the head says {head.count}")
    if lessons.digest() != head.lessons:
        raise ExportError("these are not the lessons that the head names by their digest")
    return lessons


def _row(arrays: dict[str, NDArray[Any]], number: int) -> bytes:
    return _line({name: array[number].tolist() for name, array in arrays.items()})


def _line(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _characters(text: NDArray[Any]) -> NDArray[np.uint32]:
    width = text.dtype.itemsize // 4
    return np.ascontiguousarray(text).view("<u4").reshape(*text.shape, width)


def _texts(characters: NDArray[np.uint32]) -> NDArray[Any]:
    surrogate = (characters >= 0xD800) & (characters < 0xE000)
    if ((characters > 0x10FFFF) | surrogate).any():
        raise ExportError("a text of numbers that are no characters")
    width = characters.shape[-1]
    return np.ascontiguousarray(characters).view(f"<U{width}")[..., 0]


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return ".".join([*map(str, first["loc"]), f" {first['msg']}"]).replace(". ", ": ")
