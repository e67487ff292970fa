from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import probe
from dapter.batches import Batch, to_float
from dapter.defences import Task, with_settings
from dapter.defences._divided import cut_resnet
from dapter.defences.disco import Decoupler, Disco, Filters, prune
from dapter.errors import UsageError
from dapter.train import load_defence, train
from helpers import PLAN, make_data
from rivals import batch_of, moved

DATA = make_data(secrets=("shape",))
TASK = Task.of(DATA)


def ready(service, **settings):
    return Disco(**{"width": 4, **settings}).setup(0, service, TASK)


def channels_kept(payload):
    """How many channels of each image have anything but 0."""
    return (payload.values != 0).any(axis=(1, 2)).sum(axis=1)


@pytest.mark.parametrize(("pruning", "kept"), [(0.0, 8), (0.25, 6), (0.6, 3), (0.99, 0), (1.0, 0)])
def test_the_mask_is_binary_and_keeps_the_share_that_was_asked_for(pruning, kept):
    scores = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    mask = prune(torch.ones(50, 8, 1, 1), scores, torch.tensor(pruning)).flatten(1)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert (mask.sum(dim=1) == kept).all()
    assert all((row[keep > 0].amin() if kept else 9) >= (row[keep == 0].amax() if kept < 8 else -9)
               for row, keep in zip(scores, mask, strict=True))  # fmt: skip


def test_equal_scores_are_pruned_as_many():
    mask = prune(torch.ones(3, 10, 1, 1), torch.zeros(3, 10), torch.tensor(0.3)).flatten(1)
    assert (mask.sum(dim=1) == 7).all()


@pytest.mark.parametrize("spread", [0.5, 10])
def test_most_channels_get_a_gradient_however_far_scores_spread(spread):
    rng = torch.Generator().manual_seed(0)
    scores, wanted = (spread * torch.randn(50, 64, generator=rng)).requires_grad_(), torch.randn(50, 64, generator=rng)
    (prune(torch.ones(50, 64, 1, 1), scores, torch.tensor(0.6)).flatten(1) * wanted).sum().backward()
    gradient = scores.grad.abs()
    assert (gradient > 0.01 * gradient.amax(dim=1, keepdim=True)).sum(dim=1).float().mean() > 32
    assert torch.allclose(scores.grad.sum(dim=1), torch.zeros(50), atol=1e-2)


def test_each_image_has_a_mask_of_its_own(service):
    sent = ready(service, width=8).protect(DATA.splits["test"].images).values
    assert len(np.unique((sent != 0).any(axis=(1, 2)), axis=0)) > 1


def test_without_pruning_everything_is_sent(service):
    defence = ready(service, pruning=0.0)
    images = DATA.splits["test"].images[:8]
    with torch.no_grad():
        whole = defence.learner.nets["client"].eval()(to_float(images, torch.device("cpu"))).half()
    assert np.array_equal(defence.protect(images).values, whole.permute(0, 2, 3, 1).numpy())


def test_the_ratio_can_change_after_training(service, tmp_path):
    run = train(Disco(width=8, blocks=2, hides="secrets"), service, DATA, replace(PLAN, epochs=2), root=tmp_path)
    trained, images = load_defence(run), DATA.splits["test"].images
    for pruning in (0.0, 0.25, 0.75):
        changed = with_settings(trained, pruning=pruning)
        payload = changed.protect(images)
        assert (channels_kept(payload) <= 8 - 8 * pruning).all()
        assert changed.tail(payload, service).logits["colour"].shape == (len(images), 2)
    floats = to_float(images, torch.device("cpu"))
    half = with_settings(trained, pruning=0.5).client()(floats)
    assert torch.equal(trained.client()(floats, torch.tensor(0.5)), half)
    with pytest.raises(UsageError, match="range"):
        with_settings(replace_range(trained, (0.5, 0.7)), pruning=0.9)


def replace_range(defence, limits):
    other = replace(defence, pruning_range=limits)
    other.task, other.learner = defence.task, defence.learner
    return other


def test_the_first_phase_teaches_client_and_service_part_only(service):
    defence = ready(service)
    assert moved(defence, lambda: defence.update(batch_of(DATA, progress=0.1), service)) == {"client", "server"}


@pytest.mark.parametrize("hides", ["secrets", "image", "both"])
def test_the_second_phase_leaves_the_client_part_alone(service, hides):
    defence = ready(service, hides=hides)
    found = moved(defence, lambda: defence.update(batch_of(DATA, progress=0.9), service))
    assert found == {"filters", "server", "adversary"}


def test_the_client_part_learns_for_the_answer_alone(service):
    """Its weights after the first phase do not depend on what is hidden."""
    first = [ready(service, hides=hides) for hides in ("secrets", "image")]
    for name in ("client", "server"):
        first[1].learner.nets[name].load_state_dict(first[0].learner.nets[name].state_dict())
    for defence in first:
        defence.learner.nets.train()
        for progress in (0.1, 0.2, 0.9):
            defence.update(batch_of(DATA, progress=progress), service)
    states = [defence.learner.nets["client"].state_dict() for defence in first]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_privacy_term_is_the_proxies_loss_reversed(service):
    defence = ready(service, weight=2.0)
    defence.learner.nets.eval()
    batch = batch_of(DATA)
    sent = torch.from_numpy(defence.protect(DATA.splits["train"].images[:32]).values).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        guesses, restored = defence.learner.nets["adversary"].duos[0](sent)
        expected = F.cross_entropy(guesses["shape"], batch.labels["shape"]) + (restored - batch.images).abs().mean()
        found = defence.losses(batch, service)
    assert float(found["privacy"]) == pytest.approx(-2 * float(expected), rel=1e-2)


def test_an_expert_gets_its_own_gradient_only(service):
    defence = ready(service, experts=True)
    filters = defence.learner.nets["filters"]
    assert len(filters.nets) == 2  # the shape, and the image
    batch = batch_of(DATA)
    views, answer = defence._forward(batch)
    assert torch.equal(views[0], views[1])
    found = defence.learner.nets["adversary"](views)
    secret = F.cross_entropy(found[0][0]["shape"], batch.labels["shape"])
    image = F.l1_loss(found[1][1], batch.images)
    for loss, reached in ((secret, {0}), (image, {1}), (answer, {0, 1})):
        defence.learner.nets.zero_grad()
        loss.backward(retain_graph=True)
        grads = {place for place, net in enumerate(filters.nets) for part in net.parameters()
                 if part.grad is not None and part.grad.abs().max() > 0}  # fmt: skip
        assert grads == reached


def test_a_channel_of_the_decoupler_sees_one_part_of_the_image():
    torch.manual_seed(0)
    decoupler = Decoupler(4)
    images = torch.rand(1, 3, 32, 32)
    changed = images.clone()
    changed[:, :, 8:16, 24:32] += 1  # second row of parts, last column
    with torch.no_grad():
        difference = (decoupler(changed) - decoupler(images)).abs().amax(dim=(0, 2, 3))
    assert decoupler(images).shape == (1, 16, 32, 32)
    assert difference.nonzero().flatten().tolist() == [7]


def test_the_decoupler_averages_its_filters():
    torch.manual_seed(0)
    decoupler = Decoupler(2)
    images = torch.rand(2, 3, 8, 8)
    part = F.interpolate(images[:, :, 4:, :4], (8, 8), mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert torch.allclose(decoupler(images)[:, 2], decoupler.filters(part).mean(dim=1), atol=1e-6)


def test_it_works_with_a_decoupler(service):
    defence = ready(service, decoupler=2)
    images = np.zeros((2, 15, 22, 3), np.uint8)
    assert defence.tail(defence.protect(images), service).logits["colour"].shape == (2, 2)
    assert "client" in moved(defence, lambda: defence.update(batch_of(DATA, progress=0.1), service))


@pytest.mark.parametrize("blocks", range(1, 8))
def test_it_can_be_cut_after_every_block(service, blocks):
    defence = ready(service, blocks=blocks, pruning=0.5)
    payload = defence.protect(DATA.splits["test"].images[:4])
    assert payload.values.shape[3] == 4 * 2 ** ((blocks - 1) // 2)
    assert np.isfinite(defence.update(batch_of(DATA, progress=0.9), service)["loss"])


def test_filters_see_the_features_of_one_image(service):
    """The mask of an image does not depend on the others in its batch."""
    torch.manual_seed(0)
    filters = Filters([cut_resnet(4, 2, {"scores": 4})[1]]).eval()
    features = torch.rand(6, 4, 16, 16)
    with torch.no_grad():
        assert torch.allclose(filters(features)[:1], filters(features[:1]), atol=1e-5)


class Halves(nn.Module):
    """A client part of eight channels: all see the left of images, with the answer; half the right, with the rest."""

    def __init__(self):
        super().__init__()
        self.filters = nn.Conv2d(3, 8, 3, padding=1)
        self.tells = torch.tensor([False, True] * 4)

    def forward(self, images):
        seen = torch.ones(8, 1, 16)
        seen[~self.tells, :, 8:] = 0
        return self.filters(2 * images - 1) * seen


@pytest.mark.parametrize(("hides", "weight", "made"), [("secrets", 3.0, probe.flags), ("image", 10.0, probe.patches)])
def test_the_filter_learns_to_leave_out_what_tells(hides, weight, made):
    """Four of eight channels are left out; for the answer it does not matter which. On average of three clients."""
    known, attacked = made(512, seed=1), made(400, seed=3)
    found = {}
    for each in (0.0, weight):
        kept = []
        for seed in range(3):
            torch.manual_seed(seed)
            client = Halves()
            defence = Disco(width=8, blocks=1, hides=hides, pruning=0.5, weight=each, learning_rate=5e-3)
            defence.setup(seed, None, probe.TASK).learner.nets["client"] = client
            probe.teach(defence, 200, train=known)
            sent = defence.protect(attacked.images).values
            kept.append((sent != 0).any(axis=(1, 2))[:, client.tells].mean())
            assert probe.answered(defence, attacked) > 0.95
        found[each] = np.mean(kept)
    assert found[weight] < found[0.0] - 0.15, found


@pytest.mark.parametrize(
    "settings",
    [
        {"pruning": 1.2},
        {"pruning": 0.5, "pruning_range": (0.6, 0.9)},
        {"pretrain": 0.0},
        {"pretrain": 1.0},
        {"hides": "all"},
        {"decoupler": 3},
    ],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError):
        Disco(**settings)


def test_with_nothing_to_hide_it_says_so(service):
    bare = make_data()
    for hides in ("secrets", "both"):  # the image alone would be hidden, and nobody would know
        with pytest.raises(UsageError, match=r"no secrets to hide.*Cure"):
            Disco(width=4, hides=hides).setup(0, service, Task.of(bare))
    assert Disco(width=4, hides="image").setup(0, service, Task.of(bare))._groups == [({}, True)]


def test_a_batch_without_known_secrets_is_no_error(service):
    batch = batch_of(DATA, progress=0.9)
    unknown = Batch(batch.images, {**batch.labels, "shape": torch.full_like(batch.labels["shape"], -1)}, 0.9)
    found = ready(service, hides="secrets").update(unknown, service)
    assert all(np.isfinite(value) for value in found.values())
