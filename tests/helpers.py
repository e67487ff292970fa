"""A tiny problem that narrow nets learn in seconds: coloured shapes on noise."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dapter.data import Data, Split
from dapter.loop import Plan
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Classifier, Service

CLASSES = {"colour": ("red", "blue"), "shape": ("square", "cross")}
PLAN = Plan(epochs=3, batch_size=16, bfloat16=False)


def draw(n, size, seed):
    """Images uint8 (n, size, size, 3), and the labels of their shapes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 166, (n, size, size, 3))
    labels = {name: rng.integers(0, 2, n) for name in CLASSES}
    side = size // 2
    for image, colour, shape in zip(images, labels["colour"], labels["shape"], strict=True):
        top, left = rng.integers(0, size - side + 1, 2)
        mask = np.ones((side, side), bool)
        if shape:
            third = side // 3
            mask[:third, :third] = mask[:third, -third:] = mask[-third:, :third] = mask[-third:, -third:] = False
        image[top : top + side, left : left + side][mask] = (30, 30, 230) if colour else (230, 30, 30)
    return Split(images.astype(np.uint8), labels)


def make_data(targets=("colour",), size=16, counts=(96, 32, 48), seed=0, secrets=()):
    """A data set of shapes; its digest follows from what is asked for."""
    splits = {
        name: draw(n, size, seed + place)
        for place, (name, n) in enumerate(zip(("train", "val", "test"), counts, strict=True))
    }
    asked = json.dumps([size, list(counts), seed])
    return Data(
        name="shapes",
        targets=tuple(targets),
        secrets=tuple(secrets),
        classes={name: CLASSES[name] for name in (*targets, *secrets)},
        splits={
            name: Split(split.images, {label: split.labels[label] for label in (*targets, *secrets)})
            for name, split in splits.items()
        },
        licence="none",
        digest=hashlib.sha256(asked.encode()).hexdigest(),
        mirror=False,
    )


def without_labels(data):
    """The same images, as a user without labels has them."""
    splits = {name: Split(split.images, {}) for name, split in data.splits.items()}
    return replace(data, targets=(), classes={}, splits=splits)


def make_service(*targets, seed=0):
    """An untrained service."""
    torch.manual_seed(seed)
    names = targets or ("colour",)
    return Service(*(Classifier(build_classifier("lenet", 2, 3), name, CLASSES[name]) for name in names))


def start_worker(job, root, processes=0):
    """`worker.py` in a process of its own, or in that many under torch's launcher, with warnings as errors."""
    command = [sys.executable]
    if processes:
        launcher = "-m torch.distributed.run --standalone --local-addr=127.0.0.1"
        command += [*launcher.split(), f"--nproc_per_node={processes}"]
    command += [str(Path(__file__).with_name("worker.py")), job, str(root)]
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(worker):
    """What the worker printed, once it has ended well."""
    output, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0, output
    return output
