"""A model's folder under one name: its weights alone, or all that decides what the model says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from audition.canonical import digest_value
from audition.model.chat import ModelError
from audition.step import Digest

WEIGHTS = ("*.safetensors",)
"""Files that hold weights."""

DECIDING = (
    *WEIGHTS,
    "*.bin",
    "*.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
)
"""Files of a folder that decide what its model says."""


def weights_of(folder: Path) -> Digest:
    """The digest of a folder's safetensors: of the file, or of the names and digests of several.

    Raises:
        ModelError: the folder holds none, or they cannot be read.
    """
    found = _digests(folder, WEIGHTS)
    if not found:
        raise ModelError(
            f"{folder}: no *.safetensors there; name the folder of a Hugging Face model, as "
            "save_pretrained writes it"
        )
    return next(iter(found.values())) if len(found) == 1 else digest_value(found)


def digest_of_folder(folder: Path) -> Digest:
    """Digest of the files in a model's folder that decide what it says.

    Raises:
        ModelError: one cannot be read.
    """
    return digest_value(_digests(folder, DECIDING))


def _digests(folder: Path, patterns: Iterable[str]) -> dict[str, Digest]:
    found: dict[str, Digest] = {}
    try:
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
            name = path.relative_to(folder).as_posix()
            if not path.is_file():  # to open a pipe would wait without end
                raise ModelError(f"{folder}: {name} is no file; remove it")
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{folder}: {(error.strerror or 'cannot be read').lower()}") from None
    return found
