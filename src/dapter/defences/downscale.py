"""Fewer pixels: the image is made small and large again; the service stays as it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from dapter.defences._untrained import Untrained
from dapter.errors import UsageError
from dapter.service.classifier import Service


class _Downscale(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small = F.adaptive_avg_pool2d(images, (-(-height // self.factor), -(-width // self.factor)))
        return F.interpolate(small, (height, width), mode="bilinear", align_corners=False)


@dataclass(eq=False)
class Downscale(Untrained):
    """Means over squares of pixels, interpolated to the size that the service knows.

    Attributes:
        factor: pixels on a side of a square.
    """

    factor: int = 4

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise UsageError(f"factor is {self.factor}. Cure: 2 or more, whole pixels on a side")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": _Downscale(self.factor)}
