"""Networks of attackers that read secrets: recognisers of several families.

Each takes a prepared payload, float (N, channels, H, W) of the size it was made for, and the service's answer to it,
float (N, answer). A recogniser has one linear head for each secret, so that one forward pass serves them all.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dapter.errors import UsageError
from dapter.nets.classifiers import build_classifier

GRID = 4
"""Side of the grid to which the features of a small CNN are pooled: it keeps where something was."""

TOKENS = 8
"""Side of the grid of a ViT's patches."""


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


def _cnn(channels: int, width: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Four convolutions, the last three halving the size as long as it is larger than the grid.

    Features of many channels lose no more than half of them at once: a vector has nothing but channels.
    """
    width = max(width, channels // 2)
    strides, side = [], max(size)
    for _ in range(3):
        strides.append(2 if side > GRID else 1)
        side = -(-side // strides[-1])
    layers = [_conv(channels, width), _conv(width, 2 * width, strides[0]), _conv(2 * width, 4 * width, strides[1])]
    net = nn.Sequential(*layers, _conv(4 * width, 4 * width, strides[2]), nn.AdaptiveAvgPool2d(GRID), nn.Flatten())
    return net, GRID**2 * 4 * width


def _resnet18(channels: int, width: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """He et al., CVPR 2016; its small stem up to 64 px, its large one above."""
    features = build_classifier("resnet18", 2, width, "small" if max(size) <= 64 else "large").features
    assert isinstance(features, nn.Sequential)
    first = features[0]
    assert isinstance(first, nn.Conv2d)
    if channels != 3:
        kernel, stride = first.kernel_size[0], first.stride[0]
        features[0] = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8 * width


class _ConvNextBlock(nn.Module):
    """Depthwise 7x7, normalise, 1x1 up, GELU, 1x1 down, add (Liu et al., CVPR 2022, Figure 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            nn.GroupNorm(1, width),
            nn.Conv2d(width, 4 * width, 1),
            nn.GELU(),
            nn.Conv2d(4 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y


def _convnext(channels: int, width: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """ConvNeXt-like (Liu et al., CVPR 2022): patches of a sixteenth of the side, two stages of two blocks."""
    patch = max(1, min(size) // 16)
    half = min(2, min(size) // patch)
    net = nn.Sequential(
        nn.Conv2d(channels, width, patch, patch),
        nn.GroupNorm(1, width),
        *(_ConvNextBlock(width) for _ in range(2)),
        nn.Conv2d(width, 2 * width, half, half),
        *(_ConvNextBlock(2 * width) for _ in range(2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(2 * width)),
    )
    return net, 2 * width


class _Vit(nn.Module):
    """ViT-like (Dosovitskiy et al., ICLR 2021) on 8 x 8 patches, whatever the size; the mean token is the feature."""

    def __init__(self, channels: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        patch = max(1, min(size) // TOKENS)
        self.patches = nn.Sequential(nn.Conv2d(channels, width, patch, patch), nn.AdaptiveAvgPool2d(TOKENS))
        self.places = nn.Parameter(0.02 * torch.randn(1, TOKENS**2, width))
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 4, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        mixed: Tensor = self.blocks(tokens)
        return mixed.mean(dim=1)


def _vit(channels: int, width: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    return _Vit(channels, 4 * width, size), 4 * width


def _mlp(channels: int, width: int, size: tuple[int, int]) -> tuple[nn.Module, int]:
    """One hidden layer on all values: finds what sits at one place, such as a single bit of a single pixel."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(channels * size[0] * size[1], 8 * width), nn.ReLU())
    return net, 8 * width


Trunk = Callable[[int, int, tuple[int, int]], tuple[nn.Module, int]]
RECOGNISERS: Mapping[str, Trunk] = {
    "cnn": _cnn,
    "resnet18": _resnet18,
    "convnext": _convnext,
    "vit": _vit,
    "mlp": _mlp,
}
"""For each family: (channels, width, image size) to a net that gives features, and how many."""


class Recogniser(nn.Module):
    """Features of the payload, joined with the answer, and a linear head for each secret."""

    def __init__(self, trunk: nn.Module, features: int, answer: int, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.answer = nn.Sequential(nn.Linear(answer, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.secrets = tuple(heads)
        self.heads = nn.ModuleList(nn.Linear(features + 32, classes) for classes in heads.values())

    def forward(self, images: Tensor, answer: Tensor) -> dict[str, Tensor]:
        """For each secret, logits (N, classes)."""
        features = torch.cat([self.trunk(images), self.answer(answer)], dim=1)
        return {secret: head(features) for secret, head in zip(self.secrets, self.heads, strict=True)}


def build_recogniser(
    family: str, channels: int, answer: int, heads: Mapping[str, int], width: int, size: tuple[int, int]
) -> Recogniser:
    """A new recogniser.

    Args:
        family: one of RECOGNISERS.
        channels: of the prepared payload.
        answer: values of the service's answer.
        heads: for each secret the number of its values.
        width: channels of the first layer.
        size: height and width of the payloads.

    Raises:
        UsageError: no such family.
    """
    if family not in RECOGNISERS:
        raise UsageError(f"no recogniser family named {family!r}. There are: {', '.join(RECOGNISERS)}")
    return Recogniser(*RECOGNISERS[family](channels, width, size), answer, heads)
