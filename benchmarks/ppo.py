"""How fast a policy is trained, ledger included, against Stable-Baselines3's PPO.

Both learn the same game from one process and one thread, in turns within one run: ours by process
supervision with the hyper-parameters of claim camera-dropbox, through `audition.learn.train` into a
SQLite ledger on disk; the peer from the observed reward through the Gymnasium environment, with the
defaults of its PPO (networks of 64 and 64, 10 passes, minibatches of 64) in a DummyVecEnv of
`--envs` environments that gather 2,048 steps for an update. What is not rolling out, judging or
learning is the ledger's share: packing, hashing, digests, events, commits.

    python benchmarks/ppo.py [--quick] [--json] [--envs N]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from audition.lab.dropbox.env import DropboxEnv
from audition.lab.dropbox.learned import LANES, LEAF, PROCESS, plan_of
from audition.lab.dropbox.rules import Rules
from audition.lab.dropbox.world import study
from audition.learn import train
from audition.ledger import SqlLedger

GATHERED = 2048
"""Steps that the peer gathers for one update, its default."""


def ours(batches: int, seed: int) -> tuple[float, float]:
    """Seconds of a training run of so many batches, and those spent on the ledger."""
    plan = plan_of(Rules().compile(), batches, (seed,), **PROCESS)
    carried = study(plan, seed)
    spent: list[float] = []
    for one, name in (
        (carried.world, "rollout"),
        (carried.teacher, "judge"),
        (carried.learner, "update"),
    ):
        setattr(one, name, timed(getattr(one, name), spent))
    with (
        tempfile.TemporaryDirectory() as folder,
        SqlLedger.open(Path(folder) / "ledger.db") as ledger,
    ):
        begun = time.perf_counter()
        anyio.run(partial(train, plan, ledger, seed, study=carried))
        seconds = time.perf_counter() - begun
    return seconds, seconds - sum(spent)


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The function, which notes how long each call takes."""

    def call(*given: Any) -> Any:
        begun = time.perf_counter()
        found = function(*given)
        spent.append(time.perf_counter() - begun)
        return found

    return call


def peer(model: PPO, updates: int) -> float:
    """Seconds of so many of the peer's updates, what they are gathered from included."""
    begun = time.perf_counter()
    model.learn(updates * GATHERED, reset_num_timesteps=False)
    return time.perf_counter() - begun


def measure(rounds: int, batches: int, updates: int, envs: int) -> dict[str, Any]:
    """Alternate slices of both, after one of each that is not counted."""
    model = PPO(
        "MlpPolicy",
        make_vec_env(DropboxEnv, envs, seed=0),
        n_steps=GATHERED // envs,
        device="cpu",
        seed=0,
    )
    ours(1, 0)
    peer(model, 1)
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    shares: list[float] = []
    for number in range(rounds):
        seconds, ledger = ours(batches, number)
        rates["ours"].append(batches * LANES * LEAF / seconds)
        shares.append(ledger / seconds)
        rates["peer"].append(updates * GATHERED / peer(model, updates))
    ratios = [one / other for one, other in zip(rates["ours"], rates["peer"], strict=True)]
    return {
        "steps_per_second": round(median(rates["ours"])),
        "peer_steps_per_second": round(median(rates["peer"])),
        "ratio": round(median(ratios), 1),
        "ratio_of_each_round": [round(one, 1) for one in ratios],
        "ledger_share": round(median(shares), 4),
        "seconds_of_a_million_steps": round(1e6 / median(rates["ours"]), 1),
        "slice": {"steps": batches * LANES * LEAF, "peer_steps": updates * GATHERED},
        "peer": {
            "stable_baselines3": stable_baselines3.__version__,
            "vec_env": "DummyVecEnv",
            "environments": envs,
        },
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller slices")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--envs", type=int, default=8, help="the peer's environments (8)")
    given = parser.parse_args()
    if not 1 <= given.envs <= GATHERED or GATHERED % given.envs:
        parser.error(f"--envs: a divisor of {GATHERED}")
    torch.set_num_threads(1)
    found = measure(2, 4, 2, given.envs) if given.quick else measure(5, 16, 6, given.envs)
    if given.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' ')}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
