"""Snapshots and futures: the same state, nothing shared that can be written, nothing copied."""

import json
import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audition.box import BoxConfig, BoxError, Limits, archive, open_box, tree
from audition.box.keeper.layers import MERGE_AT
from audition.box.keeper.serve import GENERATIONS_MAX
from audition.step import Snapshot

pytestmark = pytest.mark.usefixtures("needs_box")

PATHS = st.sampled_from(
    ["a", "a/a", "a/a/a", "a/new\nline", "b", "b/a", os.fsdecode(b"b/\xff\xfe"), "b/b", "c"]
)
CONTENTS = st.sampled_from(["", "one", "two", "x" * 70_000, "\0" * 200_000, "\0" * 70_000 + "end"])
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("append"), PATHS, CONTENTS),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("folder"), PATHS),
    st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "../outside", "/etc"])),
    st.tuples(st.just("mode"), PATHS, st.sampled_from([0, 0o600, 0o644, 0o755])),
    st.tuples(st.just("move"), PATHS, PATHS),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("do"), st.integers(0, 9), st.lists(OPERATIONS, min_size=1, max_size=8)),
        st.tuples(st.just("snapshot"), st.integers(0, 9)),
        st.tuples(st.just("open"), st.integers(0, 9)),
        st.tuples(st.just("forget"), st.integers(0, 9)),
    ),
    min_size=3,
    max_size=14,
)

PERFORM = """
import json, os, shutil, sys

def is_folder(path):
    return os.path.isdir(path) and not os.path.islink(path)

def free(path):
    parts = path.split('/')
    above = ['/'.join(parts[:n]) for n in range(1, len(parts))]
    return all(is_folder(part) for part in above)

def present(path):
    return free(path) and os.path.lexists(path)

def remove(path):
    shutil.rmtree(path) if is_folder(path) else os.unlink(path)

def perform(what, path, *more):
    if not free(path):
        return
    if what == 'write' and not is_folder(path):
        if present(path):
            os.unlink(path)
        with open(path, 'w') as file:
            file.write(more[0])
        os.chmod(path, 0o644)
    elif what == 'append' and os.path.isfile(path) and not os.path.islink(path):
        if os.stat(path).st_mode & 0o600 == 0o600:
            with open(path, 'a') as file:
                file.write(more[0])
    elif what == 'remove' and present(path):
        remove(path)
    elif what == 'folder' and not present(path):
        os.mkdir(path, 0o755)
    elif what == 'link' and not present(path):
        os.symlink(more[0], path)
    elif what == 'mode' and present(path) and os.path.isfile(path) and not os.path.islink(path):
        os.chmod(path, more[0])
    elif what == 'move' and present(path) and free(more[0]) and not present(more[0]):
        if not more[0].startswith(path + '/'):
            shutil.move(path, more[0])

for operation in json.load(sys.stdin):
    perform(*operation)
"""
PYTHON = ("/usr/bin/python3", "-I", "-S", "-X", "utf8", "-c", PERFORM)


class Model:
    """The same operations on an ordinary folder that nothing else writes to."""

    def __init__(self, copy=None):
        self.folder = tempfile.mkdtemp()
        self.path = Path(self.folder, "workspace")
        if copy is None:
            self.path.mkdir()
            self.path.chmod(0o755)
        else:
            shutil.copytree(copy.path, self.path, symlinks=True)

    def perform(self, operations):
        here = os.getcwd()
        os.chdir(self.path)
        try:
            scope = {}
            program = PERFORM.rpartition("for operation")[0]
            exec(program, scope)
            for operation in operations:
                scope["perform"](*operation)
        finally:
            os.chdir(here)

    def digest(self):
        with tree.opened(str(self.path), os.O_DIRECTORY) as opened:
            return tree.fold(opened, None, None, 0).digest.hex()

    def packed(self):
        data = bytearray()
        with tree.opened(str(self.path), os.O_DIRECTORY) as opened:
            archive.pack(opened, data.extend)
        return bytes(data)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_boxes_and_futures_do_as_separate_folders_would(steps):
    anyio.run(follow, steps)


async def follow(steps):
    models = []
    try:
        async with AsyncExitStack() as stack:
            box = await stack.enter_async_context(open_box())
            open_ = [(box, Model())]
            models.append(open_[0][1])
            snapshots = []
            for what, number, *more in steps:
                box, model = open_[number % len(open_)]
                if what == "do":
                    done = await box.run(PYTHON, stdin=json.dumps(more[0]).encode())
                    assert done.returncode == 0, done.stderr
                    model.perform(more[0])
                elif what == "snapshot":
                    snapshots.append((box, await box.snapshot(), Model(model)))
                    models.append(snapshots[-1][2])
                elif what == "open" and snapshots:
                    parent, snapshot, then = snapshots[number % len(snapshots)]
                    future = await stack.enter_async_context(parent.open(snapshot))
                    open_.append((future, Model(then)))
                    models.append(open_[-1][1])
                elif what == "forget" and snapshots:
                    parent, snapshot, _ = snapshots.pop(number % len(snapshots))
                    await parent.forget(snapshot)
            for box, model in open_:
                assert await box.digest() == model.digest()
                assert await box.save() == model.packed()
            for parent, snapshot, then in snapshots:
                assert snapshot.digest == then.digest()
                async with parent.open(snapshot) as future:
                    assert await future.save() == then.packed()
            digests = [await box.digest() for box, _ in open_]
            contents = [model.packed() for _, model in open_]
            for one in range(len(open_)):
                for two in range(one):
                    same = contents[one] == contents[two]
                    assert (digests[one] == digests[two]) == same
            async with open_box(saved=contents[-1]) as restored:
                assert await restored.digest() == digests[-1]
    finally:
        for model in models:
            shutil.rmtree(model.folder)


@pytest.mark.anyio
async def test_writes_in_one_future_are_never_seen_in_another():
    async with open_box() as box:
        await box.run(["sh", "-c", "echo first > file; mkdir folder; echo kept > folder/inner"])
        snapshot = await box.snapshot()
        async with box.open(snapshot) as one, box.open(snapshot) as two:
            await one.run(["sh", "-c", "echo one >> file; rm -r folder; mkdir folder"])
            await two.run(["sh", "-c", "echo two >> file; chmod 600 folder/inner"])
            await box.run(["sh", "-c", "echo box >> file; echo more > folder/more"])
            shown = [
                (await each.run(["sh", "-c", "cat file; ls folder"])).stdout.split()
                for each in (box, one, two)
            ]
    assert shown == [
        [b"first", b"box", b"inner", b"more"],
        [b"first", b"one"],
        [b"first", b"two", b"inner"],
    ]


@pytest.mark.anyio
async def test_futures_run_at_once_and_each_has_all_its_processes():
    async with open_box(BoxConfig(limits=Limits(processes=12))) as box:
        snapshot = await box.snapshot()
        crowd = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.4 & done; wait; echo whole"
        heard = []

        async def run(each):
            heard.append(await each.run(["sh", "-c", crowd]))

        async with AsyncExitStack() as stack:
            futures = [await stack.enter_async_context(box.open(snapshot)) for _ in range(3)]
            async with anyio.create_task_group() as tasks:
                for each in (box, *futures):
                    tasks.start_soon(run, each)
    assert [done.stdout for done in heard] == [b"whole\n"] * 4


@pytest.mark.anyio
async def test_a_snapshot_copies_nothing():
    async with open_box(BoxConfig(limits=Limits(disk=64 << 20))) as box:
        await box.run(["sh", "-c", "head -c 30000000 /dev/urandom > large; seq 300 | xargs touch"])
        before = await room(box)
        snapshots = [await box.snapshot() for _ in range(50)]
        after = await room(box)
        async with box.open(snapshots[-1]) as future:
            inside = await room(future)
            await future.run(["rm", "large"])
            await future.run(["sh", "-c", "head -c 20000000 /dev/zero > other"])
            assert await room(box) == after
    assert before[0] - after[0] < 64 * 1024
    assert before[1] - after[1] < 10
    assert after[0] - inside[0] < 64 * 1024


@pytest.mark.anyio
async def test_a_future_never_has_more_room_than_its_snapshot_left():
    async with open_box(BoxConfig(limits=Limits(disk=16 << 20))) as box:
        await box.run(["sh", "-c", "head -c 12000000 /dev/zero | tr '\\0' x > large"])
        async with box.open(await box.snapshot()) as future:
            done = await future.run(["sh", "-c", "head -c 6000000 /dev/urandom > more"])
            assert b"No space left" in done.stderr


@pytest.mark.anyio
async def test_a_forgotten_snapshot_gives_its_room_back():
    async with open_box(BoxConfig(limits=Limits(disk=16 << 20))) as box:
        for _ in range(80):
            done = await box.run(["sh", "-c", "head -c 150000 /dev/urandom > a; cp a b"])
            assert done.returncode == 0, done.stderr
            await box.forget(await box.snapshot())
        assert len((await box.run(["cat", "b"])).stdout) == 150_000


@pytest.mark.anyio
async def test_hundreds_of_snapshots_each_open_as_they_were():
    async with open_box() as box:
        taken = []
        for number in range(100):
            line = f"echo {number} > file-{number % 7}; rm -rf folder; mkdir -p folder/{number}"
            await box.run(["sh", "-c", line])
            taken.append(await box.snapshot())
        for number in (0, 31, 32, 33, 64, 99):
            async with box.open(taken[number]) as future:
                done = await future.run(["sh", "-c", f"cat file-{number % 7}; ls folder"])
                assert done.stdout == f"{number}\n{number}\n".encode()
                assert await future.digest() == taken[number].digest


@pytest.mark.anyio
async def test_what_is_removed_or_replaced_stays_so_through_many_snapshots_of_a_future():
    async with open_box() as box:
        await box.run(["sh", "-c", "mkdir -p gone/in kept/in; touch gone/a kept/a kept/b plain"])
        async with box.open(await box.snapshot()) as future:
            await future.run(["sh", "-c", "rm -r gone plain kept; mkdir kept; touch kept/new"])
            for number in range(MERGE_AT + 3):
                await future.run(["sh", "-c", f"echo {number} > number"])
                await future.forget(await future.snapshot())
            done = await future.run(["sh", "-c", "find | sort"])
            assert done.stdout == b".\n./kept\n./kept/new\n./number\n"
            async with open_box(saved=await future.save()) as restored:
                assert await restored.digest() == await future.digest()


@pytest.mark.anyio
async def test_a_future_keeps_its_state_when_its_snapshot_is_forgotten():
    async with open_box() as box:
        await box.run(["sh", "-c", "mkdir folder; echo kept > folder/file"])
        snapshot = await box.snapshot()
        async with box.open(snapshot) as future:
            await box.forget(snapshot)
            await box.run(["rm", "-r", "folder"])
            for number in range(MERGE_AT + 3):
                await box.run(["sh", "-c", f"echo {number} > number"])
                await box.forget(await box.snapshot())
            assert (await future.run(["cat", "folder/file"])).stdout == b"kept\n"


@pytest.mark.anyio
async def test_the_workspaces_own_mode_is_part_of_its_state():
    async with open_box() as box:
        open_ = await box.snapshot()
        await box.run(["chmod", "700", "."])
        closed = await box.snapshot()
        for snapshot, mode in ((open_, b"755\n"), (closed, b"700\n")):
            async with box.open(snapshot) as future:
                assert (await future.run(["stat", "-c", "%a", "."])).stdout == mode


@pytest.mark.anyio
async def test_a_future_ends_with_the_box_it_comes_from():
    async with AsyncExitStack() as futures:
        async with open_box() as box:
            future = await futures.enter_async_context(box.open(await box.snapshot()))
            assert (await future.run(["true"])).returncode == 0
        with pytest.raises(BoxError, match="closed"):
            await future.run(["true"])


@pytest.mark.anyio
async def test_a_folder_made_anew_is_digested_as_it_is_read():
    async with open_box() as box:
        await box.run(["sh", "-c", "mkdir folder; touch folder/old"])
        await box.snapshot()
        await box.run(["sh", "-c", "rm -r folder; mkdir folder; touch folder/new"])
        async with open_box(saved=await box.save()) as restored:
            assert await restored.digest() == await box.digest()


@pytest.mark.anyio
async def test_futures_open_within_futures_to_a_bound_with_a_way_out():
    async with open_box() as box, AsyncExitStack() as stack:
        for _ in range(GENERATIONS_MAX):
            box = await stack.enter_async_context(box.open(await box.snapshot()))
        assert (await box.run(["true"])).returncode == 0
        one_too_many = box.open(await box.snapshot())
        with pytest.raises(BoxError, match=r"deep; save\(\)"):
            await stack.enter_async_context(one_too_many)


@pytest.mark.anyio
async def test_a_snapshot_of_another_box_cannot_be_opened():
    async with open_box() as box, open_box() as other:
        foreign = await other.snapshot()
        forged = Snapshot(id=(await box.snapshot()).id, digest="0" * 64)
        for snapshot in (foreign, forged):
            with pytest.raises(BoxError, match="no snapshot"):
                async with box.open(snapshot):
                    pass


@pytest.mark.anyio
async def test_what_a_guest_leaves_behind_of_any_kind_is_digested_saved_and_restored():
    strange = """
import os, socket, stat
os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('socket')
os.symlink('/etc/shadow', 'link'); os.symlink('nowhere', b'\\xff')
open('secret', 'w').write('x'); os.chmod('secret', 0)
os.mkdir('closed'); open('closed/in', 'w').write('y'); os.chmod('closed', 0)
open('set-id', 'w').close(); os.chmod('set-id', 0o6755)
f = open('holes', 'wb'); f.truncate(900 << 20); f.seek(500 << 20); f.write(b'middle'); f.close()
os.mkdir('sticky', 0o1777); os.chmod('.', 0o700)
"""
    async with open_box() as box:
        done = await box.run(["/usr/bin/python3", "-c", strange])
        assert done.returncode == 0, done.stderr
        saved = await box.save()
        async with box.open(await box.snapshot()) as future:
            assert await future.digest() == await box.digest()
        async with open_box(saved=saved) as restored:
            assert await restored.digest() == await box.digest()
            assert await restored.save() == saved
            done = await restored.run(["sh", "-c", "stat -c %A%n * . | sort; du -k holes"])
    assert len(saved) < 200_000
    assert b"-rwsr-sr-xset-id" in done.stdout
    assert b"drwx------." in done.stdout
    assert b"prw-" in done.stdout
    assert b"srw" in done.stdout
    assert int(done.stdout.split()[-2]) < 200


@pytest.mark.anyio
async def test_a_change_that_keeps_size_and_time_changes_the_digest():
    async with open_box() as box:
        await box.run(["sh", "-c", "echo one > file; touch -d 2020-01-01 file"])
        seen = {await box.digest()}
        for word in ("two", "six", "ten"):
            await box.run(
                ["sh", "-c", f"printf {word} | dd of=file conv=notrunc; touch -d 2020-01-01 file"]
            )
            seen.add(await box.digest())
    assert len(seen) == 4


@pytest.mark.anyio
async def test_a_digest_that_was_asked_for_beside_a_command_is_not_told_after_it():
    async with open_box() as box:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(box.digest)
            tasks.start_soon(box.run, ["sh", "-c", "echo one > file"])
        after = await box.digest()
        async with open_box(saved=await box.save()) as restored:
            assert await restored.digest() == after


@pytest.mark.anyio
async def test_times_do_not_change_the_digest():
    async with open_box() as box:
        await box.run(["sh", "-c", "echo one > file"])
        before = await box.digest()
        await box.run(["touch", "-d", "2020-01-01", "file", "."])
        assert await box.digest() == before


@pytest.mark.anyio
async def test_a_workspace_is_copied_in_and_the_folder_left_alone(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/file").write_text("original")
    tmp_path.chmod(0o700)
    async with open_box(BoxConfig(workspace=tmp_path)) as box:
        begun = await box.digest()
        (tmp_path / "deep/er/file").write_text("changed outside")
        done = await box.run(["sh", "-c", "cat deep/er/file; echo inside > deep/er/file"])
        assert done.stdout == b"original"
        assert await box.digest() != begun
    assert (tmp_path / "deep/er/file").read_text() == "changed outside"


async def room(box):
    done = await box.run(["stat", "-f", "-c", "%a %S %d", "."])
    blocks, size, files = map(int, done.stdout.split())
    return blocks * size, files
