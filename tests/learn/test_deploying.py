"""An update is deployed by an act of its own: measured, signed, done once, and taken back."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch

from audition.act import Deploy, DeployArguments
from audition.gate import keys, person, sampled, sequential, spec, strictest, threshold
from audition.learn import LessonError
from audition.learn.deploying import Deployed, Deploying, Unmeasured, _training
from audition.learn.language import LanguageLearner, Learning, Lora
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import ActFinished, RunOpened, StepProposed, ThinkerUpdated
from audition.loop import OtherProject
from audition.loop import run as carry
from audition.model import ModelError
from audition.model.adapter import put_on
from audition.model.deployed import InUse, Weights, held, in_use, write
from audition.model.local import loaded
from audition.model.updated import deployed
from audition.project import Project
from audition.step import Act, Outcome, Role, Ticket, parse_proposal
from audition.verify import verify
from audition.waiting import settle
from deployed import CONFIG, KEYS, OPERATOR, Office
from models import _one_thread
from rehearsal import Note, Plays, Says, bodies, no_box
from taught import project

ASKS = person("ann")

pytestmark = [
    pytest.mark.usefixtures(_one_thread.__name__),
    pytest.mark.skipif(bool(no_box()), reason="no box can be opened here"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = Office(tmp_path_factory.mktemp("trained"))
    office.train()
    return office


@pytest.fixture
def office(trained: Office, tmp_path: Path) -> Office:
    shutil.copytree(trained.folder, tmp_path / "o")
    return Office(tmp_path / "o")


def found(office: Office) -> tuple[Any, ...]:
    return verify(office.path, [OPERATOR.public]).findings


def written(office: Office, run: str, kind: Any) -> list[Any]:
    with SqlLedger.open(office.path, create=False) as ledger:
        return list(bodies(ledger, run, kind))


def test_it_waits_for_the_key_and_is_done_only_then(office: Office) -> None:
    """And is taken back by the same act, whose outcome says which that is."""
    asked = office.deploy(2)
    assert (asked.status, asked.new.update, asked.old.update) == ("waiting", 2, 0), asked.told
    assert not office.pointer.exists()
    again = office.deploy(2)
    assert (again.run, again.status, again.measured) == (asked.run, "waiting", asked.measured)
    office.signs(asked.run)
    done = office.deploy(2)
    assert (done.run, done.status) == (asked.run, "done")
    standing = in_use(office.model, office.pointer)
    assert (standing.now, standing.before) == (asked.new, asked.old)
    assert "before it, update 0" in done.told
    assert office.deploy(2).status == "already"
    back = office.deploy(None)
    assert (back.status, back.new, back.old) == ("waiting", asked.old, asked.new)
    office.signs(back.run)
    assert office.deploy(None).status == "done"
    assert in_use(office.model, office.pointer) == InUse(now=asked.old, before=asked.new)
    assert found(office) == ()


def test_who_signs_is_shown_what_was_measured(office: Office) -> None:
    """Runs that are in the ledger, with the weights of either, and what the teacher said of them"""
    asked = office.deploy(2)
    with SqlLedger.open(office.path, create=False) as ledger:
        (proposed,) = bodies(ledger, asked.run, StepProposed)
        act = parse_proposal(ledger.get(proposed.proposal))
        assert isinstance(act, Act)
        said = DeployArguments.model_validate(act.arguments)
        assert said.measured == asked.measured
        for side, weights in ((said.measured.new, asked.new), (said.measured.old, asked.old)):
            assert len(side.runs) == 2 and side.unscored == 0 and sum(side.ends.values()) == 2
            for run in side.runs:
                (opened,) = bodies(ledger, run, RunOpened)
                chat = office.make(weights).thinker.configuration()
                assert opened.thinking == chat
    assert said.measured.new.low <= said.measured.new.approval <= said.measured.new.high
    assert {*said.measured.new.runs}.isdisjoint(said.measured.old.runs)


def altered(office: Office, name: str) -> None:
    """One byte of a checkpoint's weights, or of what says how they are used, is another."""
    path = office.folder / "checkpoints" / "000002" / name
    data = path.read_bytes()
    if name.endswith(".json"):
        path.write_bytes(data.replace(b'"lora_alpha": 8', b'"lora_alpha": 9'))
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert path.read_bytes() != data


def carried(office: Office, asked: Deployed) -> tuple[str, str]:
    """The signed run goes on, whatever has become of the checkpoint; how its act ended."""
    with SqlLedger.open(office.path, signer=OPERATOR, create=False) as ledger:
        (proposed,) = bodies(ledger, asked.run, StepProposed)
        act = parse_proposal(ledger.get(proposed.proposal))
        assert isinstance(act, Act)
        proposing = office.deployment().proposing(act)
        anyio.run(partial(carry, proposing, ledger, run_id=asked.run))
        (ended,) = bodies(ledger, asked.run, ActFinished)
        return ended.status, Outcome.parse(ledger.get(ended.outcome)).output


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_signed_for_one_and_replaced_by_another_it_is_refused(office: Office, name: str) -> None:
    asked = office.deploy(2)
    office.signs(asked.run)
    altered(office, name)
    status, told = carried(office, asked)
    assert status == "refused" and "000002" in told and "put them back" in told
    assert not office.pointer.exists()
    assert found(office) == ()


def test_what_was_not_measured_is_not_put_in_its_place(office: Office) -> None:
    """Whoever judges may put another step in the place of one; of this act there is no other."""
    asked = office.deploy(2)
    (proposed,) = written(office, asked.run, StepProposed)
    with SqlLedger.open(office.path, create=False) as ledger:
        act = parse_proposal(ledger.get(proposed.proposal))
    assert isinstance(act, Act)
    executor = office.deployment().proposing(act).executors["deploy"]
    assert executor.refuses(act) == ""
    other = act.model_copy(update={"arguments": {**act.arguments, "attempt": 7}})
    assert "not what was measured" in executor.refuses(other)
    wrong = act.model_copy(update={"arguments": {**act.arguments, "attempt": 0}})
    assert executor.refuses(wrong).startswith("deploy.attempt: ")


def test_a_checkpoint_that_is_gone_is_refused(office: Office) -> None:
    asked = office.deploy(2)
    office.signs(asked.run)
    shutil.rmtree(office.folder / "checkpoints" / "000002")
    status, told = carried(office, asked)
    assert status == "refused" and "there is no such checkpoint" in told
    assert not office.pointer.exists()


def test_what_was_deployed_meanwhile_is_not_replaced(office: Office) -> None:
    asked = office.deploy(2)
    office.signs(asked.run)
    other = InUse(now=held(office.model, office.pointer, 1), before=asked.old)
    write(office.pointer, other)
    status, told = carried(office, asked)
    assert status == "refused" and "update 1" in told and "is in use now" in told
    assert in_use(office.model, office.pointer) == other


def test_another_deployment_under_way_is_not_met(office: Office) -> None:
    asked = office.deploy(2)
    office.signs(asked.run)
    held_by = os.open(office.pointer.parent, os.O_RDONLY)
    try:
        fcntl.flock(held_by, fcntl.LOCK_EX)
        status, told = carried(office, asked)
    finally:
        os.close(held_by)
    assert status == "refused" and "under way" in told


def test_to_deploy_twice_is_to_deploy_once(office: Office) -> None:
    """The file was replaced and the process died: done again, it says the same and writes none."""
    asked = office.deploy(2)
    office.signs(asked.run)
    write(office.pointer, InUse(now=asked.new, before=asked.old))
    stands = office.pointer.stat().st_ino
    again = office.deploy(2)
    assert (again.run, again.status) == (asked.run, "done") and "update 0" in again.told
    assert office.pointer.stat().st_ino == stands


def test_an_act_that_was_cut_off_waits_for_a_person(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Ends(BaseException):
        pass

    async def ends(self: Deploy, ticket: Ticket) -> Outcome:
        await act(self, ticket)
        raise _Ends

    asked = office.deploy(2)
    office.signs(asked.run)
    act = Deploy.act
    monkeypatch.setattr(Deploy, "act", ends)
    with pytest.raises(_Ends):
        office.deploy(2)
    monkeypatch.undo()
    stands = office.deploy(2)
    assert (stands.run, stands.status) == (asked.run, "in doubt")
    assert in_use(office.model, office.pointer).now == asked.new
    with SqlLedger.open(office.path, signer=OPERATOR, create=False) as ledger:
        anyio.run(partial(settle, ledger, asked.run, happened=True, by="ann"))
    assert (office.deploy(2).status, office.deploy(2).status) == ("done", "already")


def test_a_disk_that_fails_leaves_what_was_in_use(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*paths: Any) -> None:
        raise OSError(errno.EIO, "no disk")

    asked = office.deploy(2)
    office.signs(asked.run)
    before = sorted(os.listdir(office.pointer.parent))
    with monkeypatch.context() as patch:
        patch.setattr("audition.model.deployed.os.replace", fails)
        status, told = carried(office, asked)
    assert (status, told) == ("failed", f"deployed.json: {os.strerror(errno.EIO)}")
    assert sorted(os.listdir(office.pointer.parent)) == before


def test_a_word_against_it_is_the_end_of_it_and_it_is_measured_again(office: Office) -> None:
    asked = office.deploy(2)
    office.signs(asked.run, score=1.0)
    turned = office.deploy(2)
    assert (turned.run, turned.status) == (asked.run, "rejected") and "ann" in turned.told
    again = office.deploy(2)
    assert again.status == "waiting" and again.run != asked.run
    assert again.measured is not None and asked.measured is not None
    assert {*again.measured.new.runs}.isdisjoint(asked.measured.new.runs)
    (proposed,) = written(office, again.run, StepProposed)
    with SqlLedger.open(office.path, create=False) as ledger:
        assert b'"attempt":2' in ledger.get(proposed.proposal)
    assert not office.pointer.exists()


def test_only_what_this_ledger_s_training_made_is_deployed(office: Office) -> None:
    shutil.copytree(office.folder / "checkpoints" / "000002", office.folder / "checkpoints/000009")
    with pytest.raises(LessonError, match=r"update 9: no training in this ledger made"):
        office.deploy(9)
    altered(office, "adapter_model.safetensors")
    with pytest.raises(LessonError, match=r"update 2: no training in this ledger made"):
        office.deploy(2)
    with pytest.raises(ModelError, match="no such checkpoint"):
        office.deploy(3)
    with pytest.raises(LessonError, match="nothing was in use before"):
        office.deploy(None)
    config = office.model / "model.safetensors"
    config.write_bytes(config.read_bytes()[:-1] + b"\x01")
    with pytest.raises(LessonError, match=r"update 1: no training in this ledger made"):
        office.deploy(1)


def test_what_was_learned_from_outcomes_is_not_deployed(office: Office, tmp_path: Path) -> None:
    new, base = (held(office.model, office.pointer, number) for number in (2, 0))
    with SqlLedger.open(office.path, create=False) as ledger:
        run = _training(ledger, new, base.weights)
        told = [one.body for one in ledger.read(run)]
    with SqlLedger.open(tmp_path / "other.db") as ledger:
        journal = Journal(ledger, run)
        for body in told:
            outcome = {"signal": "outcome"} if isinstance(body, ThinkerUpdated) else {}
            journal.log(body.model_copy(update=outcome))
        anyio.run(journal.commit)
        with pytest.raises(LessonError, match="no training in this ledger"):
            _training(ledger, new, base.weights)


@pytest.mark.parametrize(
    "gate",
    [
        threshold("teacher", reject_at=1),
        threshold("teacher", reject_at=1, escalate_at=0.5, to="ann"),
        person("ann"),
        sampled(0.5, keys(1, of=["ann"]), undrawn="proceed"),
    ],
)
def test_a_gate_that_lets_the_unsigned_pass_is_refused(office: Office, gate: Any) -> None:
    with pytest.raises(LessonError, match="nobody has signed"):
        office.deployment(spec(gate))


@pytest.mark.parametrize("compose", [sequential, strictest, partial(sampled, 0.5)])
def test_a_gate_that_asks_for_a_key_and_more_will_do(office: Office, compose: Any) -> None:
    gate = compose(threshold("teacher", reject_at=1), keys(1, of=["ann"]))
    assert office.deployment(spec(gate)).teacher == "teacher"


def test_nobody_deploys_whom_the_project_does_not_name(office: Office) -> None:
    with pytest.raises(LessonError, match=r"training\.deploy\.gate: no auditor is called 'bob'"):
        office.deployment(spec(keys(1, of=["bob"])))
    with pytest.raises(LessonError, match="no person and cannot sign"):
        office.deployment(spec(keys(1, of=["teacher"])))


def test_a_run_begun_with_other_weights_is_not_taken_up(office: Office) -> None:
    def thinks() -> Project:
        return project(deployed(CONFIG, office.model, office.pointer), "")

    run = "ab" * 16
    with SqlLedger.open(office.path, signer=OPERATOR, create=False) as ledger:
        begun = partial(carry, ledger=ledger, run_id=run)
        anyio.run(partial(begun, thinks(), put_down=lambda: True))
        write(office.pointer, InUse(now=held(office.model, office.pointer, 2)))
        with pytest.raises(OtherProject):
            anyio.run(partial(begun, thinks()))
        office.pointer.unlink()
        assert anyio.run(partial(begun, thinks())).status in ("finished", "exhausted")


def test_the_thinker_thinks_with_what_is_deployed(office: Office) -> None:
    """The adapters on its model, as they stood at the end of training, to the bit."""
    learner = LanguageLearner(
        loaded(CONFIG, office.model),
        Learning(lora=Lora(rank=4, alpha=8, targets=("lm_head",))),
        office.model,
    )
    weights = held(office.model, office.pointer, 2)
    learner.restore(office.folder / "checkpoints" / "000002", weights.weights)
    write(office.pointer, InUse(now=weights))
    given = deployed(CONFIG, office.model, office.pointer)
    assert (given.name, given.digest) == ("m", weights.files)
    ids = torch.arange(20)[None]
    base = loaded(CONFIG, office.model).model(ids).logits
    assert torch.equal(given.model(ids).logits, learner.given.model(ids).logits)
    assert not torch.equal(given.model(ids).logits, base)
    assert not any(one.requires_grad for one in given.model.parameters())


def test_the_model_below_adapters_is_looked_at_too(office: Office) -> None:
    write(office.pointer, InUse(now=held(office.model, office.pointer, 2)))
    (office.model / "generation_config.json").write_text("{}")
    with pytest.raises(ModelError, match="it says another thing"):
        deployed(CONFIG, office.model, office.pointer)


def test_whole_weights_are_deployed_like_adapters(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.train(updates=1, lora=None)
    weights = held(office.model, office.pointer, 1)
    write(office.pointer, InUse(now=weights))
    given = deployed(CONFIG, office.model, office.pointer)
    assert (given.name, given.digest) == ("m", weights.files)
    altered_at = tmp_path / "checkpoints" / "000001" / "generation_config.json"
    altered_at.write_text("{}")
    with pytest.raises(ModelError, match="it says another thing"):
        deployed(CONFIG, office.model, office.pointer)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "XLORA"),
        ("init_lora_weights", "pissa"),
        ("modules_to_save", ["lm_head"]),
        ("layer_replication", [[0, 1]]),
        ("auto_mapping", {"base_model_class": "os.system"}),
        ("r", 8),
        ("target_modules", ["q_proj"]),
        ("target_modules", "all-linear"),
        ("target_modules", ["gone"]),
    ],
)
def test_adapters_that_are_not_plain_ones_of_this_model_are_refused(
    office: Office, field: str, value: Any
) -> None:
    there = office.folder / "checkpoints" / "000001"
    path = there / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ModelError):
        put_on(loaded(CONFIG, office.model).model, there)


def test_where_an_adapter_says_its_model_is_nobody_looks(office: Office) -> None:
    there = office.folder / "checkpoints" / "000001"
    path = there / "adapter_config.json"
    said = json.loads(path.read_text()) | {"base_model_name_or_path": "/gone"}
    path.write_text(json.dumps(said))
    put_on(loaded(CONFIG, office.model).model, there)


@pytest.mark.parametrize("data", [b"", b"{", b'{"now":1}', b"[]" * 3000, b"\xff"])
def test_a_file_that_was_not_written_here_is_refused(office: Office, data: bytes) -> None:
    write(office.pointer, InUse(now=held(office.model, office.pointer, 1)))
    office.pointer.write_bytes(data or office.pointer.read_bytes() + b"\n")
    with pytest.raises(ModelError, match="not as it was written"):
        deployed(CONFIG, office.model, office.pointer)


def test_acts_are_withheld_while_weights_are_measured(office: Office, tmp_path: Path) -> None:
    """What the gate lets pass in a run that measures does not happen, unless the project says."""
    note = Note(tmp_path / "log")

    def make(wanted: Weights) -> Project:
        plays = Plays(Act(tool="note", arguments={"text": f"{wanted.update}"}))
        given = office.make(wanted)
        return replace(
            given,
            thinker=plays,
            executors={"note": note},
            candidates=1,
            auditors={**given.auditors, "teacher": Says(0.5, name="teacher", role=Role.TEACHER)},
        )

    asked = office.deploy(2, make=make)
    assert asked.measured is not None and asked.measured.new.approval == 0.5
    assert note.lines == []
    run = asked.measured.new.runs[0]
    (ended,) = written(office, run, ActFinished)
    assert ended.status == "refused"
    deploying = Deploying(gate=dict(KEYS), runs=2, acts="performed")
    assert office.deploy(2, make=make, deploying=deploying).status == "waiting"
    assert sorted(note.lines) == ["0", "0", "2", "2"]


def test_a_measure_that_waits_for_a_person_is_gone_on_with(office: Office) -> None:
    def make(wanted: Weights) -> Project:
        return replace(office.make(wanted), gate=strictest(threshold("teacher", reject_at=1), ASKS))

    with pytest.raises(Unmeasured, match="wait, it for ann"):
        office.deploy(2, make=make)
    with pytest.raises(Unmeasured, match="wait, it for ann"):
        office.deploy(2, make=make)


def test_a_teacher_who_says_nothing_measures_nothing(office: Office) -> None:
    def make(wanted: Weights) -> Project:
        given = office.make(wanted)
        says = Says(0.5, name="teacher")  # a guard, who teaches nothing
        return replace(given, candidates=1, auditors={**given.auditors, "teacher": says})

    with pytest.raises(LessonError, match="no measure"):
        office.deploy(2, make=make)
