"""The three taxes of process supervision, each alone, in a problem with an exact value.

The arguments are those of "Thoughts on process-based supervision", sections 5.3.2 to 5.3.4; the
constructions are ours. Each function returns its figures, the exact values beside them tested
against closed forms and simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, sqrt
from operator import eq, ge, le
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, ndtri, owens_t
from scipy.stats import binom

from audition.lab.claim import Check
from audition.measure.agreement import errors_apart, shared_bar
from audition.measure.information import value_of_information
from audition.measure.order import (
    expected_best,
    expected_maximum,
    rank_among,
    separation_for,
    within,
)

Part = tuple[dict[str, Any], list[Check]]
"""Figures by name, and what they must reach."""

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.96, 1.0)
"""Shares of the context that an auditor has read."""
LOOKALIKES = (2, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""Proposals among which one advances."""
SIGNALS, RELIABILITY, BELIEVED, COST = 5, 0.7, 0.9, 0.1
"""The team's signals, an odd number, so that it has a guess; how often a signal is right, and is by
an overconfident auditor believed to be; what the answer costs, where a right guess is worth 1."""
AUDITORS = ((0, 0), (0, 5), (1, 0), (3, 0), (5, 0), (5, 5), (5, 20))
"""How many of the team's signals an auditor has seen too, and how many others of its own."""
HIDDEN = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the moves whose reasons take pages to follow."""
PAGES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Pages of reasons that an auditor reads; a hidden reason takes 1 on average."""
MOVES = 16
"""Moves to choose from."""


def held(got: float, sign: str, bar: float, says: str) -> Check:
    """A figure held against a bar: sign is `<=`, `>=` or `==`."""
    holds = {"<=": le, ">=": ge, "==": eq}[sign](got, bar)
    return Check(says=says, got=float(got), due=f"{sign} {bar:.4g}", holds=bool(holds))


def simulated(apart: Sequence[float], says: str) -> Check:
    """Simulations within three standard errors of the exact values, that bar shared among them."""
    return held(
        max(map(abs, apart)),
        "<=",
        shared_bar(len(apart)),
        f"{says}: standard errors between simulation and exact, farthest of {len(apart)}",
    )


# ------------------------------------------------------------------------ context (5.3.2)


def context(rng: np.random.Generator, trials: int) -> Part:
    """The rank of the one advancing proposal, and the worth of the auditor's pick, by context.

    An auditor who has read a share s of many independent facts that add up to a proposal's value
    estimates it as value + N(0, (1 − s)/s). Needle: one of n proposals is worth 1 and the others 0,
    so that it stands out by d = √(s/(1 − s)). Dense: k proposals worth N(0, 1); the best-looking is
    worth √s · E[max_k], the correlation of estimate and value times the best of k.
    """
    apart: list[float] = []
    needle = [_needle(rng, n, trials, apart) for n in LOOKALIKES]
    # Every lookalike drawn by itself, to test the binomial shortcut of the others.
    estimates = rng.normal(size=(trials // 20, 1000))
    estimates[:, 0] += 3
    apart.append(errors_apart(estimates.argmax(axis=1) == 0, within(1000, 3.0)))
    needed = {
        name: [(d := separation_for(n, first)) ** 2 / (1 + d**2) for n in LOOKALIKES]
        for name, first in (("first_half_the_time", 0.5), ("first_19_of_20", 0.95))
    }
    dense = [_dense(rng, k, trials, apart) for k in (2, 4, 16, 64)]
    # E[Φ(−X)²] for X ~ N(d, 1) is a bivariate normal orthant: with h = d/√2, Φ(−h) − 2 T(h, 1/√3).
    h = 2 / sqrt(2)
    above, both = ndtr(-h), ndtr(-h) - 2 * owens_t(h, 1 / sqrt(3))
    variance = 999 * (above * (1 - above) + 998 * (both - above**2))
    half = dict(zip(LOOKALIKES, needed["first_half_the_time"], strict=True))
    checks = [
        held(
            abs(rank_among(1000, 2).sd ** 2 / variance - 1),
            "<=",
            1e-9,
            "context: variance of a rank among 1000, quadrature against Owen's T, relative",
        ),
        held(
            max(abs(within(2, d) - ndtr(d / sqrt(2))) for d in (0.0, 0.5, 2.0)),
            "<=",
            1e-9,
            "context: rank 1 of 2, quadrature against Φ(d/√2)",
        ),
        held(
            abs(within(10**6, 0.0) * 1e6 - 1),
            "<=",
            1e-9,
            "context: rank 1 of 10^6 with no context, against 1/n, relative",
        ),
        simulated(apart, "context"),
        held(
            half[10**6],
            ">=",
            0.95,
            "context: share to be read to rank the one of 10^6 first half the time",
        ),
        held(half[10], "<=", 0.75, "context: the same for the one of 10"),
    ]
    shares, n = list(SHARES), list(LOOKALIKES)
    return {"shares": shares, "n": n, "needle": needle, "needed": needed, "dense": dense}, checks


def _needle(rng: np.random.Generator, n: int, trials: int, apart: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"n": n, "mean_rank": [], "first": [], "in_1000": []}
    for share in SHARES:
        d = sqrt(share / (1 - share)) if share < 1 else inf
        rank = rank_among(n, d)
        row["mean_rank"].append(rank.mean)
        row["first"].append(rank.first)
        row["in_1000"].append(within(n, d, min(n, 1000)))
        # A comparison of frequencies needs some of each kind to be near normal.
        if trials * min(rank.first, 1 - rank.first) >= 25:
            # Given the one's own estimate, how many lookalikes beat it is binomial.
            drawn = 1 + rng.binomial(n - 1, ndtr(-rng.normal(d, 1, trials)))
            apart += [errors_apart(drawn, rank.mean), errors_apart(drawn == 1, rank.first)]
    return row


def _dense(rng: np.random.Generator, k: int, trials: int, apart: list[float]) -> dict[str, Any]:
    worth = [sqrt(share) * expected_maximum(k) for share in SHARES]
    for share, due in zip(SHARES, worth, strict=True):
        if share == 0:
            continue
        value = rng.normal(size=(trials // 4, k))
        looks = value + rng.normal(0, sqrt((1 - share) / share), value.shape)
        apart.append(errors_apart(value[np.arange(len(value)), looks.argmax(axis=1)], due))
    return {"k": k, "worth": worth, "lost": [1 - sqrt(share) for share in SHARES]}


# ------------------------------------------------------------------------ information (5.3.3)


def information(rng: np.random.Generator, trials: int) -> Part:
    """What is lost when another than the team decides what is worth knowing.

    A fact is true or not, even odds. The team has seen five signals of it; the auditor has seen
    some of these and some of its own. The team may buy the answer, then guesses. Whoever decides
    buys where the value of information is more than the cost:

    - `posterior`: by the auditor's own belief; `overconfident`: by one that overrates signals;
    - `models_team`: by what the auditor expects of the team's guess, the best it can do on its own;
    - `report`: the team says what is approved of, so it is always in doubt;
    - `never`; and `hands_over`: the auditor tells the team all it knows, and they decide together.
    """
    apart: list[float] = []
    rows = [_bought(rng, shared, own, trials, apart) for shared, own in AUDITORS]
    belief = np.linspace(0, 1, 101)
    found = value_of_information(
        np.stack([belief, 1 - belief], axis=1), [[0.8, 0.2], [0.2, 0.8]], np.eye(2)
    )
    closed = np.maximum(0.8 - np.maximum(belief, 1 - belief), 0)
    lost = {(row["shared"], row["own"]): row["lost"] for row in rows}
    checks = [
        held(
            float(np.abs(found - closed).max()),
            "<=",
            1e-12,
            "information: value of an 80 % test of two states, against max(0, q − max(p, 1 − p))",
        ),
        simulated(apart, "information"),
        held(
            abs(lost[5, 0]["posterior"]),
            "<=",
            1e-12,
            "information: lost if the auditor has just the team's context",
        ),
        held(
            lost[0, 0]["posterior"],
            ">=",
            0.02,
            "information: lost if it has none of it, and so shares every doubt that is claimed",
        ),
        held(
            lost[5, 20]["posterior"],
            ">=",
            0.02,
            "information: lost if it knows more, sees no doubt, and only approves or not",
        ),
        held(
            lost[5, 20]["hands_over"],
            "<=",
            -0.02,
            "information: the same auditor hands over what it knows: lost (negative is a gain)",
        ),
        held(
            lost[3, 0]["overconfident"] - lost[3, 0]["posterior"],
            ">=",
            0.005,
            "information: what a false certainty loses beyond an honest one",
        ),
        held(
            min(row["lost"]["posterior"] - row["lost"]["models_team"] for row in rows),
            ">=",
            -1e-12,
            "information: gained by an auditor who asks what the team would be uncertain of, least",
        ),
    ]
    return {
        "rows": rows,
        "cost": COST,
        "reliability": RELIABILITY,
        "believed": BELIEVED,
        "signals": SIGNALS,
    }, checks


def _bought(
    rng: np.random.Generator, shared: int, own: int, trials: int, apart: list[float]
) -> dict[str, Any]:
    """Exact losses by who decides, the fact being true: the other case is its mirror image."""
    counts = (shared, SIGNALS - shared, own)
    right = np.meshgrid(*(np.arange(m + 1) for m in counts), indexing="ij")
    chance = np.ones(right[0].shape)
    for m, j in zip(counts, right, strict=True):
        chance = chance * binom.pmf(j, m, RELIABILITY)
    both, alone, others = (2 * j - m for m, j in zip(counts, right, strict=True))
    team, auditor, pooled = both + alone, both + others, both + alone + others
    # What the auditor expects of the team's guess over unseen signals, under either truth.
    wrong = (chance * (team < 0)).sum(axis=1, keepdims=True)
    seen = chance.sum(axis=1, keepdims=True)
    expected = (wrong + np.flip(wrong)) / (seen + np.flip(seen))
    needed = _worth_knowing(team, RELIABILITY) > COST
    buys = {
        "posterior": _worth_knowing(auditor, RELIABILITY) > COST,
        "overconfident": _worth_knowing(auditor, BELIEVED) > COST,
        "models_team": np.broadcast_to(expected > COST, team.shape),
        "report": np.ones(team.shape, dtype=bool),
        "never": np.zeros(team.shape, dtype=bool),
    }
    ideal = float((chance * _worth(team, needed)).sum())
    lost = {who: ideal - float((chance * _worth(team, buy)).sum()) for who, buy in buys.items()}
    together = _worth_knowing(pooled, RELIABILITY) > COST
    lost["hands_over"] = ideal - float((chance * _worth(pooled, together)).sum())
    drawn = tuple(rng.binomial(m, RELIABILITY, trials) for m in counts)
    earned = np.where(buys["posterior"][drawn], 1 - COST, team[drawn] > 0)
    apart.append(errors_apart(earned, ideal - lost["posterior"]))
    return {
        "shared": shared,
        "own": own,
        "ideal": ideal,
        "lost": lost,
        "refused_though_needed": float(chance[needed & ~buys["posterior"]].sum()),
        "bought_though_known": float(chance[buys["posterior"] & ~needed].sum()),
    }


def _worth_knowing(net: NDArray[Any], reliability: float) -> NDArray[np.float64]:
    """Value of the answer to whoever has seen so many more signals for than against."""
    p = 1 / (1 + ((1 - reliability) / reliability) ** net)
    return value_of_information(np.stack([p, 1 - p], axis=-1), np.eye(2), np.eye(2))


def _worth(net: NDArray[Any], buy: NDArray[np.bool_]) -> NDArray[np.float64]:
    # Whoever's signals balance buys, so no guess is made at 0.
    return np.where(buy, 1 - COST, net > 0)


# ------------------------------------------------------------------------ illegible moves (5.3.4)


class Tail(NamedTuple):
    """How the values of moves are spread."""

    name: str
    """As the figures call it."""
    inverse_survival: Callable[[Any], Any]
    """The value that a share u of the moves exceed."""
    positive: float
    """Share of the moves that are worth more than doing nothing."""


TAILS = (
    Tail("normal", lambda u: -ndtri(u), 0.5),
    Tail("exponential", lambda u: -np.log(u), 1.0),
    Tail("Pareto 3", lambda u: u ** (-1 / 3), 1.0),
)


def illegible(rng: np.random.Generator, trials: int) -> Part:
    """What is lost when moves whose reasons cannot be followed are not approved of.

    Of 16 moves a share is hidden, either `any` of them or just the `best`; a hidden move's reason
    takes an exponential number of pages, so that a share exp(−B) stays hidden from an auditor who
    reads B. The auditor approves of the best move that it can follow, or of doing nothing, worth 0.
    """
    apart: list[float] = []
    rows = [
        _hidden(rng, tail, hidden, pages, trials, apart)
        for tail in TAILS
        for hidden in HIDDEN
        for pages in (PAGES if hidden in (0.1, 0.5) else PAGES[:1])
    ]
    j = np.arange(1, MOVES + 1)
    best_of_j = np.exp(gammaln(j + 1) + gammaln(2 / 3) - gammaln(j + 2 / 3))
    error = max(
        max(
            abs(expected_best(MOVES, TAILS[1].inverse_survival, shown=p) - harmonic),
            abs(expected_best(MOVES, TAILS[2].inverse_survival, shown=p) - pareto),
        )
        for p in (0.1, 0.5, 0.9, 1.0)
        for harmonic in [((1 - (1 - p) ** j) / j).sum()]
        for pareto in [binom.pmf(j, MOVES, p) @ best_of_j]
    )
    lost = {(row["tail"], row["hidden"], row["pages"]): row["lost"] for row in rows}
    concentrated, explained = (lost["normal", 0.1, pages]["best"] for pages in (0.0, 4.0))
    checks = [
        held(error, "<=", 1e-9, "illegible: quadrature against closed forms, two tails"),
        simulated(apart, "illegible"),
        held(
            lost["normal", 0.1, 0.0]["any"],
            "<=",
            0.05,
            "illegible: share lost if any tenth of the moves is, values normal",
        ),
        held(concentrated, ">=", 0.25, "illegible: share lost if it is the best tenth"),
        held(
            1 - explained / concentrated,
            ">=",
            0.9,
            "illegible: of that, bought back by reading four pages of reasons",
        ),
    ]
    return {"rows": rows, "moves": MOVES}, checks


def _hidden(
    rng: np.random.Generator,
    tail: Tail,
    hidden: float,
    pages: float,
    trials: int,
    apart: list[float],
) -> dict[str, Any]:
    def best(shown: float = 1.0, shown_top: float = 1.0) -> float:
        return expected_best(
            MOVES,
            tail.inverse_survival,
            positive=tail.positive,
            shown=shown,
            top=hidden,
            shown_top=shown_top,
        )

    followed = 1 - hidden * exp(-pages)
    worth = {"any": best(followed, followed), "best": best(1.0, 1 - exp(-pages))}
    u = 1 - rng.random((trials // 10, MOVES))
    long = rng.exponential(size=u.shape) > pages
    for which, obscure in (("any", rng.random(u.shape) < hidden), ("best", u < hidden)):
        least = np.where(obscure & long, np.inf, u).min(axis=1)
        some = least < tail.positive
        value = np.zeros(len(u))
        value[some] = tail.inverse_survival(least[some])
        apart.append(errors_apart(value, worth[which]))
    lost = {which: 1 - value / best() for which, value in worth.items()}
    return {"tail": tail.name, "hidden": hidden, "pages": pages, "lost": lost}
