"""Gaussian and Laplace noise; Shredder and Cloak, whose noise is learned."""

import numpy as np
import pytest
import torch
from torch.distributions import Laplace, Normal

from dapter.defences._noise import LearnedNoise, loudness
from dapter.defences.cloak import Cloak
from dapter.defences.gaussian_noise import GaussianNoise
from dapter.defences.laplace_noise import LaplaceNoise
from dapter.defences.shredder import Shredder
from dapter.defences.split_inference import SplitInference
from dapter.errors import UsageError
from helpers import make_service
from probe import TASK, batch_of, flags, learn, read

GREY = np.full((40, 16, 16, 3), 128, np.uint8)
SMALL = {"width": 4, "blocks": 1}


def spread(payload):
    """Mean distance from grey, as a share of the range."""
    return np.abs(payload.values.astype(float) - 128).mean() / 255


@pytest.mark.parametrize(
    ("defence", "distance"),
    [(GaussianNoise(sigma=0.1), 0.1 * (2 / np.pi) ** 0.5), (LaplaceNoise(scale=0.05), 0.05)],
)
def test_noise_has_the_scale_that_was_asked_for(defence, distance):
    assert spread(defence.setup().protect(GREY, seed=0)) == pytest.approx(distance, rel=0.03)


@pytest.mark.parametrize("kind", [GaussianNoise, LaplaceNoise])
def test_noise_is_the_same_for_no_two_images_or_calls(kind):
    defence = kind().setup()
    payloads = np.concatenate([defence.protect(GREY[:4]).values for _ in range(2)])
    assert len(np.unique(payloads.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("kind", [Normal, Laplace])
def test_learned_noise_has_its_mean_and_scale_at_each_place(kind):
    noise = LearnedNoise(kind, (2, 3, 3), 4.0)
    with torch.no_grad():
        noise.mean[:, 0] = 7.0
        noise.rho[:, 0] = 0.0
        found = noise(torch.zeros(4000, 2, 3, 3))
    unit = 1.0 if kind is Normal else 2**0.5
    assert found[:, 0].mean(dim=0).flatten().tolist() == pytest.approx([7.0] * 9, abs=0.2)
    assert found[:, 0].std(dim=0).flatten().tolist() == pytest.approx([2.0 * unit] * 9, rel=0.1)
    assert found[:, 1].std(dim=0).flatten().tolist() == pytest.approx([0.2 * unit] * 9, rel=0.1)


def test_only_the_scale_is_rewarded():
    """The mean could be subtracted."""
    noise = LearnedNoise(Laplace, (1, 2, 2), 4.0)
    assert torch.autograd.grad(loudness(noise.scale()), [noise.mean], allow_unused=True) == (None,)


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def moved(before, after):
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_shredder_trains_the_network_then_the_noise_and_never_both():
    defence = Shredder(**SMALL).setup(0, None, TASK)
    batches = {share: batch_of(flags(32, seed=0), progress=share) for share in (0.0, 0.49, 0.5, 1.0)}
    for share, batch in batches.items():
        defence.learner.nets.train()
        before = {name: state(net) for name, net in defence.learner.nets.items()}
        defence.update(batch, None)
        changed = {name for name, net in defence.learner.nets.items() if moved(before[name], state(net))}
        assert changed == ({"client", "server"} if share < 0.5 else {"noise"}), share


def test_shredders_noise_is_learned_loud_and_never_twice_the_same():
    defence = learn(Shredder(**SMALL, lam=0.3), 120)
    noise = defence.learner.nets["noise"]
    assert noise.scale().mean() > 2 * 0.05 * noise.most
    assert noise.scale().std() > 0, "the same everywhere would not be learned"
    images = np.repeat(flags(1, seed=5).images, 300, axis=0)
    sent = defence.protect(images).values.astype(np.float32)
    expected = 2**0.5 * noise.scale()[0].permute(1, 2, 0).detach().numpy()
    assert np.median(sent.std(axis=0) / expected) == pytest.approx(1, rel=0.1)
    assert len(np.unique(sent.reshape(300, -1), axis=0)) == 300


def test_lam_says_how_loud():
    quiet, loud = (learn(Shredder(**SMALL, lam=lam), 60).learner.nets["noise"] for lam in (0.01, 1.0))
    assert loud.scale().mean() > 1.2 * quiet.scale().mean()


def test_cloak_learns_noise_then_constants():
    service = make_service()
    defence = Cloak(search=0.5).setup(0, service, TASK)
    for share in (0.0, 0.49, 0.5, 1.0):
        defence.learner.nets.train()
        before = state(defence.learner.nets["sift"])
        defence.update(batch_of(flags(32, seed=0), progress=share), service)
        changed = moved(before, state(defence.learner.nets["sift"]))
        assert changed == ({"noise.mean", "noise.rho"} if share < 0.5 else {"constants"}), share
    assert service.frozen


def test_cloak_sends_constants_where_the_noise_is_loud_and_noise_elsewhere(service):
    defence = learn(Cloak(suppressed=0.25), 60, service)
    sift = defence.learner.nets["sift"]
    kept = sift.kept(torch.zeros(1, 3, 16, 16))[0].permute(1, 2, 0).numpy()
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    scale = sift.noise.scale()[0].permute(1, 2, 0).detach().numpy()
    assert scale[kept].max() <= scale[~kept].min()
    one, other = (defence.protect(flags(4, seed=seed).images).values for seed in (5, 6))
    assert (one[:, ~kept] == other[:, ~kept]).all(), "a constant says nothing of the image"
    assert (one[:, kept] != other[:, kept]).mean() > 0.5


def test_constants_of_cloak_stay_where_the_answer_can_move_them(service):
    defence = Cloak().setup(0, service, TASK)
    sift = defence.learner.nets["sift"]
    constants = sift.constants
    with torch.no_grad():
        sift.noise.rho.copy_(torch.rand_like(sift.noise.rho))
        constants.copy_(torch.where(torch.rand_like(constants) < 0.5, -0.2, 1.2))
    for _ in range(3):
        defence.learner.nets.train()
        defence.update(batch_of(flags(32, seed=0), progress=0.9), service)
    assert constants.min() >= 0
    assert constants.max() <= 1
    assert ((constants > 0) & (constants < 1)).any(), "some were moved back inside"


def test_cloak_knows_its_image_size():
    with pytest.raises(UsageError, match="Cure"):
        Cloak().setup()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (GaussianNoise, {"sigma": 0.0}),
        (LaplaceNoise, {"scale": -1.0}),
        (Shredder, {"pretrain": 1.0}),
        (Cloak, {"suppressed": 0.0}),
        (Cloak, {"search": 1.0}),
    ],
)
def test_settings_that_cannot_work_are_refused(kind, settings):
    with pytest.raises(UsageError, match="Cure"):
        kind(**settings)


def test_the_secret_is_harder_to_read_through_learned_noise():
    assert read(learn(SplitInference(**SMALL), 60)) > 0.95
    assert read(learn(Shredder(**SMALL, lam=1.0), 150)) < 0.92
