"""A box behind one of Inspect's sandboxes: tried like any other, and as honest as it can be.

No container is at hand here. What stands for one runs every command in our own native box; what
confines nothing is Inspect's own `local`.
"""

import contextlib
import signal

import anyio
import pytest
from box_drive import NAMES, PYTHON, WAYS_OUT

from audition.box import BoxConfig, BoxError, BoxRefused, BoxUnavailable, Limits, open_box
from audition.box.attempts import ATTEMPTS
from audition.box.inspected import _MEANS, OUTPUT_MAX

pytest.importorskip("inspect_ai")
from inspect_ai.util import ExecResult, SandboxEnvironment, sandboxenv

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("needs_box")]

MEBI = 1 << 20
ROOMY = BoxConfig(limits=Limits(output=16 * MEBI, open_files=512, disk=256 * MEBI))
BEGUN = []


@sandboxenv(name="bubblewrapped")
class Bubblewrapped(SandboxEnvironment):
    """Each command in a native box of ours, which stands for a container."""

    def __init__(self, box):
        super().__init__()
        self.box = box
        self.delay = 0.0

    @classmethod
    async def sample_init(cls, task_name, config, metadata):
        stack = contextlib.AsyncExitStack()
        sandbox = cls(await stack.enter_async_context(open_box(ROOMY)))
        sandbox.stack = stack
        BEGUN.append(sandbox)
        return {"default": sandbox}

    @classmethod
    async def sample_cleanup(cls, task_name, config, environments, interrupted):
        for sandbox in environments.values():
            await sandbox.stack.aclose()
            BEGUN.remove(sandbox)

    async def exec(self, cmd, input=None, cwd=None, env=None, user=None, timeout=None, **_):
        done = await self.box.run(cmd, stdin=input or b"")
        if done.stopped == "time":
            raise TimeoutError
        stdout, stderr = done.stdout.decode(), done.stderr.decode(errors="replace")
        return ExecResult(done.returncode == 0, done.returncode or 0, stdout, stderr)

    async def write_file(self, file, contents):
        await self.box.run(["sh", "-c", 'cat > "$0"', file], stdin=contents)

    async def read_file(self, file, text=True):
        return (await self.box.run(["cat", file])).stdout


@sandboxenv(name="torn")
class Torn(Bubblewrapped):
    """One that answers with anything."""

    async def exec(self, cmd, **_):
        return ExecResult(False, 7, "no JSON", "python3: not found")


def config(**limits):
    return BoxConfig(sandbox="bubblewrapped", limits=Limits(**limits))


@pytest.fixture
async def box():
    async with open_box(config(seconds=4, output=1000, memory=64 * MEBI, processes=8)) as opened:
        yield opened
    assert BEGUN == []


async def test_a_sandbox_that_confines_nothing_is_refused():
    with pytest.raises(BoxRefused, match=r"^box refused: \w+: .+"):
        async with open_box(BoxConfig(sandbox="local")):
            pass


async def test_a_sandbox_that_nothing_gets_out_of_is_handed_out_and_says_what_it_cannot(box):
    report = box.report()
    everything = {attempt.__name__ for attempt in ATTEMPTS}
    assert set(report.probes) == everything - {"outsiders", "root"}
    assert {held.limit for held in report.limits} == set(Limits.model_fields) == set(_MEANS)
    assert (report.sandbox, report.bubblewrap) == ("bubblewrapped", None)
    for word in ("user namespace", "container's own walls", "snapshot", "kernel"):
        assert any(word in text for text in report.uncovered)


async def test_a_call_returns_status_bytes_and_errors(box):
    done = await box.run(["sh", "-c", "cat; printf '\\377'; echo wrong >&2; exit 3"], stdin=b"in\0")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\0\xff", b"wrong\n")
    assert (await box.run(["sh", "-c", "kill -TERM $$"])).returncode == -signal.SIGTERM
    assert (await box.run(["env"])).stdout.count(b"\n") == 5


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        ("sleep 30", "time"),
        ("yes", "output"),
        ("for i in 1 2 3 4 5 6 7 8 9 10 11; do sleep 9 & done; wait", "processes"),
    ],
)
async def test_a_limit_stops_a_call_with_all_it_started(box, command, limit):
    done = await box.run(["sh", "-c", f"(setsid sleep 60 &); {command}"])
    assert (done.stopped, done.returncode) == (limit, None)
    assert b"sleep" not in (await box.run(["sh", "-c", "cat /proc/[0-9]*/comm"])).stdout


async def test_memory_is_summed_over_processes(box):
    hold = "x=bytearray(40<<20)\nfor i in range(0,len(x),4096): x[i]=1\nimport time;time.sleep(9)"
    python = f"{PYTHON} -I -S -c '{hold}'"
    done = await box.run(["sh", "-c", f"{python} & {python} & wait"])
    assert done.stopped == "memory"


async def test_nothing_outlives_a_call(box):
    await box.run(["sh", "-c", "(setsid sh -c 'setsid sleep 60 & sleep 60' &) >/dev/null 2>&1"])
    assert b"sleep" not in (await box.run(["sh", "-c", "cat /proc/[0-9]*/comm"])).stdout


async def test_state_is_kept_by_its_bytes_and_has_the_digest_that_it_has_everywhere(tmp_path):
    (tmp_path / "paper").write_text("read me")
    tmp_path.chmod(0o755)
    whole = config().model_copy(update={"workspace": tmp_path})
    async with open_box(whole) as box, open_box(BoxConfig(workspace=tmp_path)) as native:
        assert await box.digest() == await native.digest()
        before = await box.snapshot()
        for each in (box, native):
            await each.run(["sh", "-c", "mkdir d; ln -s paper link; echo 42 > d/answer"])
        assert await box.digest() == await native.digest()
        assert await box.save() == await native.save()
        async with box.open(before) as future:
            assert (await future.run(["ls"])).stdout == b"paper\n"
            assert await future.digest() == before.digest
        assert (await box.run(["cat", "d/answer"])).stdout == b"42\n"
        await box.forget(before)
        with pytest.raises(BoxError, match="no snapshot"):
            async with box.open(before):
                pass


async def test_a_workspace_over_its_room_is_said_and_goes_no_further():
    async with open_box(config(disk=2 * MEBI)) as box:
        before = await box.snapshot()
        fill = "for i in 1 2 3 4; do head -c 1000000 /dev/zero > $i; done"
        assert (await box.run(["sh", "-c", fill])).stopped == "disk"
        with pytest.raises(BoxError, match=r"over limits\.disk; open an earlier state"):
            await box.run(["true"])
        async with box.open(before) as again:
            assert (await again.run(["ls"])).stdout == b""


async def test_a_call_that_was_given_up_leaves_a_box_that_says_so(box):
    with anyio.move_on_after(0.2):
        await box.run(["sleep", "1"])
    with pytest.raises(BoxError, match="given up midway"):
        await box.run(["true"])


async def test_a_sandbox_that_answers_with_anything_is_one_line():
    with pytest.raises(BoxError, match=r"takes python3 of 3\.10 or newer; it ended 7: ") as error:
        async with open_box(BoxConfig(sandbox="torn")):
            pass
    assert "\n" not in str(error.value)


async def test_a_sandbox_that_is_not_there_is_named():
    with pytest.raises(BoxUnavailable, match=r"sandbox 'nowhere': .*not recognized"):
        async with open_box(BoxConfig(sandbox="nowhere")):
            pass


async def test_output_beyond_what_inspect_carries_is_refused_at_opening():
    with pytest.raises(BoxError, match=r"limits\.output: at most"):
        async with open_box(config(output=OUTPUT_MAX + 1)):
            pass


@pytest.mark.parametrize(
    "given",
    [
        {"sandbox": ""},
        {"sandbox": "docker", "read": {"a": "/a"}},
        {"sandbox": "docker", "limits": {"cores": 1}},
    ],
)
def test_a_sandbox_has_a_name_and_folders_and_cores_of_its_own(given):
    with pytest.raises(ValueError, match="sandbox"):
        BoxConfig.model_validate(given)


INSIDE = ("set_id_program", "nested_by_clone", "kernel_ring", "device_node", "mount", "spinning")


@pytest.mark.parametrize("way", INSIDE)
async def test_what_a_process_can_be_bound_by_from_within_holds(way):
    assert way in NAMES
    async with open_box(config(cpu_seconds=1)) as box:
        done = await box.run([PYTHON, "-I", "-S", "-c", WAYS_OUT, way, "{}"])
    assert not done.stdout.endswith(b"reached\n")
