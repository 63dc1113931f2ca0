"""A file as JSON objects, one a line or one in all, with a bound on everything.

Plain or gzip, told by the first two bytes. No line is held that is longer than `MAX_LINE`, so a
compressed bomb costs no more memory than an honest file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from audition.records.record import RecordError
from audition.step import JsonObject

MAX_LINE = 64 << 20
"""Longest line, in bytes after decompression."""

MAX_BLANK = 1000
"""Most blank lines in a row."""

MAX_NESTING = 48
"""Deepest nesting of a line; the canonical form holds 64 levels, of which a record adds a few."""

MAX_BRACKETS = 1 << 22
"""Most opening brackets in a line: they bound the memory that it takes once parsed."""

MAX_DIGITS = 4000
"""Longest integer, in digits; longer ones have no canonical form."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


def objects(path: Path) -> Iterator[tuple[int, JsonObject]]:
    """Every line's object and its number, from 1; blank lines are passed over.

    Raises:
        RecordError: the file cannot be read, is cut off or no gzip, or a line is too long, not
            UTF-8, not JSON, no object, names a field twice, or is nested too deeply.
    """
    number = 0
    for number, raw in _lines(path):
        try:
            value = parse(raw.decode())
        except UnicodeDecodeError as error:
            raise RecordError(
                f"{called(path)}, line {number}: not UTF-8 at byte {error.start + 1}; "
                "convert the file to UTF-8"
            ) from None
        except ValueError as error:
            raise RecordError(
                f"{called(path)}, line {number}: {error}; a record is one JSON object a line"
            ) from None
        yield number, value
    if number == 0:
        raise RecordError(f"{called(path)}: holds no record; remove it, or fetch it again")


def whole(path: Path) -> JsonObject:
    """The one object that a file holds, over as many lines as it likes.

    Raises:
        RecordError: as `objects`; all of it may be no longer than a line.
    """
    parts: list[bytes] = []
    size = 0
    for _, line in _lines(path):
        parts.append(line)
        size += len(line) + 1
        if size > MAX_LINE:
            break
    return document(b"\n".join(parts), called(path))


def document(raw: bytes, place: str, *, constants: bool = False) -> JsonObject:
    """The object that the bytes of one document stand for.

    Args:
        raw: the document, or more of it than `MAX_LINE`.
        place: what an error calls it.
        constants: as `parse`.

    Raises:
        RecordError: it is too long, not UTF-8, or no JSON object.
    """
    if len(raw) > MAX_LINE:
        raise RecordError(
            f"{place}: longer than {MAX_LINE >> 20} MiB; leave its attachments out, or write its "
            "messages as chat JSONL (docs/records.md has the format)"
        )
    try:
        return parse(raw.decode(), constants=constants)
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 at byte {error.start + 1}"
    except ValueError as error:
        problem = str(error)
    raise RecordError(f"{place}: {problem}; it must be one JSON object, fetch it again")


def parse(text: str, *, constants: bool = False) -> JsonObject:
    """The JSON object that a text stands for; strict, and with one meaning only.

    Args:
        text: the text.
        constants: whether `NaN` and the infinities, which are no JSON and which some programs write
            all the same, are read as those words.

    Raises:
        ValueError: one line that says what is wrong, and in which field where there is one.
    """
    if text.count("{") + text.count("[") > MAX_BRACKETS:
        raise ValueError(f"more than {MAX_BRACKETS:,} lists and objects")
    try:
        value = (_LENIENT if constants else _STRICT).decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_NESTING} levels") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_KINDS.get(type(value), 'value')}, not an object")
    if _deeper_than(MAX_NESTING, value):
        raise ValueError(f"nested deeper than {MAX_NESTING} levels")
    if "\\ud" in text.lower() and (place := _half_character(value)) is not None:
        field = printable(".".join(place)) or "a name of a field"
        raise ValueError(f"{field}: half a character (a lone surrogate)")
    return cast("JsonObject", value)


def called(path: Path) -> str:
    """A file's name as an error may print it."""
    return printable(path.name or str(path))


def printable(text: str) -> str:
    """Text from outside on one line, cut short, with whatever does not print escaped."""
    short = text if len(text) <= 120 else text[:120] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = blank = 0
    try:
        with _opened(path) as file:
            while raw := file.readline(MAX_LINE + 1):
                number += 1
                if len(raw) > MAX_LINE:
                    raise RecordError(
                        f"{called(path)}, line {number}: longer than {MAX_LINE >> 20} MiB; "
                        "split the record, or leave its attachments out"
                    )
                line = (raw.removeprefix(_BOM) if number == 1 else raw).strip(b" \t\r\n")
                blank = 0 if line else blank + 1
                if blank > MAX_BLANK:
                    raise RecordError(
                        f"{called(path)}, line {number}: more than {MAX_BLANK} blank lines in a "
                        "row; remove them"
                    )
                if line:
                    yield number, line
    except EOFError:
        problem = "the gzip stream is cut off"
    except (gzip.BadGzipFile, zlib.error):
        problem = "the gzip stream is damaged"
    except OSError as error:
        problem = (error.strerror or "cannot be read").lower()
    else:
        return
    raise RecordError(
        f"{called(path)}, after line {number}: {problem}; fetch the file again, or check its path "
        "and permissions"
    )


def _opened(path: Path) -> IO[bytes]:
    file = path.open("rb")
    try:
        start = file.peek(2)[:2]
    except BaseException:
        file.close()
        raise
    if start != _GZIP:
        return file
    file.close()
    return cast("IO[bytes]", gzip.open(path, "rb"))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{printable(name)}: the field is there twice")
            seen.add(name)
    return fields


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"not JSON: {word} is no JSON number")


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


def _half_character(value: Any) -> tuple[str, ...] | None:
    """Where text stands that UTF-8 cannot write, if it does; the nesting is already bounded."""
    match value:
        case str():
            return None if _whole(value) else ()
        case dict():
            if not all(map(_whole, value)):
                return ()
            inner = value.items()
        case list():
            inner = enumerate(value)
        case _:
            return None
    for name, item in inner:
        if (place := _half_character(item)) is not None:
            return (str(name), *place)
    return None


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_int=_integer, parse_constant=_no_number)
_LENIENT = json.JSONDecoder(object_pairs_hook=_once, parse_int=_integer, parse_constant=str)
_KINDS: dict[type, str] = {list: "list", str: "string", int: "number", float: "number"}
