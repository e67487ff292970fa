"""Recognition without training: the secrets by a ridge regression of payload and answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._linear import learn_linear
from dapter.data import UNKNOWN
from dapter.runs import Run
from dapter.types import Guess, Observed, View

STEPS = 100


@dataclass(frozen=True)
class LinearRecognition(Attack):
    """A linear map to each value of each secret, and from these to log-probabilities by what is right on `val`."""

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "secrets"})
    goal: ClassVar[Goal] = "secrets"

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One setting."""
        return (cls(),)

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        classes = list(view.classes.values())
        known, others = granted(view.train.secrets), granted(view.val.secrets)
        targets = [
            np.concatenate([_one_hot(labels[name], count) for name, count in view.classes.items()], axis=1)
            for labels in (known, others)
        ]
        linear = learn_linear(view, targets[0], targets[1], seed)

        def read(observed: Observed) -> tuple[Tensor, ...]:
            return torch.split(torch.cat(list(linear(observed))), classes, dim=1)

        found = zip(view.classes, read(view.val.observed()), strict=True)
        scales = [_Scale.of(values, torch.from_numpy(others[name])) for name, values in found]

        def guess(observed: Observed) -> Guess:
            each = zip(view.classes, scales, read(observed), strict=True)
            return Guess({name: scale(values).float().numpy() for name, scale, values in each})

        return guess


@dataclass(frozen=True)
class _Scale:
    """From what a regression reads, (N, classes), to logits: times a factor, plus a number for each class."""

    factor: Tensor
    bias: Tensor

    @classmethod
    def of(cls, values: Tensor, labels: Tensor) -> Self:
        """The scale of the smallest cross-entropy (vector scaling with one factor; Guo et al., ICML 2017)."""
        scale = cls(values.new_ones(1, requires_grad=True), values.new_zeros(values.shape[1], requires_grad=True))
        descent = torch.optim.LBFGS([scale.factor, scale.bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            descent.zero_grad()
            total = F.cross_entropy(scale(values), labels, ignore_index=UNKNOWN, reduction="sum")
            total.backward()  # type: ignore[no-untyped-call]
            return total

        descent.step(loss)  # type: ignore[no-untyped-call]
        return cls(scale.factor.detach(), scale.bias.detach())

    def __call__(self, values: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        return values * self.factor + self.bias


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 (N, classes), NaN where the label is unknown."""
    return np.where(labels[:, None] == UNKNOWN, np.nan, np.eye(classes)[labels]).astype(np.float32)
