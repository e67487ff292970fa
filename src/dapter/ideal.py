"""What a secret's correlation with the target gives away to whoever knows the true target (DAPter, Eq. 5 and 6).

Our reading: the paper's text was not at hand. Pure functions.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dapter import metrics
from dapter.data import UNKNOWN, Split
from dapter.metrics import Estimate


def ideal_accuracy(train: Split, test: Split, targets: Sequence[str], secret: str) -> tuple[Estimate, int]:
    """`Acc_ideal`: how often the best guess of a secret from the true target label alone is right (Eq. 5).

    The guess for each value of the target (of several targets: each combination) is the value of the secret that is
    most frequent with it in training, the most frequent of all where training has none; the expectation is the sum
    over the target's values t of P(t) max_s P(s | t). It is scored on `test`, where the secret is known.

    Returns:
        The accuracy with Wilson's interval, and the number of images.

    Raises:
        UsageError: the secret is known of no image.
    """
    guesses = _most_frequent(train.labels, targets, secret)
    known = test.labels[secret] != UNKNOWN
    truth = test.labels[secret][known]
    usual = guesses[()]
    said = [guesses.get(tuple(row), usual) for row in zip(*(test.labels[name][known] for name in targets), strict=True)]
    return metrics.accuracy(np.array(said, np.int64), truth), len(truth)


def times_vanilla(ideal: Estimate, vanilla: Estimate) -> Estimate:
    """`Acc_ideal x Acc_vanilla` (Eq. 6), vanilla being the accuracy of the best recogniser of originals.

    The interval is that of two figures that move together, which is the widest that two intervals allow: how they move
    on the same images is not known.
    """
    value, low, high = (float(one * other) for one, other in zip(ideal, vanilla, strict=True))
    return Estimate(value, low, high)


def _most_frequent(labels: Mapping[str, np.ndarray], targets: Sequence[str], secret: str) -> dict[tuple[int, ...], int]:
    """For each combination of target values the most frequent secret; for () that of all."""
    known = labels[secret] != UNKNOWN
    values = labels[secret][known]
    found: dict[tuple[int, ...], int] = {(): int(np.bincount(values).argmax())}
    rows = np.stack([labels[name][known] for name in targets], axis=1)
    for row in np.unique(rows, axis=0):
        found[tuple(row.tolist())] = int(np.bincount(values[(rows == row).all(axis=1)]).argmax())
    return found
