"""One measured system in a process of its own: tasks in, figures out, one line of JSON each."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

Figures = dict[str, Any]
Task = Mapping[str, Any]


@contextmanager
def clocked() -> Generator[Figures]:
    """What the block took: seconds, processor time, and when by the clock of the day."""
    figures: Figures = {"from": time.time()}
    cpu, begun = _cpu(), time.perf_counter()
    yield figures
    figures |= {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": _cpu() - cpu,
        "to": time.time(),
    }


def serve(versions: Mapping[str, str], does: Mapping[str, Callable[[Task], Figures]]) -> None:
    """Say which versions stand here, then do what each line asks until there is none.

    Whatever is printed meanwhile goes to standard error, so that the answers stand alone.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(dict(versions)), file=answers, flush=True)
    for line in sys.stdin:
        task: Task = json.loads(line)
        does_it = syncs if task["what"] == "sync" else does[task["what"]]
        print(json.dumps(does_it(task)), file=answers, flush=True)


def syncs(task: Task) -> Figures:
    """What it costs this process to make 4 KiB durable, at the median of 15 times."""
    taken: list[float] = []
    file = os.open(task["path"], os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(15):
            os.write(file, bytes(4096))
            begun = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(file)
    return {"count": 15, "seconds": sum(taken), "sync_ms": 1000 * statistics.median(taken)}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
