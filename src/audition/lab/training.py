"""What a claim trains in: a ledger, and torch on one thread."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from audition.lab.claim import Config
from audition.ledger import SqlLedger


@contextlib.contextmanager
def training(config: Config) -> Iterator[SqlLedger]:
    """The ledger that is asked for, or one that goes when it is closed; one thread meanwhile."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_thread())
        path = config.ledger
        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "claim.db"
        yield stack.enter_context(SqlLedger.open(path))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: small networks lose by sharing cores, and bits depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
