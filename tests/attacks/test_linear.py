"""What a linear map reads: of what lies under something louder, and of more values than it can solve for."""

import numpy as np
import pytest

from dapter import metrics
from dapter.attacks import Sealed, _linear
from dapter.attacks.linear import LinearRecognition
from dapter.attacks.linear_image import LinearImage
from dapter.data import UNKNOWN
from dapter.runs import Run
from dapter.types import Answer, Known, Observed, View

CHANNELS = 8


def known(payloads, originals=None, hats=None):
    answer = Answer({"smile": np.zeros((len(payloads), 2), np.float32)})
    return Known(payloads, answer, originals, None if hats is None else {"hat": hats})


def attack(kind, draw, tmp_path, n=(1024, 256, 256)):
    """The outcome of an attack on what `draw` gives, and the truth."""
    train, val, test = map(draw, n)
    sealed = Sealed(lambda: Observed(test.payloads, test.answers))
    return kind().run(View(train, val, {"hat": 2}), sealed, 0, Run(tmp_path)).test, test


def loud(rng, faint):
    """Features with something faint, (n, h, w, CHANNELS), below a loudness of each image's own."""
    return (rng.normal(0, 30, (len(faint), 1, 1, 1)) + faint).astype(np.float16)


@pytest.mark.parametrize("most", [300, 200], ids=["solved for", "summed up"])
def test_what_each_image_drowns_by_a_loudness_of_its_own_is_read(most, tmp_path, monkeypatch):
    monkeypatch.setattr(_linear, "MOST", most)
    rng = np.random.default_rng(0)
    pattern = rng.choice([-0.3, 0.3], (6, 6, CHANNELS))

    def draw(n):
        hats = rng.integers(0, 2, n)
        faint = rng.normal(0, 1, (n, 6, 6, CHANNELS)) + np.where(hats, 1, -1)[:, None, None, None] * pattern
        return known(loud(rng, faint), hats=np.where(rng.random(n) < 0.3, UNKNOWN, hats))

    guess, truth = attack(LinearRecognition, draw, tmp_path)
    right = guess.scores["hat"].argmax(axis=1) == truth.secrets["hat"]
    assert right[truth.secrets["hat"] != UNKNOWN].mean() > 0.95


def test_where_nothing_is_told_the_scores_say_how_frequent_values_are(tmp_path):
    rng = np.random.default_rng(0)

    def draw(n):
        payloads = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        return known(payloads, hats=(rng.random(n) < 0.2).astype(np.int64))

    guess, _ = attack(LinearRecognition, draw, tmp_path)
    odds = guess.scores["hat"][:, 1] - guess.scores["hat"][:, 0]
    assert 1 / (1 + np.exp(-odds.mean())) == pytest.approx(0.2, abs=0.07)
    assert odds.std() < 0.5


@pytest.mark.parametrize("side", [12, 36], ids=["solved for", "enlarged"])
def test_an_image_is_restored_from_a_linear_map_of_it(side, tmp_path):
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 1, (4 * 4 * 3, 16 * CHANNELS))

    def draw(n):
        small = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
        faint = (small.reshape(n, -1) / 255 - 0.5) @ mixing
        images = small.repeat(side // 4, axis=1).repeat(side // 4, axis=2)
        return known(loud(rng, faint.reshape(n, 4, 4, CHANNELS)), images)

    guess, truth = attack(LinearImage, draw, tmp_path)
    assert guess.images.shape == truth.originals.shape
    assert metrics.ssim(guess.images, truth.originals).mean() > 0.9
