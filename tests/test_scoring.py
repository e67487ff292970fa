import numpy as np
import pytest

from dapter.data import Split
from dapter.errors import UsageError
from dapter.scoring import IMAGE, Score, headline, score_images, score_secrets
from dapter.types import Answer, Guess

RNG = np.random.default_rng(0)


def test_unknown_labels_are_left_out():
    truth = {"hat": np.array([0, 1, -1, 1]), "size": np.array([-1, -1, -1, -1])}
    right = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    found = score_secrets(Guess({"hat": right, "size": right}), truth, truth, {"hat": 2, "size": 2})
    assert {score.measure: (score.value, score.n) for score in found} == {
        "secret_accuracy": (1, 3),
        "secret_balanced_accuracy": (1, 3),
        "secret_auc": (1, 3),
    }


def test_a_rare_secret_is_read_at_the_balanced_threshold():
    """With 5 % hats the likelier answer is always 'none'; the balanced one still tells who wears one."""
    labels = (np.arange(1000) % 20 == 0).astype(np.int64)
    odds = np.where(labels == 1, 0.3, 0.01)  # probabilities that are calibrated well enough
    guess = Guess({"hat": np.log(np.stack([1 - odds, odds], axis=1))})
    found = {score.measure: score.value for score in score_secrets(guess, {"hat": labels}, {"hat": labels}, {"hat": 2})}
    assert found["secret_accuracy"] == 0.95
    assert found["secret_balanced_accuracy"] == found["secret_auc"] == 1


def test_more_than_two_classes_have_no_auc():
    labels = RNG.integers(0, 3, 60)
    guess = Guess({"class": np.eye(3)[labels]})
    found = score_secrets(guess, {"class": labels}, {"class": labels}, {"class": 3})
    assert {score.measure for score in found} == {"secret_accuracy", "secret_balanced_accuracy"}
    assert headline(found, "class") == "secret_balanced_accuracy"


def ask(images):
    """A service that tells bright from dark."""
    bright = images.mean(axis=(1, 2, 3)) / 255
    return Answer({"bright": np.stack([1 - bright, bright], axis=1)})


def truth(size):
    images = RNG.integers(0, 256, (20, size, size, 3)).astype(np.uint8)
    return Split(images, {"bright": ask(images).labels()["bright"]})


def test_the_original_is_perfect_and_its_negative_is_not():
    split = truth(16)
    perfect = {score.measure: score.value for score in score_images(split.images, split, ask)}
    assert perfect == pytest.approx(
        {"mse": 0, "l1": 0, "psnr": 100, "ssim": 1, "ms_ssim": 1, "reprint_accuracy_bright": 1}, abs=1e-6
    )
    negative = {score.measure: score.value for score in score_images(255 - split.images, split, ask)}
    assert negative["ssim"] < 0
    assert negative["reprint_accuracy_bright"] < 0.5


def test_small_images_and_unlabelled_targets_have_fewer_scores():
    split = Split(truth(8).images, {})
    found = score_images(split.images, split, ask)
    assert [score.measure for score in found] == ["mse", "l1", "psnr"]
    assert headline(found, IMAGE) == "l1"
    assert {score.n for score in score_images(split.images[:3], split, ask)} == {3}
    for wrong in (np.concatenate([split.images, split.images]), split.images[:, :4]):
        with pytest.raises(UsageError, match="one for each"):
            score_images(wrong, split, ask)


def test_of_errors_the_smaller_is_better():
    small, large = Score(IMAGE, "mse", 0.1, 0.09, 0.11, 9), Score(IMAGE, "mse", 0.2, 0.19, 0.21, 9)
    assert small.beats(large.value)
    assert small.surely_beats(large)
    assert not large.surely_beats(small)
    assert (small.most, Score("hat", "secret_auc", 0.7, 0.6, 0.8, 9).most) == (0.09, 0.8)
    assert Score.from_record(small.record()) == small
