"""What the attacks that restore images share: their losses, and how pairs of payload and original are trained on."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.attacks import granted
from dapter.attacks._inputs import answer_values
from dapter.attacks._training import ANSWER
from dapter.batches import Batch
from dapter.data import Split
from dapter.errors import UsageError
from dapter.types import Known

Objective = Literal["l2", "ssim"]

ORIGINAL = "original image"
"""Beside the labels, where a batch carries the originals, uint8 (N, H, W, 3)."""

WINDOW = 7


def check_objective(objective: str) -> None:
    """Refuse what is no objective.

    Raises:
        UsageError: it is none.
    """
    if objective not in get_args(Objective):
        raise UsageError(f"objective {objective!r} is none of {', '.join(get_args(Objective))}")


def pairs(images: np.ndarray, known: Known) -> Split:
    """Images with the answers and the originals that belong to them."""
    return Split(images, {ANSWER: answer_values(granted(known.answers)), ORIGINAL: granted(known.originals)})


def originals(batch: Batch) -> Tensor:
    """The originals of a batch, float (N, 3, H, W) in [0, 1]."""
    return batch.labels[ORIGINAL].permute(0, 3, 1, 2).float() / 255


def restoring_loss(objective: str, restored: Tensor, truth: Tensor) -> Tensor:
    """`l2`: mean squared error, the paper's. `ssim`: L1 + (1 - SSIM), as Zhao et al. mix them (IEEE TCI 2017)."""
    restored = restored.float()
    if objective == "l2":
        return F.mse_loss(restored, truth)
    return F.l1_loss(restored, truth) + 1 - _ssim(restored, truth)


def _ssim(images: Tensor, others: Tensor) -> Tensor:
    """Mean SSIM (Wang et al. 2004) with its variant of even windows, which is quick: 7 pixels, inside the image."""
    side = min(WINDOW, *images.shape[-2:])

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, 1)

    first, second = mean(images), mean(others)
    spread = mean(images * images) - first * first + mean(others * others) - second * second
    together = mean(images * others) - first * second
    alike = (2 * first * second + 0.01**2) * (2 * together + 0.03**2)
    return (alike / ((first * first + second * second + 0.01**2) * (spread + 0.03**2))).mean()


def to_pixels(images: Tensor) -> np.ndarray:
    """Float (N, 3, H, W), about [0, 1], to uint8 (N, H, W, 3)."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    pixels: np.ndarray = levels.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels
