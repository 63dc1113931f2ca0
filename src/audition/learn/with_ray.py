"""The runs of an update, carried by the workers of a Ray cluster in place of this process.

A task takes a share of an update's runs, in a worker process that has opened the project, the
ledger and the update's weights for itself and keeps them for the next share. It returns names and
nothing else: the ledger is the truth, and what a worker that died had begun is taken up from there
by the next one.

Nothing is reported to Ray's makers. Without an address, Ray begins on this machine alone and
listens on loopback.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from audition.failing import told
from audition.learn.alternating import Carrying, Due, MakeProject, carried
from audition.learn.lessons import LessonError
from audition.ledger import SqlLedger
from audition.plain import shown
from audition.step import RunId

if TYPE_CHECKING:
    from audition.learn.language import LanguageLearner
    from audition.project import Project

HERE = "local"
"""The address of a Ray that begins and ends with the training, on this machine."""

TRIES = 4
"""Worker processes that may die under one share before the training gives up."""


class Opening(Hashable, Protocol):
    """How a worker process comes by what it carries; equal ones open the same."""

    def __call__(self) -> tuple[LanguageLearner, MakeProject, SqlLedger]:
        """The model with the weights that training begins from, its project, and the ledger."""
        ...


@asynccontextmanager
async def workers(
    opening: Opening, *, address: str = HERE, at_once: int = 8, gpus: float = 0
) -> AsyncIterator[Carrying]:
    """Runs are carried by a Ray cluster as long as this is open.

    Args:
        opening: for each worker process; sent to it, so made of what it can import.
        address: of the cluster (`HOST:PORT`, or `auto`), or `local`.
        at_once: the most runs that one task carries at the same time.
        gpus: what one task holds of the machine's accelerators.

    Yields:
        What `alternate` takes as `carrying`.

    Raises:
        LessonError: Ray is not installed, or does not answer at the address.
    """
    ray = _begun(address)
    try:
        task = ray.remote(_share).options(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)

        async def carrying(due: Due) -> None:
            have = ray.cluster_resources()
            room = int(have.get("GPU", 0) / gpus) if gpus else int(have.get("CPU", 1))
            shares = _shares(due.runs, max(room, 1), at_once)
            tasks = [task.remote(opening, due, share) for share in shares]
            try:
                await asyncio.gather(*tasks)
            except ray.exceptions.WorkerCrashedError:
                raise LessonError(
                    f"ray: {TRIES} workers died under the same runs (of memory, perhaps: see "
                    "Ray's logs); nothing is lost, the same call goes on"
                ) from None
            except ray.exceptions.RayTaskError as error:
                raise LessonError(f"ray: a worker: {shown(str(error.cause), 300)}") from None
            finally:
                for one in tasks:
                    ray.cancel(one, force=True)

        yield carrying
    finally:
        ray.shutdown()


def _begun(address: str) -> Any:
    """Ray, connected to a cluster or to one of its own."""
    if importlib.util.find_spec("ray") is None:
        raise LessonError("Ray is not installed: pip install 'audition[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == HERE:  # by its rules for other systems, Ray is one machine's and on loopback
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    given: dict[str, Any] = {"include_dashboard": False} if address == HERE else {}
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **given)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LessonError(f"ray: no cluster at {shown(address, 100)}: {told(error)}") from None
    if address == HERE and not ip_address(ray.util.get_node_ip_address()).is_loopback:
        ray.shutdown()
        raise LessonError(
            "ray: it would listen beyond loopback, being imported too early; import "
            "audition.learn.with_ray before ray, or name a cluster's address"
        )
    return ray


def _shares(runs: tuple[RunId, ...], room: int, at_once: int) -> list[tuple[RunId, ...]]:
    """Runs dealt out to as many tasks as have room, or more of at most `at_once` each."""
    count = min(len(runs), max(room, -(-len(runs) // at_once)))
    return [runs[number::count] for number in range(count)]


def _share(opening: Opening, due: Due, runs: tuple[RunId, ...]) -> tuple[RunId, ...]:
    """What a task does, in a worker process."""
    project, ledger = _WORKER.opened(opening, due)
    anyio.run(carried, project, ledger, runs, len(runs))
    return runs


@dataclass
class _Worker:
    """What this process holds from one share to the next, if it is a worker."""

    standing: tuple[Opening, str, str] | None = None
    project: Project | None = None
    ledger: SqlLedger | None = None

    def opened(self, opening: Opening, due: Due) -> tuple[Project, SqlLedger]:
        """The project as the weights of an update pursue it.

        Raises:
            LessonError: the checkpoint, or the model's folder, is not the one that is meant.
        """
        standing = opening, due.name, due.weights
        if self.project is None or self.ledger is None or standing != self.standing:
            self._let_go()
            learner, make, self.ledger = opening()
            if due.checkpoint is not None:
                learner.stand_at(due.checkpoint, due.weights)
            elif learner.given.digest != due.weights:
                raise LessonError(
                    f"{learner.name}: its weights are {learner.given.digest[:12]}…, and training "
                    f"began from {due.weights[:12]}…; every machine needs the same folder"
                )
            if self.ledger.origin != due.ledger:
                raise LessonError(
                    f"the ledger here is {self.ledger.origin}, and not {due.ledger}; a file is of "
                    "one machine, and workers on several need PostgreSQL"
                )
            self.project, self.standing = make(learner.given, due.name), standing
        return self.project, self.ledger

    def _let_go(self) -> None:
        """Before another takes its place: two models may be more than the machine holds."""
        self.standing = self.project = None
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None


_WORKER = _Worker()
