import pytest
import torch

from dapter.errors import UsageError
from dapter.nets.classifiers import ARCHITECTURES, STEMS, Recipe, build_classifier


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_any_size_gives_logits(arch, stem):
    net = build_classifier(arch, 5, 4, stem).eval()
    assert net.recipe == Recipe(arch, 5, 4, stem)
    for size in [(9, 9), (28, 28), (32, 33)]:
        assert net(torch.rand(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arch", "parameters"),
    [("resnet18", 11_689_512), ("resnet50", 25_557_032), ("vgg16", 138_361_768)],
)
def test_the_papers_nets_have_the_papers_size(arch, parameters):
    with torch.device("meta"):
        net = build_classifier(arch, 1000, stem="large")
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_the_large_stem_reduces_four_times():
    images = torch.rand(1, 3, 64, 64)
    small = build_classifier("resnet18", 2, 4, "small").features(images)
    large = build_classifier("resnet18", 2, 4, "large").features(images)
    assert small.shape == (1, 32, 8, 8)
    assert large.shape == (1, 32, 2, 2)


def test_every_parameter_learns():
    net = build_classifier("resnet50", 3, 4)
    net(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("alexnet", 2), "resnet18"),
        (("resnet18", 2, 16, "huge"), "small"),
        (("resnet18", 1), "2 classes"),
        (("resnet18", 2, 0), "width"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        build_classifier(*arguments)
