"""The contract of a defence, for every one that is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dapter import plugins
from dapter.batches import batches
from dapter.defences import build_defence, name_of
from dapter.errors import ConversionError, UsageError
from dapter.train import load_defence, train
from helpers import PLAN

ONE = replace(PLAN, epochs=1)


@pytest.fixture(params=plugins.names("defences"))
def defence(request):
    """A defence with its default settings, not set up."""
    return build_defence(request.param, {})


@pytest.fixture
def images(data):
    return data.splits["test"].images[:6]


def test_settings_round_trip(defence):
    settings = json.loads(json.dumps(defence.settings()))
    again = build_defence(name_of(defence), settings)
    assert type(again) is type(defence)
    assert again.settings() == defence.settings() == settings
    assert isinstance(defence.needs_service_change, bool)


def test_protect_gives_as_many_8_bit_images(defence, service, images):
    before = images.copy()
    payload = defence.setup(0, service).protect(images).pixels
    assert payload.dtype == np.uint8
    assert len(payload) == len(images)
    assert payload.shape == images.shape
    assert np.array_equal(images, before)


def test_protect_takes_other_sizes_and_none(defence, service):
    defence.setup(0, service)
    for shape in ((1, 15, 22, 3), (0, 16, 16, 3)):
        assert defence.protect(np.zeros(shape, np.uint8)).pixels.shape == shape


def test_what_is_no_batch_of_images_is_refused(defence, service, images):
    defence.setup(0, service)
    for wrong in (images[0], images / 255, images[..., :1]):
        with pytest.raises(UsageError):
            defence.protect(wrong)


def test_without_networks_it_is_refused(defence, images):
    with pytest.raises(UsageError, match="Cure"):
        defence.protect(images)


def test_setup_follows_its_seed(defence, service, images):
    first, again, other = (replace(defence).setup(seed, service).protect(images).pixels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    if len(list(defence.setup(0, service).learner.nets.parameters())):
        assert not np.array_equal(first, other)


def test_trained_it_saves_loads_and_protects_the_same(defence, service, data, images, tmp_path):
    run = train(defence, service, data, ONE, root=tmp_path)
    loaded = load_defence(run.path)
    assert loaded.settings() == defence.settings()
    assert loaded.learner.device.type == "cpu"
    assert np.array_equal(loaded.protect(images).pixels, defence.protect(images).pixels)
    if not defence.needs_service_change:
        assert service.frozen
        assert service.digest == run.manifest["service"]


def test_the_privacy_term_has_a_gradient(defence, service, data):
    """A defence that is trained for privacy must feel it: some loss beside the service's moves the client part."""
    defence.setup(0, service).learner.nets.train()
    losses = defence.losses(next(batches(data.splits["train"], 16, torch.device("cpu"))), service)
    assert losses["loss"].ndim == 0
    private = {name: value for name, value in losses.items() if name not in ("loss", "accuracy")}
    if not defence.learner.optimizers:
        pytest.skip("is not trained")
    parameters = [part for part in defence.client().parameters() if part.requires_grad]
    for name, value in private.items():
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        assert any(part is not None and part.abs().max() > 0 for part in found), name
    assert private


def test_weights_that_are_not_finite_send_nothing(defence, service, images):
    defence.setup(0, service)
    parameters = list(defence.client().parameters())
    if not parameters:
        pytest.skip("has no weights")
    for bad in (float("nan"), float("inf")):
        with torch.no_grad():
            parameters[0].flatten()[0] = bad
        with pytest.raises(ConversionError, match="Cure"):
            defence.protect(images)


def test_protect_draws_nothing_and_learns_nothing(defence, service, images):
    defence.setup(0, service).learner.nets.train()
    before = {name: value.clone() for name, value in defence.learner.nets.state_dict().items()}
    first = defence.protect(images).pixels
    assert np.array_equal(first, defence.protect(images).pixels)
    assert all(torch.equal(value, before[name]) for name, value in defence.learner.nets.state_dict().items())
