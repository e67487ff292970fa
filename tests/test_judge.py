"""The judge of restored images: trained once, on originals; what it says of them."""

from dataclasses import replace

import numpy as np
import pytest

from dapter import judge as module
from dapter.data import IDENTITY, load_data
from dapter.judge import find_judge
from dapter.loop import Plan
from dapter.runs import list_runs
from dapter.scoring import headline, score_images
from dapter.types import Answer, Guess
from planted import make_secret_data

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "PLAN", Plan(epochs=8, batch_size=32, bfloat16=False))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(scope="module")
def portraits():
    """Drawn people, forty of them, who return in splits of their own."""
    return load_data("faces", target="Smiling", secrets=("Eyeglasses", IDENTITY), n=640, size=16, identities=40)


def ask(images):
    return Answer({"none": np.zeros((len(images), 1))})


def scores(restored, data, judge, split="test"):
    return {score.measure: score for score in score_images(restored, data.splits[split], ask, judge)}


def test_it_is_trained_once_and_reads_the_secrets_of_originals(root, monkeypatch):
    data = make_secret_data(flip=0.0)
    judge = find_judge(data, root)
    found = scores(data.splits["test"].images, data, judge)
    assert found["reprint_secret_auc_shape"].value > 0.95
    assert found["perceptual_distance"].value == pytest.approx(0, abs=1e-6)
    assert "reid_auc" not in found
    monkeypatch.setattr(module, "train_net", None)
    again = find_judge(data, root)
    assert np.array_equal(
        again.read(data.splits["val"].images).scores["shape"], judge.read(data.splits["val"].images).scores["shape"]
    )
    assert [entry.path.name[:12] for entry in list_runs(root)] == ["judge-shapes"]


def test_it_never_sees_the_test_split(root, monkeypatch):
    data = make_secret_data(counts=(48, 32, 24))

    class Tripwire(dict):
        def __getitem__(self, name):
            assert name != "test"
            return super().__getitem__(name)

    find_judge(replace(data, splits=Tripwire(data.splits)), root)


def test_perceptual_distance_grows_with_damage_and_sees_blur(root):
    data = make_secret_data(flip=0.0)
    judge, images = find_judge(data, root), data.splits["test"].images
    noise = RNG.normal(size=images.shape)
    worse = [(images + strength * noise).clip(0, 255).astype(np.uint8) for strength in (5, 20, 80)]
    distances = [judge.distance(each, images).mean() for each in (images, *worse)]
    assert distances == sorted(distances)
    assert distances[0] < 1e-6 < distances[1]
    assert distances[-1] < 2
    mean = np.stack([images.mean(axis=0).astype(np.uint8)] * len(images))
    assert judge.distance(mean, images).mean() > distances[2]
    assert judge.distance(mean, images).shape == (len(images),)


def test_people_are_found_again_in_originals_and_not_in_grey(portraits, root):
    judge, images = find_judge(portraits, root), portraits.splits["test"].images
    perfect, grey = (scores(each, portraits, judge) for each in (images, np.full_like(images, 128)))
    assert headline(list(perfect.values()), IDENTITY) == "reid_auc"
    assert perfect["reid_auc"].secret == IDENTITY
    assert perfect["reid_auc"].low > 0.6
    assert perfect["reid_auc"].n == len(np.unique(portraits.splits["test"].labels[IDENTITY]))
    assert perfect["reid_rank1"].low > 1 / perfect["reid_auc"].n
    assert grey["reid_auc"].low <= 0.5 <= grey["reid_auc"].high
    assert portraits.readable == ("Eyeglasses",)
    assert set(judge.classes) == {"Eyeglasses"}


class Known:
    """A judge to whom the first pixel is the person."""

    classes, train = {}, {}

    def read(self, images):
        return Guess()

    def distance(self, images, others):
        return np.zeros(len(images))

    def embed(self, images):
        angle = images[:, 0, 0, 0] / 100
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_the_original_of_the_image_itself_is_no_match(portraits):
    """Four people with two photos each, one of them twisted: only the other photo counts."""
    images = np.zeros((9, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = [0, 0, 50, 50, 100, 100, 150, 20, 200]
    people = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])  # the last has one photo only, and is not sought
    split = replace(portraits.splits["test"], images=images, labels={IDENTITY: people})
    found = {score.measure: score for score in score_images(images[:8], split, ask, Known())}
    assert (found["reid_auc"].n, found["reid_rank1"].n) == (4, 4)  # of people, whose photos are not independent
    assert found["reid_rank1"].value == 6 / 8
    assert 0.5 < found["reid_auc"].value < 1


def test_images_without_labels_have_no_judge(tmp_path):
    data = make_secret_data(counts=(16, 8, 8))
    assert find_judge(replace(data, targets=(), secrets=()), tmp_path) is None
