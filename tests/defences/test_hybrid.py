import numpy as np
import pytest
import torch

from dapter.defences.hybrid import MARGIN, Hybrid, _Components, contrastive
from dapter.defences.split_inference import SplitInference
from dapter.errors import UsageError
from probe import TASK, batch_of, flags, learn, read

SMALL = {"width": 4, "blocks": 5, "components": 3}


def test_only_the_components_leave():
    defence = Hybrid(**SMALL).setup(0, None, TASK)
    assert defence.protect(flags(5, seed=0).images).values.shape == (5, 1, 1, 3)


def test_the_noise_is_drawn_anew_with_the_scale_that_was_asked_for():
    defence = Hybrid(**SMALL, sigma=0.3).setup(0, None, TASK)
    images = np.repeat(flags(1, seed=0).images, 2000, axis=0)
    sent = defence.protect(images, seed=0).values.astype(float)
    assert sent.std(axis=0).ravel().tolist() == pytest.approx([0.3] * 3, rel=0.06)


def test_the_components_become_the_principal_ones_and_keep_their_signs():
    """As many features as the board's, most of whose variance is in one, and the rest in few."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.cat([torch.tensor([0.5, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02]), torch.full((1016,), 1e-3)])
    turn = torch.linalg.qr(torch.randn(1024, 1024, generator=generator))[0]
    values = torch.randn(2560, 1024, generator=generator) * scales @ turn + 0.3
    torch.manual_seed(0)
    components = _Components(1024, 8)
    for step in range(300):
        batch = values[step * 128 % len(values) :][:128]
        before = components(values)
        components.follow(batch)
        if step >= 200:
            assert ((components(values) * before).sum(dim=0) > 0).all()
    centred = values - values.mean(dim=0)
    least = torch.linalg.svdvals(centred)[8:].square().sum() / len(values)
    lost = (centred.square().sum() - (components(values) - components(values).mean(dim=0)).square().sum()) / len(values)
    assert float(lost) == pytest.approx(float(least), rel=0.05)
    assert float(components(values).mean(dim=0).abs().max()) < 0.03


def test_siamese_pairs_are_drawn_together_and_others_apart():
    near, far = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    answers = torch.tensor([[0], [0], [1], [1]])
    assert float(contrastive(far, answers)) == pytest.approx(0, abs=1e-6)
    assert float(contrastive(near, answers)) == pytest.approx(MARGIN**2 / 2, rel=1e-4)
    assert float(contrastive(far, 0 * answers)) == pytest.approx(2 / 2, rel=1e-4)


def test_a_network_cannot_outgrow_the_noise():
    defence = Hybrid(**SMALL).setup(0, None, TASK)
    features, _ = defence.learner.nets["body"](100 * batch_of(flags(8, seed=0)).images)
    assert features.norm(dim=1).tolist() == pytest.approx([1.0] * 8, rel=1e-4)


def test_a_step_moves_both_parts_and_the_components():
    defence = Hybrid(**SMALL).setup(0, None, TASK)
    nets = defence.learner.nets.train()
    before = {name: value.clone() for name, value in nets.state_dict().items()}
    defence.update(batch_of(flags(32, seed=0)), None)
    moved = {name for name, value in nets.state_dict().items() if not torch.equal(value, before[name])}
    assert {"body.components.axes", "body.components.centre", "server.restore.weight"} <= moved
    assert any(name.startswith("body.net.") for name in moved)


@pytest.mark.parametrize("settings", [{"components": 0}, {"sigma": 0.0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError, match="Cure"):
        Hybrid(**settings)


def test_more_components_than_features_are_refused():
    with pytest.raises(UsageError, match="Cure"):
        Hybrid(width=4, blocks=1, components=65).setup(0, None, TASK)


def test_a_simple_reader_finds_less_of_the_secret_and_the_answer_stays():
    defence, undefended = learn(Hybrid(**SMALL), 80), learn(SplitInference(width=4, blocks=5), 80)
    assert read(undefended) > 0.9
    assert read(defence) < 0.7
    assert read(defence, "colour") > 0.95
