"""NoPeek: the features depend as little as possible on the image, by distance correlation.

Vepakomma, Singh, Gupta, Raskar: "NoPeek: Information leakage reduction to share activations in distributed deep
learning", ICDM Workshops 2020. No adversary: the loss is alpha DCOR(images, features) + cross-entropy. Distance
correlation (Székely, Rizzo, Bakirov, Annals of Statistics 2007) is 0 for independent variables only, and is estimated
on each batch: the smaller the batch, the more it is too large. Ours: the network, the weight (the published 0.9 to 0.1
belongs to a long training; in a short one it ends with features that say nothing), and that what is sent of an image
has length 1. Without that a few giant images meet the term, whose distances drown all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.batches import Batch
from dapter.defences._divided import Cut
from dapter.service.classifier import Service

LEAST = 1e-12
"""Keeps a root of nearly 0 from having an endless gradient."""


class _Unit(nn.Module):
    """A client part whose features (N, C, h, w) of each image have length 1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.net(images)
        return F.normalize(features.float().flatten(1)).view(features.shape)


@dataclass(eq=False)
class Nopeek(Cut):
    """A ResNet18 cut in two, whose features are to be far from telling which images are alike.

    Attributes:
        alpha: weight of the distance correlation.
    """

    alpha: float = 1.0

    keeps_last: ClassVar[bool] = True

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        nets = super()._build(service)
        return {**nets, "client": _Unit(nets["client"])}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`accuracy`: cross-entropy of the answer; `privacy`: distance correlation; `loss`: their weighted sum."""
        features, accuracy = self._forward(batch)
        privacy = distance_correlation(batch.images, features)
        return {"loss": accuracy + self.alpha * privacy, "accuracy": accuracy, "privacy": privacy}


def distance_correlation(one: Tensor, other: Tensor) -> Tensor:
    """In [0, 1], of two batches of the same N things, (N, ...) each."""
    first, second = (_centred_distances(each.float().flatten(1)) for each in (one, other))
    variances = (first.square().mean() * second.square().mean()).clamp(min=LEAST).sqrt()
    return ((first * second).mean() / variances).clamp(min=LEAST).sqrt()


def _centred_distances(values: Tensor) -> Tensor:
    """Euclidean distances of all pairs (N, N), less the means of their row and column, and with the mean of all."""
    distances = torch.cdist(values, values)
    rows, columns = (distances.mean(dim=dim, keepdim=True) for dim in (1, 0))
    return distances - rows - columns + distances.mean()
