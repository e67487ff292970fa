import pytest
import torch
from torch import nn

from dapter import cost
from dapter.errors import UsageError
from dapter.nets.converters import CONVERTERS, FastConverter, PaperConverter, build_converter

SIZES = [(1, 1), (1, 9), (2, 3), (5, 1), (7, 7), (16, 16), (17, 31), (33, 64), (50, 101)]


@pytest.fixture(params=sorted(CONVERTERS))
def name(request):
    return request.param


@pytest.mark.parametrize("size", SIZES)
def test_any_size_comes_out_as_it_went_in(name, size):
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        found = build_converter(name, 4).eval()(images)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1


def test_eight_convolutions_and_no_transposed_one():
    kinds = [type(part) for part in PaperConverter(4).modules()]
    assert kinds.count(nn.Conv2d) == 8
    assert nn.ConvTranspose2d not in kinds
    assert nn.ConvTranspose2d not in [type(part) for part in FastConverter(4).modules()]


def test_down_and_up_are_symmetric():
    sizes = []
    converter = PaperConverter(4).eval()
    for part in converter.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, arguments, result: sizes.append((result.shape[1], result.shape[2])))
    converter(torch.rand(1, 3, 32, 32))
    assert sizes == [(4, 32), (4, 32), (4, 32), (8, 16), (16, 8), (8, 16), (4, 32), (3, 32)]


def test_the_third_layers_output_feeds_the_eighth_convolution():
    converter = PaperConverter(4).eval()
    found = {}
    converter.layers[2].register_forward_hook(lambda _, arguments, result: found.update(third=result.relu()))
    converter.last.register_forward_pre_hook(lambda _, arguments: found.update(eighth=arguments[0]))
    converter(torch.rand(1, 3, 16, 16))
    assert found["eighth"].shape[1] == 8
    assert torch.equal(found["eighth"][:, 4:], found["third"])


def test_costs_on_the_device():
    paper, fast = build_converter("paper"), build_converter("fast")
    assert cost.size_bytes(paper) < 1_000_000
    assert cost.size_bytes(fast) < cost.size_bytes(paper)
    size = (224, 224)
    assert cost.multiply_adds(paper, size) >= 5 * cost.multiply_adds(fast, size)


def test_images_do_not_influence_one_another(name):
    converter = build_converter(name, 4).eval()
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(converter(images)[1:2], converter(images[1:2]), atol=1e-5)


def test_every_parameter_is_trained(name):
    converter = build_converter(name, 4, conditioned=True)
    converter(torch.rand(4, 3, 16, 16), torch.rand(4)).std().backward()
    assert all(parameter.grad is not None for parameter in converter.parameters())


@pytest.mark.parametrize("offset", [0.0, 0.05, -0.2])
def test_near_grey_bfloat16_keeps_single_levels(name, offset):
    """Just there the difference of one level is a message; bfloat16 itself has steps of half a level to one."""
    torch.manual_seed(0)
    converter = build_converter(name, 8).eval()
    with torch.no_grad():
        converter.last.weight.mul_(0.1)  # as a trained one: faint residue
        converter.last.bias.fill_(offset)
        images = torch.rand(8, 3, 32, 32)
        exact = converter(images) * 255
        with torch.autocast("cpu", torch.bfloat16):
            rough = converter(images) * 255
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().max() < 1
    assert (exact.round() != rough.round()).float().mean() < 0.2
    # The output itself is not in bfloat16, which near grey has no more than one value for each level.
    assert len(rough.unique()) > 2 * len(rough.bfloat16().unique())


def test_the_condition_matters_for_each_image(name):
    torch.manual_seed(0)
    converter = build_converter(name, 4, conditioned=True).eval()
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        low, high = converter(image, torch.tensor([0.1])), converter(image, torch.tensor([0.9]))
        both = converter(image.expand(2, -1, -1, -1), torch.tensor([0.1, 0.9]))
    assert not torch.allclose(low, high, atol=1e-3)
    assert torch.allclose(both, torch.cat([low, high]), atol=1e-5)


def test_width_scales_it(name):
    assert cost.count_parameters(build_converter(name, 4)) < cost.count_parameters(build_converter(name, 8))


@pytest.mark.parametrize(("name", "width"), [("no-such", None), ("paper", 0), ("fast", -1)])
def test_what_cannot_be_built_is_refused(name, width):
    with pytest.raises(UsageError):
        build_converter(name, width)
