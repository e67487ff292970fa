"""Deep image prior: an image is what a small untrained network makes of noise, so that natural images come first.

Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018. A network for each image, all of them at once: their
convolutions are the groups of one.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOISE = 16
"""Channels of the noise that a network starts from."""

SKIP = 4
"""Channels that go past the smaller sizes."""

SIZES = 4
"""How often the image is halved, where it is large enough."""


class _Convolutions(nn.Module):
    """A 3x3 convolution for each of n images: float (n, inside, H, W) to (n, outside, H, W)."""

    def __init__(self, n: int, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n * outside, inside, 3, 3) * (2 / (9 * inside)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(n * outside))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        y: Tensor = F.conv2d(x.flatten(0, 1)[None], self.weight, self.bias, self.stride, padding=1, groups=n)
        return y.view(n, -1, *y.shape[-2:])


class DeepPriors(nn.Module):
    """U-Nets with narrow skips, one for each of n images, from noise of their own.

    Normalised over each image and channel, which is what batch normalisation does in the paper's batches of one. Ours:
    what a network paints is added to a first image, as logits, and is nothing before the first step; the colours that
    a payload does not tell then stay those of the first image.

    Args:
        first: float (n, 3, H, W) in [0, 1].
        width: channels.
    """

    noise: Tensor
    first: Tensor

    def __init__(self, first: Tensor, width: int) -> None:
        super().__init__()
        n, _, height, length = first.shape
        self.register_buffer("noise", 0.1 * torch.rand(n, NOISE, height, length))
        self.register_buffer("first", torch.logit(first, eps=0.02))
        inside = [NOISE, *[width] * (SIZES - 1)][: max(1, int(math.log2(min(height, length))) - 1)]
        self.down = nn.ModuleList(_Convolutions(n, each, width, stride=2) for each in inside)
        self.skip = nn.ModuleList(_Convolutions(n, each, SKIP) for each in inside)
        self.up = nn.ModuleList(_Convolutions(n, width + SKIP, width) for _ in inside)
        self.last = _Convolutions(n, width, 3)
        nn.init.zeros_(self.last.weight)

    def forward(self) -> Tensor:
        """The images, float (n, 3, H, W) in [0, 1]."""
        x, kept = self.noise, []
        for down, skip in zip(self.down, self.skip, strict=True):
            kept.append(_activate(skip(x)))
            x = _activate(down(x))
        for up, skipped in zip(self.up, reversed(kept), strict=True):
            resized = F.interpolate(x, size=skipped.shape[-2:], mode="bilinear", align_corners=False)
            x = _activate(up(torch.cat([resized, skipped], dim=1)))
        return torch.sigmoid(self.first + self.last(x))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(F.group_norm(x, x.shape[1]), 0.1)
