"""The weights of a model's folder, under one name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from audition.canonical import digest_value
from audition.learn.lessons import LessonError
from audition.step import Digest


def weights_of(folder: Path) -> Digest:
    """The digest of a folder's safetensors: of the file, or of the names and digests of several.

    Raises:
        LessonError: the folder holds none, or they cannot be read.
    """
    found: dict[str, Digest] = {}
    try:
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LessonError(f"{folder}: {(error.strerror or 'cannot be read').lower()}") from None
    if not found:
        raise LessonError(
            f"{folder}: no *.safetensors there; name the folder of a Hugging Face model, as "
            "save_pretrained writes it"
        )
    return next(iter(found.values())) if len(found) == 1 else digest_value(found)
