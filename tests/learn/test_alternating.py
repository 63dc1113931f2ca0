"""A thinker that learns from its own audited runs, whatever ends the process that trains it."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from safetensors.torch import load_file

import audition.learn.alternating
from audition.learn import Forbidden, LessonError
from audition.learn.alternating import Alternated
from audition.learn.language import LanguageLearner, Learning, Lora
from audition.learn.live import lessons_of
from audition.learn.step_grpo import Group, Objective
from audition.learn.tokens import sampled
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import LessonTaken, RunClosed, ThinkerUpdated
from audition.model import LocalModel
from audition.model.local import loaded
from audition.step import Limits, Restriction, Role
from audition.verify import verify
from chatting import written
from models import _one_thread
from rehearsal import bodies, no_box
from taught import SAYS, Wants, trained

pytestmark = [
    pytest.mark.usefixtures(_one_thread.__name__),
    pytest.mark.skipif(bool(no_box()), reason="no box can be opened here"),
]


def carried(folder: Path, **changes: Any) -> Alternated:
    path = folder / "l.db"
    signer = PrivateKey.generate("test")
    with SqlLedger.open(path, signer=None if path.exists() else signer) as ledger:
        return anyio.run(lambda: trained(folder, ledger, **changes))


def test_the_thinker_learns_what_its_teacher_approves_of(tmp_path: Path) -> None:
    result = carried(tmp_path, updates=4)
    approvals = [one.approval for one in result.updates]
    assert approvals[0] < 0.8 and approvals[-1] == 1.0
    assert not result.refused
    with SqlLedger.open(tmp_path / "l.db", create=False) as ledger:
        updates = list(bodies(ledger, result.run, ThinkerUpdated))
        taken = list(bodies(ledger, result.run, LessonTaken))
    assert [one.number for one in updates] == list(range(4)) and len(taken) == 4
    assert all(one.after == other.before for one, other in pairwise(updates))
    assert updates[-1].after == result.weights
    assert updates[-1].measures["even"] == 4.0  # all are approved of alike: nothing is learned
    assert updates[-1].before == updates[-1].after
    assert verify(tmp_path / "l.db").findings == ()


def test_what_is_learned_from_is_what_was_sampled_to_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids of each candidate are those that its exchange holds, and say what it proposed."""
    seen: list[Group] = []
    update = LanguageLearner.update

    def noted(self: Any, groups: Any, moments: float) -> Any:
        seen.extend(groups)
        return update(self, groups, moments)

    monkeypatch.setattr(LanguageLearner, "update", noted)
    carried(tmp_path, updates=1)
    words = loaded(LocalModel(folder="m"), tmp_path / "m").tokenizer
    with SqlLedger.open(tmp_path / "l.db", create=False) as ledger:
        (lessons,) = lessons_of(ledger).lessons
        assert len(seen) == len(lessons) == 4
        left = [tuple(ids.tolist() for ids in group.candidates) for group in seen]
        for exchanges, proposals in zip(
            lessons.candidates["exchanges"].tolist(),
            lessons.candidates["proposal"].tolist(),
            strict=True,
        ):
            told = [sampled(ledger.get(name)) for name in exchanges]
            group = seen[left.index(tuple(list(one.ids) for one in told))]
            for one, logps, proposal in zip(told, group.sampled or (), proposals, strict=True):
                assert tuple(group.history.tolist()) == one.prompt
                assert logps.tolist() == pytest.approx(one.logps)
                answer = ledger.get(proposal).decode().split('"answer":"')[1].split('"')[0]
                assert f'"answer": "{answer}"' in str(words.decode(list(one.ids)))


def weights(folder: Path, number: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"{number:06}" / "adapter_model.safetensors")


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
import anyio
import audition.ledger.journal as journal
from audition.ledger import SqlLedger
from taught import trained

log, left = journal.Journal.log, [int(sys.argv[2])]

def counted(self, body):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), 9)
    return log(self, body)

journal.Journal.log = counted
folder = Path(sys.argv[1])
with SqlLedger.open(folder / "l.db", create=False) as ledger:
    anyio.run(lambda: trained(folder, ledger))
"""


@pytest.mark.parametrize(
    "after", [(40, 25), pytest.param((12, 9, 31, 5, 44, 3), marks=pytest.mark.full)]
)
def test_killed_at_any_event_it_comes_to_the_same_weights(
    tmp_path: Path, after: tuple[int, ...]
) -> None:
    """To the bit: the adapters, and the digests that the ledger names."""
    folders = tmp_path / "whole", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
        written(folder / "m", SAYS)
        SqlLedger.open(folder / "l.db", signer=PrivateKey.generate("test")).close()
    whole = carried(folders[0])
    source = KILLED.format(tests=str(Path(__file__).parent.parent))
    for events in after:
        done = subprocess.run(
            [sys.executable, "-c", source, str(folders[1]), str(events)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == -9, done.stderr.decode()[-2000:]
    killed = carried(folders[1])
    assert (killed.run, killed.weights) == (whole.run, whole.weights)
    for number in (1, 2):
        one, other = (weights(folder, number) for folder in folders)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert verify(folders[1] / "l.db").findings == ()


def test_a_training_that_ended_is_not_begun_again(tmp_path: Path) -> None:
    whole = carried(tmp_path)
    with SqlLedger.open(tmp_path / "l.db", create=False) as ledger:
        events = len(ledger.runs())
    again = carried(tmp_path)
    assert (again.run, again.weights, again.updates) == (whole.run, whole.weights, [])
    with SqlLedger.open(tmp_path / "l.db", create=False) as ledger:
        assert len(ledger.runs()) == events


def test_another_checkpoint_than_the_ledger_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Ends(Exception):
        pass

    def ends(self: Any, number: int) -> Any:
        if number == 1:
            raise _Ends
        return lessons(self, number)

    lessons = audition.learn.alternating._Training._lessons_of
    monkeypatch.setattr(audition.learn.alternating._Training, "_lessons_of", ends)
    with pytest.raises(_Ends):
        carried(tmp_path)
    monkeypatch.undo()
    path = tmp_path / "checkpoints" / "000001" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LessonError, match=r"its weights are .*, and the ledger names"):
        carried(tmp_path)
    path.unlink()
    with pytest.raises(LessonError, match=r"no \*\.safetensors there"):
        carried(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    def learner(name: str, says: Any) -> LanguageLearner:
        folder = written(tmp_path / name, says)
        return LanguageLearner(loaded(LocalModel(folder=name), folder), Learning(), folder)

    one, other = learner("one", SAYS), learner("other", {**SAYS, "more": {"words": 1.0}})
    digest = one.save(tmp_path / "saved")
    with pytest.raises(LessonError, match="no checkpoint of this model"):
        other.restore(tmp_path / "saved", digest)
    adapted = LanguageLearner(
        loaded(LocalModel(folder="one"), tmp_path / "one"),
        Learning(lora=Lora(targets=("lm_head",))),
        tmp_path / "one",
    )
    with pytest.raises(LessonError, match="no checkpoint of this model"):
        adapted.restore(tmp_path / "saved", digest)


def test_whoever_may_not_teach_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LessonError, match="no auditor is called 'nobody'"):
        carried(tmp_path, teacher="nobody")
    monkeypatch.setattr(Wants, "role", Role.GUARD)
    with pytest.raises(LessonError, match="teacher is a guard"):
        carried(tmp_path)
    with SqlLedger.open(tmp_path / "l.db", create=False) as ledger:
        assert not ledger.runs()


@pytest.mark.parametrize("normaliser", ["bnpo", "dapo"])
def test_what_no_certificate_could_hold_is_refused(tmp_path: Path, normaliser: Any) -> None:
    with pytest.raises(LessonError, match="no update could be certified"):
        carried(tmp_path, objective=Objective(normaliser=normaliser))


def test_restrictions_hold(tmp_path: Path) -> None:
    imitation = Restriction(
        name="imitation",
        says="Imitation only.",
        scope="training",
        limits=Limits(signals=("demonstration",)),
    )
    with pytest.raises(Forbidden, match="learning by approval is forbidden"):
        carried(tmp_path, restrictions=(imitation,))
    one = Restriction(name="one", says="One update.", scope="training", limits=Limits(updates=1))
    result = carried(tmp_path, restrictions=(one,))
    assert result.stopped == "1 updates are made" and len(result.updates) == 1
    few = Restriction(name="few", says="Few.", scope="training", limits=Limits(lessons=6))
    result = carried(tmp_path, restrictions=(few,))
    assert result.stopped == "6 lessons are taken" and len(result.updates) == 1
    assert verify(tmp_path / "l.db").findings == ()
    with SqlLedger.open(tmp_path / "l.db", create=False) as ledger:
        closed = list(bodies(ledger, result.run, RunClosed))
    assert [one.reason for one in closed] == ["6 lessons are taken"]
