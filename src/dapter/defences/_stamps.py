"""Find the stamps that make a frozen service give a wanted answer: a greedy search, without any image."""

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dapter.defences import round_to_levels
from dapter.defences._wire import halve_chroma
from dapter.nets.painters import Painter
from dapter.service.classifier import Service

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


def first_stamps(painter: Painter, service: Service, sizes: Mapping[str, int], like: Tensor) -> Tensor:
    """For each joint answer stamps that make the service give it, int64 (answers, cells), clean and with halved chroma.

    Args:
        sizes: the targets that count, each with its number of classes.
        like: an image, float (1, 3, H, W), of the size and on the device of what is painted.
    """

    def search(answer: tuple[int, ...]) -> Tensor:
        def cost(stamps: Tensor) -> Tensor:
            clean = painter.paint(stamps, like)
            logits = service.logits(round_to_levels(torch.cat([clean, halve_chroma(clean)])))
            each = [-logits[name].log_softmax(dim=1)[:, label] for name, label in zip(sizes, answer, strict=True)]
            return torch.stack(each).sum(dim=0).view(2, -1).amax(dim=0).cpu()

        return find_stamps(cost, painter.grid**2, painter.size)

    found = [search(answer) for answer in itertools.product(*(range(size) for size in sizes.values()))]
    return torch.stack(found).to(like.device)
