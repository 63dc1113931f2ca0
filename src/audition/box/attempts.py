"""Ways out of a box, tried from inside. Runs alone: `python3 -I -S -c SOURCE < targets.json`.

Each function tries one way and returns what it reached, or None; an error means that the way is
shut. The same source run outside a box is the positive control: there every way is open.
"""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

Targets = dict[str, Any]
"""What the attempts aim at: see `Outside.targets`."""
Attempt = Callable[[Targets], str | None]

_WAIT_S = 2.0
_CLONE_NEWUSER = 0x10000000
_DEVICES = {
    *(
        "console",
        "core",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
    ),
    *("stdout", "tty", "urandom", "zero"),
}


def tcp(targets: Targets) -> str | None:
    """A listener on loopback."""
    return _connect(socket.AF_INET, ("127.0.0.1", targets["tcp"]))


def tcp6(targets: Targets) -> str | None:
    """A listener on loopback, by IPv6."""
    return _connect(socket.AF_INET6, ("::1", targets["tcp6"]))


def udp(targets: Targets) -> str | None:
    """What arrives is seen by the listener: sending alone proves nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"audition", ("127.0.0.1", targets["udp"]))
    return None


def unix_socket(targets: Targets) -> str | None:
    """A socket in the file system."""
    return _connect(socket.AF_UNIX, targets["unix"])


def abstract_socket(targets: Targets) -> str | None:
    """A socket in the network namespace, without a file."""
    return _connect(socket.AF_UNIX, "\0" + targets["abstract"])


def interfaces(targets: Targets) -> str | None:
    """Interfaces beside a loopback of its own."""
    names = {name for _, name in socket.if_nameindex()} - {"lo"}
    return f"sees the network interfaces {sorted(names)}" if names else None


def vsock(targets: Targets) -> str | None:
    """The hypervisor, past every namespace."""
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return "made a socket to the hypervisor, which no namespace confines"


def descriptors(targets: Targets) -> str | None:
    """Files that the caller had open."""
    listing = os.open("/proc/self/fd", os.O_DIRECTORY)
    open_ = {name for name in os.listdir(listing) if int(name) not in (0, 1, 2, listing)}
    reached = [os.readlink(f"/proc/self/fd/{name}") for name in open_ if _is_open(int(name))]
    return f"inherited {reached}" if reached else None


def environment(targets: Targets) -> str | None:
    """The caller's variables."""
    extra = sorted(set(os.environ) - set(targets["environment"]))
    return f"sees the variables {extra}" if extra else None


def files(targets: Targets) -> str | None:
    """The caller's files, by their own paths and through `/proc`."""
    for path in targets["hidden"]:
        for root in ("", "/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/proc/self/cwd/../.."):
            if os.path.lexists(root + path):
                return f"sees {root + path}"
    return None


def system(targets: Targets) -> str | None:
    """Writing where the system lives."""
    for folder in targets["system"]:
        path = f"{folder}/audition-{os.getpid()}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError:
            continue
        os.unlink(path)
        return f"wrote in {folder}"
    return None


def outsiders(targets: Targets) -> str | None:
    """Processes beside this one and the first of its namespace."""
    seen = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {1, os.getpid()}
    return f"sees the processes {sorted(seen)[:5]}" if seen else None


def namespaces(targets: Targets) -> str | None:
    """The caller's namespaces, told by their numbers."""
    shared = [
        name
        for name, number in targets["namespaces"].items()
        if os.readlink(f"/proc/self/ns/{name}") == number
    ]
    return f"shares the namespaces {shared}" if shared else None


def keyring(targets: Targets) -> str | None:
    """Keys of the caller's session, which no namespace hides."""
    call = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
    session = ctypes.CDLL(None).syscall(call, 0, -3, 0)
    return "reached the session's keyring" if session >= 0 else None


def privileges(targets: Targets) -> str | None:
    """Capabilities, set-id programs, unfiltered system calls."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    held = [name for name in ("CapPrm", "CapEff", "CapAmb", "CapBnd") if int(status[name], 16)]
    if held:
        return f"holds capabilities ({', '.join(held)})"
    if status["NoNewPrivs"] != "1":
        return "set-id programs take effect"
    return None if status["Seccomp"] == "2" else "no filter of system calls"


def root(targets: Targets) -> str | None:
    """The real root, as owner of the system."""
    return "root outside has a name inside" if os.stat("/usr").st_uid == 0 else None


def devices(targets: Targets) -> str | None:
    """Devices, found or made."""
    extra = sorted(set(os.listdir("/dev")) - _DEVICES)
    if extra:
        return f"sees the devices {extra[:5]}"
    os.mknod("/tmp/device", 0o600 | 0o020000, os.makedev(1, 3))
    return "made a device"


def nested(targets: Targets) -> str | None:
    """New namespaces, and the capabilities that come with them."""
    child = os.fork()
    if not child:
        os._exit(ctypes.CDLL(None).unshare(_CLONE_NEWUSER) != 0)
    made = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return "made a user namespace, with every capability in it" if made else None


def limits(targets: Targets) -> str | None:
    """More than the limits allow."""
    import resource  # not everywhere, and this module is read for its names

    for name, most in targets["limits"].items():
        bound = resource.getrlimit(getattr(resource, name))[0]
        if bound == resource.RLIM_INFINITY or bound > most:
            return f"{name} is not bound to {most}"
    return None


ATTEMPTS: tuple[Attempt, ...] = (
    *(tcp, tcp6, udp, unix_socket, abstract_socket, interfaces, vsock, descriptors, environment),
    *(files, system, outsiders, namespaces, keyring, privileges, root, devices, nested, limits),
)


def main() -> None:
    """Try each way, and print what each reached."""
    targets: Targets = json.load(sys.stdin)
    reached: dict[str, str | None] = {}
    for attempt in ATTEMPTS:
        if attempt.__name__ in targets.get("untried", ()):
            continue
        try:
            reached[attempt.__name__] = attempt(targets)
        except (OSError, KeyError, AttributeError):
            reached[attempt.__name__] = None
    print(json.dumps(reached))


def _connect(family: int, address: str | tuple[str, int]) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(_WAIT_S)
        client.connect(address)
    return f"reached {address!r}"


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
