from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dapter.defences import Task, with_settings
from dapter.defences._divided import Heads
from dapter.defences._stages import NETS, RemotePart, build_stages, build_suite
from dapter.defences.partition import Partition
from dapter.errors import UsageError
from dapter.train import load_defence, train
from helpers import PLAN, make_data
from probe import READ, learn
from rivals import batch_of, moved, probe_secret

DATA = make_data(secrets=("shape",))
TASK = Task.of(DATA)


def ready(service, **settings):
    return Partition(**{"width": 4, **settings}).setup(0, service, TASK)


def test_the_mlp_has_the_papers_three_layers_of_800():
    stages, shapes = build_stages("mlp", 16, (28, 28))
    net = RemotePart(stages, Heads(torch.nn.Identity(), shapes[-1][0], {"class": 10}))
    layers = [part for part in net.modules() if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d))]
    assert [tuple(layer.weight.flatten(1).shape) for layer in layers] == [
        (800, 2352), (800, 800), (800, 800), (10, 800)]  # fmt: skip


def test_vgg19_has_sixteen_convolutions_with_batch_normalisation():
    stages, shapes = build_stages("vgg19", 2, (32, 32))
    for kind in (torch.nn.Conv2d, torch.nn.BatchNorm2d):
        assert sum(isinstance(part, kind) for part in torch.nn.ModuleList(stages).modules()) == 16
    assert shapes[-1] == (16, 1, 1)


@pytest.mark.parametrize("net", sorted(NETS))
def test_it_can_be_cut_after_every_stage(service, net):
    images = DATA.splits["test"].images[:4]
    for cut in range(1, NETS[net][1] + 1):
        defence = ready(service, net=net, width=2, cut=cut, defenders=1)
        payload = defence.protect(images)
        _, height, width, channels = payload.values.shape
        assert (channels, height, width) == build_stages(net, 2, (16, 16))[1][cut - 1]
        nets = defence.learner.nets
        with torch.no_grad():
            features = nets["local"](torch.from_numpy(images / 255).permute(0, 3, 1, 2).float())
            whole = nets["remote"](features[-1])["colour"]
        parts = defence.tail(payload, service).logits["colour"]
        assert np.allclose(whole.numpy(), parts, atol=1e-2)


def test_the_suite_has_defenders_of_four_kinds():
    sizes = set()
    for shape in ((8, 4, 4), (40, 1, 1)):
        suite = build_suite(4, shape, 4, {"shape": 2, "colour": 3}, (16, 16))
        for guesses, restored in suite(torch.rand(5, *shape)):
            assert {name: tuple(found.shape) for name, found in guesses.items()} == {"shape": (5, 2), "colour": (5, 3)}
            assert restored.shape == (5, 3, 16, 16)
            assert 0 <= restored.min() <= restored.max() <= 1
        sizes |= {sum(part.numel() for part in duo.parameters()) for duo in suite.duos}
        assert len(build_suite(1, shape, 4, {}, (16, 16)).duos) == 1
    assert len(sizes) == 8


def test_algorithm_1_works_against_the_best_defender(service):
    """The privacy term is -λ times the smallest loss, for each thing that is hidden, and so is its gradient."""
    defence = ready(service, lam=2.0)
    defence.learner.nets.eval()
    batch = batch_of(DATA)
    features, _ = defence._forward(batch, locked=False)
    each = defence._defend(features, batch)
    assert each.shape == (1, 4, 2)  # cuts, defenders, what is hidden
    suite = defence.learner.nets["defenders"](features)[0]
    secrets = torch.stack([F.cross_entropy(guesses["shape"], batch.labels["shape"]) for guesses, _ in suite])
    errors = torch.stack([F.mse_loss(restored, batch.images) for _, restored in suite])
    shares = errors / batch.images.var(unbiased=False)
    assert torch.allclose(each[0], torch.stack([secrets, shares], dim=1), rtol=1e-4)
    privacy = defence.losses(batch, service)["privacy"]
    assert privacy.item() == pytest.approx(-2 * (secrets.amin() + shares.amin()).item(), rel=1e-4)
    weights = list(defence.client().parameters())
    best = -2 * (secrets[secrets.argmin()] + shares[shares.argmin()])
    expected = torch.autograd.grad(best, weights, retain_graph=True)
    found = torch.autograd.grad(defence._privacy(features, batch), weights)
    assert all(torch.allclose(left, right, rtol=1e-3, atol=1e-6) for left, right in zip(found, expected, strict=True))


def test_every_defender_learns_in_every_step(service):
    defence = ready(service)
    defence.learner.nets.train()
    defenders = defence.learner.nets["defenders"].suites[0].duos
    before = [{key: value.clone() for key, value in duo.state_dict().items()} for duo in defenders]
    defence.update(batch_of(DATA, progress=0.0), service)
    for duo, old in zip(defenders, before, strict=True):
        weights = dict(duo.named_parameters())
        assert all(not torch.equal(value, old[name]) for name, value in weights.items() if value.ndim > 1)


def test_defenders_learn_to_read(service):
    defence = ready(service, lam=0.0)
    defence.learner.nets.train()
    seen = [defence.update(batch_of(DATA, 96, progress=0.0), service)["defenders"] for _ in range(40)]
    assert seen[-1] < seen[0] * 0.8


def test_the_locked_local_part_stays_while_the_remote_part_learns(service):
    defence = ready(service, locked=0.5)
    update = defence.update
    assert moved(defence, lambda: update(batch_of(DATA, progress=0.4), service)) == {"local", "remote", "defenders"}
    assert moved(defence, lambda: update(batch_of(DATA, progress=0.6), service)) == {"remote"}


def test_without_defenders_it_is_split_inference(service):
    defence = ready(service, defenders=0, locked=0.0)
    assert set(defence.losses(batch_of(DATA), service)) == {"loss"}
    assert moved(defence, lambda: defence.update(batch_of(DATA, progress=0.0), service)) == {"local", "remote"}


def test_a_partition_suite_defends_every_cut_and_any_may_be_chosen_in_use(service, tmp_path):
    run = train(Partition(width=4, cut_range=(1, 3)), service, DATA, replace(PLAN, epochs=1), root=tmp_path)
    trained, images = load_defence(run), DATA.splits["test"].images
    assert len(trained.learner.nets["defenders"].suites) == 3
    answers = []
    for cut, shape in ((1, (8, 8, 4)), (2, (4, 4, 8)), (3, (2, 2, 16))):
        chosen = with_settings(trained, cut=cut)
        payload = chosen.protect(images)
        assert payload.values.shape[1:] == shape
        answers.append(chosen.tail(payload, service).logits["colour"])
        floats = torch.from_numpy(images / 255).permute(0, 3, 1, 2).float()
        assert torch.equal(trained.client()(floats, torch.tensor(cut)), chosen.client()(floats))
    assert np.allclose(answers[0], answers[2], atol=1e-2)  # one network
    with pytest.raises(UsageError, match="cannot change"):
        with_settings(ready(service), cut=1)
    with pytest.raises(UsageError, match="cut 4"):
        with_settings(trained, cut=4)


def test_it_hides_a_secret_that_it_shows_without_defenders():
    settings = {"width": 4, "cut": 3, "lam": 1.0, "hides": "secrets", "learning_rate": 5e-3}
    found = {
        defenders: [
            probe_secret(learn(Partition(**settings, defenders=defenders), 700, seed=seed), READ) for seed in seeds
        ]
        for defenders, seeds in ((0, range(2)), (4, range(4)))  # one training in four loses to its defenders
    }
    assert np.mean(found[4]) < np.mean(found[0]) - 0.04, found


@pytest.mark.parametrize(
    "settings",
    [
        {"net": "lenet"},
        {"cut": 0},
        {"cut": 5},
        {"cut_range": (1, 2)},
        {"net": "mlp", "cut": 4},
        {"defenders": 5},
        {"defenders": -1},
        {"lam": -1.0},
        {"locked": 1.0},
        {"hides": "all"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError):
        Partition(**settings)
