"""What is done within a container of somebody else's: one command, or the workspace as bytes.

Runs there, where nothing of ours is installed: `inspected.py` sends it over with what it imports.
A container keeps its own walls; what binds a process from within is added here: no privileges to
gain, the filter of system calls, limits of each process, and the death of all that it started.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import os
import resource
import shutil
import socket
from collections.abc import Callable
from typing import Any

from audition.box import archive, tree
from audition.box.keeper import call, kernel

SAVED = "audition-saved"
"""File beside the workspace through which its bytes come and go."""
_NO_NEW_PRIVS, _DROP, _SECCOMP, _FILTER = 38, 24, 22, 2
_CAPABILITIES = 64
_HEADER = 0x20080522
_Request = dict[str, Any]


def answer(request: _Request) -> dict[str, Any]:
    """Do what is asked: `run`, `digest`, `pack` or `unpack`."""
    does: dict[str, Callable[[_Request], dict[str, Any]]] = {
        "run": _run,
        "digest": _digest,
        "pack": _pack,
        "unpack": _unpack,
    }
    try:
        return does[request["do"]](request)
    except (OSError, tree.TreeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _run(request: _Request) -> dict[str, Any]:
    kernel.adopt_orphans()
    # What the command starts runs as this user, and must not reach into this process.
    kernel.hide(True)
    ours, theirs = socket.socketpair()
    wanted = call.Call(
        request["argv"],
        request["environment"],
        base64.b64decode(request["stdin"]),
        base64.b64decode(request["seccomp"]),
        request["limits"],
    )
    os.makedirs(request["folder"], exist_ok=True)
    os.chdir(request["folder"])
    with ours, theirs:
        ended = call.run(wanted, theirs, frozenset(), become=_become, look=_look)
    os.chdir("..")
    most = request["limits"]["output"]
    return {
        "returncode": ended.returncode,
        "stopped": ended.stopped or _overfull(request),
        "seconds": ended.seconds,
        "truncated": max(len(ended.stdout), len(ended.stderr)) > most,
        "stdout": base64.b64encode(ended.stdout[:most]).decode(),
        "stderr": base64.b64encode(ended.stderr[:most]).decode(),
    }


def _digest(request: _Request) -> dict[str, Any]:
    with tree.opened(request["folder"], os.O_DIRECTORY) as folder:
        return {"digest": tree.fold(folder, None, None, 0).digest.hex()}


def _pack(request: _Request) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SAVED)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with (
        tree.opened(request["folder"], os.O_DIRECTORY) as folder,
        tree.opened(SAVED, flags) as file,
        open(file, "wb", closefd=False) as saved,
    ):
        archive.pack(folder, saved.write)
    return {}


def _unpack(request: _Request) -> dict[str, Any]:
    shutil.rmtree(request["folder"], ignore_errors=True)
    os.mkdir(request["folder"])
    with open(SAVED, "rb") as saved, tree.opened(request["folder"], os.O_DIRECTORY) as folder:
        archive.unpack(folder, saved.read)
    os.unlink(SAVED)
    return {}


def _become(wanted: call.Call, guests: list[int]) -> None:
    """In the forked child: limits, no way to more rights, then the command. Never returns."""
    try:
        kernel.hide(False)
        for target, source in enumerate(guests):
            os.dup2(source, target)
        os.closerange(3, 1 << 16)
        os.setsid()
        call.limit(wanted.limits)
        _give_up_rights(wanted.seccomp)
        os.umask(0o022)
        os.execvpe(wanted.command[0], wanted.command, wanted.environment)
    except BaseException as error:  # noqa: BLE001  whatever it was, this copy must end here
        os.write(2, f"box: {error}\n".encode())
    finally:
        os._exit(1)


def _give_up_rights(filter_: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        libc.prctl(_DROP, capability, 0, 0, 0)  # who may not drop them is found by the probe
    header = (ctypes.c_uint32 * 2)(_HEADER, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    program = Program(len(filter_) // 8, filter_)
    libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)


def _look(_: int, limits: dict[str, Any]) -> str | None:
    """Which limit all that the command started breaks together, if one."""
    found, memory = kernel.children(), 0
    for process in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children") as file:
                    found += map(int, file.read().split())
            with open(f"/proc/{process}/statm") as file:
                memory += int(file.read().split()[1]) * resource.getpagesize()
    if memory > limits["memory"]:
        return "memory"
    return "processes" if len(found) > limits["alive"] else None


def _overfull(request: _Request) -> str | None:
    """Which limit the workspace breaks, if one."""
    limits, size, names = request["limits"], 0, 0
    for where, folders, files in os.walk(request["folder"]):
        names += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(f"{where}/{name}").st_blocks * 512
    if size > limits["disk"]:
        return "disk"
    return "files" if names > limits["files"] else None
