"""The weights of a model's folder, under one name."""

from __future__ import annotations

from pathlib import Path

from audition.learn.lessons import LessonError
from audition.model import ModelError
from audition.model.weights import weights_of as named
from audition.step import Digest


def weights_of(folder: Path) -> Digest:
    """The digest of a folder's safetensors: of the file, or of the names and digests of several.

    Raises:
        LessonError: the folder holds none, or they cannot be read.
    """
    try:
        return named(folder)
    except ModelError as error:
        raise LessonError(str(error)) from None
