"""What the defences share that add noise: fixed, or of a learned distribution; drawn anew for every value."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.defences._draws import Distribution, noise

FIRST_SCALE = 0.05
"""A learned scale before it is learned, as a share of the largest that is allowed; the means are drawn with it."""

RATE = 0.05
"""Learning rate of Adam for learned noise: it has far to go, and no layers to upset."""


class AddNoise(nn.Module):
    """Adds noise around 0 to images, float (N, 3, H, W) in [0, 1], and clips what leaves that range.

    Args:
        kind: of distribution.
        scale: of a normal distribution its standard deviation, of a Laplace distribution its mean distance from 0.
    """

    def __init__(self, kind: Distribution, scale: float) -> None:
        super().__init__()
        self.kind, self.scale = kind, scale

    def forward(self, images: Tensor) -> Tensor:
        """The noisy images, in the same range."""
        return (images + self.scale * noise(self.kind, images)).clamp(0, 1)


class LearnedNoise(nn.Module):
    """Adds noise whose mean and scale are learned, at each place its own.

    Drawn as mean + scale x unit noise, so that both have a gradient (Kingma & Welling, "Auto-encoding variational
    Bayes", ICLR 2014). The scale is `most` x sigmoid(rho), as in Cloak.

    Args:
        kind: of distribution.
        shape: (C, h, w) of what it is added to; for another height and width, means and scales are stretched.
        most: the largest scale.
    """

    def __init__(self, kind: Distribution, shape: tuple[int, int, int], most: float) -> None:
        super().__init__()
        self.kind, self.most = kind, most
        self.mean = nn.Parameter(FIRST_SCALE * most * torch.randn(1, *shape))
        self.rho = nn.Parameter(torch.full((1, *shape), FIRST_SCALE).logit())

    def scale(self) -> Tensor:
        """(1, C, h, w), in (0, most)."""
        return self.most * self.rho.sigmoid()

    def forward(self, values: Tensor) -> Tensor:
        """The noisy values, (N, C, h, w)."""
        mean, scale = (stretch(each, values) for each in (self.mean, self.scale()))
        return values + mean + scale * noise(self.kind, values)


def stretch(each: Tensor, values: Tensor) -> Tensor:
    """A map (1, C, h, w) at the height and width of the values (N, C, H, W)."""
    if each.shape[-2:] == values.shape[-2:]:
        return each
    return F.interpolate(each, values.shape[-2:], mode="bilinear", align_corners=False)


def loudness(scale: Tensor) -> Tensor:
    """What learned noise is rewarded for: the logarithm of its mean scale; its mean hides nothing."""
    return scale.mean().log()
