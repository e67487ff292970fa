"""Reconstruction without training: the original image by a ridge regression of payload and answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._linear import CHUNK, MOST, learn_linear
from dapter.attacks._restoring import to_pixels
from dapter.batches import to_float
from dapter.runs import Run
from dapter.types import Guess, Observed, View


@dataclass(frozen=True)
class LinearImage(Attack):
    """A linear map to every pixel; of larger images than MOST values to those of a smaller one, which is enlarged."""

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "originals"})
    goal: ClassVar[Goal] = "image"

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One setting."""
        return (cls(),)

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        size = granted(view.train.originals).shape[1:3]
        small = _small(*size)
        targets = [_shrunk(granted(known.originals), small) for known in (view.train, view.val)]
        linear = learn_linear(view, targets[0], targets[1], seed)

        def enlarge(values: Tensor) -> np.ndarray:
            images = values.float().view(-1, *small, 3).permute(0, 3, 1, 2) / 255
            return to_pixels(F.interpolate(images, size, mode="bilinear", align_corners=False))

        def guess(observed: Observed) -> Guess:
            return Guess(images=np.concatenate([enlarge(values) for values in linear(observed)]))

        return guess


def _small(height: int, width: int) -> tuple[int, int]:
    """The size, of the same shape but for rounding, at which an image has MOST values or fewer."""
    shrink = min(1.0, (MOST / (3 * height * width)) ** 0.5)
    return max(1, int(shrink * height)), max(1, int(shrink * width))


def _shrunk(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The values of images uint8 (N, H, W, 3) at a size that is no larger, uint8 (N, values)."""
    chunks = (to_float(images[start : start + CHUNK], torch.device("cpu")) for start in range(0, len(images), CHUNK))
    return np.concatenate([to_pixels(F.interpolate(chunk, size, mode="area")) for chunk in chunks]).reshape(
        len(images), -1
    )
