"""Candidates: thought after the draw from one snapshot, sealed before anybody is asked, once."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

import audition.loop
from audition.box import BoxConfig
from audition.gate import sampled, sequential, threshold
from audition.history import Progress
from audition.ledger import LedgerError, PrivateKey, SqlLedger
from audition.ledger.events import (
    AuditAsked,
    AuditDrawn,
    AuditRecorded,
    CandidatesSealed,
    RunOpened,
    RunResumed,
    StepThought,
)
from audition.model import ModelAway
from audition.project import Budget, ProjectError
from audition.step import (
    Box,
    Evidence,
    Finish,
    History,
    Proposal,
    Role,
    Thought,
    Usage,
    View,
    Words,
    digest_of,
    parse_proposal,
)
from audition.think import Line, Scripted
from audition.verify import verify
from audition.waiting import answer
from rehearsal import (
    Absent,
    Plays,
    Says,
    bodies,
    carried,
    kinds,
    no_box,
    note,
    project,
    red,
    written,
)

LOOK = "cat kept; cat /proc/sys/kernel/random/uuid | tee -a kept"
SEES = frozenset({Evidence.PROPOSAL, Evidence.CANDIDATES})


class Draws:
    """Proposes at random, after a look at what is kept in the box and a line of its own there."""

    name = "draws"
    stateless = True

    def __init__(self, steps: int = 2) -> None:
        self.steps = steps
        self.found: list[tuple[int, bytes]] = []
        """What each call found in its box: for the test, and never looked at in `think`."""

    async def think(self, history: History, box: Box) -> Thought:
        done = await box.run(("sh", "-c", LOOK))
        self.found.append((history.turns, done.stdout))
        if history.turns == self.steps:
            return Thought(proposal=Finish(answer="done"))
        return Thought(
            proposal=note(done.stdout.decode().split()[-1]),
            content=f"step {history.turns}",
            calls=(done,),
            usage=Usage(tokens_out=7),
        )


class Judge(Says):
    """Ranks candidates in order, and lets the step proceed."""

    def __init__(self, *, role: Role = Role.TEACHER, **fields: Any) -> None:
        super().__init__(0.0 if role is Role.GUARD else 1.0, name="judge", role=role, **fields)


def compared(folder: Path, *, rate: float = 1.0, candidates: int = 3, **changes: Any) -> Any:
    judge = changes.pop("judge", None) or Judge(sees=SEES)
    inner = threshold(judge.name, reject_at=0.9)
    gate = inner if rate == 1.0 else sampled(rate, inner, undrawn="proceed")
    given = {"thinker": Draws(), "auditors": [judge], "gate": gate, "candidates": candidates}
    return project(folder, **{**given, **changes})


def sets(ledger: SqlLedger, run: str) -> list[CandidatesSealed]:
    return list(bodies(ledger, run, CandidatesSealed))


@dataclass(frozen=True)
class Whole:
    """A run of three drawn steps with three candidates each."""

    folder: Path
    ledger: SqlLedger
    run: str
    thinker: Draws
    judge: Judge


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    if why := no_box():
        pytest.skip(why)
    folder, judge, thinker = tmp_path_factory.mktemp("whole"), Judge(sees=SEES), Draws(2)
    with SqlLedger.open(folder / "ledger.db", signer=PrivateKey.generate("test")) as ledger:
        result = carried(compared(folder, judge=judge, thinker=thinker), ledger)
        assert result.status == "finished"
        yield Whole(folder, ledger, result.run, thinker, judge)
    assert verify(folder / "ledger.db").findings == ()


# ------------------------------------------------------------------------ what is rolled out


def test_further_candidates_begin_where_the_thought_began(whole: Whole) -> None:
    found = whole.thinker.found
    assert [turns for turns, _ in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for turn in range(3):
        earlier = {tuple(said.split()[:-1]) for turns, said in found if turns == turn}
        made = {said.split()[-1] for turns, said in found if turns == turn}
        assert (len(earlier), len(made)) == (1, 3)  # one beginning, three futures
    thoughts = list(bodies(whole.ledger, whole.run, StepThought))
    befores = [one.before for one in sets(whole.ledger, whole.run)]
    assert befores[1:] == [one.box for one in thoughts[:-1]]


def test_the_run_goes_on_from_candidate_0(whole: Whole) -> None:
    found = [said.decode().split() for _, said in whole.thinker.found]
    assert written(whole.folder) == [found[0][-1], found[3][-1]]
    assert found[6][:2] == [found[0][-1], found[3][-1]]


def test_they_are_sealed_after_the_draw_and_before_anybody_is_asked(whole: Whole) -> None:
    order = kinds(whole.ledger, whole.run)
    spots = [spot for spot, kind in enumerate(order) if kind == "candidates.sealed"]
    assert [order[spot - 1] for spot in spots] == ["audit.drawn"] * 3
    assert [order[spot + 1] for spot in spots] == ["audit.recorded"] * 3
    drawn = list(bodies(whole.ledger, whole.run, AuditDrawn))
    assert [one.moment for one in sets(whole.ledger, whole.run)] == [one.moment for one in drawn]


def test_the_auditor_sees_all_of_them_and_number_0_is_the_proposal(whole: Whole) -> None:
    for view, sealed in zip(whole.judge.views, sets(whole.ledger, whole.run), strict=True):
        assert view.candidates is not None and view.candidates[0] == view.proposal
        names = [digest_of(one) for one in view.candidates]
        assert names == [view.moment.proposal, *(one.proposal for one in sealed.candidates)]


def test_their_thoughts_are_kept(whole: Whole) -> None:
    (one, other) = sets(whole.ledger, whole.run)[0].candidates
    assert one.content == other.content and one.content is not None
    assert whole.ledger.get(one.content) == b"step 0"
    assert one.calls is not None and one.calls != other.calls
    assert one.box != other.box


def test_candidate_0_is_durable_before_another_is_thought(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    seen: list[str] = []

    class Looks(Draws):
        async def think(self, history: History, box: Box) -> Thought:
            with SqlLedger.open(tmp_path / "ledger.db") as other:
                seen.extend(kinds(other, run)[-1:])
            return await super().think(history, box)

    run = "f" * 32
    carried(compared(tmp_path, thinker=Looks(1), candidates=2), ledger, run_id=run)
    assert seen == ["run.opened", "audit.drawn", "act.finished", "audit.drawn"]


def test_who_did_not_declare_them_does_not_see_them(tmp_path: Path, ledger: SqlLedger) -> None:
    critic = Says(0.0)
    gate = sequential(threshold("critic", reject_at=1), threshold("judge", reject_at=0.9))
    auditors = [Judge(sees=SEES), critic]
    carried(compared(tmp_path, auditors=auditors, gate=gate, thinker=Draws(0)), ledger)
    assert {view.candidates for view in critic.views} == {None}


def test_only_drawn_steps_have_them_and_every_thought_is_had_alike(
    tmp_path: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done around a thought of an undrawn step is what is done around a drawn one's."""
    opened: list[str] = []
    open_box = audition.loop.open_box

    def noted(config: Any, *, saved: bytes | None) -> Any:
        opened.append("filled" if saved is not None else "empty")
        return open_box(config, saved=saved)

    monkeypatch.setattr(audition.loop, "open_box", noted)
    monkeypatch.setattr(sys.modules["audition.box.unopened"], "open_box", noted)
    judged = compared(tmp_path, rate=0.5, candidates=2, thinker=Draws(3))
    result = carried(judged, ledger, run_id="0" * 32)
    drawn = [one.drawn for one in bodies(ledger, result.run, AuditDrawn)]
    assert {True, False} == set(drawn)
    turns = [turn for turn, _ in judged.thinker.found]
    assert [turns.count(turn) for turn in range(4)] == [2 if one else 1 for one in drawn]
    thoughts = 4 + sum(drawn)
    # the first box of a process serves its opening alone
    assert opened == ["empty"] + ["filled"] * thoughts
    assert len(sets(ledger, result.run)) == sum(drawn)


def test_a_replacement_has_none_but_its_own(tmp_path: Path, ledger: SqlLedger) -> None:
    def replace(view: View) -> Any:
        words = Words(replacement=note("better")) if not view.moment.attempt else None
        return judge.verdict(view, score=1.0, words=words)

    judge = Says(replace, name="judge", role=Role.TEACHER, sees=SEES)
    result = carried(compared(tmp_path, judge=judge, budget=Budget(steps=1)), ledger)
    again = [view for view in judge.views if view.moment.attempt]
    assert [view.candidates for view in again] == [(note("better"),)] * len(again)
    assert len(sets(ledger, result.run)) == len(again) == 1


# ------------------------------------------------------------------------ costs and failures


def test_their_cost_is_recorded_and_no_budget_counts_it(tmp_path: Path, ledger: SqlLedger) -> None:
    class Slow(Draws):
        async def think(self, history: History, box: Box) -> Thought:
            await anyio.sleep(0.05)
            return await super().think(history, box)

    result = carried(compared(tmp_path, thinker=Slow(1), candidates=3), ledger)
    progress = Progress(result.run)
    for event in ledger.read(result.run):
        progress.apply(event)
    aside = [one.usage for body in sets(ledger, result.run) for one in body.candidates]
    assert (progress.spent.tokens_out, sum(one.tokens_out for one in aside)) == (7, 2 * 7)
    assert sum(one.seconds for one in aside) >= 4 * 0.05
    thought = sum(one.usage.seconds for one in bodies(ledger, result.run, StepThought) if one.usage)
    assert progress.spent.seconds == pytest.approx(thought)
    assert Budget(seconds=thought + 0.001).exceeded(1, progress.spent) == ""


def test_one_that_fails_is_left_out_and_told(tmp_path: Path, ledger: SqlLedger) -> None:
    """Candidate 0 stands: failures are told apart by what the box draws, as anything may fail."""
    calls = itertools.count()

    class Fails(Draws):
        async def think(self, history: History, box: Box) -> Thought:
            match next(calls):
                case 1:
                    raise ModelAway("no\nanswer")
                case 2:
                    await anyio.sleep_forever()
                case 3:
                    return "no thought"  # type: ignore[return-value]
                case 4:
                    return Thought(proposal=note("x" * (65 << 20)))
                case _:
                    pass
            return await super().think(history, box)

    judge = Judge(sees=SEES)
    judged = compared(
        tmp_path, judge=judge, thinker=Fails(0), candidates=6, budget=Budget(step_seconds=3)
    )
    result = carried(judged, ledger)
    assert result.status == "finished"
    (sealed,) = sets(ledger, result.run)
    reasons = [one.reason for one in sealed.missing]
    assert reasons[0] == "ModelAway: no⟨U+000A⟩answer"
    assert [reason.partition(":")[0] for reason in reasons[1:]] == [
        "TimeoutError",
        "TypeError",
        "LedgerError",
    ]
    assert sealed.missing[1].usage.seconds >= 3
    assert len(sealed.candidates) == 1
    assert judge.views[0].candidates is not None and len(judge.views[0].candidates) == 2


def test_a_ranking_of_other_candidates_than_were_shown_is_a_failure(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    def short(view: View) -> Any:
        return judge.verdict(view, ranking=(0, 1))

    judge = Says(short, name="judge", role=Role.TEACHER, sees=SEES)
    result = carried(compared(tmp_path, judge=judge, budget=Budget(steps=1)), ledger)
    failure = list(bodies(ledger, result.run, AuditRecorded))[-1].failure
    assert failure is not None and (failure.kind, failure.cause) == ("unparsable", "moment")
    assert failure.detail == "an answer about 2 candidates where 3 were shown"


# ------------------------------------------------------------------------ killed and taken up


class _Killed(BaseException):
    """Ends the process's part in a run at once."""


@pytest.mark.parametrize("calls", [1, 2])
def test_killed_between_the_draw_and_the_seal_the_set_is_thought_from_the_same_state(
    tmp_path: Path, unverified: SqlLedger, calls: int
) -> None:
    """Before the first rollout and between two: of what was not sealed nobody has heard."""
    counted = itertools.count()
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "kept").write_text("as it was\n")
    box = BoxConfig(workspace=workspace)

    class Dies(Draws):
        async def think(self, history: History, box: Box) -> Thought:
            if next(counted) == calls:
                raise _Killed
            return await super().think(history, box)

    run = "a" * 32
    with pytest.raises(_Killed):
        carried(compared(tmp_path, thinker=Dies(1), box=box), unverified, run_id=run)
    (workspace / "kept").write_text("of another beginning")
    assert kinds(unverified, run)[-1] == "audit.drawn"
    unverified.close()
    judge, thinker = Judge(sees=SEES), Draws(1)
    with SqlLedger.open(tmp_path / "ledger.db") as ledger:
        judged = compared(tmp_path, judge=judge, thinker=thinker, box=box)
        result = carried(judged, ledger, run_id=run)
        assert result.status == "finished"
        for one in sets(ledger, run):
            assert len(one.candidates) == 2 and one.before is not None
        assert [turns for turns, _ in thinker.found] == [0, 0, 1, 1, 1]
        began = {stdout.splitlines()[0] for turns, stdout in thinker.found if not turns}
        assert began == {b"as it was"}
    assert verify(tmp_path / "ledger.db").findings == ()


def test_killed_after_the_seal_the_same_set_is_judged(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    def dies(view: View) -> Any:
        raise _Killed

    class Outside(Judge):
        outside = True

    judge = Outside(sees=SEES)
    judge.answer = dies
    run = "b" * 32
    with pytest.raises(_Killed):
        carried(compared(tmp_path, judge=judge, thinker=Draws(0)), unverified, run_id=run)
    sealed = sets(unverified, run)
    judge, thinker = Outside(sees=SEES), Draws(0)
    carried(compared(tmp_path, judge=judge, thinker=thinker), unverified, run_id=run)
    assert sets(unverified, run)[0] == sealed[0]
    assert judge.views[0].candidates is not None
    assert [digest_of(one) for one in judge.views[0].candidates[1:]] == [
        one.proposal for one in sealed[0].candidates
    ]
    assert thinker.found == []


def test_a_person_elsewhere_sees_them_too(tmp_path: Path, ledger: SqlLedger) -> None:
    ann = Absent(name="judge", sees=SEES)
    judged = compared(tmp_path, judge=ann, thinker=Draws(0))
    begun = carried(judged, ledger)
    assert begun.waits_for == "judge"
    here = Says(0.0, name="judge", sees=SEES)
    anyio.run(answer, ledger, begun.run, here)
    assert here.views[0].candidates is not None and len(here.views[0].candidates) == 3
    assert carried(judged, ledger, run_id=begun.run).status == "finished"
    assert len(sets(ledger, begun.run)) == 1
    assert len(list(bodies(ledger, begun.run, AuditAsked))) == 1


def test_a_candidate_that_was_altered_is_shown_to_nobody(
    tmp_path: Path, unverified: SqlLedger
) -> None:
    ann = Absent(name="judge", sees=SEES)
    begun = carried(compared(tmp_path, judge=ann, thinker=Draws(0)), unverified)
    name = sets(unverified, begun.run)[0].candidates[0].proposal
    unverified.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
        change = "UPDATE contents SET data = ? WHERE digest = ?"
        database.execute(change, (note("another").canonical(), bytes.fromhex(name)))
    here = Says(0.0, name="judge", sees=SEES)
    with SqlLedger.open(tmp_path / "ledger.db") as ledger, pytest.raises(LedgerError):
        anyio.run(answer, ledger, begun.run, here)
    assert not here.views


# ------------------------------------------------------------------------ who may ask for them


def test_they_are_declared_when_the_run_opens(tmp_path: Path, ledger: SqlLedger) -> None:
    result = carried(compared(tmp_path, thinker=Draws(0)), ledger)
    assert next(bodies(ledger, result.run, RunOpened)).candidates == 3
    with pytest.raises(audition.loop.OtherProject, match="its candidates differs"):
        carried(compared(tmp_path, candidates=2), ledger, run_id=result.run)
    plain = carried(project(tmp_path), ledger)
    assert next(bodies(ledger, plain.run, RunOpened)).candidates is None
    assert not list(bodies(ledger, plain.run, RunResumed))


def test_a_project_that_could_not_have_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="plays keeps a state that no snapshot has"):
        compared(tmp_path, thinker=Plays())
    with pytest.raises(ProjectError, match="no auditor in the gate sees CANDIDATES"):
        compared(tmp_path, auditors=[Judge(sees=SEES), red()], gate=threshold("red", reject_at=1))
    for many in (0, 17):
        with pytest.raises(ProjectError, match=f"candidates: {many} is not from 1 to 16"):
            compared(tmp_path, candidates=many)


def test_a_script_s_variants_are_its_candidates(tmp_path: Path, ledger: SqlLedger) -> None:
    variants = tuple(Finish(answer=str(number)) for number in range(1, 1000))
    script = [Line(propose=Finish(answer="0"), variants=variants)]
    result = carried(compared(tmp_path, thinker=Scripted(script), candidates=5), ledger)
    others: list[Proposal] = [
        parse_proposal(ledger.get(one.proposal)) for one in sets(ledger, result.run)[0].candidates
    ]
    assert len({one.answer for one in others if isinstance(one, Finish)}) > 1
