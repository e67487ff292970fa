"""A search among images for those whose conversion is the payload, judged by what an attacker can observe."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.attacks._gradients import Client

ROUNDING = 0.5 / 255 + 1e-6
"""What rounding may add or take, with that of the arithmetic: so near, an image may be the one that was converted."""

HALF_ROUNDING = 2.0**-11
"""The same of features in float16, as a share of their size."""

POINTS = 20
"""Of the curve of one descent."""


class Pixels(nn.Module):
    """Images that are sought as they are.

    Args:
        images: where to begin, float (N, 3, H, W) in [0, 1].
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images.clone())

    def forward(self) -> Tensor:
        """The images, back in [0, 1] after each step."""
        with torch.no_grad():
            self.images.clamp_(0, 1)
        return self.images.clone()


class Search:
    """What was found so far.

    Attributes:
        best: for each payload the image whose conversion is nearest; among equals the first.
        distance: its distance, (N,).
        curve: mean distance of the best, POINTS for each descent.

    Args:
        payloads: float (N, 3, H, W) in [0, 1], or features (N, C, h, w).
        client: the known client part.
        scale: of payloads, (1, C, h, w), or one for each channel (1, C, 1, 1): the unit of distances.
        first: images to begin with, float (N, 3, H, W) in [0, 1].
        features: whether the payloads are features.
        masked: whether channels that are all 0 were left out, and tell nothing of the values there.
    """

    def __init__(
        self,
        payloads: Tensor,
        client: Client,
        scale: Tensor,
        first: Tensor,
        features: bool = False,
        masked: bool = False,
    ) -> None:
        self.payloads, self.client, self.scale = payloads, client, scale
        seen = (payloads != 0).any(dim=3, keepdim=True).any(dim=2, keepdim=True).to(payloads.dtype)
        self.counts = seen / seen.mean(dim=1, keepdim=True).clamp(min=1e-6) if masked else 1.0
        self.rounding = payloads.abs() * HALF_ROUNDING if features else ROUNDING
        self.best = first.clone()
        with torch.no_grad():
            self.distance = self._distances(first)
        self.curve: list[float] = []

    def descend(self, sought: nn.Module, steps: int, rate: float, weight: float) -> None:
        """Adam with a cosine schedule (Kingma & Ba, ICLR 2015) on distance + weight x total variation.

        Args:
            sought: gives the images; its parameters are what is changed.
        """
        parameters = list(sought.parameters())
        adam = torch.optim.Adam(parameters, rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for step in range(steps):
            images = sought()
            distances = self._distances(images)
            self._keep(images.detach(), distances.detach())
            loss = (distances + weight * _variation(images)).sum()
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            adam.step()
            schedule.step()
            if step % max(1, steps // POINTS) == 0:
                self.curve.append(float(self.distance.mean()))

    def _distances(self, images: Tensor) -> Tensor:
        """Mean squared distance of each conversion to what rounds to the payload, where it is seen, (N,)."""
        beyond = F.relu((self.client(images) - self.payloads).abs() - self.rounding) / self.scale
        return (self.counts * beyond.square()).mean(dim=(1, 2, 3))

    def _keep(self, images: Tensor, distances: Tensor) -> None:
        better = distances < self.distance
        self.best[better], self.distance[better] = images[better], distances[better]


def _variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, (N,) (anisotropic; Rudin, Osher & Fatemi, Physica D 1992)."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    return down.abs().mean(dim=(1, 2, 3)) + right.abs().mean(dim=(1, 2, 3))
