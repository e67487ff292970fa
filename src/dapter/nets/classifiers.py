"""Image classifiers of the papers, for any image size and any width.

LeNet: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998; here with RGB
input, "same" padding, ReLU and max pooling. VGG: Simonyan & Zisserman, ICLR 2015, with batch normalisation.
ResNet: He et al., CVPR 2016, with the stride of a bottleneck on its 3x3 convolution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from dapter.errors import UsageError

Stem = Literal["small", "large"]
STEMS: tuple[Stem, ...] = ("small", "large")


@dataclass(frozen=True)
class Recipe:
    """What `build_classifier` needs to build the same net again.

    Attributes:
        arch: one of ARCHITECTURES.
        classes: the number of logits.
        width: channels of the first stage.
        stem: "small" for small images (32 to 64 px), "large" for about 224 px.
    """

    arch: str
    classes: int
    width: int
    stem: Stem


class ClassifierNet(nn.Module):
    """Features (N, channels, h, w), then a head: float (N, 3, H, W), normalised, to logits (N, classes)."""

    recipe: Recipe

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Residual(nn.Module):
    """`relu(body(x) + shortcut(x))` (He et al. 2016, Eq. 1 and 2)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """From (N, channels, h, w) to the body's channels and size."""
        return F.relu(self.body(x) + self.shortcut(x))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution with "same" padding, then batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outputs)]


def _pooled_linear(inputs: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def _basic(inputs: int, width: int, stride: int) -> nn.Module:
    """Two 3x3 convolutions (He et al. 2016, Figure 5 left)."""
    body = nn.Sequential(*_conv(inputs, width, 3, stride), nn.ReLU(), *_conv(width, width, 3))
    same = stride == 1 and inputs == width
    return Residual(body, nn.Identity() if same else nn.Sequential(*_conv(inputs, width, 1, stride)))


def _bottleneck(inputs: int, width: int, stride: int) -> nn.Module:
    """1x1, 3x3, 1x1 convolutions, four times as many channels out (He et al. 2016, Figure 5 right)."""
    outputs = 4 * width
    body = nn.Sequential(
        *_conv(inputs, width, 1),
        nn.ReLU(),
        *_conv(width, width, 3, stride),
        nn.ReLU(),
        *_conv(width, outputs, 1),
    )
    same = stride == 1 and inputs == outputs
    return Residual(body, nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, 1, stride)))


def _resnet(recipe: Recipe) -> ClassifierNet:
    """He et al. 2016, Table 1; the small stem is a 3x3 convolution of stride 1 without pooling (their 4.2)."""
    block, expansion, depths = {
        "resnet18": (_basic, 1, (2, 2, 2, 2)),
        "resnet50": (_bottleneck, 4, (3, 4, 6, 3)),
    }[recipe.arch]
    if recipe.stem == "small":
        layers = [*_conv(3, recipe.width, 3), nn.ReLU()]
    else:
        layers = [*_conv(3, recipe.width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    inputs = recipe.width
    for stage, depth in enumerate(depths):
        width = recipe.width * 2**stage
        for step in range(depth):
            layers.append(block(inputs, width, 2 if stage > 0 and step == 0 else 1))
            inputs = width * expansion
    return ClassifierNet(nn.Sequential(*layers), _pooled_linear(inputs, recipe.classes))


def _vgg(recipe: Recipe) -> ClassifierNet:
    """Simonyan & Zisserman 2015, Table 1: configurations A, D, E; the small head is a single linear layer."""
    depths = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[recipe.arch]
    layers: list[nn.Module] = []
    inputs = 3
    for stage, depth in enumerate(depths):
        width = recipe.width * min(2**stage, 8)
        for _ in range(depth):
            layers += [*_conv(inputs, width, 3), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    if recipe.stem == "small":
        return ClassifierNet(nn.Sequential(*layers), _pooled_linear(inputs, recipe.classes))
    hidden = 64 * recipe.width
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        *(nn.Linear(49 * inputs, hidden), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
        nn.Linear(hidden, recipe.classes),
    )
    return ClassifierNet(nn.Sequential(*layers), head)


def _lenet(recipe: Recipe) -> ClassifierNet:
    """LeCun et al. 1998, Figure 2: 6 and 16 feature maps, then 120 and 84 units, at width 6."""
    first, second, hidden, last = (round(n * recipe.width / 6) for n in (6, 16, 120, 84))
    features = nn.Sequential(
        *(nn.Conv2d(3, first, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        *(nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
    )
    head = nn.Sequential(
        *(nn.AdaptiveAvgPool2d(5), nn.Flatten()),
        *(nn.Linear(25 * second, hidden), nn.ReLU(), nn.Linear(hidden, last), nn.ReLU()),
        nn.Linear(last, recipe.classes),
    )
    return ClassifierNet(features, head)


_BUILDERS: dict[str, tuple[Callable[[Recipe], ClassifierNet], int]] = {
    "lenet": (_lenet, 6),
    "vgg11": (_vgg, 64),
    "vgg16": (_vgg, 64),
    "vgg19": (_vgg, 64),
    "resnet18": (_resnet, 64),
    "resnet50": (_resnet, 64),
}
"""How each architecture is built, and the width that its paper uses."""

ARCHITECTURES = tuple(_BUILDERS)


def build_classifier(arch: str, classes: int, width: int | None = None, stem: Stem = "small") -> ClassifierNet:
    """A new net with random weights; it takes normalised RGB images (N, 3, H, W) and gives logits (N, classes).

    Args:
        arch: one of ARCHITECTURES.
        classes: the number of logits, 2 or more.
        width: channels of the first stage; by default the paper's: 64, for LeNet 6. 16 suits a CPU.
        stem: "small" for images of 32 to 64 px; "large" for about 224 px: ResNet's 7x7 convolution with pooling,
            VGG's three linear layers. LeNet has but one.

    Raises:
        UsageError: an unknown architecture or stem, or a number that cannot work.
    """
    if arch not in _BUILDERS:
        raise UsageError(f"no architecture is named {arch!r}. There are: {', '.join(ARCHITECTURES)}")
    if stem not in STEMS:
        raise UsageError(f"stem {stem!r} is none of {', '.join(STEMS)}. Cure: 'small' below about 100 px, else 'large'")
    build, paper_width = _BUILDERS[arch]
    width = paper_width if width is None else width
    if classes < 2 or width < 1:
        raise UsageError(f"{arch}: {classes} classes, width {width}. Cure: give 2 classes or more, and a width above 0")
    net = build(Recipe(arch, classes, width, stem))
    net.recipe = Recipe(arch, classes, width, stem)
    return net
