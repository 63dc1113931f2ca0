"""The folder of a trained auditor: a model, its tokenizer, and a card that binds them together.

The card names every file by its digest, and says what the auditor is: its role, what it is shown,
how its numbers are calibrated, whose verdicts it was trained from. Its own digest is what verdicts
and runs name as `trained_from`; so nothing of it can be another without that being another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from audition.audit.asking import HIDDEN_FROM_TEACHERS
from audition.audit.document import Shown
from audition.step import Digest, Evidence, Frozen, Name, Role, digest_of

CARD = "card.json"
"""Under which name the card lies in the folder."""

LARGEST = 1 << 20
"""Largest card, in bytes."""

File = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
"""A file of the folder itself."""


class TrainedError(ValueError):
    """A folder that holds no trained auditor, or not the one that is asked for."""


class Labels(Frozen):
    """Whose verdicts a model was trained from."""

    auditor: Name
    """The auditor."""
    role: Role
    """In which role they were given."""
    saw: tuple[Evidence, ...]
    """What was shown to whoever gave them, sorted."""
    signal: Literal["approval", "comparison"]
    """Whether they rate one step or rank several."""
    trained_from: Digest | None = None
    """What that auditor was itself trained from, if it was."""


class Judgement(Frozen):
    """The card of a trained auditor."""

    format: Literal["audition.auditor/1"] = "audition.auditor/1"
    role: Role
    """In which role it judges: that of its labels."""
    labels: Labels
    """Whose verdicts it was trained from."""
    lessons: tuple[Digest, ...] = Field(min_length=1, max_length=1000)
    """The digests of their arrays, as the run that trained it names them."""
    base: Digest
    """Digest of the language model's files from which training began."""
    files: dict[File, Digest] = Field(min_length=1, max_length=100)
    """Every file beside the card, by its digest."""
    shown: Shown
    """How much of a view its text holds."""
    window: int = Field(ge=1, le=1 << 24)
    """Most tokens of a text; of a longer one it says nothing."""
    slope: float = Field(ge=0, le=1e9, allow_inf_nan=False)
    """Calibrated approval is σ(slope · z + offset) of the model's number z …"""
    offset: float = Field(ge=-1e9, le=1e9, allow_inf_nan=False)
    """… and that of one candidate over another σ(slope · (z − z'))."""
    figures: dict[Name, float] = Field(default={}, max_length=100)
    """What it came to on runs that neither its weights nor its calibration had seen."""

    @model_validator(mode="after")
    def _of_its_labels(self) -> Self:
        if self.role is not self.labels.role:
            raise ValueError(f"labels of a {self.labels.role} make no {self.role}")
        if self.role is Role.TEACHER and HIDDEN_FROM_TEACHERS & set(self.labels.saw):
            raise ValueError("whoever taught it saw what no teacher may")
        if self.role is Role.GUARD and self.labels.signal != "approval":
            raise ValueError("a guard gives a suspicion, and ranks nothing")
        return self


def read_judgement(folder: Path) -> tuple[Judgement, Digest]:
    """The card of a folder and its digest, once every file is found to be what the card says.

    Raises:
        TrainedError: there is no card, or a file is missing, another one, or not of the card.
    """
    try:
        with (folder / CARD).open("rb") as stream:
            data = stream.read(LARGEST + 1)
        found = Judgement.parse(data)
    except OSError as error:
        raise TrainedError(
            f"{folder}: {error.strerror}: {CARD}; `audition train-auditor` makes such a folder"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise TrainedError(f"{folder}/{CARD}: {place}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise TrainedError(f"{folder}/{CARD}: {error}") from None
    if found.canonical() != data:
        raise TrainedError(f"{folder}/{CARD}: not the bytes that this version writes")
    held = dict(digests(folder))
    if strange := held.keys() - found.files.keys() - {CARD}:
        raise TrainedError(f"{folder}: {min(strange)} is no file of its card; take it away")
    for name, digest in found.files.items():
        if name not in held:
            raise TrainedError(f"{folder}: {name} is missing")
        if held[name] != digest:
            raise TrainedError(
                f"{folder}: {name} is not the one that its card names: another model's, or altered"
            )
    return found, digest_of(found)


def digests(folder: Path) -> Iterator[tuple[str, Digest]]:
    """The name and the digest of every file of a folder.

    Raises:
        TrainedError: something in it is no plain file.
        OSError: it cannot be read.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise TrainedError(f"{folder}: {path.name} is no plain file")
        with path.open("rb") as stream:
            yield path.name, hashlib.file_digest(stream, "sha256").hexdigest()
