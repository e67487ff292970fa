"""One budget converter for a range of budgets, chosen when it is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dapter.batches import batches
from dapter.defences import build_defence, with_settings
from dapter.defences._levels import Levels
from dapter.defences._price import BETA_RANGE, follow
from dapter.defences.budget import Budget
from dapter.errors import UsageError
from dapter.nets.painters import SHARPNESS, Nearest
from dapter.nets.priors import Prior
from dapter.train import load_defence, train
from helpers import PLAN

SETTINGS = {
    "width": 4,
    "grid": 2,
    "stamps": "flat",
    "alphabet": 27,
    "budget_bits": 2.0,
    "budget_bits_range": (0.5, 8.0),
}


@pytest.fixture(scope="module")
def dialled(data, service, tmp_path_factory):
    """Trained for a range, and loaded."""
    plan = replace(PLAN, epochs=30)
    return load_defence(train(Budget(**SETTINGS), service, data, plan, root=tmp_path_factory.mktemp("dialled")))


def bits_of(defence, data, service):
    split = data.splits["test"]
    payload = defence.protect(split.images)
    answer = service.answer(payload)
    found = {entry["measure"]: entry["value"] for entry in defence.figures(split, payload, answer)}
    right = np.mean(answer.labels()["colour"] == split.labels["colour"])
    return found["bits_beyond_answer"], found["budget_bits"], right


def test_levels_are_even_on_a_logarithmic_scale():
    levels = Levels(1.0, 32.0)
    assert levels.count == 6
    budgets = torch.tensor([1.0, 2.0, 32.0, 2**1.25])
    assert levels.place(budgets).tolist() == pytest.approx([0, 0.2, 1, 0.25])
    assert torch.allclose(levels.at(levels.place(budgets)), budgets)
    mix = levels.mix(budgets)
    assert torch.allclose(mix.sum(dim=1), torch.ones(4))
    assert mix[1].argmax() == 1
    assert mix[3].tolist() == pytest.approx([0, 0.75, 0.25, 0, 0, 0], abs=1e-5)
    assert Levels(2.0, 2.1).count == 2
    assert torch.equal(levels.mix(torch.tensor([0.1, 99.0])), levels.mix(torch.tensor([1.0, 32.0])))
    assert Levels(4.0, 4.0).mix(torch.full((3,), 4.0)).tolist() == [[1.0]] * 3


def test_overrun_is_counted_at_each_level():
    levels = Levels(1.0, 4.0)
    budgets = torch.tensor([1.0, 1.0, 4.0])
    assert levels.overrun(torch.tensor([1.0, 3.0, 2.0]), budgets).tolist() == pytest.approx([2, 1, 0.5])


def test_each_level_has_a_prior_and_a_price_of_its_own():
    levels, prior = Levels(1.0, 4.0), Prior(2, 1, 4, 0.02, levels=3)
    prior.start(F.one_hot(torch.tensor([[0], [1]]), 4).float())
    before = prior.table.clone()
    choice = F.one_hot(torch.tensor([[3]] * 8), 4).float()
    budgets, given = torch.full((8,), 4.0), torch.zeros(8, dtype=torch.int64)
    for _ in range(100):
        follow(prior, levels, choice, given, budgets, 1.0)
    tables = prior.table.view(3, 2, 1, 4)
    assert tables[2, 0, 0, 3] > 0.8
    assert torch.allclose(prior.table[:4], before[:4])
    first = torch.tensor(0.02).log()
    assert torch.allclose(prior.log_beta[:2], first)
    assert prior.log_beta[2] < first


def test_between_two_levels_prior_and_price_are_mixed():
    levels, prior = Levels(1.0, 2.0), Prior(1, 1, 2, 0.02, levels=2)
    prior.table.copy_(torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]]))
    prior.log_beta.copy_(torch.tensor([0.01, 0.04]).log())
    mix = levels.mix(torch.tensor([2**0.5]))
    assert prior.probabilities(mix[0])[0, 0].tolist() == pytest.approx([0.7, 0.3])
    assert prior.beta(mix).tolist() == pytest.approx([0.02])
    bits = prior(torch.tensor([[[1.0, 0.0]]]), torch.tensor([0]), mix)
    assert bits.tolist() == pytest.approx([-np.log2(0.7)], rel=1e-5)


def test_the_price_of_each_level_stays_in_its_range(data, service):
    kept = Budget(**{**SETTINGS, "budget_bits_range": (0.001, 8.0)}).setup(0, service)
    kept.learner.nets.train()
    batch = next(batches(data.splits["train"], 16, torch.device("cpu")))
    for _ in range(60):
        kept.update(batch, service)
    beta = kept._prior.log_beta.exp()
    assert beta.max() <= BETA_RANGE[1] * 1.001
    assert beta[0] > beta[-1]


def test_each_image_has_a_budget_of_its_own(service):
    kept = Budget(**SETTINGS).setup(0, service)
    images = torch.zeros(500, 3, 2, 2)
    kept.learner.nets.train()
    drawn = kept._budgets(images)
    assert 0.5 <= drawn.min() < 0.6
    assert 7 < drawn.max() <= 8
    assert 150 < int((drawn < 2).sum()) < 350
    kept.learner.nets.eval()
    even = kept._budgets(images)
    assert torch.allclose(even.log(), torch.linspace(float(np.log(0.5)), float(np.log(8.0)), 500), atol=1e-4)


def test_the_budget_is_chosen_when_it_is_used(dialled, data, service):
    assert dialled.adjustable() == {"budget_bits"}
    found = {bits: bits_of(with_settings(dialled, budget_bits=bits), data, service) for bits in (0.5, 2.0, 8.0)}
    assert found[0.5][0] < 1.5
    assert found[0.5][0] <= found[8.0][0]
    assert len({hard for _, hard, _ in found.values()}) == 1  # the hard budget is the same
    assert min(right for _, _, right in found.values()) > 0.8
    images = data.splits["test"].images
    again = with_settings(with_settings(dialled, budget_bits=8.0), budget_bits=2.0)
    assert np.array_equal(again.protect(images).pixels, dialled.protect(images).pixels)


def test_one_cell_has_a_range_too(data, service, tmp_path):
    settings = {"width": 4, "budget_bits": 1.0, "budget_bits_range": (0.2, 2.0)}
    kept = load_defence(train(Budget(**settings), service, data, replace(PLAN, epochs=30), root=tmp_path))
    for budget in (0.2, 1.0, 2.0):
        beyond, hard, right = bits_of(with_settings(kept, budget_bits=budget), data, service)
        assert beyond <= budget
        assert hard == 4
        assert right > 0.9


def test_between_two_levels_the_price_of_a_stamp_is_mixed():
    nearest = Nearest(4, torch.eye(2), 3, levels=2)
    nearest.price.copy_(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    features = torch.rand(3, 4)
    found = nearest(features, torch.tensor([0.0, 0.5, 1.0])).stamps[:, 0] / SHARPNESS
    paid = (found.amax(dim=1, keepdim=True) - found).tolist()  # all stamps say the same
    assert paid == pytest.approx(np.array([[0, 1, 2], [0, 0, 0], [2, 1, 0]]), abs=1e-4)


def test_the_client_part_takes_the_budget_as_a_second_input(dialled, data):
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        other = with_settings(dialled, budget_bits=8.0).client()(images)
        assert torch.equal(dialled.client()(images, torch.tensor(8.0)), other)


def test_what_cannot_be_chosen_is_refused(dialled):
    for budget in (0.4, 9.0):
        with pytest.raises(UsageError, match="Cure"):
            with_settings(dialled, budget_bits=budget)
    with pytest.raises(UsageError, match="cannot change after training"):
        with_settings(Budget(width=4).setup(), budget_bits=2.0)


def test_a_converter_for_one_budget_has_the_networks_it_always_had():
    """Runs and releases from before there were ranges: their settings and weights still load."""
    old = build_defence("budget", {"budget_bits": 4.0, "grid": 2, "width": 4, "stamps": "flat", "alphabet": 27}).setup()
    shapes = {name: tuple(value.shape) for name, value in old.learner.nets.state_dict().items()}
    assert shapes["prior.table"] == (1, 4, 27)
    assert shapes["prior.log_beta"] == ()
    assert not [name for name in shapes if "film" in name]
