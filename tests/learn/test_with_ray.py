"""Runs that Ray's workers carry teach what they would have taught had one process carried them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.learn import LessonError
from audition.learn.alternating import Alternated, Due
from audition.learn.with_ray import _shares, _Worker, workers
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import RunResumed
from audition.verify import verify
from chatting import written
from models import _one_thread
from rehearsal import bodies, no_box
from taught import SAYS, Dies, Opens, trained

pytestmark = [
    pytest.mark.usefixtures(_one_thread.__name__),
    pytest.mark.skipif(bool(no_box()), reason="no box can be opened here"),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own modules
]

clustered = pytest.mark.skipif(not find_spec("ray"), reason="the extra `ray` is not installed")


@pytest.fixture(autouse=True, scope="module")
def _workers() -> Any:
    """Workers of one thread each, which find the tests' modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_AUTH_TOKEN", "a" * 64)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
        yield


def begun(folder: Path) -> Path:
    """A folder with a model and a ledger."""
    folder.mkdir()
    written(folder / "m", SAYS)
    SqlLedger.open(folder / "l.db", signer=PrivateKey.generate("test")).close()
    return folder


def here(folder: Path) -> Alternated:
    """The training of one process."""
    with SqlLedger.open(folder / "l.db", create=False) as ledger:
        return anyio.run(lambda: trained(folder, ledger))


@clustered
@pytest.mark.full  # Ray and its workers begin slowly
def test_workers_of_which_one_dies_come_to_the_weights_of_one_process(tmp_path: Path) -> None:
    """To the bit; and Ray listens on loopback."""
    folder, heard, listening = begun(tmp_path / "ray"), list[Due](), set[str]()

    async def elsewhere() -> Alternated:
        with SqlLedger.open(folder / "l.db", create=False) as ledger:
            async with workers(Dies(folder)) as carrying:

                async def watched(due: Due) -> None:
                    heard.append(due)
                    await carrying(due)
                    listening.update(_listening())

                return await trained(folder, ledger, carrying=watched)

    other = anyio.run(elsewhere)
    whole = here(begun(tmp_path / "whole"))
    assert (folder / "died").exists()
    assert [due.checkpoint is None for due in heard] == [True, False]
    assert listening and listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert (other.run, other.weights) == (whole.run, whole.weights)
    assert verify(folder / "l.db").findings == ()
    with SqlLedger.open(folder / "l.db", create=False) as ledger:
        runs = [run for due in heard for run in due.runs]
        assert any(list(bodies(ledger, run, RunResumed)) for run in runs)


def test_a_worker_refuses_other_weights_and_another_ledger(tmp_path: Path) -> None:
    folder, worker = begun(tmp_path / "one"), _Worker()
    learner, _, ledger = Opens(folder)()
    ledger.close()
    due = Due("answers", ("0" * 32,), ledger.origin, learner.given.digest, None)
    project, opened = worker.opened(Opens(folder), due)
    assert worker.opened(Opens(folder), replace(due, runs=())) == (project, opened)
    assert project.thinker.chat.given.digest == due.weights  # type: ignore[attr-defined]
    with pytest.raises(LessonError, match=r"training began from 0{12}"):
        worker.opened(Opens(folder), replace(due, weights="0" * 64))
    with pytest.raises(LessonError, match=f"the ledger here is {ledger.origin}"):
        worker.opened(Opens(folder), replace(due, ledger="another"))
    at = learner.save(folder / "000001")
    after = worker.opened(Opens(folder), replace(due, weights=at, checkpoint=folder / "000001"))
    assert after[0].thinker.chat.given.digest == at  # type: ignore[attr-defined]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_every_run_is_in_one_share(runs: int, room: int, at_once: int) -> None:
    names = tuple(map(str, range(runs)))
    shares = _shares(names, room, at_once)
    assert sorted(one for share in shares for one in share) == sorted(names)
    assert all(1 <= len(share) <= at_once for share in shares)
    assert len(shares) >= min(room, runs)


@clustered
@pytest.mark.full  # Ray tries for a while
def test_an_address_without_a_cluster_is_told_in_one_line(tmp_path: Path) -> None:
    async def nowhere() -> None:
        async with workers(Opens(tmp_path), address="127.0.0.1:1"):
            raise AssertionError("there is no cluster")

    with pytest.raises(LessonError, match=r"ray: no cluster at 127\.0\.0\.1:1"):
        anyio.run(nowhere)


def _listening() -> set[str]:
    """Where this process and all that it began listen."""
    me, found = psutil.Process(), set[str]()
    for one in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):  # it may have ended meanwhile
            each = one.net_connections("inet")
            found |= {conn.laddr.ip for conn in each if conn.status == psutil.CONN_LISTEN}
    return found
