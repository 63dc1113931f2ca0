"""The loop: decomposition, budgets, escalation, the ends of a run, thinkers without a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.act import AskPerson, Shell, WriteFile
from audition.gate import red_lines, threshold
from audition.ledger import SqlLedger
from audition.ledger.events import (
    ActFinished,
    MomentSealed,
    RunClosed,
    Source,
    StepThought,
)
from audition.loop import run as carry
from audition.project import Budget
from audition.records import Group, Record, RecordedStep, Said
from audition.review import review
from audition.step import (
    Act,
    Ask,
    Box,
    Finish,
    History,
    Message,
    Outcome,
    Restriction,
    Think,
    Thought,
    View,
)
from audition.think import Line, Replayed, Scripted
from rehearsal import (
    PATIENCE,
    Note,
    Plays,
    Says,
    bodies,
    carried,
    decisions,
    kinds,
    note,
    project,
    red,
    written,
)

# ------------------------------------------------------------------------ the path


def test_a_script_does_a_small_job_with_real_effects(tmp_path: Path, ledger: SqlLedger) -> None:
    script = [
        Line(
            think="count",
            run=(("sh", "-c", "seq 4 | paste -sd+ > sum; cat sum"),),
            propose=Act(tool="write", arguments={"path": "sum.txt", "content": "$stdout"}),
        ),
        Line(propose=Think(prompt="check it")),
        Line(propose=Act(tool="shell", arguments={"command": "cat sum.txt"})),
        Line(run=(("cat", "sum"),), propose=Finish(answer="$stdout")),
        Line(propose=Act(tool="shell", arguments={"command": "rm -rf forbidden"})),
        Line(propose=Finish(answer="all done")),
    ]
    tools = [WriteFile(tmp_path), Shell(tmp_path)]
    judged = project(tmp_path, thinker=Scripted(script), executors=tools)
    result = carried(judged, ledger)
    assert (result.status, result.answer, result.turns) == ("finished", "all done", 6)
    assert (tmp_path / "sum.txt").read_text() == "1+2+3+4\n"
    assert decisions(ledger, result.run) == ["proceed"] * 4 + ["reject", "proceed"]
    places = [one.moment.place for one in bodies(ledger, result.run, MomentSealed)]
    assert places == ["1", "1", "1.1", "1.1", "1", "1"]
    told = next(bodies(ledger, result.run, StepThought))
    assert told.content is not None and ledger.get(told.content) == b"count"
    assert told.usage is not None and told.usage.calls == 1


def test_the_thinker_is_told_outcomes_and_decisions(tmp_path: Path, ledger: SqlLedger) -> None:
    seen: list[Any] = []

    class Listens(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            seen.append([(entry.action, entry.outcome) for entry in history.last(9)])  # type: ignore[union-attr]
            return await super().think(history, box)

    carried(project(tmp_path, thinker=Listens(note("a"), note("forbidden"))), ledger)
    done = Outcome(status="done", output="written")
    assert seen[-1] == [("proceed", done), ("reject", None)]


def test_an_executor_that_crashes_is_an_outcome(tmp_path: Path, ledger: SqlLedger) -> None:
    class Crashes(Note):
        async def act(self, ticket: Any) -> Outcome:
            raise RuntimeError("no paper")

    judged = project(tmp_path, note("a"), executors=[Crashes(tmp_path / "log")])
    result = carried(judged, ledger)
    done = next(bodies(ledger, result.run, ActFinished))
    assert (result.status, done.status) == ("finished", "failed")
    assert Outcome.parse(ledger.get(done.outcome)).output == "RuntimeError: no paper"


def test_a_question_reaches_a_person_and_the_answer_comes_back(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    asked = []

    async def put(question: str, to: str) -> str | None:
        asked.append((question, to))
        return "blue" if len(asked) == 1 else None

    judged = project(
        tmp_path, Ask(question="what colour?"), Ask(question="why?"), executors=[AskPerson(put)]
    )
    result = carried(judged, ledger)
    assert asked == [("what colour?", "user"), ("why?", "user")]
    outcomes = [one.outcome for one in bodies(ledger, result.run, ActFinished)]
    first, second = (Outcome.parse(ledger.get(one)) for one in outcomes)
    assert (first.status, first.output, second.status) == ("done", "blue", "failed")


# ------------------------------------------------------------------------ the ends of a run


def test_a_run_ends_when_its_steps_are_used_up(tmp_path: Path, ledger: SqlLedger) -> None:
    judged = project(tmp_path, *[note("a")] * 9, budget=Budget(steps=3))
    result = carried(judged, ledger)
    assert (result.status, result.turns, result.reason) == (
        "exhausted",
        3,
        "3 steps are used up",
    )
    assert len(written(tmp_path)) == 3


def test_a_run_ends_when_its_time_is_used_up_whatever_the_thinker_says(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    class Slow(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            await anyio.sleep(0.05)
            return Thought(proposal=note("a"))

    result = carried(project(tmp_path, thinker=Slow(), budget=Budget(seconds=0.12)), ledger)
    assert result.status == "exhausted"
    assert result.turns <= 3


def test_a_thinker_that_finds_no_end_is_stopped(tmp_path: Path, ledger: SqlLedger) -> None:
    class Broods(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            await anyio.sleep_forever()
            raise AssertionError

    result = carried(project(tmp_path, thinker=Broods(), budget=Budget(step_seconds=0.05)), ledger)
    assert (result.status, result.turns) == ("failed", 0)
    assert "TimeoutError" in result.reason


def test_a_red_line_ends_the_run(tmp_path: Path, ledger: SqlLedger) -> None:
    judged = project(tmp_path, note("forbidden"), note("a"), gate=red_lines("red"))
    result = carried(judged, ledger)
    assert result.status == "terminated"
    assert "red" in result.reason
    assert written(tmp_path) == []
    assert kinds(ledger, result.run)[-1] == "run.closed"


def test_what_the_box_cannot_carry_ends_the_run(tmp_path: Path, ledger: SqlLedger) -> None:
    deep = "i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"
    script = [Line(run=(("sh", "-c", deep),), propose=note("a"))]
    result = carried(project(tmp_path, thinker=Scripted(script)), ledger)
    assert result.status == "failed"
    assert "deep" in result.reason
    assert written(tmp_path) == []


def test_restrictions_are_declared_before_the_first_thought(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    limits = tuple(Restriction(name=name, says="no") for name in ("a", "b"))
    result = carried(project(tmp_path, restrictions=limits), ledger)
    assert kinds(ledger, result.run)[:4] == [
        "run.opened",
        "restriction.declared",
        "restriction.declared",
        "step.thought",
    ]


# ------------------------------------------------------------------------ scripts and replays


def test_a_script_that_has_ended_finishes(tmp_path: Path, ledger: SqlLedger) -> None:
    result = carried(project(tmp_path, thinker=Scripted([Line(propose=note("a"))])), ledger)
    assert (result.status, result.answer) == ("finished", "")


def test_output_stands_in_wherever_the_script_says_so(tmp_path: Path, ledger: SqlLedger) -> None:
    class Any_(Note):
        def refuses(self, act: Act) -> str:
            return ""

    arguments = {"text": "$stdout", "more": [{"x": "$stdout"}, "$stdout!", 7, None]}
    line = Line(run=(("echo", "-n", "o\u202e"),), propose=Act(tool="note", arguments=arguments))  # type: ignore[arg-type]
    judged = project(tmp_path, thinker=Scripted([line]), executors=[Any_(tmp_path / "log")])
    result = carried(judged, ledger)
    first = next(bodies(ledger, result.run, MomentSealed)).moment
    proposal = Act.parse(ledger.get(first.proposal))
    out = "o\u202e"
    assert proposal.arguments == {"text": out, "more": [{"x": out}, "$stdout!", 7, None]}


def test_a_replay_proposes_what_the_run_proposed(tmp_path: Path, ledger: SqlLedger) -> None:
    steps = [note("a"), note("forbidden"), Think(prompt="b"), Finish(answer="c"), note("d")]
    first = carried(project(tmp_path, *steps), ledger)
    thinker = Replayed(ledger, first.run)
    second = carried(project(tmp_path, thinker=thinker, auditors=[red("d")]), ledger)
    assert second.status == "finished"
    for one, other in zip(
        bodies(ledger, first.run, MomentSealed), bodies(ledger, second.run, MomentSealed),
        strict=True,
    ):  # fmt: skip
        assert one.moment.proposal == other.moment.proposal
    assert decisions(ledger, first.run)[1] == "reject"
    assert decisions(ledger, second.run)[4] == "reject"
    assert written(tmp_path) == ["a", "d", "a"]


def test_a_reviewed_record_is_replayed_before_a_live_gate(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """What an agent did elsewhere meets this gate; what the gate lets pass happens here."""
    entries = (
        Said(message=Message(role="user", content="do it")),
        Group(steps=(RecordedStep(proposal=note("a")), RecordedStep(proposal=note("forbidden")))),
        Group(steps=(RecordedStep(proposal=note("b")),)),
    )
    record = Record(
        source=Source(file="x", record=0, format="f"),
        task="t",
        goal="g",
        thinker="agent",
        entries=entries,
    )
    (run,), done = anyio.run(review, [record], ledger, [red()])
    assert done.moments == 3
    result = carried(project(tmp_path, thinker=Replayed(ledger, run)), ledger)
    assert (result.status, written(tmp_path)) == ("finished", ["a", "b"])
    assert decisions(ledger, result.run) == ["proceed", "reject", "proceed", "proceed"]


def test_a_run_without_proposals_is_no_script(ledger: SqlLedger) -> None:
    with pytest.raises(ValueError, match="no proposals"):
        Replayed(ledger, "0" * 32)


# ------------------------------------------------------------------------ several at once


def test_runs_side_by_side_share_commits_and_nothing_else(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    runs = [f"{n:032x}" for n in range(6)]

    async def all_at_once() -> None:
        async with anyio.create_task_group() as tasks:
            for n, run in enumerate(runs):
                folder = tmp_path / str(n)
                folder.mkdir()
                judged = project(folder, *[note(f"{n}.{k}") for k in range(4)])
                tasks.start_soon(lambda judged=judged, run=run: carry(judged, ledger, run_id=run))

    anyio.run(all_at_once)
    for n, run in enumerate(runs):
        assert written(tmp_path / str(n)) == [f"{n}.{k}" for k in range(4)]
        assert next(bodies(ledger, run, RunClosed)).status == "finished"


@pytest.mark.parametrize(
    ("here", "quick", "together"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_an_outcome_waits_for_the_next_start_only_where_nobody_outside_hears_of_it(
    tmp_path: Path,
    ledger: SqlLedger,
    monkeypatch: pytest.MonkeyPatch,
    here: bool,
    quick: bool,
    together: bool,
) -> None:
    durable: list[set[str]] = []

    class Thinks(Plays):
        """Thinks here or elsewhere, and notes what of its run was durable when it was asked."""

        outside = not here

        async def think(self, history: History, box: Box) -> Thought:
            durable.append({event.body.kind for run in ledger.runs() for event in ledger.read(run)})
            return await super().think(history, box)

    monkeypatch.setattr("audition.stages.QUICK", math.inf if quick else 0)
    run = carried(project(tmp_path, thinker=Thinks(note("one"), note("two"))), ledger).run
    assert ["act.finished" in kinds for kinds in durable] == [False, not together, True]
    assert "act.started" in durable[1]  # that is durable before the act, whoever thinks
    assert kinds(ledger, run).count("act.finished") == 2
    assert written(tmp_path) == ["one", "two"]


class Here(Plays):
    """Thinks in this process, and at once."""

    outside = False


def test_an_act_in_doubt_is_durable_when_its_run_returns(tmp_path: Path, ledger: SqlLedger) -> None:
    class Lost(Note):
        async def act(self, ticket: Any) -> Outcome:
            return Outcome(status="unknown", output="the line went dead")

    judged = project(tmp_path, thinker=Here(note("one")), executors=[Lost(tmp_path / "log")])
    result = carried(judged, ledger)
    assert result.waits_for == "settle"
    assert kinds(ledger, result.run)[-1] == "act.in_doubt"


def test_an_outcome_is_durable_though_the_run_is_interrupted(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    class Interrupted(Here):
        async def think(self, history: History, box: Box) -> Thought:
            if history.turns:
                raise KeyboardInterrupt
            return await super().think(history, box)

    with pytest.raises(KeyboardInterrupt):
        carried(project(tmp_path, thinker=Interrupted(note("one"))), ledger)
    [run] = ledger.runs()
    assert kinds(ledger, run)[-1] == "act.finished"


def test_a_slow_auditor_of_one_run_holds_no_other_back(tmp_path: Path, ledger: SqlLedger) -> None:
    order: list[str] = []
    done: list[anyio.Event] = []

    async def slowly(view: View) -> Any:
        await done[0].wait()
        return slow.verdict(view, score=0.0)

    slow = Says(slowly, name="slow")

    async def one(name: str, judged: Any) -> None:
        await carry(judged, ledger)
        order.append(name)
        done[0].set()

    async def both() -> None:
        done.append(anyio.Event())
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                gate = threshold("slow", reject_at=1)
                tasks.start_soon(one, "slow", project(tmp_path, auditors=[slow], gate=gate))
                tasks.start_soon(one, "quick", project(tmp_path))

    anyio.run(both)
    assert order == ["quick", "slow"]


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_error_that_cannot_say_what_it_is_ends_as_any_other(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    class Fails(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            raise _Mute

    class Breaks(Note):
        async def act(self, ticket: Any) -> Outcome:
            raise _Mute

    result = carried(project(tmp_path, thinker=Fails()), ledger)
    assert (result.status, "_Mute" in result.reason) == ("failed", True)
    result = carried(project(tmp_path, note("a"), executors=[Breaks(tmp_path / "log")]), ledger)
    done = next(bodies(ledger, result.run, ActFinished))
    assert (result.status, done.status) == ("finished", "failed")


def test_an_outcome_too_long_for_the_ledger_is_cut_and_counted_as_done(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    class Talks(Note):
        async def act(self, ticket: Any) -> Outcome:
            return Outcome(status="done", output="x" * (65 << 20))

    judged = project(tmp_path, note("a"), executors=[Talks(tmp_path / "log")])
    result = carried(judged, ledger)
    done = next(bodies(ledger, result.run, ActFinished))
    assert (result.status, done.status) == ("finished", "done")
    assert "cut" in Outcome.parse(ledger.get(done.outcome)).output[-80:]


def test_a_script_may_name_only_what_something_stands_for() -> None:
    arguments = {"text": [{"x": "$stdot"}]}
    with pytest.raises(ValueError, match=r"step 2: nothing stands for '\$stdot'; known: \$stdout"):
        Scripted([Line(propose=note("$5")), Line(propose=Act(tool="t", arguments=arguments))])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step 1"):
        Scripted([Line(propose=Finish(answer="$answer"))])
