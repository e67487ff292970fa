from dataclasses import replace

import numpy as np
import pytest
import torch

from dapter.defences import Task, build_defence
from dapter.defences.retrained import Retrained
from dapter.errors import UsageError
from dapter.train import train
from helpers import PLAN, make_data

DARK = {"baseline": "dp_pixelation", "baseline_settings": {"epsilon": 4.0, "cell": 8}}


@pytest.fixture(scope="module")
def shapes():
    return make_data()


def test_what_leaves_the_device_is_the_baselines(shapes):
    images = shapes.splits["test"].images[:8]
    baseline = build_defence("dp_pixelation", DARK["baseline_settings"]).setup()
    defence = Retrained(**DARK).setup(0, None, Task.of(shapes))
    assert np.array_equal(defence.protect(images, seed=5).pixels, baseline.protect(images, seed=5).pixels)
    assert not np.array_equal(defence.protect(images).pixels, defence.protect(images).pixels)


def test_the_service_learns_from_values_that_are_sent(shapes):
    """Of 256 levels, computed as in use even where the network is not: blur in bfloat16 would be off by levels."""
    images = torch.from_numpy(shapes.splits["test"].images[:8]).permute(0, 3, 1, 2) / 255
    defence = Retrained(baseline="blur").setup(0, None, Task.of(shapes))
    with torch.autocast("cpu", torch.bfloat16):
        seen = defence._send(images)
    sent = defence.protect(shapes.splits["test"].images[:8]).pixels
    assert torch.allclose(seen * 255, torch.from_numpy(sent).permute(0, 3, 1, 2).float(), atol=1e-3)


def test_its_own_service_learns_from_the_payloads(service, shapes, tmp_path):
    test = shapes.splits["test"]
    defence = Retrained(baseline="downscale", baseline_settings={"factor": 8}, width=8)
    train(defence, service, shapes, replace(PLAN, epochs=10), root=tmp_path)
    answer = defence.tail(defence.protect(test.images), None)
    assert np.mean(answer.logits["colour"].argmax(axis=1) == test.labels["colour"]) > 0.9


def test_the_baselines_own_figures_are_kept(shapes):
    (figure,) = Retrained(**DARK).figures(None, None, None)
    assert figure == {"measure": "epsilon", "value": 12.0, "grade": "guaranteed"}


def test_all_settings_of_the_baseline_are_recorded():
    assert Retrained().settings()["baseline_settings"] == {"epsilon": 1.0, "cell": 8, "pixels": 16}


@pytest.mark.parametrize("settings", [{"baseline": "dapter"}, {"baseline_settings": {"cells": 3}}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError, match=r"Cure|Its settings"):
        Retrained(**settings)
