"""The stamps that make a frozen service give a wanted answer, found without any image: searched for, or taught."""

import itertools
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dapter.defences._answers import every, one_hot, sizes_of
from dapter.defences._seen import both_views, says_of_each
from dapter.nets.painters import Painter, product
from dapter.service.classifier import Service

SURE = 0.05
"""The search ends at this cost: a cross-entropy at which the service is 95 % sure."""

SWEEPS = 3

TEACHING_STEPS = 300
TEACHING_RATE = 0.1
"""Of Adam, for stamps that are taught what to say."""

TRIES = 3
"""How often an answer's first stamp is taught, each time from a fresh draw, until it says that answer."""


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


def search_stamps(painter: Painter, service: Service, sizes: Mapping[str, int], like: Tensor) -> Tensor:
    """For each joint answer stamps that make the service give it, clean and with halved chroma.

    Args:
        sizes: the targets that count, each with its number of classes.
        like: an image, float (1, 3, H, W), of the size and on the device of what is painted.

    Returns:
        One-hot, float32 (answers, cells, K).
    """

    def search(answer: tuple[int, ...]) -> Tensor:
        def cost(stamps: Tensor) -> Tensor:
            logits = both_views(painter, service, stamps, like)
            each = [-logits[name].log_softmax(dim=1)[:, label] for name, label in zip(sizes, answer, strict=True)]
            return torch.stack(each).sum(dim=0).view(2, -1).amax(dim=0).cpu()

        return find_stamps(cost, painter.grid**2, painter.size)

    found = [search(answer) for answer in itertools.product(*(range(size) for size in sizes.values()))]
    return one_hot(torch.stack(found).to(like.device), painter.size)


def teach_stamps(painter: Painter, service: Service, given: Mapping[str, int], like: Tensor) -> Tensor:
    """Make the stamps of a payload of one cell say, between them, every joint answer, and tell the painter.

    The joint answers take turns; what is left of the alphabet says them with less and less confidence, so that a
    payload can also say how sure it is. A first stamp of an answer that fails begins anew, a few times; where it still
    does, the painter is left without a stamp for that answer. Flat stamps stay as they are.

    Args:
        given: the targets beyond whose answer bits are counted, each with its number of classes.
        like: an image, float (1, 3, H, W), of the size and on the device of what is painted.

    Returns:
        For each joint answer of `given` a stamp that says it, one-hot, float32 (answers, 1, K): the one that suits all
        the finer answers that belong to it best, the even distribution where none says it.
    """
    if painter.learned:
        _teach(painter, service, like)
    with torch.no_grad():
        painter.nearest.hear(says_of_each(painter, service, like))
    says_it = painter.nearest.row()[None] == torch.arange(math.prod(given.values()), device=like.device)[:, None]
    fit = product(painter.nearest.says, painter.nearest.given).T.masked_fill(~says_it, -math.inf)
    best = one_hot(fit.argmax(dim=1), painter.size)
    return torch.where(says_it.any(dim=1, keepdim=True), best, 1 / painter.size)[:, None]


def _teach(painter: Painter, service: Service, like: Tensor) -> None:
    sizes = sizes_of(service)
    answers = every(sizes)
    n = math.prod(sizes.values())
    said = torch.arange(painter.size) % n
    doubt = (torch.arange(painter.size) // n) / torch.bincount(said)[said]
    wanted = {
        name: torch.lerp(one_hot(answers[name][said], size), torch.tensor(1 / size), doubt[:, None]).to(like.device)
        for name, size in sizes.items()
    }
    _descend(painter, service, wanted, like)
    for _ in range(TRIES - 1):
        with torch.no_grad():
            wrong = says_of_each(painter, service, like)[:n].argmax(dim=1) != torch.arange(n, device=like.device)
            if not wrong.any():
                return
            painter.stamps[:n][wrong] = torch.randn_like(painter.stamps[:n][wrong])
        _descend(painter, service, wanted, like)


@torch.enable_grad()
def _descend(painter: Painter, service: Service, wanted: Mapping[str, Tensor], like: Tensor) -> None:
    """Move the stamps until the service gives the wanted distributions, (K, classes), clean and with halved chroma."""
    descent = torch.optim.Adam([painter.stamps], lr=TEACHING_RATE)
    for _ in range(TEACHING_STEPS):
        logits = both_views(painter, service, torch.arange(painter.size)[:, None], like)
        losses = [F.cross_entropy(logits[name], values.repeat(2, 1)) for name, values in wanted.items()]
        descent.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        descent.step()
    painter.stamps.grad = None
