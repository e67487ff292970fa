"""Laplace noise on the image; the service stays as it is. The baseline without anything learned.

The noise of differential privacy (Dwork et al., TCC 2006), on every pixel by itself: two images that differ in one
value of one pixel are epsilon = 1 / scale apart; two different photos have no guarantee worth the name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.distributions import Laplace

from dapter.defences._noise import AddNoise
from dapter.defences._untrained import Untrained
from dapter.errors import UsageError
from dapter.service.classifier import Service


@dataclass(eq=False)
class LaplaceNoise(Untrained):
    """Independent noise on every value of every pixel; what leaves the range of the image is clipped.

    Attributes:
        scale: its mean distance from 0, as a share of the range from black to white.
    """

    scale: float = 0.15

    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise UsageError(f"scale is {self.scale}. Cure: above 0, a share of the range from black to white")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": AddNoise(Laplace, self.scale)}
