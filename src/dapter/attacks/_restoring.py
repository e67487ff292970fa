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
from dapter.types import Known, View

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


def pairs_of_payloads(view: View) -> tuple[list[Split], Split]:
    """Payloads with their answers and originals: each draw of those to learn from, and those to choose by."""
    *train, val = (pairs(granted(known.payloads), known) for known in (*view.draws, view.val))
    return train, val


def originals(batch: Batch) -> Tensor:
    """The originals of a batch, float (N, 3, H, W) in [0, 1]."""
    return batch.labels[ORIGINAL].permute(0, 3, 1, 2).float() / 255


def restoring_loss(objective: str, restored: Tensor, truth: Tensor) -> Tensor:
    """`l2`: mean squared error, the paper's. `ssim`: L1 + (1 - SSIM), as Zhao et al. mix them (IEEE TCI 2017)."""
    with torch.autocast(truth.device.type, enabled=False):  # variances are differences: bfloat16 would lose them
        restored = restored.float()
        if objective == "l2":
            return F.mse_loss(restored, truth)
        return F.l1_loss(restored, truth) + 1 - _ssim(restored, truth)


def _ssim(images: Tensor, others: Tensor) -> Tensor:
    """Mean SSIM (Wang et al. 2004) with even windows of 7 pixels inside the image, as two products with a band matrix.

    That is several times quicker on a CPU than the Gaussian windows by which `metrics.ssim` scores.
    """
    rows, columns = (_means(side, images) for side in images.shape[-2:])
    maps = torch.stack([images, others, images * images + others * others, images * others])
    first, second, squares, product = (rows @ maps.contiguous() @ columns.T).unbind()
    spread = squares - first * first - second * second
    alike = (2 * first * second + 0.01**2) * (2 * (product - first * second) + 0.03**2)
    return (alike / ((first * first + second * second + 0.01**2) * (spread + 0.03**2))).mean()


def _means(side: int, like: Tensor) -> Tensor:
    """The matrix (windows, side) that takes the mean of each window of a line."""
    window = min(WINDOW, side)
    places = torch.arange(side, device=like.device) - torch.arange(side - window + 1, device=like.device)[:, None]
    return ((places >= 0) & (places < window)).to(like.dtype) / window


def to_pixels(images: Tensor) -> np.ndarray:
    """Float (N, 3, H, W), about [0, 1], to uint8 (N, H, W, 3)."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    pixels: np.ndarray = levels.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels
