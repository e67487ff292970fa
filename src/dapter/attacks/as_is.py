"""No effort at all: the payload is taken for the original, as it is or with its contrast stretched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from dapter.attacks import Attack, Goal, granted
from dapter.runs import Run
from dapter.types import Guess, Observed, View


@dataclass(frozen=True)
class AsIs(Attack):
    """What anyone sees who intercepts a payload.

    Attributes:
        stretch: whether each channel of each image is stretched to the full range.
    """

    stretch: bool = False

    sees: ClassVar[frozenset[str]] = frozenset({"payloads"})
    goal: ClassVar[Goal] = "image"

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """Both."""
        return cls(False), cls(True)

    def on_features(self) -> None:
        """Features are nothing to look at."""

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        def guess(observed: Observed) -> Guess:
            payloads = granted(observed.payloads)
            return Guess(images=_stretched(payloads) if self.stretch else payloads)

        return guess


def _stretched(images: np.ndarray) -> np.ndarray:
    low = images.min(axis=(1, 2), keepdims=True).astype(np.float32)
    span = images.max(axis=(1, 2), keepdims=True) - low
    stretched: np.ndarray = (
        np.where(span > 0, (images - low) * (255 / span.clip(min=1)), images).round().astype(np.uint8)
    )
    return stretched
