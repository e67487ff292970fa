"""What the features of all images have in common, which is taken away before attackers learn.

Features may lie on a picture of their own whose places differ a thousand times more than images do: maximum entropy
learned to send such ones. Scaled by channel, what differs would be rounded away in bfloat16, and an attacker would find
nothing.
"""

from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np

from dapter.attacks._inputs import SAMPLE, VALUES
from dapter.types import Known, Observed

Seen = TypeVar("Seen", bound=Observed)

CHUNK = 256
MOST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Shared:
    """The median of features, float32 (h, w, C), place by place; None: nothing is taken away.

    No mean: a few huge features would move it.
    """

    median: np.ndarray | None = None

    @classmethod
    def of(cls, known: Known) -> Self:
        """That of the features that an attacker learns from; of images None."""
        if known.payloads is None or not known.is_features:
            return cls()
        sample = known.payloads[: max(1, min(SAMPLE, VALUES // known.payloads[0].size))]
        return cls(np.median(sample.astype(np.float32), axis=0))

    def without(self, seen: Seen) -> Seen:
        """The same with features, float16 again, as they differ from the median."""
        if self.median is None or seen.payloads is None:
            return seen
        apart = np.empty(seen.payloads.shape, np.float16)
        for start in range(0, len(apart), CHUNK):
            rows = slice(start, start + CHUNK)
            apart[rows] = (seen.payloads[rows] - self.median).clip(-MOST, MOST)
        return replace(seen, payloads=apart)
