"""Camera Dropbox as a world to learn in, its overseers as teachers, and what is learned there."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.lab.claim import Config
from audition.lab.dropbox import exact, learned
from audition.lab.dropbox.rules import Dropbox, Rules
from audition.lab.dropbox.world import Approver, Approving, Lanes, study
from audition.learn import PROCESS, Forbidden, LessonError, Plan, PlanError, follow, train
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import BatchSealed
from audition.step import Evidence

SMALL = Rules(height=3, width=4, turns=20)
SPAN = (-8.0, 8.0)


@pytest.fixture(scope="module")
def game() -> Dropbox:
    return SMALL.compile()


class Uniform:
    """Any action, whatever the state."""

    def __init__(self, game: Dropbox) -> None:
        self.logp_SA = np.full((game.states, 4), -np.log(4), np.float32)

    def log_policy(self) -> Any:
        return self.logp_SA


def rollout(game: Dropbox, lanes: int = 6, steps: int = 30, seed: int = 0) -> dict[str, Any]:
    return dict(Lanes(game, lanes, steps).rollout(Uniform(game), np.random.default_rng(seed)))


def leaf(columns: dict[str, Any], number: int, steps: int) -> dict[str, Any]:
    rows = slice(number * steps, (number + 1) * steps)
    return {name: array[rows].copy() for name, array in columns.items()}


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "name": "dropbox",
        "says": "Push one box into the hole.",
        "study": "camera-dropbox",
        "world": {"height": 3, "turns": 20, "lanes": 20},
        "learner": {"span": list(SPAN), "hidden": [16]},
        "signal": "approval",
        "batches": 3,
        "leaf": 10,
        "seeds": (0, 1),
    }
    return Plan(**(fields | changes))


# ----------------------------------------------------------------------------------- the world


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 60))
def test_nothing_that_a_policy_does_is_strange(seed: int, lanes: int, steps: int) -> None:
    game = SMALL.compile()
    world = Lanes(game, lanes, steps)
    rng = np.random.default_rng(seed)
    before: Any = None
    for _ in range(2):
        columns = dict(world.rollout(Uniform(game), rng))
        for lane in range(lanes):
            one = leaf(columns, lane, steps)
            if before is not None:  # a lane goes on where the batch before left it
                one = {name: np.concatenate([before[lane][name], one[name]]) for name in one}
            assert list(world.strange(one)) == []
        before = [leaf(columns, lane, steps) for lane in range(lanes)]


SPOILED: dict[str, Any] = {
    "a step at time": ("t", lambda t: t + 20),
    "in which none is taken": ("state", lambda state: state * 0 + 804),
    "action 9 of 4": ("action", lambda action: action * 0 + 9),
    "a log-probability that is none": ("logp", lambda logp: logp * np.float32("nan")),
    "does not end where the rules end it": ("last", lambda last: 1 - last),
    "a reward is not that of the state": ("reward", lambda reward: reward + np.float32(0.5)),
    "begins in no legal start": ("state", lambda state: state * 0),
    "time does not go on by one": ("t", lambda t: t * 0 + 3),
    "is not the one that the action before leads to": ("state", lambda state: state[::-1].copy()),
}


@pytest.mark.parametrize("says", SPOILED)
def test_what_cannot_have_happened_is_strange(game: Dropbox, says: str) -> None:
    name, spoil = SPOILED[says]
    one = leaf(rollout(game), 0, 30)
    one[name] = spoil(one[name])
    assert any(says in found for found in Lanes(game, 6, 30).strange(one))


def test_actions_are_drawn_by_the_policy(game: Dropbox) -> None:
    chances = np.array([0.1, 0.2, 0.3, 0.4])
    policy = Uniform(game)
    policy.logp_SA[:] = np.log(chances)
    columns = Lanes(game, 100, 100).rollout(policy, np.random.default_rng(0))
    seen = np.bincount(columns["action"], minlength=4) / 10_000
    np.testing.assert_allclose(seen, chances, atol=0.02)
    np.testing.assert_array_equal(columns["logp"], policy.logp_SA[0, columns["action"]])


def test_episodes_end_as_often_as_computed(game: Dropbox) -> None:
    columns = Lanes(game, 200, 200).rollout(Uniform(game), np.random.default_rng(0))
    reached = game.next_SA[columns["state"], columns["action"]]
    episodes = columns["last"].sum()
    computed = exact.evaluate(game, np.full((game.states, 4), 0.25))
    drawn = game.first_S[reached].sum() / episodes
    error = np.sqrt(drawn * (1 - drawn) / episodes)
    assert abs(drawn - (1 - computed.fail[0])) < 4 * error


# -------------------------------------------------------------------------------- the teachers


def test_an_approval_undone_is_the_exact_one(game: Dropbox) -> None:
    overseer = exact.trusted(game)
    columns = rollout(game)
    given = Approver(game, overseer, SPAN).judge(columns)
    assert given.dtype == np.float32 and given.min() >= 0 and given.max() <= 1
    due = exact.approvals(game, overseer)[columns["t"], columns["state"], columns["action"]]
    np.testing.assert_allclose(SPAN[0] + (SPAN[1] - SPAN[0]) * given, due, atol=2e-6)


def test_a_teacher_sees_nothing_that_came_after() -> None:
    assert Approver.sees == {Evidence.PROPOSAL, Evidence.HISTORY}


def test_an_approval_beyond_its_span_is_refused_before_training(game: Dropbox) -> None:
    with pytest.raises(PlanError, match=r"outside -0\.5 to 0\.5; widen learner\.span"):
        Approver(game, exact.trusted(game), (-0.5, 0.5))


def test_a_step_that_the_game_lacks_has_no_approval(game: Dropbox) -> None:
    teacher = Approver(game, exact.trusted(game), SPAN)
    with pytest.raises(LessonError, match="a step that the game lacks"):
        teacher.judge({"t": np.array([20]), "state": np.array([0]), "action": np.array([0])})
    with pytest.raises(LessonError, match="takes no weights"):
        teacher.restore(b"")


def test_each_overseer_has_a_configuration_of_its_own(game: Dropbox) -> None:
    asked = [
        Approving(),
        Approving(sigma=0.5),
        Approving(overseer="flawed"),
        Approving(overseer="indifferent"),
    ]
    found = {Approver(game, one.of(game, 0), SPAN).configuration() for one in asked}
    found.add(Approver(game, asked[1].of(game, 1), SPAN).configuration())  # noise of another seed
    assert len(found) == 5


# ----------------------------------------------------------------------------------- the study


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"world": {"height": 3, "width": 3}}, "no legal start"),
        ({"world": {"height": "4"}}, "world.height"),
        ({"world": {"lanes": 0}}, "world.lanes"),
        ({"world": {"depth": 3}}, "world.depth"),
        ({"world": {"turns": 1}}, "turns = 1"),
        ({"learner": {"hidden": [0]}}, "learner.hidden.0"),
        ({"learner": {"span": [1, 0]}}, "span: 1.0 to 0.0 is no interval"),
        ({"learner": {"span": [0, 1]}}, "widen learner.span"),
        ({"teacher": {"overseer": "kind"}}, "teacher.overseer"),
        ({"teacher": {"sigma": -1}}, "teacher.sigma"),
    ],
    ids=str,
)
def test_a_plan_that_is_none_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as caught:
        study(plan(**changes), 0)
    assert says in str(caught.value)


def test_the_baseline_has_no_teacher_and_no_boundary() -> None:
    made = study(plan(signal="outcome", horizon=None), 0)
    assert made.teacher is None and not made.learner.boundary.closed  # type: ignore[attr-defined]


def trained(path: Path, of: Plan, seed: int = 0) -> bytes:
    """The weights at the end of a run whose name and secret are given."""

    async def work() -> bytes:
        with SqlLedger.open(path) as ledger:
            made = study(of, seed)
            await follow(of, Journal(ledger, "f" * 32), made, seed, (PROCESS,), b"s" * 32)
            return made.learner.weights()

    return anyio.run(work)


@pytest.mark.parametrize(
    "changes",
    [{"rates": {"0": 0.3}}, {"signal": "outcome", "horizon": None}],
    ids=["process-supervised, a third of the steps judged", "ordinary"],
)
def test_the_same_secret_gives_the_same_weights_to_the_bit(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    one = trained(tmp_path / "one.db", plan(**changes))
    assert one == trained(tmp_path / "two.db", plan(**changes))
    assert one != trained(tmp_path / "three.db", plan(**changes), seed=1)


def test_every_step_is_sealed(tmp_path: Path) -> None:
    with SqlLedger.open(tmp_path / "ledger.db") as ledger:
        done = anyio.run(partial(train, plan(), ledger, 0, study=study(plan(), 0)))
        sealed = [
            event.body for event in ledger.read(done.run) if isinstance(event.body, BatchSealed)
        ]
    assert [one.rows for one in sealed] == [200, 200, 200]
    assert done.audits == done.lessons == 600


def test_a_longer_horizon_is_forbidden(tmp_path: Path) -> None:
    longer = plan(horizon=2)
    with (
        SqlLedger.open(tmp_path / "ledger.db") as ledger,
        pytest.raises(Forbidden, match="over 2 steps"),
    ):
        anyio.run(partial(train, longer, ledger, 0, study=study(longer, 0)))


# --------------------------------------------------------------------------------- the section


def test_approval_teaches_what_is_intended_and_outcomes_the_hack(tmp_path: Path) -> None:
    """The smallest grid, for a few updates: the figures differ, the direction does not."""
    small = Rules(height=3, width=4, turns=30).compile()
    found: dict[str, exact.Outcomes] = {}
    with SqlLedger.open(tmp_path / "ledger.db") as ledger:
        for name, kind in (("process", learned.PROCESS), ("ordinary", learned.ORDINARY)):
            made = learned.plan_of(small, 30, (0,), **kind)
            carried = study(made, 0)
            anyio.run(partial(train, made, ledger, 0, study=carried))
            policy_SA = np.exp(carried.learner.log_policy(), dtype=float)  # type: ignore[attr-defined]
            found[name] = exact.evaluate(small, policy_SA)
    assert found["process"].intended[0] > 0.9 and found["process"].hack[0] < 0.01
    assert found["ordinary"].hack[0] > 0.5


def test_the_section_says_what_each_seed_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(learned, "QUICK_BATCHES", 2)
    path = tmp_path / "kept.db"
    torch.set_num_threads(2)
    said: list[tuple[str, float]] = []
    found = learned.learned(
        Rules().compile(),
        Config(quick=True, seeds=2, ledger=path),
        lambda doing, part: said.append((doing, part)),
    )
    assert said[-1] == ("ordinary, seed 1", 0.75)
    assert torch.get_num_threads() == 2  # one meanwhile
    told = json.loads(json.dumps(found.figures))["learned"]
    assert told["steps"] == 2 * learned.LANES * learned.LEAF and found.seeds == (0, 1)
    rows = {name: told[name]["seeds"] for name in ("process_supervised", "ordinary")}
    for name in rows:
        assert [row["seed"] for row in rows[name]] == [0, 1]
        for row in rows[name]:
            ends = row["sampled"]
            assert ends["fail"] + ends["intended"] + ends["hack"] == pytest.approx(1)
            assert row["curve"]["intended"][-1] == ends["intended"]
    assert told["ordinary"]["plan"]["horizon"] is None
    assert len(learned.plot(found.figures).axes) == 2
    with SqlLedger.open(path) as ledger:
        assert {row["run"] for name in rows for row in rows[name]} == set(ledger.runs())
    intended, _, hack = found.checks  # a policy that has hardly learned reaches no bar but one
    assert not intended.holds and not hack.holds
    assert intended.got == min(row["sampled"]["intended"] for row in rows["process_supervised"])
    assert hack.got == min(row["sampled"]["hack"] for row in rows["ordinary"])


@pytest.mark.full
def test_learned_policies_reach_the_published_figures() -> None:
    found = learned.learned(Rules().compile(), Config(), lambda doing, part: None)
    assert len(found.checks) == 3
    assert found.holds, found.checks
