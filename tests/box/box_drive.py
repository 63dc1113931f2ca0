"""Tries every way out, as whoever runs it, and prints what was reached as JSON.

box_drive.py boxed [SETTING]  in a box that it opens, weakened by a setting perhaps
box_drive.py open             without a box: the positive control
box_drive.py network          likewise, for what needs a network namespace made for the purpose

It is to run in a network namespace of its own, so that no way leads to another machine.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import box_settings

from audition.box import BoxConfig, Limits, open_box
from audition.box.opening import _python
from audition.box.probe import SOURCE, Outside

MEBI = 1 << 20
AT_ONCE = 4
CONFIG = BoxConfig(
    limits=Limits(
        seconds=12,
        cpu_seconds=1,
        memory=128 * MEBI,
        processes=32,
        disk=64 * MEBI,
        files=1000,
        scratch=16 * MEBI,
        output=100_000,
        open_files=64,
    )
)
WAYS_OUT = (Path(__file__).parent / "box_ways_out.py").read_text()
NAMES = tuple(
    line[4:].split("(")[0]
    for line in WAYS_OUT.splitlines()
    if line.startswith("def ") and line[4] != "_"
)
NETWORK = (
    *("tcp", "tcp6", "udp", "unix_socket", "abstract_socket", "system", "mount"),
    *("dns", "icmp", "metadata", "packet"),
)
READ = {
    *("symbolic_link_out", "read_memory", "cached_credentials", "environment_of_another"),
    "steal_descriptor",
}
"""Ways that reach something only if they come back with a secret that they were not told."""
PYTHON = _python()[0]


async def boxed(setting):
    """What is reached from a box; nothing at all, unless a setting is weakened."""
    reached = {}
    with box_settings.weakened(setting):
        with Outside(CONFIG) as outside:
            async with open_box(CONFIG) as box:
                argv = [PYTHON, "-I", "-S", "-c", SOURCE]
                done = await box.run(argv, stdin=outside.targets())
                reached.update(json.loads(done.stdout))
                reached.update(outside.reached())
        few = anyio.CapacityLimiter(AT_ONCE)

        async def attempt(name):
            async with few, open_box(CONFIG) as box:
                with Aim() as aim:
                    argv = [PYTHON, "-I", "-S", "-c", WAYS_OUT, name, aim.told(boxed=True)]
                    done = await box.run(argv)
                    reached[name] = aim.reached(name, done.stdout, done.stopped)
                    if name == "daemon":
                        await anyio.sleep(2)
                        late = await box.run(["cat", "late"])
                        reached[name] = "outlived its call" if late.stdout else None

        seen = packets()
        async with anyio.create_task_group() as tasks:
            for name in NAMES:
                tasks.start_soon(attempt, name)
    return {**reached, "any packet": f"{packets() - seen} packets" if packets() > seen else None}


def unboxed(network):
    """What is reached without a box: everything, or the test would show nothing."""
    reached = {}
    with Outside(CONFIG) as outside:
        targets = json.loads(outside.targets())
        if not network:
            for name in ("tcp", "tcp6", "udp", "unix", "abstract"):
                targets.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", SOURCE],
            input=json.dumps(targets).encode(),
            stdout=subprocess.PIPE,
            close_fds=False,
            check=True,
        )
        reached.update(json.loads(done.stdout))
        reached.update(outside.reached())
    seen = packets()
    ways = [name for name in NAMES if (name in NETWORK) == network]
    with ThreadPoolExecutor(AT_ONCE) as few:
        reached.update(zip(ways, few.map(tried, ways), strict=True))
    if network:
        reached["any packet"] = f"{packets() - seen} packets" if packets() > seen else None
    return {
        name: got for name, got in reached.items() if (name in (*NETWORK, "any packet")) == network
    }


def tried(name):
    with Aim() as aim:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", WAYS_OUT, name, aim.told()],
            stdout=subprocess.PIPE,
            cwd=aim.folder,
            check=False,
        )
        if name == "daemon":
            late = soon(Path(aim.folder, "late").exists, 60)
            return "outlived its call" if late else None
        return aim.reached(name, done.stdout, None)


class Aim:
    """What the ways out aim at, and what is seen of them there."""

    def __enter__(self):
        self._closing = contextlib.ExitStack()
        self.folder = self._closing.enter_context(tempfile.TemporaryDirectory())
        os.chmod(self.folder, 0o755)
        self.secret = secrets.token_hex(16)
        self.canary = Path(self.folder, "canary")
        for name in ("canary", ".netrc", ".bashrc"):
            Path(self.folder, name).write_text(self.secret)
            Path(self.folder, name).chmod(0o666)
        self._memory = ctypes.create_string_buffer(self.secret.encode())
        self._file = self._closing.enter_context(self.canary.open())
        self.mark, self.key = f"audition-{secrets.token_hex(8)}", secrets.randbits(30)
        self._echoes, self._signals = echoes(), len(SIGNALS)
        self._asked = len(ASKED)
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
        return self

    def __exit__(self, *_):
        self._closing.close()
        for folder in ("/tmp", "/dev/shm"):
            for left in Path(folder).glob(f"{self.mark}*"):
                left.unlink()

    def told(self, boxed=False):
        """What a way is told."""
        return json.dumps(
            {
                "boxed": boxed,
                "canary": str(self.canary),
                "home": self.folder,
                "pid": os.getpid(),
                "address": ctypes.addressof(self._memory),
                "descriptor": self._file.fileno(),
                "mark": self.mark,
                "key": self.key,
            }
        )

    def reached(self, name, stdout, stopped):
        """What is seen of it from here, or what it came back with; else its word."""
        if name in READ:
            secret = b"SECRET=of the caller" if name.startswith("env") else self.secret.encode()
            got = secret in stdout
        elif (looked := getattr(self, f"_{name}", None)) is not None:
            got = looked()
        else:
            got = stdout.rstrip().endswith(b"reached") and stopped is None
        return "reached" if got else None

    def _dns(self):
        return len(ASKED) > self._asked

    def _metadata(self):
        return came("metadata")

    def _icmp(self):
        return echoes() > self._echoes

    def _packet(self):
        return came("packet")

    def _hard_link_out(self):
        return self.canary.stat().st_nlink > 1

    def _start_up_file(self):
        return "late" in Path(self.folder, ".bashrc").read_text()

    def _signal_out(self):
        return soon(lambda: len(SIGNALS) > self._signals, 2)

    def _temporary_file(self):
        return taken_away(f"/tmp/{self.mark}")

    def _shared_memory_file(self):
        return taken_away(f"/dev/shm/{self.mark}")

    def _message_queue(self):
        call = {"x86_64": 241, "aarch64": 181}[os.uname().machine]
        return ctypes.CDLL(None).syscall(call, ctypes.c_char_p(self.mark.encode())) == 0

    def _shared_segment(self):
        libc = ctypes.CDLL(None)
        segment = libc.shmget(self.key, 0, 0)
        return segment >= 0 and libc.shmctl(segment, 0, None) == 0


SIGNALS = []
"""Signals that came."""
ASKED = []
"""What the name server here was asked; it answers only after it has noted the query."""
LISTENING = {}
"""Sockets that only listen: what came to them waits in the kernel until it is looked for."""


def came(name):
    """Whether anything came to a listening socket; it is taken away."""
    listening = LISTENING[name]
    if not select.select([listening], [], [], 0.5)[0]:
        return False
    if name == "metadata":
        listening.accept()[0].close()
    else:
        listening.recv(99)
    return True


def taken_away(path):
    """Whether a file is here; it is not any more."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False


def packets():
    """Frames that came by the loopback of this namespace."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return sum(int(line.split()[2]) for line in lines if line.strip().startswith("lo:"))


def echoes():
    """Echo requests that came to this namespace."""
    names, numbers = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if "Icmp:" in line
    )
    return int(numbers[names.index("InEchos")])


def soon(seen, seconds):
    """Whether it is seen within so many seconds."""
    end = time.monotonic() + seconds
    while not (found := seen()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def make_network():
    """Raise loopback here; answer on it as a name server, listen as a cloud's metadata server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x41)
        fcntl.ioctl(any_socket, 0x8914, up)
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, bytes((169, 254, 169, 254)))
        fcntl.ioctl(any_socket, 0x8916, address)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    threading.Thread(target=answer_names, args=[names], daemon=True).start()
    LISTENING["packet"] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    with contextlib.suppress(OSError):
        group = os.getgid()
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(f"{group} {group or 2**31 - 2}")
    LISTENING["metadata"] = socket.create_server(("169.254.169.254", 80))


def answer_names(server):
    while True:
        query, asker = server.recvfrom(512)
        ASKED.append(query)
        server.sendto(query, asker)


def open_system():
    """Open `/sys` to writing, in a mount namespace made for the purpose."""
    if ctypes.CDLL(None).mount(b"tmpfs", b"/sys", b"tmpfs", 0, None) != 0:
        raise OSError("no tmpfs in this namespace")


if __name__ == "__main__":
    how = sys.argv[1]
    signal.signal(signal.SIGUSR1, lambda *_: SIGNALS.append(1))
    if how != "open":
        make_network()
    if how == "network":
        open_system()
    if how == "boxed":
        result = anyio.run(boxed, sys.argv[2] if len(sys.argv) > 2 else "")
    else:
        result = unboxed(how == "network")
    print(json.dumps(result))
