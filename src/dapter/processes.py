"""One process or several: who writes, who waits, on which device (`python -m torch.distributed.run`)."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed as dist

WAIT = timedelta(hours=6)
"""How long a process waits for another one, which may be measuring alone; if one dies, its launcher ends the rest."""

T = TypeVar("T")


def pick_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


@contextlib.contextmanager
def distributed() -> Iterator[None]:
    """Join the other processes of `python -m torch.distributed.run` for a while; alone, do nothing."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    device = pick_device()
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if int(os.environ["LOCAL_WORLD_SIZE"]) <= torch.cuda.device_count():  # NCCL wants a GPU for each process
            backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that writes files: the only one, or the first of several."""
    return not dist.is_initialized() or dist.get_rank() == 0


def from_first(work: Callable[[], T]) -> T:
    """Do some work in the first process only; every process waits for it and gets its result."""
    if not dist.is_initialized():
        return work()
    box: list[Any] = [work() if is_first() else None]
    dist.broadcast_object_list(box, src=0)
    found: T = box[0]
    return found
