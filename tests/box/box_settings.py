"""Each setting of a box that keeps something in, and how a box is opened without it.

A setting is weakened in a copy of what the confining program, the filter or the keeper is told;
the rest of the box stands, and its judge is silent.
"""

import contextlib
import tempfile
from unittest import mock

from audition.box import confine, opening, probe, seccomp


@contextlib.contextmanager
def weakened(setting):
    """Boxes that are opened within lack this setting, and are not refused for it."""
    if not setting:
        yield
        return
    patches = [(probe, "judge", lambda *_: ()), *SETTINGS[setting]]
    with contextlib.ExitStack() as stack:
        for place, name, new in patches:
            stack.enter_context(mock.patch.object(place, name, new))
        yield


def without(*names):
    """The confining program is not told these options, nor what follows them."""
    return told(lambda arguments: dropped(arguments, *names))


def adding(*more):
    return told(lambda arguments: [*arguments[:-1], *more, "--"])


def replacing(old, new):
    return told(lambda arguments: instead(arguments, old, new))


def dropped(arguments, *names):
    kept = list(arguments)
    for name, length in names:
        at = kept.index(name)
        del kept[at : at + length]
    return kept


def instead(arguments, old, new):
    text = "\0".join(arguments)
    assert "\0".join(old) in text
    return text.replace("\0".join(old), "\0".join(new)).split("\0")


def told(weaken):
    whole = confine.arguments
    return [(confine, "arguments", lambda *given: weaken(whole(*given)))]


def unfiltered(*calls):
    """The filter lets these calls through."""
    kept = {
        machine: {name: number for name, number in table.items() if name not in calls}
        for machine, table in seccomp._TABLES.items()
    }
    everywhere = {name: number for name, number in seccomp._EVERYWHERE.items() if name not in calls}
    return [(seccomp, "_TABLES", kept), (seccomp, "_EVERYWHERE", everywhere)]


def unbound(**limits):
    """Limits are others than were declared."""
    whole = confine.bounds
    return [(confine, "bounds", lambda *given: {**whole(*given), **limits})]


def roomy(**limits):
    """The keeper makes room for more than was declared."""
    whole = opening._start

    async def start(session):
        config = session.config
        larger = config.limits.model_copy(update=limits)
        object.__setattr__(session, "config", config.model_copy(update={"limits": larger}))
        return await whole(session)

    return [(opening, "_start", start)]


def keeping(line):
    """The keeper runs this line before it begins."""
    assert "main(int" in opening._KEEPER
    return [(opening, "_KEEPER", opening._KEEPER.replace("main(int", f"{line}\nmain(int"))]


def with_variable(name):
    whole = confine.environment
    return [(confine, "environment", lambda config: {**whole(config), name: "of the caller"})]


MASK = ["--ro-bind", "{etc}/nothing"]
PROC = ["--proc", "/proc", *MASK, "/proc/cmdline", *MASK, "/proc/keys"]
OUTER_PROC = ["--ro-bind", "/proc", "/proc"]

NO_GROUP = (opening, "bind", lambda config, pid: None)

SETTINGS = {
    "network namespace": without(("--unshare-net", 1)),
    "namespace of messages": without(("--unshare-ipc", 1)),
    "namespace of host names": without(("--unshare-uts", 1), ("--hostname", 2)),
    "namespace of groups": without(("--unshare-cgroup-try", 1)),
    "namespace of processes": told(
        lambda arguments: instead(dropped(arguments, ("--unshare-pid", 1)), PROC, OUTER_PROC)
    ),
    "session": without(("--new-session", 1)),
    "end with the keeper": without(("--die-with-parent", 1)),
    "no capabilities": replacing(["--cap-drop", "ALL"], ["--cap-add", "ALL"]),
    "filter": without(("--seccomp", 2)),
    "few devices": adding("--dev-bind", "/dev", "/dev"),
    "root read-only": replacing(["--remount-ro", "/", "--"], ["--"]),
    "devices read-only": without(("--remount-ro", 2)),
    "system read-only": replacing(["--ro-bind", "/usr", "/usr"], ["--bind", "/usr", "/usr"]),
    "masked command line": replacing([*MASK, "/proc/cmdline"], ["--tmpfs", "/mnt"]),
    "masked keys": replacing([*MASK, "/proc/keys"], ["--tmpfs", "/mnt"]),
    "a /tmp of its own": replacing(["--bind", "{tmp}", "/tmp"], ["--bind", "/tmp", "/tmp"]),
    "a /dev/shm of its own": replacing(["{shm}", "/dev/shm"], ["/dev/shm", "/dev/shm"]),
    "an /etc of its own": replacing(["--ro-bind", "{etc}", "/etc"], ["--ro-bind", "/etc", "/etc"]),
    "filter: sockets": unfiltered("socket", "socketpair"),
    "filter: keyrings": unfiltered("add_key", "request_key", "keyctl"),
    "filter: unshare": unfiltered("unshare"),
    "filter: clone": unfiltered("clone"),
    "filter: io_uring": unfiltered("io_uring_setup", "io_uring_enter", "io_uring_register"),
    "filter: hard links": unfiltered("link", "linkat"),
    "filter: attributes": unfiltered("setxattr", "lsetxattr", "fsetxattr"),
    "filter: memory files": unfiltered("memfd_create"),
    "filter: segments": unfiltered("shmget", "shmat", "shmctl"),
    "filter: tracing": unfiltered("ptrace", "process_vm_readv", "pidfd_getfd", "kcmp"),
    "filter: mounting": unfiltered("mount", "umount2", "fsopen", "fsmount", "move_mount"),
    "filter: kernel": unfiltered("bpf", "syslog", "perf_event_open"),
    "declared environment": with_variable("TOKEN"),
    "closed descriptors": keeping("import os; os.closerange = lambda *_: None"),
    "time": unbound(seconds=60),
    "processor time": unbound(cpu_seconds=9),
    "open files": unbound(open_files=1024),
    "processes": [*unbound(processes=1024), NO_GROUP],
    "output": unbound(output=10_000_000),
    "memory": [
        *unbound(memory=1 << 40, address_space=None),
        NO_GROUP,
    ],
    "room": roomy(disk=256 << 20),
    "number of files": roomy(files=10_000),
    "scratch room": roomy(scratch=256 << 20),
    "size of a file": unbound(disk=1 << 40),
    "nothing outlives a call": keeping(
        "from audition.box.keeper import call; call.end_all_but = lambda others: None"
    ),
    "the caller's folders": adding("--bind", tempfile.gettempdir(), tempfile.gettempdir()),
    "both ends of a call": [
        *without(("--die-with-parent", 1)),
        *keeping("from audition.box.keeper import call; call.end_all_but = lambda others: None"),
    ],
    "namespace of messages; filter: segments": [
        *without(("--unshare-ipc", 1)),
        *unfiltered("shmget", "shmat", "shmctl"),
    ],
}

NETWORK = {"abstract_socket", "dns", "icmp", "metadata", "tcp", "tcp6", "udp", "any packet"}
TEMPORARY = {
    *("cached_credentials", "files", "scratch_bomb", "scratch_inode_bomb", "start_up_file"),
    *("symbolic_link_out", "temporary_file", "unix_socket"),
}
MEMORY = {"memory_bomb", "memory_bomb_in_one_process", "shared_memory_bomb"}

OPENS = {
    "network namespace": {*NETWORK, "namespaces"},
    "namespace of messages": {"message_queue", "namespaces"},
    "namespace of host names": {"namespaces"},
    "namespace of groups": {"namespaces"},
    "namespace of processes": {"outsiders", "boot_command_line"},
    "no capabilities": {"privileges"},
    "filter": {
        *("descriptors", "hard_link_inside", "hidden_memory_bomb", "hidden_state", "kernel_ring"),
        *("keyring", "nested", "nested_by_clone", "privileges", "vsock"),
    },
    "few devices": {"devices", "shared_memory_file", "shm_bomb"},
    "root read-only": {"system"},
    "devices read-only": {"system"},
    "masked command line": {"boot_command_line"},
    "a /tmp of its own": TEMPORARY,
    "a /dev/shm of its own": {"shared_memory_file", "shm_bomb"},
    "an /etc of its own": {"machine_identity"},
    "filter: sockets": {"vsock"},
    "filter: keyrings": {"keyring"},
    "filter: unshare": {"nested"},
    "filter: clone": {"nested_by_clone"},
    "filter: io_uring": {"kernel_ring"},
    "filter: hard links": {"hard_link_inside"},
    "filter: attributes": {"hidden_state"},
    "filter: memory files": {"hidden_memory_bomb"},
    "declared environment": {"environment"},
    "closed descriptors": {"descriptors"},
    "time": {"overtime"},
    "processor time": {"limits", "spinning"},
    "open files": {"descriptor_bomb", "limits"},
    "processes": {"fork_bomb", "limits"},
    "output": {"output_bomb"},
    "memory": MEMORY,
    "room": {"disk_bomb", "limits"},
    "number of files": {"inode_bomb", "scratch_inode_bomb"},
    "scratch room": {"scratch_bomb", "shm_bomb"},
    "size of a file": {"limits", "sparse_bomb"},
    "the caller's folders": TEMPORARY,
    "both ends of a call": {"daemon"},
    "namespace of messages; filter: segments": {"message_queue", "namespaces", "shared_segment"},
}
"""What gets out without each setting: exactly this, and nothing else that is tried."""

SECOND = {
    "session": "the keeper has a session of its own, without a terminal",
    "end with the keeper": "the keeper ends what a call left",
    "nothing outlives a call": "the confining program's processes end with it",
    "system read-only": "the box's user owns nothing there",
    "masked keys": "the box's user sees no keys there",
    "filter: segments": "the namespace of messages holds them too",
    "filter: tracing": "the namespace of processes shows nobody to trace",
    "filter: mounting": "mounting takes a capability",
    "filter: kernel": "these take a capability",
}
"""Settings that are a second wall: nothing gets out without them, because of another."""
