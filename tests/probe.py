"""How much of a secret a simple reader finds in what leaves, on a problem that tiny networks learn in seconds."""

from types import SimpleNamespace

import numpy as np
import torch

from dapter.batches import Batch, to_float
from dapter.data import Split
from dapter.defences import Task
from helpers import make_service

TASK = Task({"colour": 2}, {"shape": 2}, (16, 16))


def flags(n, seed):
    """Grey noise, red or blue on the left (label `colour`), a little brighter or darker on the right (`shape`)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 166, (n, 16, 16, 3))
    order = rng.permutation(n)
    labels = {"colour": order % 2, "shape": order // 2 % 2}
    for image, colour, shape in zip(images, labels["colour"], labels["shape"], strict=True):
        image[2:14, 1:7, 2 * colour] += 80
        image[2:14, 9:15] += 20 if shape else -20
    return Split(images.clip(0, 255).astype(np.uint8), labels)


def patches(n, seed):
    """Four by four squares of any colour, but for the first: red or blue (label `colour`); `shape` is by chance."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(30, 226, (n, 4, 4, 3))
    colour = rng.permutation(n) % 2
    squares[:, 0, 0] = np.where(colour[:, None] == 1, [220, 30, 30], [30, 30, 220])
    labels = {"colour": colour, "shape": rng.permutation(n) % 2}
    return Split(squares.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8), labels)


READ = SimpleNamespace(splits={"train": flags(400, seed=2), "test": flags(400, seed=3)})
"""What readers learn from and are scored on."""


def batch_of(split, rows=slice(None), progress=1.0):
    labels = {name: torch.from_numpy(values[rows]) for name, values in split.labels.items()}
    return Batch(to_float(split.images[rows], torch.device("cpu")), labels, progress)


def learn(defence, steps, service=None, seed=0):
    """The defence, set up and trained for some steps of 32 images."""
    service = service or make_service()
    return teach(defence.setup(seed, service, TASK), steps, service)


TRAIN = flags(512, seed=1)


def teach(defence, steps, service=None, train=TRAIN):
    """A defence that is set up, trained for some steps of 32 images."""
    for step in range(steps):
        rows = np.random.default_rng(step).choice(len(train), 32, replace=False)
        defence.learner.nets.train()
        defence.update(batch_of(train, rows, step / steps), service)
    defence.learner.nets.eval()
    return defence


def answered(defence, split):
    """The accuracy of the answer of a defence's own service part."""
    found = defence.answer(defence.protect(split.images)).labels()["colour"]
    return float((found == split.labels["colour"]).mean())


def read(defence, label="shape"):
    """The accuracy of a reader who says of each payload which class's mean it is nearer to."""
    known, attacked = READ.splits.values()
    first, second = (
        defence.protect(split.images, seed=place).values.reshape(400, -1).astype(np.float64)
        for place, split in enumerate((known, attacked))
    )
    means = [first[known.labels[label] == value].mean(axis=0) for value in (0, 1)]
    guesses = (second - (means[0] + means[1]) / 2) @ (means[1] - means[0]) > 0
    return float((guesses == attacked.labels[label]).mean())
