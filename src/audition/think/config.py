"""Who thinks, as a project file says it: a language model, or a person at this terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from audition.box import Library
from audition.model import Inspected, Provider, Served, Server
from audition.step import Frozen, Name, ToolSchema
from audition.think.model import LanguageModel, ThoughtBudget


class Thinks(Frozen):
    """What holds for every model that thinks, wherever it is served."""

    budget: ThoughtBudget = ThoughtBudget()
    """What one thought may cost."""
    library: str | None = None
    """What it may search and read, relative to the project file."""


class ModelThinker(Server, Thinks):
    """`[thinker] kind = "model"`: a model behind an OpenAI-compatible server."""

    kind: Literal["model"]


class InspectThinker(Provider, Thinks):
    """`[thinker] kind = "inspect"`: a model of any provider that inspect-ai knows."""

    kind: Literal["inspect"]


class HumanThinker(Frozen):
    """`[thinker] kind = "person"`: whoever sits at the terminal; see `PersonThinker`."""

    kind: Literal["person"]
    name: Name
    """The person's name."""


def language_model(
    file: ModelThinker | InspectThinker, tools: Sequence[ToolSchema], library: Library | None
) -> LanguageModel:
    """The thinker that a project file describes.

    Args:
        file: as it stands there.
        tools: schemas of the project's executors.
        library: what its `library` names, opened.

    Raises:
        ValueError: a key or the extra is missing, or a tool's schema refers to itself.
    """
    chat = Served(file) if isinstance(file, ModelThinker) else Inspected(file)
    return LanguageModel(chat, tools, budget=file.budget, library=library)
