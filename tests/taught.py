"""A small training: a model that answers at random, and a teacher who wants one answer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.box import BoxConfig
from audition.gate import threshold
from audition.learn import PROCESS
from audition.learn.alternating import Alternated, MakeProject, Schedule, alternate
from audition.learn.language import LanguageLearner, Learning, Lora
from audition.learn.step_grpo import Objective
from audition.ledger import Journal, SqlLedger
from audition.model import Asked, LocalModel
from audition.model.local import Loaded, Local, loaded
from audition.project import Budget, Project
from audition.step import Evidence, Finish, Role, Verdict, View
from audition.think import LanguageModel, ThoughtBudget
from chatting import CALL, CALLED, END, proposing, written

ANSWERS = ("one", "two", "three")
FINISH = {answer: proposing(f'{{"kind": "finish", "answer": "{answer}"}}') for answer in ANSWERS}
LEARNING = {"rate", "objective", "lora"}
SAYS = {
    "\n": {CALL: 1.0},
    CALL: dict.fromkeys(FINISH.values(), 1.0),
    **{call: {CALLED: 1.0} for call in FINISH.values()},
    CALLED: {END: 1.0},
}


class Wants:
    """A teacher who approves of one answer, of each candidate that it is shown."""

    name = "teacher"
    role = Role.TEACHER
    sees = frozenset({Evidence.PROPOSAL, Evidence.CANDIDATES})

    async def audit(self, view: View) -> Verdict:
        each = tuple(
            float(isinstance(one, Finish) and one.answer == "two") for one in view.candidates or ()
        )
        return Verdict(
            auditor=self.name,
            role=self.role,
            moment=view.moment_digest,
            score=each[0],
            approvals=each if len(each) > 1 else None,
            saw=tuple(sorted(self.sees)),
        )


def project(given: Loaded, name: str, together: int = 1) -> Project:
    config = LocalModel(folder="m", together=together, asked=Asked(temperature=1.0, tokens=8))
    return Project(
        name=name or "answers",
        goal="answer",
        thinker=LanguageModel(Local(config, given), (), budget=ThoughtBudget(calls=1)),
        box=BoxConfig(),
        auditors={"teacher": Wants()},
        gate=threshold("teacher", reject_at=1),
        budget=Budget(steps=1),
        candidates=4,
        secret=b"s" * 32,
    )


async def trained(folder: Path, ledger: SqlLedger, **changes: Any) -> Alternated:
    """Train in a folder, or go on with it."""
    model = folder / "m"
    if not model.exists():
        written(model, SAYS)
    learner = learns(model, **{name: changes.pop(name) for name in LEARNING & changes.keys()})
    restrictions, carrying = changes.pop("restrictions", (PROCESS,)), changes.pop("carrying", None)
    given = {"teacher": "teacher", "updates": 2, "runs": 4} | changes
    schedule = Schedule(learning=learner.learning, **given)
    return await alternate(
        ledger,
        schedule,
        learner,
        project,
        folder / "checkpoints",
        restrictions=restrictions,
        carrying=carrying,
    )


def learns(model: Path, **changes: Any) -> LanguageLearner:
    """The model in its folder, as it learns."""
    given = {
        "rate": 0.05,
        "objective": Objective(normaliser="grpo"),
        "lora": Lora(rank=4, alpha=8, targets=("lm_head",)),
    }
    learning = Learning(**given | changes)
    return LanguageLearner(loaded(LocalModel(folder="m"), model), learning, model)


def learning_of(normaliser: Any) -> Learning:
    """Of all weights, by steps that can be told from rounding."""
    return Learning(rate=1e-3, objective=Objective(normaliser=normaliser))


@dataclass(frozen=True)
class Opens:
    """What a worker elsewhere opens: the same training, from its folder."""

    folder: Path

    def __call__(self) -> tuple[LanguageLearner, MakeProject, SqlLedger]:
        ledger = SqlLedger.open(self.folder / "l.db", create=False)
        return learns(self.folder / "m"), project, ledger


@dataclass(frozen=True)
class Dies(Opens):
    """The first worker in which so many events were staged kills itself."""

    after: int = 9

    def __call__(self) -> Any:
        log, left = Journal.log, [self.after]

        def counted(journal: Journal, body: Any) -> Any:
            left[0] -= 1
            if not left[0] and not (died := self.folder / "died").exists():
                died.touch(exist_ok=False)
                os.kill(os.getpid(), 9)
            return log(journal, body)

        Journal.log = counted  # type: ignore[method-assign]
        return super().__call__()
