"""The ONNX operators that slide or stretch over an image: convolution, pooling, padding, resizing."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.errors import ServiceError


def _padding(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int], auto: str
) -> list[tuple[int, int]]:
    """Before and after each spatial axis, as ONNX's `pads` or `auto_pad` ask."""
    if auto in ("NOTSET", "VALID"):
        return list(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)) if pads else [(0, 0)] * len(kernel)
    found = []
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found


def _symmetric(sides: list[tuple[int, int]]) -> list[int] | None:
    """One padding an axis, if both sides are alike."""
    return [before for before, _ in sides] if all(before == after for before, after in sides) else None


def _padded(x: Tensor, sides: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    return F.pad(x, [n for side in reversed(sides) for n in side], value=value)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """Conv over 1, 2 or 3 spatial axes: (N, C, ...) to (N, M, ...)."""
    kernel = weight.shape[2:]
    steps = list(strides) or [1] * len(kernel)
    spread = list(dilations) or [1] * len(kernel)
    sides = _padding(x, kernel, steps, spread, pads, auto_pad)
    padding = _symmetric(sides)
    if padding is None:
        x, padding = _padded(x, sides), [0] * len(kernel)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(kernel)]
    return function(x, weight, bias, steps, padding, spread, group)


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    storage_order: int = 0,
    strides: Sequence[int] = (),
) -> Tensor:
    """MaxPool over (N, C, H, W)."""
    steps = list(strides) or [1, 1]
    spread = list(dilations) or [1, 1]
    sides = _padding(x, kernel_shape, steps, spread, pads, auto_pad)
    padding = _symmetric(sides)
    if padding is None or any(2 * n > k for n, k in zip(padding, kernel_shape, strict=True)):
        x, padding = _padded(x, sides, float("-inf")), [0, 0]
    return F.max_pool2d(x, list(kernel_shape), steps, padding, spread, bool(ceil_mode))


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """AveragePool over (N, C, H, W), without dilation."""
    kernel, steps = list(kernel_shape), list(strides) or [1, 1]
    sides = _padding(x, kernel, steps, [1, 1], pads, auto_pad)
    padding = _symmetric(sides)
    if padding is not None and all(2 * n <= k for n, k in zip(padding, kernel, strict=True)):
        return F.avg_pool2d(x, kernel, steps, padding, bool(ceil_mode), bool(count_include_pad))
    found = F.avg_pool2d(_padded(x, sides), kernel, steps, 0, bool(ceil_mode))
    if count_include_pad:
        return found
    share = F.avg_pool2d(_padded(torch.ones_like(x[:1, :1]), sides), kernel, steps, 0, bool(ceil_mode))
    return found / share


def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    """Pad; `reflect` and `edge` on the last two axes only."""
    amounts = pads.tolist()
    dims = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes.tolist()]
    sides = [(0, 0)] * x.ndim
    for place, dim in enumerate(dims):
        sides[dim] = (amounts[place], amounts[place + len(dims)])
    if mode == "constant":
        return _padded(x, sides, 0.0 if value is None else value.item())
    modes = {"reflect": "reflect", "edge": "replicate"}
    if mode not in modes or any(side != (0, 0) for side in sides[:-2]):
        raise ServiceError(f"Pad with mode {mode} beyond height and width is not supported. Cure: pad with a constant")
    return F.pad(x, [n for side in reversed(sides[-2:]) for n in side], mode=modes[mode])


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize height and width of (N, C, H, W), in the ways that torch has too."""
    if sizes is not None:
        size = sizes.tolist()[-2:]
    elif scales is not None:
        size = [int(n * scale) for n, scale in zip(x.shape[-2:], scales.tolist()[-2:], strict=True)]
    else:
        raise ServiceError("Resize without scales and sizes. Cure: repair the model")
    whole = all(new % old == 0 for old, new in zip(x.shape[-2:], size, strict=True))
    how = (mode, coordinate_transformation_mode)
    if how == ("nearest", "asymmetric") and nearest_mode == "floor":
        return F.interpolate(x, size, mode="nearest")
    if how == ("nearest", "half_pixel") and whole:
        return F.interpolate(x, size, mode="nearest-exact")
    smooth = {"linear": "bilinear", "cubic": "bicubic"}
    corners = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
    borders = exclude_outside == antialias  # as torch treats them
    if x.ndim != 4 or mode not in smooth or how[1] not in corners or cubic_coeff_a != -0.75 or not borders:
        raise ServiceError(f"Resize with {how}, {nearest_mode} is not supported. Cure: export with mode linear")
    return F.interpolate(x, size, mode=smooth[mode], align_corners=corners[how[1]], antialias=bool(antialias))
