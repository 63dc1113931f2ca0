"""What a run and an executor's process say to each other: a length, then canonical JSON.

Whoever connects is greeted, says one thing and is answered once::

    server   {"executors": 1}       or {"refused": why}, and the connection ends
    client   {"ask": "schemas"}     or {"ask": "fits", "act": …} or {"ask": "act", "ticket": …}
    server   {"schemas": […]}       or {"wrong": why} or {"outcome": …}, or {"refused": why}
"""

from __future__ import annotations

import struct
from typing import Any, cast

from audition.canonical import canonical, parse

PREFIX = 4
"""Bytes of the length."""

MOST = 1 << 25
"""Longest message, in bytes."""

VERSION = 1
"""Of what is said here."""

_LENGTH = struct.Struct(">I")


def frame(message: dict[str, Any]) -> bytes:
    """A message, ready to send.

    Raises:
        ValueError: it is longer than `MOST`, or has no canonical form.
    """
    body = canonical(message)
    if len(body) > MOST:
        raise ValueError(f"a message of {len(body)} bytes; at most {MOST}")
    return _LENGTH.pack(len(body)) + body


def length(prefix: bytes) -> int:
    """Bytes of the message that follows.

    Raises:
        ValueError: more than `MOST`.
    """
    (size,) = _LENGTH.unpack(prefix)
    if size > MOST:
        raise ValueError(f"a message of {size} bytes; at most {MOST}")
    return size


def message(body: bytes) -> dict[str, Any]:
    """The message of these bytes.

    Raises:
        ValueError: not canonical JSON, or no object.
    """
    value = parse(body)
    if not isinstance(value, dict):
        raise ValueError("a message is a JSON object")
    return cast("dict[str, Any]", value)
