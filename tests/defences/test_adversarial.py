"""Maximum entropy, learning not to learn, PAN: who learns what in which step."""

import math

import pytest
import torch

from dapter.defences import Task
from dapter.defences._adversarial import entropy
from dapter.defences._divided import cross_entropy
from dapter.defences.disco import Disco
from dapter.defences.learning_not_to_learn import LearningNotToLearn
from dapter.defences.maximum_entropy import MaximumEntropy
from dapter.defences.pan import Pan
from dapter.defences.split_inference import SplitInference
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.train import load_defence, train
from helpers import make_data, make_service
from probe import TASK, batch_of, flags, learn, read

SMALL = {"width": 4, "blocks": 1}
LATE = {"width": 4, "blocks": 5, "learning_rate": 5e-3}
KINDS = [MaximumEntropy, LearningNotToLearn, Pan]
BATCH = batch_of(flags(32, seed=0))


def ready(kind, **settings):
    defence = kind(**SMALL, **settings).setup(0, None, TASK)
    defence.learner.nets.train()
    return defence


def weights(net):
    return torch.cat([value.detach().flatten().clone() for value in net.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_each_optimizer_moves_its_own_networks_only(kind):
    defence = ready(kind)
    nets, optimizers = defence.learner.nets, defence.learner.optimizers
    owned = {
        name: {id(part) for group in each.param_groups for part in group["params"]} for name, each in optimizers.items()
    }
    assert owned["adversary"] == {id(part) for part in nets["adversary"].parameters()}
    assert owned["both"] == {id(part) for name in ("client", "server") for part in nets[name].parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_adversary_learns_faster_than_what_it_plays_against(kind):
    rates = {name: each.param_groups[0]["lr"] for name, each in ready(kind).learner.optimizers.items()}
    assert rates["adversary"] > rates["both"]


@pytest.mark.parametrize("kind", [MaximumEntropy, SplitInference])
def test_the_whole_network_may_run_on_the_device_and_send_one_vector(kind):
    defence = kind(width=4, blocks=8).setup(0, None, TASK)
    assert defence.protect(flags(5, seed=0).images).values.shape == (5, 1, 1, 32)
    with pytest.raises(UsageError, match="0 to 8"):
        kind(width=4, blocks=9).setup(0, None, TASK)


@pytest.mark.parametrize("kind", [Pan, Disco])
def test_no_image_is_restored_from_one_vector(kind):
    with pytest.raises(UsageError, match="Cure"):
        kind(width=4, blocks=8).setup(0, None, TASK)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_moves_all_and_the_adversary_first(kind, monkeypatch):
    defence = ready(kind)
    before = {name: weights(net) for name, net in defence.learner.nets.items()}
    descended, descend = [], defence.learner.descend
    monkeypatch.setattr(defence.learner, "descend", lambda loss, name: (descended.append(name), descend(loss, name)))
    defence.update(BATCH, None)
    assert descended == ["adversary", "both"]
    assert all(not torch.equal(weights(net), before[name]) for name, net in defence.learner.nets.items())


@pytest.mark.parametrize("kind", [MaximumEntropy, Disco])
def test_its_statistics_are_those_of_the_weights_that_are_kept(kind, tmp_path):
    """The averaged ones belong to weights that the game has left behind."""
    data, service = make_data(secrets=("shape",)), make_service("colour")
    run = train(kind(**SMALL), service, data, Plan(epochs=2, batch_size=32, augment=False), root=tmp_path)
    nets = load_defence(run).learner.nets
    tail = next(net for net in nets["server"].modules() if isinstance(net, torch.nn.BatchNorm2d))
    assert int(tail.num_batches_tracked) == 3  # one pass of 96 images, not two


@pytest.mark.parametrize("kind", KINDS)
def test_the_adversary_learns_nothing_into_the_client(kind):
    defence = ready(kind)
    features, _ = defence._forward(BATCH)
    found = defence._attack(features.detach())
    client = list(defence.client().parameters())
    assert torch.autograd.grad(defence._mistaken(found, BATCH), client, allow_unused=True) == (None,) * len(client)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adversary_of_fixed_features_learns_the_secret(kind):
    """It is worth training against: alone, it finds what there is."""
    defence = ready(kind)
    for _ in range(30):
        features, _ = defence._forward(BATCH)
        defence.learner.descend(defence._mistaken(defence._attack(features.detach()), BATCH), "adversary")
    found = defence._attack(features)
    guesses = found[0] if kind is Pan else found
    assert (guesses["shape"].argmax(dim=1) == BATCH.labels["shape"]).float().mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_secret_there_is_nothing_to_train_for(kind):
    with pytest.raises(UsageError, match=r"no.*Cure"):
        kind(**SMALL).setup(0, None, Task({"colour": 2}, {}, (16, 16)))


def test_privacy_of_maximum_entropy_is_what_is_missing_of_it():
    defence = ready(MaximumEntropy, alpha=3.0)
    unsure, sure = {"shape": torch.zeros(4, 2)}, {"shape": torch.tensor([[50.0, -50.0]] * 4)}
    assert float(defence._privacy(unsure, BATCH)) == pytest.approx(0, abs=1e-6)
    assert float(defence._privacy(sure, BATCH)) == pytest.approx(3 * math.log(2), rel=1e-5)


def test_learning_not_to_learn_reverses_the_adversarys_loss_and_adds_entropy():
    defence = ready(LearningNotToLearn, lam=0.5, mu=2.0)
    found = {"shape": torch.randn(32, 2)}
    expected = -0.5 * entropy(found) - 2 * cross_entropy(found, BATCH.labels)
    assert float(defence._privacy(found, BATCH)) == pytest.approx(float(expected))


def test_pan_wants_both_adversaries_to_fail():
    defence = ready(Pan)
    right = {"shape": 10.0 * torch.nn.functional.one_hot(BATCH.labels["shape"], 2)}
    wrong = {"shape": -right["shape"]}
    grey = torch.full_like(BATCH.images, 0.5)
    best = defence._privacy((wrong, grey), BATCH)
    assert best < defence._privacy((right, grey), BATCH) < defence._privacy((right, BATCH.images), BATCH)


def test_unknown_secrets_do_not_count():
    logits = {"shape": torch.randn(4, 2)}
    half = {"shape": torch.tensor([0, 1, -1, -1])}
    known = torch.nn.functional.cross_entropy(logits["shape"][:2], half["shape"][:2])
    assert float(cross_entropy(logits, half)) == pytest.approx(float(known))
    assert float(cross_entropy(logits, {"shape": torch.full((4,), -1)})) == 0


@pytest.fixture(scope="module")
def undefended():
    return learn(SplitInference(**LATE), 80)


@pytest.mark.parametrize("settings", [(MaximumEntropy, {"alpha": 5.0}), (LearningNotToLearn, {}), (Pan, {})])
def test_a_simple_reader_finds_less_of_the_secret_and_the_answer_stays(settings, undefended):
    """A better reader finds more: how much is for an audit to say."""
    kind, weights = settings
    defence = learn(kind(**LATE, **weights), 150)
    assert read(undefended) > 0.95
    assert read(defence) < 0.8
    assert read(defence, "colour") > 0.95
