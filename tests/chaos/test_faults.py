"""Every fault, on every database: nothing lost, nothing twice, what is in doubt is surfaced."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fault import Fault
from kills import KILLS
from network import NETWORK
from performers import PERFORMERS
from processes import PROCESSES
from storage import STORAGE
from table import table
from workers import WORKERS
from world import World, starter

from rehearsal import no_box

FAULTS = (*KILLS, *PROCESSES, *STORAGE, *PERFORMERS, *WORKERS, *NETWORK)
CASES = [
    pytest.param(
        fault,
        database,
        id=f"{fault.name} [{database}]",
        marks=() if fault.quick else pytest.mark.full,
    )
    for fault in FAULTS
    for database in fault.databases
]


@pytest.fixture(scope="session")
def starts() -> ForkServerContext:
    if why := no_box():
        pytest.skip(why)
    return starter()


@pytest.fixture
def world(
    request: pytest.FixtureRequest, tmp_path: Path, starts: ForkServerContext, database: str
) -> Iterator[World]:
    world = World(tmp_path, str(tmp_path / "ledger.db"), starts)
    if database == "postgresql":
        world.server = request.getfixturevalue("postgres")
        world.name = world.server.fresh()
        world.where = world.whole = world.server.address(world.name)
    yield world
    for process in world.processes:
        process.end()
    for command in world.commands:
        command.kill()
    if world.server is not None:
        world.server.tell(f"DROP DATABASE {world.name} WITH (FORCE)")
    world.ends.close()


@pytest.mark.parametrize(("fault", "database"), CASES)
def test_nothing_is_lost_and_nothing_done_twice(world: World, fault: Fault) -> None:
    fault.play(world)
    if fault.judged:
        world.judged()


def test_the_page_lists_every_fault_and_its_defences() -> None:
    page = Path(__file__).parents[2] / "docs" / "durability.md"
    assert page.read_text().endswith("\n".join(table(FAULTS)) + "\n")
