from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dapter import metrics
from dapter.attacks import Sealed
from dapter.attacks._deep_prior import DeepPriors
from dapter.attacks._gradients import has_gradient
from dapter.attacks._search import Pixels, Search
from dapter.attacks.inversion import Inversion
from dapter.batches import to_float
from dapter.cells import Subject, run_cell
from dapter.defences import build_defence
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.runs import Run
from dapter.types import Known, Observed, View
from helpers import draw
from planted import make_secret_data

PLAN = Plan(epochs=3, batch_size=16, bfloat16=False, augment=False)
PIXELS = Inversion(images=4, steps=120, plan=PLAN)
DEEP = replace(PIXELS, prior="deep", weight=0.0, learning_rate=0.01)
TRAIN, VAL, TEST = (draw(n, 16, seed).images for seed, n in enumerate((64, 2, 4)))


def invertible(images):
    """Each channel a mixture of all, half as strong, mirrored."""
    mixture = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]], device=images.device)
    return 0.25 + 0.5 * torch.einsum("oc,nchw->nohw", mixture, images).flip(3)


def constant(images):
    return torch.full_like(images, 0.5)


def posterised(images):
    """Five levels a channel: flat almost everywhere, so without a gradient."""
    return (images * 4).round() / 4


def convert(client, images):
    floats = client(to_float(images, torch.device("cpu")))
    return (floats * 255).round().byte().permute(0, 2, 3, 1).numpy()


def attack(settings, client, folder, val=VAL):
    view = View(Known(convert(client, TRAIN), None, TRAIN), Known(convert(client, VAL), None, val), {}, client=client)
    return settings.run(view, Sealed(lambda: Observed(convert(client, TEST))), 0, Run(folder))


def features(images):
    """Sixteen channels, half as large, and one that is always 0."""
    weight = torch.randn(17, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    found = nn.functional.conv2d(images, weight, stride=2, padding=1)
    return torch.cat([found[:, :16], nn.functional.relu(found[:, 16:] - 100)], dim=1)


class Pruning(nn.Module):
    """Leaves out a quarter of the channels, others for every image and at every call."""

    def __init__(self):
        super().__init__()
        self.whole = Features()

    def forward(self, images):
        found = self.whole(images)
        order = torch.rand(found.shape[:2], device=found.device).argsort(dim=1)
        return found * (order < 12)[:, :, None, None]


class Features(nn.Module):
    """`features` as a module."""

    def forward(self, images):
        return features(images)[:, :16]


def attack_features(settings, client, folder):
    def send(images):
        return client(to_float(images, torch.device("cpu"))).permute(0, 2, 3, 1).half().numpy()

    view = View(Known(send(TRAIN), None, TRAIN), Known(send(VAL), None, VAL), {}, client=client)
    return settings.run(view, Sealed(lambda: Observed(send(TEST))), 0, Run(folder)).test.images


def mean_image():
    return np.stack([TRAIN.mean(axis=0).round().astype(np.uint8)] * len(TEST))


def test_an_invertible_client_part_is_inverted(tmp_path):
    restored = attack(PIXELS, invertible, tmp_path).test.images
    assert metrics.psnr(restored, TEST).min() > 35
    assert metrics.ssim(restored, TEST).min() > 0.97


def test_the_deep_prior_restores_images_too(tmp_path):
    restored = attack(DEEP, invertible, tmp_path).test.images
    assert metrics.ssim(restored, TEST).mean() > 0.6
    assert metrics.ssim(mean_image(), TEST).mean() < 0.2


@pytest.mark.parametrize("settings", [PIXELS, DEEP], ids=["tv", "deep"])
def test_a_constant_payload_gives_the_mean_image_and_no_more(settings, tmp_path):
    outcome = attack(replace(settings, steps=20, plan=replace(PLAN, epochs=1)), constant, tmp_path)
    assert np.abs(outcome.test.images.astype(int) - mean_image()).max() <= 1  # the rounding of a half
    assert (outcome.test.images == outcome.test.images[:1]).all()


def test_features_are_inverted(tmp_path):
    restored = attack_features(PIXELS, features, tmp_path)
    assert metrics.psnr(restored, TEST).min() > 24
    assert metrics.ssim(restored, TEST).mean() > 0.9


def test_what_is_left_out_does_not_lead_the_search_astray(tmp_path):
    torch.manual_seed(0)
    pruning = Pruning()
    restored = attack_features(PIXELS, pruning, tmp_path / "known")
    astray = attack_features(PIXELS, pruning.forward, tmp_path / "astray")
    assert metrics.ssim(restored, TEST).mean() > 0.8
    assert metrics.ssim(astray, TEST).mean() < 0.5


def test_features_without_a_gradient_are_inverted_through_an_imitation(tmp_path):
    settings = replace(DEEP, steps=60, plan=replace(PLAN, epochs=20))
    restored = attack_features(settings, lambda images: (features(images) * 2).round() / 2, tmp_path)
    assert metrics.ssim(restored, TEST).mean() > metrics.ssim(mean_image(), TEST).mean() + 0.15


def test_it_chooses_without_the_truth(tmp_path):
    quick = replace(PIXELS, steps=30)
    found = attack(quick, invertible, tmp_path / "truth")
    other = attack(quick, invertible, tmp_path / "lie", val=255 - VAL)
    assert np.array_equal(found.val.images, other.val.images)
    assert np.array_equal(found.test.images, other.test.images)


def test_a_client_part_without_a_gradient_is_inverted_through_an_imitation(tmp_path):
    assert has_gradient(invertible, TRAIN)
    assert not has_gradient(posterised, TRAIN)
    assert not has_gradient(constant, TRAIN)
    settings = replace(DEEP, steps=60, plan=replace(PLAN, epochs=20))
    restored = attack(settings, posterised, tmp_path).test.images
    assert metrics.ssim(restored, TEST).mean() > metrics.ssim(mean_image(), TEST).mean() + 0.15
    assert metrics.l1(restored, TEST).mean() < 0.8 * metrics.l1(mean_image(), TEST).mean()


def test_a_search_keeps_what_explains_the_payload_best():
    payloads = to_float(convert(invertible, TEST), torch.device("cpu"))
    search = Search(payloads, invertible, torch.ones(1, 3, 1, 1), torch.full_like(payloads, 0.5))
    search.descend(Pixels(search.best), steps=40, rate=0.03, weight=0.0)
    assert search.curve == sorted(search.curve, reverse=True)
    best, distance = search.best.clone(), search.distance.clone()
    search.descend(Pixels(torch.rand_like(payloads)), steps=2, rate=0.03, weight=0.0)  # far worse: nothing is kept
    assert torch.equal(search.best, best)
    assert torch.equal(search.distance, distance)
    assert search.best.min() >= 0
    assert search.best.max() <= 1


def test_the_search_never_moves_the_client_part(tmp_path):
    client = nn.Conv2d(3, 3, 1)
    attack(replace(PIXELS, steps=3), lambda images: torch.sigmoid(client(images)), tmp_path)
    assert client.weight.grad is None


@pytest.mark.parametrize("size", [(32, 32), (9, 14), (4, 4)])
def test_deep_priors_begin_with_the_first_image_and_are_independent(size):
    first = torch.rand(2, 3, *size) * 0.9 + 0.05
    priors = DeepPriors(first, 4)
    assert torch.allclose(priors(), first, atol=1e-5)
    nn.init.normal_(priors.last.weight)
    (gradient,) = torch.autograd.grad(priors()[0].sum(), priors.down[0].weight)
    mine, other = gradient.chunk(2)
    assert not other.any()
    assert mine.any() or size == (4, 4)  # at 2 x 2 the norm of one activation can be flat


def test_only_a_few_images_are_attacked_and_the_figures_say_so(service, tmp_path):
    data = make_secret_data(counts=(32, 16, 16))
    subject = Subject(build_defence("identity", {}).setup(), service, data)
    found = run_cell(replace(PIXELS, steps=2, starts=2), subject, 0, tmp_path)
    assert {score.n for score in (*found.val, *found.test)} == {4}


@pytest.mark.parametrize("wrong", [{"prior": "none"}, {"steps": 0}, {"starts": 0}, {"images": 0}])
def test_settings_that_cannot_work(wrong):
    with pytest.raises(UsageError, match=r"is none of|at least 1"):
        Inversion(**wrong)
