"""Gaussian blur of the image; the service stays as it is. What people do to a photo by hand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.defences._untrained import Untrained
from dapter.errors import UsageError
from dapter.service.classifier import Service

REACH = 3
"""Standard deviations after which the kernel ends: 99.7 % of its weight."""


class _Blur(nn.Module):
    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma, self.reach = sigma, math.ceil(REACH * sigma)

    def forward(self, images: Tensor) -> Tensor:
        places = torch.arange(-self.reach, self.reach + 1, device=images.device, dtype=images.dtype)
        row = (-0.5 * (places / self.sigma) ** 2).softmax(dim=0).expand(3, 1, 1, -1)
        padded = F.pad(images, (self.reach,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, row, groups=3), row.transpose(2, 3), groups=3)


@dataclass(eq=False)
class Blur(Untrained):
    """Each pixel becomes a weighted mean of those around it; at the border the outermost pixels are repeated.

    Attributes:
        sigma: standard deviation of the weights, in pixels.
    """

    sigma: float = 2.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise UsageError(f"sigma is {self.sigma}. Cure: above 0, in pixels")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": _Blur(self.sigma)}
