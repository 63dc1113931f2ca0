"""What a call sees, leaves behind, and is stopped by."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from audition.box import BoxConfig, BoxError, Limits, open_box

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("needs_box")]

SMALL = Limits(seconds=3, output=1000, memory=64 << 20, disk=8 << 20, cpu_seconds=1)


@pytest.fixture
def open_folder():
    """A folder that any user may read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
async def box():
    async with open_box(BoxConfig(limits=SMALL)) as opened:
        yield opened


async def test_a_call_returns_status_output_and_errors(box):
    done = await box.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], stdin=b"right\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"right\n", b"wrong\n")
    assert done.argv[0] == "sh"
    assert not done.truncated
    assert done.stopped is None


async def test_a_signal_is_a_negative_status(box):
    assert (await box.run(["sh", "-c", "kill -TERM $$"])).returncode == -signal.SIGTERM


async def test_the_workspace_lasts_and_scratch_does_not(box):
    await box.run(["sh", "-c", "echo a > kept; echo b > /tmp/gone; echo c > /dev/shm/gone"])
    done = await box.run(["sh", "-c", "cat kept; ls -A /tmp /dev/shm"])
    assert done.stdout == b"a\n/dev/shm:\n\n/tmp:\n"


async def test_a_flood_is_cut_at_the_limit_and_stopped(box):
    done = await box.run(["yes"])
    assert (done.truncated, done.stopped, done.returncode) == (True, "output", None)
    assert len(done.stdout) == SMALL.output


async def test_output_up_to_the_limit_is_whole(box):
    done = await box.run(["sh", "-c", "head -c 1000 /dev/zero; head -c 1000 /dev/zero >&2"])
    assert (len(done.stdout), len(done.stderr), done.truncated) == (1000, 1000, False)


async def test_a_call_that_takes_too_long_is_stopped_with_all_it_started(box):
    done = await box.run(["sh", "-c", "(setsid sleep 30 &); sleep 30"])
    assert (done.stopped, done.returncode) == ("time", None)
    assert b"sleep" not in (await box.run(["sh", "-c", "cat /proc/[0-9]*/comm"])).stdout


async def test_a_call_that_closes_its_output_is_still_bound_in_time(box):
    assert (await box.run(["sh", "-c", "exec >&- 2>&-; sleep 30"])).stopped == "time"


async def test_input_that_nobody_reads_does_not_hold_a_call_up(box):
    assert (await box.run(["true"], stdin=bytes(1 << 20))).returncode == 0


async def test_memory_is_bound_over_all_processes(box):
    held = "x=bytearray(40<<20)\nfor i in range(0,len(x),4096): x[i]=1\nimport time;time.sleep(9)"
    python = f"/usr/bin/python3 -I -S -c '{held}'"
    done = await box.run(["sh", "-c", f"{python} & {python} & wait"])
    assert done.stopped == "memory"


async def test_a_cancelled_call_is_stopped_and_the_box_goes_on(box):
    with anyio.move_on_after(0.2) as scope:
        await box.run(["sh", "-c", "sleep 0.8; echo late > late"])
    assert scope.cancelled_caught
    await anyio.sleep(1)
    assert (await box.run(["ls"])).stdout == b""


async def test_calls_made_at_once_take_turns(box):
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            line = f"test ! -e busy && touch busy && sleep 0.05 && rm busy && touch done-{number}"
            tasks.start_soon(box.run, ["sh", "-c", line])
    assert len((await box.run(["ls"])).stdout.split()) == 5


@pytest.mark.parametrize("argv", [[], ["a\0b"], ["true", "\0"]])
async def test_what_cannot_be_a_command_is_an_error(box, argv):
    with pytest.raises(ValueError, match="words without NUL"):
        await box.run(argv)


async def test_a_command_that_is_not_there_fails_like_one(box):
    done = await box.run(["no-such-command"])
    assert done.returncode == 1
    assert b"no-such-command" in done.stderr


async def test_words_that_are_no_text_reach_the_command(box):
    word = b"\xff\xfe\n{workspace}"
    assert (await box.run(["printf", "%s", os.fsdecode(word)])).stdout == word


async def test_only_declared_variables_are_seen(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with open_box(BoxConfig(environment={"ASKED": "yes"})) as box:
        names = {line.split(b"=")[0] for line in (await box.run(["env"])).stdout.splitlines()}
    assert names == {b"ASKED", b"HOME", b"LANG", b"PATH", b"PWD", b"TMPDIR", b"TZ"}


async def test_a_folder_to_read_is_shown_and_cannot_be_written(open_folder):
    shown = open_folder / "{odd} name"
    shown.mkdir()
    shown.chmod(0o777)
    (shown / "paper").write_text("read me")
    async with open_box(BoxConfig(read={"papers": shown})) as box:
        done = await box.run(["sh", "-c", "cat /read/papers/paper; echo > /read/papers/mine"])
    assert done.stdout == b"read me"
    assert done.returncode != 0
    assert not (shown / "mine").exists()


async def test_a_box_that_was_closed_says_so():
    async with open_box() as box:
        pass
    with pytest.raises(BoxError, match="closed"):
        await box.run(["true"])


async def test_a_folder_nested_too_deep_breaks_the_box_and_says_so(box):
    nest = "import os\nfor i in range(200): os.mkdir('d'); os.chdir('d')"
    earlier = await box.snapshot()
    with pytest.raises(BoxError, match="nested deeper"):
        await box.run(["/usr/bin/python3", "-I", "-S", "-c", nest])
    for refused in (box.digest, box.snapshot, box.save):
        with pytest.raises(BoxError, match="nested deeper"):
            await refused()
    async with box.open(earlier) as again:
        assert (await again.run(["ls"])).stdout == b""


def test_set_id_programs_take_no_effect(open_folder):
    if os.geteuid() != 0:
        pytest.skip("only root can make a set-id program of another's")
    program = open_folder / "id"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    outside = subprocess.run([program, "-u"], user=61_001, capture_output=True, check=True)
    assert outside.stdout == b"0\n"

    async def inside():
        async with open_box(BoxConfig(read={"set": open_folder})) as box:
            return (await box.run(["/read/set/id", "-u"])).stdout

    assert anyio.run(inside) == b"1000\n"


async def test_when_a_call_returns_nothing_of_it_is_left(box):
    daemon = ["sh", "-c", "(setsid sleep 30 &) >/dev/null 2>&1"]
    await box.run(daemon)
    assert children(keeper()) == []
    async with box.open(await box.snapshot()) as future:
        await future.run(daemon)
        (its_keeper,) = children(keeper())
        assert children(its_keeper) == []


async def test_when_the_keeper_is_killed_the_call_dies_with_it_and_the_caller_is_told():
    mark = f"32{os.getpid()}"
    async with open_box() as box, anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, kill_when_busy, keeper())
        with pytest.raises(BoxError, match="keeper was killed"):
            await box.run(["sleep", mark])
    wait_until(lambda: not sleepers(mark))


def test_when_the_caller_is_killed_nothing_of_the_box_lives_on():
    mark = f"31{os.getpid()}"
    source = (
        "import anyio\nfrom audition.box import open_box\n"
        "async def main():\n"
        "  async with open_box() as box:\n"
        "    print('open', flush=True)\n"
        f"    await box.run(['sleep', '{mark}'])\n"
        "anyio.run(main)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    with caller:
        assert caller.stdout.readline() == b"open\n"
        wait_until(lambda: sleepers(mark))
        caller.kill()
    wait_until(lambda: not sleepers(mark))


def kill_when_busy(pid):
    wait_until(lambda: children(pid))
    os.kill(pid, signal.SIGKILL)


def keeper():
    """The one keeper that this process has: it is the first process of a namespace."""
    (outer,) = [
        pid
        for pid in children(os.getpid())
        if b"keeper.serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    (inner,) = children(outer)
    return inner


def children(pid):
    return [
        int(child)
        for threads in Path(f"/proc/{pid}/task").glob("*/children")
        for child in threads.read_text().split()
    ]


def sleepers(mark):
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes() == f"sleep\0{mark}\0".encode():
                found.append(process)
        except OSError:
            continue
    return found


def wait_until(holds):
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to hold")
