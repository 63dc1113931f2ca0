"""Looking for cycles seldom, while very many events are turned into values and let go again.

Events make no cycles; to look for some takes a good part of the time in which they are read.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

SELDOM = 100_000
"""Values that are made between two looks."""


def seldom() -> None:
    """From now on, in a process of which this is the whole purpose."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(SELDOM)


@contextmanager
def seldom_here() -> Generator[None]:
    """As long as this lasts; what the process itself keeps frozen stays so."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    if frozen:
        gc.set_threshold(SELDOM)
    else:
        seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:
            gc.unfreeze()
