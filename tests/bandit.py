"""A world small enough to see through: in each of four rooms one of three levers is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from audition.canonical import digest_bytes, digest_value
from audition.learn import Boundary, Lessons, Outcomes, Plan, Study, Teacher
from audition.learn.batch import Columns
from audition.ledger.events import Column
from audition.step import Evidence, Role

ROOMS, LEVERS, STEPS = 4, 3, 5

LAYOUT = (
    Column(name="room", dtype="u1", part="context"),
    Column(name="lever", dtype="u1", part="span"),
    Column(name="stage", dtype="u1", part="stratum"),
    Column(name="prize", dtype="f4", part="reward"),
    Column(name="last", dtype="u1", part="note"),
)


def right(room: Any) -> Any:
    """The lever that is right in a room."""
    return (room * 2 + 1) % LEVERS


class Rooms:
    """Rooms follow one another in a circle; the prize is for lever 0, right or not."""

    layout = LAYOUT

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes

    def rollout(self, learner: Any, rng: np.random.Generator) -> Columns:
        first = rng.integers(0, ROOMS, self.lanes)
        room = ((first[:, None] + np.arange(STEPS)) % ROOMS).ravel().astype(np.uint8)
        lever = learner.pull(room, rng)
        stage = np.tile(np.arange(STEPS) > 0, self.lanes).astype(np.uint8)
        last = np.tile(np.arange(STEPS) == STEPS - 1, self.lanes).astype(np.uint8)
        return {
            "room": room,
            "lever": lever,
            "stage": stage,
            "prize": (lever == 0).astype(np.float32),
            "last": last,
        }

    def strange(self, leaf: Columns) -> Iterator[str]:
        room = leaf["room"].astype(int)
        if ((room[1:] - room[:-1]) % ROOMS != 1).any():
            yield "a room does not follow the one before"
        if (leaf["lever"] >= LEVERS).any():
            yield "there is no such lever"


class Judge:
    """Approves of the right lever."""

    name, role, person, trained_from = "judge", Role.TEACHER, False, None
    sees = frozenset({Evidence.PROPOSAL, Evidence.HISTORY})

    def __init__(self, person: bool = False) -> None:
        self.person = person

    def configuration(self) -> str:
        return digest_value({"judge": "right lever"})

    def restore(self, weights: bytes) -> None:
        raise AssertionError("it was never trained")

    def judge(self, shown: Columns) -> Any:
        assert set(shown) <= {"room", "lever"}
        return (shown["lever"] == right(shown["room"])).astype(np.float32)


class Puller:
    """A table of preferences; gradient ascent on approval, or on returns for the baseline."""

    name = "puller"

    def __init__(self, seed: int, boundary: Boundary) -> None:
        self.table = np.random.default_rng(seed).normal(0, 0.01, (ROOMS, LEVERS))
        self.boundary = boundary

    def policy(self, room: Any) -> Any:
        raised = np.exp(self.table - self.table.max(axis=1, keepdims=True))
        return (raised / raised.sum(axis=1, keepdims=True))[room]

    def pull(self, room: Any, rng: np.random.Generator) -> Any:
        cut = rng.random((len(room), 1))
        return (
            (self.policy(room).cumsum(axis=1) < cut)
            .sum(axis=1)
            .clip(0, LEVERS - 1)
            .astype(np.uint8)
        )

    def weights(self) -> bytes:
        return self.table.tobytes()

    def restore(self, weights: bytes) -> None:
        self.table = np.frombuffer(weights).reshape(ROOMS, LEVERS).copy()

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        if isinstance(lessons, Outcomes):
            credit = Boundary(None).credit(lessons.reward_NT, lessons.last_NT).ravel()
            room, lever = (
                one["x"].ravel()
                for one in ({"x": lessons.context["room"]}, {"x": lessons.span["lever"]})
            )
            weight, population = np.ones(len(credit)), len(credit)
        else:
            assert lessons.approval_L is not None
            room, lever = lessons.context["room"], lessons.span["lever"]
            credit, weight, population = lessons.approval_L, lessons.weight_L, lessons.population
        gain = np.zeros_like(self.table)
        chosen = np.eye(LEVERS)[lever] - self.policy(room)
        np.add.at(gain, room, chosen * (credit * weight)[:, None])
        self.table += 20 * gain / population
        return {"credit": float(credit.mean())}


def study(plan: Plan, seed: int) -> Study:
    """The study of a plan."""
    lanes = int(plan.world["lanes"])  # type: ignore[arg-type]
    teacher: Teacher | None = Judge(bool(plan.teacher.get("person", False)))
    if plan.signal == "outcome":
        teacher = None
    return Study(Rooms(lanes), Puller(seed, Boundary(plan.horizon)), teacher)


def plan(**changes: Any) -> Plan:
    """A plan that takes a moment."""
    fields: dict[str, Any] = {
        "name": "levers",
        "says": "Pull the right lever in every room.",
        "study": "rooms",
        "world": {"lanes": 20},
        "signal": "approval",
        "batches": 6,
        "leaf": STEPS,
        "rates": {"0": 1.0, "1": 0.5},
        "seeds": (0, 1),
    }
    return Plan(**(fields | changes))


def digest(puller: Puller) -> str:
    """Digest of a puller's weights."""
    return digest_bytes(puller.weights())
