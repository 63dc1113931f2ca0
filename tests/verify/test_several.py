"""Several processes say of a ledger exactly what one says, wherever the work is cut."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_forgery import EDITS, Forge, forge, recompute
from test_sign_offs import examined as signed_off
from test_sign_offs import revoked_before_it_was_used, revoked_here_alone

import handmade
from audition.canonical import digest_value
from audition.ledger.events import RunOpened
from audition.ledger.evidence import Evidence
from audition.verify import Verification, several, verification, verify
from signed import ORIGIN, Desk, signed_run

TRUSTED = [handmade.KEY.public]
JOBS = 3


def threads(jobs: int) -> Executor:
    """Workers that cost nothing to start."""
    return ThreadPoolExecutor(jobs)


@pytest.fixture(autouse=True)
def cut_small() -> Iterator[None]:
    """Pages of a few events, so that every part is cut many times, and no ledger is too short."""
    with (
        mock.patch.object(verification, "EACH", 1),
        mock.patch("audition.ledger.evidence.PAGE", 5),
        mock.patch.object(several, "processes", threads),
    ):
        yield


@pytest.fixture
def nobody_alone() -> Iterator[None]:
    """Nothing is verified by one alone."""
    with mock.patch.object(verification, "_alone", side_effect=AssertionError("alone")):
        yield


def many(path: Path, *more: handmade.Scribe) -> Path:
    """A ledger of several runs, most of them open at the same time."""
    runs = (
        handmade.live_run(),
        handmade.recorded_run(),
        handmade.planted_run(),
        handmade.compared_run(),
        handmade.failed_run(),
        handmade.saved_run(),
        *more,
    )
    return handmade.write(path, *runs, group=4)


def said(path: Path, jobs: int, **more: Any) -> dict[str, Any]:
    found = verify(path, TRUSTED, jobs=jobs, **more).model_dump(exclude={"seconds"})
    return found | {"findings": sorted(map(str, found["findings"]))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("whole") / "runs.db")


@pytest.mark.usefixtures("nobody_alone")
def test_what_is_sound_is_verified_by_several(whole: Path) -> None:
    assert verify(whole, TRUSTED, jobs=JOBS).ok


def test_several_count_what_one_counts(whole: Path) -> None:
    assert said(whole, JOBS) == said(whole, 1)


def test_real_processes_count_what_one_counts(whole: Path) -> None:
    alone = said(whole, 1)
    with (
        mock.patch.object(several, "processes", PROCESSES),
        mock.patch.object(verification, "_alone", side_effect=AssertionError("alone")),
    ):
        assert said(whole, 2) == alone


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("hidden", [False, True], ids=["as it is", "hashes recomputed"])
def test_several_find_what_one_finds(ledger_path: Path, edit: Forge, hidden: bool) -> None:
    forge(ledger_path, edit)
    if hidden:
        recompute(ledger_path, key=handmade.KEY)
    found = verify(ledger_path, TRUSTED, jobs=JOBS)
    assert _same(found, verify(ledger_path, TRUSTED))
    assert hidden or not found.ok


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_cut_hides_an_alteration(whole: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = _copy(whole, Path(folder))
        for _ in range(data.draw(st.integers(1, 2))):
            forge(path, data.draw(st.sampled_from(ALTERATIONS))(data))
        if data.draw(st.booleans()):
            recompute(path, key=handmade.KEY)
        jobs = data.draw(st.integers(2, 4))
        assert _same(verify(path, TRUSTED, jobs=jobs), verify(path, TRUSTED))


def test_a_ticket_redeemed_in_another_run_too_is_found_by_several(tmp_path: Path) -> None:
    """Nobody can tell the ticket of an act that was redacted: each run is sound by itself."""
    pens = [handmade.live_run(run) for run in ("0" * 31 + "1", "0" * 31 + "2")]
    start = handmade.first(pens[0].events, "act.started")
    ticket: Any = pens[0].events[start][1]
    for where in (start - 1, start, start + 1):
        at, body = pens[1].events[where]
        pens[1].events[where] = at, body.model_copy(update={"ticket": ticket.ticket})
    path = handmade.write(tmp_path / "runs.db", *pens)
    issued: Any = pens[0].events[start - 1][1]
    handmade.redact(path, issued.proposal, pens[0].run, len(pens[0].events))
    found = verify(path, TRUSTED, jobs=JOBS)
    assert [one.says.partition("… ")[2] for one in found.findings] == [
        "is redeemed a second time; followed no further"
    ]
    assert _same(found, verify(path, TRUSTED))


def test_content_redacted_by_an_event_of_another_run_is_no_finding(tmp_path: Path) -> None:
    pens = [handmade.live_run(run) for run in ("0" * 31 + "1", "0" * 31 + "2")]
    path = handmade.write(tmp_path / "runs.db", *pens)
    goal = pens[0].goal
    handmade.redact(path, goal, pens[1].run, len(pens[1].events))
    assert verify(path, TRUSTED).ok
    with mock.patch.object(verification, "_alone", side_effect=AssertionError("alone")):
        assert verify(path, TRUSTED, jobs=JOBS).redacted == 1


@pytest.mark.parametrize("how", ["UPDATE contents SET data = NULL", "DELETE FROM contents"])
def test_content_that_is_gone_unsaid_is_found_by_several(
    whole: Path, tmp_path: Path, how: str
) -> None:
    path = _copy(whole, tmp_path)
    forge(path, lambda db: db.execute(f"{how} WHERE rowid = 3"))
    found = verify(path, TRUSTED, jobs=JOBS)
    assert not found.ok and _same(found, verify(path, TRUSTED))


def test_content_exchanged_after_it_was_hashed_is_found(whole: Path, tmp_path: Path) -> None:
    """Each process reads for itself what it rests on, and takes nobody's word for it."""
    path = _copy(whole, tmp_path)
    with Evidence(path) as evidence:
        part = several._parts(evidence, 1)  # pyright: ignore[reportPrivateUsage]
        assert part is not None
        other = """UPDATE contents SET data = CAST(replace(data, '"output":"42"', '"output":"43"')
            AS BLOB) WHERE instr(data, '"output":"42"')"""
        forge(path, lambda db: db.execute(other))
        shares = [several.examined(path, evidence.origin, (), one) for one in part]
    assert not all(share.leaves for share in shares)


@pytest.mark.parametrize("nth", [0, 7, -1])
def test_an_event_that_no_part_holds_is_missed(whole: Path, nth: int) -> None:
    """An event lost where the work is cut cannot go by: the tree has it."""
    pages = Evidence.pages

    def lossy(self: Evidence, part: Any = None) -> Iterator[Any]:
        found = [row for page in pages(self, part) for row in page]
        if part is not None and part.first == 2:
            del found[nth]
        yield found

    with (
        mock.patch.object(Evidence, "pages", lossy),
        mock.patch.object(verification, "_alone", side_effect=InterruptedError),
        pytest.raises(InterruptedError),
    ):
        verify(whole, TRUSTED, jobs=JOBS)


@pytest.mark.parametrize("forged", [None, revoked_before_it_was_used, revoked_here_alone])
def test_the_register_is_read_by_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: Any
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda length: ORIGIN.removeprefix("audition/"))
    desk = signed_run()
    if forged is not None:
        desk = Desk()
        desk.begin()
        forged(desk)
    alone = signed_off(tmp_path / "runs.db", desk)
    assert alone.ok is (forged is None)
    assert _same(verify(tmp_path / "runs.db", TRUSTED, jobs=JOBS), alone)
    if alone.ok:
        with mock.patch.object(verification, "_alone", side_effect=AssertionError("alone")):
            assert _same(verify(tmp_path / "runs.db", TRUSTED, jobs=JOBS), alone)


def test_a_run_that_trains_is_for_one_process(tmp_path: Path) -> None:
    import bandit
    import forge as training

    pen = training.trained(bandit.plan(seeds=(0,)))
    path = training.write(tmp_path / "l.db", pen)
    found = verify(path, TRUSTED, jobs=JOBS)
    assert found.ok and found.batches and _same(found, verify(path, TRUSTED))


def test_a_rule_committed_to_after_a_sibling_is_found_by_several(tmp_path: Path) -> None:
    """Runs of one plan stand against each other; apart, each of these is sound."""
    import bandit
    import forge as training

    sibling = training.trained(bandit.plan(seeds=(0,)))
    opened = sibling.body("run.opened")
    late = training.Memory(training.run(2))
    late.log(
        RunOpened(
            mode="simulated",
            project=opened.project,
            goal=opened.training.plan,
            thinker="lottery",
            auditors=(),
            gate={},
            restrictions=digest_value([]),
            secret=opened.secret,
        )
    )
    path = training.write(tmp_path / "l.db", sibling, late)
    found = verify(path, TRUSTED, jobs=JOBS)
    says = "a rule of selection is committed to after the first sibling has begun"
    assert [one.says for one in found.findings] == [says]
    assert _same(found, verify(path, TRUSTED))


@pytest.mark.parametrize("jobs", [None, JOBS])
def test_a_short_ledger_is_for_one_process_however_many_were_asked_for(
    whole: Path, jobs: int | None
) -> None:
    with (
        mock.patch.object(verification, "EACH", 1_000),
        mock.patch.object(verification, "_together", side_effect=AssertionError("together")),
    ):
        assert verify(whole, TRUSTED, jobs=jobs).ok


def test_this_process_takes_parts_that_no_other_has_begun(whole: Path) -> None:
    """With nobody beside it, all of them."""

    class Nobody(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Any:
            return Future[Any]()

    with (
        mock.patch.object(several, "processes", Nobody),
        mock.patch.object(verification, "_alone", side_effect=AssertionError("alone")),
    ):
        assert verify(whole, TRUSTED, jobs=JOBS).ok


def _byte(data: st.DataObject) -> Forge:
    """Another byte somewhere in an event."""
    at, byte = data.draw(st.integers(0, 10_000)), data.draw(st.integers(32, 126))

    def work(database: sqlite3.Connection) -> None:
        index, event = _some(data, database)
        where = at % len(event)
        changed = event[:where] + bytes([byte]) + event[where + 1 :]
        database.execute('UPDATE events SET data = ? WHERE "index" = ?', (changed, index))

    return work


def _lost(data: st.DataObject) -> Forge:
    """An event that is not there."""
    return lambda database: database.execute(
        'DELETE FROM events WHERE "index" = ?', (_some(data, database)[0],)
    )


def _moved(data: st.DataObject) -> Forge:
    """An event filed under another run."""
    run = data.draw(st.integers(0, 6))
    return lambda database: database.execute(
        'UPDATE OR IGNORE events SET run = ? WHERE "index" = ?', (run, _some(data, database)[0])
    )


def _exchanged(data: st.DataObject) -> Forge:
    """Two events, each in the other's row."""

    def work(database: sqlite3.Connection) -> None:
        (one, first), (other, second) = _some(data, database), _some(data, database)
        for index, event in ((one, second), (other, first)):
            database.execute('UPDATE events SET data = ? WHERE "index" = ?', (event, index))

    return work


def _content(data: st.DataObject) -> Forge:
    """Another content under a name."""
    nth = data.draw(st.integers(0, 60))
    return lambda database: database.execute(
        "UPDATE contents SET data = x'7b7d' WHERE rowid = ?", (nth,)
    )


ALTERATIONS = (_byte, _lost, _moved, _exchanged, _content)


def _some(data: st.DataObject, database: sqlite3.Connection) -> tuple[int, bytes]:
    rows = database.execute('SELECT "index", data FROM events ORDER BY "index"').fetchall()
    return rows[data.draw(st.integers(0, len(rows) - 1))]


def _copy(path: Path, folder: Path) -> Path:
    database = sqlite3.connect(path)
    copied = sqlite3.connect(folder / "copy.db")
    database.backup(copied)
    database.close()
    copied.close()
    return folder / "copy.db"


def _same(one: Verification, other: Verification) -> bool:
    return one.model_copy(update={"seconds": 0.0}) == other.model_copy(update={"seconds": 0.0})


PROCESSES = several.processes
"""What starts real processes."""
