"""The contract of a defence, for every one that is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from dapter import plugins
from dapter.batches import batches
from dapter.defences import Task, build_defence, name_of
from dapter.defences.budget import Budget
from dapter.errors import ConversionError, UsageError
from dapter.features import pack, unpack
from dapter.train import load_defence, train
from dapter.types import Payload
from helpers import PLAN, make_data

ONE = replace(PLAN, epochs=1)


@pytest.fixture(params=plugins.names("defences"))
def defence(request):
    """A defence with its default settings, not set up."""
    return build_defence(request.param, {})


@pytest.fixture(scope="module")
def shapes():
    """Shapes whose colour the service answers; the shape is a secret."""
    return make_data(secrets=("shape",))


@pytest.fixture
def images(shapes):
    return shapes.splits["test"].images[:6]


@pytest.fixture
def ready(defence, service, shapes):
    """The defence, set up."""
    return defence.setup(0, service, Task.of(shapes))


def test_settings_round_trip(defence):
    settings = json.loads(json.dumps(defence.settings()))
    again = build_defence(name_of(defence), settings)
    assert type(again) is type(defence)
    assert again.settings() == defence.settings() == settings
    assert isinstance(defence.needs_service_change, bool)


def test_protect_gives_a_payload_for_each_image(ready, images):
    before = images.copy()
    payload = ready.protect(images)
    assert len(payload.values) == len(images)
    assert payload.is_features == (ready.sends == "features")
    if not payload.is_features:
        assert payload.pixels.shape == images.shape
    assert np.array_equal(images, before)


def test_protect_takes_other_sizes_and_none(ready):
    for shape in ((1, 15, 22, 3), (0, 16, 16, 3)):
        payload = ready.protect(np.zeros(shape, np.uint8))
        assert len(payload.values) == shape[0]
        assert payload.is_features or payload.pixels.shape == shape


def test_what_is_no_batch_of_images_is_refused(ready, images):
    for wrong in (images[0], images / 255, images[..., :1]):
        with pytest.raises(UsageError):
            ready.protect(wrong)


def test_without_networks_it_is_refused(defence, images):
    with pytest.raises(UsageError, match="Cure"):
        defence.protect(images)


def test_setup_follows_its_seed(defence, service, shapes, images):
    def payload(seed):
        return protected(replace(defence).setup(seed, service, Task.of(shapes)), images)

    assert np.array_equal(payload(1), payload(1))
    if len(list(defence.setup(0, service, Task.of(shapes)).client().parameters())):
        assert not np.array_equal(payload(1), payload(2))


def test_trained_it_saves_loads_protects_and_answers_the_same(defence, service, shapes, images, tmp_path):
    run = train(defence, service, shapes, ONE, root=tmp_path)
    loaded = load_defence(run.path)
    assert loaded.settings() == defence.settings()
    assert loaded.learner.device.type == "cpu"
    assert np.array_equal(protected(loaded, images), protected(defence, images))
    payload = defence.protect(images)
    answers = [each.tail(payload, service).logits["colour"] for each in (defence, loaded)]
    assert np.allclose(*answers, rtol=0, atol=1e-5)  # weights lie in memory otherwise, which rounds otherwise
    assert answers[0].shape == (len(images), 2)
    if not defence.needs_service_change:
        assert service.frozen
        assert service.digest == run.manifest["service"]


def test_what_is_random_is_drawn_from_the_operating_system(ready, images, monkeypatch):
    """Torch keeps 32 bits of a seed: noise that follows from one could be tried out and subtracted."""
    if not ready.random:
        pytest.skip("draws nothing")
    payloads = []
    for _ in range(2):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        payloads.append(ready.protect(images).values)
        assert torch.equal(torch.get_rng_state(), before)
    assert not np.array_equal(*payloads)
    monkeypatch.setattr("secrets.token_bytes", bytes)
    assert np.array_equal(ready.protect(images).values, ready.protect(images).values)


def test_client_part_and_service_part_run_apart(ready, service, images):
    """What the service part gets is the image's values, or bytes: those of the packed features."""
    payload = ready.protect(images)
    assert ready.needs_service_change or not payload.is_features
    if not ready.needs_service_change:
        pytest.skip("the service has no part of its own")
    on_the_device, at_the_service = (replace(ready).setup(seed, service, ready.task) for seed in (1, 2))
    on_the_device.client().load_state_dict(load(save(state_of(ready.client()))))
    at_the_service.server().load_state_dict(load(save(state_of(ready.server()))))
    sent = on_the_device.protect(images, seed=3).values
    arrived = Payload(np.stack([unpack(pack(each)) for each in sent]) if payload.is_features else sent)
    apart = at_the_service.tail(arrived, service).logits["colour"]
    together = ready.tail(ready.protect(images, seed=3), service).logits["colour"]
    assert np.allclose(apart, together, rtol=0, atol=1e-5)


def state_of(net):
    return {name: values.contiguous().clone() for name, values in net.state_dict().items()}


def test_the_privacy_term_has_a_gradient(ready, service, shapes):
    """A defence that is trained for privacy must feel it: some loss beside the service's moves the client part."""
    if isinstance(ready, Budget):  # one cell is bounded by counting, not by a gradient: see tests/defences
        ready = Budget(grid=2).setup(0, service, Task.of(shapes))
    ready.learner.nets.train()
    losses = ready.losses(next(batches(shapes.splits["train"], 16, torch.device("cpu"))), service)
    assert losses["loss"].ndim == 0
    if not ready.learns_privacy:
        pytest.skip("is not trained to hide anything")
    private = {name: value for name, value in losses.items() if name not in ("loss", "accuracy")}
    parameters = [part for part in ready.client().parameters() if part.requires_grad]
    for name, value in private.items():
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        assert any(part is not None and part.abs().max() > 0 for part in found), name
    assert private, "no loss is to hide anything: give one beside `loss`, or say learns_privacy = False"


def test_it_has_optimizers_if_it_learns(ready):
    assert bool(ready.learner.optimizers) == ready.learns


def test_weights_that_are_not_finite_send_nothing(ready, images):
    parameters = list(ready.client().parameters())
    if not parameters:
        pytest.skip("has no weights")
    for bad in (float("nan"), float("inf")):
        with torch.no_grad():
            parameters[0].flatten()[0] = bad
        with pytest.raises(ConversionError, match="Cure"):
            ready.protect(images)


def test_protect_learns_nothing_and_draws_only_if_it_says_so(ready, images):
    ready.learner.nets.train()
    before = {name: value.clone() for name, value in ready.learner.nets.state_dict().items()}
    torch.manual_seed(0)
    first = ready.protect(images).values
    torch.manual_seed(0)
    again = ready.protect(images).values
    assert np.array_equal(first, again) != ready.random, "noise that can be drawn again could be subtracted"
    assert np.array_equal(protected(ready, images), protected(ready, images))
    assert all(torch.equal(value, before[name]) for name, value in ready.learner.nets.state_dict().items())


def test_noise_is_the_same_for_no_two_images_of_a_call(ready):
    """One fixed tensor could be subtracted."""
    if not ready.random:
        pytest.skip("draws nothing")
    same = ready.protect(np.full((6, 16, 16, 3), 128, np.uint8)).values
    assert len(np.unique(same.reshape(6, -1), axis=0)) == 6


def protected(defence, images):
    """What leaves; what is drawn is drawn from one seed."""
    return defence.protect(images, seed=0).values
