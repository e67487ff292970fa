import pytest
import torch
from torch.nn import functional as F

from dapter.errors import UsageError
from dapter.nets.decoders import DECODERS, DenseDecoder, PatchCritic, SparseLinear, build_decoder

SIZE = (16, 16)


@pytest.mark.parametrize("size", [(16, 16), (30, 47), (9, 70)])
@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_gives_an_image_of_the_same_size(family, size):
    torch.manual_seed(0)
    net = build_decoder(family, 24, 4, 4, size, size).eval()
    images, answer = torch.rand(2, 24, *size, requires_grad=True), torch.rand(2, 4, requires_grad=True)
    restored = net(images, answer)
    assert restored.shape == (2, 3, *size)
    assert 0 <= restored.min() <= restored.max() <= 1
    restored.square().sum().backward()
    assert images.grad.abs().sum(dim=(0, 2, 3)).min() > 0
    assert answer.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(16, 16), (8, 5), (1, 1), (40, 40)])
@pytest.mark.parametrize("family", DECODERS)
def test_features_of_any_size_give_an_image(family, size):
    torch.manual_seed(0)
    net = build_decoder(family, 6, 2, 4, size, (16, 20)).eval()
    features, answer = torch.randn(2, 6, *size, requires_grad=True), torch.rand(2, 2, requires_grad=True)
    restored = net(features, answer)
    assert restored.shape == (2, 3, 16, 20)
    restored.square().sum().backward()
    assert features.grad.abs().sum(dim=(0, 2, 3)).min() > 0
    assert answer.grad.abs().sum() > 0


def test_a_decoder_of_images_learns_what_a_vector_says_of_sixteen_places():
    torch.manual_seed(0)
    net = build_decoder("unet", 16, 1, 4, (1, 1), SIZE)
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        brightness = torch.rand(32, 1, 4, 4)
        wanted = F.interpolate(brightness, size=SIZE).expand(-1, 3, -1, -1)
        restored = net(brightness.view(32, 16, 1, 1), torch.zeros(32, 1))
        error = (restored - wanted).square().mean()
        adam.zero_grad()
        error.backward()
        adam.step()
    assert error < 0.1 * wanted.var()


@pytest.mark.parametrize("family", ["deconvolution", "dense", "sparse"])
def test_depth_adds_layers(family):
    shallow, deep = (len(list(build_decoder(family, 3, 2, 2, SIZE, SIZE, depth).parameters())) for depth in (1, 3))
    assert deep > shallow


def test_a_sparse_layer_sees_a_share_of_the_values_and_keeps_to_it():
    torch.manual_seed(0)
    layer = SparseLinear(1000, 50, 0.1)
    assert 0.08 < layer.mask.float().mean() < 0.12
    assert layer(torch.randn(200, 1000)).detach().std().item() == pytest.approx(3**-0.5, rel=0.2)  # as a dense layer's
    layer(torch.rand(4, 1000)).sum().backward()
    assert not layer.weight.grad[~layer.mask].any()


def test_large_images_do_not_make_dense_decoders_larger():
    small, large = (DenseDecoder(3, 2, 1, size, size, 1) for size in ((64, 64), (224, 224)))
    assert sum(value.numel() for value in small.parameters()) == sum(value.numel() for value in large.parameters())


def test_the_critic_scores_patches_of_payload_and_image():
    critic = PatchCritic(24, 4)
    payloads, images = torch.rand(2, 24, 16, 20), torch.rand(2, 3, 16, 20, requires_grad=True)
    scores = critic(payloads, images)
    assert scores.shape == (2, 1, 4, 5)
    assert not torch.equal(scores, critic(-payloads, images))
    scores[0].sum().backward()
    assert images.grad[0].any()
    assert not images.grad[1].any()
    assert critic(torch.rand(2, 24, 4, 5), images).shape == scores.shape


def test_an_unknown_family_is_refused():
    with pytest.raises(UsageError, match="There are: symmetric"):
        build_decoder("lstm", 3, 2, 4, SIZE, SIZE)
