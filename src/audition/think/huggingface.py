"""A Hugging Face model in this process thinks; its tokens are recorded as it sampled them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from audition.box import Library
from audition.extra import installing
from audition.model import LocalModel
from audition.step import ToolSchema
from audition.think.config import Thinks
from audition.think.model import LanguageModel


class HuggingFaceThinker(LocalModel, Thinks):
    """`[thinker] kind = "huggingface"`: a model in a folder, run here; the extra `learn`."""

    kind: Literal["huggingface"]


def huggingface(
    file: HuggingFaceThinker, here: Path, tools: Sequence[ToolSchema], library: Library | None
) -> LanguageModel:
    """The thinker that a project file describes.

    Args:
        file: as it stands there.
        here: the folder to which its paths are relative.
        tools: schemas of the project's executors.
        library: what its `library` names, opened.

    Raises:
        ValueError: the extra is missing, there is no such model, its weights are not those that
            were deployed, or a tool's schema refers to itself.
    """
    try:
        from audition.model.local import Local, loaded
        from audition.model.updated import deployed
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: {installing('learn')}") from None
    folder = here / file.folder
    pointer = None if file.deployed is None else here / file.deployed
    given = loaded(file, folder) if pointer is None else deployed(file, folder, pointer)
    return LanguageModel(Local(file, given), tools, budget=file.budget, library=library)
