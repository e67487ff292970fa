import numpy as np
import pytest
import torch
from torch.distributions import Laplace, Normal

from dapter.defences._draws import draws_of, noise, uniform

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [None, 5])
def test_numbers_are_even_and_never_the_ends(seed):
    with draws_of(seed, CPU):
        numbers = uniform((200, 300), CPU).numpy()
    assert numbers.dtype == np.float64
    assert numbers.min() > 0
    assert numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert np.abs(counts - 3000).max() < 6 * 3000**0.5


def test_the_ends_of_what_the_system_gives_stay_inside(monkeypatch):
    for byte in (b"\x00", b"\xff"):
        monkeypatch.setattr("secrets.token_bytes", lambda n, byte=byte: byte * n)
        with draws_of(None, CPU):
            assert 0 < uniform((1,), CPU).item() < 1
            assert noise(Normal, torch.zeros(1)).isfinite()
            assert noise(Laplace, torch.zeros(1)).isfinite()


@pytest.mark.parametrize(("kind", "deviation"), [(Normal, 1.0), (Laplace, 2**0.5)])
def test_noise_has_its_distribution(kind, deviation):
    with draws_of(None, CPU):
        found = noise(kind, torch.zeros(100_000))
    assert found.dtype == torch.float32
    assert found.mean().item() == pytest.approx(0, abs=0.03)
    assert found.std().item() == pytest.approx(deviation, rel=0.03)
    assert (found.abs() < 1).float().mean().item() == pytest.approx({Normal: 0.683, Laplace: 0.632}[kind], abs=0.01)


def test_a_seed_repeats_and_leaves_torchs_own_state():
    before = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2, None, None):
        with draws_of(seed, CPU):
            found.append(uniform((4,), CPU).tolist())
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]
    assert len({tuple(each) for each in found}) == 4


def test_a_plug_in_that_draws_from_torch_itself_gets_a_seed_of_its_own():
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        with draws_of(None, CPU):
            found.append(torch.rand(4).tolist())
    assert found[0] != found[1]


def test_a_failure_gives_back_the_training_draws():
    with pytest.raises(ZeroDivisionError), draws_of(None, CPU):
        _ = 1 / 0
    torch.manual_seed(0)
    first = uniform((4,), CPU)
    torch.manual_seed(0)
    assert torch.equal(uniform((4,), CPU), first)
