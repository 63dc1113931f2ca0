"""Fixtures that several rooms share."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import handmade
import rehearsal
from audition.ledger import PrivateKey, SqlLedger
from audition.verify import verify
from servers.postgres import Server, programs, serving

settings.register_profile(
    "any machine",  # slow or busy as it may be, an example takes the time that it takes
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_DATASETS_OFFLINE"):
    os.environ[name] = "1"  # read when huggingface_hub is imported: no test asks a hub for anything


def pytest_collection_finish(session: pytest.Session) -> None:
    """Whatever is imported by now stays: no look for cycles is to go through all of it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, started when the first test needs it."""
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed here")
    with serving() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a ledger may be begun, on each kind of database."""
    if request.param == "sqlite":
        yield str(tmp_path / "l.db")
        return
    server: Server = request.getfixturevalue("postgres")
    name = server.fresh()
    yield server.address(name)
    server.give_back(name)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    """A signed ledger with a live run and a reviewed record, which verifies."""
    return handmade.write(tmp_path / "runs.db", handmade.live_run(), handmade.recorded_run())


@pytest.fixture
def ledger(unverified: SqlLedger, tmp_path: Path) -> Iterator[SqlLedger]:
    """An empty signed ledger for live runs; whatever a test leaves in it must verify."""
    yield unverified
    findings = verify(tmp_path / "ledger.db").findings
    assert [str(finding) for finding in findings] == []


@pytest.fixture
def unverified(tmp_path: Path) -> Iterator[SqlLedger]:
    """The same for a test that forges or cuts, on a machine that can hold a box."""
    if why := _no_box():
        pytest.skip(why)
    with SqlLedger.open(tmp_path / "ledger.db", signer=PrivateKey.generate("test")) as opened:
        yield opened


_no_box = functools.cache(rehearsal.no_box)
