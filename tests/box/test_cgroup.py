"""Where a group that binds a box can be made, what it binds there, and that it does."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from audition.box import BoxConfig, BoxUnavailable, Limits, open_box
from audition.box import session as session_room
from audition.box.cgroup import Bounds, Group, make_group

BOUNDS = Bounds(memory=1 << 20, processes=7, cores=0.5)
TERM = "user.slice/user@7.service/app.slice/term.scope"


@pytest.fixture
def hierarchy(tmp_path):
    """A copy of the files of a hierarchy, which binds nothing."""
    for folder in (TERM, "user.slice/session.scope"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.rglob("*")):
        if folder.is_dir():
            (folder / "cgroup.procs").touch()
            (folder / "cgroup.subtree_control").write_text("")
    return tmp_path


def made(folder, own, kind="cgroup2", options="rw"):
    return make_group(BOUNDS, f"cgroup {folder} {kind} {options} 0 0\n", own)


def test_a_group_stands_beside_ours_where_most_is_delegated(hierarchy):
    above = hierarchy / "user.slice/user@7.service/app.slice"
    (above / "cgroup.subtree_control").write_text("cpu memory pids io\n")
    (above.parent / "cgroup.subtree_control").write_text("memory pids\n")
    group = made(hierarchy, f"0::/{TERM}\n")
    assert set(group.folders) == {"memory", "pids", "cpu"}
    (folder,) = set(group.folders.values())
    assert (folder.parent, group.version) == (above, 2)
    assert (folder / "memory.max").read_text() == str(1 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "pids.max").read_text() == "7"
    assert (folder / "cpu.max").read_text() == "50000 100000"


def test_what_is_not_delegated_is_not_bound(hierarchy):
    above = hierarchy / "user.slice/user@7.service/app.slice"
    (above / "cgroup.subtree_control").write_text("pids\n")
    group = made(hierarchy, f"0::/{TERM}\n")
    assert set(group.folders) == {"pids"}
    assert not (group.folders["pids"] / "memory.max").exists()


def test_without_delegation_there_is_none(hierarchy):
    assert made(hierarchy, "0::/user.slice/session.scope\n") is None


def test_a_folder_that_we_may_not_enter_is_passed_over(hierarchy):
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    (hierarchy / "user.slice/cgroup.subtree_control").write_text("memory")
    (hierarchy / "user.slice/cgroup.procs").chmod(0o444)
    assert made(hierarchy, "0::/user.slice/session.scope\n") is None


def test_groups_of_the_first_kind_stand_below_ours(hierarchy):
    mounts = "".join(
        f"cgroup {hierarchy}/{name} cgroup rw,{name} 0 0\n" for name in ("user.slice", "memory")
    )
    (hierarchy / "memory").mkdir()
    (hierarchy / "memory/cgroup.procs").touch()
    group = make_group(BOUNDS, mounts, "4:memory:/\n3:pids:/\n")
    assert (group.version, set(group.folders)) == (1, {"memory"})
    folder = group.folders["memory"]
    assert folder.parent == hierarchy / "memory"
    assert (folder / "memory.limit_in_bytes").read_text() == str(1 << 20)


@pytest.mark.parametrize(
    ("version", "file", "text"),
    [(1, "memory.oom_control", "under_oom 0\noom_kill 3\n"), (2, "memory.events", "oom_kill 3\n")],
)
def test_kills_for_memory_are_counted(tmp_path, version, file, text):
    (tmp_path / file).write_text(text)
    assert Group({"memory": tmp_path}, version).kills() == 3
    assert Group({"memory": tmp_path / "gone"}, version).kills() == 0
    assert Group({"pids": tmp_path}, version).kills() == 0


def test_removing_waits_for_the_last_process(tmp_path):
    folder = tmp_path / "group"
    folder.mkdir()
    (folder / "busy").touch()
    group = Group({"memory": folder, "pids": folder}, 2)
    assert not group.remove()
    Path(folder, "busy").unlink()
    assert group.remove()
    assert group.remove()


@pytest.fixture
def real():
    """A group of this machine's own kernel."""
    group = make_group(Bounds(memory=64 << 20, processes=4, cores=0.05))
    if group is None:
        pytest.skip("no control group can be made here")
    yield group
    assert group.remove()


def in_group(group, source):
    """A program that is in a group from before its first line."""
    wait = f"import os, sys\nsys.stdin.readline()\n{source}"
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", wait],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        group.add(started.pid)
        return started.communicate("go\n")[0], started.returncode


def test_the_kernel_holds_a_group_to_its_memory(real):
    if "memory" not in real.folders:
        pytest.skip("no group binds memory here")
    source = "x = bytearray(96 << 20)\nfor at in range(0, len(x), 4096): x[at] = 1"
    assert in_group(real, source)[1] == -9
    assert real.kills() == 1
    assert in_group(real, "x = bytearray(8 << 20)")[1] == 0


def test_the_kernel_holds_a_group_to_its_processes(real):
    if "pids" not in real.folders:
        pytest.skip("no group binds processes here")
    source = (
        "children = []\n"
        "try:\n"
        "  while True:\n"
        "    child = os.fork()\n"
        "    if not child: sys.stdin.read(); os._exit(0)\n"
        "    children.append(child)\n"
        "except BlockingIOError: print(len(children))\n"
        "for child in children: os.kill(child, 9); os.waitpid(child, 0)\n"
    )
    assert in_group(real, source)[0] == "3\n"


def throttled(folder):
    lines = (folder / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["nr_throttled"])


def test_the_kernel_holds_a_group_to_its_processor_time(real):
    if "cpu" not in real.folders:
        pytest.skip("no group binds processor time here")
    spin = "import time\nwhile time.process_time() < 0.05: pass"
    assert in_group(real, spin)[1] == 0
    assert throttled(real.folders["cpu"]) > 0


@pytest.mark.usefixtures("needs_box")
def test_a_box_is_held_to_its_processors_and_says_so(monkeypatch):
    groups, whole = [], session_room.make_group

    def noted(*given):
        groups.append(whole(*given))
        return groups[-1]

    monkeypatch.setattr(session_room, "make_group", noted)

    async def spin():
        async with open_box(BoxConfig(limits=Limits(cores=0.05))) as box:
            await box.run(["sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"])
            means = {held.limit: held.means for held in box.report().limits}
            return throttled(groups[0].folders["cpu"]), means["cores"]

    try:
        times, means = anyio.run(spin)
    except BoxUnavailable as error:
        assert "limits.cores takes a cgroup" in str(error)  # noqa: PT017
        pytest.skip("no group binds processor time here")
    assert times > 0
    assert "binds processor time" in means


@pytest.mark.usefixtures("needs_box")
def test_a_box_that_cannot_be_held_to_its_processors_does_not_open(monkeypatch):
    monkeypatch.setattr(session_room, "make_group", lambda bounds: None)

    async def attempt(cores):
        async with open_box(BoxConfig(limits=Limits(cores=cores))) as box:
            return {held.limit: held.means for held in box.report().limits}

    with pytest.raises(BoxUnavailable, match=r"limits\.cores takes a cgroup .* leave it out"):
        anyio.run(attempt, 1.0)
    assert anyio.run(attempt, None)["cores"] == "not limited"
