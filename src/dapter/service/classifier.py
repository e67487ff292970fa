"""A service: one or more frozen classifiers, each with its own normalisation and target.

DAPter trains against a service that does not change; nothing here lets a parameter or a statistic move.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.errors import ServiceError, UsageError
from dapter.types import Answer, Payload

UNIT_MEAN = UNIT_STD = (0.5, 0.5, 0.5)
"""The normalisation from [0, 1] to [-1, 1], used where none is given."""


class Classifier(nn.Module):
    """A net with its normalisation, its target and its class names. Trainable until `freeze`.

    Attributes:
        net: takes normalised RGB images (N, 3, H, W), gives logits (N, classes).
        target: the label that it answers.
        classes: the names of the label's values, in the order of the logits.
        input_size: (height, width) that the net needs; images are resized to it. None: any size.
        source_digest: SHA-256 of the file that the net came from, where that is not our own format.
        frozen: whether `freeze` was called.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        target: str,
        classes: Sequence[str],
        mean: Sequence[float] = UNIT_MEAN,
        std: Sequence[float] = UNIT_STD,
        input_size: tuple[int, int] | None = None,
        source_digest: str | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UsageError(f"mean {mean} and std {std} must have 3 values each, std above 0. Cure: one a channel")
        self.net = net
        self.target = target
        self.classes = tuple(str(name) for name in classes)
        self.input_size = input_size
        self.source_digest = source_digest
        self.frozen = False
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 (N, classes), of RGB images, float (N, 3, H, W) in [0, 1]; differentiable.

        Resizing and normalising are done in float32 even where autocast surrounds the call.
        """
        if self.frozen and any(module.training for module in self.net.modules()):
            self.eval()
        images = images.float()
        if self.input_size is not None and tuple(images.shape[-2:]) != self.input_size:
            images = F.interpolate(images, self.input_size, mode="bilinear", antialias=True, align_corners=False)
        found = self.net((images - self.mean.float()) / self.std.float())
        if isinstance(found, Mapping):  # transformers' outputs are mappings
            found = found["logits"]
        logits: Tensor = found.float()
        return logits

    def freeze(self) -> Self:
        """Fix it for good: no gradient for any parameter, evaluation mode for ever."""
        self.frozen = True
        for parameter in self.parameters():
            parameter.grad = None
            parameter.requires_grad = False
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen classifier stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let gradients reach the parameters, or not; never those of a frozen classifier."""
        return super().requires_grad_(requires_grad and not self.frozen)

    def state_digest(self) -> str:
        """SHA-256 over names, types, shapes and bytes of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted([*self.named_parameters(), *self.named_buffers()], key=lambda entry: entry[0]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def digest(self) -> str:
        """SHA-256 over all that decides its answers: the source file's bytes or the state, and the settings."""
        content = self.source_digest or self.state_digest()
        normalisation = [self.mean.flatten().tolist(), self.std.flatten().tolist()]
        record = [content, self.target, self.classes, normalisation, self.input_size]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()


class Service:
    """Frozen classifiers with distinct targets, as one service. Of one that is not frozen it holds a frozen copy.

    Not a module, so that a defence that keeps one does not save or train its parameters.

    Attributes:
        classifiers: for each target, its classifier.
        digest: SHA-256 over everything that decides the answers, taken when the service was made.
    """

    def __init__(self, *classifiers: Classifier) -> None:
        if not classifiers:
            raise UsageError("a service needs a classifier. Cure: give one or more")
        targets = [classifier.target for classifier in classifiers]
        if len(set(targets)) != len(targets):
            raise UsageError(f"two classifiers answer the same target: {', '.join(targets)}. Cure: give each its own")
        copies = [entry if entry.frozen else copy.deepcopy(entry).freeze() for entry in classifiers]
        self.classifiers = {entry.target: entry for entry in copies}
        parts = sorted(entry.digest() for entry in self.classifiers.values())
        self.digest = hashlib.sha256("".join(parts).encode()).hexdigest()
        self._states = self._state_digests()

    def _state_digests(self) -> list[str]:
        return [entry.state_digest() for entry in self.classifiers.values()]

    @property
    def targets(self) -> tuple[str, ...]:
        """The labels that the service answers."""
        return tuple(self.classifiers)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """For each target, the names of its values."""
        return {target: entry.classes for target, entry in self.classifiers.items()}

    @property
    def frozen(self) -> bool:
        """Whether nothing has moved and nothing can: compares every byte with when the service was made."""
        loose = any(p.requires_grad for entry in self.classifiers.values() for p in entry.parameters())
        return not loose and self._state_digests() == self._states

    @property
    def device(self) -> torch.device:
        """Where the service computes."""
        return next(iter(self.classifiers.values())).mean.device

    def to(self, device: torch.device | str) -> Self:
        """Move to a device, in place."""
        for entry in self.classifiers.values():
            entry.to(device)
        return self

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """For each target, float32 (N, classes), of images, float (N, 3, H, W) in [0, 1]; differentiable in them."""
        return {target: entry(images) for target, entry in self.classifiers.items()}

    def loss(self, images: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """The cross-entropy of each image (N,), summed over the classifiers (DAPter, Eq. 3 and 4).

        Args:
            images: float (N, 3, H, W) in [0, 1].
            labels: for each target, int64 (N,); labels of other names are ignored.

        Raises:
            UsageError: the labels of a target are missing.
        """
        missing = sorted(set(self.targets) - set(labels))
        if missing:
            raise UsageError(f"no labels of {', '.join(missing)}. Cure: labels='service' trains without any")
        found = self.logits(images).items()
        losses = [F.cross_entropy(logits, labels[target], reduction="none") for target, logits in found]
        return torch.stack(losses).sum(dim=0)

    @torch.no_grad()
    def answer(self, payload: Payload, batch_size: int = 256) -> Answer:
        """What the service answers to a payload, for each target float32 (N, classes).

        Raises:
            ServiceError: a classifier cannot take images of that size.
        """
        n, height, width, _ = payload.pixels.shape
        found = {target: np.zeros((n, len(names)), np.float32) for target, names in self.classes.items()}
        for start in range(0, n, batch_size):
            rows = slice(start, start + batch_size)
            pixels = torch.from_numpy(np.ascontiguousarray(payload.pixels[rows])).to(self.device)
            try:
                logits = self.logits(pixels.permute(0, 3, 1, 2).float() / 255)
            except (RuntimeError, AssertionError) as error:  # torch.export's guards are assertions
                cure = "Cure: set the input_size that its net needs"
                raise ServiceError(f"the service fails on {height}x{width} images ({error}). {cure}") from error
            for target, values in logits.items():
                found[target][rows] = values.cpu().numpy()
        return Answer(found)
