import pytest
import torch
from torch import nn

from dapter import cost
from dapter.errors import UsageError


def test_parameters_and_size_of_a_known_network():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert cost.count_parameters(net) == 3 * 8 * 9 + 8 + 16
    assert cost.size_bytes(net) == 4 * (3 * 8 * 9 + 8 + 16 + 16)  # running mean and variance, not the step counter


def test_shared_parameters_count_once():
    layer = nn.Conv2d(3, 3, 1)
    assert cost.count_parameters(nn.Sequential(layer, layer)) == 12


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 16 * 12 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), 8 * 6 * 8 * 3 * 9),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 16 * 12 * 6 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 10)), 3 * 16 * 12 * 10),
        (nn.ReLU(), 0),
    ],
)
def test_multiply_adds_of_known_layers(layer, expected):
    assert cost.multiply_adds(layer, (16, 12)) == expected


class Watched(nn.Module):
    """Notes how it is called."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append((torch.get_num_threads(), self.training, torch.is_grad_enabled(), tuple(x.shape)))
        return x


def test_latency_runs_on_one_thread_in_evaluation_mode_and_restores():
    net = Watched()
    frozen = nn.Sequential(nn.BatchNorm2d(3).eval(), net)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert cost.latency_ms(frozen, (8, 6), repeats=4, warm_up=2) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert net.calls == [(1, False, False, (1, 3, 8, 6))] * 6
    assert net.training
    assert not frozen[0].training


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        cost.latency_ms(nn.Conv2d(4, 1, 1), (8, 8))
    assert torch.get_num_threads() == before


def test_latency_needs_a_repeat():
    with pytest.raises(UsageError, match="at least 1"):
        cost.latency_ms(nn.ReLU(), (8, 8), repeats=0)


def test_cost_of_a_convolution_and_its_limit(monkeypatch):
    assert 1e8 < cost.peak_rate(256) < 1e13
    monkeypatch.setattr(cost, "peak_rate", lambda: 1e9)  # two timings on a busy machine cannot be compared
    found = cost.measure_cost(nn.Conv2d(3, 16, 3, padding=1), (64, 64), repeats=5)
    assert found.multiply_adds == 64 * 64 * 16 * 27
    assert found.limit_ms == pytest.approx(1000 * 64 * 64 * 16 * 27 / 1e9)
    assert found.latency_ms > 0
