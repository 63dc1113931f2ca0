"""Camera Dropbox learned directly from an oracle's word: its ratings, or its comparisons."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audition.canonical import digest_bytes
from audition.lab.dropbox import exact
from audition.lab.dropbox.person import Audited, Moments, check_candidates, game_of
from audition.lab.dropbox.rules import ACTIONS, Dropbox
from audition.lab.dropbox.world import Approver, declared
from audition.learn import Boundary, LessonError, Lessons, Outcomes, Plan, Study, Untrained
from audition.learn.batch import Columns
from audition.learn.objectives import plackett_luce
from audition.learn.ppo import Ppo, Settings
from audition.step import Digest, Evidence, Role


def study(plan: Plan, seed: int) -> Study:
    """The study `camera-dropbox-few-audits`.

    Raises:
        PlanError: the plan's `world` or `learner` is none of this study's, or its world does not
            offer what its signal needs.
    """
    audited, settings = declared(Audited, plan, "world"), declared(Settings, plan, "learner")
    game = game_of(plan, audited)
    check_candidates(plan, audited)
    compares = plan.signal == "comparison"
    learner = (Preferring if compares else Ppo)(
        game.features_SF,
        len(ACTIONS),
        settings,
        Boundary(plan.horizon),
        seed=seed,
        updates=plan.batches,
    )
    teacher = Ranker(game) if compares else Approver(game, exact.trusted(game), settings.span)
    return Study(Moments(game, audited, plan.leaf), learner, teacher)


class Ranker(Untrained):
    """The oracle as one who compares: orders candidates by their approval, equals by a coin."""

    name, role, person = "overseer", Role.TEACHER, False
    sees = frozenset({Evidence.CANDIDATES, Evidence.HISTORY, Evidence.PROPOSAL})

    def __init__(self, game: Dropbox) -> None:
        approval_TSA = exact.approvals(game, exact.trusted(game)).round(9)
        coin_TSA = np.random.default_rng(0).random(approval_TSA.shape)
        self._order_TSA = np.lexsort((coin_TSA, approval_TSA), axis=-1).argsort(-1).astype(np.int8)

    def configuration(self) -> Digest:
        """Digest of all its orders."""
        return digest_bytes(self._order_TSA.tobytes())

    def judge(self, shown: Columns) -> NDArray[np.int64]:
        """Rankings (R, K) of candidates, best first."""
        place_RK = shown["t"][:, None], shown["state"][:, None], shown["candidate"]
        return np.argsort(-self._order_TSA[place_RK], axis=1)


class Preferring(Ppo):
    """A policy that learns by comparison: its logits are the scores of a Plackett–Luce model."""

    name = "preferring"

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """Improve the policy on one batch of comparisons, `epochs` times over.

        Raises:
            LessonError: these are no comparisons.
        """
        if isinstance(lessons, Outcomes) or lessons.ranking_LK is None:
            raise LessonError(f"{self.name} learns by comparison alone")
        arrays = {
            "context.state": torch.from_numpy(lessons.context["state"].astype(np.int64)),
            "candidates.candidate": torch.from_numpy(
                lessons.candidates["candidate"].astype(np.int64)
            ),
            "ranking": torch.from_numpy(lessons.ranking_LK),
        }
        weight_L = torch.from_numpy(lessons.weight_L.astype(np.float32))
        loss = torch.zeros(())
        for _ in range(self.settings.epochs):
            loss = self.boundary.total(self.losses(arrays), weight_L, lessons.population)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        return {"loss": float(loss.detach())}

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Each lesson's own loss: the negative log-likelihood of its ranking.

        Args:
            arrays: `context.state`, `candidates.candidate` and `ranking`.

        Returns:
            Shape (L).
        """
        logits_LA = self.policy(self._features_SF)[arrays["context.state"]]
        score_LK = logits_LA.gather(1, arrays["candidates.candidate"])
        return plackett_luce(score_LK, arrays["ranking"])
