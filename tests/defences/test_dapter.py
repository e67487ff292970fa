import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dapter.batches import Batch, batches, to_float
from dapter.defences import build_defence, name_of, round_to_levels, with_settings
from dapter.defences.dapter import Dapter
from dapter.errors import ConversionError, UsageError
from dapter.service.classifier import Classifier, Service
from dapter.types import Payload
from helpers import make_data, make_service, without_labels

CPU = torch.device("cpu")


def batch_of(data, n=8):
    return next(batches(data.splits["train"].head(n), n, CPU))


def constant(defence, level):
    """Make the converter paint every pixel in one level."""
    last = defence.learner.nets["converter"].last
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(math.log(level / 255 / (1 - level / 255)))
    return defence


def by_hand(payload, batch, service, lam):
    """Eq. 1 to 4 on 8-bit pixels (N, H, W, 3), as means."""
    grey = np.abs(payload.astype(float) - 128).mean() / 127.5
    with torch.no_grad():
        logits = service.logits(to_float(payload, CPU))
    each = sum(F.cross_entropy(logits[name], batch.labels[name]) for name in service.targets)
    return lam * grey + (1 - lam) * float(each), grey, float(each)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("targets", [("colour",), ("colour", "shape")])
def test_loss_is_that_of_the_paper(lam, targets):
    data, service = make_data(targets), make_service(*targets)
    defence = Dapter(lam=lam, width=4).setup(0, service)
    defence.learner.nets.eval()
    batch = batch_of(data)
    losses = {name: float(value.detach()) for name, value in defence.losses(batch, service).items()}
    payload = defence.protect(data.splits["train"].images[:8]).pixels
    loss, grey, accuracy = by_hand(payload, batch, service, lam)
    assert losses["eta"] == pytest.approx(grey, rel=1e-3)
    assert losses["accuracy"] == pytest.approx(accuracy, rel=1e-3)
    assert losses["loss"] == pytest.approx(loss, rel=1e-3)


def test_lam_1_counts_grey_only_and_lam_0_the_answer_only(data, service):
    batch = batch_of(data)
    for lam, name in ((1.0, "eta"), (0.0, "accuracy")):
        losses = Dapter(lam=lam, width=4).setup(0, service).losses(batch, service)
        assert float(losses["loss"].detach()) == float(losses[name].detach())


@pytest.mark.parametrize(("level", "eta"), [(128, 0.0), (255 - 1e-6, 127 / 127.5), (64, 64 / 127.5), (129, 1 / 127.5)])
def test_eta_is_the_distance_from_grey_128(data, service, level, eta):
    defence = constant(Dapter(width=4).setup(0, service), level)
    found = defence.losses(batch_of(data), service)["eta"]
    assert float(found.detach()) == pytest.approx(eta, abs=1e-5)


def test_losses_of_several_classifiers_add_up():
    data, service = make_data(("colour", "shape")), make_service("colour", "shape")
    batch = batch_of(data)
    losses = Dapter(width=4).setup(0, service).losses(batch, service)
    parts = [
        Dapter(width=4).setup(0, service).losses(batch, Service(entry))["accuracy"]
        for entry in service.classifiers.values()
    ]
    assert float(losses["accuracy"].detach()) == pytest.approx(float(sum(parts).detach()), rel=1e-5)


def test_rounding_has_256_levels_and_a_gradient_of_ones():
    values = torch.linspace(0, 1, 1001, requires_grad=True)
    rounded = round_to_levels(values)
    assert torch.allclose(rounded * 255, (values.detach() * 255).round(), atol=1e-4)
    assert (rounded - values).abs().max() <= 0.5 / 255 + 1e-6
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones(1001))


class Watching(Classifier):
    """A classifier that keeps what it was shown."""

    def forward(self, images):
        self.shown = images.detach()
        return super().forward(images)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_in_training_the_service_sees_the_payload_that_is_sent(data, service, bfloat16):
    watched = make_service()
    watched.classifiers["colour"].__class__ = Watching
    defence = Dapter(width=4).setup(0, service)
    defence.learner.bfloat16 = bfloat16
    defence.learner.nets.eval()
    defence.losses(batch_of(data), watched)
    shown = watched.classifiers["colour"].shown.float() * 255
    assert torch.allclose(shown, shown.round(), atol=1e-3)
    sent = defence.protect(data.splits["train"].images[:8]).pixels
    difference = np.abs(shown.permute(0, 2, 3, 1).numpy() - sent.astype(float))
    assert difference.max() <= 1 + 1e-3
    if not bfloat16:
        assert difference.max() < 1e-3


@pytest.mark.parametrize("labels", ["data", "service"])
def test_a_step_learns_and_leaves_the_service_alone(data, service, labels):
    defence = Dapter(width=4, labels=labels, lam=0.7).setup(0, service)
    defence.learner.nets.train()
    before = service.digest
    first = [defence.update(batch_of(data, 32), service)["loss"] for _ in range(12)]
    assert first[-1] < first[0]
    assert service.frozen
    assert service.digest == before
    assert all(part.grad is None for entry in service.classifiers.values() for part in entry.parameters())


def test_the_services_own_answers_need_no_labels(data, service):
    with_labels = batch_of(data)
    bare = Batch(with_labels.images, {})
    payload = Payload(data.splits["train"].images[:8])
    answers = {name: torch.from_numpy(values) for name, values in service.answer(payload).labels().items()}
    own = Dapter(width=4, labels="service").setup(0, service).losses(bare, service)
    told = Dapter(width=4).setup(0, service).losses(Batch(bare.images, answers), service)
    assert float(own["loss"].detach()) == float(told["loss"].detach())


def test_missing_labels_are_named(data, service):
    with pytest.raises(UsageError, match=r"no labels of colour.*Cure"):
        Dapter(width=4).setup(0, service).losses(batch_of(without_labels(data)), service)


def test_a_conditioned_converter_follows_lam_at_use_time(data):
    images = data.splits["test"].images
    defence = Dapter(width=4, lam=0.5, lam_range=(0.1, 0.9)).setup(0)
    other = with_settings(defence, lam=0.9)
    assert other.lam == 0.9
    assert not np.array_equal(other.protect(images).pixels, defence.protect(images).pixels)
    back = with_settings(other, lam=0.5)
    assert np.array_equal(back.protect(images).pixels, defence.protect(images).pixels)


def test_what_training_fixed_cannot_change_at_use_time():
    plain = Dapter(width=4, lam=0.5).setup(0)
    conditioned = Dapter(width=4, lam=0.5, lam_range=(0.1, 0.9)).setup(0)
    for defence, change in ((plain, {"lam": 0.9}), (conditioned, {"width": 8}), (conditioned, {"net": "fast"})):
        with pytest.raises(UsageError, match="cannot change after training"):
            with_settings(defence, **change)


def test_conditioned_training_draws_lam_for_each_image(data, service):
    defence = Dapter(width=4, lam=0.5, lam_range=(0.2, 0.9)).setup(0, service)
    images = torch.zeros(500, 3, 2, 2)
    defence.learner.nets.train()
    drawn = defence._draw_lam(images)
    assert 0.2 <= drawn.min() < 0.25
    assert 0.85 < drawn.max() <= 0.9
    defence.learner.nets.eval()
    assert defence._draw_lam(images).tolist() == pytest.approx(np.linspace(0.2, 0.9, 500), abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"lam": -0.1},
        {"lam": 1.1},
        {"lam": math.nan},
        {"labels": "guess"},
        {"lam_range": (0.9, 0.1)},
        {"lam_range": (0.1, 0.5)},
        {"lam_range": (0.5, 1.5)},
    ],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError):
        Dapter(**settings)


@pytest.mark.parametrize("settings", [{"net": "no-such"}, {"width": 0}])
def test_networks_that_cannot_be_built_are_refused(settings):
    with pytest.raises(UsageError):
        Dapter(**settings).setup()


@pytest.mark.parametrize("name", ["no-such", "_hidden"])
def test_unknown_defences_are_refused(name):
    with pytest.raises(UsageError, match=r"There are: .*dapter"):
        build_defence(name, {})


@pytest.mark.parametrize("settings", [{"colour": 1}, {"lam": "high"}])
def test_unknown_settings_are_refused(settings):
    with pytest.raises(UsageError):
        build_defence("dapter", settings)


def test_infinite_weights_do_not_pass_as_a_white_picture(data):
    defence = Dapter(width=4).setup(0)
    with torch.no_grad():
        defence.learner.nets["converter"].last.bias.fill_(math.inf)
    with pytest.raises(ConversionError):
        defence.protect(data.splits["test"].images)


def test_values_that_are_not_finite_are_not_sent(data):
    """Finite weights, whose products are not."""
    defence = Dapter(width=4).setup(0)
    with torch.no_grad():
        converter = defence.learner.nets["converter"]
        for layer in converter.layers:
            layer[0].weight.fill_(1e38)
        converter.last.weight[:, ::2] = 1
        converter.last.weight[:, 1::2] = -1
    with pytest.raises(ConversionError, match="values that are not finite"):
        defence.protect(np.full((1, 16, 16, 3), 255, np.uint8))


def test_images_without_pixels_cannot_be_converted():
    with pytest.raises(ConversionError):
        Dapter(width=4).setup(0).protect(np.zeros((2, 0, 5, 3), np.uint8))


def test_a_changed_shape_is_not_sent(data, monkeypatch):
    defence = Dapter(width=4).setup(0)
    monkeypatch.setattr(defence, "client", lambda: lambda images: images[..., :-1])
    with pytest.raises(ConversionError, match="shape"):
        defence.protect(data.splits["test"].images)


def test_chunks_do_not_change_the_payload(data, monkeypatch):
    images = data.splits["test"].images
    defence = Dapter(width=4).setup(0)
    whole = defence.protect(images).pixels
    monkeypatch.setattr("dapter.defences.CHUNK_PIXELS", 1)
    assert np.abs(defence.protect(images).pixels.astype(int) - whole).max() <= 1
    assert name_of(replace(defence, lam=0.1)) == "dapter"
