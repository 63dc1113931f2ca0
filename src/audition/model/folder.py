"""A local model as a project file says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from audition.model.chat import Asked
from audition.step import Frozen


class LocalModel(Frozen):
    """A model in a folder, and how it is asked."""

    folder: str
    """The folder, as `save_pretrained` writes it, relative to the project file."""
    deployed: str | None = None
    """The file beside checkpoints that says which of them is in use, as `audition deploy` writes
    it, relative to the project file; while there is none, the folder's own weights are."""
    asked: Asked = Asked(temperature=1.0)
    """Sampling, length and prices."""
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:[0-9]{1,2})?|mps)$")
    """Where it runs."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """In which precision."""
    together: int = Field(default=1, ge=1, le=4096)
    """Requests that are answered in one batch; at 1 a reply is the same to the bit whatever else
    is asked."""
    kept: int = Field(default=32_768, ge=0, le=1 << 24)
    """Tokens of earlier prompts whose keys and values are kept."""
