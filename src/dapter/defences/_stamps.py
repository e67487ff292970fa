"""Find the stamps that make a frozen service give a wanted answer: a greedy search, without any image."""

from collections.abc import Callable

import torch
from torch import Tensor

SURE = 0.05
"""The search ends at this cost: a cross-entropy at which the service is 95 % sure."""

SWEEPS = 3


@torch.no_grad()
def find_stamps(cost: Callable[[Tensor], Tensor], cells: int, alphabet: int) -> Tensor:
    """Stamps of low cost, int64 (cells,): from the middle one in each cell, cell by cell the best replacement.

    Deterministic, and it changes as few cells as are needed.

    Args:
        cost: of each of several choices, from int64 (M, cells) to float (M,).
        cells: how many are chosen.
        alphabet: how many there are to choose from.
    """
    chosen = torch.full((cells,), alphabet // 2)
    best = float(cost(chosen[None])[0])
    for cell in list(range(cells)) * SWEEPS:
        if best < SURE:
            break
        tried = chosen.repeat(alphabet, 1)
        tried[:, cell] = torch.arange(alphabet)
        costs = cost(tried)
        if float(costs.min()) < best:
            best, chosen = float(costs.min()), tried[int(costs.argmin())]
    return chosen
