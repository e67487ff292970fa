"""Deep image prior: an image is what a small untrained network makes of noise, so that natural images come first.

Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018. A network for each image, all of them at once: their
convolutions are the groups of one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOISE = 16
"""Channels of the noise that a network starts from."""


class _Convolutions(nn.Module):
    """A 3x3 convolution for each of n images: float (n, inside, H, W) to (n, outside, H, W)."""

    def __init__(self, n: int, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n * outside, inside, 3, 3) * (2 / (9 * inside)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(n * outside))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = F.conv2d(x.flatten(0, 1)[None], self.weight, self.bias, self.stride, padding=1, groups=n)
        return y[0].unflatten(0, (n, -1))


class DeepPriors(nn.Module):
    """U-Nets (Ronneberger et al., MICCAI 2015) of three sizes, one for each of n images, from noise of their own.

    Normalised over each image and channel, which is what batch normalisation does in the paper's batches of one.

    Args:
        n: how many images.
        size: height and width in pixels.
        width: channels.
    """

    noise: Tensor

    def __init__(self, n: int, size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.register_buffer("noise", 0.1 * torch.rand(n, NOISE, *size))
        inside = [NOISE, width, width]
        self.down = nn.ModuleList(_Convolutions(n, each, width, 1 + (step > 0)) for step, each in enumerate(inside))
        self.up = nn.ModuleList(_Convolutions(n, 2 * width, width) for _ in range(2))
        self.last = _Convolutions(n, width, 3)

    def forward(self) -> Tensor:
        """The images, float (n, 3, H, W) in [0, 1]."""
        x, kept = self.noise, []
        for down in self.down:
            x = _activate(down(x))
            kept.append(x)
        for up, skip in zip(self.up, kept[-2::-1], strict=True):
            resized = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = _activate(up(torch.cat([resized, skip], dim=1)))
        return torch.sigmoid(self.last(x))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(F.group_norm(x, x.shape[1]), 0.1)
