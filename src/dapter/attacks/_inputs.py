"""What an attacker's networks take in: the payload under a standardisation, and the service's answer to it."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.batches import to_float
from dapter.errors import UsageError
from dapter.types import Answer

Inputs = Literal["raw", "residue", "channels", "whitened", "bits"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
SAMPLE = 5000
"""Payloads that statistics are computed from, at most."""

VALUES = 10_000_000
"""Values of features that statistics are computed from, at most; bounds memory."""

LEAST = {"images": 0.1 / 255, "features": 0.1 * 2.0**-24}
"""A tenth of the smallest step of an 8-bit image in [0, 1], and of a float16: no channel deviates less."""

SMALL = 8
"""Places a side of features, at most, each of which has a meaning of its own; larger ones are like images."""

NOISE = 1e-6
"""Share of a mean of features that its own rounding may be; one step of one float16 deviates more."""

NORMAL = 0.6745
"""The median deviation of normal values of deviation 1."""


class Standardise(nn.Module):
    """Prepare payloads: images, float (N, 3, H, W) in [0, 1], or features (N, C, h, w), to as many in each channel.

    Args:
        inputs: `raw`: images to [-1, 1], features as they are. `residue`: what is left beside the mean of each
            channel, scaled to a deviation of 1 over the training payloads: faint residue becomes plain; of features
            beside the median of each place, and SMALL ones are scaled at each place by itself. `channels`: the same,
            but features of any size are scaled by channel. `whitened`: what is left is scaled in each payload by
            itself, channel by channel; a vector, whose channels have one value each, over all of them. Of what comes
            out of features the inverse hyperbolic sine is taken, linear for most and logarithmic for large ones.
            `bits`: the eight bit planes of each channel of an image as -1 and 1: what hides in the lowest bit becomes
            plain.
        payloads: of the training images, uint8 (N, H, W, 3), or float16 (N, h, w, C).

    Raises:
        UsageError: no such standardisation, or bits of features.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: Inputs, payloads: np.ndarray) -> None:
        super().__init__()
        if inputs not in INPUTS:
            raise UsageError(f"inputs {inputs!r} is none of {', '.join(INPUTS)}")
        self.features = payloads.dtype != np.uint8
        if self.features and inputs == "bits":
            raise UsageError("features have no bits that mean something. Cure: inputs channels")
        self.inputs = inputs
        self.least = LEAST["features" if self.features else "images"]
        mean, std = _of_features(payloads, inputs != "channels") if self.features else _of_images(payloads)
        self.register_buffer("mean", to_float(mean[None], torch.device("cpu")))
        self.register_buffer("std", to_float(std[None].clip(min=self.least), torch.device("cpu")))

    @property
    def channels(self) -> int:
        """Channels that come out."""
        return 24 if self.inputs == "bits" else self.mean.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Prepare a batch."""
        if self.inputs == "raw":
            return images if self.features else images * 2 - 1
        if self.inputs in ("residue", "channels"):
            return self._level((images - self.mean) / self.std)
        if self.inputs == "whitened":
            vector = self.features and images.shape[2:] == (1, 1)
            apart = (images - self.mean) / (self.std if vector else 1) if self.features else images
            over = (1,) if vector else (2, 3)
            mean = apart.mean(dim=over, keepdim=True)
            centred = apart - mean
            least = self.least + mean.abs() * (NOISE if self.features else 0)
            return self._level(centred / centred.square().mean(dim=over, keepdim=True).sqrt().maximum(least))
        levels = (images * 255).round().int()
        planes = torch.cat([levels.bitwise_right_shift(bit).bitwise_and(1) for bit in range(8)], dim=1)
        return planes.to(images.dtype) * 2 - 1

    def _level(self, values: Tensor) -> Tensor:
        return values.asinh() if self.features else values


def _of_images(payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel, float32 (1, 1, C), of images in [0, 1]."""
    sample = payloads[:SAMPLE].astype(np.float64) / 255
    mean, std = (of(axis=(0, 1, 2)).astype(np.float32)[None, None] for of in (sample.mean, sample.std))
    return mean, std


def _of_features(payloads: np.ndarray, by_place: bool) -> tuple[np.ndarray, np.ndarray]:
    """Median of each place of each channel, and typical deviation, float32 (h, w, C): `by_place`, of SMALL ones.

    All features may lie on a picture of their own, beside which what differs between payloads is nothing (maximum
    entropy learned to send such ones); noise may drown all but a few places (Shredder), and nearly all features may be
    0, and a few a thousand times as large as the others (NoPeek): the deviation of all says nothing of those in
    between. A place that never moves takes its channel's deviation, and so do all of large features. Neither
    scale is the better one for all: by channel, Privacy Partitioning's 4 x 4 places tell more.
    """
    sample = payloads[: max(1, min(SAMPLE, VALUES // payloads[0].size))].astype(np.float32)
    median = np.median(sample, axis=0)
    apart = np.abs(sample - median)
    channels = np.broadcast_to(_typical(apart.reshape(-1, apart.shape[3])), median.shape)
    if not by_place or max(median.shape[:2]) > SMALL:
        return median, channels
    places = _typical(apart)
    return median, np.where(places > 0, places, channels)


def _typical(deviations: np.ndarray) -> np.ndarray:
    """Of each column, in units of the deviation of normal values: the median of those that are not 0; 0 if all are."""
    in_order = np.sort(deviations, axis=0)
    none = np.sum(in_order == 0, axis=0, keepdims=True)
    middle = (none + (len(in_order) - none) // 2).clip(max=len(in_order) - 1)
    found: np.ndarray = np.take_along_axis(in_order, middle, axis=0)[0] / NORMAL
    return found


def answer_values(answers: Answer) -> np.ndarray:
    """The logits of all targets side by side, each image's normalised to log-probabilities: float32 (N, values)."""
    parts = [F.log_softmax(torch.from_numpy(answers.logits[name]).float(), 1) for name in sorted(answers.logits)]
    values: np.ndarray = torch.cat(parts, dim=1).numpy()
    return values


class StandardiseAnswer(nn.Module):
    """Scale an answer's values, float (N, values), to a mean of 0 and a deviation of 1 over the training images."""

    mean: Tensor
    std: Tensor

    def __init__(self, answers: Answer) -> None:
        super().__init__()
        values = answer_values(answers)
        self.values = values.shape[1]
        self.register_buffer("mean", torch.from_numpy(values.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(values.std(axis=0).clip(min=1e-3)))

    def forward(self, values: Tensor) -> Tensor:
        """Prepare a batch."""
        return (values - self.mean) / self.std
