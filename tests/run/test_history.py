"""A run as its events tell it: the same from every reading, whole at every length, bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audition.history import KEPT, LedgerHistory, Progress
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActStarted,
    AuditAsked,
    MomentSealed,
    RunClosed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
    TicketIssued,
    TranscriptRecorded,
)
from audition.step import (
    Body,
    Decision,
    Event,
    Finish,
    Message,
    Outcome,
    Proposal,
    Think,
    Turn,
    after,
    digest_of,
)
from rehearsal import a_moment, note

RUN = "e" * 32
STEPS = st.lists(
    st.tuples(st.sampled_from(["act", "think", "finish", "say"]), st.booleans()), max_size=25
)


class Told:
    """A run written by hand, and beside it what a plain reading of it would keep."""

    def __init__(self, folder: Path, *, mode: str = "live") -> None:
        self.ledger = SqlLedger.open(folder / f"told-{mode}.db")
        self.journal = Journal(self.ledger, RUN)
        self.progress = Progress(RUN)
        self.goal = self.journal.put("the goal")
        self.plain: list[Message | Turn] = []
        self.digest = self.goal
        self.open = ["1"]
        self.children = [0]
        nothing = "0" * 64
        self.log(
            RunOpened(
                mode=mode,  # type: ignore[arg-type]
                project="p",
                goal=self.goal,
                thinker="t",
                auditors=(),
                gate={},
                restrictions=nothing,
            )
        )

    def log(self, body: Body) -> None:
        self.progress.apply(self.journal.log(body))

    def say(self, text: str) -> None:
        content = self.journal.put(text)
        self.log(TranscriptRecorded(role="user", content=content))
        self.plain.append(Message(role="user", content=text))
        self.digest = after(self.digest, {"message": {"role": "user", "content": content}})

    def step(self, kind: str, approved: bool) -> None:
        """One step, by the shortest path that the ledger's events allow."""
        turn, place = self.progress.turns + 1, self.open[-1]
        proposals: dict[str, Proposal] = {
            "act": note(f"text {turn}"),
            "think": Think(prompt=f"prompt {turn}"),
            "finish": Finish(answer=f"answer {turn}"),
        }
        proposal = proposals[kind]
        thought, put = self.journal.put(f"thought {turn}"), self.journal.put(proposal)
        self.log(StepThought(turn=turn, content=thought))
        self.log(StepProposed(turn=turn, proposal=put, what=proposal.kind))
        moment = a_moment(run=RUN, turn=turn, place=place, proposal=put)
        self.log(MomentSealed(moment=moment))
        action = "proceed" if approved else "reject"
        sealed = digest_of(moment)
        self.log(StepDecided(moment=sealed, decision=Decision(action=action, reason="r")))  # type: ignore[arg-type]
        told: dict[str, Any] = {"number": turn, "attempt": 0, "place": place, "proposal": put}
        told |= {"thought": thought, "action": action}
        outcome = None
        if kind == "act" and approved:
            outcome = Outcome(status="done", output=f"outcome {turn}")
            ticket = f"{turn:064}"
            self.log(
                TicketIssued(moment=sealed, ticket=ticket, proposal=put, tool=sealed, expires=0)
            )
            self.log(ActStarted(ticket=ticket))
            kept = self.journal.put(outcome)
            self.log(ActFinished(ticket=ticket, status="done", outcome=kept))
            told["outcome"] = kept
        self.digest = after(self.digest, {"turn": told})
        self.plain.append(
            Turn(number=turn, place=place, proposal=proposal, action=action, outcome=outcome)
        )
        if approved and kind == "think":
            self.children[-1] += 1
            self.open.append(f"{place}.{self.children[-1]}")
            self.children.append(0)
        elif approved and kind == "finish" and len(self.open) > 1:
            self.open.pop()
            self.children.pop()

    def history(self, **options: Any) -> LedgerHistory:
        return LedgerHistory(self.ledger, self.progress, **options)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    run = Told(tmp_path)
    yield run
    run.ledger.close()


def play(run: Told, steps: Sequence[tuple[str, bool]]) -> None:
    for kind, approved in steps:
        if run.progress.answer is not None:
            break
        if kind == "say":
            run.say(f"message {run.progress.length}")
        else:
            run.step(kind, approved)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(0, 30), st.integers(1, 5))
def test_the_last_entries_are_those_of_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], count: int, kept: int
) -> None:
    """However few of them memory holds."""
    run = Told(tmp_path_factory.mktemp("told"))
    run.progress.recent = type(run.progress.recent)(maxlen=kept)
    play(run, steps)
    anyio.run(run.journal.commit)
    history = run.history()
    assert list(history.last(count)) == run.plain[len(run.plain) - min(count, len(run.plain)) :]
    assert len(history) == len(run.plain)
    assert history.digest == run.digest
    assert history.place == run.open[-1]
    run.ledger.close()


@settings(max_examples=40)
@given(STEPS)
def test_a_second_reading_stands_where_the_first_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    run = Told(tmp_path_factory.mktemp("told"))
    play(run, steps)
    anyio.run(run.journal.commit)
    again = Progress(RUN)
    for event in run.ledger.read(RUN):
        again.apply(event)
    for name in vars(again):
        assert getattr(again, name) == getattr(run.progress, name), name
    run.ledger.close()


def test_places_follow_the_decomposition(told: Told) -> None:
    steps = [
        ("act", "1"),
        ("think", "1"),
        ("think", "1.1"),
        ("act", "1.1.1"),
        ("finish", "1.1.1"),
        ("think", "1.1"),
        ("finish", "1.1.2"),
        ("finish", "1.1"),
        ("think", "1"),
        ("act", "1.2"),
    ]
    for kind, place in steps:
        assert told.progress.frames[-1].place == place
        told.step(kind, approved=True)


def test_a_rejected_step_opens_and_closes_nothing(told: Told) -> None:
    told.step("think", approved=False)
    told.step("finish", approved=False)
    assert [frame.place for frame in told.progress.frames] == ["1"]
    assert told.progress.answer is None


def test_the_prompt_is_that_of_the_innermost_open_step(told: Told) -> None:
    assert told.history().prompt == "the goal"
    told.step("think", approved=True)
    told.step("think", approved=True)
    assert (told.history().place, told.history().prompt) == ("1.1.1", "prompt 2")
    told.step("finish", approved=True)
    assert (told.history().place, told.history().prompt) == ("1.1", "prompt 1")


def test_thoughts_are_shown_to_whom_they_are_meant(told: Told) -> None:
    told.step("act", approved=True)
    assert [entry.thought for entry in told.history().last(1)] == [None]  # type: ignore[union-attr]
    (entry,) = told.history(thoughts=True).last(1)
    assert isinstance(entry, Turn) and entry.thought == "thought 1"


def test_a_history_that_was_handed_out_does_not_grow(told: Told) -> None:
    told.step("act", approved=True)
    early = told.history()
    seen = list(early.last(9)), early.digest, early.turns, early.place
    told.step("think", approved=True)
    told.say("later")
    assert (list(early.last(9)), early.digest, early.turns, early.place) == seen
    assert len(early) == 1


@pytest.mark.parametrize("kept", [3, KEPT])
def test_what_was_read_before_is_told_in_its_place_again(told: Told, kept: int) -> None:
    told.progress.recent = type(told.progress.recent)(maxlen=kept)
    for number in range(20):
        told.step("act", approved=True)
        anyio.run(told.journal.commit)
        count = number % 5 + 1
        assert list(told.history().last(count)) == told.plain[-count:]
        thoughts = [turn.thought for turn in told.history(thoughts=True).last(count)]  # type: ignore[union-attr]
        assert thoughts == [f"thought {turn.number}" for turn in told.plain[-count:]]  # type: ignore[union-attr]
    assert list(told.history().last(20)) == told.plain


@pytest.mark.parametrize("count", [-1, 0])
def test_no_entries_are_none(told: Told, count: int) -> None:
    told.say("hello")
    assert list(told.history().last(count)) == []


def test_memory_holds_a_bounded_part_of_a_live_run(told: Told) -> None:
    for number in range(KEPT + 50):
        told.say(f"{number}")
    assert len(told.progress.recent) == KEPT
    anyio.run(told.journal.commit)
    last = told.history().last(KEPT + 50)
    assert [entry.content for entry in last] == [str(n) for n in range(KEPT + 50)]  # type: ignore[union-attr]


def test_a_record_is_whole_before_it_is_committed(tmp_path: Path) -> None:
    """It is written whole or not at all, so that memory is all there is until then."""
    run = Told(tmp_path, mode="record")
    for number in range(KEPT + 50):
        run.say(f"{number}")
    assert len(run.history().last(KEPT + 50)) == KEPT + 50
    run.ledger.close()


def test_every_entry_changes_the_digest(told: Told) -> None:
    digests = [told.progress.history]
    for kind, approved in (("act", True), ("act", False), ("think", True), ("finish", True)):
        told.step(kind, approved)
        digests.append(told.progress.history)
    told.say("hello")
    digests.append(told.progress.history)
    assert len(set(digests)) == len(digests)


def test_what_follows_the_end_is_not_part_of_it(told: Told) -> None:
    told.step("finish", approved=True)
    told.log(RunClosed(status="finished"))
    assert told.progress.closed is not None
    assert told.progress.answer is not None


def test_nothing_of_another_event_is_mistaken_for_the_steps(told: Told) -> None:
    """Answers that no step is waiting for are passed over."""
    before = told.progress.history, told.progress.length
    for event in (
        ActStarted(ticket="0" * 64),
        ActFinished(ticket="0" * 64, status="done", outcome="0" * 64),
    ):
        told.progress.apply(Event(run=RUN, seq=told.journal.seq, at=0, body=event))
    assert (told.progress.history, told.progress.length) == before


def test_the_first_deadline_stands(told: Told) -> None:
    """A second question does not give the person longer."""
    moment = a_moment(run=RUN)
    told.log(StepProposed(turn=1, proposal=moment.proposal, what="act"))
    told.log(MomentSealed(moment=moment))
    for deadline in (7, 70):
        told.log(AuditAsked(moment=digest_of(moment), auditor="ann", deadline=deadline))
    assert told.progress.step is not None
    assert told.progress.step.asked == {"ann": 7}
