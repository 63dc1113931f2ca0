"""Which weights a thinker has: a small file beside its checkpoints, replaced whole or not at all.

Update 0 stands for the model's own folder, and is in use while there is no such file. The file
holds digests and no path: where models and checkpoints are, the project says.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import Field

from audition.canonical import digest_value
from audition.model.chat import ModelError
from audition.model.weights import digest_of_folder, weights_of
from audition.step import Digest, Frozen

LONGEST = 4096
"""Bytes of the file."""

ADAPTER = "adapter_config.json"
"""A checkpoint with this file holds adapters, which change the model in the thinker's folder."""


class Weights(Frozen):
    """The weights of one update."""

    update: int = Field(ge=0, le=999_999)
    """Its number, from 1, as its checkpoint is called; 0: the model's own folder."""
    weights: Digest
    """Digest of its safetensors, as its `thinker.updated` names it."""
    files: Digest
    """Digest of all that decides what the model says; of adapters, with the model below them."""


class InUse(Frozen):
    """What the file says."""

    now: Weights
    """What is in use."""
    before: Weights | None = None
    """What was in use before."""


def in_use(folder: Path, pointer: Path) -> InUse:
    """What is in use.

    Args:
        folder: the model's own.
        pointer: the file, which need not be there.

    Raises:
        ModelError: the file is not as it was written, or the folder cannot be read.
    """
    try:
        with pointer.open("rb") as file:
            data = file.read(LONGEST + 1)
    except FileNotFoundError:
        return InUse(now=held(folder, pointer, 0))
    except OSError as error:
        raise ModelError(f"{pointer}: {(error.strerror or 'cannot be read').lower()}") from None
    try:
        said = InUse.parse(data[:LONGEST])
    except ValueError:
        said = None
    if said is None or said.canonical() != data:
        raise ModelError(
            f"{pointer}: not as it was written; put it back, or remove it to use {folder.name}"
        )
    return said


def place(folder: Path, pointer: Path, update: int) -> Path:
    """Where the weights of an update are."""
    return pointer.parent / f"{update:06}" if update else folder


def held(folder: Path, pointer: Path, update: int) -> Weights:
    """What the folder of an update holds.

    Raises:
        ModelError: it is not there, or holds no weights.
    """
    there = place(folder, pointer, update)
    if not there.is_dir():
        raise ModelError(f"{there}: there is no such checkpoint")
    files = digest_of_folder(there)
    if adapts(there):
        files = digest_value([digest_of_folder(folder), files])
    return Weights(update=update, weights=weights_of(there), files=files)


def check(folder: Path, pointer: Path, wanted: Weights) -> None:
    """Refuse a folder that holds other weights, or other files, than are wanted.

    Raises:
        ModelError: it does.
    """
    found = held(folder, pointer, wanted.update)
    there = place(folder, pointer, wanted.update)
    for what, one, other in (
        ("its weights are", found.weights, wanted.weights),
        ("it says another thing with these weights: its files are", found.files, wanted.files),
    ):
        if one != other:
            raise ModelError(f"{there}: {what} {one[:12]}…, not {other[:12]}…; put them back")


def adapts(folder: Path) -> bool:
    """Whether a checkpoint holds adapters, and no weights of a whole model."""
    return (folder / ADAPTER).exists()


def write(pointer: Path, says: InUse) -> None:
    """Replace the file, whole or not at all; what it says is durable once this returns.

    Raises:
        OSError: it is as it was.
    """
    part = pointer.with_name(f".{pointer.name}.{secrets.token_hex(8)}")
    try:
        with part.open("xb") as file:
            file.write(says.canonical())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, pointer)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
