import pytest
import torch

from dapter.errors import UsageError
from dapter.nets.recognisers import RECOGNISERS, build_recogniser

HEADS = {"class": 10, "Smiling": 2}


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8), (16, 16), (32, 32), (30, 47), (96, 80)])
@pytest.mark.parametrize("family", RECOGNISERS)
def test_a_recogniser_scores_every_secret(family, size):
    net = build_recogniser(family, 3, 4, HEADS, 4, size).eval()
    found = net(torch.rand(2, 3, *size), torch.rand(2, 4))
    assert {name: tuple(scores.shape) for name, scores in found.items()} == {"class": (2, 10), "Smiling": (2, 2)}


@pytest.mark.parametrize("family", RECOGNISERS)
def test_a_recogniser_reads_every_channel_and_the_answer(family):
    torch.manual_seed(0)
    net = build_recogniser(family, 24, 4, HEADS, 4, (16, 16)).eval()
    images, answer = torch.rand(1, 24, 16, 16, requires_grad=True), torch.rand(1, 4, requires_grad=True)
    net(images, answer)["class"].square().sum().backward()
    assert images.grad.abs().sum(dim=(0, 2, 3)).min() > 0
    assert answer.grad.abs().sum() > 0


def test_an_unknown_family_is_refused():
    with pytest.raises(UsageError, match="There are: cnn"):
        build_recogniser("lstm", 3, 2, HEADS, 4, (16, 16))


def test_a_vector_is_not_squeezed():
    """What an attacker is to read of features may lie in any channel of a single place."""
    first = build_recogniser("cnn", 128, 2, {"class": 10}, 16, (1, 1)).trunk[0][0]
    assert first.out_channels == 64
