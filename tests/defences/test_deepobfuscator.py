from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dapter import metrics
from dapter.defences import Task
from dapter.defences.deepobfuscator import DeepObfuscator, cut_vgg, similarity
from dapter.errors import UsageError
from helpers import make_data
from probe import READ, learn, read
from rivals import batch_of, moved, probe_secret

DATA = make_data(secrets=("shape",))
TASK = Task.of(DATA)


def ready(service, **settings):
    return DeepObfuscator(**{"width": 4, **settings}).setup(0, service, TASK)


def test_the_parts_are_the_blocks_of_vgg16():
    client, server = cut_vgg(4, 2, {"colour": 2})
    client, server = client.eval(), server.eval()
    convolutions = [[each for each in part.modules() if isinstance(each, torch.nn.Conv2d)] for part in (client, server)]
    assert [len(each) for each in convolutions] == [4, 9]
    features = client(torch.zeros(1, 3, 32, 32))
    assert features.shape == (1, 8, 8, 8)
    assert server(features)["colour"].shape == (1, 2)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_similarity_follows_ms_ssim(side):
    """Equal images have 1, and two restored images are in the same order under both."""
    rng = np.random.default_rng(0)
    image = rng.random((4, side, side, 3)).astype(np.float32)
    worse = [np.clip(image + share * rng.normal(size=image.shape), 0, 1).astype(np.float32) for share in (0.1, 0.3)]
    tensors = [torch.from_numpy(each).permute(0, 3, 1, 2) for each in (image, *worse)]
    assert float(similarity(tensors[0], tensors[0])) == pytest.approx(1, abs=1e-4)
    ours = [float(similarity(each, tensors[0])) for each in tensors[1:]]
    theirs = [metrics.ms_ssim(each, image).mean() for each in worse]
    assert (ours[0] > ours[1]) == (theirs[0] > theirs[1])


def test_similarity_has_a_gradient_where_ms_ssim_has_none():
    """For a picture and its negative, MS-SSIM is cut off at 0."""
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    negative = (1 - picture).requires_grad_()
    similarity(negative, picture).backward()
    assert negative.grad.isfinite().all()
    assert negative.grad.abs().max() > 0


@pytest.mark.parametrize("hides", ["secrets", "image", "both"])
def test_a_step_moves_every_part(service, hides):
    defence = ready(service, hides=hides)
    assert moved(defence, lambda: defence.update(batch_of(DATA), service)) == {"client", "server", "adversary"}


def test_its_loss_is_made_of_the_papers_aims(service):
    defence = ready(service, secret_weight=3.0, image_weight=0.5)
    defence.learner.nets.eval()
    batch = replace(batch_of(DATA), progress=0.5)
    nets = defence.learner.nets
    with torch.no_grad():
        guesses, restored = nets["adversary"](nets["client"](batch.images))
        torch.manual_seed(5)
        found = float(defence.losses(batch, service)["privacy"])
        torch.manual_seed(5)
        noise = (0.5 + 0.114 * torch.randn_like(batch.images)).clamp(0, 1)
        secret = F.cross_entropy(guesses["shape"], batch.labels["shape"])
        image = similarity(restored, batch.images) - similarity(restored, noise)
    assert found == pytest.approx(float(-3 * secret + 0.5 * image), rel=1e-4)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0), (0.33, 1), (0.66, 1), (0.8325, 0.5), (0.99, 0.1)])
def test_the_game_begins_late_and_its_weight_falls(service, progress, share):
    """As in the published code, whose 20 epochs of the game have weights 10, from the eleventh on 9, 8, ... 1."""
    defence = ready(service)
    batch = replace(batch_of(DATA), progress=progress)
    found = {"shape": torch.tensor([[1.0, 0.0]]).expand(len(batch.images), 2)}, None
    full = float(defence._privacy(found, replace(batch, progress=0.4)))
    assert float(defence._privacy(found, batch)) == pytest.approx(share * full, abs=1e-4)


def test_the_adversaries_do_not_help_the_obfuscator(service):
    """Their own step leaves no gradient in the client part, and the obfuscator's does not move them."""
    defence = ready(service)
    defence.learner.nets.train()
    batch = batch_of(DATA)
    features, _ = defence._forward(batch)
    defence._mistaken(defence._attack(features.detach()), batch).backward()
    assert all(part.grad is None for part in defence.learner.nets["client"].parameters())
    assert all(part.grad is not None for part in defence.learner.nets["adversary"].parameters())
    both = {id(part) for group in defence.learner.optimizers["both"].param_groups for part in group["params"]}
    assert not both & {id(part) for part in defence.learner.nets["adversary"].parameters()}


def test_its_adversaries_really_learn(service):
    """Against a client part that does not resist, they read the shape and restore something of the image."""
    torch.manual_seed(0)
    defence = ready(service, width=8, secret_weight=0.0, image_weight=0.0)
    defence.learner.nets.train()
    batches = [batch_of(make_data(secrets=("shape",), seed=seed), 96) for seed in range(6)]
    seen = [defence.update(batches[step % 6], service)["adversary"] for step in range(72)]
    assert np.mean(seen[-6:]) < np.mean(seen[:6]) - 0.25
    defence.learner.nets.eval()
    with torch.no_grad():
        guesses, restored = defence.learner.nets["adversary"](defence.learner.nets["client"](batches[0].images))
    right = (guesses["shape"].argmax(dim=1) == batches[0].labels["shape"]).float().mean()
    assert right > 0.8
    grey = torch.full_like(restored, float(batches[0].images.mean()))
    assert F.mse_loss(restored, batches[0].images) < F.mse_loss(grey, batches[0].images)


def test_it_hides_a_secret_that_it_shows_without_the_game():
    settings = {"width": 4, "blocks": 3, "hides": "secrets", "learning_rate": 5e-3}
    found = {}
    for weight in (0.0, 3.3):
        trained = [learn(DeepObfuscator(**settings, secret_weight=weight), 300, seed=seed) for seed in (0, 1)]
        found[weight] = np.mean([probe_secret(each, READ) for each in trained])
        assert all(read(each, "colour") > 0.95 for each in trained)
    assert found[3.3] < found[0.0] - 0.2, found


@pytest.mark.parametrize("settings", [{"hides": "all"}, {"blocks": 0}, {"blocks": 5}, {"pretrain": 1.0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError):
        DeepObfuscator(**settings)


def test_images_too_small_for_ms_ssim_are_refused(service):
    small = make_data(secrets=("shape",), size=8)
    with pytest.raises(UsageError, match="Cure"):
        DeepObfuscator(width=4).setup(0, service, Task.of(small))
    DeepObfuscator(width=4, hides="secrets").setup(0, service, Task.of(small))
