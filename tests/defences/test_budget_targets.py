"""Several targets in one budget converter: of one service or of several, side by side or one inside the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dapter.data import Split
from dapter.defences.budget import Budget
from dapter.errors import UsageError
from dapter.service.classifier import Classifier, Service
from dapter.train import load_defence, train
from helpers import PLAN, make_data

SETTINGS = {"width": 4, "grid": 2, "stamps": "flat", "alphabet": 27}
KINDS = {"several cells": SETTINGS, "one cell": {"width": 4}}
COARSE, FINE = ("blue", "red"), ("dark blue", "light blue", "dark red", "light red")


class Tint(nn.Module):
    """Reads the mean colour: red or blue, and for the fine question dark or light, told by the green."""

    def __init__(self, fine):
        super().__init__()
        self.fine = fine

    def forward(self, images):
        red, green, blue = (8 * images.mean(dim=(2, 3))).unbind(dim=1)
        coarse = torch.stack([blue - red, red - blue], dim=1)
        if not self.fine:
            return coarse
        light = torch.stack([4 - green, green - 4], dim=1)
        return (coarse[:, :, None] + light[:, None, :]).flatten(1)


@pytest.fixture(scope="module")
def data():
    """Tinted noise: the coarse label is part of the fine one."""

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        fine = rng.integers(0, 4, n)
        tint = 40 * np.stack([fine // 2 * 2 - 1, fine % 2 * 2 - 1, 1 - fine // 2 * 2], axis=1)
        noise = rng.integers(90, 166, (n, 16, 16, 3))
        return Split((noise + tint[:, None, None]).astype(np.uint8), {"coarse": fine // 2, "fine": fine})

    splits = {name: draw(n, seed) for seed, (name, n) in enumerate({"train": 96, "val": 32, "test": 64}.items())}
    return replace(make_data(), targets=("coarse", "fine"), classes={"coarse": COARSE, "fine": FINE}, splits=splits)


@pytest.fixture(scope="module")
def service():
    """Two services with networks of their own, asked by one payload."""
    return Service(Classifier(Tint(fine=False), "coarse", COARSE), Classifier(Tint(fine=True), "fine", FINE))


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def trained(request, data, service, tmp_path):
    """Train, and give the share of right answers and the figures."""

    def call(epochs, **settings):
        plan = replace(PLAN, epochs=epochs, batch_size=8)
        run = train(Budget(**request.param, **settings), service, data, plan, root=tmp_path)
        split, defence = data.splits["test"], load_defence(run)
        payload = defence.protect(split.images)
        answer = service.answer(payload)
        right = {name: float(np.mean(found == split.labels[name])) for name, found in answer.labels().items()}
        return right, {entry["measure"]: entry["value"] for entry in defence.figures(split, payload, answer)}

    return call


def test_one_payload_serves_several_services(trained):
    """Bits are counted beyond the joint answer, so the answers themselves cost nothing."""
    right, figures = trained(15, budget_bits=1.0)
    assert right["coarse"] > 0.9
    assert right["fine"] > 0.9
    assert figures["bits_beyond_answer"] < 1.5
    assert figures["bits_total"] <= figures["bits_beyond_answer"] + 3 + 1e-9  # which of eight joint answers


def test_a_larger_budget_answers_the_finer_question_too(trained):
    few, small = trained(50, budget_bits=0.1, given=("coarse",))
    more, large = trained(20, budget_bits=4.0, given=("coarse",))
    assert min(few["coarse"], more["coarse"]) > 0.9
    assert few["fine"] < 0.75
    assert more["fine"] > 0.9
    assert small["bits_beyond_answer"] < 0.5
    assert large["bits_beyond_answer"] > 0.9  # dark or light is a bit


def test_what_the_service_does_not_answer_cannot_be_given(service):
    with pytest.raises(UsageError, match=r"given names size. Cure: .*coarse, fine"):
        Budget(given=("size",)).setup(0, service)
    assert Budget(**SETTINGS, given=["fine"]).setup(0, service)._prior.table.shape == (4, 4, 27)
