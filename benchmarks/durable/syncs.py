"""What is done to the syncs of a process from outside it: all delayed alike, or counted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from durable.system import HERE, Skipped

DELAY_MS = 3.3
"""What a sync takes at least under the shim: that of a disk that others use too."""

CALLS = "fsync,fdatasync,sync_file_range,msync,sync,syncfs"


def compiled(folder: Path) -> Path:
    """The library that delays syncs.

    Raises:
        Skipped: there is no compiler, or it does not compile.
    """
    if (compiler := shutil.which("cc")) is None:
        raise Skipped("no C compiler (cc) for the shim that delays syncs")
    library = folder / "slow_sync.so"
    delay = f"-DDELAY_NS={int(DELAY_MS * 1e6)}"
    command = [compiler, "-shared", "-fPIC", "-O2", delay, str(HERE / "slow_sync.c")]
    done = subprocess.run(
        [*command, "-o", str(library), "-ldl"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Skipped(f"cc cannot compile the shim: {done.stderr.strip().splitlines()[-1]}")
    return library


def traced(log: Path) -> list[str]:
    """What a command stands behind so that its syncs are written to a log, with the time of day.

    Raises:
        Skipped: strace is missing, or may not trace here.
    """
    command = ["strace", "-f", "-qq", "-ttt", "--seccomp-bpf", f"-etrace={CALLS}", "-o", str(log)]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except FileNotFoundError:
        raise Skipped("no strace here; apt-get install strace") from None
    except subprocess.CalledProcessError as error:
        raise Skipped(f"strace cannot trace here: {error.stderr.decode()[:200]}") from None
    return command


def counted(log: Path, begun: float, ended: float) -> int:
    """The syncs that began in that time."""
    lines = (line.split(None, 2) for line in log.read_text().splitlines())
    return sum(begun <= float(at) <= ended and call[0].isalpha() for _, at, call in lines)
