"""The system calls that Python does not wrap."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import time

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 1 << 14, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_REALTIME_COARSE = 5
_OPTIONS_MAX = 4095

_libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, where: str, options: str) -> None:
    """Mount a new file system of this kind, without devices and set-id programs.

    Raises:
        OSError: The kernel refused, or the options are longer than it reads.
    """
    if len(options) > _OPTIONS_MAX:
        raise OSError(7, "mount options too long", where)
    kind_, flags = kind.encode(), _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(kind_, where.encode(), kind_, flags, options.encode()), where)


def unmount(where: str) -> None:
    """Take a mount out of the tree; it goes when nothing uses it any more."""
    _check(_libc.umount2(where.encode(), _MNT_DETACH), where)


def drop_to(uid: int) -> None:
    """Give up root for good: no groups, this uid and gid, and nothing to come back to."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def enter_users(processes: bool = False) -> None:
    """Move into a user namespace of our own, in which this uid is itself.

    Args:
        processes: Whether what is forked from now on has a process namespace of its own, too.
            The first such process holds it: with its death the kernel ends all the others.
    """
    uid, gid = os.getuid(), os.getgid()
    # A process that changed its uid may not write its own maps until it is dumpable again.
    hide(False)
    flags = _CLONE_NEWUSER | (_CLONE_NEWPID if processes else 0)
    _check(_libc.unshare(flags), "unshare")
    for name, text in (
        ("uid_map", f"{uid} {uid} 1"),
        ("setgroups", "deny"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_mounts() -> None:
    """Move into a mount namespace of our own, of which nothing is seen outside."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "/")


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none is lost sight of."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def hide(hidden: bool) -> None:
    """Close this process's memory and descriptors to others of its user, or open them again."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, not hidden, 0, 0, 0), "prctl")


def coarse_now() -> int:
    """The clock that files are stamped with, in nanoseconds; no later write is stamped less."""
    return time.clock_gettime_ns(_REALTIME_COARSE)


def lower_limit(kind: int, value: int) -> None:
    """Set a resource limit, soft and hard, never above the present hard one."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def children() -> list[int]:
    """Pids of this process's children, adopted orphans included."""
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"/proc/self/task/{thread}/children") as file,
        ):
            found += [int(pid) for pid in file.read().split()]
    return found


def _check(result: int, where: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), where)
