"""A box behind the walls of one of Inspect's sandboxes, for machines without user namespaces.

The walls are the container's: its network, its file system, its limits. What is added is what a
process can be bound by from within (see `inside.py`), and the same probe at opening: a sandbox
that lets something out is refused. Its image needs a `python3` of 3.10 or newer.

Source: https://inspect.aisi.org.uk/sandboxing.html.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import platform
import secrets
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from audition.box import archive, confine, probe, seccomp, tree
from audition.box.config import BoxConfig, BoxError, BoxUnavailable
from audition.box.confined import Box
from audition.box.report import BoxReport, Held, uncovered_by_container
from audition.extra import installing
from audition.failing import told
from audition.step import Completed, Digest, Snapshot

OUTPUT_MAX = 3 << 20
"""Bytes of output that can be kept: both streams come back as text within Inspect's own limit."""
_STDIN_MAX = 8 << 20
_PATIENCE_S = 15.0
_FOLDER, _SAVED = "audition-workspace", "audition-saved"
_HERE = Path(__file__).parent
_SENT = ("tree", "archive", "keeper.kernel", "keeper.call", "inside")
_PYTHON = ("python3", "-I", "-S", "-c")
# What is sent has its modules' names, and nothing of the package that it comes from.
_PROGRAM = """
import json, sys, types
request = json.load(sys.stdin)
for name in ("audition", "audition.box", "audition.box.keeper"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, source in request.pop("modules"):
    full = "audition.box." + name
    module = sys.modules[full] = types.ModuleType(full)
    setattr(sys.modules[full.rpartition(".")[0]], full.rpartition(".")[2], module)
    exec(compile(source, full, "exec"), module.__dict__)
print(json.dumps(sys.modules["audition.box.inside"].answer(request)))
"""
_MEANS = {
    "seconds": "the clock of a process beside the call; all that it started is killed",
    "cpu_seconds": "RLIMIT_CPU, for each process",
    "memory": "RLIMIT_AS binds each process at once; a watchdog in the sandbox sums forty times a "
    "second and kills; behind it what the sandbox's own configuration sets",
    "processes": "a watchdog in the sandbox counts forty times a second and kills; behind it what "
    "the sandbox's own configuration sets",
    "disk": "RLIMIT_FSIZE for one file; the whole is looked at after each call; at once only what "
    "the sandbox's own configuration sets",
    "files": "looked at after each call; at once only what the sandbox's own configuration sets",
    "scratch": "not held: what the sandbox's own configuration sets",
    "output": "a process beside the call reads no further and kills",
    "cores": "not limited: what the sandbox's own configuration sets",
    "open_files": "RLIMIT_NOFILE, for each process",
}


@asynccontextmanager
async def open_inspected(config: BoxConfig, *, saved: bytes | None) -> AsyncGenerator[Box]:
    """Open a sandbox, try to get out of it, and hand it out if nothing does.

    Raises:
        BoxUnavailable: There is no such sandbox here, or it cannot do what it must.
        BoxRefused: Something got out.
        BoxError: The workspace or the saved state does not go in.
    """
    assert config.sandbox is not None
    if config.limits.output > OUTPUT_MAX:
        raise BoxError(f"limits.output: at most {OUTPUT_MAX:,} bytes through Inspect; lower it")
    if not seccomp.supported():
        raise BoxUnavailable(f"no box here: no filter of system calls for {platform.machine()}")
    with probe.Outside(probe.roomy(config)) as outside:
        async with _sandbox(config.sandbox) as environment:
            box = InspectedBox(config, environment)
            await box.fill(b"" if saved is None else saved)
            await box.withstand(outside)
            yield box
            await box.close()


class InspectedBox:
    """A workspace in somebody else's container. Get one from `open_box`."""

    def __init__(self, config: BoxConfig, environment: Any) -> None:
        """Use a sandbox that has begun."""
        self._config = config
        self._environment = environment
        self._probes: tuple[str, ...] = ()
        self._kept: dict[str, tuple[Digest, bytes]] = {}
        self._lock = anyio.Lock()
        self._broken: str | None = None

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        """Run a command; a process beside it in the sandbox ends all that it leaves."""
        if not argv or any("\0" in part for part in argv):
            raise ValueError("a command is one or more words without NUL")
        if len(stdin) > _STDIN_MAX:
            raise ValueError(f"standard input of {len(stdin)} bytes; the most is {_STDIN_MAX}")
        limits = self._config.limits
        reply = await self._ask(
            "run",
            argv=list(argv),
            stdin=base64.b64encode(stdin).decode(),
            seccomp=base64.b64encode(seccomp.program()).decode(),
            environment=confine.environment(self._config),
            limits={
                **confine.bounds(limits, memory_is_counted=False),
                "processes": None,
                "alive": limits.processes,
            },
        )
        for stream in ("stdout", "stderr"):
            reply[stream] = base64.b64decode(reply[stream])
        if reply["stopped"] in ("disk", "files"):
            self._broken = f"the workspace is over limits.{reply['stopped']}; open an earlier state"
            reply["returncode"] = None
        return Completed(argv=tuple(argv), **reply)

    async def snapshot(self) -> Snapshot:
        """Keep the workspace's bytes here, where no command can change them."""
        saved, digest = await self.save(), await self.digest()
        name = secrets.token_hex(8)
        self._kept[name] = digest, saved
        return Snapshot(id=name, digest=digest)

    async def forget(self, snapshot: Snapshot) -> None:
        """Let the bytes go."""
        self._find(snapshot)
        del self._kept[snapshot.id]

    @asynccontextmanager
    async def open(self, snapshot: Snapshot) -> AsyncGenerator[Box]:
        """Another sandbox, probed likewise, with the state that was kept."""
        async with open_inspected(self._config, saved=self._find(snapshot)) as box:
            yield box

    async def digest(self) -> Digest:
        """The digest, as a process in the sandbox finds it."""
        return (await self._ask("digest"))["digest"]

    async def save(self) -> bytes:
        """The workspace, packed in the sandbox."""
        await self._ask("pack")
        limits = self._config.limits
        try:
            saved = await self._environment.read_file(_SAVED, text=False)
        except Exception as error:  # noqa: BLE001  a sandbox is somebody else's
            raise BoxError(f"the sandbox does not hand out what it packed: {told(error)}") from None
        if len(saved) > limits.disk + limits.files * 1024:
            raise BoxError("the saved box is over limits.disk; raise it")
        return saved

    def report(self) -> BoxReport:
        """What holds here, most of which only the sandbox's own configuration can promise."""
        return BoxReport(
            kernel=platform.release(),
            sandbox=self._config.sandbox,
            limits=tuple(
                Held(limit=name, value=getattr(self._config.limits, name), means=means)
                for name, means in _MEANS.items()
            ),
            probes=self._probes,
            uncovered=uncovered_by_container(),
        )

    async def fill(self, saved: bytes) -> None:
        """Begin with what was saved, or with the configured folder's contents.

        Raises:
            BoxError: It does not go in.
        """
        if not saved:
            saved = await anyio.to_thread.run_sync(_packed, self._config.workspace)
        try:
            await self._environment.write_file(_SAVED, saved)
        except Exception as error:  # noqa: BLE001  a sandbox is somebody else's
            raise BoxError(f"the workspace does not go in: {told(error)}") from None
        await self._ask("unpack")

    async def withstand(self, outside: probe.Outside) -> None:
        """Try every way out.

        Raises:
            BoxRefused: One is open.
        """
        config, self._config = self._config, probe.roomy(self._config)
        done = await self.run([*_PYTHON, probe.SOURCE], stdin=outside.targets(foreign=True))
        self._config = config
        self._probes = probe.judge(done, outside)

    async def close(self) -> None:
        """Answer no more."""
        self._broken = "the box is closed; open another from what was saved"

    async def _ask(self, what: str, **fields: Any) -> dict[str, Any]:
        if self._broken is not None:
            raise BoxError(self._broken)
        sources = [(name, (_HERE / f"{name.replace('.', '/')}.py").read_text()) for name in _SENT]
        request = {"do": what, "folder": _FOLDER, "modules": sources, **fields}
        async with self._lock:
            # Who gives up leaves something running there that nothing here could end.
            self._broken = "a call was given up midway; open another from what was saved"
            reply = await self._exec(json.dumps(request).encode())
            self._broken = None
        if "error" in reply:
            raise BoxError(f"in the sandbox: {reply['error'][:300]}")
        return reply

    async def _exec(self, request: bytes) -> dict[str, Any]:
        wait = math.ceil(self._config.limits.seconds + _PATIENCE_S)
        try:
            done = await self._environment.exec(
                [*_PYTHON, _PROGRAM], input=request, timeout=wait, timeout_retry=False
            )
        except Exception as error:  # noqa: BLE001  a sandbox is somebody else's
            raise BoxError(f"the sandbox does not answer: {told(error)}") from None
        try:
            reply: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            said = f"{done.returncode}: {done.stderr[-200:]!r}"
            raise BoxError(f"the sandbox takes python3 of 3.10 or newer; it ended {said}") from None
        return reply

    def _find(self, snapshot: Snapshot) -> bytes:
        digest, saved = self._kept.get(snapshot.id, ("", b""))
        if digest != snapshot.digest:
            raise BoxError(f"no snapshot {snapshot.id!r} in this box; it is forgotten or foreign")
        return saved


@asynccontextmanager
async def _sandbox(name: str) -> AsyncGenerator[Any]:
    """One sandbox of this kind, from its beginning to its end."""
    try:
        from inspect_ai.util._sandbox.registry import registry_find_sandboxenv
    except ImportError:
        raise BoxUnavailable(f"no box here; it needs {installing('inspect')}") from None
    kind_name, _, configuration = name.partition(":")
    given, task = configuration or None, "audition"
    try:
        kind: Any = registry_find_sandboxenv(kind_name)
        await kind.task_init(task, given)
        environments: dict[str, Any] = await kind.sample_init(task, given, {})
    except Exception as error:  # noqa: BLE001  a sandbox is somebody else's
        raise BoxUnavailable(f"no box here: sandbox {name!r}: {told(error)}") from None
    try:
        yield environments.get("default") or next(iter(environments.values()))
    finally:
        with anyio.CancelScope(shield=True):
            await kind.sample_cleanup(task, given, environments, False)
            await kind.task_cleanup(task, given, True)


def _packed(folder: Path | None) -> bytes:
    """The workspace that a box begins with; an empty one is packed likewise."""
    sink = BytesIO()
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            os.chmod(folder, 0o755)
        try:
            opened = stack.enter_context(tree.opened(str(folder), os.O_DIRECTORY))
            archive.pack(opened, sink.write)
        except (OSError, tree.TreeError) as error:
            raise BoxError(f"the workspace does not go in: {error}") from error
    return sink.getvalue()
