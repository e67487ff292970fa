"""What training sees of a budget converter's payloads: how far they say the wanted answer, from the painter's scores.

Where a payload is one stamp, the service is asked about each stamp and averages over the draw are exact; where it is
several, the stamps are drawn and the service sees each payload.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dapter.defences import round_to_levels
from dapter.defences._answers import accuracy, sizes_of, together
from dapter.defences._wire import halve_chroma
from dapter.nets.painters import Painter, Scores, product
from dapter.service.classifier import Service

LEAST = 1e-12


class Seen(NamedTuple):
    """A batch, painted and answered.

    Attributes:
        accuracy: cross-entropy of the answer, a scalar.
        rate: R of each image in bits, (N,); in use, its code length.
        taught: T of each image in bits, (N,); None in use.
        logits: of the painter, (N, cells, K).
        budgets: of each image, (N,).
    """

    accuracy: Tensor
    rate: Tensor
    taught: Tensor | None
    logits: Tensor
    budgets: Tensor


def answer_to(stamps: Tensor, painter: Painter, service: Service, like: Tensor) -> dict[str, Tensor]:
    """What the service answers to stamps, int64 (N, cells), painted as in use: logits (N, classes) of each target.

    Args:
        like: images of the size and on the device of what is painted.
    """
    if painter.grid > 1:
        return service.logits(round_to_levels(painter.paint(stamps, like)))
    each = service.logits(round_to_levels(painter.paint(torch.arange(painter.size)[:, None], like[:1])))
    return {name: values[stamps[:, 0]] for name, values in each.items()}


def both_views(painter: Painter, service: Service, stamps: Tensor, like: Tensor) -> dict[str, Tensor]:
    """What the service answers to stamps, int64 (M, cells), as painted and with halved chroma: logits (2 M, classes).

    Args:
        like: images of the size and on the device of what is painted.
    """
    clean = painter.paint(stamps, like)
    return service.logits(round_to_levels(torch.cat([clean, halve_chroma(clean)])))


def says_of_each(painter: Painter, service: Service, like: Tensor) -> Tensor:
    """What each payload of one stamp says: logarithm of the probability of each joint answer, float32 (K, answers).

    The mean of the picture as it is and with halved chroma, as JPEG and WebP show it.
    """
    logits = both_views(painter, service, torch.arange(painter.size)[:, None], like[:1])
    chances = {name: values.float().softmax(dim=1) for name, values in logits.items()}
    found = together(chances, sizes_of(service)).clamp(min=LEAST).log()
    return found.view(2, painter.size, -1).mean(dim=0)


def exactly(painter: Painter, service: Service, scores: Scores, like: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """L_acc, a scalar, and T, in bits (N,), of payloads of one stamp; the painter learns what its stamps say now.

    L_acc is the expected cross-entropy over the draw; T that of the painter's own answer.

    Args:
        scores: of the painter.
        like: images of the size and on the device of what is painted.
        wanted: probability of each joint answer, (N, answers).
    """
    assert scores.answers is not None
    says = says_of_each(painter, service, like)
    painter.nearest.hear(says)
    chances = scores.stamps[:, 0].softmax(dim=1) * (1 - painter.flip) + painter.flip / painter.size
    costs = -product(wanted, says.T)
    taught = F.cross_entropy(scores.answers, wanted, reduction="none") / math.log(2)
    return (chances * costs).sum(dim=1).mean(), taught


def drawn(
    painter: Painter,
    service: Service,
    logits: Tensor,
    like: Tensor,
    wanted: Mapping[str, Tensor],
    expected: Tensor,
) -> tuple[Tensor, Tensor]:
    """L_acc, a scalar, and T, in bits (N,), of payloads of several stamps, half of them with halved chroma.

    T is the cross-entropy of the painter's distribution with the `expected` one, (N, cells, K).
    """
    pixels = painter.drawn(logits, like)
    odd = torch.arange(len(pixels), device=pixels.device)[:, None, None, None] % 2 == 1
    answer = service.logits(round_to_levels(torch.where(odd, halve_chroma(pixels), pixels)))
    taught = -(expected * logits.log_softmax(dim=2)).sum(dim=(1, 2)) / math.log(2)
    return accuracy(answer, wanted), taught
