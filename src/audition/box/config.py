"""How a box is laid out, as it stands in a project file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from audition.step import Frozen

_MEBI = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Limits(Frozen):
    """What binds a box; the report says by which means each holds on this machine."""

    seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Wall-clock time of one call."""
    cpu_seconds: int = Field(default=60, ge=1, le=86_400)
    """Processor time of each process."""
    memory: int = Field(default=1024 * _MEBI, ge=16 * _MEBI)
    """Bytes of memory that one call's processes hold together."""
    processes: int = Field(default=128, ge=1, le=32_768)
    """Processes and threads of one call alive at once."""
    disk: int = Field(default=1024 * _MEBI, ge=_MEBI)
    """Bytes of the workspace: what it began with, all writes since, and earlier versions that a
    snapshot still needs. It lives in memory."""
    files: int = Field(default=100_000, ge=100)
    """Files and folders of the workspace, counted likewise, and of the scratch folders."""
    scratch: int = Field(default=256 * _MEBI, ge=_MEBI)
    """Bytes of `/tmp` and `/dev/shm` together, which are new in every call."""
    output: int = Field(default=_MEBI, ge=1, le=64 * _MEBI)
    """Bytes kept of each of standard output and standard error; a call that writes more is
    stopped."""
    cores: float | None = Field(default=None, gt=0, le=1024, allow_inf_nan=False)
    """Processors' worth of time that a box's processes get together; all there are if left out.
    Takes a cgroup: a box that is asked for it and cannot hold it does not open."""
    open_files: int = Field(default=256, ge=16, le=65_536)
    """Open files of each process."""


class BoxConfig(Frozen):
    """What is in a box, and what binds it."""

    limits: Limits = Limits()
    """What binds it."""
    workspace: Path | None = None
    """A folder that `/workspace` begins as a copy of; empty if left out."""
    read: dict[str, Path] = Field(default_factory=dict[str, Path])
    """Folders shown read-only as `/read/NAME`, with the rights of the box's user."""
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    """Variables beside `PATH`, `HOME`, `LANG`, `TMPDIR` and `TZ`, or in place of them. No other
    variable is seen inside."""
    sandbox: str | None = None
    """Which of Inspect's sandboxes confines instead of namespaces of our own, as it names them:
    `docker`, `docker:compose.yaml`. It is tried at opening likewise."""
    uid: int = Field(default=61_184, ge=1, le=2**31 - 2)
    """The unprivileged user that a box becomes when root opens it; need not have an account, and
    should own nothing. When another user opens it, it runs as that user."""

    @field_validator("read")
    @classmethod
    def _named(cls, read: dict[str, Path]) -> dict[str, Path]:
        for name in read:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a folder; use letters, digits, . _ -")
        return read

    @field_validator("environment")
    @classmethod
    def _plain(cls, environment: dict[str, str]) -> dict[str, str]:
        for name, value in environment.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value or len(value) > 4096:
                raise ValueError(f"the variable {name!r} cannot be set; rename or shorten it")
        return environment

    @model_validator(mode="after")
    def _named_sandbox(self) -> Self:
        if self.sandbox is not None and (self.read or not self.sandbox):
            raise ValueError("a sandbox has a name, and shows no `read`: mount folders in its own")
        if self.sandbox is not None and self.limits.cores is not None:
            raise ValueError("limits.cores: set it in the sandbox's own configuration")
        return self


class BoxUnavailable(Exception):
    """This machine cannot hold a box; says what is missing and the command that mends it."""


class BoxRefused(Exception):
    """Something got out of the box at opening, so it is not handed out; says what and how.

    Args:
        line: What got out.
        tried: Each attempt, with what it reached or None; empty where none could be made.
    """

    def __init__(self, line: str, tried: Mapping[str, str | None] | None = None) -> None:
        super().__init__(line)
        self.tried = dict(tried or {})


class BoxError(Exception):
    """The box could not do what was asked; says what, and the way out."""
