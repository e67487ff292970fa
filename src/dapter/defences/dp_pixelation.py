"""Differentially private pixelation: flat cells with Laplace noise; the service stays as it is.

Fan: "Image Pixelization with Differential Privacy", DBSec 2018; Privacy Partitioning (Chi et al., arXiv:1812.02863)
compares itself with it as its Algorithm 2. The paper's images are grey: two are neighbours if they differ in at most m
pixels, so that the means of cells of b x b pixels differ by at most 255 m / b^2 in all, and noise of Laplace(255 m /
(b^2 epsilon)) on every cell is epsilon-differentially private. Ours, where the paper is silent: each of the three
channels is treated so, which makes 3 epsilon together, and that is the figure reported; a cell that the image's border
cuts short gets noise by its own number of pixels, which keeps the proof. Clipping and rounding come after the noise
and cost nothing. Neighbours that differ in m pixels are hardly two photos: for k m pixels the guarantee is k times
weaker.

The noise is drawn in float64, in use from the operating system. The guarantee is that of exact arithmetic (Mironov, "On
significance of the least significant bits for differential privacy", CCS 2012, says what finite numbers can cost;
rounding to 256 levels hides the low bits).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.distributions import Laplace
from torch.nn import functional as F

from dapter.data import Split
from dapter.defences._draws import noise
from dapter.defences._untrained import Untrained
from dapter.errors import UsageError
from dapter.service.classifier import Service
from dapter.types import Answer, Payload


class _Pixelate(nn.Module):
    def __init__(self, cell: int, pixels: int, epsilon: float) -> None:
        super().__init__()
        self.cell, self.pixels, self.epsilon = cell, pixels, epsilon

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        sums = F.avg_pool2d(images.double(), self.cell, ceil_mode=True, padding=0, divisor_override=1)
        counts = F.avg_pool2d(
            images.new_ones(1, 1, height, width).double(), self.cell, ceil_mode=True, divisor_override=1
        )
        scale = self.pixels / (counts * self.epsilon)
        noisy = sums / counts + scale * noise(Laplace, sums)
        cells = noisy.clamp(0, 1).to(images.dtype)
        repeated = cells.repeat_interleave(self.cell, dim=2).repeat_interleave(self.cell, dim=3)
        return repeated[..., :height, :width]


@dataclass(eq=False)
class DpPixelation(Untrained):
    """Pixelation whose cells carry Laplace noise.

    Attributes:
        epsilon: of each of the three channels, as in the paper's grey images.
        cell: b, pixels on a side of a cell.
        pixels: m, in how many pixels neighbouring images may differ.
    """

    epsilon: float = 1.0
    cell: int = 8
    pixels: int = 16

    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or min(self.cell, self.pixels) < 1:
            raise UsageError(
                f"epsilon {self.epsilon}, cell {self.cell}, pixels {self.pixels}. Cure: above 0, and 1 or more"
            )

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": _Pixelate(self.cell, self.pixels, self.epsilon)}

    def figures(self, split: Split, payload: Payload, answer: Answer) -> list[dict[str, Any]]:
        """`epsilon` of the payload: for colour images that differ in at most `pixels` pixels, whatever the attack."""
        return [{"measure": "epsilon", "value": 3 * self.epsilon, "grade": "guaranteed"}]
