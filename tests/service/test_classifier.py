import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dapter.errors import ServiceError, UsageError
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Classifier, Service
from dapter.types import Payload


def make(target="animal", classes=("cat", "dog"), **settings):
    return Classifier(build_classifier("resnet18", len(classes), 4), target, classes, **settings)


def state(service):
    modules = service.classifiers.values()
    return [t.clone() for module in modules for t in [*module.parameters(), *module.buffers()]]


@pytest.fixture
def payload():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    return Payload(pixels)


def test_a_frozen_service_never_moves():
    service = Service(make())
    before = state(service)
    classifier = service.classifiers["animal"]
    for module in classifier.modules():
        module.train()
    classifier.train().requires_grad_()
    assert not any(p.requires_grad for p in classifier.parameters())
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    images = torch.rand(4, 3, 32, 32, requires_grad=True)
    service.loss(images, {"animal": torch.tensor([0, 1, 0, 1])}).sum().backward()
    optimizer.step()
    assert images.grad.abs().sum() > 0
    assert not any(module.training for module in classifier.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, state(service), strict=True))
    assert service.frozen


def test_frozen_notices_a_changed_weight():
    service = Service(make())
    next(service.classifiers["animal"].parameters()).data.view(-1)[0] += 1
    assert not service.frozen


def test_training_goes_on_beside_a_service_made_of_the_same_net():
    classifier = make()
    service = Service(classifier)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1)
    classifier(torch.rand(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert classifier.training
    assert service.frozen
    assert classifier.state_digest() != service.classifiers["animal"].state_digest()


def test_a_service_of_frozen_classifiers_keeps_them():
    classifier = make().freeze()
    assert Service(classifier).classifiers["animal"] is classifier


def test_losses_of_several_classifiers_add_up():
    one, two = make(), make("colour", ("red", "green", "blue"))
    service = Service(one, two)
    images = torch.rand(4, 3, 32, 32)
    labels = {"animal": torch.tensor([0, 1, 1, 0]), "colour": torch.tensor([2, 1, 0, 0]), "other": torch.zeros(4)}
    parts = [F.cross_entropy(entry.eval()(images), labels[entry.target]) for entry in (one, two)]
    assert service.loss(images, labels).shape == (4,)
    assert torch.allclose(service.loss(images, labels).mean(), parts[0] + parts[1])
    assert service.targets == ("animal", "colour")
    assert service.classes == {"animal": ("cat", "dog"), "colour": ("red", "green", "blue")}
    with pytest.raises(UsageError, match="colour"):
        service.loss(images, {"animal": labels["animal"]})


def test_the_answer_is_that_of_the_net_in_any_batch(payload):
    classifier = make(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    service = Service(classifier)
    answer = service.answer(payload, batch_size=2).logits["animal"]
    images = torch.from_numpy(payload.pixels).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    expected = classifier.net.eval()((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert answer.dtype == np.float32
    assert np.allclose(answer, expected.detach().numpy(), atol=1e-5)
    assert np.allclose(answer, service.answer(payload).logits["animal"], atol=1e-5)
    assert service.answer(Payload(payload.pixels[:0])).logits["animal"].shape == (0, 2)


def test_images_of_another_size_are_resized_with_gradients():
    classifier = make(input_size=(32, 48)).freeze()
    seen = []
    classifier.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    images = torch.rand(2, 3, 80, 80, requires_grad=True)
    classifier(images).square().sum().backward()
    assert seen == [(2, 3, 32, 48)]
    assert images.grad.abs().sum() > 0


def test_normalisation_and_logits_are_float32_under_autocast():
    classifier = make().freeze()
    seen = []
    classifier.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    images = torch.rand(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(images.bfloat16())
    assert seen == [torch.float32]
    assert logits.dtype == torch.float32


def test_the_digest_changes_with_everything_that_decides_the_answer():
    classifier = make()
    digests = {classifier.digest(), make().digest()}
    for change in ("weight", "statistic", "target", "classes", "mean", "input_size"):
        other = copy.deepcopy(classifier)
        if change == "weight":
            flat = next(other.net.parameters()).data.view(-1).view(torch.int32)
            flat[0] ^= 1
        elif change == "statistic":
            next(b for n, b in other.net.named_buffers() if n.endswith("running_var")).add_(1e-6)
        elif change == "mean":
            other.mean += 1e-6
        else:
            setattr(other, change, {"target": "x", "classes": ("a", "b"), "input_size": (32, 32)}[change])
        digests.add(other.digest())
    assert len(digests) == 8
    assert classifier.to(memory_format=torch.channels_last).digest() in digests
    assert Service(classifier, make("other")).digest != Service(classifier).digest


def test_wrong_services_are_refused(payload):
    with pytest.raises(UsageError, match="needs a classifier"):
        Service()
    with pytest.raises(UsageError, match="same target"):
        Service(make(), make())
    with pytest.raises(UsageError, match="std"):
        make(std=(0.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="mean"):
        make(mean=(0.0,))
    picky = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), "animal", ("cat", "dog"))
    with pytest.raises(ServiceError, match="input_size"):
        Service(picky).answer(payload)


def test_a_service_moves_to_a_device():
    service = Service(make())
    assert service.to("cpu").device == torch.device("cpu")
