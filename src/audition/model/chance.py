"""Where the chance of sampling comes from: a seed that the run, its step and the candidate give.

Whoever takes a run up samples what would have been sampled, and no two candidates are sampled
alike. Who thinks is handed none of it: the seed is a keyed hash, and the call is the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

_seed: ContextVar[bytes | None] = ContextVar("audition.chance", default=None)


@contextlib.contextmanager
def seeded(seed: bytes) -> Iterator[None]:
    """Within this, whoever samples does so by this seed."""
    token = _seed.set(seed)
    try:
        yield
    finally:
        _seed.reset(token)


def seed_for(what: bytes) -> int:
    """A number of 128 bits from the seed and from what is to be sampled for; without a seed, from
    the machine's chance."""
    seed = _seed.get()
    if seed is None:
        return int.from_bytes(os.urandom(16), "big")
    return int.from_bytes(hashlib.sha256(seed + hashlib.sha256(what).digest()).digest()[:16], "big")


def told_apart() -> bytes:
    """What tells the thoughts of this process apart; empty outside of one."""
    return _seed.get() or b""
