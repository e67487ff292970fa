"""A model without a network, for tests of the server and its clients."""

import numpy as np

from dapter.service.inference import Model
from dapter.service.server import Server, Settings


def answer(images):
    """Red or blue, by the mean of the channels; and another target."""
    means = images.reshape(len(images), -1, 3).mean(axis=1).astype(np.float32)
    return {"colour": (means[:, ::2] - 128) / 16, "shape": np.zeros((len(images), 3), np.float32)}


MODEL = Model("shapes", "1", {"colour": ("red", "blue"), "shape": ("square", "cross", "none")}, answer)


def start():
    """A reference service on free ports of this machine: two versions of `shapes`, one of `other`."""
    second = Model(
        "shapes", "2", MODEL.classes, lambda images: {name: -found for name, found in answer(images).items()}
    )
    tenth = Model("other", "10", {"colour": ("red", "blue")}, answer)
    return Server([MODEL, second, tenth], Settings(port=0, grpc_port=0))
