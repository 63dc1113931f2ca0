"""A ledger and its witness: what whoever holds the signing key can no longer do unseen."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

import handmade
from audition.console.app import app
from audition.ledger import (
    Checkpoint,
    LedgerError,
    NoteError,
    PrivateKey,
    SqlLedger,
    export,
    import_,
)
from audition.ledger.cosignature import WitnessKey, cosigners
from audition.ledger.tree import Frontier, leaf_hash
from audition.verify import Verification, Witnesses, verify
from audition.witness import Asked, Away, Refused, Witness, ask, cosigning, latest
from servers.witnessing import WitnessProcess

TRUSTED = [handmade.KEY.public]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[WitnessProcess]:
    with WitnessProcess(tmp_path, handmade.KEY) as one:
        yield one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return handmade.write(tmp_path / "runs.db", handmade.live_run())


def cosign(path: str | Path, witness: Witness) -> int | None:
    with SqlLedger.open(path, create=False) as ledger:
        return anyio.run(witness.cosign, ledger)


def cosigned(path: str | Path, witness: WitnessProcess) -> int | None:
    return cosign(path, Witness(witness.url, witness.key))


def judged(
    path: str | Path, *witnesses: WitnessProcess, ask: bool = True, **given: Any
) -> Verification:
    keys = tuple(one.key for one in witnesses)
    asked = tuple(
        (one.url, lambda origin, one=one: latest(one.url, origin)) for one in witnesses if ask
    )
    given = {"quorum": len(keys), "asked": asked} | given
    return verify(path, TRUSTED, witnesses=Witnesses(keys, **given))


def cut(path: Path, size: int, key: PrivateKey = handmade.KEY) -> None:
    """Drop the events from there on, and sign what is left: all that the operator can do."""
    database = sqlite3.connect(path)
    database.execute('DELETE FROM events WHERE "index" >= ?', (size,))
    database.execute("DELETE FROM checkpoints WHERE size >= ?", (size,))
    tree = Frontier()
    for (data,) in database.execute('SELECT data FROM events ORDER BY "index"'):
        tree.append(leaf_hash(data))
    database.execute("UPDATE ledger SET size = ?, peaks = ?", (tree.size, b"".join(tree.peaks)))
    origin = database.execute("SELECT origin FROM ledger").fetchone()[0]
    note = Checkpoint(origin, tree.size, tree.root()).signed(key)
    database.execute("INSERT INTO checkpoints VALUES (?, ?)", (tree.size, note))
    database.execute("DELETE FROM runs WHERE id NOT IN (SELECT run FROM events)")
    database.commit()
    database.close()


def test_a_ledger_that_grows_is_co_signed_again_and_again(
    where: str, running: WitnessProcess
) -> None:
    path = handmade.write(where, handmade.live_run())
    witness = Witness(running.url, running.key)
    first = cosign(path, witness)
    assert first == judged(path, running).events
    assert cosign(path, witness) is None  # nothing is new
    handmade.write(path, handmade.recorded_run())
    before = judged(path, running)
    assert before.ok and before.cosigned == first
    beyond = before.events - before.cosigned
    assert f"{beyond} events beyond the last checkpoint that 1 co-signed" in before.not_checked
    assert cosign(path, witness) == before.events
    after = judged(path, running)
    assert after.ok and after.cosigned == after.events and after.not_checked == ()
    assert cosigned(path, running) is None  # as the ledger itself says
    assert verify(path, TRUSTED).ok  # a reader who knows no witness


def test_a_ledger_without_the_co_signature_asked_for_does_not_verify(
    path: Path, running: WitnessProcess
) -> None:
    found = judged(path, running, ask=False)
    assert not found.ok and "no checkpoint is co-signed" in str(found.first_bad)


def test_so_many_of_the_witnesses_must_have_co_signed(path: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(2)]
    for folder in folders:
        folder.mkdir()
    with (
        WitnessProcess(folders[0], handmade.KEY) as one,
        WitnessProcess(folders[1], handmade.KEY) as two,
    ):
        cosigned(path, one)
        assert judged(path, one, two, ask=False, quorum=1).ok
        assert not judged(path, one, two, ask=False).ok
        cosigned(path, two)
        assert judged(path, one, two).ok
    for quorum in (0, 3):
        with pytest.raises(NoteError, match=f"by {quorum} of 2"):
            Witnesses((one.key, two.key), quorum)


def test_a_ledger_truncated_and_signed_anew_by_its_own_key_is_found(
    path: Path, running: WitnessProcess, tmp_path: Path
) -> None:
    size = cosigned(path, running)
    assert size is not None
    cut(path, size - 3)
    assert verify(path, TRUSTED).ok  # whoever holds the key can do that
    assert not judged(path, running, ask=False).ok  # the co-signature went with the events
    found = judged(path, running)
    assert not found.ok
    assert any(f"shows {size} events" in str(one) for one in found.findings)
    kept = tmp_path / "kept.txt"
    kept.write_text(latest(running.url, found.origin))
    assert not judged(path, running, ask=False, kept=(("kept", kept.read_text()),)).ok
    with pytest.raises(Refused, match="truncated"):
        cosigned(path, running)


def test_a_ledger_that_forks_is_refused_and_found(path: Path, running: WitnessProcess) -> None:
    handmade.write(path, handmade.recorded_run())
    size = cosigned(path, running)
    assert size is not None
    cut(path, size - 3)
    handmade.write(path, handmade.recorded_run("ee" * 16))
    with pytest.raises(Refused, match="422"):
        cosigned(path, running)
    found = judged(path, running)
    assert not found.ok and found.cosigned == 0
    assert verify(path, TRUSTED).ok


def test_a_witness_whose_memory_was_set_back_is_noticed(
    path: Path, running: WitnessProcess, tmp_path: Path
) -> None:
    first = cosigned(path, running)
    running.end()
    shutil.copy(running.memory, tmp_path / "older.db")
    with WitnessProcess(tmp_path, handmade.KEY, new=False) as honest:
        handmade.write(path, handmade.recorded_run())
        second = cosigned(path, honest)
        honest.end()
    shutil.copy(tmp_path / "older.db", running.memory)
    with WitnessProcess(tmp_path, handmade.KEY, new=False) as forgets:
        found = judged(path, forgets)
        assert not found.ok and "memory was set back" in str(found.findings[-1])
        handmade.write(path, handmade.live_run("cc" * 16))
        with pytest.raises(Refused, match=f"co-signed {second} events and now knows {first}"):
            cosigned(path, forgets)


def test_what_a_witness_answers_must_be_its_own_co_signature(
    path: Path, running: WitnessProcess
) -> None:
    stranger = WitnessKey(running.key.name, bytes(32))
    with pytest.raises(Refused, match="no co-signature by its key"):
        cosign(path, Witness(running.url, stranger))
    with SqlLedger.open(path, create=False) as ledger:
        assert cosigners(ledger.checkpoint() or "", [running.key]) == {}


def test_a_forged_co_signature_in_the_ledger_is_found(path: Path, running: WitnessProcess) -> None:
    cosigned(path, running)
    cut(path, 20)
    with SqlLedger.open(path, create=False) as ledger:
        line = latest(running.url, ledger.origin).splitlines(keepends=True)[-1]
        ledger.countersign(20, line)
    found = judged(path, running)
    assert not found.ok and "does not verify" in str(found.findings)


def test_a_witness_that_was_killed_before_its_answer_came_is_asked_again(
    path: Path, tmp_path: Path
) -> None:
    from test_witness import AFTER, KILLED

    with WitnessProcess(tmp_path, handmade.KEY, patch=KILLED.format(where=AFTER)) as one:
        with pytest.raises(Away):
            cosigned(path, one)
        one.process.wait()
    with WitnessProcess(tmp_path, handmade.KEY, new=False) as again:
        assert cosigned(path, again) is not None
        assert judged(path, again).ok


def test_co_signatures_travel_with_an_export(
    path: Path, running: WitnessProcess, tmp_path: Path
) -> None:
    cosigned(path, running)
    export(path, tmp_path / "runs.jsonl")
    import_(tmp_path / "runs.jsonl", tmp_path / "again.db")
    assert judged(tmp_path / "again.db", running).ok


def test_a_witness_that_is_away_stops_nothing_and_is_counted(path: Path) -> None:
    told: list[str] = []
    nowhere = "http://127.0.0.1:1"

    async def work() -> Asked:
        with SqlLedger.open(path, create=False, signer=handmade.KEY) as ledger:
            witness = Witness(nowhere, WitnessKey("w", bytes(32)))
            async with cosigning(ledger, witness, every=0.001, told=told.append) as asked:
                while asked.away < 3:
                    await anyio.lowlevel.checkpoint()
            return asked

    asked = anyio.run(work)
    assert asked.away >= 4 and asked.cosigned == 0
    assert len(told) == 1 and nowhere in told[0]


def test_a_run_beside_is_co_signed_to_its_last_event(where: str, running: WitnessProcess) -> None:
    """What was staged while the witness was asked is co-signed when the runs are through."""

    async def work() -> Asked:
        with SqlLedger.open(where, signer=handmade.KEY) as ledger:
            witness = Witness(running.url, running.key)
            async with cosigning(ledger, witness, every=0.001) as asked:
                for number in range(4):
                    pen = handmade.live_run(f"{number:032x}")
                    await anyio.to_thread.run_sync(lambda pen=pen: handmade.write(where, pen))
            return asked

    asked = anyio.run(work)
    found = judged(where, running)
    assert found.ok and asked.size == found.cosigned == found.events > 0


def test_a_ledger_that_cannot_be_read_is_counted_too(path: Path) -> None:
    asked = Asked()

    class Broken:
        def checkpoint(self, line: str = "") -> str:
            raise LedgerError("away")

    witness = Witness("http://127.0.0.1:1", WitnessKey("w", bytes(32)))
    anyio.run(ask, Broken(), witness, asked, print)
    assert (asked.refused, asked.says) == (1, "away")


def test_an_unsigned_ledger_has_nothing_to_co_sign(tmp_path: Path, running: WitnessProcess) -> None:
    SqlLedger.open(tmp_path / "unsigned.db").close()
    with pytest.raises(Refused, match="not signed"):
        cosigned(tmp_path / "unsigned.db", running)


def test_the_commands_say_what_was_co_signed(
    path: Path, running: WitnessProcess, tmp_path: Path
) -> None:
    (tmp_path / "witness.pub").write_text(f"{running.key}\n")
    (tmp_path / "ledger.pub").write_text(str(handmade.KEY.public))
    key = str(tmp_path / "witness.pub")
    runner = CliRunner(env={"AUDITION_HOME": str(tmp_path / "home")})
    words = ["cosign", str(path), "--witness", running.url, "--key", key]
    done = runner.invoke(app, words)
    assert done.exit_code == 0 and "co-signed: " in done.stdout
    assert "nothing is new" in runner.invoke(app, words).stdout
    check = ["verify", str(path), "--key", str(tmp_path / "ledger.pub"), "--witness", key]
    done = runner.invoke(app, [*check, "--witness-checkpoint", running.url])
    assert done.exit_code == 0 and "co-signed by the witnesses asked for" in done.stdout
    cut(path, 20)
    assert runner.invoke(app, [*check, "--witness-checkpoint", running.url]).exit_code == 1
