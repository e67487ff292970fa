"""The networks of Privacy Partitioning, as stages after each of which they may be cut, and its suite of defenders.

The paper's appendix with its architectures could not be had; only the MLP with three layers of 800 units and VGG19 with
batch normalisation are known. The CNN and the defenders are ours.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, starmap
from typing import Literal

import torch
from torch import Tensor, nn

from dapter.defences._divided import Heads
from dapter.defences._restorers import Duo, Found, Restorer
from dapter.nets.classifiers import build_classifier

Net = Literal["mlp", "cnn", "vgg19"]

UNITS = 50
"""Units of a layer of the MLP for each of its width: 800 at width 16."""

HIDDEN = 8
"""Units of a dense defender's layer for each of its width."""

GRID = 4
"""Side of the grid that a convolutional defender draws from features without places."""


def _mlp(width: int, size: tuple[int, int]) -> list[nn.Module]:
    """Three layers of 800 units at width 16; later ones as 1 x 1 convolutions, for features are (N, C, h, w)."""
    units = UNITS * width
    first = nn.Linear(3 * size[0] * size[1], units)
    layers = [nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Flatten(), first, nn.Unflatten(1, (units, 1, 1)), nn.ReLU())]
    return [*layers, *(nn.Sequential(nn.Conv2d(units, units, 1), nn.ReLU()) for _ in range(2))]


def _cnn(width: int, size: tuple[int, int]) -> list[nn.Module]:
    """Four convolutions, each with a pooling."""
    channels = [3, *(width * 2**step for step in range(4))]
    return list(starmap(_stage, pairwise(channels)))


def _vgg19(width: int, size: tuple[int, int]) -> list[nn.Module]:
    """The sixteen convolutions (Simonyan & Zisserman, ICLR 2015), each with what follows up to the next."""
    features = build_classifier("vgg19", 2, width).features
    assert isinstance(features, nn.Sequential)
    layers = list(features)
    starts = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    return [nn.Sequential(*layers[start:stop]) for start, stop in zip(starts, [*starts[1:], len(layers)], strict=True)]


NETS: Mapping[str, tuple[Callable[[int, tuple[int, int]], list[nn.Module]], int]] = {
    "mlp": (_mlp, 3),
    "cnn": (_cnn, 4),
    "vgg19": (_vgg19, 16),
}
"""How each network is built, from its width and the image size, and how many stages it has."""


def build_stages(net: str, width: int, size: tuple[int, int]) -> tuple[list[nn.Module], list[tuple[int, int, int]]]:
    """The stages of a network for images of that height and width, and the shape of the features after each.

    Returns:
        The stages, and as many shapes (C, h, w).
    """
    stages = NETS[net][0](width, size)
    return stages, _shapes(stages, size)


class LocalStages(nn.Module):
    """The stages on the device, as they are trained: images to the features at every cut.

    Args:
        stages: up to the last cut.
        cuts: after how many stages, rising.
    """

    def __init__(self, stages: Sequence[nn.Module], cuts: Sequence[int]) -> None:
        super().__init__()
        self.stages, self.cuts = nn.ModuleList(stages), tuple(cuts)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features, (N, C, h, w) at each cut, of images float (N, 3, H, W) in [0, 1]."""
        found, features = images * 2 - 1, []
        for place, stage in enumerate(self.stages, start=1):
            found = stage(found)
            if place in self.cuts:
                features.append(found)
        return features


class LocalPart(nn.Module):
    """The stages on the device: as many as chosen, unless `forward` is given another number, a scalar tensor."""

    def __init__(self, stages: nn.ModuleList, cut: int) -> None:
        super().__init__()
        self.stages, self.cut = stages, cut

    def forward(self, images: Tensor, cut: Tensor | None = None) -> Tensor:
        """What is sent, (N, C, h, w)."""
        found = images * 2 - 1
        for stage in self.stages[: self.cut if cut is None else int(cut)]:
            found = stage(found)
        return found


class RemotePart(nn.Module):
    """The other stages, and the heads."""

    def __init__(self, stages: Iterable[nn.Module], heads: Heads) -> None:
        super().__init__()
        self.stages, self.heads = nn.ModuleList(stages), heads

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """For each label, logits float32 (N, classes)."""
        for stage in self.stages:
            features = stage(features)
        found: dict[str, Tensor] = self.heads(features)
        return found


class Suite(nn.Module):
    """The defenders at one cut."""

    def __init__(self, duos: Sequence[Duo]) -> None:
        super().__init__()
        self.duos = nn.ModuleList(duos)

    def forward(self, features: Tensor) -> list[Found]:
        """What each of them finds in features (N, C, h, w)."""
        return [duo(features) for duo in self.duos]


class Suites(nn.Module):
    """A suite of defenders for each cut."""

    def __init__(self, suites: Sequence[Suite]) -> None:
        super().__init__()
        self.suites = nn.ModuleList(suites)

    def forward(self, features: Sequence[Tensor]) -> list[list[Found]]:
        """For each cut, what each of its defenders finds in the features there."""
        return [suite(each) for each, suite in zip(features, self.suites, strict=True)]


def build_suite(
    count: int, shape: tuple[int, int, int], width: int, secrets: Mapping[str, int], size: tuple[int, int] | None
) -> Suite:
    """Up to four defenders: convolutional and dense ones, small and then deeper and twice as wide.

    Args:
        count: how many.
        shape: of the features, channels first.
        width: of the first ones.
        secrets: what they read, each with the number of its values.
        size: height and width of the image that they restore; None: they do not.
    """
    suite = []
    for depth in (1, 2):
        for reader, restorer in ((_read, _draw), (_read_dense, _draw_dense)):
            wide = depth * width
            suite.append(
                Duo(
                    reader(shape, wide, depth, secrets) if secrets else None,
                    restorer(shape, wide, depth, size) if size else None,
                )
            )
    return Suite(suite[:count])


DEFENDERS = 4
"""The most that `build_suite` gives."""


def _read(shape: tuple[int, int, int], width: int, depth: int, secrets: Mapping[str, int]) -> nn.Module:
    channels = [shape[0], *(width * 2**step for step in range(depth + 1))]
    return Heads(nn.Sequential(*starmap(_stage, pairwise(channels))), channels[-1], secrets)


def _draw(shape: tuple[int, int, int], width: int, depth: int, size: tuple[int, int]) -> nn.Module:
    if shape[1:] != (1, 1):
        return Restorer(shape[0], width, size)
    grid = nn.Sequential(
        nn.Flatten(), nn.Linear(shape[0], width * GRID**2), nn.Unflatten(1, (width, GRID, GRID)), nn.ReLU()
    )
    return nn.Sequential(grid, Restorer(width, width, size))


def _read_dense(shape: tuple[int, int, int], width: int, depth: int, secrets: Mapping[str, int]) -> nn.Module:
    units = HIDDEN * width
    return Heads(nn.Sequential(*_dense(math.prod(shape), units, depth), nn.Unflatten(1, (units, 1, 1))), units, secrets)


def _draw_dense(shape: tuple[int, int, int], width: int, depth: int, size: tuple[int, int]) -> nn.Module:
    units = HIDDEN * width
    last = nn.Linear(units, 3 * size[0] * size[1])
    return nn.Sequential(*_dense(math.prod(shape), units, depth), last, nn.Sigmoid(), nn.Unflatten(1, (3, *size)))


def _dense(inside: int, units: int, depth: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    for step in range(depth):
        layers += [nn.Linear(units if step else inside, units), nn.ReLU()]
    return layers


def _stage(inside: int, outside: int) -> nn.Module:
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True))


@torch.no_grad()
def _shapes(stages: Sequence[nn.Module], size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """The shape of the features after each stage, channels first."""
    found, shapes = torch.zeros(1, 3, *size), []
    for stage in stages:
        found = stage.eval()(found)
        stage.train()
        shapes.append((found.shape[1], found.shape[2], found.shape[3]))
    return shapes
