"""Runs `box_drive.py` as root and as an ordinary user, which needs no account."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

ORDINARY = 61_001
SOURCES = Path(__file__).parents[2] / "src"


@functools.cache
def interpreter(uid):
    """A Python that this user may run with what the package needs, and the way to run it."""
    environment = {
        "PYTHONPATH": os.pathsep.join([str(SOURCES), str(Path(pydantic.__file__).parents[1])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
        "SECRET": "of the caller",
    }
    options = {"env": environment, "cwd": "/"}
    if uid != os.geteuid():
        options.update(user=uid, group=uid, extra_groups=[])
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", "import audition.box"], check=True, capture_output=True, **options
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, options
    return None


def who_runs():
    """The users to run as: root and an ordinary one, or only the latter where we are it."""
    return {"root": 0, "ordinary": ORDINARY} if os.geteuid() == 0 else {"ordinary": os.geteuid()}


def drive(who, how, setting=""):
    """What `box_drive.py` reached, as this user; skips where that cannot be run."""
    uid = who_runs().get(who)
    if uid is None:
        pytest.skip("not root, so cannot run as root")
    found = interpreter(uid)
    if found is None:
        pytest.skip(f"no Python with the package's needs that user {uid} may run")
    return _driven(uid, how, setting)


@functools.cache
def _driven(uid, how, setting):
    python, options = interpreter(uid)
    command = [python, str(Path(__file__).parent / "box_drive.py"), how, setting]
    # What is tried reaches no other machine: it runs where there is no way to one.
    if how == "network":
        command = ["unshare", "--user", "--map-root-user", "--net", "--mount", *command]
    elif how == "boxed" and uid == 0:
        command = ["unshare", "--net", *command]
    elif how == "boxed":
        command = ["unshare", "--user", "--map-current-user", "--net", "--keep-caps", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
