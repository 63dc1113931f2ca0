"""What a box says of itself: which limits hold by which means, and what it does not cover."""

from __future__ import annotations

from pydantic import Field

from audition.box.cgroup import Group
from audition.box.config import Limits
from audition.step import Frozen

_UNCOVERED = (
    "flaws of the kernel, the processor or the confining program",
    "side channels: timing, caches, load, free memory, and what the machine is (`/proc/cpuinfo`, "
    "kernel version, boot time, clock)",
    "what the caller does with a call's output",
    "the model server, where thinking asks one: it stands outside the box",
    "times of files, which are kept between calls but not digested or saved",
    "processor time and memory bandwidth taken from others, within the limits",
)
_CONTAINED = (
    "the container's own walls: flaws in it, what its configuration mounts, and its limits, which "
    "are not ours to promise",
    "the user namespace, which a container shares: root in it, were it reached, is root outside",
    "processes that the container runs beside ours; the probe tells only that they are not ours",
    "a snapshot's cost: it is the whole workspace, and opening one starts another container",
)
_UNCOUNTED = (
    "memory that the kernel holds for a guest (socket and pipe buffers): no cgroup counts it here",
    "memory passed between processes faster than the watchdog looks: at worst `memory` for each "
    "process",
)


class Held(Frozen):
    """One limit, and what makes it bind here."""

    limit: str
    """Which: a field of `Limits`."""
    value: float | None = None
    """How much, in the field's unit; None for as much as there is."""
    means: str
    """What makes it bind."""


class BoxReport(Frozen):
    """What holds in this box, on this machine."""

    kernel: str
    """The kernel's release."""
    bubblewrap: str | None = None
    """Path of the confining program, of a native box."""
    sandbox: str | None = None
    """Name of Inspect's sandbox, of a box that is one."""
    uid: int | None = None
    """The user outside that a native box runs as; never root."""
    limits: tuple[Held, ...]
    """What binds it, one entry a limit."""
    probes: tuple[str, ...]
    """What was tried at opening and did not get out."""
    uncovered: tuple[str, ...] = Field(default=_UNCOVERED)
    """What this layer does not cover."""


def held(limits: Limits, group: Group | None) -> tuple[Held, ...]:
    """Each limit with its means.

    Args:
        limits: The box's.
        group: The cgroup that binds it as a whole, or None.
    """
    bound = group.folders if group else {}
    behind = f"a cgroup (version {group.version}) binds" if group else ""
    watchdog = "a watchdog sums the processes' memory forty times a second and kills"
    processes = "RLIMIT_NPROC in a user namespace of the call's own"
    means = {
        "seconds": "the keeper's clock; all processes of the call are killed",
        "cpu_seconds": "RLIMIT_CPU, for each process",
        "memory": f"{watchdog}; {behind} memory, disk and scratch together"
        if "memory" in bound
        else f"RLIMIT_AS binds each process at once; {watchdog}",
        "processes": f"{processes}; {behind} the box's together" if "pids" in bound else processes,
        "disk": "size of the workspace's tmpfs; RLIMIT_FSIZE for one file",
        "files": "nr_inodes of the workspace's tmpfs, and of the scratch one",
        "scratch": "size of the scratch tmpfs",
        "output": "the keeper reads no further and kills",
        "cores": f"{behind} processor time" if "cpu" in bound else "not limited",
        "open_files": "RLIMIT_NOFILE, for each process",
    }
    return tuple(
        Held(limit=name, value=getattr(limits, name), means=how) for name, how in means.items()
    )


def uncovered(group: Group | None = None) -> tuple[str, ...]:
    """What this layer does not cover, given what a cgroup binds."""
    counted = group is not None and "memory" in group.folders
    return _UNCOVERED if counted else (*_UNCOVERED, *_UNCOUNTED)


def uncovered_by_container() -> tuple[str, ...]:
    """What a box behind a container's walls does not cover."""
    return (*_UNCOVERED, *_CONTAINED, _UNCOUNTED[1])
