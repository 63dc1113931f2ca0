"""The witness, as a process on loopback: what continues is co-signed, what contradicts is not."""

from __future__ import annotations

import base64
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import handmade
from audition.ledger import Checkpoint, PrivateKey, read_checkpoint
from audition.ledger.cosignature import cosigners
from audition.ledger.tree import consistency_proof, leaf_hash, root_of
from audition.witness import Memory, MemoryLost, TrustedLogs, application
from audition.witness.submission import LARGEST, MOST_HASHES, Submission
from servers.witnessing import WitnessProcess

KEY = handmade.KEY
OTHER = PrivateKey("other.example", bytes([7] * 32))
ORIGIN = "audition/00"
LEAVES = [leaf_hash(bytes([number])) for number in range(64)]
FORKED = [*LEAVES[:10], *(leaf_hash(b"another" + bytes([number])) for number in range(54))]


def sent(
    old: int, new: int, *, leaves: list[bytes] = LEAVES, key: PrivateKey = KEY, origin: str = ORIGIN
) -> bytes:
    """A submission as an honest ledger makes it of these leaves."""
    head = Checkpoint(origin, new, root_of(leaves[:new]))
    proof = consistency_proof(lambda a, b: leaves[a:b], old, new) if 0 < old <= new else []
    return Submission(old, tuple(proof), head.signed(key), head).body()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WitnessProcess]:
    """One process for the tests that each use ledgers of their own."""
    with WitnessProcess(tmp_path_factory.mktemp("witness"), KEY, OTHER) as running:
        yield running


@pytest.fixture
def origin(request: pytest.FixtureRequest) -> str:
    return f"audition/{request.node.name}"


def test_what_continues_is_co_signed_and_told_to_whoever_asks(
    shared: WitnessProcess, origin: str
) -> None:
    for old, new in ((0, 5), (5, 5), (5, 8), (8, 33)):
        body = sent(old, new, origin=origin)
        answer = shared.post(body)
        assert (answer.status_code, answer.text.count("\n")) == (200, 1)
        note = body.decode().partition("\n\n")[2] + answer.text
        assert list(cosigners(note, [shared.key])) == [shared.key]
    latest = shared.latest(origin)
    head, signed = read_checkpoint(latest.text, [KEY.public])
    assert (latest.status_code, head.size, signed) == (200, 33, [KEY.public])
    assert list(cosigners(latest.text, [shared.key])) == [shared.key]
    assert shared.latest("audition/unknown").status_code == 404


def test_whoever_knows_another_size_is_told_the_right_one(
    shared: WitnessProcess, origin: str
) -> None:
    assert shared.post(sent(0, 7, origin=origin)).status_code == 200
    for old, new in ((0, 9), (3, 9), (8, 9), (0, 7)):
        answer = shared.post(sent(old, new, origin=origin))
        assert (answer.status_code, answer.text) == (409, "7\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"


def test_a_fork_is_refused_wherever_it_leaves_the_trunk(
    shared: WitnessProcess, origin: str
) -> None:
    assert shared.post(sent(0, 20, origin=origin)).status_code == 200
    longer = shared.post(sent(20, 30, leaves=FORKED, origin=origin))
    same = shared.post(sent(20, 20, leaves=FORKED, origin=origin))
    assert longer.status_code == 422
    assert (same.status_code, same.text) == (409, "20\n")
    again = sent(0, 5, leaves=FORKED, origin=origin)
    assert shared.post(again.replace(b"old 0", b"old 20")).status_code == 400
    assert read_checkpoint(shared.latest(origin).text, ())[0].root == root_of(LEAVES[:20])


def test_a_proof_that_is_cut_swapped_or_too_long_is_refused(
    shared: WitnessProcess, origin: str
) -> None:
    assert shared.post(sent(0, 6, origin=origin)).status_code == 200
    lines = sent(6, 13, origin=origin).split(b"\n")
    end = lines.index(b"")
    for proof in ([], lines[2:end], [*lines[1:end], lines[1]], lines[end - 1 : 0 : -1]):
        body = b"\n".join([lines[0], *proof, *lines[end:]])
        assert shared.post(body).status_code == 422
    unknown = sent(0, 6, origin=f"{origin}-new").replace(b"old 0\n", b"old 0\n" + lines[1] + b"\n")
    assert shared.post(unknown).status_code == 422


def test_a_checkpoint_that_no_trusted_key_signed_is_refused(
    shared: WitnessProcess, origin: str
) -> None:
    stranger = PrivateKey.generate("stranger")
    impostor = PrivateKey.generate(KEY.public.name)
    body = sent(0, 5, origin=origin)
    name = KEY.public.hash
    for key in (stranger, impostor):
        assert shared.post(sent(0, 5, key=key, origin=origin)).status_code == 403
    forged = base64.b64encode(name + bytes(64)).decode()
    line = f"\u2014 {KEY.public.name} {forged}\n".encode()
    assert shared.post(body.rpartition("\u2014".encode())[0] + line).status_code == 403
    assert shared.latest(origin).status_code == 404


def test_a_ledger_belongs_to_the_key_that_brought_it(shared: WitnessProcess, origin: str) -> None:
    assert shared.post(sent(0, 5, origin=origin)).status_code == 200
    assert shared.post(sent(5, 9, key=OTHER, origin=origin)).status_code == 403
    assert shared.post(sent(5, 9, origin=origin)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"\xff\xfe",
        b"old 5\n" + sent(0, 5)[6:].lstrip(b"\n"),
        sent(0, 5).replace(b"old 0", b"old 00"),
        sent(0, 5).replace(b"old 0", b"old -1"),
        sent(0, 5).replace(b"old 0", "old \u0660".encode()),
        sent(0, 5).replace(b"old 0", b"old " + b"9" * 5000),
        sent(0, 5).replace(b"old 0", b"old 6"),
        sent(0, 5).replace(b"old 0\n", b"old 0\nAAAA\n"),
        sent(0, 5).replace(b"old 0\n", b"old 0\n" + b"A" * 42 + b"B=\n"),
        sent(0, 5).replace(b"old 0\n", b"old 0\n" + (b"A" * 43 + b"=\n") * (MOST_HASHES + 1)),
        sent(0, 5).replace(b"\n5\n", b"\n05\n"),
        sent(0, 5).replace(b"\n", b"\r\n"),
        sent(0, 5)[:-1],
        b"x" * (LARGEST + 1),
    ],
)
def test_what_is_no_submission_is_refused_in_a_line(shared: WitnessProcess, body: bytes) -> None:
    answer = shared.post(body)
    assert answer.status_code == 400
    assert answer.text.count("\n") == 1 and len(answer.text) < 400


def test_of_many_that_come_at_once_one_wins(shared: WitnessProcess, origin: str) -> None:
    assert shared.post(sent(0, 10, origin=origin)).status_code == 200
    bodies = [sent(10, 20 + number, leaves=LEAVES, origin=origin) for number in range(5)]
    bodies += [sent(10, 20 + number, leaves=FORKED, origin=origin) for number in range(5)]
    answers: list[tuple[int, int]] = []

    def post(number: int) -> None:
        answers.append((shared.post(bodies[number]).status_code, number))

    threads = [threading.Thread(target=post, args=[number]) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for status, number in answers if status == 200]
    assert sorted(status for status, _ in answers) == [200] + [409] * 9
    head = read_checkpoint(shared.latest(origin).text, ())[0]
    assert head.root == read_checkpoint(bodies[winner].decode().partition("\n\n")[2], ())[0].root


def test_a_file_of_logs_says_who_may_sign_which(tmp_path: Path) -> None:
    file = tmp_path / "logs.toml"
    file.write_text(f'[[log]]\norigin = "{ORIGIN}"\nkeys = ["{OTHER.public}"]\n')
    with WitnessProcess(tmp_path, file) as one:
        assert one.post(sent(0, 5)).status_code == 403
        assert one.post(sent(0, 5, key=OTHER)).status_code == 200
        assert one.post(sent(0, 5, key=OTHER, origin="audition/11")).status_code == 404


# ------------------------------------------------------------------------ what it never forgets

KILLED = """
import os, signal
from audition.witness import memory
{where}
"""
AFTER = """
advance = memory.Memory.advance
def killed(*given):
    line = advance(*given)
    os.kill(os.getpid(), signal.SIGKILL)
memory.Memory.advance = killed
"""


def test_what_was_to_be_answered_is_on_disk_when_the_witness_is_killed(tmp_path: Path) -> None:
    with WitnessProcess(tmp_path, KEY, patch=KILLED.format(where=AFTER)) as one:
        with pytest.raises(Exception, match="disconnected"):
            one.post(sent(0, 12))
        assert one.process.wait() == -signal.SIGKILL
    with WitnessProcess(tmp_path, KEY, new=False) as again:
        assert again.key == one.key
        assert again.post(sent(0, 12, leaves=FORKED)).text == "12\n"
        assert again.post(sent(12, 12)).status_code == 200
        assert again.post(sent(12, 12, leaves=FORKED)).status_code == 409


def test_a_memory_is_never_made_by_the_way_nor_anew_nor_shared(tmp_path: Path) -> None:
    file = tmp_path / "memory.db"
    with pytest.raises(MemoryLost, match="no memory"):
        Memory(file, KEY)
    assert not file.exists()
    Memory(file, KEY, create=True).close()
    with pytest.raises(MemoryLost, match="there is one already"):
        Memory(file, KEY, create=True)
    with pytest.raises(MemoryLost, match="another witness"):
        Memory(file, OTHER)
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(MemoryLost, match="not a database"):
        Memory(tmp_path / "text.db", KEY)


def test_a_clock_that_is_set_back_stands_still(tmp_path: Path) -> None:
    with Memory(tmp_path / "memory.db", KEY, create=True) as memory:
        times = [
            cosigners(shown.note + memory.advance(shown, KEY.public, now), [memory.key])[memory.key]
            for shown, now in (
                (Submission.read(sent(0, 3)), 1000),
                (Submission.read(sent(3, 5)), 900),
                (Submission.read(sent(5, 6)), 1001),
            )
        ]
    assert times == [1000, 1000, 1001]


def test_what_cannot_be_written_is_not_co_signed(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    told: list[str] = []
    with Memory(tmp_path / "memory.db", KEY, create=True) as memory:
        memory._database.execute("PRAGMA query_only = ON")
        app = application(memory, TrustedLogs([KEY.public]), told=told.append)
        assert TestClient(app).post("/add-checkpoint", content=sent(0, 3)).status_code == 500
        assert memory.latest(ORIGIN) is None
    assert "not written" in told[0]


def test_two_processes_on_one_memory_agree(tmp_path: Path) -> None:
    with WitnessProcess(tmp_path, KEY) as one, WitnessProcess(tmp_path, KEY, new=False) as two:
        assert one.post(sent(0, 12)).status_code == 200
        assert two.post(sent(0, 12, leaves=FORKED)).text == "12\n"
        assert two.post(sent(12, 15, leaves=FORKED)).status_code == 422
