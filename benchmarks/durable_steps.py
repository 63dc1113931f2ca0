"""Gated, durable steps: ours against LangGraph and DBOS, alternately in one run, and the floor.

    python benchmarks/durable_steps.py [--quick] [--json] [--only SECTION,...]

What each section measures, 64 runs at once unless it says otherwise, all on SQLite (WAL,
synchronous FULL), each repetition on fresh files in one folder, the systems in turn (A B C A B C
...), medians:

acts: a script proposes, one rule judges, an executor that does nothing performs. Every system makes
    the decision durable before the act, and what came of the act before the next step; ours makes
    it durable with the start of the next act, for its thinker asks nobody outside the process and
    thinks in less than 10 ms (`docs/durability.md`): a kill in between leaves the act in doubt.
approvals: what is proposed waits for a person; a verdict is signed in another task; the run is
    taken up again and the act done. Ours is read back from the database: each time the run is put
    down, and carried on from its events alone. `enrolled` (without --quick): the gate itself asks
    for a signature under an enrolled key.
alone: acts of one run, nothing beside it with which it could share a sync.
delayed: acts and approvals, ours and LangGraph, while every fsync and fdatasync takes 3.3 ms.
syncs: fsync and fdatasync calls an act, counted by strace, alone and (peers without --quick) at 64
    runs.

Each system stands in a process of its own (`benchmarks/durable/`), which says how it is set up. The
floor is the same rows written by plain `sqlite3`. Peers take `pip install 'audition[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from durable.syncs import DELAY_MS, compiled, counted, traced
from durable.system import Figures, Skipped, System

SYSTEMS = ("audition", "langgraph", "dbos")
VARIANTS = {"langgraph": ("threads", "async"), "dbos": ("threads", "async")}
"""How a peer can carry many runs at once; each is tried, and the faster is measured."""

RUNS = 64

LONGER = 4
"""How many times as many acts each run of ours has: so all take about as long, and what is measured
is acts and approvals. Opening a run costs ours as much as several, and a peer next to nothing."""


class Size(NamedTuple):
    """How much is measured, by section: steps of each run, and how often."""

    acts: tuple[int, int]
    approvals: tuple[int, int]
    alone: tuple[int, int]
    slow_acts: tuple[int, int]
    slow_approvals: tuple[int, int]
    traced: int
    """Steps of each run while its syncs are counted."""
    thorough: bool
    """Whether the variants of peers are tried in each section, and whatever takes long is done."""


QUICK = Size((6, 3), (1, 2), (40, 2), (2, 1), (1, 1), 20, False)
FULL = Size((40, 5), (8, 5), (1000, 5), (12, 3), (4, 3), 40, True)


class Bench:
    """What the sections share: the disk, the size, and what was found out on the way."""

    def __init__(self, folder: Path, size: Size, stack: ExitStack) -> None:
        self.folder, self.size = folder, size
        self.versions: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._stack = stack
        self._standing: dict[str, System] = {}
        self._files = 0
        self._variants: dict[tuple[str, str, int], str] = {}

    def systems(self, *names: str) -> list[System]:
        """Systems as they are, which stand until the end; those that are new start together."""
        for name in names:
            if name not in self._standing:
                self._standing[name] = self._stack.enter_context(System(name))
        return [self._standing[name] for name in names]

    def fresh(self) -> str:
        """The path of a database that is not there yet."""
        self._files += 1
        return str(self.folder / f"{self._files}.db")

    def once(self, system: System, what: str, runs: int, steps: int, **more: Any) -> Figures:
        """One repetition of one system; its figures, with acts a second."""
        task = {"what": what, "runs": runs, "steps": steps, "path": self.fresh()}
        variant = more.setdefault("variant", self._known(system, what, runs))
        figures = system.ask(**task, **more)
        self.versions |= system.versions or {}
        rate = figures["count"] / figures["seconds"]
        return figures | {"path": task["path"], "variant": variant, "per_second": rate}

    def choose(self, system: System, what: str, runs: int, steps: int) -> None:
        """Warm a system up, and settle which of its variants is measured, unless that is known."""
        known = self._known(system, what, runs)
        several = () if known else VARIANTS.get(system.name, ())
        rates: dict[str, float] = {}
        for variant in several or (known,):
            self.once(system, what, min(runs, 4), 1, variant=variant)
            if several:
                rates[variant] = self.once(system, what, runs, steps, variant=variant)["per_second"]
        if several:
            self._variants[system.name, what, runs] = max(rates, key=lambda one: rates[one])
            say(f"  {system.name}: " + ", ".join(f"{one} {rates[one]:.0f}/s" for one in rates))

    def alternately(
        self, systems: Sequence[System], what: str, runs: int, size: tuple[int, int]
    ) -> Figures:
        """The systems in turn, and then what came of it."""
        steps, repetitions = size
        found: dict[str, list[Figures]] = {system.name: [] for system in systems}
        standing = list(systems)
        for system in systems:
            try:
                if system.name != "floor":
                    self.choose(system, what, runs, max(1, steps // 4))
            except Skipped as why:
                self.skipped[f"{what}: {system.name}"] = str(why)
                standing.remove(system)
        for _ in range(repetitions):
            written = ""
            for system in standing:
                of = {"of": written} if system.name == "floor" else {}
                more = LONGER if system.name in ("audition", "floor") else 1
                one = self.once(system, what, runs, more * steps, **of)
                written = one["path"] if system.name == "audition" else written
                found[system.name].append(one)
            self.clear()
        return {"runs": runs, "steps": steps} | summed(found)

    def _known(self, system: System, what: str, runs: int) -> str | None:
        """The variant that was settled on; the quick form settles once for all."""
        if not self.size.thorough and (system.name, what, runs) not in self._variants:
            return self._variants.get((system.name, "acts", RUNS))
        return self._variants.get((system.name, what, runs))

    def clear(self) -> None:
        """Remove what was written so far."""
        for path in self.folder.glob("*.db*"):
            path.unlink()

    def sync_ms(self, system: System) -> float:
        """What a sync costs in this system's process."""
        return round(system.ask(what="sync", path=self.fresh())["sync_ms"], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    parser.add_argument("--json", action="store_true", help="one object and nothing else")
    parser.add_argument("--only", default=",".join(SECTIONS), help="which sections, with commas")
    given = parser.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"--only: {sorted(unknown)[0]!r} is none of {', '.join(SECTIONS)}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), QUICK if given.quick else FULL, stack)
        sections: Figures = {}
        for name in chosen:
            say(f"{name} ({time.monotonic() - begun:.0f} s)")
            try:
                sections[name] = SECTIONS[name](bench)
            except Skipped as why:
                bench.skipped[name] = str(why)
            bench.clear()
    figures = {
        "ratio": sections.get("acts", {}).get("ratio", {}),
        **sections,
        "skipped": bench.skipped,
        "versions": bench.versions,
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(json.dumps(figures) if given.json else table(figures))


def acts(bench: Bench) -> Figures:
    """Acts that one rule judges, and the floor."""
    systems = bench.systems(*SYSTEMS, "floor")
    figures = bench.alternately(systems, "acts", RUNS, bench.size.acts)
    return figures | {"sync_ms": bench.sync_ms(systems[0])}


def approvals(bench: Bench) -> Figures:
    """Acts that a person approves."""
    systems = bench.systems(*SYSTEMS)
    figures = bench.alternately(systems, "approvals", RUNS, bench.size.approvals)
    if bench.size.thorough:
        steps, times = bench.size.approvals
        ones = [
            bench.once(systems[0], "approvals", RUNS, steps, variant="enrolled")
            for _ in range(times)
        ]
        figures["enrolled"] = summed({"audition": ones})["audition"]
    return figures


def alone(bench: Bench) -> Figures:
    """Acts of one run."""
    systems = bench.systems(*SYSTEMS)
    return bench.alternately(systems, "acts", 1, bench.size.alone)


def delayed(bench: Bench) -> Figures:
    """Acts and approvals while every sync takes long."""
    shim = {"LD_PRELOAD": str(compiled(bench.folder))}
    with ExitStack() as stack:
        names = ("audition", "langgraph")
        systems = [stack.enter_context(System(name, environment=shim)) for name in names]
        costs = {system.name: bench.sync_ms(system) for system in systems}
        if min(costs.values()) < DELAY_MS:
            raise Skipped(f"the shim delays nothing: a sync took {min(costs.values())} ms")
        sizes = {"acts": bench.size.slow_acts, "approvals": bench.size.slow_approvals}
        return {"sync_ms": costs} | {
            what: bench.alternately(systems, what, RUNS, size) for what, size in sizes.items()
        }


def syncs(bench: Bench) -> Figures:
    """Syncs an act, at 64 runs and alone."""
    log = bench.folder / "strace.log"
    found: Figures = {"64": {}, "alone": {}}
    many, one = ("64", RUNS, bench.size.traced), ("alone", 1, bench.size.alone[0])
    for name in SYSTEMS:
        wanted = (many, one) if name == "audition" or bench.size.thorough else (one,)
        with System(name, before=traced(log)) as system:
            try:
                for where, runs, steps in wanted:
                    done = bench.once(system, "acts", runs, steps)
                    made = counted(log, done["from"], done["to"])
                    found[where][name] = round(made / done["count"], 3)
            except Skipped as why:
                bench.skipped[f"syncs: {name}"] = str(why)
    return found


SECTIONS: dict[str, Callable[[Bench], Figures]] = {
    "acts": acts,
    "approvals": approvals,
    "alone": alone,
    "delayed": delayed,
    "syncs": syncs,
}


def summed(found: Mapping[str, Sequence[Figures]]) -> Figures:
    """Medians over the repetitions, and ours as a multiple of each, repetition by repetition."""
    told: Figures = {"ratio": {}, "range": {}}
    for name, ones in found.items():
        if not ones:
            continue
        rates = [one["per_second"] for one in ones]
        cpu = [1e6 * one["cpu_seconds"] / one["count"] for one in ones]
        told[name] = {"per_second": round(statistics.median(rates), 1)}
        told[name] |= {"cpu_us": round(statistics.median(cpu), 1)}
        told[name] |= {"variant": ones[0]["variant"]} if ones[0]["variant"] else {}
        for what in ("events", "commits", "bytes"):
            if what in ones[0]:
                each = statistics.median(one[what] / one["count"] for one in ones)
                told[name][f"{what}_per_act"] = round(each, 3)
        if name != "audition" and found["audition"]:
            ours = (one["per_second"] for one in found["audition"])
            ratios = [our / rate for our, rate in zip(ours, rates, strict=True)]
            told["ratio"][name] = round(statistics.median(ratios), 2)
            told["range"][name] = [round(min(ratios), 2), round(max(ratios), 2)]
    return told


def table(figures: Figures) -> str:
    """The figures as a table for people: acts a second, and ours as a multiple of each peer."""
    slow = figures.get("delayed", {})
    sections = {"acts": figures.get("acts"), "approvals": figures.get("approvals")}
    sections |= {"acts of one run": figures.get("alone")}
    sections |= {f"{what}, syncs delayed": slow.get(what) for what in ("acts", "approvals")}
    lines = ["| | ours | LangGraph | DBOS | × LangGraph | × DBOS |", "|---|---|---|---|---|---|"]
    for what, found in sections.items():
        if found:
            rates = [found.get(name, {}).get("per_second", "–") for name in SYSTEMS]
            ratios = [found["ratio"].get(name, "–") for name in SYSTEMS[1:]]
            lines.append(f"| {' | '.join(map(str, (what, *rates, *ratios)))} |")
    for where, found in figures.get("syncs", {}).items():
        made = [found.get(name, "–") for name in SYSTEMS]
        lines.append(f"| syncs an act, {where} | {' | '.join(map(str, made))} | | |")
    for name in ("acts", "skipped", "versions", "seconds"):
        lines.append(f"\n{name}: {json.dumps(figures.get(name))}")
    return "\n".join(lines)


def say(line: str) -> None:
    """Progress, for whoever watches."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
