"""The price of a bit, and the prior by which bits are counted: both follow payloads painted as in use."""

import math

import torch
from torch import Tensor
from torch import distributed as dist

from dapter.defences._levels import Levels
from dapter.nets.priors import Prior

FIRST_BETA = 0.02
BETA_RANGE = (0.003, 0.1)
"""The price of a bit, at first and at its ends: never so low that the painter's choice stays vague."""

MOST_BETA = 2.0
"""Its upper end where some answers are charged as well: above ln 2, which a bit of an answer saves in cross-entropy."""

BETA_RATE = 0.03
"""The most that the logarithm of the price moves in a step."""

PRIOR_RATE = 0.02
"""How far the prior moves in a step towards what is painted."""


@torch.no_grad()
def follow(
    prior: Prior,
    levels: Levels,
    choice: Tensor,
    given: Tensor,
    budgets: Tensor,
    learned: float,
    most: float = BETA_RANGE[1],
) -> Tensor:
    """Move a prior towards what was painted, and its price up where that took more than the budget, or down.

    Args:
        choice: the stamps of each payload, one-hot (N, cells, K).
        given: the service's answer to each, int64 (N,).
        budgets: of each, in bits (N,).
        learned: how far the answer is learned, from 0 to 1: the prior moves no further.
        most: the highest price.

    Returns:
        The bits of each payload beyond the answer, by the prior as it was, (N,).
    """
    mix = levels.mix(budgets)
    rate: Tensor = prior(choice, given, mix)
    prior.learn(choice, given, mix, PRIOR_RATE * learned)
    step = BETA_RATE * levels.overrun(rate, budgets).log().clamp(-1, 1)
    prior.log_beta.view(-1).add_(step).clamp_(math.log(BETA_RANGE[0]), math.log(most))
    if dist.is_initialized():
        for value in (prior.table, prior.log_beta):
            dist.broadcast(value, src=0)
    return rate
