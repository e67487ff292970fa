"""The budget converter with stamps that are replaced at random."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dapter import bits
from dapter.batches import batches
from dapter.defences._answers import one_hot
from dapter.defences._seen import says_of_each
from dapter.defences.budget import Budget
from dapter.errors import UsageError
from dapter.exporting import subject_of
from dapter.train import load_defence, train
from helpers import PLAN

SETTINGS = {"width": 4, "grid": 2, "stamps": "flat", "alphabet": 27, "budget_bits": 2.0}
FLIP = 0.3


@pytest.fixture(scope="module")
def flipping(data, service, tmp_path_factory):
    """Trained with flips, and loaded."""
    plan = replace(PLAN, epochs=30)
    root = tmp_path_factory.mktemp("flipping")
    return load_defence(train(Budget(**SETTINGS, flip=FLIP), service, data, plan, root=root))


def test_whether_it_draws_depends_on_the_setting():
    assert not Budget(**SETTINGS).random
    assert Budget(**SETTINGS, flip=FLIP).random


def test_stamps_are_replaced_as_often_as_is_published(flipping, data):
    images = np.repeat(data.splits["test"].images, 50, axis=0)
    without = replace(flipping, flip=0.0)
    without.learner = flipping.learner
    before, after = (each.indices(each.protect(images)) for each in (without, flipping))
    assert np.mean(before != after) == pytest.approx(FLIP * 26 / 27, abs=0.02)
    assert not np.array_equal(after, flipping.indices(flipping.protect(images)))
    one, other = (flipping.protect(images[:9], seed=4).pixels for _ in range(2))
    assert np.array_equal(one, other)


def test_no_seed_of_torch_or_numpy_decides_what_leaves(flipping, data):
    images = data.splits["test"].images
    sent = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        sent.append(flipping.protect(images).pixels)
    assert not np.array_equal(*sent)


def test_it_learns_to_be_read_through_the_flips(flipping, service, data):
    """Trained with flips it survives them better than one that was not."""
    split = data.splits["test"]
    images, truth = np.repeat(split.images, 10, axis=0), np.repeat(split.labels["colour"], 10)
    right = np.mean(service.answer(flipping.protect(images, seed=0)).labels()["colour"] == truth)
    assert right > 0.7


def test_figures_with_flips_hold(flipping, service, data):
    split = data.splits["test"]
    payload = flipping.protect(split.images, seed=0)
    figures = flipping.figures(split, payload, service.answer(payload))
    found = {entry["measure"]: entry for entry in figures}
    assert found["capacity_bits"]["value"] == pytest.approx(bits.capacity_bits(4, 27, FLIP))
    assert found["epsilon"]["value"] == pytest.approx(4 * np.log(1 + 27 * (1 - FLIP) / FLIP))
    assert {found[name]["grade"] for name in ("capacity_bits", "epsilon", "budget_bits")} == {"guaranteed"}
    assert found["bits_beyond_answer"]["grade"] == "estimated"
    assert found["bits_beyond_answer"]["value"] <= found["capacity_bits"]["value"] < found["budget_bits"]["value"]
    assert found["bits_total"]["high"] > 0


def test_equal_stamps_make_no_noise(data, service):
    """The bound subtracts the entropy of the noise: flips between stamps that look the same are none."""
    kept = Budget(width=4, flip=0.5).setup(0, service)
    kept.losses(next(batches(data.splits["val"], 16, torch.device("cpu"))), service)
    with torch.no_grad():
        kept._painter.stamps[1:] = kept._painter.stamps[1]
    split = data.splits["test"]
    payload = kept.protect(split.images, seed=0)
    found = {entry["measure"]: entry["value"] for entry in kept.figures(split, payload, service.answer(payload))}
    assert found["capacity_bits"] == pytest.approx(bits.capacity_bits(1, 2, 0.5))
    assert found["budget_bits"] == 1
    assert np.mean(kept.indices(payload)) == pytest.approx(0.5, abs=0.3)


def test_one_cell_is_trained_for_its_flips(data, service):
    """The expectation is over the flips, too."""
    kept = Budget(width=4, flip=FLIP).setup(0, service)
    kept.learner.nets.train()
    batch = next(batches(data.splits["train"], 16, torch.device("cpu")))
    with torch.no_grad():
        flipped = kept.losses(batch, service)["accuracy"]
        wanted = one_hot(batch.labels["colour"], 2)
        even = -(wanted @ says_of_each(kept._painter, service, batch.images).T).mean()
        kept._painter.flip = 0.0
        still = kept.losses(batch, service)["accuracy"]
    assert float(flipped) == pytest.approx(float((1 - FLIP) * still + FLIP * even), rel=1e-3)


def test_in_training_flips_follow_the_seed_of_the_step(data, service):
    batch = next(batches(data.splits["train"], 16, torch.device("cpu")))
    losses = []
    for _ in range(2):
        kept = Budget(**SETTINGS, flip=FLIP).setup(0, service)
        kept.learner.nets.train()
        torch.manual_seed(7)
        losses.append([kept.update(batch, service)["loss"] for _ in range(3)])
    assert losses[0] == losses[1]


def test_it_is_not_exported(flipping):
    with pytest.raises(UsageError, match="flip"):
        subject_of(flipping, None)
