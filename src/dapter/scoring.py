"""How good a guess is: an attack's guesses against the truth, each figure with its n and 95 % interval."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from dapter import metrics
from dapter.data import IDENTITY, UNKNOWN, Split
from dapter.errors import UsageError
from dapter.types import TOLD, Answer, Guess

IMAGE = "image"
"""The secret that is the image itself."""

SAMPLE = 2000
"""Images behind the measures of pictures; rates are over all of them."""

GALLERY = 4000
"""Originals of a split at most, among which a person is sought."""

SMALLER_IS_BETTER = ("mse", "l1", "perceptual_distance")

Ask = Callable[[np.ndarray], Answer]
"""The service: from uint8 (N, H, W, 3) to its answer."""


class Judge(Protocol):
    """What looks at restored images, uint8 (N, H, W, 3); see `judge.Judge`."""

    @property
    def classes(self) -> Mapping[str, int]:
        """The secrets that it reads, for each the number of its values."""

    @property
    def train(self) -> Mapping[str, np.ndarray]:
        """Their labels in training, for each int64 (N,)."""

    def read(self, images: np.ndarray) -> Guess:
        """The secrets that are read in images."""

    def distance(self, images: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Perceptual distance of each pair, float64 (N,)."""

    def embed(self, images: np.ndarray) -> np.ndarray | None:
        """Who is shown, (N, values) of length 1; None where people are not known."""


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


def score_images(restored: np.ndarray, truth: Split, ask: Ask, judge: Judge | None = None) -> list[Score]:
    """How near restored images are to the originals, and what they still serve for.

    That is whether the service works on them, which secrets a recogniser of originals reads in them (both: reprint
    accuracy), and whether they lead to other photos of the same person (re-identification, of secret IDENTITY).

    Args:
        restored: uint8 (N, H, W, 3), of the first N images of the split.
        truth: the originals with their labels; those that follow are searched for other photos of the same people.
        judge: None: no perceptual distance, no secrets and no people.

    Raises:
        UsageError: more images, or of another size.
    """
    n = len(restored)
    if n > len(truth) or restored.shape[1:] != truth.images.shape[1:]:
        raise UsageError(f"restored {restored.shape} are not originals {truth.images.shape}. Cure: one for each")
    found = [
        Score(IMAGE, name, *metrics.mean_interval(each), len(each))
        for name, each in compare(restored, truth, judge).items()
    ]
    head = truth.head(n)
    for target, labels in ask(restored).labels().items():
        if target in truth.labels:
            estimate = metrics.accuracy(labels, head.labels[target])
            found.append(Score(IMAGE, f"reprint_accuracy_{target}", *estimate, n))
    if judge is not None:
        read = score_secrets(judge.read(restored), head.labels, judge.train, judge.classes)
        found += [replace(each, secret=IMAGE, measure=f"reprint_{each.measure}_{each.secret}") for each in read]
        seen, known = judge.embed(restored[:GALLERY]), judge.embed(truth.head(GALLERY).images)
        if seen is not None and known is not None:
            found += score_people(seen, known, truth)
    return found


def compare(restored: np.ndarray, truth: Split, judge: Judge | None = None) -> dict[str, np.ndarray]:
    """For each measure of pictures, its value for each of the first SAMPLE restored images; as for `score_images`."""
    few, others = restored[:SAMPLE], truth.images[: min(SAMPLE, len(restored))]
    names = ["mse", "l1", "psnr"]
    if min(restored.shape[1:3]) >= metrics.WINDOW:
        names += ["ssim", "ms_ssim"]
    found = {name: getattr(metrics, name)(few, others) for name in names}
    return found if judge is None else {**found, "perceptual_distance": judge.distance(few, others)}


def likeness(restored: np.ndarray, truth: Split) -> np.ndarray:
    """For each restored image the measure by which the leak of the image is told, float64 (N,); as `score_images`."""
    measure = metrics.ssim if min(restored.shape[1:3]) >= metrics.WINDOW else metrics.l1
    return measure(restored[:SAMPLE], truth.images[: min(SAMPLE, len(restored))])


def score_people(seen: np.ndarray, known: np.ndarray, truth: Split) -> list[Score]:
    """Whether what is seen of images is more like other originals of the same person than like those of strangers.

    Verification AUC: for each image the chance that another photo of the person is nearer than a stranger's; averaged
    over people, since photos of one person are no independent trials. Rank 1: how often the nearest is of that person,
    averaged likewise.
    The original of the image itself is left out, and people with no other photo.

    Args:
        seen: whom the first N images of the split show, (N, values) of length 1.
        known: the same of its first originals, up to GALLERY.
        truth: the labels; nothing is found without IDENTITY.
    """
    people = truth.labels.get(IDENTITY)
    if people is None:
        return []
    seen, people = seen[:GALLERY], people[: len(known)]
    found: dict[int, list[tuple[float, bool]]] = {}
    for place, (person, likeness) in enumerate(zip(people, seen @ known.T, strict=False)):
        mates = np.flatnonzero(people == person)
        mates = mates[mates != place]
        strangers = (people != person) & (people != UNKNOWN)
        if person == UNKNOWN or not len(mates) or not strangers.any():
            continue
        others = np.sort(likeness[strangers])
        told = metrics.rank_area(likeness[mates], others), likeness[mates].max() > others[-1]
        found.setdefault(int(person), []).append(told)
    if len(found) < 2:
        return []
    each = np.array([np.mean(photos, axis=0) for photos in found.values()])
    scores = []
    for name, values in zip(("reid_auc", "reid_rank1"), each.T, strict=True):
        value, low, high = metrics.mean_interval(values)
        scores.append(Score(IDENTITY, name, value, max(low, 0.0), min(high, 1.0), len(each)))
    return scores


def headline(scores: list[Score], secret: str) -> str:
    """The measure by which leaks are told: AUC for two classes, else balanced accuracy; for images SSIM, else L1."""
    there = {score.measure for score in scores if score.secret == secret}
    return next(name for name in TOLD if name in there)
