"""How good a guess is: an attack's guesses against the truth, each figure with its n and 95 % interval."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from dapter import metrics
from dapter.data import UNKNOWN, Split
from dapter.errors import UsageError
from dapter.types import Answer, Guess

IMAGE = "image"
"""The secret that is the image itself."""

SAMPLE = 2000
"""Images behind the measures of pictures; rates are over all of them."""

SMALLER_IS_BETTER = ("mse", "l1")

Ask = Callable[[np.ndarray], Answer]
"""The service: from uint8 (N, H, W, 3) to its answer."""


@dataclass(frozen=True)
class Score:
    """One figure of one attack.

    Attributes:
        secret: the label, or IMAGE.
        measure: `secret_auc`, `ssim`, `reprint_accuracy`, ...
        value, low, high: the figure and its interval, of `n` images.
    """

    secret: str
    measure: str
    value: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `record` gave."""
        return cls(**record)

    @property
    def most(self) -> float:
        """The end of the interval that is better for the attacker."""
        return self.low if self.measure in SMALLER_IS_BETTER else self.high

    @property
    def least(self) -> float:
        """The end of the interval that the attacker is sure to reach."""
        return self.high if self.measure in SMALLER_IS_BETTER else self.low

    def beats(self, other: float) -> bool:
        """Whether it is better, for the attacker, than that value of the same measure."""
        return self.value < other if self.measure in SMALLER_IS_BETTER else self.value > other

    def surely_beats(self, other: "Score") -> bool:
        """Whether it is better by more than both intervals."""
        return self.high < other.low if self.measure in SMALLER_IS_BETTER else self.low > other.high


def score_secrets(
    guess: Guess, truth: Mapping[str, np.ndarray], train: Mapping[str, np.ndarray], classes: Mapping[str, int]
) -> list[Score]:
    """Accuracy, balanced accuracy and, for two classes, AUC of every secret, on the images whose label is known.

    Balanced accuracy is that of the scores less the log frequency of each value in training, which is best for it
    (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).

    Args:
        truth: for each secret int64 (N,).
        train: labels of the training images, for the frequencies.
        classes: for each secret, the number of its values.
    """
    found = []
    for secret, count in classes.items():
        known = truth[secret] != UNKNOWN
        labels, scores = truth[secret][known], guess.scores[secret][known].astype(np.float64)
        if not len(labels):
            continue
        seen = np.bincount(train[secret][train[secret] != UNKNOWN], minlength=count)
        balanced = scores - np.log((seen + 1) / (seen.sum() + count))
        figures = {
            "secret_accuracy": metrics.accuracy(scores.argmax(axis=1), labels),
            "secret_balanced_accuracy": metrics.balanced_accuracy(balanced.argmax(axis=1), labels),
        }
        if count == 2 and len(np.unique(labels)) == 2:
            figures["secret_auc"] = metrics.auc(scores[:, 1] - scores[:, 0], labels)
        found += [Score(secret, name, *estimate, len(labels)) for name, estimate in figures.items()]
    return found


def score_images(restored: np.ndarray, truth: Split, ask: Ask) -> list[Score]:
    """How near restored images are to the originals, and whether the service still works on them (reprint accuracy).

    Args:
        restored: uint8 (N, H, W, 3).
        truth: the originals with their labels, in the same order.

    Raises:
        UsageError: another number of images.
    """
    if restored.shape != truth.images.shape:
        raise UsageError(f"restored {restored.shape} are not originals {truth.images.shape}. Cure: one for each")
    names = ["mse", "l1", "psnr"]
    if min(restored.shape[1:3]) >= metrics.WINDOW:
        names += ["ssim", "ms_ssim"]
    few, others = restored[:SAMPLE], truth.images[:SAMPLE]
    found = [
        Score(IMAGE, name, *metrics.mean_interval(getattr(metrics, name)(few, others)), len(few)) for name in names
    ]
    for target, labels in ask(restored).labels().items():
        if target in truth.labels:
            estimate = metrics.accuracy(labels, truth.labels[target])
            found.append(Score(IMAGE, f"reprint_accuracy_{target}", *estimate, len(labels)))
    return found


def headline(scores: list[Score], secret: str) -> str:
    """The measure by which leaks are told: AUC for two classes, else balanced accuracy; for images SSIM, else L1."""
    there = {score.measure for score in scores if score.secret == secret}
    order = ("ssim", "l1") if secret == IMAGE else ("secret_auc", "secret_balanced_accuracy")
    return next(name for name in order if name in there)
