"""A project whose thinker has learned, in a folder of its own, and which names who deploys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio

import taught
from audition.audit import Person
from audition.gate import keys, spec
from audition.learn.deploying import Deployed, Deploying, Deployment, deploy
from audition.ledger import PrivateKey, SqlLedger, enrol
from audition.model import LocalModel
from audition.model.deployed import Weights, held
from audition.model.updated import updated
from audition.project import Project
from audition.step import Evidence, Role
from audition.waiting import answer
from rehearsal import Says

OPERATOR = PrivateKey("ledger", bytes([1]) * 32)
ANN = PrivateKey("ann", bytes([2]) * 32)
KEYS: Mapping[str, Any] = spec(keys(1, of=["ann"]))
CONFIG = LocalModel(folder="m")


def ann() -> Person:
    return Person("ann", role=Role.GUARD, say=lambda line="": None, hear=None, key=None)


class Office:
    """A folder with a model, two updates of it, and the ledger of the training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "m"
        self.pointer = folder / "checkpoints" / "deployed.json"
        self.path = folder / "l.db"

    def train(self, **changes: Any) -> None:
        with SqlLedger.open(self.path, signer=OPERATOR) as ledger:
            anyio.run(partial(enrol, ledger, ANN.public, "ann", OPERATOR))
            anyio.run(lambda: taught.trained(self.folder, ledger, **changes))

    def make(self, wanted: Weights) -> Project:
        project = taught.project(updated(CONFIG, self.model, self.pointer, wanted), "")
        return replace(project, auditors={**project.auditors, "ann": ann()})

    def deployment(self, gate: Any = KEYS, **changes: Any) -> Deployment:
        given = {"deploying": Deploying(gate=gate, runs=2), "make": self.make} | changes
        given |= {"project": self.make(held(self.model, self.pointer, 0))}
        return Deployment(teacher="teacher", folder=self.model, pointer=self.pointer, **given)

    def deploy(self, update: int | None, **changes: Any) -> Deployed:
        given = self.deployment(**changes)
        with SqlLedger.open(self.path, signer=OPERATOR, create=False) as ledger:
            return anyio.run(deploy, ledger, given, update)

    def signs(self, run: str, score: float = 0.0, key: PrivateKey = ANN) -> None:
        """Ann's answer about the step of a run, with her key; a score is suspicion."""
        says = Says(score, name="ann", sees=frozenset({Evidence.PROPOSAL}))
        with SqlLedger.open(self.path, signer=OPERATOR, create=False) as ledger:
            anyio.run(partial(answer, ledger, run, says, key=key))
