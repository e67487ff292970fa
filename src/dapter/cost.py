"""What a network costs the user's device: size, arithmetic, and time on one thread of this processor."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dapter.errors import UsageError


@dataclass(frozen=True)
class Cost:
    """The cost of one image.

    Attributes:
        parameters: trainable or not, shared ones once.
        size_bytes: parameters and running statistics as float32.
        multiply_adds: of convolutions and matrix products.
        latency_ms: median on one thread.
        limit_ms: the least time that this processor could take for the multiply-adds.
    """

    parameters: int
    size_bytes: int
    multiply_adds: int
    latency_ms: float
    limit_ms: float


def measure_cost(module: nn.Module, size: tuple[int, int], repeats: int = 20) -> Cost:
    """Every cost of a network that takes float (1, 3, height, width) on the CPU; `size` is (height, width)."""
    work = multiply_adds(module, size)
    return Cost(
        parameters=count_parameters(module),
        size_bytes=size_bytes(module),
        multiply_adds=work,
        latency_ms=latency_ms(module, size, repeats),
        limit_ms=1000 * work / peak_rate(),
    )


def count_parameters(module: nn.Module) -> int:
    """The number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def size_bytes(module: nn.Module) -> int:
    """The size of parameters and floating-point buffers (such as running statistics) as float32."""
    statistics = sum(buffer.numel() for buffer in module.buffers() if buffer.is_floating_point())
    return 4 * (count_parameters(module) + statistics)


def multiply_adds(module: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of convolutions and matrix products for one image of (height, width)."""
    with _inference(module), FlopCounterMode(display=False) as counter:
        module(_image(size))
    return int(counter.get_total_flops()) // 2


def latency_ms(module: nn.Module, size: tuple[int, int], repeats: int = 20, warm_up: int = 3) -> float:
    """Median time of one image of (height, width) on one thread, in milliseconds, after a few runs to warm up."""
    if repeats < 1:
        raise UsageError(f"{repeats} repeats measure nothing. Cure: at least 1")
    image = _image(size)
    with _inference(module), one_thread():
        for _ in range(warm_up):
            module(image)
        return 1000 * median(_seconds(module, image) for _ in range(repeats))


def peak_rate(side: int = 1024, repeats: int = 5) -> float:
    """Multiply-adds a second of one thread, float32: the best of a few products of square matrices."""
    with torch.no_grad(), one_thread():
        matrix = torch.rand(side, side, generator=torch.Generator().manual_seed(0))
        product = nn.Linear(side, side, bias=False)
        product.weight.copy_(matrix)
        return side**3 / min(_seconds(product, matrix) for _ in range(repeats + 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread; the number before is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _inference(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every part's mode is restored."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


def _image(size: tuple[int, int]) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))


def _seconds(module: nn.Module, values: Tensor) -> float:
    start = time.perf_counter()
    module(values)
    return time.perf_counter() - start
