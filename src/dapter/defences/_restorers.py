"""What the defences share that choose what to hide, secrets or the image, and train against adversaries for either.

The adversaries are the defence's own, of the kind that its paper trains against; the audit never sees them.
"""

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from dapter.batches import Batch
from dapter.defences import Task
from dapter.defences._divided import cross_entropy
from dapter.errors import UsageError

Hides = Literal["secrets", "image", "both"]

Found = tuple[dict[str, Tensor], Tensor | None]
"""What adversaries give: for each secret logits (N, values); and images, float (N, 3, H, W) in [0, 1], or None."""

LEAST_VARIANCE = 1e-3
"""What images without any variance are taken to have."""


def check_hides(hides: str) -> None:
    """Raise UsageError unless it is one of Hides."""
    if hides not in get_args(Hides):
        raise UsageError(f"hides is {hides!r}. Cure: one of {', '.join(get_args(Hides))}")


def to_hide(hides: Hides, task: Task) -> tuple[dict[str, int], bool]:
    """The secrets to hide, each with the number of its values, and whether the image is to be hidden.

    Raises:
        UsageError: secrets are, and there are none.
    """
    secrets = {} if hides == "image" else dict(task.secrets)
    if hides != "image" and not secrets:
        raise UsageError(
            "there are no secrets to hide. Cure: name some with the data (--secrets), or choose hides=image"
        )
    return secrets, hides != "secrets"


class Restorer(nn.Module):
    """Features (N, C, h, w) to the image, float (N, 3, H, W) in [0, 1]: convolutions, with two resizes on the way.

    Args:
        channels: of the features.
        width: channels of its layers.
        size: height and width of the image.
    """

    def __init__(self, channels: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.ModuleList(_conv(before, width) for before in (channels, width, width))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """The image."""
        height, width = self.size
        half = max(features.shape[2], -(-height // 2)), max(features.shape[3], -(-width // 2))
        found: Tensor = self.layers[0](features)
        for size, layer in zip((half, self.size), self.layers[1:], strict=True):
            found = layer(F.interpolate(found, size, mode="bilinear", align_corners=False))
        found = self.last(found)
        return found.float().sigmoid()


class Duo(nn.Module):
    """A reader of secrets, a restorer of the image, or both, on the same features."""

    def __init__(self, reader: nn.Module | None, restorer: nn.Module | None) -> None:
        super().__init__()
        self.reader, self.restorer = reader, restorer

    def forward(self, features: Tensor) -> Found:
        """What they find in features (N, C, h, w)."""
        guesses = {} if self.reader is None else self.reader(features)
        return guesses, None if self.restorer is None else self.restorer(features)


def secret_loss(guesses: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Cross-entropy of a reader's guesses, mean over batch and secrets; 0 without any."""
    return cross_entropy(guesses, batch.labels) if guesses else batch.images.new_zeros(())


def image_loss(restored: Tensor, images: Tensor) -> Tensor:
    """A restorer's squared error as a share of the variance of the images: 1 for plain grey, whatever the data."""
    variance = images.var(unbiased=False).clamp(min=LEAST_VARIANCE)
    return F.mse_loss(restored.float(), images) / variance


def _conv(inside: int, outside: int) -> nn.Module:
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())
