"""Who judges with a model, as a project file says it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from audition.audit.comparing import BETTER, LABELS, Compared
from audition.audit.critic import Critic
from audition.audit.document import Shown
from audition.audit.trained import DEVICE, Trained
from audition.model import Inspected, Provider, Served, Server
from audition.step import Frozen, Name, Role


class Asks(Frozen):
    """What holds for every auditor that asks a model."""

    name: Name
    """Its name, for the gate."""
    server: Server | None = None
    """The model, behind an OpenAI-compatible server; or else"""
    provider: Provider | None = None
    """the model, of any provider that inspect-ai knows."""
    shown: Shown = Shown()
    """How much of a view it is shown."""
    retries: int = Field(default=2, ge=0, le=100)
    """Answers that do not count and may be asked for again, for each moment."""

    @model_validator(mode="after")
    def _one_model(self) -> Asks:
        if (self.server is None) == (self.provider is None):
            raise ValueError("it asks one model: give it a server or a provider")
        return self

    def chat(self) -> Served | Inspected:
        """The model.

        Raises:
            ValueError: its key is missing from the environment, or the extra is not installed.
        """
        if self.server is not None:
            return Served(self.server)
        assert self.provider is not None
        return Inspected(self.provider)


class CriticAuditor(Asks):
    """`[[auditors]] kind = "critic"`: a model that judges one step; see `Critic`."""

    kind: Literal["critic"]
    role: Literal["teacher", "guard"] = "guard"
    """In which role."""
    rubric: str | None = Field(default=None, min_length=1, max_length=20_000)
    """What it judges by; that of its role if left out."""
    thoughts: bool = False
    """Whether a guard is shown what was thought."""

    def auditor(self) -> Critic:
        """The auditor.

        Raises:
            ValueError: as `chat`, or a teacher was to see thoughts.
        """
        return Critic(
            self.name,
            self.chat(),
            role=Role(self.role),
            rubric=self.rubric,
            thoughts=self.thoughts,
            limits=self.shown,
            retries=self.retries,
        )


class ComparisonAuditor(Asks):
    """`[[auditors]] kind = "comparison"`: a model that ranks candidates; see `Compared`."""

    kind: Literal["comparison"]
    way: Literal["pairs", "list"] = "pairs"
    """Every pair in both orders, or all in a list and again in another order."""
    rubric: str = Field(default=BETTER, min_length=1, max_length=20_000)
    """What it compares by."""
    most: int = Field(default=8, ge=2, le=len(LABELS))
    """Candidates that it compares at most."""

    def auditor(self) -> Compared:
        """The auditor.

        Raises:
            ValueError: as `chat`.
        """
        return Compared(
            self.name,
            self.chat(),
            way=self.way,
            rubric=self.rubric,
            most=self.most,
            limits=self.shown,
            retries=self.retries,
        )


class TrainedAuditor(Frozen):
    """`[[auditors]] kind = "trained"`: a model that was trained from verdicts; see `Trained`."""

    kind: Literal["trained"]
    name: Name
    """Its name, for the gate."""
    folder: str = Field(min_length=1)
    """What `audition train-auditor` wrote, relative to the project file."""
    role: Literal["teacher", "guard"] | None = None
    """The role that it must have; left out: the one that it has."""
    candidates: bool = False
    """Whether a teacher is shown all candidates of a moment, and approves of each."""
    device: str = Field(default="cpu", pattern=DEVICE)
    """Where its model is: `cpu`, `cuda`, `cuda:1`, `mps`."""

    def auditor(self, here: Path) -> Trained:
        """The auditor.

        Args:
            here: the folder of the project file.

        Raises:
            TrainedError: the folder holds none, another one, or one of another role.
        """
        role = None if self.role is None else Role(self.role)
        return Trained(
            self.name,
            here / self.folder,
            role=role,
            candidates=self.candidates,
            device=self.device,
        )
