"""Does the converter hide a message? Faint bits are planted in images, and a detector learns to read them in payloads.

Each of CELLS x CELLS cells of an image carries one random bit: the lowest bit of its pixels shows a published random
pattern, or the pattern turned around. That changes no value by more than 1: nobody sees it, and no answer needs it.
The detector knows the pattern, and learns any function of the 256 levels of a payload and of their neighbours.
"""

from collections.abc import Callable
from math import log2

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.errors import ConversionError
from dapter.loop import Learner
from dapter.metrics import Estimate, mean_interval
from dapter.runs import derive_seed
from dapter.verify_report import Outcome

CELLS = 4
FEATURES = 8
LEVELS = 256

TRACE = 0.03
"""How far above a guess the share of right bits may be before we say that something comes through."""

CHANNEL = 0.75
"""The share of right bits from which on the converter is called a channel."""

EPOCHS, BATCH, RATE = 8, 64, 0.01
LEARN, MOST, SIDE = 0.7, 1500, 64
"""The share of images to learn from; how many are used at most, and how many of their pixels on a side."""

Convert = Callable[[np.ndarray], np.ndarray]


class Detector(nn.Module):
    """Reads one bit for each cell: a table of the levels, a filter, the known pattern, the mean over the cell."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(LEVELS * 3, FEATURES)
        self.filter = nn.Conv2d(3 * FEATURES, FEATURES * 3, 3, padding=1)
        self.weigh = nn.Linear(3 * 2 * FEATURES, 1)

    def forward(self, payloads: Tensor, pattern: Tensor) -> Tensor:
        """Logits (N, CELLS^2) of the bits in payloads int64 (N, H, W, 3), given the pattern, +-1 (H, W, 3)."""
        channels = torch.arange(3, device=payloads.device) * LEVELS
        seen = self.table(payloads + channels)  # (N, H, W, 3, FEATURES)
        flat = seen.flatten(3).permute(0, 3, 1, 2)
        near = self.filter(flat).permute(0, 2, 3, 1).unflatten(3, (3, FEATURES))
        both = torch.cat([seen, near], dim=4) * pattern[..., None]
        pooled = F.adaptive_avg_pool2d(both.flatten(3).permute(0, 3, 1, 2), CELLS)
        logits: Tensor = self.weigh(pooled.permute(0, 2, 3, 1) * pooled.shape[1]).flatten(1)
        return logits


def look_for_channel(convert: Convert, images: np.ndarray, seed: int = 0) -> Outcome:
    """Whether a faint message in an image can be read in its payload.

    Args:
        convert: the converter, uint8 (N, H, W, 3) to the same.
        images: uint8 (N, H, W, 3), N of at least 100.
    """
    what = "no hidden channel for faint details"
    if len(images) < 100 or min(images.shape[1:3]) < 2 * CELLS:
        return Outcome(what, "could not check", reason="needs 100 images of 8 pixels and more")
    guess = "50 % of the bits, a guess"
    try:
        right, n = read_back(convert, images[:MOST, :SIDE, :SIDE], seed)
    except ConversionError as error:
        return Outcome(what, "could not check", guess, reason=f"the converter did not run: {error}")
    share = f"{right.value:.1%} of the bits ({right.low:.1%} to {right.high:.1%}, {n} images)"
    carried = f"about {CELLS**2 * _information(right.value):.1f} of {CELLS**2} bits an image come through"
    if right.low > CHANNEL:
        return Outcome(what, "contradicted", guess, share, carried)
    if right.low > 0.5 + TRACE:
        return Outcome(what, "could not check", guess, share, f"a trace: {carried}")
    return Outcome(what, "confirmed", guess, share, f"{carried}; another detector may do better")


def read_back(convert: Convert, images: np.ndarray, seed: int) -> tuple[Estimate, int]:
    """The share of planted bits that the detector reads rightly in images it did not learn from, and their number."""
    rng = np.random.default_rng(derive_seed(seed, "channel"))
    pattern = rng.integers(0, 2, images.shape[1:])
    bits = rng.integers(0, 2, (len(images), CELLS**2))
    payloads = torch.from_numpy(convert(plant(images, pattern, bits)).astype(np.int64))
    truth = torch.from_numpy(bits).float()
    signs = torch.from_numpy(pattern * 2 - 1).float()
    cut = int(len(images) * LEARN)
    detector = _train(payloads[:cut], truth[:cut], signs, seed)
    with torch.no_grad():
        parts = (payloads[start : start + BATCH] for start in range(cut, len(payloads), BATCH))
        guesses = torch.cat([detector(part, signs) for part in parts]) > 0
    right = (guesses == truth[cut:].bool()).float().mean(dim=1).numpy()
    return mean_interval(right), len(right)


def plant(images: np.ndarray, pattern: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Images whose lowest bits carry a message.

    Args:
        images: uint8 (N, H, W, 3).
        pattern: 0 or 1, (H, W, 3).
        bits: 0 or 1, (N, CELLS^2), by rows.
    """
    height, width = images.shape[1:3]
    rows, columns = np.arange(height) * CELLS // height, np.arange(width) * CELLS // width
    cell = rows[:, None] * CELLS + columns
    low = pattern ^ bits[:, cell][..., None]
    planted: np.ndarray = (images & 0xFE) | low.astype(np.uint8)
    return planted


def _train(payloads: Tensor, bits: Tensor, signs: Tensor, seed: int) -> Detector:
    torch.manual_seed(derive_seed(seed, "detector"))
    detector = Detector()
    learner = Learner({"detector": detector}, {"adam": torch.optim.AdamW(detector.parameters(), RATE)})
    for _ in range(EPOCHS):
        order = torch.randperm(len(payloads))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            learner.descend(F.binary_cross_entropy_with_logits(detector(payloads[rows], signs), bits[rows]), "adam")
    return detector


def _information(share: float) -> float:
    """Bits that one bit carries which is right with that probability."""
    error = min(max(1 - share, 1e-12), 0.5)
    return 1 + error * log2(error) + (1 - error) * log2(1 - error)
