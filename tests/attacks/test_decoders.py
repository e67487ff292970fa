"""The attacks that train a decoder: what they restore from originals, and from nothing."""

from dataclasses import replace

import numpy as np
import pytest

from dapter import metrics
from dapter.attacks import Sealed
from dapter.attacks.adversarial import Adversarial
from dapter.attacks.answer_image import AnswerImage
from dapter.attacks.partition import ATTACKERS, Partition
from dapter.attacks.reconstruction import Reconstruction
from dapter.cells import Subject
from dapter.defences import build_defence
from dapter.errors import UsageError
from dapter.loop import CURVE, Plan
from dapter.runs import Run
from planted import make_secret_data

PLAN = Plan(epochs=10, batch_size=32, bfloat16=False, augment=False)
DATA = make_secret_data(counts=(320, 64, 64))
TRUTH = DATA.splits["test"].images
DECODERS = {
    "symmetric": (Reconstruction("symmetric", "l2", width=8, plan=PLAN, learning_rate=1e-2), 0.3),
    "unet": (Reconstruction("unet", "ssim", width=8, plan=PLAN, learning_rate=1e-2), 0.5),
    "adversarial": (Adversarial(width=8, plan=PLAN, learning_rate=1e-2), 0.5),
    "deconvolution": (Partition("deconvolution", 1, 8, PLAN, 1e-2), 0.3),
    "dense": (Partition("dense", 1, 16, PLAN), 0.2),
    "sparse": (Partition("sparse", 1, 16, PLAN), 0.05),
}
"""Each with the leak of originals that it must reach in that little training; all values at once is hard to learn."""


def restore(attack, defence, service, folder):
    subject = Subject(build_defence(defence, {}).setup(), service, DATA)
    return attack.run(subject.view(None), Sealed(lambda: subject.observe("test")), 0, Run(folder)).test.images


@pytest.fixture(scope="module")
def floor(service, tmp_path_factory):
    """SSIM of the best image that the answer alone gives."""
    plan = replace(PLAN, epochs=5)
    images = (
        restore(AnswerImage(objective, plan), "identity", service, tmp_path_factory.mktemp("floor"))
        for objective in (None, "ssim")
    )
    return max(metrics.ssim(each, TRUTH).mean() for each in images)


@pytest.mark.parametrize(("attack", "least"), DECODERS.values(), ids=DECODERS)
def test_identity_is_restored(attack, least, service, floor, tmp_path):
    reached = metrics.ssim(restore(attack, "identity", service, tmp_path), TRUTH).mean()
    assert (reached - floor) / (1 - floor) > least


@pytest.mark.parametrize(("attack", "least"), DECODERS.values(), ids=DECODERS)
def test_nothing_is_restored_from_a_constant(attack, least, service, floor, tmp_path):
    restored = restore(replace(attack, plan=replace(PLAN, epochs=3)), "constant", service, tmp_path)
    assert np.ptp(restored, axis=0).max() <= 1
    assert metrics.ssim(restored, TRUTH).mean() < floor + 0.03 * (1 - floor)


def test_the_adversary_stays_in_balance(service, tmp_path):
    """The critic is left in doubt (1/4), and the images come nearer all the time."""
    restore(DECODERS["adversarial"][0], "identity", service, tmp_path)
    curve = Run(tmp_path).read_lines(CURVE)
    doubts = [point["critic"] for point in curve if "critic" in point]
    losses = [point["val_loss"] for point in curve if "val_loss" in point]
    assert 0.1 < np.mean(doubts[-10:]) < 0.4
    assert losses[-1] < 1.05 * min(losses) < 0.5 * losses[0]


def test_the_eight_attackers_differ():
    suite = Partition.suite("cpu")
    assert len({(each.family, each.depth, each.width) for each in suite}) == len(ATTACKERS) == 8
    assert {each.family for each in suite} == {"deconvolution", "dense", "sparse"}


def test_settings_that_cannot_work():
    for wrong in ({"family": "unet"}, {"depth": 0}, {"width": 0}):
        with pytest.raises(UsageError, match=r"is none of|at least 1"):
            Partition(**wrong)
    with pytest.raises(UsageError, match="0 or more"):
        Adversarial(weight=-1)
