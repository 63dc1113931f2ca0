"""A person's answers, the moments they are about, and what an overseer makes of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from audition.lab.claim import ClaimError, Config
from audition.lab.dropbox import exact, overseer
from audition.lab.dropbox.person import Audited, Judging, Moments, Person
from audition.lab.dropbox.rules import Dropbox, Rules
from audition.learn import PROCESS, LessonError, NoLessons, Plan, PlanError, follow, train
from audition.learn.plan import ready
from audition.ledger import Journal, SqlLedger
from audition.ledger.events import AuditRecorded
from audition.verify import certify, verify

SMALL = Rules(height=3, width=4, turns=20)
STUDIES = {"camera-dropbox-audits": overseer.audits, "camera-dropbox-overseen": overseer.overseen}

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast")


@pytest.fixture(scope="module")
def game() -> Dropbox:
    return SMALL.compile()


class Uniform:
    """Any action, whatever the state."""

    def __init__(self, game: Dropbox) -> None:
        self.logp_SA = np.full((game.states, 4), -np.log(4), np.float32)

    def log_policy(self) -> Any:
        return self.logp_SA


def unheard(doing: str, part: float) -> None:
    """Progress that nobody looks at."""


def moments(game: Dropbox, candidates: int = 4, lanes: int = 20, **changes: Any) -> Moments:
    return Moments(game, Audited(lanes=lanes, candidates=candidates, **changes), 8)


def rows_of(world: Moments, seed: int = 0) -> dict[str, Any]:
    return dict(world.rollout(Uniform(world.game), np.random.default_rng(seed)))


def small(plan: Plan, **changes: Any) -> Plan:
    """The same plan, of the small game and a few short batches."""
    world = {**plan.world, "height": 3, "width": 4, "turns": 20, "lanes": 8}
    learner = {**plan.learner}
    if plan.study == "camera-dropbox-audits":
        learner |= {"steps": 5, "hidden": 8, "members": 2}
    else:
        learner |= {"epochs": 1, "hidden": [8]}
    return plan.model_copy(
        update={"world": world, "learner": learner, "batches": 2, "rates": {"0": 0.5}} | changes
    )


def find(plan: Plan, seed: int, get: Any) -> Any:
    return ready(STUDIES[plan.study](plan, seed), plan, seed, get)


def carried_out(plan: Plan, ledger: SqlLedger) -> Any:
    return anyio.run(partial(train, plan, ledger, 0, study=STUDIES[plan.study](plan, 0)))


# ------------------------------------------------------------------------------- the person


def test_a_person_gives_grades_and_the_best_step_the_highest(game: Dropbox) -> None:
    rows = rows_of(moments(game, candidates=1), seed=1)
    person = Person(game, Judging(sigma=0.0), 0)
    rating = person.judge(rows)
    assert set(np.unique(np.round(rating * 5, 9))) <= {0, 1, 2, 3, 4, 5}
    approval_TSA = exact.approvals(game, exact.trusted(game))
    second_A = game.second_S[game.next_SA]
    own = approval_TSA[rows["t"], rows["state"], rows["action"]]
    best = approval_TSA[rows["t"], rows["state"]].max(1)
    plain = ~second_A[rows["state"]].any(1)  # where observed and true reward are the same
    assert (rating[plain & (own > best - 1e-9)] == 1).all()
    assert (rating[plain & (own < best - 0.06)] == 0).all()


def test_no_rating_is_a_minus_zero_that_a_verdict_cannot_carry(game: Dropbox) -> None:
    rows = rows_of(moments(game, candidates=1, lanes=100))
    rating = Person(game, Judging(worst=0.02, sigma=0.05), 0).judge(rows)
    assert (rating == 0).any() and not np.signbit(rating).any()


def test_a_second_box_in_the_hole_is_never_approved_of(game: Dropbox) -> None:
    t, state, action = np.nonzero(
        np.broadcast_to(game.second_S[game.next_SA], (SMALL.turns - 1, game.states, 4))
    )
    rating = Person(game, Judging(sigma=0.0), 0).judge({"t": t, "state": state, "action": action})
    assert len(rating) and (rating == 0).all()


def test_a_ranking_is_in_the_order_of_what_the_same_person_would_say_of_each(game: Dropbox) -> None:
    rows = rows_of(moments(game))
    person = Person(game, Judging(sigma=0.0), 0)
    ranking_RK = person.judge(rows)
    rating_RK = np.stack(
        [
            person.judge(
                {"t": rows["t"], "state": rows["state"], "action": rows["candidate"][:, k]}
            )
            for k in range(4)
        ],
        axis=1,
    )
    assert (np.diff(np.take_along_axis(rating_RK, ranking_RK, 1), axis=1) <= 0).all()


def test_equals_are_ordered_by_a_coin_that_favours_none(game: Dropbox) -> None:
    shown = {
        "t": np.arange(2000) % (SMALL.turns - 1),
        "state": np.arange(2000) % game.states,
        "candidate": np.tile(np.arange(4), (2000, 1)),
    }
    person = Person(game, Judging(sigma=0.0, worst=10.0), 0)
    worth = person._felt_TSA[shown["t"], shown["state"]]
    level = np.ptp(worth, axis=1) == 0
    first = np.bincount(person.judge(shown)[level, 0], minlength=4)
    assert level.sum() > 200
    assert abs(first / level.sum() - 0.25).max() < 0.1


def test_asked_again_a_person_says_the_same_and_another_one_does_not(game: Dropbox) -> None:
    rows = rows_of(moments(game))
    first = Person(game, Judging(), 0).judge(rows)
    assert (Person(game, Judging(), 0).judge(rows) == first).all()
    assert (Person(game, Judging(), 1).judge(rows) != first).any()


def test_a_person_is_not_shown_what_came_of_the_step(game: Dropbox, tmp_path: Path) -> None:
    seen: set[str] = set()

    class Watched(Person):
        def judge(self, shown: Any) -> Any:
            seen.update(shown)
            return super().judge(shown)

    plan = small(overseer.plan_of_audits(game, "comparing 4", 2_000, (0,)))
    study = overseer.audits(plan, 0)
    object.__setattr__(study, "teacher", Watched(game, Judging(), 0))
    with SqlLedger.open(tmp_path / "l.db") as ledger:
        anyio.run(partial(train, plan, ledger, 0, study=study))
    assert seen == {"t", "state", "action", "logp", "candidate", "after"}


def test_a_step_that_the_game_lacks_is_refused_and_weights_are_too(game: Dropbox) -> None:
    person = Person(game, Judging(), 0)
    with pytest.raises(LessonError, match="a step that the game lacks"):
        person.judge({"t": np.array([0]), "state": np.array([10**6]), "action": np.array([0])})
    with pytest.raises(LessonError, match="was not trained"):
        person.restore(b"")


# ------------------------------------------------------------------------------- moments


@pytest.mark.parametrize("candidates", [1, 2, 3, 4])
def test_candidates_are_different_actions_of_one_moment_the_proposal_first(
    game: Dropbox, candidates: int
) -> None:
    world = moments(game, candidates, edges=(3, 6))
    rows = rows_of(world)
    assert set(rows) == {one.name for one in world.layout}
    assert (rows["stratum"] == np.searchsorted([3, 6], rows["t"], "right")).all()
    if candidates > 1:
        assert (rows["candidate"][:, 0] == rows["action"]).all()
        assert all(len(set(row)) == candidates for row in rows["candidate"].tolist())
        assert (rows["after"] == game.next_SA[rows["state"][:, None], rows["candidate"]]).all()
    for lane in range(20):
        leaf = {name: one[lane * 8 : lane * 8 + 8] for name, one in rows.items()}
        assert list(world.strange(leaf)) == []


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("stratum", "another stratum"),
        ("after", "a candidate of another moment"),
        ("candidate", "not different actions"),
        ("swapped", "candidate 0 is not the proposal"),
    ],
)
def test_a_leaf_that_the_rules_do_not_allow_is_called_strange(
    game: Dropbox, column: str, says: str
) -> None:
    world = moments(game, edges=(3,))
    leaf = {name: one[:8].copy() for name, one in rows_of(world).items()}
    if column == "swapped":
        leaf["candidate"] = leaf["candidate"][:, ::-1]
    elif column == "candidate":
        leaf["candidate"][3, 1] = leaf["candidate"][3, 2]
    else:
        leaf[column][3] = (leaf[column][3] + 1) % 2
    assert any(says in found for found in world.strange(leaf))


def test_batches_that_begin_anew_never_get_far_into_an_episode(game: Dropbox) -> None:
    world = moments(game, afresh=True)
    assert [rows_of(world, seed)["t"].max() for seed in range(4)] == [7] * 4
    world = moments(game)
    assert [rows_of(world, seed)["t"].max() for seed in range(2)] == [7, 15]


@pytest.mark.parametrize("edges", [(0,), (3, 3), (5, 2), (70_000,)])
def test_strata_that_do_not_follow_one_another_are_refused(edges: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not rise"):
        Audited(edges=edges)


def test_an_overseer_sees_every_state_otherwise_and_no_box_that_is_not_there(game: Dropbox) -> None:
    seen = overseer.prospects(game)
    assert (seen.there_SB.sum(1) == game.boxes_S).all()
    assert (seen.parts_SBF[~seen.there_SB] == 0).all()
    some = [
        frozenset(part.tobytes() for part in parts) for parts in seen.parts_SBF[game.boxes_S > 0]
    ]
    assert len(set(some)) == len(some)


# ------------------------------------------------------------------------------- plans


@pytest.mark.parametrize("budget", [0, -5, 149, 10_241])
def test_a_budget_that_no_plan_can_spend_is_refused(game: Dropbox, budget: int) -> None:
    with pytest.raises(ClaimError, match=f"a budget of {budget} audits"):
        overseer.plan_of_audits(game, "rating", budget, (0,))


def test_an_answer_that_nobody_gives_is_refused(game: Dropbox) -> None:
    with pytest.raises(ClaimError, match="no overseer answers by 'comparing 9'"):
        overseer.plan_of_audits(game, "comparing 9", 2_000, (0,))


def test_a_plan_that_draws_nothing_stops(game: Dropbox, tmp_path: Path) -> None:
    plan = small(overseer.plan_of_audits(game, "rating", 2_000, (0,)), rates={"0": 1e-9})
    with (
        SqlLedger.open(tmp_path / "l.db") as ledger,
        pytest.raises(NoLessons, match="drew none of 128 rows"),
    ):
        carried_out(plan, ledger)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"signal": "approval"}, "approval where a moment offers 4 candidates"),
        ({"world": {"height": 3, "width": 3, "candidates": 4}}, "no legal start"),
        ({"world": {"candidates": 5}}, "world.candidates"),
        ({"teacher": {"sigma": -1}}, "teacher.sigma"),
        ({"learner": {"members": 0}}, "learner.members"),
    ],
)
def test_a_plan_of_audits_that_does_not_fit_is_refused(
    game: Dropbox, changes: dict[str, Any], says: str
) -> None:
    plan = overseer.plan_of_audits(game, "comparing 4", 2_000, (0,)).model_copy(update=changes)
    with pytest.raises(PlanError, match=says):
        overseer.audits(plan, 0)


# ------------------------------------------------------------------------------- training


def test_outcomes_reach_no_overseer(game: Dropbox, tmp_path: Path) -> None:
    """Every reward and every ending is turned round: the same audits give the same weights."""

    class Corrupt(Moments):
        def rollout(self, learner: Any, rng: np.random.Generator) -> Any:
            rows = dict(super().rollout(learner, rng))
            return rows | {"reward": -rows["reward"], "last": 1 - rows["last"]}

    plan = small(overseer.plan_of_audits(game, "rating", 2_000, (0,)))
    made = []
    for number, world in enumerate((Moments, Corrupt)):
        study = overseer.audits(plan, 0)
        object.__setattr__(study, "world", world(game, study.world.audited, plan.leaf))
        with SqlLedger.open(tmp_path / f"{number}.db") as ledger:
            pen = Journal(ledger, "0" * 32)
            made.append(anyio.run(follow, plan, pen, study, 0, (PROCESS,), b"\1" * 32).thinker)
    assert made[0] == made[1]


@pytest.mark.parametrize("answer", ["rating", "comparing 2"])
def test_a_policy_rests_on_the_verdicts_that_its_overseer_bought(
    game: Dropbox, tmp_path: Path, answer: str
) -> None:
    path = tmp_path / "l.db"
    with SqlLedger.open(path) as ledger:
        bought = carried_out(small(overseer.plan_of_audits(game, answer, 2_000, (0,))), ledger)
        plan = small(overseer.plan_of_policy(game, bought.thinker, 2, 0), rates={"0": 1.0})
        taught = carried_out(plan, ledger)
        events = list(ledger.read(bought.run))
    verdicts = [one.body.verdict for one in events if isinstance(one.body, AuditRecorded)]
    assert len(verdicts) == bought.audits > 0
    assert all(one is not None and one.auditor == "person" for one in verdicts)
    assert [str(one) for one in verify(path).findings] == []
    shown = certify(path, taught.thinker, leaves=4, again=True, find=find)
    text = json.dumps(shown.model_dump(mode="json"))
    assert '"holds": false' not in text.lower()
    assert bought.run in text


def test_an_overseer_that_the_ledger_does_not_hold_teaches_nobody(
    game: Dropbox, tmp_path: Path
) -> None:
    plan = small(overseer.plan_of_policy(game, "ab" * 32, 2, 0), rates={"0": 1.0})
    with SqlLedger.open(tmp_path / "l.db") as ledger, pytest.raises(Exception, match="abab"):
        carried_out(plan, ledger)


def test_the_section_tells_every_seed_and_draws_it(
    game: Dropbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overseer, "FEWER", 1)
    monkeypatch.setattr(overseer, "FIT_STEPS", {"comparing 4": 3})
    monkeypatch.setattr(overseer, "LANES", 8)
    figures = overseer.overseer(game, Config(quick=True), unheard)
    found: Any = figures.figures["overseer"]
    (row,) = found["comparing 4"]
    assert json.loads(json.dumps(found)) == found
    assert sum(row["sampled"].values()) == pytest.approx(1)
    assert row["seed"] == 0 and abs(row["audits"] - 4_000) < 300
    assert len(figures.checks) == 4
    overseer.plot(figures.figures).savefig("/dev/null", format="png")


@pytest.mark.full
def test_four_thousand_comparisons_teach_what_is_intended_on_every_seed() -> None:
    figures = overseer.overseer(Rules().compile(), Config(), unheard)
    assert figures.holds, [str(one) for one in figures.checks if not one.holds]
