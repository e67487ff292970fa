"""Images and labels on the device: batches of a split, and how they are varied in training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.data import Split


@dataclass(frozen=True)
class Batch:
    """A batch on the device.

    Attributes:
        images: float32 (N, 3, H, W) in [0, 1].
        labels: for each label, int64 (N,).
        progress: the share of the training that is done, in [0, 1]; 1 outside training.
    """

    images: Tensor
    labels: Mapping[str, Tensor]
    progress: float = 1.0


def to_float(images: np.ndarray, device: torch.device) -> Tensor:
    """To float32 (N, C, H, W) in channels-last memory: images, uint8 (N, H, W, 3), to [0, 1]; features as they are."""
    values = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float()
    return values / 255 if images.dtype == np.uint8 else values


def batches(split: Split, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """A split in order, in batches, as it is."""
    for start in range(0, len(split), batch_size):
        rows = slice(start, start + batch_size)
        labels = {name: torch.from_numpy(values[rows]).to(device) for name, values in split.labels.items()}
        yield Batch(to_float(split.images[rows], device), labels)


def augment(images: Tensor, mirror: bool) -> Tensor:
    """Shift each image by up to an eighth of its size (edges repeated) and mirror half of them.

    Args:
        images: float (N, 3, H, W).
        mirror: whether to mirror at all.
    """
    n, _, height, width = images.shape
    reach_y, reach_x = height // 8, width // 8
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
    top = torch.randint(0, 2 * reach_y + 1, (n, 1, 1), device=images.device)
    left = torch.randint(0, 2 * reach_x + 1, (n, 1, 1), device=images.device)
    rows = top + torch.arange(height, device=images.device)[None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, :].expand(n, 1, width)
    if mirror:
        flip = torch.rand(n, 1, 1, device=images.device) < 0.5
        columns = torch.where(flip, width - 1 - columns, columns)
    columns = columns + left
    each = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2)
