"""More ways out than the opening probe tries: one is named, and says what it reached.

Runs alone, in the box and outside it; the second is the positive control. Its second argument
says what to aim at: files, the process that started it, and an address and a descriptor in that.
Where an effect can be seen from outside, whoever runs this looks there, and not at what is said.
"""

import ctypes
import json
import mmap
import os
import socket
import stat
import struct
import sys
import time

AIM = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
_KEEP_S = 1.0


def fork_bomb():
    children = []
    for _ in range(100):
        child = os.fork()
        if not child:
            time.sleep(_KEEP_S)
            os._exit(0)
        children.append(child)
    return all(os.waitpid(child, 0)[1] == 0 for child in children)


def memory_bomb():
    return _hold([60 << 20] * 4)


def memory_bomb_in_one_process():
    return _hold([240 << 20])


def shared_memory_bomb():
    block = mmap.mmap(-1, 240 << 20)
    for at in range(0, len(block), mmap.PAGESIZE):
        block[at] = 1
    time.sleep(_KEEP_S)
    return True


def hidden_memory_bomb():
    """Memory behind descriptors, which no process maps."""
    for _ in range(4):
        file = os.memfd_create("bomb")
        for _ in range(60):
            os.write(file, bytes(1 << 20))
    return True


def disk_bomb():
    return _fill("bomb", 80)


def scratch_bomb():
    return _fill(f"/tmp/{AIM['mark']}" if AIM["boxed"] else "bomb", 80)


def shm_bomb():
    return _fill(f"/dev/shm/{AIM['mark']}" if AIM["boxed"] else "bomb", 80)


def sparse_bomb():
    with open("bomb", "wb") as file:
        file.truncate(1 << 40)
    return True


def inode_bomb():
    return _litter("bomb")


def scratch_inode_bomb():
    return _litter(f"/tmp/{AIM['mark']}" if AIM["boxed"] else "bomb")


def descriptor_bomb():
    return len([os.open("/", os.O_RDONLY) for _ in range(200)]) == 200


def output_bomb():
    for _ in range(100):
        sys.stdout.write("x" * 10_000)
    return True


def overtime():
    time.sleep(13)
    return True


def spinning():
    end = time.process_time() + 1.1
    while time.process_time() < end:
        pass
    return True


def daemon():
    """Outlive the call, and write afterwards."""
    if os.fork():
        return True
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open("/dev/null", os.O_RDWR)
    for end in range(3):
        os.dup2(null, end)
    time.sleep(_KEEP_S)
    with open("late", "w") as file:
        file.write("alive")
    os._exit(0)


def dns():
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\7example\7invalid\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        asking.sendto(query, ("127.0.0.1", 53))
        return asking.recv(512)[:2] == query[:2]


def icmp():
    """An echo request, by an ordinary socket or a raw one."""
    echo = struct.pack(">BBHHH", 8, 0, 0xF7FD, 1, 1)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as asking:
                asking.sendto(echo, ("127.0.0.1", 0))
                return True
        except OSError:
            continue
    return False


def metadata():
    """Where a cloud hands out its machines' credentials."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as asking:
        asking.settimeout(1)
        asking.connect(("169.254.169.254", 80))
        return True


def packet():
    """A frame below every protocol."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
        sending.bind(("lo", 0))
        return sending.send(bytes(12) + b"\x88\xb5audition") > 0


def start_up_file():
    """What the caller's shell would run at its next start."""
    with open(f"{AIM['home']}/.bashrc", "a") as file:
        file.write("late\n")
    return True


def cached_credentials():
    with open(f"{AIM['home']}/.netrc") as file:
        return file.read()


def environment_of_another():
    """The variables of any process that is seen."""
    found = b""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                found += file.read()
        except OSError:
            continue
    return found.decode(errors="replace")


def steal_descriptor():
    """A file that another process has open."""
    libc = ctypes.CDLL(None)
    process = libc.syscall(434, AIM["pid"], 0)
    stolen = libc.syscall(438, process, AIM["descriptor"], 0)
    return os.pread(stolen, 99, 0).decode() if stolen >= 0 else False


def signal_out():
    os.kill(AIM["pid"], 10)
    return True


def temporary_file():
    """A file where every program of the machine keeps its own."""
    open(f"/tmp/{AIM['mark']}", "w").close()
    return True


def shared_memory_file():
    open(f"/dev/shm/{AIM['mark']}", "w").close()
    return True


def message_queue():
    """A queue between processes, which no file system shows."""
    call = {"x86_64": 240, "aarch64": 180}[os.uname().machine]
    name, small = ctypes.c_char_p(AIM["mark"].encode()), struct.pack("=8q", 0, 1, 8, 0, 0, 0, 0, 0)
    return ctypes.CDLL(None).syscall(call, name, os.O_CREAT | os.O_RDWR, 0o666, small) >= 0


def shared_segment():
    """Memory between processes, known by a number."""
    return ctypes.CDLL(None).shmget(AIM["key"], 4096, 0o1666) >= 0


def system_tree():
    """What the machine is made of."""
    return bool(os.listdir("/sys"))


def machine_identity():
    """What tells this machine from every other."""
    return any(os.path.exists(f"/etc/{name}") for name in ("machine-id", "hostname"))


def boot_command_line():
    with open("/proc/cmdline") as file:
        return bool(file.read().strip())


def kernel_settings():
    """Which program the kernel starts, as root and outside, when another crashes."""
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return True


def kernel_memory():
    for name in ("/proc/kcore", "/dev/mem", "/dev/kmsg"):
        if os.path.exists(name):
            os.close(os.open(name, os.O_RDONLY))
            return True
    return False


def kernel_log():
    return ctypes.CDLL(None).klogctl(10, None, 0) >= 0


def kernel_programs():
    """Programs in the kernel: a map to begin with."""
    call = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    return (
        ctypes.CDLL(None).syscall(call, 0, struct.pack("=5I", 2, 4, 4, 1, 0) + bytes(100), 72) >= 0
    )


def set_id_program():
    """A program that makes whoever starts it root."""
    started = os.fork()
    if not started:
        if os.getuid() == 0:
            os.setuid(65_534)
        waiting = os.pipe()
        os.dup2(waiting[0], 0)
        os.execv("/bin/su", ["su", "-c", "true"])
    became = False
    for _ in range(1000):
        with open(f"/proc/{started}/status") as file:
            users = next(line for line in file if line.startswith("Uid:")).split()
        became = users[1] != "0" and users[2] == "0"
        if became or os.waitpid(started, os.WNOHANG)[0]:
            break
        time.sleep(0.01)
    else:
        os.kill(started, 9)
    return became


def trace():
    """Attach to the process that started this one, without stopping it."""
    seize, detach = 0x4206, 17
    libc = ctypes.CDLL(None)
    target = AIM["pid"]
    if libc.ptrace(seize, target, None, None) != 0:
        return False
    libc.ptrace(detach, target, None, None)
    return True


def read_memory():
    """Read what the process that started this one remembers."""
    libc = ctypes.CDLL(None)
    byte = ctypes.create_string_buffer(32)
    pair = ctypes.c_size_t * 2
    local, remote = pair(ctypes.addressof(byte), 32), pair(AIM["address"], 32)
    read = libc.process_vm_readv(AIM["pid"], local, 1, remote, 1, 0)
    return byte.raw.decode() if read == 32 else False


def symbolic_link_out():
    os.symlink(AIM["canary"], "link")
    with open("link") as file:
        return file.read()


def hard_link_out():
    os.link(AIM["canary"], "hard")
    return True


def hard_link_inside():
    """Two names for one file: a snapshot would have to tell them apart."""
    open("one", "w").close()
    os.link("one", "two")
    return True


def hidden_state():
    """Bytes that travel with a file, and that a digest of its contents would not show."""
    open("one", "w").close()
    os.setxattr("one", "user.hidden", b"state")
    return True


def device_node():
    os.mknod("device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    return True


def mount():
    os.mkdir("mounted")
    libc = ctypes.CDLL(None)
    return (
        libc.mount(b"tmpfs", b"mounted", b"tmpfs", 0, None) == 0
        and libc.umount2(b"mounted", 2) == 0
    )


def nested_by_clone():
    call = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    flags = 0x10000000 | 17
    child = ctypes.CDLL(None).syscall(call, flags, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child > 0 and os.waitpid(child, 0)[1] == 0


def kernel_ring():
    """io_uring: system calls that no filter sees."""
    parameters = ctypes.create_string_buffer(256)
    return ctypes.CDLL(None).syscall(425, 2, parameters) >= 0


def _hold(sizes):
    children = []
    for size in sizes:
        child = os.fork()
        if not child:
            try:
                block = bytearray(size)
                for at in range(0, size, mmap.PAGESIZE):
                    block[at] = 1
                time.sleep(_KEEP_S)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    return all(os.waitpid(child, 0)[1] == 0 for child in children)


def _litter(path):
    """Make so many files."""
    made = []
    try:
        for number in range(1500):
            made.append(f"{path}-{number}")
            open(made[-1], "w").close()
    except OSError:
        made.pop()
        raise
    finally:
        for name in made:
            os.unlink(name)
    return True


def _fill(path, mebibytes):
    """Write so much, in files that are small enough each."""
    made = []
    try:
        for number in range(mebibytes):
            if number % 20 == 0:
                made.append(f"{path}-{number}")
            with open(made[-1], "ab") as file:
                file.write(bytes(1 << 20))
    finally:
        for name in made:
            os.unlink(name)
    return True


if __name__ == "__main__":
    try:
        got = globals()[sys.argv[1]]()
        print(f"{got}\nreached" if got else "shut")
    except (OSError, MemoryError) as error:
        print("shut:", error)
