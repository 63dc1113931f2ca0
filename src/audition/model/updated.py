"""A model with the weights of an update: its checkpoint, or its adapters on the model's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audition.model.adapter import put_on
from audition.model.deployed import Weights, adapts, check, in_use, place
from audition.model.folder import LocalModel
from audition.model.local import Loaded, loaded


def updated(config: LocalModel, folder: Path, pointer: Path, wanted: Weights) -> Loaded:
    """The model as an update made it.

    Args:
        config: how it is run.
        folder: of the model.
        pointer: the file beside its checkpoints.
        wanted: the update.

    Raises:
        ModelError: its folder holds other weights, or the model cannot be loaded.
    """
    check(folder, pointer, wanted)
    there = place(folder, pointer, wanted.update)
    if adapts(there):
        given = loaded(config, folder)
        put_on(given.model, there)
    else:
        given = loaded(config, there)
    return replace(given, name=folder.name, digest=wanted.files)


def deployed(config: LocalModel, folder: Path, pointer: Path) -> Loaded:
    """The model with the weights that are in use.

    Raises:
        ModelError: they are not where they were deployed from, or are others now.
    """
    return updated(config, folder, pointer, in_use(folder, pointer).now)
