import numpy as np
import pytest

from dapter.data import Split
from dapter.ideal import ideal_accuracy, times_vanilla
from dapter.metrics import Estimate

NOTHING = np.zeros((0, 2, 2, 3), np.uint8)


def split(**labels):
    return Split(NOTHING, {name: np.array(values) for name, values in labels.items()})


def test_the_guess_is_what_is_most_frequent_with_the_true_target_in_training():
    train = split(target=[0, 0, 0, 1, 1, 1], secret=[0, 0, 1, 1, 1, 0])
    test = split(target=[0, 0, 1, 1], secret=[0, 1, 1, 1])
    found, n = ideal_accuracy(train, test, ["target"], "secret")
    assert (found.value, n) == (0.75, 4)
    assert found.low < 0.75 < found.high


def test_on_the_training_images_it_is_the_expectation():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 5000)
    secret = np.where(rng.random(5000) < 0.7, target, rng.integers(0, 3, 5000))
    both = split(target=target, secret=secret)
    table = np.zeros((3, 3))
    np.add.at(table, (target, secret), 1 / 5000)
    assert ideal_accuracy(both, both, ["target"], "secret")[0].value == pytest.approx(table.max(axis=1).sum())


def test_unknown_labels_and_combinations_that_training_has_not():
    train = split(first=[0, 0, 1, 1], second=[0, 0, 1, 1], secret=[1, -1, 1, 0])
    test = split(first=[0, 0, 0], second=[0, 1, 1], secret=[1, 1, -1])
    found, n = ideal_accuracy(train, test, ["first", "second"], "secret")
    assert (found.value, n) == (1.0, 2)


def test_times_vanilla_multiplies_the_ends():
    found = times_vanilla(Estimate(0.5, 0.4, 0.6), Estimate(0.8, 0.7, 0.9))
    assert found == pytest.approx((0.4, 0.28, 0.54))
