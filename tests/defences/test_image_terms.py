"""The defences that hide the image do it: of what they send less is restored with that term than without.

Images are sixteen patches; the first says the answer, all others are of no use for it. The restorer is a ridge
regression, which no defence trains against.
"""

import numpy as np
import pytest

import probe
from dapter.defences.deepobfuscator import DeepObfuscator
from dapter.defences.nopeek import Nopeek
from dapter.defences.pan import Pan
from dapter.defences.partition import Partition

RIDGES = 10.0 ** np.arange(-6, 0)
"""Each a share of the sum of all squared values that are sent."""

TRAIN, KNOWN, ATTACKED = probe.patches(512, seed=1), probe.patches(800, seed=2), probe.patches(400, seed=3)


def learn(defence, steps):
    return probe.teach(defence.setup(0, None, probe.TASK), steps, train=TRAIN)


def squares_of(split):
    return split.images[:, ::4, ::4].reshape(len(split), -1) / 255


def not_restored(defence):
    """The squared error of the best ridge, as a share of the squares' variance: 1 if nothing is restored."""
    known, attacked = (
        defence.protect(split.images, seed=place).values.reshape(len(split), -1).astype(np.float64)
        for place, split in enumerate((KNOWN, ATTACKED))
    )
    known, attacked = known - known.mean(axis=0), attacked - known.mean(axis=0)
    wanted, truth = squares_of(KNOWN), squares_of(ATTACKED)
    mean = wanted.mean(axis=0)
    inner = known @ known.T
    weights = [np.linalg.solve(inner + ridge * np.trace(inner) * np.eye(len(known)), wanted - mean) for ridge in RIDGES]
    return min(np.mean((attacked @ known.T @ each + mean - truth) ** 2) for each in weights) / truth.var()


@pytest.mark.parametrize(
    ("kind", "weight", "settings", "steps"),
    [
        (Nopeek, {"alpha": 3.0}, {"blocks": 2}, 100),
        (Pan, {"beta": 1.0}, {"blocks": 2, "alpha": 0.0}, 100),
        (DeepObfuscator, {"image_weight": 3.3}, {"blocks": 1, "hides": "image"}, 100),
        (Partition, {"lam": 1.0}, {"cut": 1, "hides": "image"}, 250),
    ],
)
def test_less_of_the_image_is_restored_with_its_term_and_the_answer_stays(kind, weight, settings, steps):
    common = {"width": 4, "learning_rate": 5e-3, **settings}
    shown = learn(kind(**common, **dict.fromkeys(weight, 0.0)), steps)
    hidden = learn(kind(**common, **weight), steps)
    assert not_restored(shown) < 0.3
    assert not_restored(hidden) > 1.2 * not_restored(shown)
    assert probe.answered(hidden, ATTACKED) > 0.95
