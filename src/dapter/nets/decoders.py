"""Networks of attackers that restore the image: decoders of several families, and the critic of an adversarial one.

Each decoder takes a prepared payload, float (N, channels, h, w), and the service's answer to it, float (N, answer), and
gives the original, float (N, 3, H, W) in [0, 1]. It is made for one size of payload and one of original, which differ
where the payload is features.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.errors import UsageError
from dapter.nets.converters import build_converter

Size = tuple[int, int]
"""Height and width."""

LARGEST = 64
"""Side in pixels above which the fully connected decoders work at a smaller size."""

UNITS = 32
"""Hidden units of a fully connected decoder for each of its width."""

PLACES = 4
"""Side of the grid on which a decoder of images lays out a vector."""

SPARSE = 0.1
"""Share of the values before it that a unit of a sparse layer sees."""


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


class SymmetricDecoder(nn.Module):
    """The symmetric generator with which DAPter attacks itself (section 5.3): the converter's own eight layers."""

    def __init__(self, channels: int, answer: int, width: int) -> None:
        super().__init__()
        self.generator = build_converter("paper", width)
        first = self.generator.layers[0]
        assert isinstance(first, nn.Sequential)
        first[0] = nn.Conv2d(channels + answer, width, 3, padding=1, bias=False)

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        restored: Tensor = self.generator(_with_planes(images, answer))
        return restored


class Unet(nn.Module):
    """U-Net (Ronneberger et al., MICCAI 2015) of four sizes, with resize and convolution on the way up."""

    def __init__(self, channels: int, outside: int, width: int) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width, 4 * width]
        inside = [channels, *sizes[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(_conv(before, after, 1 if step == 0 else 2), _conv(after, after))
            for step, (before, after) in enumerate(zip(inside, sizes, strict=True))
        )
        self.up = nn.ModuleList(_conv(sizes[step] + sizes[step - 1], sizes[step - 1]) for step in (3, 2, 1))
        self.last = nn.Conv2d(width, outside, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, channels, H, W) to (N, outside, H, W)."""
        kept = []
        for down in self.down:
            x = down(x)
            kept.append(x)
        for up, skip in zip(self.up, kept[-2::-1], strict=True):
            x = up(torch.cat([F.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip], dim=1))
        y: Tensor = self.last(x)
        return y


class UnetDecoder(nn.Module):
    """A U-Net, with resize and convolution on the way up."""

    def __init__(self, channels: int, answer: int, width: int) -> None:
        super().__init__()
        self.unet = Unet(channels + answer, 3, width)

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        restored: Tensor = self.unet(_with_planes(images, answer))
        return torch.sigmoid(restored.float())


class DeconvolutionDecoder(nn.Module):
    """Convolutions that halve the size `depth` times, then as many transposed convolutions that double it."""

    def __init__(self, channels: int, answer: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [width * 2**step for step in range(depth + 1)]
        down = [_conv(channels + answer, width), *(_conv(size, 2 * size, 2) for size in sizes[:-1])]
        up = [_deconvolution(2 * size, size) for size in sizes[-2::-1]]
        self.layers = nn.Sequential(*down, *up, nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        height, width = images.shape[-2:]
        restored: Tensor = self.layers(_with_planes(images, answer))[..., :height, :width]  # halves were rounded up
        return torch.sigmoid(restored.float())


def _deconvolution(inside: int, outside: int) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(inside, outside, 4, 2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


class SparseLinear(nn.Linear):
    """A linear layer of which each unit sees but a share of the values before it, drawn once."""

    mask: Tensor

    def __init__(self, inside: int, outside: int, share: float) -> None:
        super().__init__(inside, outside)
        self.register_buffer("mask", torch.rand(outside, inside) < share)
        with torch.no_grad():
            self.weight.mul_(share**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inside) to (N, outside)."""
        return F.linear(x, self.weight * self.mask, self.bias)


class DenseDecoder(nn.Module):
    """`depth` hidden layers on all values at once, as if an image had no places; above LARGEST pixels a side, smaller.

    Args:
        size: height and width of the payloads.
        image_size: of the originals.
        share: of the values before it that each unit sees.
    """

    def __init__(
        self,
        channels: int,
        answer: int,
        width: int,
        size: Size,
        image_size: Size,
        depth: int,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.size, self.restored = ((min(high, LARGEST), min(wide, LARGEST)) for high, wide in (size, image_size))
        units = UNITS * width
        layers: list[nn.Module] = []
        inside = channels * self.size[0] * self.size[1] + answer
        for _ in range(depth):
            layers += [_linear(inside, units, share), nn.BatchNorm1d(units), nn.ReLU()]
            inside = units
        self.layers = nn.Sequential(*layers, _linear(units, 3 * self.restored[0] * self.restored[1], share))

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        values = F.adaptive_avg_pool2d(images, self.size).flatten(1)
        restored: Tensor = self.layers(torch.cat([values, answer.to(values.dtype)], dim=1))
        small = torch.sigmoid(restored.float()).view(-1, 3, *self.restored)
        if small.shape[-2:] == self.image_size:
            return small
        return F.interpolate(small, size=self.image_size, mode="bilinear", align_corners=False)


def _linear(inside: int, outside: int, share: float) -> nn.Linear:
    return nn.Linear(inside, outside) if share == 1 else SparseLinear(inside, outside, share)


class Enlarged(nn.Module):
    """A decoder of features: resize and convolution until they are as large as an image, then a decoder of images.

    Each step doubles the side and halves the channels, down to twice the decoder's width. A vector is laid out on
    PLACES a side first, by a linear layer: resized, it would say the same everywhere.

    Args:
        build: from channels to the decoder of images.
    """

    def __init__(self, channels: int, width: int, size: Size, image_size: Size, build: Callable[[int], nn.Module]):
        super().__init__()
        self.laid_out: nn.Module = nn.Identity()
        if size == (1, 1):
            size = min(PLACES, image_size[0]), min(PLACES, image_size[1])
            self.laid_out = _lay_out(channels, 8 * width, size)
            channels = 8 * width
        self.sizes: list[Size] = []
        while size != image_size:
            size = min(2 * size[0], image_size[0]), min(2 * size[1], image_size[1])
            self.sizes.append(size)
        self.up = nn.ModuleList()
        for _ in self.sizes:
            fewer = max(2 * width, channels // 2)
            self.up.append(_conv(channels, fewer))
            channels = fewer
        self.decoder = build(channels)

    def forward(self, features: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        features = self.laid_out(features)
        for up, size in zip(self.up, self.sizes, strict=True):
            features = up(F.interpolate(features, size=size, mode="nearest"))
        restored: Tensor = self.decoder(features, answer)
        return restored


def _lay_out(inside: int, outside: int, size: Size) -> nn.Sequential:
    """From vectors (N, inside, 1, 1) to (N, outside, h, w)."""
    convolution = nn.ConvTranspose2d(inside, outside, size, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


CONVOLUTIONAL: Mapping[str, Callable[[int, int, int, int], nn.Module]] = {
    "symmetric": lambda channels, answer, width, depth: SymmetricDecoder(channels, answer, width),
    "unet": lambda channels, answer, width, depth: UnetDecoder(channels, answer, width),
    "deconvolution": DeconvolutionDecoder,
}
"""For each family: (channels, answer, width, depth) to a decoder of images."""

DENSE = {"dense": 1.0, "sparse": SPARSE}
"""For each family the share of the values that a unit sees."""

DECODERS = (*CONVOLUTIONAL, *DENSE)


def build_decoder(
    family: str, channels: int, answer: int, width: int, size: Size, image_size: Size, depth: int = 2
) -> nn.Module:
    """A new decoder.

    Args:
        family: one of DECODERS.
        channels: of the prepared payload.
        answer: values of the service's answer.
        width: channels of the first layer; a fully connected layer has UNITS times as many units.
        size: height and width of the payload.
        image_size: of the original.
        depth: hidden layers of `dense` and `sparse`, halvings of `deconvolution`; the others have their own.

    Raises:
        UsageError: no such family.
    """
    if family in DENSE:
        return DenseDecoder(channels, answer, width, size, image_size, depth, DENSE[family])
    if family not in CONVOLUTIONAL:
        raise UsageError(f"no decoder family named {family!r}. There are: {', '.join(DECODERS)}")

    def build(channels: int) -> nn.Module:
        return CONVOLUTIONAL[family](channels, answer, width, depth)

    return build(channels) if size == image_size else Enlarged(channels, width, size, image_size, build)


class PatchCritic(nn.Module):
    """Says of each patch whether image and payload belong together: a conditional PatchGAN.

    Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, section 3.2.2; two
    halvings, so that a score tells of 26 pixels a side, and normalised over each image by itself.

    Args:
        channels: of the prepared payload.
        width: channels of the first layer.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels + 3, width, 4, 2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 4, 2, padding=1), nn.GroupNorm(1, 2 * width), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.GroupNorm(1, 4 * width), nn.LeakyReLU(0.2)),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )

    def forward(self, payloads: Tensor, images: Tensor) -> Tensor:
        """Scores (N, 1, h, w), about 1 where the image is an original, of images float (N, 3, H, W) in [0, 1]."""
        if payloads.shape[-2:] != images.shape[-2:]:
            payloads = F.interpolate(payloads, size=images.shape[-2:], mode="nearest")
        scores: Tensor = self.layers(torch.cat([payloads, images * 2 - 1], dim=1))
        return scores.float()


def _with_planes(images: Tensor, answer: Tensor) -> Tensor:
    """The payload with each value of the answer as a constant plane: (N, channels + answer, H, W)."""
    planes = answer[:, :, None, None].expand(-1, -1, *images.shape[-2:]).to(images.dtype)
    return torch.cat([images, planes], dim=1)
