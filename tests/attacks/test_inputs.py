import numpy as np
import pytest
import torch

from dapter.attacks._inputs import INPUTS, Standardise, StandardiseAnswer, answer_values
from dapter.batches import to_float
from dapter.errors import UsageError
from dapter.types import Answer


@pytest.fixture
def faint():
    """Payloads that are grey but for one level."""
    return (128 + np.random.default_rng(0).integers(0, 2, (50, 8, 8, 3))).astype(np.uint8)


def prepare(inputs, payloads):
    net = Standardise(inputs, payloads)
    found = net(to_float(payloads, torch.device("cpu")))
    assert found.shape == (len(payloads), net.channels, *payloads.shape[1:3])
    return found


def test_faint_residue_is_amplified(faint):
    assert prepare("raw", faint).std() < 0.01
    assert prepare("residue", faint).std() == pytest.approx(1, abs=0.01)
    assert prepare("whitened", faint).std() == pytest.approx(1, abs=0.01)


def test_bits_are_exact(faint):
    planes = prepare("bits", faint).numpy().transpose(0, 2, 3, 1).reshape(50, 8, 8, 8, 3) > 0
    assert np.array_equal((planes * 2 ** np.arange(8)[:, None]).sum(axis=3), faint)


@pytest.mark.parametrize("inputs", INPUTS)
def test_a_constant_payload_stays_finite(inputs):
    assert prepare(inputs, np.full((4, 8, 8, 3), 128, np.uint8)).isfinite().all()


def test_a_faint_channel_of_features_becomes_as_plain_as_a_loud_one():
    features = np.random.default_rng(0).normal(0, [1000, 1, 1e-4], (200, 4, 4, 3)).astype(np.float16)
    for inputs in ("residue", "whitened"):
        spread = prepare(inputs, features).std(dim=(0, 2, 3))
        assert spread == pytest.approx(np.full(3, 0.75), abs=0.08)
    assert np.array_equal(prepare("raw", features).permute(0, 2, 3, 1).numpy(), features.astype(np.float32))


def test_a_few_huge_features_do_not_drown_the_others():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (200, 4, 4, 3))
    features[rng.random(features.shape) < 0.01] *= 10_000
    sparse = np.where(rng.random(features.shape) < 0.05, features, 0)
    for each in (features, sparse):
        found = prepare("residue", each.astype(np.float16)).abs()
        assert found[found > 0].median() > 0.4
        assert 7 < found.max() < 12


@pytest.mark.parametrize("inputs", ["residue", "whitened"])
def test_features_come_without_what_they_have_in_common(inputs):
    rng = np.random.default_rng(0)
    loud, own = 100 * rng.normal(0, 1, (8, 8, 2)), rng.normal(0, 1, (400, 8, 8, 2))
    found = prepare(inputs, (loud + own).astype(np.float16)).sinh().permute(0, 2, 3, 1)
    assert np.corrcoef(found.flatten(), own.flatten())[0, 1] > 0.95


def test_a_quiet_place_of_features_becomes_as_plain_as_a_loud_one():
    rng = np.random.default_rng(0)
    deviations = np.where(rng.random((8, 8, 2)) < 0.1, 0.01, 10)
    found = prepare("residue", (deviations * rng.normal(0, 1, (400, 8, 8, 2))).astype(np.float16)).sinh()
    assert found.std(dim=0).flatten() == pytest.approx(np.ones(128), abs=0.25)


def test_by_channel_a_quiet_place_of_features_stays_quiet():
    rng = np.random.default_rng(0)
    deviations = np.where(rng.random((8, 8, 2)) < 0.1, 0.01, 10)
    loud = 100 * rng.normal(0, 1, (8, 8, 2))
    sent = (loud + deviations * rng.normal(0, 1, (400, 8, 8, 2))).astype(np.float16)
    spread = prepare("channels", sent).sinh().std(dim=0).permute(1, 2, 0).numpy()
    assert spread[deviations == 10] == pytest.approx(1, abs=0.25)
    assert spread[deviations != 10].max() < 0.05


@pytest.mark.parametrize("inputs", ["residue", "channels", "whitened"])
def test_features_that_hardly_ever_move_stay_small_and_finite(inputs):
    features = np.zeros((50, 8, 8, 4), np.float16)
    features[..., 1] = 60000
    features[..., 2] = 0.1234
    features[0, 0, 0, 3] = 60000
    found = prepare(inputs, features)
    assert found.abs().max() < 15
    assert found[:, :3].abs().max() < 0.2
    assert found[0, 3, 0, 0] > 5 * found[1:, 3].abs().max()


def test_a_whitened_vector_still_says_what_it_said():
    """It has one place, so that nothing would be left of each channel by itself."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    sent = rng.normal(0, 1, (400, 1, 1, 16)) * np.logspace(-2, 2, 16) + 3 * label[:, None, None, None] * (
        np.arange(16) % 2
    ) * np.logspace(-2, 2, 16)
    found = prepare("whitened", sent.astype(np.float16)).flatten(1).numpy()
    guess = found[:, 1::2].mean(axis=1) > found[:, ::2].mean(axis=1)
    assert (guess == label).mean() > 0.8


def test_features_have_no_bits():
    with pytest.raises(UsageError, match="inputs channels"):
        Standardise("bits", np.zeros((2, 4, 4, 3), np.float16))


def test_an_unknown_standardisation_is_refused(faint):
    with pytest.raises(UsageError, match="raw, residue"):
        Standardise("loud", faint)


def test_answers_of_all_targets_are_joined_as_log_probabilities():
    logits = {"b": np.array([[0, 0]], np.float32), "a": np.array([[1e4, 0, 0]], np.float32)}
    values = answer_values(Answer(logits))
    assert values == pytest.approx(np.array([[0, -1e4, -1e4, np.log(0.5), np.log(0.5)]]))
    scale = StandardiseAnswer(Answer(logits))
    assert scale.values == 5
    assert scale(torch.from_numpy(values)).abs().max() == 0
