"""What an attacker's networks take in: the payload under a standardisation, and the service's answer to it."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.errors import UsageError
from dapter.types import Answer

Inputs = Literal["raw", "residue", "whitened", "bits"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
SAMPLE = 5000
"""Payloads that statistics are computed from."""


class Standardise(nn.Module):
    """Prepare payloads: float (N, 3, H, W) in [0, 1] to float (N, channels, H, W).

    Args:
        inputs: `raw`: to [-1, 1]. `residue`: what is left beside the mean colour, scaled to a deviation of 1 over
            the training payloads: faint residue becomes plain. `whitened`: the same for each image by itself.
            `bits`: the eight bit planes of each channel as -1 and 1: what hides in the lowest bit becomes plain.
        payloads: of the training images, uint8 (N, H, W, 3).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: Inputs, payloads: np.ndarray) -> None:
        super().__init__()
        if inputs not in INPUTS:
            raise UsageError(f"inputs {inputs!r} is none of {', '.join(INPUTS)}")
        self.inputs = inputs
        sample = payloads[:SAMPLE].reshape(-1, 3).astype(np.float64) / 255
        self.register_buffer("mean", torch.tensor(sample.mean(axis=0), dtype=torch.float32).view(1, 3, 1, 1))
        floored = sample.std(axis=0).clip(min=0.1 / 255)
        self.register_buffer("std", torch.tensor(floored, dtype=torch.float32).view(1, 3, 1, 1))

    @property
    def channels(self) -> int:
        """Channels that come out."""
        return 24 if self.inputs == "bits" else 3

    def forward(self, images: Tensor) -> Tensor:
        """Prepare a batch."""
        if self.inputs == "raw":
            return images * 2 - 1
        if self.inputs == "residue":
            return (images - self.mean) / self.std
        if self.inputs == "whitened":
            centred = images - images.mean(dim=(2, 3), keepdim=True)
            return centred / centred.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=0.1 / 255)
        levels = (images * 255).round().int()
        planes = torch.cat([levels.bitwise_right_shift(bit).bitwise_and(1) for bit in range(8)], dim=1)
        return planes.to(images.dtype) * 2 - 1


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
