"""Gaussian noise on the image; the service stays as it is. The baseline without anything learned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.distributions import Normal

from dapter.defences._noise import AddNoise
from dapter.defences._untrained import Untrained
from dapter.errors import UsageError
from dapter.service.classifier import Service


@dataclass(eq=False)
class GaussianNoise(Untrained):
    """Independent noise on every value of every pixel; what leaves the range of the image is clipped.

    Attributes:
        sigma: its standard deviation, as a share of the range from black to white.
    """

    sigma: float = 0.2

    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise UsageError(f"sigma is {self.sigma}. Cure: above 0, a share of the range from black to white")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": AddNoise(Normal, self.sigma)}
