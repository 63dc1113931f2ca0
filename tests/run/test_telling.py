"""No thinker can tell whether its step was drawn, nor, but for time, which candidate it is."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import audition.loop
from audition.box import BoxConfig, open_box
from audition.gate import sampled, threshold
from audition.ledger import SqlLedger
from audition.ledger.events import CandidatesSealed, StepThought
from audition.measure import clopper_pearson
from audition.project import Budget
from audition.step import Box, Evidence, History, Role, Thought
from rehearsal import Says, bodies, carried, note, project
from telling import Tells, Told, observed, report, timeless, told_apart

FEW, MANY = 14, 300
"""Steps of the small run and of the full one."""


class Policy:
    """A recurrent policy: its state lies in the box, its log-probabilities in its thought."""

    name = "policy"
    stateless = True

    async def think(self, history: History, box: Box) -> Thought:
        done = await box.run(("sh", "-c", "cat state 2> /dev/null || true"))
        weights = np.random.default_rng(7).normal(size=(12, 8))
        state = np.frombuffer(done.stdout) if done.stdout else np.zeros(8)
        seen = np.frombuffer(bytes.fromhex(history.digest), np.uint8) / 255
        state = np.tanh(weights[:8] @ state + seen[:8])
        logits = weights @ state
        logp = logits - np.log(np.exp(logits).sum())
        await box.run(("sh", "-c", "cat > state"), stdin=state.tobytes())
        chosen = int(np.random.default_rng(zlib.crc32(state.tobytes())).choice(12, p=np.exp(logp)))
        return Thought(proposal=note(str(chosen)), content=json.dumps([one.hex() for one in logp]))


def approved(folder: Path, rate: float, **changes: Any) -> Any:
    """A project whose steps all proceed; at this rate a teacher who sees candidates is asked."""
    folder.mkdir(exist_ok=True)
    judge = Says(1.0, name="judge", role=Role.TEACHER, sees=frozenset({Evidence.CANDIDATES}))
    gate = sampled(rate, threshold("judge", reject_at=0.9), undrawn="proceed")
    given = {"thinker": Policy(), "auditors": [judge], "gate": gate, "candidates": 2}
    return project(folder, budget=Budget(steps=3), **{**given, **changes})


def test_log_likelihoods_of_candidate_0_are_those_of_a_step_that_nobody_draws(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    said: dict[float, list[bytes]] = {}
    for rate in (0.0, 1.0):
        run = carried(approved(tmp_path / str(rate), rate), ledger).run
        thoughts = list(bodies(ledger, run, StepThought))
        said[rate] = [ledger.get(one.content) for one in thoughts if one.content]
        sets = list(bodies(ledger, run, CandidatesSealed))
        assert len(sets) == (3 if rate else 0)
        for thought, sealed in zip(thoughts, sets, strict=False):
            (other,) = sealed.candidates  # the same call from the same state: the same to the bit
            assert (other.content, other.box) == (thought.content, thought.box)
    assert said[0.0] == said[1.0] and len(set(said[0.0])) == 3


class Counts(Tells):
    """Breaks its word: it keeps a count of its calls, in itself."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}

    async def think(self, history: History, box: Box) -> Thought:
        thought = await super().think(history, box)
        self.calls[history.turns] = self.calls.get(history.turns, 0) + 1
        told = [*json.loads(thought.content), self.calls[history.turns]]
        return thought.model_copy(update={"content": json.dumps(told)})


def chance_is_within(told: Told) -> bool:
    """At 99.9 %: of a thousand runs of chance, one fails here."""
    return clopper_pearson(told.right, told.calls, 0.999).low <= 0.5


@pytest.mark.usefixtures("unverified")
def test_a_thinker_cannot_tell_which_candidate_it_is_and_one_that_counts_can() -> None:
    """A few steps, to see that the measure works; the full run says how well nobody can.

    All are drawn: how many of so few a fair draw takes would decide whether there is a measure.
    What can be told is told every time; what chance told once is measured again.
    """

    def without_the_count() -> Iterator[Told]:
        for _ in range(3):
            calls = observed(FEW, thinker=Counts(), rate=1.0)
            count = [name for name in calls.seen_C[0] if name.startswith("history.6")]
            of_count = calls.features(lambda name: name in count)  # noqa: B023
            assert told_apart(of_count, calls.further_C, calls.turn_C).share == 1.0
            rest = calls.features(lambda name: timeless(name) and name not in count)  # noqa: B023
            yield told_apart(rest, calls.further_C, calls.turn_C)

    assert any(map(chance_is_within, without_the_count()))


@pytest.mark.full
@pytest.mark.usefixtures("unverified")
def test_a_box_that_was_opened_otherwise_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further candidates in a fork of the box, as a snapshot could be opened too."""
    before: list[bytes | None] = []

    @contextlib.asynccontextmanager
    async def forked(config: BoxConfig, *, saved: bytes | None) -> AsyncIterator[Any]:
        async with open_box(config, saved=saved) as box:
            again = saved is not None and saved in before[-1:]
            before.append(saved)
            if not again:
                yield box
                return
            async with box.open(await box.snapshot()) as future:
                yield future

    monkeypatch.setattr(audition.loop, "open_box", forked)
    told = report(observed(40))
    assert told["further, of all, by all but clocks"].share == 1.0


@pytest.mark.full
@pytest.mark.usefixtures("unverified")
def test_no_thinker_tells_a_drawn_step_and_only_time_tells_a_further_candidate() -> None:
    told = report(observed(MANY))
    for question, one in told.items():
        if question != "further, of all, by everything":
            assert chance_is_within(one), (question, one)
