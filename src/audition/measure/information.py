"""What it is worth to find something out before deciding: exact, for finite problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray


def best_utility(prior: ArrayLike, utility: ArrayLike) -> NDArray[float64]:
    """Expected utility of the best decision under a belief: max_a Σ_s p(s) u(a, s).

    Args:
        prior: beliefs over S states, shape (..., S), each summing to 1.
        utility: shape (A, S), finite.

    Returns:
        Shape (...).

    Raises:
        ValueError: shapes that do not fit, or a belief that is no distribution.
    """
    prior_S, utility_A_S = _arrays(prior, utility)
    return (prior_S @ utility_A_S.T).max(axis=-1)


def value_of_information(
    prior: ArrayLike, likelihood: ArrayLike, utility: ArrayLike
) -> NDArray[float64]:
    """What seeing one more observation is worth, before its cost, to whoever holds the belief.

    VOI(p) = Σ_y max_a Σ_s p(s) l(y | s) u(a, s) − max_a Σ_s p(s) u(a, s): never negative.

    Args:
        prior: beliefs over S states, shape (..., S), each summing to 1.
        likelihood: l(y | s), shape (S, Y), each row summing to 1.
        utility: u(a, s), shape (A, S), finite.

    Returns:
        Shape (...), in units of utility.

    Raises:
        ValueError: shapes that do not fit, or a row that is no distribution.

    Source: Raiffa & Schlaifer 1961, Applied Statistical Decision Theory, chapter 4; Howard 1966.
    """
    import numpy as np

    prior_S, utility_A_S = _arrays(prior, utility)
    likelihood_S_Y = np.asarray(likelihood, dtype=float)
    if likelihood_S_Y.ndim != 2 or likelihood_S_Y.shape[0] != prior_S.shape[-1]:
        raise ValueError(
            f"likelihood has shape {likelihood_S_Y.shape} for {prior_S.shape[-1]} states; "
            "give one row a state"
        )
    _distributions("likelihood", likelihood_S_Y)
    joint_Y_S = prior_S[..., None, :] * likelihood_S_Y.T
    informed = (joint_Y_S @ utility_A_S.T).max(axis=-1).sum(axis=-1)
    return np.maximum(informed - best_utility(prior_S, utility_A_S), 0.0)


def _arrays(prior: ArrayLike, utility: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    prior_S, utility_A_S = np.asarray(prior, dtype=float), np.asarray(utility, dtype=float)
    if not (prior_S.ndim and utility_A_S.ndim == 2 and prior_S.shape[-1] == utility_A_S.shape[1]):
        raise ValueError(
            f"prior has shape {prior_S.shape}, utility {utility_A_S.shape}; "
            "their last axes are the same states, and utility has one row a decision"
        )
    if utility_A_S.size == 0 or not np.isfinite(utility_A_S).all():
        raise ValueError("utility is empty or not finite; give a number a decision and state")
    _distributions("prior", prior_S)
    return prior_S, utility_A_S


def _distributions(name: str, array: NDArray[Any]) -> None:
    import numpy as np

    if not ((array >= 0).all() and np.allclose(array.sum(axis=-1), 1, rtol=0, atol=1e-9)):
        raise ValueError(f"{name} has a row that is no distribution; rows are >= 0 and sum to 1")
