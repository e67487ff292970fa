"""Recognition of payloads that are features."""

import numpy as np

from dapter.attacks import Sealed
from dapter.attacks.recognition import ON_VECTORS, Recognition
from dapter.cells import Subject
from dapter.defences import Task, build_defence
from dapter.loop import CURVE, Plan
from dapter.runs import Run
from dapter.types import Answer, Known, Observed, View
from planted import make_secret_data


def test_vectors_take_more_epochs(service, tmp_path):
    data = make_secret_data(counts=(48, 32, 24))
    subject = Subject(build_defence("hybrid", {"width": 4}).setup(0, service, Task.of(data)), service, data)
    attack = Recognition("cnn", width=4, plan=Plan(epochs=1, batch_size=16, bfloat16=False))
    attack.run(subject.view(None), Sealed(lambda: subject.observe("test")), 0, run := Run(tmp_path))
    assert sum("val_loss" in point for point in run.read_lines(CURVE)) == ON_VECTORS


def recognised(rng, payloads_of, tmp_path):
    """Of new images the share whose hat a recogniser tells from features, float (N, h, w, C), drawn for their hats."""

    def draw(n):
        hats = rng.integers(0, 2, n)
        answers = Answer({"smile": np.zeros((n, 2), np.float32)})
        return Known(payloads_of(hats[:, None, None, None]).astype(np.float16), answers, None, {"hat": hats})

    train, val, test = draw(512), draw(128), draw(256)
    attack = Recognition("cnn", width=8, plan=Plan(epochs=6, batch_size=32))
    sealed = Sealed(lambda: Observed(test.payloads, test.answers))
    outcome = attack.run(View(train, val, {"hat": 2}), sealed, 0, Run(tmp_path))
    return (outcome.test.scores["hat"].argmax(axis=1) == test.secrets["hat"]).mean()


def test_what_lies_on_a_loud_picture_is_read(tmp_path):
    """All features share a picture; what tells the secret is a three-hundredth of it, more than float16 rounds away."""
    rng = np.random.default_rng(0)
    loud = rng.normal(0, 1, (8, 8, 4))
    told = recognised(rng, lambda hats: loud + 0.003 * rng.normal(hats - 0.5, 1, (len(hats), 8, 8, 4)), tmp_path)
    assert told > 0.9


def test_what_noise_leaves_in_a_few_places_is_read(tmp_path):
    """Noise is a hundred times as loud as the features, but for one place in ten."""
    rng = np.random.default_rng(0)
    noise = np.where(rng.random((8, 8, 4)) < 0.1, 0.5, 50)
    told = recognised(rng, lambda hats: hats - 0.5 + noise * rng.normal(0, 1, (len(hats), 8, 8, 4)), tmp_path)
    assert told > 0.9
