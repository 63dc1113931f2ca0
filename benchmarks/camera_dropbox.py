"""All optimisation horizons of Camera Dropbox: the sweep, plain numpy, and a floor under both.

Each round times, one after the other in this process: the sweep (`Rules.compile`, `exact.trusted`,
`exact.horizons`), the same work in clear vectorised numpy (the table below, then the recursion of
`audition.lab.dropbox.recursion`), and the floor. Medians of the rounds are printed, and their
ratios. What numba takes to compile is left out of the times and printed beside them.

The floor. Whatever computes the value of the best path from s at t to each end e > t by backups
does T (T - 1) / 2 of them for each state: each reads four successors' values, adds a reward, takes
the maximum and writes it. Values fit in two bytes, so 10 S T (T - 1) / 2 bytes pass between core
and cache. Values come backwards in time and episodes run forwards, so what is best must be kept in
between, at least one byte of memory for each backup with no packing. The floor is the fastest loop
found that does these two things and nothing else: no table, no overseer, no ties, no evaluation;
columns e side by side, 32 or 64 of them under one load of the successors' indices, whichever is
faster here. `backups` is the same loop that keeps nothing, a bound that no method can use.

    python benchmarks/camera_dropbox.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numba import njit

from audition.lab.dropbox import exact, recursion
from audition.lab.dropbox.rules import Dropbox, Rules

GRIDS = ((4, 4), (5, 5), (6, 6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round; nothing compiled anew")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--child", choices=("sweep", "numpy", "compile"), help=argparse.SUPPRESS)
    parser.add_argument("--grid", default="4x4", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        height, width = map(int, asked.grid.split("x"))
        print(json.dumps(CHILDREN[asked.child](Rules(height=height, width=width))))
        return
    found: dict[str, Any] = {"grids": {}, "turns": Rules.turns, "rounds": 1 if asked.quick else 5}
    for height, width in GRIDS:
        rules = Rules(height=height, width=width)
        found["grids"][f"{height}x{width}"] = measured(rules, found["rounds"])
    found["compile_seconds"] = None if asked.quick else child("compile", "3x4")
    if asked.json:
        print(json.dumps(found))
        return
    for name, row in found["grids"].items():
        print(
            f"{name}: sweep {row['sweep_ms']:.2f} ms, numpy {row['numpy_ms']:.0f} ms "
            f"({row['times_numpy']:.0f}x), floor {row['floor_ms']:.2f} ms "
            f"({row['times_floor']:.2f}x of it; backups alone {row['backups_ms']:.2f} ms, "
            f"{row['times_backups']:.2f}x); peak {row['sweep_peak_mib']:.0f} MiB "
            f"against {row['numpy_peak_mib']:.0f} MiB; apart by {row['largest_difference']:.1e}"
        )
    if found["compile_seconds"] is not None:
        print(f"numba compiles for {found['compile_seconds']:.1f} s once, then reads its cache")


def measured(rules: Rules, rounds: int) -> dict[str, Any]:
    """Times in milliseconds, ratios, peak memory and the largest difference of the results."""
    game = rules.compile()
    overseer = exact.trusted(game)
    floors = [floor(game, overseer, lanes, keep=True) for lanes in (32, 64)]
    bare = [floor(game, overseer, lanes, keep=False) for lanes in (32, 64)]
    swept, followed = sweep(rules), plain(rules)
    times: dict[str, list[float]] = {"sweep": [], "numpy": [], "floor": [], "backups": []}
    for _ in range(rounds):
        times["sweep"].append(best(lambda: sweep(rules)))
        times["numpy"].append(best(lambda: plain(rules), 1))
        times["floor"].append(min(best(each) for each in floors))
        times["backups"].append(min(best(each) for each in bare))
    ms = {name: 1e3 * median(taken) for name, taken in times.items()}
    name, turns = f"{rules.height}x{rules.width}", rules.turns
    moved = 10 * game.states * turns * (turns - 1) // 2
    return {
        "states": game.states,
        "sweep_ms": ms["sweep"],
        "numpy_ms": ms["numpy"],
        "floor_ms": ms["floor"],
        "backups_ms": ms["backups"],
        "times_numpy": ms["numpy"] / ms["sweep"],
        "times_floor": ms["sweep"] / ms["floor"],
        "times_backups": ms["sweep"] / ms["backups"],
        "backups_bytes": moved,
        "backups_gigabytes_per_second": moved / ms["backups"] / 1e6,
        "sweep_peak_mib": child("sweep", name),
        "numpy_peak_mib": child("numpy", name),
        "largest_difference": float(np.abs(swept - followed).max()),
    }


def sweep(rules: Rules) -> np.ndarray:
    """What is measured: from the rules to the outcomes of every horizon."""
    game = rules.compile()
    outcomes = exact.horizons(game, exact.trusted(game))
    return np.stack([outcomes.intended, outcomes.hack, outcomes.observed, outcomes.true])


def plain(rules: Rules) -> np.ndarray:
    """The same in numpy: the recursion as published, for each horizon in turn."""
    game = table(rules)
    approvals_TAS = recursion.approvals(game, recursion.optimal(game, game.true_S))
    columns = [recursion.outcomes(game, q) for q in recursion.q_values(game, approvals_TAS)]
    return np.array([[o.intended[0], o.hack[0], o.observed[0], o.true[0]] for o in columns]).T


def table(rules: Rules) -> Dropbox:
    """States and successors by array operations on all states at once."""
    n, width, hole = rules.cells, rules.width, rules.hole
    sets = [
        sum(1 << cell for cell in boxes)
        for k in range(rules.boxes + 1)
        for boxes in combinations(range(n), k)
    ]
    occupied_S, agent_S = (grid.ravel() for grid in np.meshgrid(sets, np.arange(n), indexing="ij"))
    free_S = occupied_S >> agent_S & 1 == 0
    occupied_S, agent_S = occupied_S[free_S], agent_S[free_S]
    keys_S = occupied_S * n + agent_S
    order_S = np.argsort(keys_S)
    ended = len(keys_S)
    in_hole_S = occupied_S >> hole & 1 == 1
    left_S = occupied_S & ~(1 << hole)
    bottom_S = sum(left_S >> cell & 1 for cell in range(hole, n))
    next_SA = np.empty((ended + 1, 4), np.int64)
    for action, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        step = down * width + right
        rows_S, columns_S = agent_S // width + down, agent_S % width + right
        inside_S = (rows_S >= 0) & (rows_S < rules.height) & (columns_S >= 0) & (columns_S < width)
        to_S = np.where(inside_S, agent_S + step, agent_S)
        pushes_S = left_S >> to_S & 1 == 1
        rows_S, columns_S = rows_S + down, columns_S + right
        fits_S = (rows_S >= 0) & (rows_S < rules.height) & (columns_S >= 0) & (columns_S < width)
        beyond_S = np.where(fits_S, to_S + step, to_S)
        pushed_S = pushes_S & (left_S >> beyond_S & 1 == 0)
        moved_S = np.where(pushed_S, left_S ^ (1 << to_S) ^ (1 << beyond_S), left_S)
        stays_S = ~inside_S | (pushes_S & ~pushed_S)
        reached_S = moved_S * n + np.where(stays_S, agent_S, to_S)
        next_SA[:-1, action] = order_S[np.searchsorted(keys_S, reached_S, sorter=order_S)]
    next_SA[:-1][in_hole_S & (bottom_S < rules.min_blocking)] = ended
    next_SA[-1] = ended
    beside_S = (agent_S == hole - width) | (agent_S == hole + 1)
    reaches_S = np.append((occupied_S == 1 << hole) & beside_S, False)
    while (grown_S := reaches_S | reaches_S[next_SA].any(axis=1)).sum() > reaches_S.sum():
        reaches_S = grown_S
    boxes_S = sum(occupied_S >> cell & 1 for cell in range(n))
    edge = sum(1 << cell for cell in range(n) if _on_edge(rules, cell))
    inner_S = np.append((boxes_S == rules.boxes) & (occupied_S & edge == 0), False)
    return Dropbox(
        rules=rules,
        next_SA=next_SA,
        agent_S=np.append(agent_S, -1),
        occupied_S=np.append(occupied_S, 0),
        boxes_S=np.append(boxes_S, 0),
        in_hole_S=np.append(in_hole_S, False),
        triggered_S=np.append(in_hole_S & (bottom_S < rules.min_blocking), False),
        starts=np.flatnonzero(reaches_S & inner_S),
    )


def floor(game: Dropbox, overseer: exact.Overseer, lanes: int, *, keep: bool) -> Callable[[], None]:
    """The backups, with so many columns side by side, and a byte kept for each or none.

    Compiled before it is timed.
    """

    @njit
    def backups(next_SA, reward_S, value_TS, kept):
        turns, states = value_TS.shape
        now_SE = np.zeros((states, lanes), np.int16)
        later_SE = np.zeros((states, lanes), np.int16)
        for block in range(-(-turns // lanes)):
            last = min(turns, (block + 1) * lanes) - 1
            later_SE[:, last % lanes] = value_TS[last]
            for t in range(last - 1, -1, -1):
                for s in range(states):
                    s0, s1, s2, s3 = next_SA[s, 0], next_SA[s, 1], next_SA[s, 2], next_SA[s, 3]
                    r0, r1, r2, r3 = reward_S[s0], reward_S[s1], reward_S[s2], reward_S[s3]
                    for lane in range(lanes):
                        q0 = np.int16(later_SE[s0, lane] + r0)
                        q1 = np.int16(later_SE[s1, lane] + r1)
                        q2 = np.int16(later_SE[s2, lane] + r2)
                        q3 = np.int16(later_SE[s3, lane] + r3)
                        top = max(max(q0, q1), max(q2, q3))
                        now_SE[s, lane] = top
                        if keep:
                            kept[block, t, s, lane] = np.uint8(top)
                    if t >= block * lanes:
                        now_SE[s, t % lanes] = value_TS[t, s]
                now_SE, later_SE = later_SE, now_SE

    def run() -> None:
        shape = (-(-game.rules.turns // lanes), game.rules.turns - 1, game.states, lanes)
        kept = np.empty(shape if keep else (0, 0, 0, 0), np.uint8)
        backups(game.next_SA, game.observed_cents_S, overseer.counts_TS, kept)

    run()
    return run


def best(work: Callable[[], object], times: int = 7) -> float:
    """Seconds of the fastest of a few runs."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def child(what: str, grid: str) -> float:
    """A figure that only a fresh process can give."""
    with tempfile.TemporaryDirectory() as empty:
        environment = dict(os.environ)
        if what == "compile":
            environment["NUMBA_CACHE_DIR"] = empty
        told = subprocess.run(
            [sys.executable, __file__, "--child", what, "--grid", grid],
            check=True,
            capture_output=True,
            env=environment,
        )
    return json.loads(told.stdout)


def peak(work: Callable[[Rules], object]) -> Callable[[Rules], float]:
    """MiB that a run adds to a process that has run the smallest grid before (Linux)."""

    def run(rules: Rules) -> float:
        work(Rules(height=3))
        Path("/proc/self/clear_refs").write_text("5")
        before = _high_water()
        work(rules)
        return (_high_water() - before) / 1024

    return run


def compiling(rules: Rules) -> float:
    """Seconds that the first run takes longer than the second."""
    first = best(lambda: sweep(rules), 1)
    return first - best(lambda: sweep(rules), 1)


def _high_water() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _on_edge(rules: Rules, cell: int) -> bool:
    row, column = divmod(cell, rules.width)
    return row in (0, rules.height - 1) or column in (0, rules.width - 1)


CHILDREN: dict[str, Callable[[Rules], float]] = {
    "sweep": peak(sweep),
    "numpy": peak(plain),
    "compile": compiling,
}


if __name__ == "__main__":
    main()
