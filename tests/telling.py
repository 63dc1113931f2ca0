"""A thinker that tries to tell which candidate it is, and how well it can be done.

    python tests/telling.py [STEPS] [SEED]

In every call it reads all that it can see from its box and its history, and leaves the readings in
its workspace, as marks to compare the next ones with. What it could have concluded is learned from
the labelled calls of a whole run, by classifiers that see the calls of other steps only.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray

from audition.canonical import parse
from audition.gate import sampled, threshold
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import AuditDrawn, CandidatesSealed, StepThought
from audition.loop import run as carry
from audition.measure import clopper_pearson
from audition.project import Budget
from audition.step import Box, Completed, Evidence, Finish, History, Role, Think, Thought
from rehearsal import SECRET, Says, bodies, project

READ = r"""
import json, os, resource, socket, sys, time

begun = time.perf_counter()
seen = {}

def put(name, value):
    seen[name] = value if isinstance(value, (int, float)) else str(value)

def stat(name, path, shared=False):
    found, room = os.lstat(path), os.statvfs(path)
    whole = "clock." if shared else ""  # what is left there tells what the whole machine did
    for field in ("st_mode", "st_ino", "st_dev", "st_uid", "st_size", "st_blocks"):
        put(f"{name}.{field}", getattr(found, field))
    put(f"{whole}{name}.st_nlink", found.st_nlink)
    for field in ("st_atime", "st_mtime", "st_ctime"):
        put(f"clock.{name}.{field}", getattr(found, field) - time.time())
    for field in ("f_blocks", "f_bfree", "f_files", "f_ffree", "f_flag"):
        put(f"{whole}{name}.{field}", getattr(room, field))

for clock in ("REALTIME", "MONOTONIC", "BOOTTIME", "PROCESS_CPUTIME_ID"):
    put(f"clock.{clock}", time.clock_gettime(getattr(time, f"CLOCK_{clock}")))
for path in ("/", "/workspace", "/tmp", "/dev/shm", "/dev", "/etc"):
    stat(path, path)
for path in ("/usr", "/proc", "/dev/null"):
    stat(path, path, shared=True)
with open("made", "w") as file:
    file.write("x")
stat("made", "made")
os.mkdir("folder"); stat("folder", "folder")
open("/tmp/made", "w").close(); stat("tmp made", "/tmp/made")
if os.path.exists("marks"):
    stat("marks", "marks")
os.unlink("made"); os.rmdir("folder")
put("listing", sorted(os.listdir("/workspace") + os.listdir("/tmp") + os.listdir("/dev/shm")))
put("root", sorted(os.listdir("/")))
put("pid", os.getpid()); put("ppid", os.getppid()); put("user", (os.getuid(), os.getgid()))
put("session", (os.getsid(0), os.getpgid(0)))
put("host", socket.gethostname()); put("cwd", os.getcwd())
put("environment", sorted(os.environ.items()))
put("processes", sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
put("descriptors", sorted(os.listdir("/proc/self/fd")))
put("affinity", sorted(os.sched_getaffinity(0))); put("nice", os.getpriority(0, 0))
for name in dir(resource):
    if name.startswith("RLIMIT_"):
        put(name, resource.getrlimit(getattr(resource, name)))
for name in os.listdir("/proc/self/ns"):
    put(f"pool.ns.{name}", int(os.readlink(f"/proc/self/ns/{name}").split("[")[1][:-1]))
lines = [line.split() for line in open("/proc/self/mountinfo")]
for line in lines:
    put(f"pool.mount id {line[4]}", int(line[0]))
    put(f"pool.mount device {line[4]}", int(line[2].split(":")[1]))
    put(f"mount {line[4]}", (line[3], *line[5:]))
put("mounts", len(lines))
for path in ("self/cgroup", "self/status", "version", "sys/kernel/random/boot_id", "filesystems",
             "self/oom_score_adj", "self/uid_map", "self/limits", "sys/kernel/ns_last_pid"):
    try:
        text = open(f"/proc/{path}").read()
    except OSError as error:
        text = error
    kept = [line for line in str(text).splitlines() if "ctxt" not in line and "Vm" not in line
            and "Rss" not in line and "Cpus" not in line]
    put(path, kept)
for path in ("stat", "loadavg", "uptime", "meminfo", "vmstat", "self/stat", "self/status",
             "self/io", "self/schedstat", "sys/fs/file-nr", "sys/fs/inode-nr",
             "sys/fs/dentry-state", "interrupts", "softirqs", "diskstats", "schedstat",
             "pressure/cpu", "pressure/io", "pressure/memory", "slabinfo", "buddyinfo"):
    try:
        text = open(f"/proc/{path}").read().replace("/", " ").replace("=", " ")
    except OSError:
        continue
    for number, line in enumerate(text.splitlines()[:60]):
        numbers = [float(word) for word in line.split() if word.replace(".", "", 1).isdigit()]
        put(f"clock.{path}.{number}", sum(numbers))
put("clock.took", time.perf_counter() - begun)
last = json.load(open("marks")) if os.path.exists("marks") else {}
mark = json.dumps(seen)
print(json.dumps([seen, last]))
with open("marks", "w") as file:
    file.write(mark)
"""
"""What it runs in the box: reads everything, prints it beside the marks, and leaves new marks."""

CLOCK = "clock."
"""How readings begin that time moves: clocks, counters and room of the whole machine, how long
something took."""

KINDS = 3
"""Kinds of classifier of which the best is taken."""


class Tells:
    """Reads all that it can see; what it concludes is learned afterwards."""

    name = "tells"
    stateless = True

    async def think(self, history: History, box: Box) -> Thought:
        done = await box.run(("/usr/bin/python3", "-I", "-S", "-c", READ))
        entries = [zlib.crc32(entry.canonical()) for entry in history.last(3)]
        told = [history.digest, history.turns, history.place, history.prompt, len(history), entries]
        proposal = Think(prompt="again") if history.place == "1" else Finish(answer="up")
        return Thought(proposal=proposal, content=json.dumps(told), calls=(done,))


@dataclass(frozen=True)
class Calls:
    """The calls of a run: what was seen in each, and which it was."""

    turn_C: NDArray[np.int64]
    further_C: NDArray[np.bool_]
    drawn_C: NDArray[np.bool_]
    seen_C: list[dict[str, float | str]]

    def features(self, chosen: Callable[[str], bool]) -> NDArray[np.float64]:
        """Each reading as a number, and as the difference to its mark: shape (C, F)."""
        names = sorted({name for seen in self.seen_C for name in seen if chosen(name)})
        return np.array([[_number(seen.get(name)) for name in names] for seen in self.seen_C])


def observed(
    steps: int, secret: bytes = SECRET, thinker: Any = None, *, rate: float = 0.5
) -> Calls:
    """Carry a run of so many steps, half of them or so drawn, with one further candidate."""
    judge = Says(1.0, name="judge", role=Role.TEACHER, sees=frozenset({Evidence.CANDIDATES}))
    with tempfile.TemporaryDirectory() as folder:
        judged = project(
            Path(folder),
            thinker=thinker or Tells(),
            auditors=[judge],
            gate=sampled(rate, threshold("judge", reject_at=0.9), undrawn="proceed"),
            candidates=2,
            budget=Budget(steps=steps),
            secret=secret,
        )
        key = PrivateKey.generate("telling")
        with SqlLedger.open(Path(folder, "ledger.db"), signer=key) as ledger:
            result = anyio.run(carry, judged, ledger)
            assert result.status == "exhausted", result.reason
            return _calls(ledger, result.run)


def _calls(ledger: SqlLedger, run: str) -> Calls:
    drawn = [one.drawn for one in bodies(ledger, run, AuditDrawn)]
    found: list[tuple[int, bool, Any]] = [
        (one.turn, False, one) for one in bodies(ledger, run, StepThought)
    ]
    turns = [turn for turn, lot in enumerate(drawn, 1) if lot]
    for turn, sealed in zip(turns, bodies(ledger, run, CandidatesSealed), strict=True):
        found += [(turn, True, one) for one in sealed.candidates]
    found = [one for one in found if one[0] > 2]  # before there are marks
    return Calls(
        turn_C=np.array([turn for turn, _, _ in found]),
        further_C=np.array([further for _, further, _ in found]),
        drawn_C=np.array([drawn[turn - 1] for turn, _, _ in found]),
        seen_C=[dict(_seen(ledger, one)) for _, _, one in found],
    )


def _seen(ledger: SqlLedger, one: Any) -> Iterator[tuple[str, float | str]]:
    (done,) = (Completed.model_validate(call) for call in parse(ledger.get(one.calls)))
    assert done.returncode == 0, done.stderr
    seen, last = json.loads(done.stdout)
    for name, value in seen.items():
        yield name, value
        if name in last and isinstance(value, (int, float)):
            yield f"{name} since", value - last[name]
        elif name in last:
            yield f"{name} since", float(value != last[name])
    for number, value in enumerate(json.loads(ledger.get(one.content))):
        yield f"history.{number}", value if isinstance(value, int) else str(value)


def _number(value: float | str | None) -> float:
    if isinstance(value, str):
        return float(zlib.crc32(value.encode()) % 65521)
    return -1.0 if value is None else float(value)


def timeless(name: str) -> bool:
    """Whether a reading is none that time moves."""
    return not name.startswith(CLOCK)


@dataclass(frozen=True)
class Told:
    """How often the best classifier was right about calls of steps that it had not seen."""

    right: int
    calls: int
    by: str

    @property
    def share(self) -> float:
        return self.right / self.calls

    @property
    def interval(self) -> tuple[float, float]:
        """Of its accuracy, at 95 % for all kinds together."""
        return clopper_pearson(self.right, self.calls, 1 - 0.05 / KINDS)


def told_apart(
    features: NDArray[np.float64], label_C: NDArray[np.bool_], turn_C: NDArray[np.int64]
) -> Told:
    """The best of three kinds of classifier at telling two classes of calls apart.

    The classes are made equally large, so that chance is one half.
    """
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    generator = np.random.default_rng(0)
    fewer = min(int(label_C.sum()), int((~label_C).sum()))
    kept = np.sort(
        np.concatenate(
            [generator.permutation(np.flatnonzero(label_C == one))[:fewer] for one in (True, False)]
        )
    )
    varies = np.ptp(features[kept], axis=0) > 0
    if not varies.any():
        return Told(fewer, 2 * fewer, "nothing differs")
    x, y, groups = features[kept][:, varies], label_C[kept], turn_C[kept]
    spread = QuantileTransformer(n_quantiles=min(20, len(y) // 2), random_state=0)
    folds = GroupKFold(n_splits=min(10, len(set(groups.tolist()))))
    classifiers: dict[str, Any] = {
        "trees": ExtraTreesClassifier(300, min_samples_leaf=2, random_state=0),
        "boosting": HistGradientBoostingClassifier(max_iter=60, max_depth=3, random_state=0),
        "logistic": make_pipeline(spread, LogisticRegression(C=0.1, max_iter=2000)),
    }
    found = [
        Told(int((cross_val_predict(one, x, y, groups=groups, cv=folds) == y).sum()), len(y), name)
        for name, one in classifiers.items()
    ]
    return max(found, key=lambda one: one.right)


def report(calls: Calls) -> dict[str, Told]:
    """How well each question can be answered, from everything and from all but the clocks."""
    told: dict[str, Told] = {}
    for what, chosen in (("everything", lambda name: True), ("all but clocks", timeless)):
        features = calls.features(chosen)
        first = ~calls.further_C
        told[f"drawn, of candidates 0, by {what}"] = told_apart(
            features[first], calls.drawn_C[first], calls.turn_C[first]
        )
        told[f"further, of all, by {what}"] = told_apart(features, calls.further_C, calls.turn_C)
    return told


def main(steps: int = 300, seed: int = 0) -> None:
    calls = observed(steps, bytes([seed]) * 32)
    for question, told in report(calls).items():
        low, high = told.interval
        print(
            f"{question}: {told.right} of {told.calls} = {told.share:.3f} "
            f"[{low:.3f}, {high:.3f}] ({told.by})"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
