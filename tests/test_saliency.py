import numpy as np
import pytest
import torch
from torch import nn

from dapter.data import Split
from dapter.errors import MissingExtra, UsageError
from dapter.nets.classifiers import build_classifier
from dapter.saliency import attention, attention_consistency, correlation, importance
from dapter.service.classifier import Classifier, Service
from dapter.types import Payload
from helpers import CLASSES, make_service

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
NONE = np.zeros(6, np.int64)


class Brightness(nn.Module):
    """Class 1 is brightness of red, class 0 of green: where it looks is known."""

    def __init__(self):
        super().__init__()
        self.place = nn.Conv2d(3, 2, 1, bias=False)
        self.place.weight.data = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])[:, :, None, None]

    def forward(self, x):
        return torch.relu(self.place(x)).mean(dim=(2, 3))


@pytest.fixture
def brightness():
    return Classifier(Brightness(), "colour", CLASSES["colour"]).freeze()


def spots(channel, top, left):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[:, top : top + 4, left : left + 4, channel] = 255
    return images


def test_attention_is_where_the_class_is(brightness):
    images = spots(0, 2, 10)
    images[:, 9:13, 3:7, 1] = 255
    red, green = (attention(brightness, images, np.full(2, label)) for label in (1, 0))
    assert red.shape == (2, 16, 16)
    assert red.dtype == np.float32
    assert red[:, 2:6, 10:14].min() > 0
    assert red[:, 2:6, 10:14].sum() == pytest.approx(red.sum())
    assert green[:, 9:13, 3:7].sum() == pytest.approx(green.sum())
    assert green.sum() > 0


def test_attention_that_stays_is_consistent_and_attention_that_moves_is_not(brightness):
    images = spots(0, 2, 10)
    assert attention_consistency(brightness, images, images).value == 1
    assert attention_consistency(brightness, images, images // 2 + 100).value > 0.99
    assert attention_consistency(brightness, images, spots(0, 9, 3)).value < 0.1
    assert attention_consistency(brightness, images, np.full_like(images, 128)).value == 0


@pytest.mark.parametrize("arch", ["lenet", "resnet18", "vgg11"])
def test_attention_of_every_architecture(arch):
    torch.manual_seed(0)
    classifier = Service(Classifier(build_classifier(arch, 2, 4), "colour", CLASSES["colour"])).classifiers["colour"]
    maps = attention(classifier, IMAGES, NONE)
    assert maps.shape == (6, 16, 16)
    assert maps.min() >= 0
    assert attention_consistency(classifier, IMAGES, IMAGES).value == 1


def test_correlation():
    maps = np.random.default_rng(1).random((4, 8, 8)).astype(np.float32)
    assert correlation(maps, 2 * maps + 1) == pytest.approx(1)
    assert correlation(maps, -maps) == pytest.approx(-1)
    flat = np.zeros_like(maps)
    assert correlation(maps, flat).tolist() == [0] * 4
    assert correlation(flat, flat).tolist() == [1] * 4
    with pytest.raises(UsageError, match="same count"):
        correlation(maps, maps[:2])


def test_a_row_of_the_matrix_has_a_rate_for_every_classifier():
    service = make_service("colour", "shape")
    truth = Split(IMAGES, {"colour": NONE})
    usual, grey = (service.answer(Payload(images)) for images in (IMAGES, np.full_like(IMAGES, 128)))
    cells = {(entry.target, entry.measure): entry for entry in importance(usual, usual, truth)}
    assert set(cells) == {("colour", "agreement"), ("colour", "target_accuracy"), ("shape", "agreement")}
    assert cells["colour", "agreement"].value == cells["shape", "agreement"].value == 1
    for entry in [*cells.values(), *importance(grey, usual, truth)]:
        assert entry.low <= entry.value <= entry.high
        assert entry.n == 6
    with pytest.raises(UsageError, match="6 answers on colour, 3 originals"):
        importance(usual, usual, truth.head(3))


def test_errors_say_the_cure(brightness, monkeypatch):
    with pytest.raises(UsageError, match="one for each"):
        attention(brightness, IMAGES, NONE[:2])
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), "colour", CLASSES["colour"])
    with pytest.raises(UsageError, match="name the layer"):
        attention(linear, IMAGES, NONE)
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MissingExtra, match="saliency"):
        attention(brightness, IMAGES, NONE)
