"""Planted problems: data whose secrets are known to leak, or not, in a known way."""

import hashlib
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dapter.defences._untrained import Untrained
from helpers import CLASSES, draw, make_data

SIZE = 16


def make_secret_data(counts=(320, 128, 256), flip=None, rate=0.5, seed=0):
    """Shapes whose colour the service answers and whose shape is secret.

    Args:
        flip: the secret is instead the colour, but for that share of the images.
        rate: how often the colour is blue.
    """
    data = make_data(counts=counts, seed=seed)
    splits = {}
    for place, (name, count) in enumerate(zip(("train", "val", "test"), counts, strict=True)):
        split = draw(4 * count, SIZE, 100 * seed + place)
        rng = np.random.default_rng(place)
        rows = rng.permutation(len(split))
        blue = split.labels["colour"][rows] == 1
        chosen = np.concatenate([rows[blue][: round(rate * count)], rows[~blue][: count - round(rate * count)]])
        split = split_rows(split, rng.permutation(chosen))
        if flip is not None:
            split.labels["shape"] = split.labels["colour"] ^ (rng.random(count) < flip)
        splits[name] = split
    asked = [str(counts), str(flip), str(rate), str(seed)]
    digest = hashlib.sha256("".join(asked).encode()).hexdigest()
    return replace(data, secrets=("shape",), classes=CLASSES, splits=splits, digest=digest)


def split_rows(split, rows):
    return type(split)(
        split.images[rows], {name: values[rows].astype(np.int64) for name, values in split.labels.items()}
    )


class _Oracle(nn.Module):
    """Knows the secret of every image, and writes it into the payload."""

    def __init__(self, data, write):
        super().__init__()
        self.write = write
        self.secrets = {
            image.tobytes(): int(label)
            for split in data.splits.values()
            for image, label in zip(split.images, split.labels["shape"], strict=True)
        }

    def forward(self, images):
        levels = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        secrets = torch.tensor([self.secrets[image.tobytes()] for image in levels])
        return self.write(secrets[:, None, None, None], images.shape).float() / 255


class Planted(Untrained):
    """Sends no image, only its secret, in a way that is not to be seen."""

    def __init__(self, data, write):
        self.data, self.write = data, write

    def _build(self, service):
        return {"client": _Oracle(self.data, self.write)}

    def settings(self):
        return {"write": self.write.__name__}

    def client(self):
        return self.learner.nets["client"]


def lowest_bit(secrets, shape):
    """Noise whose lowest bits are all the secret."""
    noise = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(int(shape[0])))
    return noise // 2 * 2 + secrets


def one_level(secrets, shape):
    """Grey, or one level beside it."""
    return torch.full(shape, 128) + secrets
