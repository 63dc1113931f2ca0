"""Whether two kinds of text can be told apart: a classifier that sees only others of each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from audition.measure.interval import LEVEL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FOLDS = 5
"""Parts of which each is scored by what was learned from the others."""

FEWEST = 2 * FOLDS
"""Texts of each kind without which nothing is said."""

BUCKETS = 4096
"""Into which the groups of three characters are hashed."""

READ = 20_000
"""Characters of a text that are read."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How well texts of one kind can be told from those of another."""

    auroc: float
    """Area under the curve, comparing texts of one part only; .5 is chance."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    n: tuple[int, int]
    """Texts of the first kind and of the other."""


def told_apart(
    texts_N: Sequence[str],
    numbers_NF: ArrayLike,
    first_N: Sequence[bool],
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> Apart | None:
    """Learn to tell two kinds apart on four fifths, five times, and score the fifth.

    The classifier is ridge regression on hashed groups of three characters and on the ranks of the
    numbers. The interval is that of DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837), over
    pairs within a part; that other parts would have taught otherwise is not in it.

    Args:
        texts_N: the texts; of each the first `READ` characters count.
        numbers_NF: F numbers beside each text.
        first_N: whether each is of the first kind.
        seed: of the division into parts.
        level: confidence of the interval.

    Returns:
        None with fewer than `FEWEST` of either kind.
    """
    import numpy as np

    kind_N = np.asarray(first_N, dtype=bool)
    n = int(kind_N.sum()), int((~kind_N).sum())
    if min(n) < FEWEST:
        return None
    features_ND = np.hstack([_grams(texts_N), _ranks(np.asarray(numbers_NF, dtype=float))])
    kernel_NN = features_ND @ features_ND.T
    part_N = _parts(kind_N, seed)
    won_N = np.zeros(len(kind_N))
    for part in range(FOLDS):
        there_N = part_N == part
        scores = _scored(kernel_NN, kind_N, ~there_N, there_N).round(9)  # alike is alike
        mine, others = scores[kind_N[there_N]], scores[~kind_N[there_N]]
        pairs = (mine[:, None] > others) + 0.5 * (mine[:, None] == others)
        won_N[there_N & kind_N] = pairs.mean(axis=1)
        won_N[there_N & ~kind_N] = pairs.mean(axis=0)
    mine_M, others_M = won_N[kind_N], won_N[~kind_N]
    auroc = float(mine_M.mean())
    spread = float(np.sqrt(mine_M.var(ddof=1) / n[0] + others_M.var(ddof=1) / n[1]))
    away = NormalDist().inv_cdf((1 + level) / 2) * spread
    return Apart(auroc, max(0.0, auroc - away), min(1.0, auroc + away), n)


def _scored(kernel_NN: Any, kind_N: Any, learned_N: Any, scored_N: Any) -> NDArray[Any]:
    """Scores of some texts by what ridge regression learned from the others."""
    import numpy as np

    known_KK = kernel_NN[np.ix_(learned_N, learned_N)]
    share = kind_N[learned_N].mean()
    target_K = np.where(kind_N[learned_N], 1 - share, -share)
    weights_K = np.linalg.solve(known_KK + np.eye(len(known_KK)), target_K)
    return kernel_NN[np.ix_(scored_N, learned_N)] @ weights_K


def _parts(kind_N: Any, seed: int) -> NDArray[Any]:
    """The part of each text; each part holds its share of both kinds."""
    import numpy as np

    random = np.random.default_rng(seed)
    part_N = np.empty(len(kind_N), dtype=int)
    for kind in (True, False):
        (places,) = np.nonzero(kind_N == kind)
        part_N[random.permutation(places)] = np.arange(len(places)) % FOLDS
    return part_N


def _grams(texts: Sequence[str]) -> NDArray[Any]:
    """Groups of three characters, hashed and counted, each text's of length 1."""
    import numpy as np

    counted_ND = np.zeros((len(texts), BUCKETS))
    for row, text in enumerate(texts):
        read = f"\x02{text[:READ]}\x03".encode(errors="replace")
        for start in range(len(read) - 2):
            counted_ND[row, zlib.crc32(read[start : start + 3]) % BUCKETS] += 1
    counted_ND = np.sqrt(counted_ND)
    return counted_ND / np.maximum(1e-12, np.linalg.norm(counted_ND, axis=1, keepdims=True))


def _ranks(numbers_NF: NDArray[Any]) -> NDArray[Any]:
    """Each column's ranks, from -1 to 1."""
    from scipy.stats import rankdata

    if numbers_NF.shape[1] == 0:
        return numbers_NF
    ranks_NF = rankdata(numbers_NF, axis=0)
    return 2 * (ranks_NF - 1) / max(1, len(numbers_NF) - 1) - 1
