"""A box tried on purpose: every attempt to get out, and how it went."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import socket
from collections.abc import Iterator
from typing import Literal

from audition.box import attempts
from audition.box.config import BoxConfig, BoxRefused, BoxUnavailable
from audition.box.opening import open_box
from audition.box.report import Held, uncovered, uncovered_by_container
from audition.step import Frozen

_KEYCTL = {"x86_64": 250, "aarch64": 219}


class Tried(Frozen):
    """One way out that was tried."""

    name: str
    """Its name."""
    about: str
    """What it would reach."""
    outcome: Literal["blocked", "open", "not testable"]
    """How it went."""
    why: str = ""
    """What it reached, or why it proves nothing here."""


class Trial(Frozen):
    """All that was tried of a box, and what was not."""

    ways: tuple[Tried, ...]
    """Each way out."""
    limits: tuple[Held, ...] = ()
    """What binds a box here; empty where none opens."""
    uncovered: tuple[str, ...]
    """What this layer does not cover at all."""


async def try_ways_out(config: BoxConfig | None = None) -> Trial:
    """Open a box and say how each attempt to get out of it went.

    Raises:
        BoxError: A folder that the configuration names does not go in.
    """
    reason = "a container has processes of its own in it, and shares the user namespace"
    limits: tuple[Held, ...] = ()
    foreign = config is not None and config.sandbox is not None
    layer = uncovered_by_container() if foreign else uncovered()
    tried: dict[str, str | None] = {}
    try:
        async with open_box(config) as box:
            report = box.report()
        tried, limits, layer = dict.fromkeys(report.probes), report.limits, report.uncovered
    except BoxRefused as error:
        tried, reason = error.tried, reason if error.tried else str(error)
    except BoxUnavailable as error:
        reason = str(error)
    missing = dict(_missing())
    ways = tuple(
        _told(attempt, tried, missing.get(attempt.__name__, reason), attempt.__name__ in missing)
        for attempt in attempts.ATTEMPTS
    )
    return Trial(ways=ways, limits=limits, uncovered=layer)


def _told(
    attempt: attempts.Attempt, tried: dict[str, str | None], reason: str, missing: bool
) -> Tried:
    name, about = attempt.__name__, (attempt.__doc__ or "").strip()
    got = tried.get(name)
    if got is not None:
        return Tried(name=name, about=about, outcome="open", why=got)
    if missing or name not in tried:
        return Tried(name=name, about=about, outcome="not testable", why=reason)
    return Tried(name=name, about=about, outcome="blocked")


def _missing() -> Iterator[tuple[str, str]]:
    """What this machine lacks, so that an attempt at it would fail without a box too."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as any_socket:
            any_socket.bind(("::1", 0))
    except OSError:
        yield "tcp6", "this machine has no IPv6"
    try:
        socket.socket(getattr(socket, "AF_VSOCK", -1), socket.SOCK_STREAM).close()
    except OSError:
        yield "vsock", "this machine has no vsock"
    call = _KEYCTL.get(platform.machine())
    with contextlib.suppress(TypeError, OSError, AttributeError):  # no such library elsewhere
        if call is None or ctypes.CDLL(None).syscall(call, 0, -3, 0) < 0:
            yield "keyring", "this caller has no keyring either"
