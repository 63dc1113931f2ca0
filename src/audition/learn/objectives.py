"""What is minimised, by kind of lesson: rankings, ratings and demonstrations.

Pure functions of tensors that give each lesson's own loss, shape (..., L); what is summed, with
which weight, is the boundary's affair.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def plackett_luce(score_LK: Tensor, ranking_LK: Tensor) -> Tensor:
    """Negative log-likelihood of rankings: the best is chosen first, then the best of the rest.

    P(π) = Π_i exp(s_π(i)) / Σ_{j ≥ i} exp(s_π(j)); with K = 2 it is the model of Bradley and Terry,
    P(1 before 2) = 1 / (1 + exp(s_2 − s_1)). A constant added to all scores of a lesson changes
    nothing. Whoever ranks must order what seems equal to it, by a coin: the two orders then pull
    the scores together.

    Args:
        score_LK: scores of K candidates, shape (..., L, K).
        ranking_LK: candidates from best to worst, by number; broadcast against the scores.

    Raises:
        ValueError: shapes that do not fit, or fewer than two candidates.

    Source: Plackett 1975, The analysis of permutations, eq. 1; Luce 1959; Bradley & Terry 1952.
    """
    if score_LK.shape[-2:] != ranking_LK.shape[-2:] or score_LK.shape[-1] < 2:
        raise ValueError(
            f"scores {tuple(score_LK.shape)} and rankings {tuple(ranking_LK.shape)}: "
            "give both for the same two candidates or more"
        )
    ranked_LK = score_LK.gather(-1, ranking_LK.expand_as(score_LK))
    rest_LK = torch.logcumsumexp(ranked_LK.flip(-1), dim=-1).flip(-1)
    return (rest_LK - ranked_LK)[..., :-1].sum(-1)


def squared_error(predicted_L: Tensor, rating_L: Tensor) -> Tensor:
    """(r̂ − r)²: least where r̂ is the expected rating, however the noise is shaped."""
    return (predicted_L - rating_L) ** 2


def cross_entropy(logit_L: Tensor, rating_L: Tensor) -> Tensor:
    """−r log σ(z) − (1 − r) log(1 − σ(z)), of ratings in [0, 1]: least where σ(z) is their mean.

    Source: the quasi-likelihood of a proportion, Papke & Wooldridge 1996, eq. 5.
    """
    return functional.binary_cross_entropy_with_logits(
        logit_L, rating_L.expand_as(logit_L), reduction="none"
    )


def negative_log_likelihood(logp_LT: Tensor, own_LT: Tensor) -> Tensor:
    """−Σ_t log p of a demonstration's own tokens: imitation; what went before is only context.

    Args:
        logp_LT: log-probability of each token or act shown.
        own_LT: whether it is the demonstrator's own; false for context and for padding.
    """
    return -torch.where(own_LT, logp_LT, 0.0).sum(-1)
