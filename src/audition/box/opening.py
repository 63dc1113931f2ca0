"""Opening a box: start its keeper, fill its workspace, and hand it out if nothing gets out."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
from anyio.abc import Process

from audition.box import archive, probe, seccomp, tree
from audition.box.config import BoxConfig, BoxError, BoxUnavailable
from audition.box.confined import Box, NativeBox
from audition.box.inspected import open_inspected
from audition.box.session import Session, bind, child_of, pair

_PATIENCE_S = 5.0
# The keeper runs these packages' modules without their `__init__`, which would load pydantic.
_KEEPER = """
import sys, types
for name, path in zip(("audition", "audition.box"), sys.argv[2:]):
    module = types.ModuleType(name)
    module.__path__ = [path]
    sys.modules[name] = module
from audition.box.keeper.serve import main
main(int(sys.argv[1]))
"""


@contextlib.asynccontextmanager
async def open_box(
    config: BoxConfig | None = None, *, saved: bytes | None = None
) -> AsyncGenerator[Box]:
    """Open a box, try to get out of it, and hand it out if nothing does.

    Args:
        config: What is in it and what binds it.
        saved: What `save` returned: the box begins in that state and not with `workspace`.

    Raises:
        BoxUnavailable: This machine cannot hold a box; the text says what to do.
        BoxRefused: Something got out.
        BoxError: The workspace or the saved state does not go in.
    """
    config = config or BoxConfig()
    if config.sandbox is not None:
        async with open_inspected(config, saved=saved) as box:
            yield box
        return
    bubblewrap = _bubblewrap()
    for name, folder in config.read.items():
        if not folder.is_dir():
            raise BoxError(f"box.read.{name}: {folder} is no folder; name one that is there")
    uid = config.uid if os.geteuid() == 0 else os.geteuid()
    line, theirs = pair()
    # The canaries stand before the keeper starts, so that whatever it inherits is seen.
    with probe.Outside(probe.roomy(config)) as outside:
        with contextlib.ExitStack() as failing:
            failing.callback(line.close)
            # Ours of their end must go at once, or a keeper's death would not be seen.
            with theirs:
                process = await _keeper(theirs.fileno())
            failing.pop_all()
        session = Session(config, line, bubblewrap, uid, process.pid)
        try:
            session = dataclasses.replace(session, group=bind(config, process.pid))
            session = dataclasses.replace(session, keeper=await _start(session))
            if saved is not None:
                await session.fill(lambda write: write(saved))
            elif config.workspace is not None:
                await session.fill(_packing(config.workspace))
            probes = await _probe(session, outside)
        except BaseException:
            await _end(session, process)
            raise
    try:
        yield NativeBox(session, probes)
    finally:
        await _end(session, process)


async def _keeper(control: int) -> Process:
    here = Path(__file__).parent
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _KEEPER, str(control)]
    return await anyio.open_process(
        [*command, str(here.parent), str(here)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None,
        cwd="/",
        env={},
        pass_fds=[control],
        start_new_session=True,  # a terminal's interrupt is for its parent, which ends it
    )


async def _end(session: Session, process: Process) -> None:
    session.line.close()
    with anyio.CancelScope(shield=True):
        with anyio.move_on_after(_PATIENCE_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
    await session.close()


async def _start(session: Session) -> int:
    limits = session.config.limits.model_dump(include={"disk", "files", "scratch"})
    try:
        await session.ask("start", uid=session.config.uid, **limits)
    except BoxError as error:
        raise BoxUnavailable(f"no box here: {error}{_mend(str(error))}") from None
    return child_of(session.keeper, 1)


async def _probe(session: Session, outside: probe.Outside) -> tuple[str, ...]:
    python, also = _python()
    session = dataclasses.replace(session, config=probe.roomy(session.config))
    command = (python, "-I", "-S", "-c", probe.SOURCE)
    return probe.judge(await session.run(command, outside.targets(), also), outside)


def _mend(said: str) -> str:
    if said.startswith("unshare"):
        return (
            "; allow user namespaces: sysctl -w user.max_user_namespaces=10000 "
            "(Debian: kernel.unprivileged_userns_clone=1; "
            "Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    if "uid_map" in said or "Invalid argument" in said:
        return "; give this root more users (subuid), or open the box as an ordinary user"
    return ""


def _bubblewrap() -> str:
    if sys.platform != "linux":
        raise BoxUnavailable("no box here: it needs Linux; run this on a Linux machine")
    if not seccomp.supported():
        raise BoxUnavailable(
            f"no box here: no filter of system calls for {platform.machine()}; "
            "use an x86_64 or aarch64 machine"
        )
    found = shutil.which("bwrap")
    if found is None:
        raise BoxUnavailable("no box here: bubblewrap is missing; apt-get install bubblewrap")
    return found


def _python() -> tuple[str, tuple[Path, ...]]:
    """A Python that the box can show, for its probe, and the folder it needs shown."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(path, os.X_OK):
            return path, ()
    return os.path.realpath(sys.executable), (Path(sys.base_prefix),)


def _packing(folder: Path) -> Callable[[archive.Write], None]:
    def pack(write: archive.Write) -> None:
        with tree.opened(str(folder), os.O_DIRECTORY) as opened:
            archive.pack(opened, write)

    return pack
