"""The ONNX operators of image classifiers (opset 13 and later) on torch, differentiable: one table, OPERATORS.

Each function takes the node's inputs in order (None where left out) and its attributes by name, as
https://onnx.ai/onnx/operators/ defines them. An input or attribute that is in no signature is not supported.
Numbers that describe shapes stay on the CPU, wherever the images are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.errors import ServiceError
from dapter.service.onnx_spatial import average_pool, conv, max_pool, pad, resize

DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
"""The torch type of each ONNX element type (onnx.proto, TensorProto.DataType)."""


def _together(*values: Tensor) -> list[Tensor]:
    """The values on one device: the accelerator's, where one of them is there. Single numbers may be anywhere."""
    device = next((value.device for value in values if value.device.type != "cpu"), values[0].device)
    return [value.to(device) if value.ndim else value for value in values]


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda a, b: function(*_together(a, b))


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def fold(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(*_together(first, other))
        return first

    return fold


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Axes are an input since opset 18, an attribute before."""

    def over_axes(
        x: Tensor,
        chosen: Tensor | None = None,
        *,
        axes: Sequence[int] = (),
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        dims = list(axes) if chosen is None else chosen.tolist()
        if not dims and noop_with_empty_axes:
            return x
        return function(x, dim=dims or list(range(x.ndim)), keepdim=bool(keepdims))

    return over_axes


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 (ONNX's names)
    transB: int = 0,  # noqa: N803
) -> Tensor:
    product = (a.T if transA else a) @ (b.T if transB else b)
    product = product if alpha == 1 else alpha * product
    return product if c is None else product + beta * c


def _batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    if training_mode:
        raise ServiceError("BatchNormalization is in training mode. Cure: export the net after net.eval()")
    return F.batch_norm(x, mean, var, scale, bias, False, 1 - momentum, epsilon)


def _layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return F.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = shape.tolist()
    return x.reshape(sizes if allowzero else [x.shape[axis] if n == 0 else n for axis, n in enumerate(sizes)])


def _flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    rows = int(torch.Size(x.shape[:axis]).numel())
    return x.reshape(rows, -1)


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    dims = list(range(starts.numel())) if axes is None else axes.tolist()
    strides = [1] * starts.numel() if steps is None else steps.tolist()
    for start, end, dim, step in zip(starts.tolist(), ends.tolist(), dims, strides, strict=True):
        size = x.shape[dim]
        rows = range(size)[slice(start, None if step < 0 and end < -size else end, step)]
        if step == 1:
            x = x.narrow(dim, rows.start, len(rows))
        else:
            x = x.index_select(dim, torch.tensor(rows, dtype=torch.int64, device=x.device))
    return x


def _gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis = axis % x.ndim
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    found = x.index_select(axis, indices.reshape(-1).to(x.device))
    return found.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def _gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise ServiceError("GatherND with batch_dims is not supported. Cure: export without batched indexing")
    x, indices = _together(x, indices)
    return x[tuple(indices.unbind(-1))]


def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _split(
    x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    if sizes is not None:
        return torch.split(x, sizes.tolist(), axis)
    assert num_outputs is not None
    return torch.split(x, -(-x.shape[axis] // num_outputs), axis)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(None if low is None else low.item(), None if high is None else high.item())


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def _constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    return torch.zeros(shape.tolist()) if value is None else value.expand(shape.tolist())


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(*(reversed(range(x.ndim)) if perm is None else perm))


def _depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, channels, height, width = x.shape
    if mode == "DCR":
        x = x.reshape(n, blocksize**2, -1, height, width).transpose(1, 2).reshape(n, channels, height, width)
    return F.pixel_shuffle(x, blocksize)


def _instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _group_norm(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return F.group_norm(x, num_groups, scale, bias, epsilon)


def _lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, bias)


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    **{"Abs": torch.abs, "Ceil": torch.ceil, "Cos": torch.cos, "Erf": torch.erf, "Exp": torch.exp},
    **{"Floor": torch.floor, "HardSwish": F.hardswish, "Identity": lambda x: x, "IsNaN": torch.isnan},
    **{"Log": torch.log, "Mish": F.mish, "Neg": torch.neg, "Not": torch.logical_not, "Relu": torch.relu},
    **{"Reciprocal": torch.reciprocal, "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign},
    **{"Sin": torch.sin, "Softplus": F.softplus, "Softsign": F.softsign, "Sqrt": torch.sqrt, "Tanh": torch.tanh},
    "GlobalAveragePool": lambda x: x.mean(list(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax(list(range(2, x.ndim)), keepdim=True),
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": _divide, "Pow": torch.pow, "MatMul": torch.matmul},
    **{"Equal": torch.eq, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le},
    **{"And": torch.logical_and, "Or": torch.logical_or},
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
}
_VARIADIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Sum": torch.add,
    "Max": torch.maximum,
    "Min": torch.minimum,
}
_REDUCE: dict[str, Callable[..., Tensor]] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
}

OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: _unary(function) for name, function in _UNARY.items()},
    **{name: _binary(function) for name, function in _BINARY.items()},
    **{name: _variadic(function) for name, function in _VARIADIC.items()},
    **{name: _reduce(function) for name, function in _REDUCE.items()},
    "ReduceL2": _reduce(torch.linalg.vector_norm),
    **{"Conv": conv, "MaxPool": max_pool, "AveragePool": average_pool, "Pad": pad, "Resize": resize},
    **{"Gemm": _gemm, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm},
    **{"InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm, "LRN": _lrn},
    **{"Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Expand": _expand, "Shape": _shape},
    **{"Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Slice": _slice, "Split": _split, "DepthToSpace": _depth_to_space},
    **{"Gather": _gather, "GatherND": _gather_nd, "ConstantOfShape": _constant_of_shape},
    "Clip": _clip,
    "Concat": lambda *values, axis: torch.cat(_together(*values), axis),
    "Where": lambda condition, a, b: torch.where(*_together(condition, a, b)),
    "Tile": lambda x, repeats: x.repeat(*repeats.tolist()),
    "Range": lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype),
    "Cast": lambda x, *, to, saturate=1: x.to(DTYPES[to]),
    "CastLike": lambda x, like, *, saturate=1: x.to(like.dtype),
    "Dropout": lambda x, ratio=None, training_mode=None, *, seed=0: x,
    "Softmax": lambda x, *, axis=-1: x.softmax(axis),
    "LogSoftmax": lambda x, *, axis=-1: x.log_softmax(axis),
    "Gelu": lambda x, *, approximate="none": F.gelu(x, approximate=approximate),
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "Elu": lambda x, *, alpha=1.0: F.elu(x, alpha),
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "Swish": lambda x, *, alpha=1.0: x * torch.sigmoid(alpha * x),
}
"""For each operator, its function."""
