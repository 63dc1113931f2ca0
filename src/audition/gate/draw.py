"""The lottery: which moments the auditors under `sampled` are asked about.

A moment's fate is HMAC-SHA-256(secret, run ‖ turn) against the declared rate: fixed before the run
by a secret whose hash opens the run, unknown to the thinker, and open to anyone's check once the
secret is shown at the end. A `modify` stays within its turn, and so keeps its draw.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import numpy as np
from numpy.typing import NDArray

from audition.step import Draw, RunId

STRATUM = "all"
"""The one stratum there is, until a project declares others."""


def new_secret() -> bytes:
    """A fresh secret, 32 bytes."""
    return secrets.token_bytes(32)


def draw(secret: bytes, run: RunId, turn: int, rate: float) -> Draw:
    """The result for one turn: drawn with probability `rate` over secrets.

    Args:
        secret: the run's secret.
        run: the run.
        turn: the step's number.
        rate: the declared rate in [0, 1]; 0 never draws and 1 always does.
    """
    return Draw(stratum=STRATUM, rate=rate, drawn=_point(secret, f"{run}/{turn}") < rate)


def planted(secret: bytes, run: RunId, turn: int, rate: float) -> bool:
    """Whether a turn is to be planted, with probability `rate` over secrets.

    It says nothing of the turn's draw, so that the thinker's own turns stay drawn at their rate.
    """
    return turn > 1 and _point(secret, f"{run}/plant/{turn}") < rate


def draw_rows(
    secret: bytes, run: RunId, batch: int, rates_R: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The results for the rows of a batch: row r is drawn with probability `rates_R[r]`.

    SHAKE-256 stretches HMAC-SHA-256(secret, run ‖ batch) to 8 bytes a row.

    Args:
        secret: the run's secret.
        run: the run.
        batch: the batch's number.
        rates_R: the declared rate of each row's stratum, in [0, 1].
    """
    key = hmac.new(secret, f"{run}/batch/{batch}".encode(), hashlib.sha256).digest()
    stream = hashlib.shake_256(key).digest(8 * len(rates_R))
    return np.frombuffer(stream, dtype=">u8") / 2.0**64 < rates_R


def run_secret(master: bytes, run: RunId) -> bytes:
    """A run's own secret, from one that never enters a ledger; showing it gives away no other."""
    return hmac.digest(master, f"draw/{run}".encode(), "sha256")


def _point(secret: bytes, of: str) -> float:
    """A number in [0, 1) that nobody can tell without the secret."""
    mac = hmac.digest(secret, of.encode(), "sha256")
    return int.from_bytes(mac[:8], "big") / 2**64
