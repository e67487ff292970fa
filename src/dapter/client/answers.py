"""What a user gets: the answer, and what was sent for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dapter.imagefile import encode
from dapter.runs import write_atomic


@dataclass(frozen=True)
class Label:
    """The answer to one question.

    Attributes:
        name: the likeliest class.
        probabilities: for each class, in the order of the service.
    """

    name: str
    probabilities: Mapping[str, float]

    @property
    def probability(self) -> float:
        """How sure the service is."""
        return self.probabilities[self.name]


@dataclass(frozen=True)
class Sent:
    """What left the device for one photo.

    Attributes:
        payload: the image, uint8 (H, W, 3).
        data: the exact bytes of it in the request: a file, bare pixels, or packed stamps.
        encoding: `PNG`, `WEBP`, `pixels`, or `stamps` where they are sent packed.
        budget_bits: the most bits that any payload of this converter carries; None: there is no such bound.
        dial: what the converter was set to; None: it has no dial.
        request_bytes: of the whole request, which other photos may share.
        seconds: `open`, `convert`, `encode` of this photo, and `send`, until the answer to the request was there.
    """

    payload: np.ndarray
    data: bytes
    encoding: str
    budget_bits: float | None
    dial: float | None
    request_bytes: int
    seconds: Mapping[str, float]

    def __repr__(self) -> str:
        """Short: without the bytes."""
        height, width, _ = self.payload.shape
        return f"Sent({height} x {width}, {len(self.data)} bytes of {self.encoding})"

    def describe(self) -> str:
        """One sentence for people."""
        height, width, _ = self.payload.shape
        budget = "" if self.budget_bits is None else f"; it carries at most {math.ceil(self.budget_bits):,} bits"
        dial = "" if self.dial is None else f", dial at {self.dial:g}"
        return f"{len(self.data):,} bytes ({self.encoding}, {width} x {height} pixels{dial}){budget}"

    def save(self, path: Path | str) -> Path:
        """Write the payload as a PNG file to look at."""
        write_atomic(Path(path), encode(self.payload))
        return Path(path)


@dataclass(frozen=True)
class Classification:
    """What the service said of one photo.

    Attributes:
        labels: for each question that the service answers, its answer.
    """

    labels: Mapping[str, Label]
    sent: Sent

    @property
    def label(self) -> str:
        """The answer to the first question."""
        return self._first.name

    @property
    def probability(self) -> float:
        """How sure the service is of it."""
        return self._first.probability

    @property
    def probabilities(self) -> Mapping[str, float]:
        """For each class of the first question."""
        return self._first.probabilities

    @property
    def _first(self) -> Label:
        return next(iter(self.labels.values()))
