"""The canonical form: one value, one sequence of bytes, one digest.

Canonical JSON is RFC 8785 (JCS). What JSON cannot carry without loss travels as a tagged string,
so that the encoding is injective and every value comes back as it was:

=====================  =======================================================
value                  encoded as
=====================  =======================================================
integer beyond 2^53-1  ``"~i:9007199254740993"`` (decimal, no leading zeros)
NaN, +inf, -inf        ``"~f:nan"``, ``"~f:inf"``, ``"~f:-inf"``
bytes                  ``"~b:"`` and base64 (RFC 4648, padded)
surrogates             ``"~u:"`` and base64 of UTF-8, three bytes to a surrogate
string that begins ~   a second ``~`` in front
=====================  =======================================================

Two numbers that compare equal (``1``, ``1.0``; ``0.0``, ``-0.0``) are one value.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
import rfc8785

MAX_DEPTH = 64
"""Nesting beyond this is refused, when writing and when reading."""

MAX_SAFE = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 7493)."""

_FAST = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_UNSURE = re.compile(
    rb"[:\[,](?:null|(-?[0-9]++)\.0(?=[,\]}])"
    rb"|(-?)([0-9])(?:\.([0-9]++))?e-([56])(?=[,\]}])|-?[0-9]++(?:\.[0-9]++)?[eE])"
)
_SHORT = 4096  # to here a whole float is cut at its point; a long text is gone through once
_UNSIGNED = b"e+" not in orjson.dumps(1e16)  # some versions write large exponents without a sign
_TILDE, _MINUS, _PLUS, _POINT, _BACKSLASH = b"~-+.\\"  # numbers are found faster than bytes
_EXPONENT = re.compile(rb"(?:^|[:\[,])-?[0-9]++(?:\.[0-9]++)?[eE]")
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
_LATE = re.compile(rb"[\xee\xef]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_PLACE = re.compile(rb'(?<!\\)"~b:([0-9]+)"')  # a quote within a string has a backslash before it
_DIGITS = re.compile(r"-?[1-9][0-9]{15,4299}")


class CanonicalError(ValueError):
    """The value or the bytes have no canonical form; the message says where and why."""


def canonical(value: Any) -> bytes:
    """Canonical bytes of a value made of None, bool, int, float, str, bytes, lists and mappings.

    A member of an enumeration counts as its value, a UUID as its text.

    Raises:
        CanonicalError: another type, a key that is no string, or nesting beyond `MAX_DEPTH`.
    """
    try:  # the fast writer agrees with RFC 8785 where none of these signs shows
        out, tags = orjson.dumps(value, option=_FAST), 0
    except TypeError:
        out, tags = _with_bytes(value)
    if (  # one byte is found many times faster than two
        out[:1] not in (b"{", b"[")
        or (_TILDE in out and out.count(b'"~') != tags)
        or not (out.isascii() or _in_order(out))
    ):
        return _exact(value)
    if b"null" in out:  # maybe a NaN
        sure = _as_written(out)
        if sure is None:
            return _exact(value)
        out = sure
    elif (sure := _numbers(out)) is None:
        return _exact(value)
    else:
        out = sure
    if len(out) > 2 * MAX_DEPTH and _depth(out) > MAX_DEPTH:
        raise CanonicalError(f"nested deeper than {MAX_DEPTH} levels")
    return out


def canonical_fields(value: Mapping[str, Any], *, whole: bool = False) -> bytes:
    """As `canonical`, for the fields of a type that holds no free JSON.

    Its keys are ASCII, it is nested no deeper than its type, and a number in it is finite; where
    they are `whole`, an integer.
    """
    try:
        out, tags = orjson.dumps(value, option=_FAST), 0
    except TypeError:
        out, tags = _with_bytes(value)
    if not out or (_TILDE in out and out.count(b'"~') != tags):
        return _exact(value)
    sure = out if whole else _numbers(out)
    return _exact(value) if sure is None else sure


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """SHA-256 of the canonical bytes of a value, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse(data: bytes) -> Any:
    """The value of canonical bytes, tags resolved.

    Raises:
        CanonicalError: not JSON, nested too deeply, an unknown tag, or bytes that are not the
            canonical form of what they say (duplicate keys, spaces, another order of keys …).
    """
    value = loads(data)
    if canonical(value) != data:
        raise CanonicalError("valid JSON, but not in canonical form")
    return value


def loads(data: bytes) -> Any:
    """As `parse`, for bytes whose digest was already compared: the form is taken on trust."""
    if _depth(data) > MAX_DEPTH:
        raise CanonicalError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CanonicalError(f"not JSON: {error}") from None
    return _restore(value) if b'"~' in data else value


def _with_bytes(value: Any) -> tuple[bytes, int]:
    """What the fast writer makes of it, and how many tags it wrote; nothing where it cannot."""
    tags = 0

    def tagged(item: Any) -> str:
        nonlocal tags
        if type(item) is not bytes or len(item) > _SHORT:
            raise TypeError
        tags += 1
        return "~b:" + base64.b64encode(item).decode()

    try:
        return orjson.dumps(value, default=tagged, option=_FAST), tags
    except TypeError:
        return b"", 0


def _exact(value: Any) -> bytes:
    held: list[bytes] = []  # bytes, written as their number first: what is long is looked at once
    plain = _plain(value, 0, held)
    out = orjson.dumps(plain, option=_FAST)
    if _EXPONENT.search(out) or not _in_order(out):
        out = rfc8785.dumps(plain)
    return _PLACE.sub(lambda place: held[int(place[1])], out) if held else out


def _numbers(out: bytes) -> bytes | None:
    """The same with floats as RFC 8785 writes them; None if that is not sure. It holds no null."""
    if (_MINUS in out and b"e-" in out) or (_PLUS in out and b"e+" in out) or _UNSIGNED:
        return _as_written(out)  # one byte is found many times faster than two
    if _POINT not in out:
        return out
    if len(out) > _SHORT:
        return _as_written(out)
    point = out.find(b".0")
    while point >= 0:
        if out[point + 2] not in b",]}":
            point += 1
        elif _BACKSLASH in out or out[point - 2] not in b":[,":
            return _as_written(out)
        elif out.count(b'"', 0, point) % 2:  # within a string
            point += 1
        else:
            out = out[:point] + out[point + 2 :]
        point = out.find(b".0", point)
    return out


def _as_written(out: bytes) -> bytes | None:
    """The same with floats as RFC 8785 writes them; None if that is not all.

    Those without a fraction are integers there, and those from 1e-6 have no exponent.
    """
    parts: list[bytes] = []
    end = quotes = 0
    escaped = _BACKSLASH in out
    for found in _UNSURE.finditer(out):
        start = found.start() + 1
        quotes += out.count(b'"', end, start) - (escaped and _within(out[end:start]))
        if quotes % 2:  # within a string
            parts.append(out[end:start])
            end = start
            continue
        whole, sign, first, rest, exponent = found.groups(b"")
        if exponent:
            written = b"%b0.%b%b%b" % (sign, b"0" * (int(exponent) - 1), first, rest)
        elif 0 < len(whole) <= 15:
            written = b"0" if whole == b"-0" else whole
        else:  # a null, another exponent, or perhaps beyond MAX_SAFE
            return None
        parts += (out[end:start], written)
        end = found.end()
    return b"".join((*parts, out[end:])) if parts else out


def _in_order(out: bytes) -> bool:
    """Whether keys sort by UTF-16, as RFC 8785 asks, as they do by UTF-8."""
    return not (_ASTRAL.search(out) and _LATE.search(out))


def _within(out: bytes) -> int:
    """Quotes that neither begin nor end a string; no part that is looked at begins in an escape."""
    return out.replace(b"\\\\", b"").count(b'\\"')


def _plain(value: Any, depth: int, held: list[bytes]) -> Any:
    if depth >= MAX_DEPTH and isinstance(value, (Mapping, list, tuple)):
        raise CanonicalError(f"nested deeper than {MAX_DEPTH} levels")
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return int(value) if -MAX_SAFE <= value <= MAX_SAFE else f"~i:{_decimal(value)}"
        case float():
            if math.isfinite(value):
                return _plain(int(value), depth, held) if value.is_integer() else value
            return "~f:nan" if value != value else "~f:inf" if value > 0 else "~f:-inf"
        case bytes() | bytearray():
            held.append(b'"~b:%b"' % base64.b64encode(value))
            return f"~b:{len(held) - 1}"
        case list() | tuple():
            return [_plain(item, depth + 1, held) for item in cast("Sequence[Any]", value)]
        case dict() | Mapping():
            items = cast("Mapping[Any, Any]", value)
            if not all(isinstance(key, str) for key in items):
                raise CanonicalError("a key of an object is not a string")
            return {_text(key): _plain(item, depth + 1, held) for key, item in items.items()}
        case _:
            raise CanonicalError(f"a {type(value).__name__} has no canonical form")


def _text(text: str) -> str:
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return "~u:" + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
    return "~" + text if text.startswith("~") else str(text)


def _decimal(value: int) -> str:
    if value.bit_length() > 14_000:  # Python itself refuses to write more than 4,300 digits
        raise CanonicalError("an integer of more than 14,000 bits")
    return str(value)


def _restore(value: Any) -> Any:
    match value:
        case str():
            return _untag(value) if value[:1] == "~" else value
        case dict():
            items = cast("dict[str, Any]", value)
            return {
                _key(key) if key[:1] == "~" else key: _restore(item)
                if isinstance(item, (str, dict, list))
                else item
                for key, item in items.items()
            }
        case list():
            return [_restore(item) for item in cast("list[Any]", value)]
        case _:
            return value


def _key(key: str) -> str:
    name = _untag(key)
    if not isinstance(name, str):
        raise CanonicalError(f"a key of an object is tagged {key[:2]!r}")
    return name


def _untag(text: str) -> Any:
    tag, rest = text[:3], text[3:]
    try:
        if text.startswith("~~"):
            return text[1:]
        if tag == "~i:" and _DIGITS.fullmatch(rest):
            return int(rest)
        if tag == "~f:" and rest in ("nan", "inf", "-inf"):
            return float(rest)
        if tag == "~b:":
            return base64.b64decode(rest, validate=True)
        if tag == "~u:":
            string = base64.b64decode(rest, validate=True).decode("utf-8", "surrogatepass")
            if _text(string) == text:
                return string
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise CanonicalError(f"unknown or malformed tag {text[:16]!r}")


def _depth(data: bytes) -> int:
    """The nesting of JSON text; 0 stands for any depth that needs no counting."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return 0
    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    depth = deepest = 0
    for bracket in b"".join(outside).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
