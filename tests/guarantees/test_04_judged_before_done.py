"""Guarantee 4: a moment is frozen while judged; the thinker neither sees nor steers the draw."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from audition.canonical import digest_bytes
from audition.gate import draw, new_secret, run_secret, sampled, sequential, threshold
from audition.ledger import SqlLedger
from audition.ledger.events import (
    ActFinished,
    ActStarted,
    AuditDrawn,
    AuditRecorded,
    MomentSealed,
    RunClosed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
    TicketIssued,
)
from audition.loop import run as carry
from audition.step import (
    Act,
    Box,
    Finish,
    History,
    Outcome,
    Think,
    Thought,
    Ticket,
    View,
    Words,
    digest_of,
)
from rehearsal import SECRET, Note, Plays, Says, bodies, carried, note, project, red, written

RUN = "c" * 32
"""A run of which the lottery draws some of the first nine steps and others not."""
SECRETS = st.binary(min_size=32, max_size=32)
RATES = st.floats(0, 1)
TURNS = st.integers(1, 10_000)


# ------------------------------------------------------------------------ the order of things


def test_every_step_goes_the_whole_path_in_order(tmp_path: Path, ledger: SqlLedger) -> None:
    result = carried(
        project(tmp_path, note("a"), Think(prompt="more"), note("b"), Finish(answer="c")), ledger
    )
    judged: list[type] = [
        StepThought,
        StepProposed,
        MomentSealed,
        AuditDrawn,
        AuditRecorded,
        AuditRecorded,
        StepDecided,
    ]
    acted: list[type] = [TicketIssued, ActStarted, ActFinished]
    path = [RunOpened, *judged, *acted, *judged, *judged, *acted, *judged, *judged, RunClosed]
    assert [type(event.body) for event in ledger.read(result.run)] == path


def test_an_act_finds_its_moment_judged_and_durable(tmp_path: Path, ledger: SqlLedger) -> None:
    """Read by another hand, at the moment of the act: what is not yet durable is not there."""
    found: list[list[type]] = []

    class Looks(Note):
        async def act(self, ticket: Ticket) -> Outcome:
            with SqlLedger.open(tmp_path / "ledger.db") as other:
                found.append([type(event.body) for event in other.read(ticket.run)])
            return await super().act(ticket)

    carried(project(tmp_path, note("a"), executors=[Looks(tmp_path / "log")]), ledger)
    assert found[0][-4:] == [AuditRecorded, StepDecided, TicketIssued, ActStarted]


def test_nothing_is_done_while_it_is_judged(tmp_path: Path, ledger: SqlLedger) -> None:
    done: list[list[str]] = []

    async def slowly(view: View) -> Any:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            done.append(written(tmp_path))
        return critic.verdict(view, score=0.0)

    critic = Says(slowly)
    gate = threshold("critic", reject_at=1)
    carried(project(tmp_path, note("a"), auditors=[critic], gate=gate), ledger)
    assert done[:3] == [[], [], []]
    assert written(tmp_path) == ["a"]


def test_the_thinker_rests_while_its_moment_is_judged(tmp_path: Path, ledger: SqlLedger) -> None:
    """The next thought begins after the last decision, in a box that nothing else has touched."""
    order: list[str] = []

    class Thinks(Plays):
        async def think(self, history: History, box: Box) -> Thought:
            order.append("think")
            thought = await super().think(history, box)
            order.append("thought")
            return thought

    def answer(view: View) -> Any:
        order.append("judged")
        return critic.verdict(view, score=0.0)

    critic = Says(answer)
    gate = threshold("critic", reject_at=1)
    judged = project(tmp_path, thinker=Thinks(note("a")), auditors=[critic], gate=gate)
    carried(judged, ledger)
    assert order == ["think", "thought", "judged"] * 2


def test_an_auditor_is_shown_the_sealed_moment(tmp_path: Path, ledger: SqlLedger) -> None:
    critic = Says(0.0)
    gate = threshold("critic", reject_at=1)
    result = carried(project(tmp_path, note("a"), auditors=[critic], gate=gate), ledger)
    sealed = [one.moment for one in bodies(ledger, result.run, MomentSealed)]
    assert [view.moment for view in critic.views] == sealed
    assert [view.moment_digest for view in critic.views] == [digest_of(one) for one in sealed]
    assert all(
        view.proposal is not None and digest_of(view.proposal) == view.moment.proposal
        for view in critic.views
    )


# ------------------------------------------------------------------------ the draw


@given(SECRETS, TURNS, RATES)
def test_the_draw_is_hmac_against_the_rate(secret: bytes, turn: int, rate: float) -> None:
    mac = hmac.new(secret, f"{RUN}/{turn}".encode(), hashlib.sha256).digest()
    expected = int.from_bytes(mac[:8], "big") < rate * 2**64
    assert draw(secret, RUN, turn, rate).drawn is expected


@given(SECRETS, TURNS)
def test_rate_0_never_draws_and_rate_1_always_does(secret: bytes, turn: int) -> None:
    assert not draw(secret, RUN, turn, 0.0).drawn
    assert draw(secret, RUN, turn, 1.0).drawn


@given(SECRETS, TURNS, RATES, RATES)
def test_a_higher_rate_draws_all_that_a_lower_one_draws(
    secret: bytes, turn: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert draw(secret, RUN, turn, low).drawn <= draw(secret, RUN, turn, high).drawn


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("over", ["turns", "secrets", "runs"])
def test_the_share_drawn_is_the_declared_rate(rate: float, over: str) -> None:
    """A test at one in a billion, on secrets that are fixed: it holds or it never does."""
    count = 20_000
    drawn = sum(
        draw(
            hashlib.sha256(f"{over}/{n}".encode()).digest() if over == "secrets" else SECRET,
            f"{n:032x}" if over == "runs" else RUN,
            n + 1 if over == "turns" else 1,
            rate,
        ).drawn
        for n in range(count)
    )
    assert binomtest(drawn, count, rate).pvalue > 1e-9


def test_one_turns_draw_says_nothing_of_the_next() -> None:
    drawn = [draw(SECRET, RUN, turn, 0.5).drawn for turn in range(1, 20_001)]
    same = sum(one is other for one, other in itertools.pairwise(drawn))
    assert binomtest(same, len(drawn) - 1, 0.5).pvalue > 1e-9


@given(SECRETS)
def test_one_runs_secret_gives_away_no_other(master: bytes) -> None:
    secrets = {run_secret(master, f"{n:032x}") for n in range(10)}
    assert len(secrets) == 10
    assert master not in secrets


def test_secrets_are_fresh() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def test_the_secret_is_committed_before_the_run_and_shown_after_it(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    secret, during = b"", []

    def look(view: View) -> Any:
        nonlocal secret
        secret = run_secret(SECRET, view.moment.run)
        spelt = (secret, secret.hex().encode(), base64.b64encode(secret))
        files = [tmp_path / f"ledger.db{end}" for end in ("", "-wal")]
        during.append(any(one in path.read_bytes() for one in spelt for path in files))
        return critic.verdict(view, score=0.0)

    critic = Says(look)
    critic.outside = True  # type: ignore[attr-defined]  # all that stands is durable when it looks
    gate = sampled(0.5, threshold("critic", reject_at=1), undrawn="proceed")
    judged = project(tmp_path, *[note("a")] * 12, auditors=[critic], gate=gate)
    result = carried(judged, ledger, run_id=RUN)
    opened = next(bodies(ledger, result.run, RunOpened))
    closed = next(bodies(ledger, result.run, RunClosed))
    assert closed.secret == secret
    assert opened.secret == digest_bytes(secret)
    assert during and not any(during)
    draws = list(bodies(ledger, result.run, AuditDrawn))
    assert [one.drawn for one in draws] == [
        draw(secret, result.run, turn, 0.5).drawn for turn in range(1, len(draws) + 1)
    ]
    assert {one.drawn for one in draws} == {True, False}
    for path in (tmp_path / "ledger.db", tmp_path / "ledger.db-wal"):
        assert SECRET not in path.read_bytes()


def test_only_the_drawn_are_asked_about_and_red_lines_judge_them_all(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    critic = Says(0.0)
    gate = sequential(
        threshold("red", reject_at=0.5),
        sampled(0.5, threshold("critic", reject_at=0.5), undrawn="proceed"),
    )
    steps = [note("forbidden" if n % 2 else f"line {n}") for n in range(12)]
    result = carried(project(tmp_path, *steps, auditors=[red(), critic], gate=gate), ledger)
    assert written(tmp_path) == [f"line {n}" for n in range(0, 12, 2)]
    drawn = {one.moment: one.drawn for one in bodies(ledger, result.run, AuditDrawn)}
    asked = [one.answer for one in bodies(ledger, result.run, AuditRecorded)]
    assert {one.moment for one in asked if one.auditor == "red"} == set(drawn)
    assert all(drawn[one.moment] for one in asked if one.auditor == "critic")
    passed = {one.moment for one in asked if one.auditor == "red" and one.suspicion == 0}
    assert {one.moment for one in asked if one.auditor == "critic"} == {
        moment for moment in passed if drawn[moment]
    }


def test_a_replacement_keeps_its_turns_draw(tmp_path: Path, ledger: SqlLedger) -> None:
    def answer(view: View) -> Any:
        words = None
        if view.moment.attempt < 3 and isinstance(view.proposal, Act):
            words = Words(replacement=note(f"attempt {view.moment.attempt + 1}"))
        return critic.verdict(view, score=0.0, words=words)

    critic = Says(answer)
    lottery = sampled(0.5, threshold("red", reject_at=0.5), undrawn="proceed")
    gate = sequential(threshold("critic", reject_at=1), lottery)
    steps = [note("attempt 0")] * 8
    judged = project(tmp_path, *steps, auditors=[critic, red()], gate=gate)
    result = carried(judged, ledger, run_id=RUN)
    turns: dict[int, set[bool]] = {}
    sealed = [one.moment for one in bodies(ledger, result.run, MomentSealed)]
    for moment, lot in zip(sealed, bodies(ledger, result.run, AuditDrawn), strict=True):
        assert lot.moment == digest_of(moment)
        turns.setdefault(moment.turn, set()).add(lot.drawn)
    assert [len(drawn) for drawn in turns.values()] == [1] * len(turns)
    assert set.union(*turns.values()) == {True, False}
    assert written(tmp_path) == ["attempt 3"] * 8


def test_what_is_proposed_does_not_steer_the_draw(tmp_path: Path, ledger: SqlLedger) -> None:
    gate = sampled(0.5, threshold("red", reject_at=0.5), undrawn="proceed")
    scripts: tuple[list[Any], ...] = (
        [note("a")] * 10,
        [Think(prompt="b")] * 10,
        [note(f"forbidden {n}") for n in range(10)],
    )
    draws = []
    for number, script in enumerate(scripts):
        with SqlLedger.open(tmp_path / f"{number}.db") as apart:
            carried(project(tmp_path, *script, gate=gate), apart, run_id=RUN)
            draws.append([one.drawn for one in bodies(apart, RUN, AuditDrawn)][:10])
    assert draws[0] == draws[1] == draws[2]


# ------------------------------------------------------------------------ what the thinker sees

SEES = ("sh", "-c", "env; id; pwd; ls -laR --time-style=+ . /tmp 2>&1; cat /proc/self/environ")


class Watches(Plays):
    """A thinker that writes down all that it is given, and all that it finds in its box."""

    def __init__(self, *proposals: Any) -> None:
        super().__init__(*proposals)
        self.seen: list[str] = []

    async def think(self, history: History, box: Box) -> Thought:
        entries = [entry.model_dump(mode="json") for entry in history.last(len(history))]
        told = (history.goal, history.place, history.prompt, history.digest, history.turns)
        found = (await box.run(SEES)).stdout.decode()
        self.seen.append(json.dumps([told, entries, found]))
        return await super().think(history, box)


def test_the_thinker_sees_the_same_whatever_is_drawn(tmp_path: Path, ledger: SqlLedger) -> None:
    """Two runs that differ in nothing but the lottery."""
    gate = sampled(0.5, threshold("critic", reject_at=0.5), undrawn="proceed")
    seen, draws = [], []
    for run, secret in ((RUN, SECRET), ("d" * 32, bytes(32))):
        thinker = Watches(*[note("a")] * 6, Think(prompt="b"), note("c"), Finish(answer="d"))
        judged = project(tmp_path, thinker=thinker, auditors=[Says(0.0)], gate=gate, secret=secret)
        result = carried(judged, ledger, run_id=run)
        draws.append([one.drawn for one in bodies(ledger, result.run, AuditDrawn)])
        seen.append(thinker.seen)
    assert draws[0] != draws[1]
    assert len(seen[0]) == 10
    for one, other in zip(*seen, strict=True):
        assert one == other


def test_nothing_of_the_judging_is_told_to_the_thinker_but_the_decision(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    def answer(view: View) -> Any:
        return critic.verdict(view, score=0.125, words=Words(rationale="xylophone"))

    critic = Says(answer, name="zanzibar")
    gate = sampled(0.6875, threshold("zanzibar", reject_at=0.5), undrawn="proceed")
    thinker = Watches(*[note("a")] * 6)
    result = carried(project(tmp_path, thinker=thinker, auditors=[critic], gate=gate), ledger)
    secret = run_secret(SECRET, result.run)
    told = "".join(thinker.seen)
    for hidden in ("xylophone", "zanzibar", "drawn", "0.125", "0.6875", secret.hex(), "suspicion"):
        assert hidden not in told
    assert base64.b64encode(secret).decode() not in told
    assert '"action": "proceed"' in told


def test_runs_side_by_side_keep_their_draws_to_themselves(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    gate = sampled(0.5, threshold("red", reject_at=0.5), undrawn="proceed")
    judged = project(tmp_path, *[note("a")] * 5, gate=gate)
    runs = [f"{n:032x}" for n in range(3)]

    async def all_at_once() -> None:
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(lambda run=run: carry(judged, ledger, run_id=run))

    anyio.run(all_at_once)
    for run in runs:
        secret = run_secret(SECRET, run)
        draws = [one.drawn for one in bodies(ledger, run, AuditDrawn)]
        assert draws == [draw(secret, run, turn, 0.5).drawn for turn in range(1, 7)]
        assert next(bodies(ledger, run, RunClosed)).secret == secret
