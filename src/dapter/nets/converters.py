"""Converters: light image-to-image networks that run on the user's device.

Each takes float (N, 3, H, W) in [0, 1] and gives the same shape and range, for any height and width. Resize and
convolution, never transposed convolution: browsers and phones run that slowly or wrongly.
"""

import abc
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dapter.errors import UsageError

Layer = Callable[[int, Tensor], Tensor]
"""Applies the hidden layer of that number."""


class Film(nn.Module):
    """Scale and shift of every hidden channel by a scalar condition (Perez et al., 2018).

    Args:
        channels: channels of each hidden layer that is conditioned.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.net = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 2 * sum(channels)))

    def forward(self, condition: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For a condition (N,), the (scale, shift) of each layer, each (N, C, 1, 1)."""
        both = self.net(condition[:, None].to(next(self.net.parameters()).dtype))[:, :, None, None]
        scale, shift = both.chunk(2, dim=1)
        return list(zip(scale.split(self.channels, 1), shift.split(self.channels, 1), strict=True))


def _conv(inside: int, outside: int, stride: int = 1, groups: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside))


def _separable(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        *_conv(inside, inside, stride, groups=inside), nn.ReLU(inplace=True), *_conv(inside, outside, kernel=1)
    )


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")


class Converter(nn.Module, abc.ABC):
    """Base of the converters: hidden layers, each with ReLU and, if conditioned, FiLM; then RGB in [0, 1].

    Args:
        layers: the hidden layers, in order.
        channels: the channels that each of them gives.
        last: channels of the last convolution's input.
        conditioned: whether `forward` takes a condition, such as λ.
    """

    def __init__(self, layers: Sequence[nn.Module], channels: Sequence[int], last: int, conditioned: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.film = Film(channels) if conditioned else None
        self.last = nn.Conv2d(last, 3, 3, padding=1)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """Convert.

        Args:
            images: float (N, 3, H, W) in [0, 1].
            condition: (N,), for a conditioned converter only.
        """
        film = None if self.film is None or condition is None else self.film(condition)

        def layer(i: int, x: Tensor) -> Tensor:
            y: Tensor = self.layers[i](x)
            if film is not None:
                scale, shift = film[i]
                y = y * (1 + scale) + shift
            return F.relu(y)

        residue = self.last(self._hidden(images * 2 - 1, layer))
        # Near grey, one level is finer than bfloat16's step: the output is always computed in float32.
        return torch.sigmoid(residue.float())

    @abc.abstractmethod
    def _hidden(self, x: Tensor, layer: Layer) -> Tensor:
        """All hidden layers, from images in [-1, 1] to the input of the last convolution, at full size."""


class PaperConverter(Converter):
    """Eight convolutions, symmetric down and up, the third's output copied to the eighth's input.

    Wu et al., "DAPter", WWW 2021. Channels and strides are our reading: three layers at full size, two that halve it,
    two that double it, and the last. Width 32: 0.83 MB as float32.

    Args:
        width: channels at full size.
        conditioned: whether `forward` takes a condition.
    """

    def __init__(self, width: int = 32, conditioned: bool = False) -> None:
        w = width
        shape = [(3, w, 1), (w, w, 1), (w, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 2 * w, 1), (2 * w, w, 1)]
        layers = [_conv(inside, outside, stride) for inside, outside, stride in shape]
        super().__init__(layers, [outside for _, outside, _ in shape], 2 * w, conditioned)

    def _hidden(self, x: Tensor, layer: Layer) -> Tensor:
        third = layer(2, layer(1, layer(0, x)))
        fourth = layer(3, third)
        fifth = layer(4, fourth)
        sixth = layer(5, _resize(fifth, fourth))
        seventh = layer(6, _resize(sixth, third))
        return torch.cat([seventh, third], dim=1)


class FastConverter(Converter):
    """A converter for slow devices: depthwise separable layers (Howard et al., 2017) at a quarter of the size.

    Args:
        width: channels at half size; three times as many at a quarter.
        conditioned: whether `forward` takes a condition.
    """

    def __init__(self, width: int = 16, conditioned: bool = False) -> None:
        w = width
        layers = [
            _conv(3, w, 2),
            _separable(w, 3 * w, 2),
            _separable(3 * w, 3 * w),
            _separable(3 * w, 3 * w),
            _conv(3 * w, w, kernel=1),
            _separable(2 * w, w),
        ]
        super().__init__(layers, [w, 3 * w, 3 * w, 3 * w, w, w], w, conditioned)

    def _hidden(self, x: Tensor, layer: Layer) -> Tensor:
        half = layer(0, x)
        quarter = layer(3, layer(2, layer(1, half)))
        up = _resize(layer(4, quarter), half)
        return _resize(layer(5, torch.cat([up, half], dim=1)), x)


CONVERTERS: dict[str, type[PaperConverter] | type[FastConverter]] = {"paper": PaperConverter, "fast": FastConverter}


def build_converter(name: str, width: int | None = None, conditioned: bool = False) -> Converter:
    """A converter by name, of its usual width unless one is given.

    Raises:
        UsageError: no such converter, or a width below 1.
    """
    if name not in CONVERTERS:
        raise UsageError(f"no converter named {name!r}. There are: {', '.join(CONVERTERS)}")
    if width is not None and width < 1:
        raise UsageError(f"converter width {width} is below 1. Cure: 1 or more")
    return CONVERTERS[name](conditioned=conditioned, **({} if width is None else {"width": width}))
