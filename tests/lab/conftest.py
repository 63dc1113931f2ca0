"""Small networks on one thread, as the claims have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from audition.lab.training import one_thread


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
