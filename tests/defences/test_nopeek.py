import numpy as np
import pytest
import torch

from dapter.defences.nopeek import Nopeek, distance_correlation
from dapter.defences.split_inference import SplitInference
from probe import TASK, batch_of, flags, learn

SMALL = {"width": 4, "blocks": 1}


def by_hand(x, y):
    """Székely, Rizzo, Bakirov 2007, Definitions 4 and 5, in loops."""

    def centred(values):
        n = len(values)
        d = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in values] for a in values])
        return np.array([[d[k, j] - d[k].mean() - d[:, j].mean() + d.mean() for j in range(n)] for k in range(n)])

    a, b = centred(x), centred(y)
    return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def test_distance_correlation_is_that_of_its_authors():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(12, 2, 2))
    found = distance_correlation(torch.from_numpy(x), torch.from_numpy(y))
    assert float(found) == pytest.approx(by_hand(x, y.reshape(12, 4)), rel=1e-4)


def test_it_is_1_for_the_same_and_small_for_the_unrelated():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    assert float(distance_correlation(x, 3 * x + 1)) == pytest.approx(1, abs=1e-4)
    assert float(distance_correlation(x, y)) < 0.25
    assert float(distance_correlation(x, x.square())) > 0.3, "dependence that no correlation sees"


def test_features_that_say_nothing_break_nothing():
    features = torch.zeros(8, 3, requires_grad=True)
    found = distance_correlation(torch.randn(8, 3), features)
    assert float(torch.autograd.grad(found, features)[0].abs().max()) < 1e3


def test_alpha_weighs_it():
    defence = Nopeek(**SMALL, alpha=2.5).setup(0, None, TASK)
    losses = {name: value.detach() for name, value in defence.losses(batch_of(flags(32, seed=0)), None).items()}
    assert float(losses["loss"]) == pytest.approx(float(losses["accuracy"] + 2.5 * losses["privacy"]), rel=1e-6)


def test_training_lowers_it():
    """The features of NoPeek depend less on the image than those of a network that was trained for the answer alone."""
    batch = batch_of(flags(128, seed=7))
    fast = {**SMALL, "learning_rate": 5e-3}
    defences = learn(SplitInference(**fast), 80), learn(Nopeek(**fast, alpha=5.0), 80)
    with torch.no_grad():
        without, with_it = (distance_correlation(batch.images, each.client()(batch.images)) for each in defences)
    assert with_it < without - 0.1


def test_no_image_is_louder_than_another():
    sent = learn(Nopeek(**SMALL), 3).protect(flags(8, seed=4).images).values
    assert np.sqrt(np.square(sent).sum(axis=(1, 2, 3))) == pytest.approx(1, abs=1e-4)
