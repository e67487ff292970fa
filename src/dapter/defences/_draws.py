"""What a random defence draws: from torch in training and in measurements, from the operating system in use.

Torch keeps 32 bits of a seed on a CPU, and its generator can be continued by who has seen its output: either way noise
could be computed and subtracted. In use every number is therefore drawn from the system's cryptographic generator.
"""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Laplace, Normal

Distribution = type[Laplace] | type[Normal]

_SYSTEM = ContextVar("system", default=False)


@contextmanager
def draws_of(seed: int | None, device: torch.device) -> Iterator[Callable[[], bool]]:
    """Within it, draws follow that seed of torch, whose own state is not touched; None: they are the system's.

    None also gives torch a seed of the system's, for a plug-in that draws from torch: better than the same for all.
    Gives what tells whether anything was drawn from torch since.
    """
    token = _SYSTEM.set(seed is None)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(secrets.randbits(63) if seed is None else seed)
            before = _states(device)
            yield lambda: not all(map(torch.equal, before, _states(device)))
    finally:
        _SYSTEM.reset(token)


def _states(device: torch.device) -> list[Tensor]:
    """Of torch's generators, on the CPU and on the device."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def uniform(shape: Sequence[int], device: torch.device) -> Tensor:
    """Float64 of that shape, evenly from (0, 1): multiples of 2^-52, moved by half of one."""
    if _SYSTEM.get():
        words = np.frombuffer(secrets.token_bytes(8 * math.prod(shape)), np.uint64) >> np.uint64(12)
        numbers = torch.from_numpy(words.astype(np.float64)).reshape(*shape).to(device)
    else:
        numbers = torch.randint(2**52, tuple(shape), device=device).double()
    return (numbers + 0.5) * 2.0**-52


def noise(kind: Distribution, like: Tensor) -> Tensor:
    """Noise of the shape and kind of numbers of a tensor: around 0, of scale 1, by the inverse of its distribution."""
    zero, one = like.new_zeros((), dtype=torch.float64), like.new_ones((), dtype=torch.float64)
    unit = kind(zero, one, validate_args=False)
    found: Tensor = unit.icdf(uniform(like.shape, like.device))  # type: ignore[no-untyped-call]
    return found.to(like.dtype)
